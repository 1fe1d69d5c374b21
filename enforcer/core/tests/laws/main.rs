//! Laws of the whole way from objects to verdicts, over random worlds.
//!
//! ```text
//! World -> Registry -> Desired -> plan -> maps -> decide --.
//!      |-> naive -------------------------------------------> the same verdict
//!      \-> envoy -------------------------------------------> nothing that is refused under `istio`
//! World, observations -> suggest -> Registry -> ... -> what was seen is allowed, and nothing else
//! ```

mod effects;
mod envoy;
mod explained;
mod hidden;
mod maps;
mod naive;
mod proxy;
mod suggested;
mod worlds;

use std::cell::Cell;

use enforcer_core::{
    model::{CgroupId, Destination, Transport, Verdict},
    pattern,
    plan::{Applied, Plan, diff},
    registry::{Registry, Update},
    settings::{Matching, Settings},
};
use maps::{Facts, Maps};
use naive::{Given, World};
use proptest::{
    collection::vec,
    prelude::*,
    sample::Index,
    test_runner::{FileFailurePersistence, TestRunner},
};

fn config(cases: u32, regressions: &'static str) -> ProptestConfig {
    ProptestConfig {
        cases,
        failure_persistence: Some(Box::new(FileFailurePersistence::Direct(regressions))),
        ..ProptestConfig::default()
    }
}

fn world(settings: &Settings, updates: &[Update]) -> World {
    let mut world = World::new(settings.clone());
    updates.iter().for_each(|update| world.apply(update.clone()));
    world
}

/// What the programs have learned of what workloads were given: every host that stands for a name.
fn facts(given: &[Given]) -> Facts {
    let mut facts = Facts::new();
    for Given { to, address, name } in given {
        let hosts = worlds::hosts().filter(|host| host.covers(name));
        let known = facts.entry((*to, (*address).into())).or_default();
        known.extend(hosts.map(|host| pattern::id(&host)));
    }
    facts
}

fn registry(settings: &Settings, updates: impl IntoIterator<Item = Update>) -> Registry {
    let mut registry = Registry::new(settings.clone());
    updates.into_iter().for_each(|update| registry.apply(update));
    registry
}

/// The verdicts of the programs on every destination for every workload are the naive ones.
fn check_verdicts(maps: &Maps, world: &World, destinations: &[Destination]) -> Result<(), TestCaseError> {
    for (cgroup, workload) in &world.workloads {
        let seen = world.seen_by(*cgroup);
        for to in destinations {
            let decided = maps.verdict(*cgroup, to);
            let expected = naive::verdict(&seen, workload, to);
            prop_assert_eq!(decided, Some(expected), "{} to {}", workload, to);
        }
    }
    Ok(())
}

/// Nothing that neither end allows, all that both allow, for every workload that is there all the time.
fn check_prefixes(from: &Maps, plan: &Plan, destinations: &[Destination]) -> Result<(), TestCaseError> {
    let allows = |maps: &Maps| -> Vec<Option<bool>> {
        let workloads = (1..4).map(CgroupId);
        let flows = workloads.flat_map(|workload| destinations.iter().map(move |to| (workload, to)));
        flows
            .map(|(workload, to)| {
                let verdict = maps.verdict(workload, to)?;
                Some(verdict != Verdict::Deny)
            })
            .collect()
    };
    let (old, new) = (allows(from), allows(&Maps(plan.after.clone(), from.1.clone())));
    let mut now = from.clone();
    for (step, change) in plan.changes.iter().enumerate() {
        now.carry_out(change);
        let is = allows(&now);
        for index in 0..is.len() {
            match (old[index], is[index], new[index]) {
                (old, None, new) => prop_assert!(old.is_none() || new.is_none(), "unknown at step {}", step),
                (Some(false) | None, Some(true), Some(false) | None) => {
                    prop_assert!(false, "looser than both ends at step {step}: {change:?}");
                }
                (Some(true), Some(false), Some(true)) => {
                    prop_assert!(false, "tighter than both ends at step {step}: {change:?}");
                }
                _ => {}
            }
        }
    }
    prop_assert_eq!(&now.0, &plan.after, "the plan leads where it says");
    Ok(())
}

proptest! {
    #![proptest_config(config(100_000, "tests/regressions/verdicts.txt"))]

    #[test]
    fn verdicts_are_those_of_the_naive_reading(
        settings in worlds::settings(),
        arrivals in worlds::arrivals(),
        given in vec(worlds::given(), 0..6),
        destinations in vec(worlds::destination(), 12),
    ) {
        let mut world = world(&settings, &arrivals);
        let desired = registry(&settings, arrivals).desired();
        let maps = Maps(diff(&Applied::default(), &desired).after, facts(&given));
        world.given = given;
        check_verdicts(&maps, &world, &destinations)?;
    }
}

proptest! {
    #![proptest_config(config(100_000, "tests/regressions/envoy.txt"))]

    #[test]
    fn istio_refuses_nothing_that_envoy_could_accept(
        settings in worlds::settings(),
        arrivals in worlds::arrivals(),
        destinations in vec(worlds::destination(), 12),
    ) {
        let settings = Settings { matching: Matching::Istio, ..settings };
        // What a client's proxy dials must not stand in for what the client dials.
        let arrivals: Vec<_> = arrivals.into_iter().map(worlds::without_proxy).collect();
        let world = world(&settings, &arrivals);
        let desired = registry(&settings, arrivals).desired();
        let maps = Maps(diff(&Applied::default(), &desired).after, Facts::new());
        for (cgroup, workload) in &world.workloads {
            for to in destinations.iter().filter(|to| to.transport == Transport::Tcp) {
                if envoy::could_accept(&world, workload, to) {
                    let decided = maps.verdict(*cgroup, to);
                    prop_assert_eq!(decided, Some(Verdict::Allow), "{} to {}", workload, to);
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(config(20_000, "tests/regressions/effects.txt"))]

    #[test]
    fn what_allows_nothing_has_a_warning(settings in worlds::settings(), arrivals in worlds::arrivals()) {
        effects::check(&world(&settings, &arrivals))?;
    }
}

proptest! {
    #![proptest_config(config(20_000, "tests/regressions/hidden.txt"))]

    #[test]
    fn what_nobody_sees_for_sidecars_has_a_warning_and_nothing_else(
        settings in worlds::settings(),
        arrivals in worlds::arrivals(),
    ) {
        hidden::check(&world(&settings, &arrivals))?;
    }
}

proptest! {
    #![proptest_config(config(20_000, "tests/regressions/declared.txt"))]

    /// What the author means is part of what Envoy could accept.
    #[test]
    fn declared_allows_nothing_that_istio_refuses(
        settings in worlds::settings(),
        arrivals in worlds::arrivals(),
        given in vec(worlds::given(), 0..6),
        destinations in vec(worlds::destination(), 12),
    ) {
        let maps = |matching| {
            let settings = Settings { matching, ..settings.clone() };
            let desired = registry(&settings, arrivals.clone()).desired();
            Maps(diff(&Applied::default(), &desired).after, facts(&given))
        };
        let (declared, istio) = (maps(Matching::Declared), maps(Matching::Istio));
        for workload in (1..4).map(CgroupId) {
            for to in &destinations {
                if declared.verdict(workload, to) == Some(Verdict::Allow) {
                    prop_assert_eq!(istio.verdict(workload, to), Some(Verdict::Allow), "{:?} to {}", workload, to);
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(config(20_000, "tests/regressions/explained.txt"))]

    #[test]
    fn explanations_are_what_the_maps_decide(
        settings in worlds::settings(),
        arrivals in worlds::arrivals(),
        given in vec(worlds::given(), 0..6),
        sizes in vec(0..12_u32, 6),
        destinations in vec(worlds::destination(), 12),
    ) {
        explained::check(&mut registry(&settings, arrivals), &facts(&given), (&sizes, &destinations))?;
    }
}

proptest! {
    #![proptest_config(config(20_000, "tests/regressions/named.txt"))]

    #[test]
    fn explanations_by_name_are_those_of_an_address_that_was_given_for_it(
        settings in worlds::settings(),
        arrivals in worlds::arrivals(),
        names in vec(worlds::named(), 6),
    ) {
        explained::check_names(&mut registry(&settings, arrivals), &names)?;
    }
}

proptest! {
    #![proptest_config(config(20_000, "tests/regressions/history.txt"))]

    /// Deletions and returns included; answers that are asked for in between change nothing.
    #[test]
    fn any_history_comes_to_what_its_end_compiles_to(
        settings in worlds::settings(),
        history in vec((worlds::update(), any::<bool>()), 0..25),
        order in vec(any::<u32>(), 25),
        destinations in vec(worlds::destination(), 4),
    ) {
        let mut stepwise = Registry::new(settings.clone());
        let mut end = World::new(settings.clone());
        for (update, is_asked) in history {
            end.apply(update.clone());
            stepwise.apply(update);
            if is_asked {
                stepwise.desired();
            }
        }
        let mut left: Vec<_> = order.into_iter().zip(end.updates()).collect();
        left.sort_by_key(|(order, _)| *order);
        let mut at_once = registry(&settings, left.into_iter().map(|(_, update)| update));
        let desired = stepwise.desired();
        prop_assert_eq!(&desired, &at_once.desired());
        prop_assert_eq!(stepwise.hosts(), at_once.hosts());
        let maps = Maps(diff(&Applied::default(), &desired).after, Facts::new());
        check_verdicts(&maps, &end, &destinations)?;
    }
}

proptest! {
    #![proptest_config(config(20_000, "tests/regressions/prefixes.txt"))]

    #[test]
    fn no_prefix_of_a_plan_is_looser_or_tighter_than_both_ends(
        settings in worlds::settings(),
        arrivals in worlds::arrivals(),
        batches in vec(vec(worlds::update(), 1..6), 1..4),
        given in vec(worlds::given(), 0..6),
        cut in any::<Index>(),
        destinations in vec(worlds::destination(), 10),
    ) {
        let mut world = world(&settings, &arrivals);
        let mut registry = registry(&settings, arrivals);
        let mut maps = Maps(diff(&Applied::default(), &registry.desired()).after, facts(&given));
        world.given = given;
        for batch in batches {
            for update in batch {
                world.apply(update.clone());
                registry.apply(update);
            }
            let plan = diff(&maps.0, &registry.desired());
            check_prefixes(&maps, &plan, &destinations)?;
            maps.0 = plan.after;
            check_verdicts(&maps, &world, &destinations[..3])?;
        }
        // A plan that was cut short is taken up from where it stands.
        world.workloads.clear();
        let plan = diff(&maps.0, &Registry::new(settings.clone()).desired());
        let steps = cut.index(plan.changes.len() + 1);
        plan.changes[..steps].iter().for_each(|change| maps.carry_out(change));
        let plan = diff(&maps.0, &registry.desired());
        check_prefixes(&maps, &plan, &destinations)?;
    }
}

/// How many worlds suggestions are made for. `ENFORCER_SUGGESTIONS` is another number.
fn suggestions() -> u32 {
    let number = std::env::var("ENFORCER_SUGGESTIONS").ok();
    number.map_or(1_000, |number| {
        number.parse().expect("ENFORCER_SUGGESTIONS is a number")
    })
}

/// Random destinations that are tried in each of these worlds by each of its workloads.
const TRIED: usize = 100;

#[test]
fn suggestions_allow_what_was_seen_and_nothing_else() {
    let config = config(suggestions(), "tests/regressions/suggested.txt");
    let cases = config.cases as usize;
    let tried = Cell::new(0);
    let worlds = (
        worlds::settings(),
        worlds::arrivals(),
        vec(worlds::given(), 0..6),
        vec(suggested::glimpse(), 1..8),
        vec(worlds::destination(), TRIED),
    );
    let outcome =
        TestRunner::new(config).run(&worlds, |(settings, arrivals, given, glimpses, destinations)| {
            let others = (&glimpses[..], &facts(&given), &destinations[..]);
            tried.set(tried.get() + suggested::check(&settings, arrivals, others)?);
            Ok(())
        });
    outcome.unwrap_or_else(|error| panic!("{error}"));
    let tried = tried.get();
    println!("suggestions: {tried} random destinations tried in {cases} worlds");
    // Some are drawn twice, and most worlds have several workloads.
    assert!(tried >= 100_000 || cases < 1_000);
}

proptest! {
    #![proptest_config(config(suggestions(), "tests/regressions/suggested.txt"))]

    #[test]
    fn without_a_registry_everything_that_was_seen_is_suggested(
        matching in proptest::sample::select(&[Matching::Declared, Matching::Istio][..]),
        glimpses in vec(suggested::glimpse(), 1..12),
    ) {
        let settings = Settings { matching, ..Settings::default() };
        suggested::check_alone(&settings, &glimpses)?;
        suggested::check(&settings, Vec::new(), (&glimpses, &Facts::new(), &[]))?;
    }
}
