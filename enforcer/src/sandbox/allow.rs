//! What `--allow` names, and the ServiceEntry that says the same.

use std::{fmt, net::IpAddr, str::FromStr};

use enforcer_core::{
    documents::{Judgement, check},
    model::{Host, Transport},
};
use ipnet::IpNet;

/// A destination: `HOST:PORT`, `*.DOMAIN:PORT`, `IP:PORT`, `NETWORK:PORT`, each over TCP, or over UDP with `/udp` behind it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Allowed {
    to: To,
    port: u16,
    transport: Transport,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum To {
    Host(Host),
    /// An address is a network with itself alone.
    Network(IpNet),
}

const FORMS: &str =
    "write HOST:PORT, *.DOMAIN:PORT, IP:PORT or NETWORK:PORT, IPv6 in brackets, with /udp behind it for UDP";

impl Allowed {
    /// A host, which may be a wildcard.
    pub fn host(host: Host, port: u16, transport: Transport) -> Self {
        let to = To::Host(host);
        Self { to, port, transport }
    }

    /// An address.
    pub fn address(address: IpAddr, port: u16, transport: Transport) -> Self {
        let to = To::Network(address.to_canonical().into());
        Self { to, port, transport }
    }

    /// A ServiceEntry of this name, as YAML, that allows it to the workloads of its namespace and of no other.
    pub fn entry(&self, name: &str, namespace: &str) -> String {
        let port = self.port;
        let (host, how) = match &self.to {
            // A wildcard cannot be resolved, and one without TLS would be the port at any address.
            To::Host(host) if host.is_wildcard() => (host.to_string(), "  resolution: NONE\n".to_owned()),
            To::Host(host) => (host.to_string(), "  resolution: DNS\n".to_owned()),
            To::Network(network) => (
                // A name that never resolves (RFC 2606): the entry is about the addresses alone.
                format!("{name}.invalid"),
                format!("  addresses:\n  - {:?}\n  resolution: NONE\n", address(network)),
            ),
        };
        let is_wildcard = matches!(&self.to, To::Host(host) if host.is_wildcard());
        let (protocol, label) = match self.transport {
            Transport::Tcp if is_wildcard => ("TLS", "tls"),
            Transport::Tcp => ("TCP", "tcp"),
            Transport::Udp => ("UDP", "udp"),
        };
        format!(
            "apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata:
  name: {name}
  namespace: {namespace}
spec:
  hosts:
  - {host:?}
{how}  location: MESH_EXTERNAL
  ports:
  - number: {port}
    name: {label}-{port}
    protocol: {protocol}
  exportTo:
  - \".\"
"
        )
    }

    /// A name for its entry.
    pub fn label(&self) -> String {
        let to = match &self.to {
            To::Host(host) => host.as_str().replace("*.", "any-"),
            To::Network(network) => address(network),
        };
        let is_plain = |letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit();
        let to: String = to
            .chars()
            .map(|letter| if is_plain(letter) { letter } else { '-' })
            // Names of objects end at 253 characters.
            .take(230)
            .collect();
        let transport = match self.transport {
            Transport::Tcp => "tcp",
            Transport::Udp => "udp",
        };
        format!("{}-{transport}-{}", to.trim_matches('-'), self.port)
    }
}

fn address(network: &IpNet) -> String {
    if network.prefix_len() == network.max_prefix_len() {
        network.addr().to_string()
    } else {
        network.to_string()
    }
}

/// As it is written behind `--allow`.
impl fmt::Display for Allowed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.to {
            To::Host(host) => write!(f, "{host}:{}", self.port)?,
            To::Network(IpNet::V6(network)) => write!(f, "[{}]:{}", address(&(*network).into()), self.port)?,
            To::Network(network) => write!(f, "{}:{}", address(network), self.port)?,
        }
        match self.transport {
            Transport::Tcp => Ok(()),
            Transport::Udp => f.write_str("/udp"),
        }
    }
}

impl FromStr for Allowed {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = |what: &str| Err(format!("--allow {text:?} {what}; {FORMS}"));
        let (rest, transport) = match text.rsplit_once('/') {
            Some((rest, "udp")) => (rest, Transport::Udp),
            Some((rest, "tcp")) => (rest, Transport::Tcp),
            _ => (text, Transport::Tcp),
        };
        if rest.contains("://") {
            return wrong("is a URL");
        }
        let Some((to, port)) = rest.rsplit_once(':') else {
            return wrong("has no port");
        };
        let Some(port) = port.parse().ok().filter(|port| *port > 0) else {
            return wrong("has no port from 1 to 65535");
        };
        let inner = to.strip_prefix('[').and_then(|to| to.strip_suffix(']'));
        let network = network(inner.unwrap_or(to));
        let to = match (network, inner) {
            (Some(IpNet::V6(_)), None) => return wrong("has an IPv6 address without brackets"),
            (Some(network), _) => To::Network(network),
            (None, None) if !to.is_empty() => To::Host(Host::new(to)),
            (None, _) => return wrong("names no host and no address"),
        };
        if transport == Transport::Udp && matches!(&to, To::Host(host) if host.is_wildcard()) {
            return wrong(
                "is a wildcard over UDP, which no ServiceEntry can say without allowing every address",
            );
        }
        let allowed = Self { to, port, transport };
        let judged = check("", &allowed.entry("allow-1", "sandbox"));
        match judged.iter().find(|record| record.verdict != Judgement::Valid) {
            Some(record) => {
                let error = record.errors.first().map_or("", String::as_str);
                let error = error.split_once(": ").map_or(error, |(_, error)| error);
                wrong(&format!("is not valid ({error})"))
            }
            None => Ok(allowed),
        }
    }
}

/// An address, or a network without bits beside its prefix.
fn network(text: &str) -> Option<IpNet> {
    let address = text.parse::<IpAddr>().ok();
    let network = address.map(|address| IpNet::from(address.to_canonical()));
    network.or_else(|| text.parse::<IpNet>().ok().map(|network| network.trunc()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn destination_is_written_as_it_was_read() {
        for text in [
            "packages.example.com:443",
            "*.example.com:443",
            "192.0.2.1:22",
            "192.0.2.0/24:5432",
            "ntp.example.com:123/udp",
            "192.0.2.1:53/udp",
            "[2001:db8::1]:443",
            "[2001:db8::/32]:443/udp",
        ] {
            let allowed: Allowed = text.parse().unwrap();
            assert_eq!(allowed.to_string(), text);
            let label = allowed.label();
            assert!(!label.contains(['.', '*', ':', '/']), "{label}");
        }
        for (text, same) in [
            ("Packages.Example.com.:443", "packages.example.com:443"),
            ("192.0.2.7/24:443/tcp", "192.0.2.0/24:443"),
            ("[::ffff:192.0.2.1]:443", "192.0.2.1:443"),
        ] {
            assert_eq!(text.parse::<Allowed>().unwrap().to_string(), same);
        }
    }

    #[test]
    fn what_is_no_destination_is_said_in_one_line() {
        for (text, what) in [
            ("example.com", "has no port"),
            ("example.com:", "no port from 1"),
            ("example.com:0", "no port from 1"),
            ("example.com:70000", "no port from 1"),
            ("https://example.com:443", "is a URL"),
            ("2001:db8::1:443", "without brackets"),
            ("[example.com]:443", "names no host"),
            (":443", "names no host"),
            ("*:443", "is not valid"),
            ("exa mple.com:443", "is not valid"),
            ("*.example.com:443/udp", "wildcard over UDP"),
        ] {
            let error = text.parse::<Allowed>().unwrap_err();
            assert!(error.contains(what) && !error.contains('\n'), "{text}: {error}");
        }
    }

    #[test]
    fn entry_of_every_form_is_valid() {
        for text in [
            "a.example.com:443",
            "*.example.com:443",
            "192.0.2.0/24:5/udp",
            "[::1]:1",
        ] {
            let allowed: Allowed = text.parse().unwrap();
            let entry = allowed.entry(&allowed.label(), "sandbox");
            for record in check("a.yaml", &entry) {
                assert_eq!(record.verdict, Judgement::Valid, "{entry}\n{:?}", record.errors);
            }
        }
    }
}
