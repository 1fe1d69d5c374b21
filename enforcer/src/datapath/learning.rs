//! The maps that control which names the programs learn.
//!
//! ```text
//! hosts of rules   -> PATTERNS   which names are worth learning
//! trusted servers  -> RESOLVERS  whose answers count
//! networks         -> PROTECTED  what is never learned
//! ```
//!
//! None of them allows anything: the rules that name a host do.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    sync::Arc,
};

use anyhow::{Context as _, Result};
use aya::{
    Ebpf,
    maps::{
        HashMap, MapData,
        lpm_trie::{Key, LpmTrie},
    },
};
use enforcer_common::{Address, Pattern, PatternKey, ResolverKey, Settings, maps as name};
use enforcer_core::{model::Host, pattern::pattern};
use ipnet::IpNet;

use super::{
    maps::{PRESENT, gone},
    take::take,
};

/// What the programs have to learn by.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Learning {
    /// Every host that a rule names. Hosts that cannot be encoded as a DNS name are left out.
    pub patterns: Arc<BTreeSet<Host>>,
    /// Servers whose answers count.
    pub resolvers: BTreeSet<SocketAddr>,
    /// Networks whose addresses are not learned.
    pub protected: BTreeSet<IpNet>,
}

impl Learning {
    /// The ports of the servers, which the programs check first.
    pub(super) fn ports(&self) -> u64 {
        let ports = self.resolvers.iter().map(|server| server.port().to_be_bytes());
        ports.fold(0, |bits, port| bits | Settings::port_bit(port))
    }
}

/// The maps, and what was written to them.
pub(super) struct Learners {
    patterns: LpmTrie<MapData, PatternKey, Pattern>,
    resolvers: HashMap<MapData, ResolverKey, u32>,
    protected: LpmTrie<MapData, Address, u32>,
    /// The patterns in the map; None if an earlier start, or other software, may have left others.
    held: Option<BTreeSet<Host>>,
    /// What was requested last; None if not all of it is in the maps.
    set: Option<Learning>,
}

/// A network in the trie: its number of bits, and its address.
type Network = (u32, Address);

impl Learners {
    pub(super) fn take(object: &mut Ebpf) -> Result<Self> {
        Ok(Self {
            patterns: take(object, name::PATTERNS)?,
            resolvers: take(object, name::RESOLVERS)?,
            protected: take(object, name::PROTECTED)?,
            held: None,
            set: None,
        })
    }

    /// Adds what is new; to be called before rules that name new hosts are installed. Protected networks are written
    /// first, so that nothing is learned that they exclude.
    pub(super) fn add(&mut self, wanted: &Learning) -> Result<()> {
        if self.set.as_ref() == Some(wanted) {
            return Ok(());
        }
        self.set = None;
        self.set_protected(&networks(wanted))?;
        self.set_resolvers(&servers(wanted))?;
        let held = self.held.as_ref();
        let new = wanted
            .patterns
            .iter()
            .filter(|host| held.is_none_or(|held| !held.contains(*host)));
        for host in new.cloned().collect::<Vec<_>>() {
            let Some((key, value)) = pattern(&host) else {
                continue;
            };
            let key = Key::new(8 * value.length, key);
            self.patterns
                .insert(&key, value, 0)
                .with_context(|| format!("taking the host {host} into the map PATTERNS"))?;
            if let Some(held) = &mut self.held {
                held.insert(host);
            }
        }
        Ok(())
    }

    /// Removes what is no longer wanted; to be called after rules that named such hosts are removed.
    pub(super) fn remove(&mut self, wanted: &Learning) -> Result<()> {
        if self.set.as_ref() == Some(wanted) {
            return Ok(());
        }
        match &mut self.held {
            Some(held) => {
                let gone_hosts: Vec<_> = held.difference(&wanted.patterns).cloned().collect();
                for host in gone_hosts {
                    if let Some((key, value)) = pattern(&host) {
                        gone(self.patterns.remove(&Key::new(8 * value.length, key)))
                            .context("writing the map PATTERNS")?;
                    }
                    held.remove(&host);
                }
            }
            None => {
                let kept = keys(wanted);
                let there: Vec<_> = self
                    .patterns
                    .keys()
                    .collect::<Result<_, _>>()
                    .context("reading the map PATTERNS")?;
                for key in there {
                    if !kept.contains_key(&(key.prefix_len(), key.data())) {
                        gone(self.patterns.remove(&key)).context("writing the map PATTERNS")?;
                    }
                }
                self.held = Some((*wanted.patterns).clone());
            }
        }
        self.set = Some(wanted.clone());
        Ok(())
    }

    /// Makes the next call write everything again.
    pub(super) fn forget(&mut self) {
        self.held = None;
        self.set = None;
    }

    /// Whether the maps hold what was requested last.
    pub(super) fn hold(&self) -> Result<bool> {
        let Some(wanted) = &self.set else {
            return Ok(true);
        };
        let mut patterns = BTreeMap::new();
        for entry in self.patterns.iter() {
            let (key, value) = entry.context("reading the map PATTERNS")?;
            patterns.insert((key.prefix_len(), key.data()), value);
        }
        Ok(patterns == keys(wanted)
            && self.servers()? == servers(wanted)
            && self.networks()? == networks(wanted))
    }

    fn set_resolvers(&mut self, wanted: &BTreeSet<ResolverKey>) -> Result<()> {
        let there = self.servers()?;
        for server in wanted.difference(&there) {
            self.resolvers
                .insert(server, PRESENT, 0)
                .context("writing the map RESOLVERS")?;
        }
        for server in there.difference(wanted) {
            gone(self.resolvers.remove(server)).context("writing the map RESOLVERS")?;
        }
        Ok(())
    }

    fn set_protected(&mut self, wanted: &BTreeSet<Network>) -> Result<()> {
        let there = self.networks()?;
        for (bits, address) in wanted.difference(&there) {
            self.protected
                .insert(&Key::new(*bits, *address), PRESENT, 0)
                .context("writing the map PROTECTED")?;
        }
        for (bits, address) in there.difference(wanted) {
            gone(self.protected.remove(&Key::new(*bits, *address))).context("writing the map PROTECTED")?;
        }
        Ok(())
    }

    fn servers(&self) -> Result<BTreeSet<ResolverKey>> {
        let keys = self.resolvers.keys().collect::<Result<_, _>>();
        keys.context("reading the map RESOLVERS")
    }

    fn networks(&self) -> Result<BTreeSet<Network>> {
        let keys = self.protected.keys();
        keys.map(|key| key.map(|key| (key.prefix_len(), key.data())))
            .collect::<Result<_, _>>()
            .context("reading the map PROTECTED")
    }
}

/// The entries that the trie of patterns should have.
fn keys(wanted: &Learning) -> BTreeMap<(u32, PatternKey), Pattern> {
    let patterns = wanted.patterns.iter().filter_map(pattern);
    patterns
        .map(|(key, value)| ((8 * value.length, key), value))
        .collect()
}

fn servers(wanted: &Learning) -> BTreeSet<ResolverKey> {
    let servers = wanted.resolvers.iter();
    servers
        .map(|server| ResolverKey {
            address: server.ip().into(),
            port: server.port().to_be_bytes(),
            pad: [0; 6],
        })
        .collect()
}

fn networks(wanted: &Learning) -> BTreeSet<Network> {
    let networks = wanted.protected.iter().map(|network| {
        let family = if network.addr().is_ipv4() {
            Address::V4_PREFIX_BITS
        } else {
            0
        };
        let network = network.trunc();
        (family + u32::from(network.prefix_len()), network.addr().into())
    });
    networks.collect()
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;

    #[test]
    fn networks_of_both_families_are_keys_of_one_trie() {
        let wanted = Learning {
            protected: ["127.0.0.0/8", "fe80::1/10", "192.0.2.1/32"]
                .map(|text| text.parse().unwrap())
                .into(),
            ..Learning::default()
        };
        let address = |text: &str| Address::from(text.parse::<IpAddr>().unwrap());
        assert_eq!(
            networks(&wanted),
            BTreeSet::from([
                (104, address("127.0.0.0")),
                (10, address("fe80::")),
                (128, address("192.0.2.1")),
            ])
        );
    }

    #[test]
    fn server_is_its_address_and_port_in_network_byte_order() {
        let wanted = Learning {
            resolvers: ["192.0.2.53:53".parse().unwrap()].into(),
            ..Learning::default()
        };
        let [server] = servers(&wanted).into_iter().collect::<Vec<_>>()[..] else {
            panic!("it is one");
        };
        assert_eq!(server.port, [0, 53]);
        assert_eq!(IpAddr::from(server.address).to_string(), "192.0.2.53");
    }

    #[test]
    fn host_that_cannot_be_sent_has_no_pattern() {
        let wanted = Learning {
            patterns: Arc::new(["a.example", "*.b.example", "a..example"].map(Host::new).into()),
            ..Learning::default()
        };
        let lengths: BTreeSet<u32> = keys(&wanted).keys().map(|(bits, _)| bits / 8).collect();
        assert_eq!(lengths, BTreeSet::from([10, 11]));
    }
}
