//! One timetable per promise: `check`s are steps of a [`Table`], which has the clock.

use std::{collections::BTreeSet, net::IpAddr, time::Duration};

use crate::{model::Host, registry::Update};

use super::*;

const HOST: &str = "db.example.com";

/// A registry of names with a clock in seconds.
struct Table {
    names: Names,
    now: Moment,
}

fn addresses(list: &[&str]) -> BTreeSet<IpAddr> {
    list.iter().map(|address| address.parse().unwrap()).collect()
}

fn hosts(list: &[&str]) -> BTreeSet<Host> {
    list.iter().map(|name| Host::new(name)).collect()
}

fn query(name: &str, family: Family) -> Query {
    Query {
        host: Host::new(name),
        family,
    }
}

fn every_failure() -> Vec<Cause> {
    vec![
        Cause::Empty { ttl: None },
        Cause::Empty {
            ttl: Some(Duration::from_secs(60)),
        },
        Cause::NoSuchName { ttl: None },
        Cause::ServerFailure,
        Cause::Refused,
        Cause::Timeout,
        Cause::Unusable([224, 0, 0, 1].into()),
        Cause::Other("network is unreachable".into()),
    ]
}

impl Table {
    fn of(list: &[&str]) -> Self {
        let mut names = Names::new(Pacing::default());
        assert_eq!(names.set_hosts(Moment::START, &hosts(list)), Outcome::default());
        Self {
            names,
            now: Moment::START,
        }
    }

    fn at(&mut self, seconds: u64) -> &mut Self {
        self.now = Moment::new(Duration::from_secs(seconds));
        self
    }

    fn reply(&mut self, family: Family, result: Result<Answer, Failure>) -> Outcome {
        let query = query(HOST, family);
        self.names
            .answer(self.now, Reply { query, result }, Jitter::default())
    }

    fn good(&mut self, family: Family, ttl: u64, list: &[&str]) -> Outcome {
        self.reply(
            family,
            Ok(Answer {
                addresses: addresses(list),
                ttl: Duration::from_secs(ttl),
            }),
        )
    }

    fn bad(&mut self, family: Family, cause: Cause) -> Outcome {
        self.reply(family, Err(cause.into()))
    }

    fn due(&mut self) -> Vec<Query> {
        self.names.due(self.now, usize::MAX)
    }

    fn status(&self) -> HostStatus {
        self.names.status(self.now).into_iter().next().unwrap()
    }

    #[track_caller]
    fn holds(&self, list: &[&str]) {
        assert_eq!(self.status().addresses, addresses(list), "at {:?}", self.now);
    }
}

fn resolved(list: &[&str]) -> Vec<Update> {
    vec![Update::Resolved {
        host: Host::new(HOST),
        addresses: addresses(list),
    }]
}

#[test]
fn new_host_is_due_at_once_in_both_families_and_only_once() {
    let mut table = Table::of(&[HOST]);
    assert_eq!(table.due(), [query(HOST, Family::V4), query(HOST, Family::V6)]);
    assert_eq!(table.due(), [], "what is on its way is not due");
    assert_eq!(table.names.next_wake(), None);
}

#[test]
fn wildcards_and_addresses_are_never_asked_for() {
    let mut table = Table::of(&["*", "*.example.com", "192.0.2.1", "2001:db8::1"]);
    assert_eq!(table.due(), []);
    assert!(table.names.status(table.now).is_empty());
}

#[test]
fn new_host_goes_before_those_that_were_asked_before() {
    let mut table = Table::of(&["a.example.com"]);
    table.due();
    let reply = Reply {
        query: query("a.example.com", Family::V4),
        result: Err(Cause::Timeout.into()),
    };
    table.names.answer(table.now, reply, Jitter::default());
    table.at(100);
    table
        .names
        .set_hosts(table.now, &hosts(&["a.example.com", "z.example.com"]));
    let first = table.names.due(table.now, 2);
    assert_eq!(
        first,
        [
            query("z.example.com", Family::V4),
            query("z.example.com", Family::V6)
        ]
    );
    assert_eq!(table.due(), [query("a.example.com", Family::V4)]);
}

#[test]
fn update_is_given_only_if_the_addresses_changed() {
    let mut table = Table::of(&[HOST]);
    assert_eq!(
        table.good(Family::V4, 60, &["192.0.2.1"]).updates,
        resolved(&["192.0.2.1"])
    );
    assert_eq!(table.at(60).good(Family::V4, 60, &["192.0.2.1"]).updates, []);
    assert_eq!(
        table.at(61).good(Family::V6, 60, &["2001:db8::1"]).updates,
        resolved(&["192.0.2.1", "2001:db8::1"])
    );
}

#[test]
fn host_that_never_answered_is_absent() {
    for cause in every_failure() {
        let mut table = Table::of(&[HOST]);
        for family in [Family::V4, Family::V6] {
            assert_eq!(table.bad(family, cause.clone()).updates, [], "{cause}");
        }
        table.holds(&[]);
        assert_eq!(table.status().age, None);
    }
}

#[test]
fn every_kind_of_failure_keeps_the_last_good_answer_and_says_since_when() {
    for cause in every_failure() {
        let mut table = Table::of(&[HOST]);
        table.good(Family::V4, 60, &["192.0.2.1"]);
        table.good(Family::V6, 60, &["2001:db8::1"]);
        for hour in 1..=24 {
            for family in [Family::V4, Family::V6] {
                assert_eq!(table.at(hour * 3600).bad(family, cause.clone()).updates, []);
            }
            assert_eq!(table.names.expire(table.now), Outcome::default());
        }
        table.holds(&["192.0.2.1", "2001:db8::1"]);
        let status = table.status();
        assert_eq!(status.age, Some(Duration::from_secs(24 * 3600)));
        let failing = status.failing.expect("24 hours of failures are reported");
        assert_eq!(failing.duration, Duration::from_secs(23 * 3600));
        assert_eq!((failing.count, failing.error), (24, cause.to_string()));
    }
}

#[test]
fn failing_host_is_noticed_once_and_its_recovery_once() {
    let mut table = Table::of(&[HOST]);
    table.good(Family::V6, 60, &["2001:db8::1"]);
    table.good(Family::V4, 60, &["192.0.2.1"]);
    assert_eq!(
        table.at(60).bad(Family::V4, Cause::Timeout).notices,
        [Notice::Failing {
            host: Host::new(HOST),
            error: "no answer in time".into(),
            kept: 2
        }]
    );
    assert_eq!(table.at(61).bad(Family::V4, Cause::Refused).notices, []);
    assert_eq!(table.at(61).bad(Family::V6, Cause::Refused).notices, []);
    assert_eq!(table.at(70).good(Family::V4, 60, &["192.0.2.1"]).notices, []);
    assert_eq!(
        table.at(80).good(Family::V6, 60, &["2001:db8::1"]).notices,
        [Notice::Recovered {
            host: Host::new(HOST),
            after: Duration::from_secs(19)
        }]
    );
    assert_eq!(table.status().failing, None);
}

#[test]
fn family_that_a_host_lacks_is_no_failure() {
    for cause in [Cause::Empty { ttl: None }, Cause::NoSuchName { ttl: None }] {
        for aaaa_first in [true, false] {
            let mut table = Table::of(&[HOST]);
            let mut notices = Vec::new();
            if aaaa_first {
                notices.extend(table.bad(Family::V6, cause.clone()).notices);
            }
            notices.extend(table.good(Family::V4, 60, &["192.0.2.1"]).notices);
            notices.extend(table.at(1).bad(Family::V6, cause.clone()).notices);
            assert_eq!((notices, table.status().failing), (vec![], None), "{cause}");
        }
    }
}

#[test]
fn family_that_is_refused_is_a_failure_once_the_other_fails_too() {
    for aaaa_first in [true, false] {
        let mut table = Table::of(&[HOST]);
        let mut notices = Vec::new();
        if aaaa_first {
            notices.extend(table.bad(Family::V6, Cause::Refused).notices);
        }
        notices.extend(table.good(Family::V4, 60, &["192.0.2.1"]).notices);
        notices.extend(table.at(1).bad(Family::V6, Cause::Refused).notices);
        assert_eq!((notices, table.status().failing), (vec![], None));
        assert_eq!(table.at(60).bad(Family::V4, Cause::Refused).notices.len(), 1);
    }
}

#[test]
fn family_that_had_answers_and_is_denied_is_a_failure() {
    let mut table = Table::of(&[HOST]);
    table.good(Family::V4, 60, &["192.0.2.1"]);
    table.good(Family::V6, 60, &["2001:db8::1"]);
    table.at(60).bad(Family::V6, Cause::Empty { ttl: None });
    assert!(table.status().failing.is_some());
    table.holds(&["192.0.2.1", "2001:db8::1"]);
}

#[test]
fn host_that_both_families_deny_is_a_failure() {
    let mut table = Table::of(&[HOST]);
    let cause = Cause::NoSuchName { ttl: None };
    assert_eq!(table.bad(Family::V6, cause.clone()).notices, []);
    assert_eq!(table.bad(Family::V4, cause).notices.len(), 1);
}

#[test]
fn family_that_a_host_lacks_is_asked_for_as_its_zone_says() {
    let mut table = Table::of(&[HOST]);
    table.due();
    table.good(Family::V4, 10_000, &["192.0.2.1"]);
    let cause = Cause::Empty {
        ttl: Some(Duration::from_secs(200)),
    };
    table.bad(Family::V6, cause.clone());
    assert_eq!(
        table.at(1).due(),
        [query(HOST, Family::V6)],
        "the first is asked for again soon"
    );
    table.bad(Family::V6, cause);
    assert_eq!(table.at(200).due(), []);
    assert_eq!(table.at(201).due(), [query(HOST, Family::V6)]);
}

#[test]
fn removed_address_stays_for_the_grace_and_no_longer() {
    let mut table = Table::of(&[HOST]);
    table.good(Family::V4, 5, &["192.0.2.1", "192.0.2.2"]);
    assert_eq!(
        table
            .at(10)
            .good(Family::V4, 5, &["192.0.2.2", "192.0.2.3"])
            .updates
            .len(),
        1
    );
    table.holds(&["192.0.2.1", "192.0.2.2", "192.0.2.3"]);
    assert_eq!(table.status().leaving, addresses(&["192.0.2.1"]));
    table.at(15).good(Family::V4, 500, &["192.0.2.2", "192.0.2.3"]);
    assert_eq!(
        table.at(69).names.expire(Moment::new(Duration::from_secs(69))),
        Outcome::default()
    );
    table.due();
    assert_eq!(
        table.names.next_wake(),
        Some(Moment::new(Duration::from_secs(70)))
    );
    assert_eq!(
        table.names.expire(Moment::new(Duration::from_secs(70))).updates,
        resolved(&["192.0.2.2", "192.0.2.3"])
    );
}

#[test]
fn address_seen_again_in_its_grace_stays() {
    let mut table = Table::of(&[HOST]);
    table.good(Family::V4, 5, &["192.0.2.1"]);
    table.at(10).good(Family::V4, 5, &["192.0.2.2"]);
    table.at(20).good(Family::V4, 5, &["192.0.2.1"]);
    assert_eq!(
        table.names.expire(Moment::new(Duration::from_secs(79))).updates,
        []
    );
    assert_eq!(
        table.names.expire(Moment::new(Duration::from_secs(80))).updates,
        resolved(&["192.0.2.1"])
    );
}

#[test]
fn grace_ends_also_while_the_resolver_fails() {
    let mut table = Table::of(&[HOST]);
    table.good(Family::V4, 5, &["192.0.2.1"]);
    table.at(10).good(Family::V4, 5, &["192.0.2.2"]);
    table.at(15).bad(Family::V4, Cause::Timeout);
    assert_eq!(
        table
            .at(70)
            .names
            .expire(Moment::new(Duration::from_secs(70)))
            .updates,
        resolved(&["192.0.2.2"])
    );
}

#[test]
fn forgotten_host_leaves_nothing_behind() {
    let mut table = Table::of(&[HOST]);
    table.due();
    table.good(Family::V4, 5, &["192.0.2.1"]);
    table.at(10).good(Family::V4, 5, &["192.0.2.2"]);
    assert_eq!(table.names.set_hosts(table.now, &hosts(&[])), Outcome::default());
    assert_eq!(table.names.next_wake(), None);
    assert_eq!(
        table.good(Family::V4, 5, &["192.0.2.3"]),
        Outcome::default(),
        "its reply comes late"
    );
    assert_eq!(
        table.names.expire(Moment::new(Duration::from_secs(1000))),
        Outcome::default()
    );
    assert!(table.names.status(table.now).is_empty());
}

#[test]
fn forgotten_host_that_is_wanted_again_starts_anew() {
    let mut table = Table::of(&[HOST]);
    table.good(Family::V4, 5, &["192.0.2.1"]);
    table.names.set_hosts(table.now, &hosts(&[]));
    table.names.set_hosts(table.now, &hosts(&[HOST]));
    table.holds(&[]);
    assert_eq!(table.due().len(), 2);
    assert_eq!(
        table.good(Family::V4, 5, &["192.0.2.1"]).updates,
        resolved(&["192.0.2.1"])
    );
}

#[test]
fn hosts_file_adds_to_what_resolvers_say() {
    let mut table = Table::of(&[HOST]);
    table.good(Family::V4, 60, &["192.0.2.1"]);
    let listed = Listed::from([(Host::new(HOST), addresses(&["192.0.2.9", "127.0.0.1"]))]);
    assert_eq!(
        table.names.set_listed(table.now, &listed).updates,
        resolved(&["192.0.2.1", "192.0.2.9"])
    );
    assert_eq!(table.names.set_listed(table.now, &listed), Outcome::default());
    assert_eq!(
        table.names.set_listed(table.now, &Listed::new()),
        Outcome::default(),
        "its grace holds it"
    );
    assert_eq!(
        table.names.expire(Moment::new(Duration::from_secs(60))).updates,
        resolved(&["192.0.2.1"])
    );
}

#[test]
fn listed_host_that_no_resolver_knows_is_no_failure() {
    let mut table = Table::of(&[]);
    let listed = Listed::from([(Host::new(HOST), addresses(&["192.0.2.9"]))]);
    table.names.set_listed(table.now, &listed);
    assert_eq!(
        table.names.set_hosts(table.now, &hosts(&[HOST])).updates,
        resolved(&["192.0.2.9"])
    );
    for family in [Family::V4, Family::V6] {
        assert_eq!(table.bad(family, Cause::NoSuchName { ttl: None }).notices, []);
    }
    assert_eq!(table.status().failing, None);
}

#[test]
fn answer_of_loopback_alone_replaces_what_was_there() {
    let mut table = Table::of(&[HOST]);
    table.good(Family::V4, 60, &["192.0.2.1"]);
    assert_eq!(table.good(Family::V4, 60, &["127.0.0.1"]).notices, []);
    assert_eq!(
        table.names.expire(Moment::new(Duration::from_secs(60))).updates,
        resolved(&[])
    );
}

#[test]
fn answer_of_senseless_addresses_alone_is_a_failure() {
    let mut table = Table::of(&[HOST]);
    table.good(Family::V4, 60, &["192.0.2.1"]);
    table.good(Family::V4, 60, &["224.0.0.1", "255.255.255.255"]);
    table.holds(&["192.0.2.1"]);
    let error = table.status().failing.map(|failing| failing.error);
    assert_eq!(
        error.as_deref(),
        Some("no usable address in the answer (224.0.0.1)")
    );
}

#[test]
fn senseless_addresses_among_others_are_noticed_once() {
    let mut table = Table::of(&[HOST]);
    let given = ["192.0.2.1", "224.0.0.1"];
    assert_eq!(
        table.good(Family::V4, 60, &given).notices,
        [Notice::Senseless {
            host: Host::new(HOST),
            addresses: addresses(&["224.0.0.1"])
        }]
    );
    assert_eq!(table.good(Family::V4, 60, &given).notices, []);
    table.holds(&["192.0.2.1"]);
}

#[test]
fn thousand_addresses_are_taken_and_more_are_reported_once() {
    let mut table = Table::of(&[HOST]);
    let many: Vec<_> = (0..1100_u32)
        .map(|n| std::net::Ipv4Addr::from(0x0a00_0000 + n).to_string())
        .collect();
    let many: Vec<_> = many.iter().map(String::as_str).collect();
    let too_many = Notice::TooMany {
        host: Host::new(HOST),
        left_out: 76,
    };
    assert_eq!(table.good(Family::V4, 60, &many).notices, [too_many]);
    assert_eq!(table.good(Family::V4, 60, &many).notices, []);
    assert_eq!(
        (table.status().addresses.len(), table.status().left_out),
        (1024, 76)
    );
    assert_eq!(table.good(Family::V4, 60, &many[..1024]).notices, []);
    assert_eq!(table.status().left_out, 0);
}

#[test]
fn host_whose_answers_never_repeat_stays_bounded() {
    let mut table = Table::of(&[HOST]);
    let mut noticed = false;
    for n in 0..3000_u32 {
        let address = std::net::Ipv4Addr::from(0x0a00_0000 + n).to_string();
        let outcome = table.good(Family::V4, 5, &[&address]);
        noticed |= !outcome.notices.is_empty();
        assert!(
            table
                .status()
                .addresses
                .contains(&address.parse::<IpAddr>().unwrap())
        );
    }
    assert_eq!(table.status().addresses.len(), 1025);
    assert!(noticed, "addresses that lost their grace are reported");
}

#[test]
fn changed_resolvers_are_asked_at_once_for_what_fails() {
    let mut table = Table::of(&[HOST]);
    table.due();
    table.good(Family::V4, 60, &["192.0.2.1"]);
    table.bad(Family::V6, Cause::Timeout);
    assert_eq!(table.due(), []);
    table.names.retry_failing(table.now);
    assert_eq!(table.due(), [query(HOST, Family::V6)]);
}
