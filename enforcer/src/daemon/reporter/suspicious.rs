//! Tells of what is suspicious about the registry: once each, in the log and by an Event of the object.
//!
//! A warning that holds is told again only after it has ended. What ends by itself, as pods, endpoints and answers come
//! and go, is told only if it lasts, and counts as ended only after it has been gone for a while.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use enforcer_core::{model::Namespace, registry::Warning};

use super::Reporter;
use crate::{
    daemon::ingest::Ingest,
    report::{
        dedup::{IN_STATUS, MOST},
        notice::Notice,
    },
};

/// How long what ends by itself has to last before it is told: pods start, and names resolve.
const LASTING: Duration = Duration::from_secs(60);
/// The same for what another object ends: objects that are applied together come one after another.
const TOGETHER: Duration = Duration::from_secs(10);
/// How long what ends by itself has to be gone before it counts as another one.
const GONE: Duration = Duration::from_secs(600);

/// What is known of a warning.
#[derive(Debug)]
struct Seen {
    since: Instant,
    gone: Option<Instant>,
    is_told: bool,
}

/// Warnings that hold, or have held a while ago.
#[derive(Debug, Default)]
pub(super) struct Suspicious(BTreeMap<Warning, Seen>);

fn grace(warning: &Warning) -> Duration {
    if warning.is_passing() {
        LASTING
    } else if warning.depends_on_others() {
        TOGETHER
    } else {
        Duration::ZERO
    }
}

impl Suspicious {
    /// Takes all that hold now, and returns those that are to be told, in order.
    fn news(&mut self, now: Instant, all: &BTreeSet<Warning>) -> Vec<Warning> {
        self.0.retain(|warning, seen| {
            if all.contains(warning) {
                seen.gone = None;
                return true;
            }
            let gone = *seen.gone.get_or_insert(now);
            seen.is_told && warning.is_passing() && now.saturating_duration_since(gone) < GONE
        });
        let mut news = Vec::new();
        for warning in all {
            if !self.0.contains_key(warning) {
                let seen = Seen {
                    since: now,
                    gone: None,
                    is_told: false,
                };
                self.0.insert(warning.clone(), seen);
            }
            let Some(seen) = self.0.get_mut(warning).filter(|seen| !seen.is_told) else {
                continue;
            };
            if now.saturating_duration_since(seen.since) >= grace(warning) {
                seen.is_told = true;
                news.push(warning.clone());
            }
        }
        news
    }

    /// Those of all that hold which were told.
    fn told<'a>(&self, all: &'a BTreeSet<Warning>) -> impl Iterator<Item = &'a Warning> {
        let is_told = |warning: &&Warning| self.0.get(*warning).is_some_and(|seen| seen.is_told);
        all.iter().filter(is_told)
    }
}

impl Reporter {
    /// Logs what is new and has lasted, with an Event of the object while the queue has room.
    pub(in crate::daemon) fn report_suspicious(&mut self, ingest: &mut Ingest) {
        let news = self.suspicious.news(Instant::now(), &ingest.of_registry());
        let news = in_turns(news.iter());
        for warning in news.iter().take(MOST) {
            let object = warning.object().map(ToString::to_string);
            tracing::warn!(event = "registry_warning", object, "{warning}");
        }
        if news.len() > MOST {
            tracing::warn!("and {} more like these{IN_STATUS}", news.len() - MOST);
        }
        for warning in news {
            if let Some(notice) = Notice::suspicious(warning) {
                self.flows.queue(notice);
            }
        }
    }

    /// How many of these are about objects that conflict with each other.
    pub(super) fn conflicts(&self, ingest: &mut Ingest) -> usize {
        let all = ingest.of_registry();
        let told = self.suspicious.told(&all);
        told.filter(|warning| matches!(warning, Warning::Conflict(_)))
            .count()
    }

    /// What was told of the registry and holds, in words.
    pub(super) fn suspicious(&self, ingest: &mut Ingest) -> Vec<String> {
        let all = ingest.of_registry();
        let told = in_turns(self.suspicious.told(&all));
        told.into_iter().map(ToString::to_string).collect()
    }
}

/// In an order in which each namespace has its turn, so that the objects of one do not hide what is wrong in others.
fn in_turns<'a>(warnings: impl Iterator<Item = &'a Warning>) -> Vec<&'a Warning> {
    let mut turns: BTreeMap<Option<&Namespace>, usize> = BTreeMap::new();
    let mut ordered: Vec<_> = warnings
        .map(|warning| {
            let turn = turns.entry(warning.object().map(|it| &it.namespace)).or_default();
            *turn += 1;
            (*turn, warning)
        })
        .collect();
    ordered.sort_by_key(|(turn, _)| *turn);
    ordered.into_iter().map(|(_, warning)| warning).collect()
}

#[cfg(test)]
mod tests {
    use enforcer_core::istio::{Kind, ObjectId};

    use super::*;

    #[test]
    fn objects_of_one_namespace_do_not_hide_those_of_others() {
        let of = |namespace: &str, name: u16| Warning::PortOnly {
            entry: ObjectId {
                kind: Kind::ServiceEntry,
                namespace: Namespace::new(namespace),
                name: "e".to_owned(),
            },
            port: name,
        };
        let all: BTreeSet<_> = (1..100).map(|port| of("a", port)).chain([of("b", 1)]).collect();
        let ordered = in_turns(all.iter());
        assert_eq!((ordered.len(), ordered[1]), (100, &of("b", 1)));
    }

    fn entry() -> ObjectId {
        ObjectId {
            kind: Kind::ServiceEntry,
            namespace: Namespace::new("a"),
            name: "e".to_owned(),
        }
    }

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn what_lasts_is_told_at_once_and_again_after_it_was_mended() {
        let mut suspicious = Suspicious::default();
        let start = Instant::now();
        let holds = BTreeSet::from([Warning::NoPorts { entry: entry() }]);
        let mut told = |after, all: &BTreeSet<Warning>| suspicious.news(start + at(after), all).len();
        assert_eq!(told(0, &holds), 1);
        assert_eq!(told(5, &holds), 0);
        assert_eq!(told(10, &BTreeSet::new()), 0);
        assert_eq!(told(15, &holds), 1);
    }

    #[test]
    fn what_comes_and_goes_is_told_once_and_only_if_it_lasts() {
        let mut suspicious = Suspicious::default();
        let start = Instant::now();
        let (holds, none) = (
            BTreeSet::from([Warning::SelectsNothing { entry: entry() }]),
            BTreeSet::new(),
        );
        let mut told = |after, all: &BTreeSet<Warning>| {
            let news = suspicious.news(start + at(after), all).len();
            (news, suspicious.told(all).count())
        };
        assert_eq!(told(0, &holds), (0, 0));
        assert_eq!(told(55, &none), (0, 0));
        assert_eq!(told(60, &holds), (0, 0), "its time begins anew");
        assert_eq!(told(120, &holds), (1, 1));
        for pass in 0..5 {
            assert_eq!(told(200 + 200 * pass, &none), (0, 0));
            assert_eq!(told(300 + 200 * pass, &holds), (0, 1), "it was told");
        }
        assert_eq!(told(2000, &none), (0, 0));
        assert_eq!(told(2600, &none), (0, 0));
        assert_eq!(told(2601, &holds), (0, 0));
        assert_eq!(told(2661, &holds), (1, 1), "it was mended for long");
    }
}
