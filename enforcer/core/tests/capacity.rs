//! Maps of any size: what is fitted is never more than fits nor looser than desired, and every step of every plan fits.

#[path = "laws/maps.rs"]
mod maps;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::Ipv4Addr,
    sync::Arc,
};

use enforcer_common::{CgroupId, HostId, Mode, PolicyId, Transport, Verdict};
use enforcer_core::{
    capacity::{Capacities, Table},
    model::Destination,
    plan::{Applied, Change, Plan, PlanKind, diff, diff_within},
    policy::{Desired, DesiredPolicy, Shared, fit},
    rule::{Rule, Rules, To},
};
use maps::{Facts, Maps};
use proptest::{prelude::*, test_runner::FileFailurePersistence};

const WORKLOADS: u64 = 5;

fn universe() -> Vec<Rule> {
    let tcp = |port, to| Rule {
        transport: Transport::Tcp,
        port,
        to,
    };
    let address = |n| To::Address(Ipv4Addr::new(192, 0, 2, n).into());
    let network = |text: &str| To::Network(text.parse().expect("a network"));
    let mut rules: Vec<_> = (0..4).map(|n| tcp(80, address(n))).collect();
    rules.extend([
        tcp(80, network("192.0.2.0/31")),
        tcp(80, network("192.0.2.0/30")),
        tcp(80, To::Any),
        tcp(53, address(1)),
    ]);
    rules.push(Rule {
        transport: Transport::Udp,
        ..tcp(80, address(1))
    });
    rules.extend(HOSTS.map(|host| tcp(80, To::Host(host))));
    rules
}

const HOSTS: [HostId; 2] = [HostId::new([1; 16]), HostId::new([2; 16])];

fn facts() -> impl Strategy<Value = Facts> {
    let addresses = destinations().map(|to| to.address);
    let addresses: Vec<_> = addresses.collect::<BTreeSet<_>>().into_iter().collect();
    let fact = (
        1..=WORKLOADS,
        prop::sample::select(addresses),
        prop::sample::subsequence(&HOSTS[..], 1..=2),
    );
    prop::collection::vec(fact, 0..12).prop_map(|facts| {
        let facts = facts.into_iter();
        facts
            .map(|(workload, address, hosts)| {
                let key = (CgroupId(workload), address.into());
                (key, hosts.into_iter().collect())
            })
            .collect()
    })
}

fn destinations() -> impl Iterator<Item = Destination> {
    let rules = universe().into_iter().filter_map(|rule| match rule.to {
        To::Address(address) => Some(Destination::new(rule.transport, address, rule.port)),
        To::Any | To::Network(_) | To::Host(_) => None,
    });
    let elsewhere = Destination::new(Transport::Tcp, Ipv4Addr::new(198, 51, 100, 1).into(), 80);
    rules.chain([elsewhere])
}

fn rules() -> impl Strategy<Value = Rules> {
    any::<[bool; 11]>().prop_map(|mask| {
        let rules = universe().into_iter().zip(mask);
        rules.filter(|(_, on)| *on).map(|(rule, _)| rule).collect()
    })
}

fn desired() -> impl Strategy<Value = Desired> {
    let mode = prop_oneof![5 => Just(Mode::Enforce), 1 => Just(Mode::Audit)];
    let shares = prop_oneof![
        2 => Just(None),
        2 => Just(Some(Shared::Plain)),
        1 => Just(Some(Shared::Proxied)),
    ];
    let policy = (mode, prop::bool::weighted(0.1), shares, rules());
    let who = prop::collection::vec(prop::option::weighted(0.85, 0..4_usize), 5);
    let shared = [rules(), rules()];
    (shared, prop::collection::vec(policy, 4), who).prop_map(|([plain, proxied], policies, who)| {
        let shared = [
            (Shared::Plain, Arc::new(plain)),
            (Shared::Proxied, Arc::new(proxied)),
        ];
        let mut shared = BTreeMap::from(shared);
        let policies = policies.into_iter().enumerate();
        let mut policies: Vec<_> = policies
            .filter_map(|(index, (mode, allows_udp, shares, own))| {
                let workloads: BTreeSet<_> = (1..=WORKLOADS)
                    .zip(&who)
                    .filter(|(_, policy)| **policy == Some(index))
                    .map(|(workload, _)| CgroupId(workload))
                    .collect();
                let own = match shares.and_then(|shares| shared.get(&shares)) {
                    Some(shared) => own.difference(shared).copied().collect(),
                    None => own,
                };
                (!workloads.is_empty()).then_some(DesiredPolicy {
                    mode,
                    allows_udp,
                    shares,
                    own: Arc::new(own),
                    workloads,
                })
            })
            .collect();
        policies.sort_by_key(|policy| policy.workloads.first().copied());
        shared.retain(|shares, rules| {
            let is_shared = policies.iter().any(|policy| policy.shares == Some(*shares));
            is_shared && !rules.is_empty()
        });
        Desired {
            shared,
            policies,
            own: BTreeMap::new(),
        }
    })
}

fn capacities() -> impl Strategy<Value = Capacities> {
    (1..6_u32, 1..5_u32, 1..20_u32, 1..8_u32, 1..5_u32, 1..8_u32).prop_map(
        |(workloads, policies, exact, prefixes, ports, hosts)| Capacities {
            workloads,
            policies,
            exact,
            prefixes,
            ports,
            hosts,
        },
    )
}

/// Whether it gets through; a workload that is not known is refused.
fn allows(maps: &Maps, workload: CgroupId, to: &Destination) -> bool {
    maps.verdict(workload, to)
        .is_some_and(|verdict| verdict != Verdict::Deny)
}

fn installed(desired: &Desired, facts: &Facts) -> Maps {
    Maps(diff(&Applied::default(), desired).after, facts.clone())
}

fn check_way(from: &Maps, plan: &Plan, kind: PlanKind, capacities: &Capacities) {
    let mut to = from.clone();
    plan.changes.iter().for_each(|change| to.carry_out(change));
    assert_eq!(to.0, plan.after, "the plan leads where it says");
    let mut now = from.clone();
    for (step, change) in plan.changes.iter().enumerate() {
        now.carry_out(change);
        let context = || format!("step {step} {change:?} of {kind:?} {plan:#?} from {from:#?}");
        assert!(now.0.counted().fit(capacities), "too much at {}", context());
        for workload in (1..=WORKLOADS).map(CgroupId) {
            for destination in destinations() {
                let is = allows(&now, workload, &destination);
                let (old, new) = (
                    allows(from, workload, &destination),
                    allows(&to, workload, &destination),
                );
                let subject = || format!("{workload:?} {destination} at {}", context());
                assert!(!is || old || new, "looser than both ends: {}", subject());
                if !matches!(kind, PlanKind::RemovalsFirst(_)) {
                    assert!(is || !old || !new, "tighter than both ends: {}", subject());
                }
            }
        }
    }
    // The kernel's array has a place for each new identifier.
    for change in &plan.changes {
        if let Change::SetPolicy(id, _) = change {
            assert!(
                id.0 < PolicyId::indices(capacities.policies),
                "{id:?} of {capacities:?}"
            );
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 10_000,
        failure_persistence: Some(Box::new(FileFailurePersistence::Direct("tests/regressions/capacity.txt"))),
        ..ProptestConfig::default()
    })]

    #[test]
    fn what_is_fitted_fits_and_is_never_looser(
        desired in desired(),
        capacities in capacities(),
        facts in facts(),
    ) {
        let whole = installed(&desired, &facts);
        let (fitted, report) = fit(desired.clone(), &capacities);
        let cut = installed(&fitted, &facts);
        prop_assert!(cut.0.counted().fit(&capacities));
        prop_assert_eq!(report.is_exceeded(), !whole.0.counted().fit(&capacities));
        if !report.is_exceeded() {
            prop_assert_eq!(&fitted, &desired, "what fits is left as it is");
            prop_assert!(report.workloads.is_empty() && report.rules.is_empty());
        }
        for workload in (1..=WORKLOADS).map(CgroupId) {
            let is_left_out = report.workloads.values().any(|left| left.contains(&workload));
            let was_known = whole.0.workloads.contains_key(&workload);
            prop_assert_eq!(cut.0.workloads.contains_key(&workload), was_known && !is_left_out, "{:?}", workload);
            for destination in destinations() {
                prop_assert!(
                    !allows(&cut, workload, &destination) || allows(&whole, workload, &destination),
                    "looser: {:?} {}", workload, destination
                );
            }
        }
        for (table, usage) in &report.tables {
            prop_assert_eq!(usage.used, cut.0.counted().of(*table));
            prop_assert_eq!(usage.needed, whole.0.counted().of(*table));
            prop_assert!(usage.used <= usage.capacity);
        }
        for left in &report.rules {
            let usage = report.tables[&Table::of_rule(&left.rule)];
            prop_assert!(usage.is_exceeded(), "{:?} is named, and its map was not full", left);
        }
        prop_assert_eq!(fit(desired, &capacities), (fitted, report), "the same every time");
    }

    #[test]
    fn every_step_fits_and_none_is_looser_than_both_ends(
        states in prop::collection::vec(desired(), 2..5),
        capacities in capacities(),
        facts in facts(),
    ) {
        let mut maps = Maps(Applied::default(), facts);
        for desired in states {
            let (fitted, _) = fit(desired, &capacities);
            let (plan, kind) = diff_within(&maps.0, &fitted, &capacities);
            check_way(&maps, &plan, kind, &capacities);
            maps.0 = plan.after;
            let (again, _) = diff_within(&maps.0, &fitted, &capacities);
            prop_assert_eq!(again.changes, vec![], "a plan carried out leaves nothing to do");
        }
    }

    #[test]
    fn plan_that_was_cut_short_is_taken_up(
        states in [desired(), desired(), desired()],
        cut in any::<prop::sample::Index>(),
        capacities in capacities(),
        facts in facts(),
    ) {
        let [first, second, third] = states.map(|desired| fit(desired, &capacities).0);
        let mut maps = installed(&first, &facts);
        let (plan, _) = diff_within(&maps.0, &second, &capacities);
        let steps = cut.index(plan.changes.len() + 1);
        plan.changes[..steps].iter().for_each(|change| maps.carry_out(change));
        let (plan, kind) = diff_within(&maps.0, &third, &capacities);
        check_way(&maps, &plan, kind, &capacities);
    }
}

fn one_policy(rules: impl IntoIterator<Item = u8>) -> Desired {
    let own = rules.into_iter().map(|n| Rule {
        transport: Transport::Tcp,
        port: 80,
        to: To::Address(Ipv4Addr::new(192, 0, 2, n).into()),
    });
    Desired {
        own: BTreeMap::new(),
        shared: BTreeMap::new(),
        policies: vec![DesiredPolicy {
            mode: Mode::Enforce,
            allows_udp: false,
            shares: None,
            own: Arc::new(own.collect()),
            workloads: [CgroupId(7)].into(),
        }],
    }
}

#[test]
fn full_map_takes_other_rules_without_refusing_those_that_stay() {
    let capacities = Capacities {
        exact: 10,
        ..Capacities::default()
    };
    let before = installed(&one_policy(0..10), &Facts::new());
    let (plan, kind) = diff_within(&before.0, &one_policy(5..15), &capacities);
    assert_eq!(kind, PlanKind::TrimmedFirst);
    check_way(&before, &plan, kind, &capacities);
    assert!(matches!(plan.changes[..5], [Change::RemoveRule(..), ..]));
    assert_eq!(plan.changes.len(), 10);
}

#[test]
fn full_map_whose_policy_is_to_be_another_is_emptied_first() {
    let capacities = Capacities {
        exact: 10,
        ..Capacities::default()
    };
    let mut desired = one_policy(0..10);
    let before = installed(&desired, &Facts::new());
    desired.policies[0].mode = Mode::Audit;
    let (plan, kind) = diff_within(&before.0, &desired, &capacities);
    assert!(
        matches!(kind, PlanKind::RemovalsFirst(needed) if needed.of(Table::Exact) == 20),
        "{kind:?}"
    );
    assert_eq!(plan.changes.len(), 1, "no rule of it changes: {plan:?}");
}

#[test]
fn names_can_be_asked_for_whatever_is_left_out() {
    let capacities = Capacities {
        exact: 3,
        ..Capacities::default()
    };
    let mut desired = one_policy(0..10);
    let dns = Rule {
        transport: Transport::Udp,
        port: 53,
        to: To::Address(Ipv4Addr::new(192, 0, 2, 53).into()),
    };
    Arc::make_mut(&mut desired.policies[0].own).insert(dns);
    let (fitted, report) = fit(desired, &capacities);
    assert!(fitted.policies[0].own.contains(&dns));
    assert_eq!(fitted.policies[0].own.len(), 3);
    assert_eq!(report.tables[&Table::Exact].needed, 11);
}
