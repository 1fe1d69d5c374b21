//! The names that are resolved, each with addresses of its own, as servers and the registry have them.

use std::net::{Ipv4Addr, Ipv6Addr};

/// A name that nobody has registered: what a client is refused shows that it is enforced, and that it notices.
pub(super) const CONTROL: &str = "control.example.org";

/// One of so many names is an exact host of the registry; all others are under a wildcard.
const EXACT: u32 = 4;

/// Hosts of one entry.
const CHUNK: usize = 100;

/// A name, by its number: from 1.
#[derive(Clone, Copy, Debug)]
pub(super) struct Name(pub(super) u32);

impl Name {
    pub(super) fn host(self) -> String {
        let Self(number) = self;
        if self.is_exact() {
            format!("n{number}.exact.example.com")
        } else {
            format!("n{number}.learned.example.com")
        }
    }

    fn is_exact(self) -> bool {
        self.0.is_multiple_of(EXACT)
    }

    /// No other name has them.
    fn addresses(self) -> (Ipv4Addr, Ipv6Addr) {
        let [_, high, middle, low] = self.0.to_be_bytes();
        let v6 = (0xfd79_u128 << 112) | u128::from(self.0);
        (Ipv4Addr::new(10, high, middle, low), Ipv6Addr::from_bits(v6))
    }
}

/// The number of the control's addresses, which no name gets to.
const LAST: Name = Name(0x00ff_0000);

/// All that servers know: a host and its addresses.
fn records(total: u32) -> impl Iterator<Item = (String, (Ipv4Addr, Ipv6Addr))> {
    let control = (CONTROL.to_owned(), LAST.addresses());
    let names = (1..=total).map(|number| (Name(number).host(), Name(number).addresses()));
    names.chain([control])
}

/// The address of [`CONTROL`].
pub(super) fn control() -> Ipv4Addr {
    LAST.addresses().0
}

/// The form of `/etc/hosts`.
pub(super) fn hosts(total: u32) -> String {
    records(total)
        .map(|(host, (v4, v6))| format!("{v4} {host}\n{v6} {host}\n"))
        .collect()
}

/// The form of unbound's configuration.
pub(super) fn local_data(total: u32) -> String {
    records(total)
        .map(|(host, (v4, v6))| {
            format!(" local-data: \"{host}. A {v4}\"\n local-data: \"{host}. AAAA {v6}\"\n")
        })
        .collect()
}

/// The entries of a wildcard and of every exact host.
pub(super) fn registry(total: u32) -> String {
    let exact = (1..=total).map(Name).filter(|name| name.is_exact());
    let exact: Vec<_> = exact.map(Name::host).collect();
    let mut text = entry("wild", "'*.learned.example.com'", "NONE");
    for (number, hosts) in exact.chunks(CHUNK).enumerate() {
        text.push_str(&entry(&format!("exact-{number}"), &hosts.join(", "), "DNS"));
    }
    text
}

fn entry(name: &str, hosts: &str, resolution: &str) -> String {
    format!(
        "---\napiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {{name: {name}, namespace: shop}}\nspec:\n  \
         hosts: [{hosts}]\n  resolution: {resolution}\n  ports: [{{number: 443, name: tls, protocol: TLS}}]\n"
    )
}
