//! The maps of the kernel, changed one entry at a time, and looked into as the programs do.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use enforcer_common::{
    Address, Binding, Flow, HostId, HostKey, PortKey, RuleKey, Rules as Lookup, Scope, Verdict, decide,
};
use enforcer_core::{
    model::{CgroupId, Destination},
    plan::{Applied, Change},
    rule::{Rule, Slot, To},
};

/// For which hosts a workload was given an address.
pub(crate) type Facts = BTreeMap<(CgroupId, Address), BTreeSet<HostId>>;

/// What the maps hold, and what the programs have learned, which no change touches.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Maps(pub(crate) Applied, pub(crate) Facts);

impl Maps {
    pub(crate) fn carry_out(&mut self, change: &Change) {
        let Applied {
            workloads,
            policies,
            scopes,
        } = &mut self.0;
        match *change {
            Change::AddRule(scope, rule) => {
                assert!(
                    Arc::make_mut(scopes.entry(scope).or_default()).insert(rule),
                    "added twice: {change:?}"
                );
            }
            Change::RemoveRule(scope, rule) => {
                let rules = Arc::make_mut(
                    scopes
                        .get_mut(&scope)
                        .expect("a rule is only taken from where it is"),
                );
                assert!(rules.remove(&rule), "taken away twice: {change:?}");
                if rules.is_empty() {
                    scopes.remove(&scope);
                }
            }
            Change::SetPolicy(id, policy) => {
                policies.insert(id, policy);
            }
            Change::RemovePolicy(id) => {
                assert!(
                    !workloads.values().any(|bound| bound.policy == id),
                    "a workload is left without policy: {change:?}"
                );
                assert!(policies.remove(&id).is_some());
            }
            Change::Bind(workload, binding) => {
                assert!(
                    policies.contains_key(&binding.policy),
                    "bound to a policy that is not there: {change:?}"
                );
                workloads.insert(workload, binding);
            }
            Change::Unbind(workload) => {
                assert!(workloads.remove(&workload).is_some());
            }
        }
    }

    /// None if the workload is unknown.
    pub(crate) fn verdict(&self, workload: CgroupId, to: &Destination) -> Option<Verdict> {
        let binding = self.0.workloads.get(&workload)?;
        let policy = &self.0.policies[&binding.policy];
        let flow = Flow {
            transport: to.transport,
            port: to.port.to_be_bytes(),
            address: to.address.into(),
        };
        let given = self.1.get(&(workload, flow.address));
        let bound = Bound {
            maps: self,
            binding,
            given,
        };
        Some(decide(policy, &flow, &bound).verdict)
    }
}

/// The maps as a workload's programs see them.
struct Bound<'a> {
    maps: &'a Maps,
    binding: &'a Binding,
    given: Option<&'a BTreeSet<HostId>>,
}

impl Lookup for Bound<'_> {
    fn kinds(&self, _: Scope) -> enforcer_common::Kinds {
        enforcer_common::Kinds::ALL
    }

    fn exact(&self, key: &RuleKey) -> bool {
        let (scope, rule) = Rule::from_slot(&Slot::Exact(*key)).expect("made by the test");
        self.maps.0.rules(scope).contains(&rule)
    }

    /// The trie holds the longest match, of which only the existence counts.
    fn prefix(&self, key: &RuleKey) -> bool {
        let asked = bits(key);
        self.maps
            .0
            .rules(key.port.scope)
            .iter()
            .any(|rule| match rule.slot(key.port.scope) {
                Slot::Prefix(length, of) if matches!(rule.to, To::Network(_)) => {
                    (bits(&of) ^ asked).checked_shr(192 - length).unwrap_or(0) == 0
                        && same_port(&of.port, &key.port)
                }
                Slot::Prefix(..) | Slot::Port(_) | Slot::Exact(_) | Slot::Host(_) => false,
            })
    }

    fn port(&self, key: &PortKey) -> bool {
        let (scope, rule) = Rule::from_slot(&Slot::Port(*key)).expect("made by the test");
        self.maps.0.rules(scope).contains(&rule)
    }

    fn own(&self, address: &Address) -> bool {
        self.binding.owns(address)
    }

    fn host(&self, scopes: [Scope; 2], flow: &Flow) -> bool {
        let is_allowed = |scope, host| {
            let key = HostKey {
                port: PortKey::new(scope, flow.transport, flow.port),
                host,
            };
            let (scope, rule) = Rule::from_slot(&Slot::Host(key)).expect("made by the test");
            self.maps.0.rules(scope).contains(&rule)
        };
        let given = self.given.into_iter().flatten();
        given
            .into_iter()
            .any(|host| scopes.into_iter().any(|scope| is_allowed(scope, *host)))
    }
}

fn same_port(a: &PortKey, b: &PortKey) -> bool {
    a.port == b.port && a.transport == b.transport
}

fn bits(key: &RuleKey) -> u128 {
    u128::from_be_bytes(key.address.0)
}
