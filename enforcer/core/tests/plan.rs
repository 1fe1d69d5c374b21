//! Every prefix of every plan allows nothing that neither end allows, and everything that both ends allow.

#[path = "laws/maps.rs"]
mod maps;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, Ipv4Addr},
    sync::Arc,
};

use enforcer_common::{Binding, CgroupId, HostId, Mode, Policy, PolicyId, Scope, Transport, Verdict};
use enforcer_core::{
    model::{Destination, OwnAddresses},
    plan::{Applied, Change, Plan, admit, diff},
    policy::{Desired, DesiredPolicy, Shared},
    rule::{Rule, Rules, To},
};
use maps::{Facts, Maps};
use proptest::{prelude::*, test_runner::FileFailurePersistence};

/// None if the workload is unknown.
fn allows(maps: &Maps, workload: CgroupId, rule: &Rule) -> Option<bool> {
    let To::Address(address) = rule.to else {
        panic!("the universe is of addresses")
    };
    let verdict = maps.verdict(workload, &Destination::new(rule.transport, address, rule.port))?;
    Some(verdict != Verdict::Deny)
}

fn universe() -> impl Iterator<Item = Rule> {
    (0..5).map(|n| Rule {
        transport: if n == 4 { Transport::Udp } else { Transport::Tcp },
        port: 80,
        to: To::Address(Ipv4Addr::new(192, 0, 2, n).into()),
    })
}

const HOSTS: [HostId; 2] = [HostId::new([1; 16]), HostId::new([2; 16])];

fn host_rules() -> impl Iterator<Item = Rule> {
    HOSTS.into_iter().map(|host| Rule {
        transport: Transport::Tcp,
        port: 80,
        to: To::Host(host),
    })
}

/// Addresses of the universe, so that what a workload is given and rules take each other's place.
fn facts() -> impl Strategy<Value = Facts> {
    let fact = (
        (1..=5_u64),
        (0..5_u8),
        prop::sample::subsequence(&HOSTS[..], 1..=2),
    );
    prop::collection::vec(fact, 0..12).prop_map(|facts| {
        let key = |workload, last| (CgroupId(workload), IpAddr::from([192, 0, 2, last]).into());
        let facts = facts.into_iter();
        facts
            .map(|(workload, last, hosts)| (key(workload, last), hosts.into_iter().collect()))
            .collect()
    })
}

fn rules() -> impl Strategy<Value = Rules> {
    any::<[bool; 7]>().prop_map(|mask| {
        universe()
            .chain(host_rules())
            .zip(mask)
            .filter(|(_, on)| *on)
            .map(|(rule, _)| rule)
            .collect()
    })
}

fn desired() -> impl Strategy<Value = Desired> {
    let mode = prop_oneof![4 => Just(Mode::Enforce), 1 => Just(Mode::Audit), 1 => Just(Mode::Off)];
    let shares = prop_oneof![
        2 => Just(None),
        2 => Just(Some(Shared::Plain)),
        1 => Just(Some(Shared::Proxied)),
    ];
    let policy = (mode, prop::bool::weighted(0.1), shares, rules());
    let who = prop::collection::vec(prop::option::weighted(0.85, 0..4_usize), 5);
    let own = prop::collection::vec(prop::option::weighted(0.5, 0..4_u8), 5);
    let shared = [rules(), rules()];
    (shared, prop::collection::vec(policy, 4), who, own).prop_map(|([plain, proxied], policies, who, own)| {
        // Of the universe, so that rules and own addresses take each other's place.
        let own = (1_u64..).zip(own).filter_map(|(workload, last)| {
            let address = IpAddr::from([192, 0, 2, last?]);
            Some((CgroupId(workload), OwnAddresses::from_iter([address])))
        });
        let shared = [(Shared::Plain, plain), (Shared::Proxied, proxied)];
        let shared: BTreeMap<_, _> = shared
            .into_iter()
            .filter(|(_, rules)| !rules.is_empty())
            .map(|(shares, rules)| (shares, Arc::new(rules)))
            .collect();
        let policies =
            policies
                .into_iter()
                .enumerate()
                .filter_map(|(index, (mode, allows_udp, shares, own))| {
                    let workloads: BTreeSet<_> = (1_u64..)
                        .zip(&who)
                        .filter(|(_, policy)| **policy == Some(index))
                        .map(|(workload, _)| CgroupId(workload))
                        .collect();
                    let own = match shares.and_then(|shares| shared.get(&shares)) {
                        Some(shared) => own.difference(shared).copied().collect(),
                        None => own,
                    };
                    let policy = DesiredPolicy {
                        mode,
                        allows_udp,
                        shares,
                        own: Arc::new(own),
                        workloads,
                    };
                    (!policy.workloads.is_empty()).then_some(policy)
                });
        Desired {
            policies: policies.collect(),
            shared,
            own: own.collect(),
        }
    })
}

fn check_prefixes(from: &Maps, plan: &Plan) {
    let mut to = from.clone();
    plan.changes.iter().for_each(|change| to.carry_out(change));
    assert_eq!(to.0, plan.after, "the plan leads where it says");
    let mut now = from.clone();
    for (step, change) in plan.changes.iter().enumerate() {
        now.carry_out(change);
        for workload in (1..=5).map(CgroupId) {
            for rule in universe() {
                let (old, new) = (allows(from, workload, &rule), allows(&to, workload, &rule));
                let Some(is) = allows(&now, workload, &rule) else {
                    assert!(
                        old.is_none() || new.is_none(),
                        "{workload:?} is unknown at step {step}"
                    );
                    continue;
                };
                let context =
                    || format!("{workload:?} {rule} at step {step} {change:?} of {plan:#?} from {from:#?}");
                assert!(
                    !is || old == Some(true) || new == Some(true),
                    "looser than both ends: {}",
                    context()
                );
                assert!(
                    is || old != Some(true) || new != Some(true),
                    "tighter than both ends: {}",
                    context()
                );
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 20_000,
        failure_persistence: Some(Box::new(FileFailurePersistence::Direct("tests/regressions/plan.txt"))),
        ..ProptestConfig::default()
    })]

    #[test]
    fn no_prefix_is_looser_or_tighter_than_both_ends(
        states in prop::collection::vec(desired(), 2..5),
        facts in facts(),
    ) {
        let mut maps = Maps(Applied::default(), facts);
        for desired in &states {
            let plan = diff(&maps.0, desired);
            check_prefixes(&maps, &plan);
            maps.0 = plan.after;
            let again = diff(&maps.0, desired);
            prop_assert_eq!(again.changes, vec![], "a plan carried out leaves nothing to do");
        }
    }

    #[test]
    fn whoever_is_allowed_less_is_named(first in desired(), second in desired(), facts in facts()) {
        let from = Maps(diff(&Applied::default(), &first).after, facts);
        let plan = diff(&from.0, &second);
        let to = Maps(plan.after.clone(), from.1.clone());
        let restricted = plan.restricted(&from.0);
        let forgotten: BTreeSet<_> = plan.forgotten(&from.0).collect();
        for workload in (1..=5).map(CgroupId) {
            let (before, after) = (from.0.workloads.contains_key(&workload), to.0.workloads.contains_key(&workload));
            prop_assert_eq!(forgotten.contains(&workload), before && !after);
            let is_less = universe().any(|rule| {
                let (old, new) = (allows(&from, workload, &rule), allows(&to, workload, &rule));
                new == Some(false) && old != Some(false)
            });
            prop_assert!(!is_less || restricted.contains(&workload), "{:?} of {:#?} from {:#?}", workload, plan, from);
            let (Some(old), Some(new)) = (from.0.workloads.get(&workload), to.0.workloads.get(&workload)) else {
                continue;
            };
            // A lost rule is no loss where an own address, or a policy for all UDP, allows the same, or where it names a
            // host for which the workload was given nothing, or nothing else.
            let plain = |maps: &Maps, binding: &Binding| {
                let policy = &maps.0.policies[&binding.policy];
                let names_host = |rule: &Rule| matches!(rule.to, To::Host(_));
                let mut scopes = [policy.own, policy.shared].into_iter();
                let is_plain = policy.flags == 0
                    && *binding == Binding::new(binding.policy)
                    && !scopes.any(|scope| maps.0.rules(scope).iter().any(names_host));
                is_plain.then_some(policy.mode)
            };
            let is_alike = plain(&from, old).is_some() && plain(&from, old) == plain(&to, new);
            prop_assert!(
                is_less || !is_alike || !restricted.contains(&workload),
                "{:?} loses nothing by {:#?} from {:#?}", workload, plan, from
            );
        }
        prop_assert!(diff(&to.0, &second).restricted(&to.0).is_empty(), "nothing is done, and nothing taken away");
    }

    #[test]
    fn plan_that_was_cut_short_is_taken_up(first in desired(), second in desired(), third in desired(), facts in facts(), cut in any::<prop::sample::Index>()) {
        let mut maps = Maps(diff(&Applied::default(), &first).after, facts);
        let plan = diff(&maps.0, &second);
        let steps = cut.index(plan.changes.len() + 1);
        plan.changes[..steps].iter().for_each(|change| maps.carry_out(change));
        let plan = diff(&maps.0, &third);
        check_prefixes(&maps, &plan);
    }
}

proptest! {
    #[test]
    fn workload_that_is_let_through_changes_nothing_for_others(
        before in desired(),
        after in desired(),
        facts in facts(),
    ) {
        const OWN: CgroupId = CgroupId(99);
        let from = Maps(diff(&Applied::default(), &before).after, facts);
        let mut maps = from.clone();
        for change in admit(&maps.0, OWN) {
            maps.carry_out(&change);
            for workload in (1..=5).map(CgroupId) {
                for rule in universe() {
                    prop_assert_eq!(allows(&from, workload, &rule), allows(&maps, workload, &rule));
                }
            }
        }
        for rule in universe() {
            prop_assert_eq!(allows(&maps, OWN, &rule), Some(true));
        }
        prop_assert_eq!(admit(&maps.0, OWN).len(), 1, "a second time it needs no policy");
        // A plan goes on from there.
        let plan = diff(&maps.0, &after);
        check_prefixes(&maps, &plan);
    }
}

#[test]
fn one_changed_rule_is_one_change() {
    let policy = |own: Vec<Rule>| DesiredPolicy {
        mode: Mode::Enforce,
        allows_udp: false,
        shares: Some(Shared::Plain),
        own: Arc::new(own.into_iter().collect()),
        workloads: [CgroupId(7)].into(),
    };
    let rule: Vec<_> = universe().collect();
    let shared = BTreeMap::from([(Shared::Plain, Arc::new([rule[0]].into()))]);
    let before = Desired {
        shared: shared.clone(),
        policies: vec![policy(vec![rule[1]])],
        own: BTreeMap::new(),
    };
    let after = Desired {
        shared,
        policies: vec![policy(vec![rule[1], rule[2]])],
        own: BTreeMap::new(),
    };
    let applied = diff(&Applied::default(), &before).after;
    assert_eq!(
        diff(&applied, &after).changes,
        [Change::AddRule(Scope::of_policy(PolicyId(1)), rule[2])]
    );
    assert_eq!(diff(&applied, &before).changes, []);
    let nobody = BTreeSet::new();
    assert_eq!(diff(&applied, &after).restricted(&applied), nobody, "it has more");
    let more = diff(&applied, &after).after;
    assert_eq!(diff(&more, &before).restricted(&more), [CgroupId(7)].into());
    let all_go = diff(&more, &Desired::default());
    assert_eq!(all_go.restricted(&more), nobody, "nobody is left");
    assert_eq!(all_go.forgotten(&more).collect::<Vec<_>>(), [CgroupId(7)]);
    let id = PolicyId(1);
    let value = Policy {
        mode: Mode::Enforce as u32,
        own: Scope::of_policy(PolicyId(1)),
        shared: Scope::SHARED,
        flags: 0,
    };
    assert_eq!(applied.policies, [(id, value)].into());
}

#[test]
fn workload_that_gets_a_rule_of_its_own_beside_one_that_had_the_same_loses_nothing() {
    let policy = |workloads: &[u64], own: Vec<Rule>| DesiredPolicy {
        mode: Mode::Enforce,
        allows_udp: false,
        shares: Some(Shared::Plain),
        own: Arc::new(own.into_iter().collect()),
        workloads: workloads.iter().copied().map(CgroupId).collect(),
    };
    let rule = universe().next().unwrap();
    let desired = |policies| Desired {
        policies,
        ..Desired::default()
    };
    let alike = desired(vec![policy(&[1, 2], vec![])]);
    let apart = desired(vec![policy(&[1], vec![]), policy(&[2], vec![rule])]);
    let before = diff(&Applied::default(), &alike).after;
    let added = diff(&before, &apart);
    let bound = |applied: &Applied| {
        applied
            .workloads
            .values()
            .map(|it| it.policy)
            .collect::<BTreeSet<_>>()
    };
    assert_eq!((bound(&before).len(), bound(&added.after).len()), (1, 2));
    assert_eq!(added.restricted(&before), BTreeSet::new());
    let removed = diff(&added.after, &alike);
    assert_eq!(
        removed.restricted(&added.after),
        [CgroupId(2)].into(),
        "and the other still has what it had"
    );
}
