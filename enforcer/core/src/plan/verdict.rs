//! The verdict of the programs on maps with this content.
//!
//! It asks [`decide`], as the programs do; only the lookups are others.

use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv4Addr},
};

use enforcer_common::{
    Address, Binding, CgroupId, Flow, HostId, HostKey, Kinds, Outcome, PortKey, RuleKey, Rules as Lookup,
    Scope, decide,
};
use ipnet::{IpNet, Ipv4Net};

use super::Applied;
use crate::{
    model::{Destination, Transport},
    rule::{Rule, Slot, To},
};

impl Applied {
    /// What the programs decide on `to` for a workload that was given the address for the hosts of `given`; None if the
    /// maps do not have the workload.
    pub fn outcome(&self, workload: CgroupId, to: Destination, given: &BTreeSet<HostId>) -> Option<Outcome> {
        let binding = self.workloads.get(&workload)?;
        let policy = self.policies.get(&binding.policy)?;
        let flow = Flow {
            transport: to.transport,
            port: to.port.to_be_bytes(),
            address: to.address.into(),
        };
        let maps = Maps {
            held: self,
            binding,
            given,
        };
        Some(decide(policy, &flow, &maps))
    }

    /// What they decide at an address that no rule has, for a workload that was given it for the hosts of `given`.
    pub fn outcome_at_no_address(
        &self,
        workload: CgroupId,
        (transport, port): (Transport, u16),
        given: &BTreeSet<HostId>,
    ) -> Option<Outcome> {
        let binding = self.workloads.get(&workload)?;
        let policy = self.policies.get(&binding.policy)?;
        let flow = Flow {
            transport,
            port: port.to_be_bytes(),
            address: IpAddr::from(Ipv4Addr::BROADCAST).into(),
        };
        let maps = Maps {
            held: self,
            binding,
            given,
        };
        Some(decide(policy, &flow, &Elsewhere(maps)))
    }
}

/// The maps for an address that they do not have, whatever the flow says.
struct Elsewhere<'a>(Maps<'a>);

impl Lookup for Elsewhere<'_> {
    fn kinds(&self, scope: Scope) -> Kinds {
        self.0.kinds(scope)
    }

    fn exact(&self, _: &RuleKey) -> bool {
        false
    }

    fn prefix(&self, _: &RuleKey) -> bool {
        false
    }

    fn port(&self, key: &PortKey) -> bool {
        self.0.port(key)
    }

    fn own(&self, _: &Address) -> bool {
        false
    }

    fn host(&self, scopes: [Scope; 2], flow: &Flow) -> bool {
        self.0.host(scopes, flow)
    }
}

/// The maps as the programs see them for one workload and address.
struct Maps<'a> {
    held: &'a Applied,
    binding: &'a Binding,
    given: &'a BTreeSet<HostId>,
}

impl Maps<'_> {
    fn has(&self, slot: &Slot) -> bool {
        let rule = Rule::from_slot(slot);
        rule.is_some_and(|(scope, rule)| self.held.rules(scope).contains(&rule))
    }
}

impl Lookup for Maps<'_> {
    fn kinds(&self, _: Scope) -> Kinds {
        Kinds::ALL
    }

    fn exact(&self, key: &RuleKey) -> bool {
        self.has(&Slot::Exact(*key))
    }

    fn prefix(&self, key: &RuleKey) -> bool {
        let Some((scope, exact)) = Rule::from_slot(&Slot::Exact(*key)) else {
            return false;
        };
        let To::Address(address) = exact.to else {
            return false;
        };
        // Of the rules of a port, networks come after addresses and before hosts.
        let all = IpNet::from(Ipv4Net::new_assert(Ipv4Addr::UNSPECIFIED, 0));
        let first = Rule {
            to: To::Network(all),
            ..exact
        };
        let rules = self.held.rules(scope).range(first..);
        let networks = rules.take_while(|rule| {
            (rule.transport, rule.port) == (exact.transport, exact.port) && matches!(rule.to, To::Network(_))
        });
        networks
            .into_iter()
            .any(|rule| rule.to.contains(address.to_canonical()))
    }

    fn port(&self, key: &PortKey) -> bool {
        self.has(&Slot::Port(*key))
    }

    fn own(&self, address: &Address) -> bool {
        self.binding.owns(address)
    }

    fn host(&self, scopes: [Scope; 2], flow: &Flow) -> bool {
        let keys = scopes.map(|scope| PortKey::new(scope, flow.transport, flow.port));
        let mut given = self.given.iter();
        given.any(|host| {
            keys.iter().any(|port| {
                self.has(&Slot::Host(HostKey {
                    port: *port,
                    host: *host,
                }))
            })
        })
    }
}
