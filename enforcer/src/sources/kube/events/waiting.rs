//! Waiting notices, and their order.
//!
//! An Event is a write to the API server, so that there is one budget for all; a source of many gets no more of it
//! than a source of few.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use super::Pods;
use crate::{
    report::{
        notice::{About, Notice, Sharer},
        rate_limit::RateLimit,
    },
    sources::kube::backoff::spread,
    turns::{Shares, Turns},
};

/// The time for which the same news is not written again.
const PAUSE: Duration = Duration::from_secs(300);
/// The most news that are remembered for that time: in total, and per share.
const NEWS: Shares = Shares { all: 4096, one: 100 };
/// The most notices that wait for their turn. One share may have as many as can be written in a burst.
const WAITING: Shares = Shares { all: 1000, one: 20 };
/// The most Events in a burst, and the interval for one more: 5,000 nodes write at most 833 a second.
const BURST: u32 = 20;
const REFILL: Duration = Duration::from_secs(6);
/// Every node sees an invalid object. The nodes spread their reports over this time, and all but the first find an
/// Event.
const SHARED: Duration = Duration::from_secs(5);
/// The most notices that wait for that moment.
const MOST_LATER: usize = 1000;

/// A notice, and the number of repetitions since it was last written.
pub(super) type Next = (Notice, u64);

pub(super) struct Waiting {
    pods: Pods,
    limit: RateLimit<Sharer, (About, String)>,
    start: Instant,
    /// Notices that all nodes write wait a moment first.
    later: BTreeMap<Instant, Next>,
    turns: Turns<Sharer, Next>,
    /// Notices that were dropped, which the next notice of the same share mentions.
    left_out: BTreeMap<Sharer, u64>,
    budget: Budget,
}

impl Waiting {
    pub(super) fn new(pods: Pods, now: Instant) -> Self {
        Self {
            pods,
            limit: RateLimit::new(PAUSE, NEWS),
            start: now,
            later: BTreeMap::new(),
            turns: Turns::new(WAITING),
            left_out: BTreeMap::new(),
            budget: Budget::new(now),
        }
    }

    /// Accepts a notice, unless the same was written a moment ago or it is about a pod that does not exist.
    pub(super) fn take(&mut self, notice: Notice, now: Instant) {
        if let About::Pod(namespace, name) = &notice.about
            && self.pods.uid(namespace, name).is_none()
        {
            return;
        }
        let subject = (notice.about.clone(), notice.subject.clone());
        let asked = self
            .limit
            .ask(notice.about.sharer(), subject, now.duration_since(self.start));
        let Some(again) = asked else {
            return;
        };
        if matches!(notice.about, About::Object(..)) && self.later.len() < MOST_LATER {
            self.later.insert(now + spread(SHARED), (notice, again));
        } else {
            self.turns.push(notice.about.sharer(), (notice, again));
        }
    }

    /// The next notice that may be written now.
    ///
    /// # Errors
    /// When to ask again; None means after the next notice.
    pub(super) fn next(&mut self, now: Instant) -> Result<Next, Option<Instant>> {
        while let Some(entry) = self.later.first_entry().filter(|entry| *entry.key() <= now) {
            let next = entry.remove();
            self.turns.push(next.0.about.sharer(), next);
        }
        let later = self.later.keys().next().copied();
        if self.turns.is_empty() {
            return Err(later);
        }
        if let Err(refilled) = self.budget.take(now) {
            return Err(Some(later.map_or(refilled, |later| later.min(refilled))));
        }
        let Some((of, (notice, again))) = self.turns.pop() else {
            return Err(later);
        };
        for counted in [self.limit.take_suppressed(), self.turns.take_left_out()] {
            for (of, count) in counted {
                *self.left_out.entry(of).or_default() += count;
            }
        }
        let left_out = self.left_out.remove(&of).unwrap_or_default();
        if self.left_out.len() > NEWS.all {
            self.left_out.pop_first();
        }
        Ok((notice.with_left_out(left_out), again))
    }
}

/// How many Events may be written.
#[derive(Debug)]
struct Budget {
    left: u32,
    since: Instant,
}

impl Budget {
    fn new(now: Instant) -> Self {
        Self {
            left: BURST,
            since: now,
        }
    }

    /// Takes one from the budget.
    ///
    /// # Errors
    /// If there is none left: when there is one again.
    fn take(&mut self, now: Instant) -> Result<(), Instant> {
        while self.left < BURST && now.duration_since(self.since) >= REFILL {
            self.left += 1;
            self.since += REFILL;
        }
        if self.left == BURST {
            self.since = now;
        }
        match self.left.checked_sub(1) {
            Some(left) => self.left = left,
            None => return Err(self.since + REFILL),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use enforcer_core::{
        istio::{Kind, ObjectId},
        model::Namespace,
    };

    use super::*;

    fn id(kind: Kind, name: &str) -> ObjectId {
        ObjectId {
            kind,
            namespace: Namespace::new("n"),
            name: name.to_owned(),
        }
    }

    fn refusal(pod: &str, subject: usize) -> Notice {
        Notice {
            about: About::Pod("n".to_owned(), pod.to_owned()),
            reason: "EgressRefused",
            message: subject.to_string(),
            subject: subject.to_string(),
        }
    }

    fn waiting(now: Instant) -> Waiting {
        let pods = Pods::default();
        for pod in ["bot", "web"] {
            pods.insert(&id(Kind::Pod, pod), pod.to_owned());
        }
        Waiting::new(pods, now)
    }

    fn whom(next: Result<Next, Option<Instant>>) -> Option<String> {
        match next.ok()?.0.about {
            About::Pod(_, name) => Some(name),
            About::Object(id, ..) => Some(id.name),
        }
    }

    #[test]
    fn burst_is_followed_by_one_at_a_time() {
        let start = Instant::now();
        let mut budget = Budget::new(start);
        let taken = (0..100).filter(|_| budget.take(start).is_ok()).count();
        assert_eq!(taken, BURST as usize);
        assert_eq!(budget.take(start + REFILL / 2), Err(start + REFILL));
        assert_eq!(budget.take(start + REFILL), Ok(()));
        assert!(budget.take(start + REFILL).is_err());
        assert!(
            budget.take(start + 10 * REFILL).is_ok(),
            "what was not used is kept"
        );
    }

    #[test]
    fn pod_that_floods_has_no_more_turns_than_another() {
        let mut now = Instant::now();
        let mut waiting = waiting(now);
        // It has used up the burst before the other one has anything to tell.
        let mut subject = 0;
        while waiting.budget.left > 0 {
            waiting.take(refusal("bot", subject), now);
            assert_eq!(whom(waiting.next(now)).as_deref(), Some("bot"));
            subject += 1;
        }
        for subject in subject..1000 {
            waiting.take(refusal("bot", subject), now);
        }
        for subject in 0..3 {
            waiting.take(refusal("web", subject), now);
        }
        let mut told = Vec::new();
        while told.len() < 6 {
            match waiting.next(now) {
                Ok((notice, _)) => told.push(notice),
                Err(at) => now = at.expect("more is told later"),
            }
        }
        let of = |pod: &str| {
            let is_of = |notice: &&Notice| notice.about == About::Pod("n".to_owned(), pod.to_owned());
            told.iter().filter(is_of).collect::<Vec<_>>()
        };
        assert_eq!((of("bot").len(), of("web").len()), (3, 3));
        let left_out = 1000 - subject - WAITING.one;
        let counted = format!("[{left_out} more of this pod are only in the enforcer's log]");
        assert!(of("bot")[0].message.ends_with(&counted), "{:?}", of("bot")[0]);
        assert!(of("web").iter().all(|notice| !notice.message.contains('[')));
    }

    #[test]
    fn same_news_is_told_once_and_that_of_no_pod_is_not() {
        let now = Instant::now();
        let mut waiting = waiting(now);
        waiting.take(refusal("stranger", 1), now);
        assert_eq!(waiting.next(now), Err(None));
        waiting.take(refusal("web", 1), now);
        waiting.take(refusal("web", 1), now);
        assert_eq!(waiting.next(now), Ok((refusal("web", 1), 0)));
        assert_eq!(waiting.next(now), Err(None));
        waiting.take(refusal("web", 1), now + PAUSE);
        assert_eq!(waiting.next(now + PAUSE), Ok((refusal("web", 1), 1)));
    }

    #[test]
    fn what_all_nodes_see_waits_a_moment_and_what_waits_is_bounded() {
        let now = Instant::now();
        let mut waiting = waiting(now);
        for number in 0..5000 {
            let of = id(Kind::ServiceEntry, &number.to_string());
            waiting.take(
                Notice::rejected(of, (String::new(), String::new()), "bad", false),
                now,
            );
        }
        assert!(waiting.later.len() <= MOST_LATER);
        assert!(matches!(waiting.next(now), Err(Some(at)) if at <= now + SHARED));
        assert!(whom(waiting.next(now + SHARED)).is_some());
    }
}
