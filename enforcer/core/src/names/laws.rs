//! Properties that hold for any sequence of events, checked against a model that only records each answer.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    time::Duration,
};

use proptest::prelude::*;

use crate::{model::Host, registry::Update};

use super::*;

/// Something that happens `after` seconds.
#[derive(Clone, Debug)]
struct Step {
    after: u64,
    event: Event,
}

#[derive(Clone, Debug)]
enum Event {
    Good(Family, BTreeSet<u8>, u64),
    Bad(Family, Cause),
    Pass,
}

fn family() -> impl Strategy<Value = Family> {
    prop_oneof![Just(Family::V4), Just(Family::V6)]
}

fn cause() -> impl Strategy<Value = Cause> {
    prop_oneof![
        Just(Cause::Empty { ttl: None }),
        Just(Cause::NoSuchName { ttl: None }),
        Just(Cause::ServerFailure),
        Just(Cause::Refused),
        Just(Cause::Timeout),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let given = prop::collection::btree_set(1_u8..6, 1..5);
    let event = prop_oneof![
        3 => (family(), given, 0..400_u64).prop_map(|(family, given, ttl)| Event::Good(family, given, ttl)),
        2 => (family(), cause()).prop_map(|(family, cause)| Event::Bad(family, cause)),
        1 => Just(Event::Pass),
    ];
    (0..50_u64, event).prop_map(|(after, event)| Step { after, event })
}

fn address(family: Family, n: u8) -> IpAddr {
    match family {
        Family::V4 => IpAddr::from([192, 0, 2, n]),
        Family::V6 => IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, u16::from(n)]),
    }
}

/// For each address: whether the newest good answer of its family has it, and when the first answer without it
/// came after one with it.
#[derive(Default)]
struct Said {
    by_newest: BTreeMap<Family, BTreeSet<IpAddr>>,
    dropped: BTreeMap<IpAddr, u64>,
}

impl Said {
    fn good(&mut self, family: Family, given: &BTreeSet<IpAddr>, now: u64) {
        let last = self.by_newest.insert(family, given.clone()).unwrap_or_default();
        for gone in last.difference(given) {
            self.dropped.insert(*gone, now);
        }
        self.dropped.retain(|address, _| !given.contains(address));
    }

    fn expected(&self, now: u64) -> BTreeSet<IpAddr> {
        let grace = Pacing::default().grace.as_secs();
        let leaving = self.dropped.iter().filter(|(_, at)| now < **at + grace);
        self.by_newest
            .values()
            .flatten()
            .chain(leaving.map(|(address, _)| address))
            .copied()
            .collect()
    }
}

fn run(names: &mut Names, host: &Host, now: u64, event: &Event) -> Outcome {
    let moment = Moment::new(Duration::from_secs(now));
    let (family, result) = match event {
        Event::Pass => return names.expire(moment),
        Event::Bad(family, cause) => (*family, Err(cause.clone().into())),
        Event::Good(family, given, ttl) => (
            *family,
            Ok(Answer {
                addresses: given.iter().map(|n| address(*family, *n)).collect(),
                ttl: Duration::from_secs(*ttl),
            }),
        ),
    };
    let query = Query {
        host: host.clone(),
        family,
    };
    names.answer(moment, Reply { query, result }, Jitter::default())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    /// The allowed addresses are those in the newest good answers, and those in earlier ones within the grace
    /// period; a failure does not change them; and the updates, taken together, result in exactly these.
    #[test]
    fn addresses_are_those_of_the_newest_answers_and_of_the_grace(steps in prop::collection::vec(step(), 1..40)) {
        let host = Host::new("db.example.com");
        let mut names = Names::new(Pacing::default());
        names.set_hosts(Moment::START, &BTreeSet::from([host.clone()]));
        let (mut said, mut told, mut now) = (Said::default(), BTreeSet::new(), 0);
        for Step { after, event } in steps {
            now += after;
            let moment = Moment::new(Duration::from_secs(now));
            let before = names.expire(moment);
            let held = names.status(moment)[0].addresses.clone();
            let outcome = run(&mut names, &host, now, &event);
            if let Event::Good(family, given, _) = &event {
                said.good(*family, &given.iter().map(|n| address(*family, *n)).collect(), now);
            } else {
                prop_assert!(outcome.updates.is_empty(), "a failure changed {held:?}");
            }
            for update in before.updates.into_iter().chain(outcome.updates) {
                let Update::Resolved { addresses, .. } = update else {
                    return Err(TestCaseError::fail("not a resolution"));
                };
                prop_assert_ne!(&addresses, &told, "an update that says nothing new");
                told = addresses;
            }
            prop_assert_eq!(&told, &said.expected(now));
            prop_assert_eq!(&names.status(moment)[0].addresses, &told);
        }
    }

    /// Every query of every wanted host is either in flight or scheduled, never lost and never duplicated, and the
    /// next one is never sent sooner than the shortest pause or later than the longest.
    #[test]
    fn every_query_keeps_its_turn(
        events in prop::collection::vec((0..4_usize, 0..400_u64, any::<u16>(), any::<bool>()), 1..80),
    ) {
        let all: Vec<_> = (0..4).map(|n| Host::new(&format!("h{n}.example.com"))).collect();
        let mut names = Names::new(Pacing::default());
        let mut now = Moment::START;
        names.set_hosts(now, &all.iter().cloned().collect());
        let mut on_the_way: BTreeSet<Query> = BTreeSet::new();
        for (pick, number, draw, good) in events {
            for query in names.due(now, pick + 1) {
                prop_assert!(on_the_way.insert(query), "asked twice at a time");
            }
            if let Some(query) = on_the_way.iter().nth(pick % on_the_way.len().max(1)).cloned() {
                on_the_way.remove(&query);
                let result = if good {
                    let addresses = BTreeSet::from([address(query.family, 1)]);
                    Ok(Answer { addresses, ttl: Duration::from_secs(number) })
                } else {
                    Err(Cause::Timeout.into())
                };
                names.answer(now, Reply { query, result }, Jitter::new(draw));
            } else if let Some(wake) = names.next_wake() {
                prop_assert!(wake.since(now) <= Duration::from_secs(330), "waits too long");
                now = now.max(wake);
            }
            prop_assert_eq!(names.schedule.len() + on_the_way.len(), 2 * all.len());
        }
    }
}
