//! What the maps hold, policy by policy.

use std::collections::{BTreeMap, BTreeSet};

use enforcer_common::{CgroupId, HostId, Mode, Policy, PolicyId, Scope};
use enforcer_core::{
    plan::Applied,
    rule::{Rule, Rules, To},
};
use serde_json::{Value, json};

use super::Listing;

/// The most rules that are named of a scope, and the most workloads of a policy.
const RULES: usize = 1000;
const WORKLOADS: usize = 200;

/// What stands for an identifier: the name of a workload, and the host of rules that name one.
pub struct Named<W, H> {
    /// Of a workload.
    pub workload: W,
    /// Of a host.
    pub host: H,
}

/// How much there is, and all of it by policy, each with the rules of its own; those that policies share stand once.
pub fn held<W, H>(applied: &Applied, names: Named<W, H>) -> (Value, Listing)
where
    W: Fn(CgroupId) -> String,
    H: FnMut(HostId) -> Option<String>,
{
    let Named { workload, mut host } = names;
    let rules: usize = applied.scopes.values().map(|rules| rules.len()).sum();
    let counts = json!({
        "workloads": applied.workloads.len(),
        "policies": applied.policies.len(),
        "scopes": applied.scopes.len(),
        "rules": rules,
    });
    let mut bound = BTreeMap::<PolicyId, BTreeSet<CgroupId>>::new();
    for (cgroup, binding) in &applied.workloads {
        bound.entry(binding.policy).or_default().insert(*cgroup);
    }
    let mut listing = Listing::default();
    let mut shared = BTreeSet::new();
    for (id, policy) in &applied.policies {
        shared.insert(policy.shared);
        listing.push(|| {
            let bound = bound.get(id).into_iter().flatten();
            let names: Vec<_> = bound
                .clone()
                .take(WORKLOADS)
                .map(|cgroup| workload(*cgroup))
                .collect();
            json!({
                "policy": id.0,
                "mode": mode(policy),
                "allowsUdp": policy.flags & Policy::FLAG_ALLOW_UDP != 0,
                "workloads": names,
                "workloadsInAll": bound.count(),
                "own": scope((policy.own, applied.scopes.get(&policy.own).map(AsRef::as_ref)), &mut host),
                "shares": policy.shared.0,
            })
        });
    }
    let own: BTreeSet<Scope> = applied.policies.values().map(|policy| policy.own).collect();
    // Also those that no policy has: an interrupted plan may have left them.
    for (id, rules) in applied.scopes.iter().filter(|(id, _)| !own.contains(id)) {
        listing.push(|| {
            json!({ "shared": scope((*id, Some(rules.as_ref())), &mut host), "used": shared.contains(id) })
        });
    }
    (counts, listing)
}

fn scope((id, rules): (Scope, Option<&Rules>), host: &mut impl FnMut(HostId) -> Option<String>) -> Value {
    let rules = rules.into_iter().flatten();
    let listed: Vec<_> = rules.clone().take(RULES).map(|rule| text(rule, host)).collect();
    json!({ "scope": id.0, "rules": listed, "rulesInAll": rules.count() })
}

/// `tcp 192.0.2.10:5432`, with the host in the place of its identifier if it is known.
fn text(rule: &Rule, host: &mut impl FnMut(HostId) -> Option<String>) -> String {
    let text = rule.to_string();
    match rule.to {
        To::Host(id) => match host(id) {
            Some(host) => format!("{text} ({host})"),
            None => text,
        },
        To::Any | To::Address(_) | To::Network(_) => text,
    }
}

fn mode(policy: &Policy) -> &'static str {
    let modes = [
        (Mode::Enforce, "enforce"),
        (Mode::Audit, "audit"),
        (Mode::Observe, "observe"),
        (Mode::Off, "off"),
    ];
    let found = modes.iter().find(|(mode, _)| *mode as u32 == policy.mode);
    found.map_or("unknown, which refuses", |(_, word)| word)
}
