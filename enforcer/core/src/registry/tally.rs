//! The union of what many hosts contribute, counted so that a change of one host does not visit the others.

use std::collections::{BTreeMap, BTreeSet, btree_map::Entry};

use crate::{grant::PortGrants, model::Host, rule::Rule};

/// What one host contributes to a view.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Contribution {
    /// In order, each once.
    pub(crate) rules: Vec<Rule>,
    /// Hosts whose addresses are needed, in order, each once.
    pub(crate) names: Vec<Host>,
}

impl Contribution {
    /// Adds what a port grants; [`Self::sort`] has to follow.
    pub(crate) fn add(&mut self, of_port: &PortGrants) {
        self.rules.extend(of_port.grants.iter().map(|grant| grant.rule));
        self.names.extend(of_port.names.iter().cloned());
    }

    /// Restores the order.
    pub(crate) fn sort(&mut self) {
        self.rules.sort_unstable();
        self.rules.dedup();
        self.names.sort_unstable();
        self.names.dedup();
    }
}

/// Contributions by host, and how many of them contain each rule and name.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    hosts: BTreeMap<Host, Contribution>,
    rules: BTreeMap<Rule, u32>,
    names: BTreeMap<Host, u32>,
}

/// What was added or removed since the last call.
#[derive(Debug, Default)]
pub(crate) struct Flips {
    /// Rules that may have been added or removed.
    pub(crate) rules: BTreeSet<Rule>,
    /// Whether the names have changed.
    pub(crate) names: bool,
}

impl Tally {
    /// A tally with rules that belong to no host.
    pub(crate) fn with<'a>(rules: impl Iterator<Item = &'a Rule>) -> Self {
        Self {
            rules: rules.map(|rule| (*rule, 1)).collect(),
            ..Self::default()
        }
    }

    /// Replaces what `host` contributes, and records in `flips` what that changes.
    pub(crate) fn set(&mut self, host: &Host, new: Contribution, flips: &mut Flips) {
        let is_empty = new.rules.is_empty() && new.names.is_empty();
        let old = if is_empty {
            self.hosts.remove(host)
        } else {
            self.hosts.insert(host.clone(), new.clone())
        };
        let old = old.unwrap_or_default();
        if old == new {
            return;
        }
        for rule in &new.rules {
            if add(&mut self.rules, rule) {
                flips.rules.insert(*rule);
            }
        }
        for rule in &old.rules {
            if remove(&mut self.rules, rule) {
                flips.rules.insert(*rule);
            }
        }
        for name in &new.names {
            flips.names |= add(&mut self.names, name);
        }
        for name in &old.names {
            flips.names |= remove(&mut self.names, name);
        }
    }

    pub(crate) fn contains(&self, rule: &Rule) -> bool {
        self.rules.contains_key(rule)
    }

    pub(crate) fn rules(&self) -> impl Iterator<Item = &Rule> {
        self.rules.keys()
    }

    pub(crate) fn names(&self) -> impl Iterator<Item = &Host> {
        self.names.keys()
    }
}

/// Returns whether it is the first.
fn add<K: Clone + Ord>(counts: &mut BTreeMap<K, u32>, key: &K) -> bool {
    let count = counts.entry(key.clone()).or_default();
    *count += 1;
    *count == 1
}

/// Returns whether it was the last.
fn remove<K: Clone + Ord>(counts: &mut BTreeMap<K, u32>, key: &K) -> bool {
    let Entry::Occupied(mut entry) = counts.entry(key.clone()) else {
        return false;
    };
    *entry.get_mut() -= 1;
    let is_last = *entry.get() == 0;
    if is_last {
        entry.remove();
    }
    is_last
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{model::Transport, rule::To};

    fn rule(port: u16) -> Rule {
        Rule {
            transport: Transport::Tcp,
            port,
            to: To::Any,
        }
    }

    fn contribution(ports: &[u16]) -> Contribution {
        Contribution {
            rules: ports.iter().copied().map(rule).collect(),
            names: Vec::new(),
        }
    }

    #[test]
    fn rule_stays_as_long_as_one_host_gives_it() {
        let (a, b) = (Host::new("a.example"), Host::new("b.example"));
        let mut tally = Tally::default();
        let mut flips = Flips::default();
        tally.set(&a, contribution(&[1, 2]), &mut flips);
        tally.set(&b, contribution(&[2]), &mut flips);
        flips = Flips::default();
        tally.set(&a, contribution(&[]), &mut flips);
        assert_eq!(flips.rules, BTreeSet::from([rule(1)]));
        assert!(!tally.contains(&rule(1)) && tally.contains(&rule(2)));
    }

    #[test]
    fn same_contribution_again_flips_nothing() {
        let a = Host::new("a.example");
        let mut tally = Tally::default();
        tally.set(&a, contribution(&[1]), &mut Flips::default());
        let mut flips = Flips::default();
        tally.set(&a, contribution(&[1]), &mut flips);
        assert!(flips.rules.is_empty());
    }

    #[test]
    fn constant_rule_outlives_hosts_that_give_it() {
        let a = Host::new("a.example");
        let mut tally = Tally::with([rule(53)].iter());
        let mut flips = Flips::default();
        tally.set(&a, contribution(&[53]), &mut flips);
        tally.set(&a, contribution(&[]), &mut flips);
        assert!(flips.rules.is_empty() && tally.contains(&rule(53)));
    }
}
