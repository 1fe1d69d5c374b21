//! Tries a suggestion: it is applied, everything is compiled, and the rules of every workload before and after are held
//! against each other. What allows more than was seen, or takes away anything, is undone.
//!
//! ```text
//! candidate -> Registry -> Desired -> rules that are new, rules that are gone -> kept, or undone
//! ```
//!
//! **Architecture Invariant:** whatever proposes, nothing is suggested that has not passed here.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use super::{flow::Flow, group::Group};
use crate::{
    istio::{Object, ServiceEntry},
    model::{CgroupId, Host, Namespace},
    pattern,
    policy::Desired,
    registry::{Registry, Update},
    rule::{Rule, Rules, To},
};

/// What a candidate may add.
pub(super) struct Meant {
    rules: BTreeSet<Rule>,
    /// To whom; None: to whoever sees the object, because it is there already.
    users: Option<BTreeSet<Namespace>>,
}

impl Meant {
    /// What a group needs, and no more, to those who need it.
    pub(super) fn by(group: &Group<'_>, registry: &mut Registry) -> Self {
        let mut meant = Self {
            rules: BTreeSet::new(),
            users: Some(group.namespaces()),
        };
        for flow in &group.flows {
            meant.add(flow, To::Address(flow.to.address));
            if let Some(host) = &group.host {
                meant.add_host(flow, host, registry);
            }
        }
        meant
    }

    /// The same to whoever sees an object that is there.
    pub(super) fn for_all(self) -> Self {
        Self { users: None, ..self }
    }

    fn add_host(&mut self, flow: &Flow<'_>, host: &Host, registry: &mut Registry) {
        self.add(flow, To::Host(pattern::id(host)));
        // What the name is known to resolve to is what the name means.
        for address in registry.resolved_of(host) {
            self.add(flow, To::Address(address));
        }
    }

    fn add(&mut self, flow: &Flow<'_>, to: To) {
        let (port, transport) = flow.port();
        self.rules.insert(Rule { transport, port, to });
    }

    fn allows(&self, namespace: Option<&Namespace>, rule: &Rule) -> bool {
        let is_user = |users: &BTreeSet<Namespace>| namespace.is_some_and(|it| users.contains(it));
        self.rules.contains(rule) && self.users.as_ref().is_none_or(is_user)
    }
}

/// Applies an object if that adds nothing but what is meant and takes nothing away, for anybody. Returns the flows of
/// the group that are not allowed even so; None, and nothing is applied, if it adds or takes away anything else, or
/// helps no flow.
pub(super) fn applied<'a>(
    registry: &mut Registry,
    object: &Object,
    group: &Group<'a>,
    meant: &Meant,
) -> Option<Vec<Flow<'a>>> {
    let before = registry.desired();
    let old = registry.service_entry(&object.id()).map(Object::ServiceEntry);
    let versions = match &old {
        Some(_) => vec![object.clone()],
        None => vec![newest(object), object.clone()],
    };
    let mut left = BTreeMap::new();
    for version in versions {
        registry.apply(Update::Apply(version));
        let after = registry.desired();
        let rest = refused(registry, group);
        if rest.len() == group.flows.len() || !is_exact(registry, [&before, &after], meant) {
            undo(registry, object, old);
            return None;
        }
        left.extend(rest);
    }
    Some(left.into_values().collect())
}

/// The same as an API server stamps it, the newest of its host; from a file, it is the oldest. Istio orders entries by
/// that.
fn newest(object: &Object) -> Object {
    let Object::ServiceEntry(entry) = object else {
        return object.clone();
    };
    let mut entry = ServiceEntry::clone(entry);
    entry.meta.created = Some(i64::MAX);
    Object::ServiceEntry(Arc::new(entry))
}

/// Takes an object away again, or puts back the one that was there.
pub(super) fn undo(registry: &mut Registry, object: &Object, old: Option<Object>) {
    registry.apply(match old {
        Some(old) => Update::Apply(old),
        None => Update::Delete(object.id()),
    });
}

/// The flows that are not allowed, by their place in the group.
fn refused<'a>(registry: &mut Registry, group: &Group<'a>) -> BTreeMap<usize, Flow<'a>> {
    let flows = group.flows.iter().cloned().enumerate();
    flows
        .filter_map(|(place, flow)| Some((place, flow.now(registry)?)))
        .collect()
}

/// The rules of one workload: its own, and those that it shares.
type Sets<'a> = [&'a Rules; 2];

fn is_exact(registry: &Registry, [before, after]: [&Arc<Desired>; 2], meant: &Meant) -> bool {
    let (old, new) = (sets(before), sets(after));
    new.iter().all(|(cgroup, new)| {
        let Some(old) = old.get(cgroup) else {
            return true;
        };
        if old.iter().zip(new).all(|(old, new)| std::ptr::eq(*old, *new)) {
            return true;
        }
        let namespace = registry.workload(*cgroup).map(|workload| &workload.namespace);
        missing(new, old).iter().all(|rule| meant.allows(namespace, rule)) && missing(old, new).is_empty()
    })
}

fn sets(desired: &Desired) -> BTreeMap<CgroupId, Sets<'_>> {
    let policies = desired.policies.iter();
    policies
        .flat_map(|policy| {
            let rules = [&*policy.own, desired.shared_by(policy)];
            policy.workloads.iter().map(move |cgroup| (*cgroup, rules))
        })
        .collect()
}

/// The rules of `these` that `those` do not cover.
fn missing(these: &Sets<'_>, those: &Sets<'_>) -> Vec<Rule> {
    let all = these.iter().copied().flatten();
    all.filter(|rule| !those.iter().any(|rules| covers(rules, rule)))
        .copied()
        .collect()
}

/// Whether rules allow all that a rule does.
fn covers(rules: &Rules, rule: &Rule) -> bool {
    let any = Rule { to: To::Any, ..*rule };
    if rules.contains(rule) || rules.contains(&any) {
        return true;
    }
    let inner = match rule.to {
        To::Address(address) => address.into(),
        To::Network(network) => network,
        To::Any | To::Host(_) => return false,
    };
    // Rules of one port stand together, and networks among them.
    let same_port = rules
        .range(any..)
        .take_while(|it| (it.transport, it.port) == (rule.transport, rule.port));
    let mut networks = same_port.filter_map(|it| match it.to {
        To::Network(network) => Some(network),
        To::Any | To::Address(_) | To::Host(_) => None,
    });
    networks.any(|network| network.contains(&inner))
}
