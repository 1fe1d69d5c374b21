//! What takes the places of names and addresses.

use std::{
    collections::{BTreeMap, BTreeSet},
    hash::{BuildHasher as _, RandomState},
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

/// What a name is of. Of two kinds, the first counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    Namespace,
    Workload,
    Pod,
    Container,
    Object,
    Node,
    Host,
    Unit,
    Process,
    Label,
    Path,
    Id,
}

impl Kind {
    fn word(self) -> &'static str {
        match self {
            Self::Namespace => "namespace",
            Self::Workload => "workload",
            Self::Pod => "pod",
            Self::Container => "container",
            Self::Object => "object",
            Self::Node => "node",
            Self::Host => "host",
            Self::Unit => "unit",
            Self::Process => "process",
            Self::Label => "label",
            Self::Path => "path",
            Self::Id => "id",
        }
    }
}

/// Who is told of each name and address, and says what is written in its place.
pub(super) trait Replace {
    /// For a name, in lower case.
    fn name(&mut self, kind: Kind, name: &str) -> String;
    /// For an address.
    fn address(&mut self, address: IpAddr) -> IpAddr;
}

/// Collects all.
#[derive(Debug, Default)]
pub(super) struct Finding {
    names: BTreeMap<String, Kind>,
    addresses: BTreeSet<IpAddr>,
}

impl Replace for Finding {
    fn name(&mut self, kind: Kind, name: &str) -> String {
        let held = self.names.entry(name.to_owned()).or_insert(kind);
        *held = kind.min(*held);
        String::new()
    }

    fn address(&mut self, address: IpAddr) -> IpAddr {
        self.addresses.insert(address);
        address
    }
}

/// Knows what stands for each.
#[derive(Debug)]
pub(super) struct Placeholders {
    names: BTreeMap<String, String>,
    addresses: BTreeMap<IpAddr, IpAddr>,
}

impl Placeholders {
    /// Numbers all that was found, in an order that only this run has. None is what something else was called.
    pub(super) fn new(found: Finding) -> Self {
        let salt = RandomState::new();
        let mut names: Vec<_> = found.names.iter().collect();
        names.sort_by_key(|(name, _)| salt.hash_one(name));
        let mut numbers = BTreeMap::<Kind, u64>::new();
        let mut given = BTreeMap::new();
        for (name, kind) in names {
            let number = numbers.entry(*kind).or_default();
            let placeholder = loop {
                *number += 1;
                let placeholder = format!("{}-{number}", kind.word());
                if !found.names.contains_key(&placeholder) {
                    break placeholder;
                }
            };
            given.insert(name.clone(), placeholder);
        }
        let mut addresses: Vec<_> = found.addresses.iter().copied().collect();
        addresses.sort_by_key(|address| salt.hash_one(address));
        let is_free = |address: &IpAddr| !found.addresses.contains(address);
        let mut v4 = v4().map(IpAddr::V4).filter(is_free);
        let mut v6 = v6().map(IpAddr::V6).filter(is_free);
        let instead = addresses.into_iter().filter_map(|address| {
            let instead = if address.is_ipv4() { v4.next() } else { v6.next() };
            Some((address, instead?))
        });
        Self {
            addresses: instead.collect(),
            names: given,
        }
    }
}

impl Replace for Placeholders {
    fn name(&mut self, kind: Kind, name: &str) -> String {
        let found = self.names.get(name).cloned();
        // Everything was found before.
        found.unwrap_or_else(|| format!("{}-0", kind.word()))
    }

    fn address(&mut self, address: IpAddr) -> IpAddr {
        let unspecified = match address {
            IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        };
        self.addresses.get(&address).copied().unwrap_or(unspecified)
    }
}

/// The addresses for documentation (RFC 5737); where there are more, those for benchmarks (RFC 2544), then reserved ones.
fn v4() -> impl Iterator<Item = Ipv4Addr> {
    let documentation = [[192, 0, 2], [198, 51, 100], [203, 0, 113]];
    let documentation = documentation
        .into_iter()
        .flat_map(|[a, b, c]| (1..255).map(move |d| Ipv4Addr::new(a, b, c, d)));
    let benchmarks = u32::from(Ipv4Addr::new(198, 18, 0, 1))..u32::from(Ipv4Addr::new(198, 20, 0, 0));
    let reserved = u32::from(Ipv4Addr::new(240, 0, 0, 1))..u32::from(Ipv4Addr::BROADCAST);
    documentation.chain(benchmarks.chain(reserved).map(Ipv4Addr::from))
}

/// The network for documentation (RFC 3849).
fn v6() -> impl Iterator<Item = Ipv6Addr> {
    let first = u128::from(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0));
    (1..u128::from(u64::MAX)).map(move |number| Ipv6Addr::from(first + number))
}
