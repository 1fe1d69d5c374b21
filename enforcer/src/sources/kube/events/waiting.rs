//! Waiting notices, and their order.
//!
//! An Event is a write to the API server, so that there is one budget for all; a source of many gets no more of it
//! than a source of few. What nothing has been told of for a while comes before all else and has a budget of its own, so
//! that a node whose pods are all refused says so of each.

mod budget;

use std::{
    collections::{BTreeMap, HashMap},
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
use budget::{Budget, Rate};

/// The time for which the same news is not written again.
const PAUSE: Duration = Duration::from_secs(300);
/// The most news that are remembered for that time: in total, and per share.
const NEWS: Shares = Shares { all: 4096, one: 100 };
/// The most notices that wait for their turn. One share may have as many as can be written in a burst.
const WAITING: Shares = Shares { all: 1000, one: 20 };
/// The most notices that wait to be the first of their share.
const FIRST: Shares = Shares { all: 1000, one: 1 };
/// The Events of shares that have been told already: 5,000 nodes write at most 833 a second.
const RATE: Rate = Rate {
    burst: 20,
    refill: Duration::from_secs(6),
};
/// The first Event of each share: as many as a node has pods, and no more a second than the kubelet writes about them.
const FIRST_RATE: Rate = Rate {
    burst: 250,
    refill: Duration::from_secs(1),
};
/// How often it is logged how much was left out.
const LEFT_OUT: Duration = Duration::from_secs(60);
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
    /// What is the first of its share, and what is not.
    first: Turns<Sharer, Next>,
    turns: Turns<Sharer, Next>,
    /// When each share was last given a turn as the first.
    told: HashMap<Sharer, Instant>,
    /// Notices that were dropped, which the next notice of the same share mentions.
    left_out: BTreeMap<Sharer, u64>,
    /// How many of them the log has not told yet, and when it last told.
    unlogged: (u64, Option<Instant>),
    first_budget: Budget,
    budget: Budget,
}

impl Waiting {
    pub(super) fn new(pods: Pods, now: Instant) -> Self {
        Self {
            pods,
            limit: RateLimit::new(PAUSE, NEWS),
            start: now,
            later: BTreeMap::new(),
            first: Turns::new(FIRST),
            turns: Turns::new(WAITING),
            told: HashMap::new(),
            left_out: BTreeMap::new(),
            unlogged: (0, None),
            first_budget: Budget::new(FIRST_RATE, now),
            budget: Budget::new(RATE, now),
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
        if matches!(notice.about, About::Object(..) | About::Named(_)) && self.later.len() < MOST_LATER {
            self.later.insert(now + spread(SHARED), (notice, again));
        } else {
            self.push((notice, again), now);
        }
    }

    fn push(&mut self, next: Next, now: Instant) {
        let of = next.0.about.sharer();
        let is_recent = |told: &Instant| now.duration_since(*told) < PAUSE;
        if self.told.get(&of).is_some_and(is_recent) {
            return self.turns.push(of, next);
        }
        if self.told.len() >= NEWS.all {
            self.told.retain(|_, told| is_recent(told));
        }
        if self.told.len() < NEWS.all {
            self.told.insert(of.clone(), now);
        }
        self.first.push(of, next);
    }

    /// The next notice that may be written now.
    ///
    /// # Errors
    /// When to ask again; None means after the next notice.
    pub(super) fn next(&mut self, now: Instant) -> Result<Next, Option<Instant>> {
        while let Some(entry) = self.later.first_entry().filter(|entry| *entry.key() <= now) {
            let next = entry.remove();
            self.push(next, now);
        }
        self.count_left_out(now);
        let mut again_at = self.later.keys().next().copied();
        let both = [
            (&mut self.first, &mut self.first_budget),
            (&mut self.turns, &mut self.budget),
        ];
        let mut turn = None;
        for (turns, budget) in both {
            if turn.is_some() || turns.is_empty() {
                continue;
            }
            match budget.take(now) {
                Ok(()) => turn = turns.pop(),
                Err(refilled) => again_at = Some(again_at.map_or(refilled, |at| at.min(refilled))),
            }
        }
        let (of, next) = turn.ok_or(again_at)?;
        Ok(self.with_left_out(&of, next))
    }

    fn with_left_out(&mut self, of: &Sharer, (notice, again): Next) -> Next {
        let left_out = self.left_out.remove(of).unwrap_or_default();
        (notice.with_left_out(left_out), again)
    }

    /// Notes what found no room, for the next notice of the same share and for the log.
    fn count_left_out(&mut self, now: Instant) {
        let counted = [
            self.limit.take_suppressed(),
            self.first.take_left_out(),
            self.turns.take_left_out(),
        ];
        for (of, count) in counted.into_iter().flatten() {
            *self.left_out.entry(of).or_default() += count;
            self.unlogged.0 += count;
        }
        if self.left_out.len() > NEWS.all {
            self.left_out.pop_first();
        }
        let (count, logged) = self.unlogged;
        if count > 0 && logged.is_none_or(|logged| now.duration_since(logged) >= LEFT_OUT) {
            self.unlogged = (0, Some(now));
            tracing::info!(
                event = "events_left_out",
                "{count} refusals or rejected objects have no Kubernetes Event of their own, because there were too many \
                 at once; each is in this log"
            );
        }
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

    /// Both pods were told of a moment ago.
    fn waiting_after_the_first(now: Instant) -> Waiting {
        let mut waiting = waiting(now);
        for pod in ["bot", "web"] {
            waiting.take(refusal(pod, usize::MAX), now);
            assert_eq!(whom(waiting.next(now)).as_deref(), Some(pod));
        }
        waiting
    }

    fn whom(next: Result<Next, Option<Instant>>) -> Option<String> {
        match next.ok()?.0.about {
            About::Pod(_, name) => Some(name),
            About::Object(id, ..) | About::Named(id) => Some(id.name),
        }
    }

    #[test]
    fn pod_that_floods_has_no_more_turns_than_another() {
        let mut now = Instant::now();
        let mut waiting = waiting_after_the_first(now);
        // It has used up the burst before the other one has anything to tell.
        let mut subject = 0;
        while subject < RATE.burst as usize {
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
    fn every_refused_pod_of_a_node_is_told_of_at_once_however_much_others_have_to_tell() {
        let now = Instant::now();
        let mut waiting = waiting(now);
        let pods: Vec<String> = (0..200).map(|number| format!("pod-{number}")).collect();
        for pod in &pods {
            waiting.pods.insert(&id(Kind::Pod, pod), pod.clone());
        }
        for subject in 0..1000 {
            waiting.take(refusal("bot", subject), now);
        }
        for pod in &pods {
            for subject in 0..3 {
                waiting.take(refusal(pod, subject), now);
            }
        }
        let told: Vec<_> = std::iter::from_fn(|| whom(waiting.next(now))).collect();
        let late = pods.iter().find(|pod| !told.contains(pod));
        assert_eq!(late, None);
        assert_eq!(told.len(), 1 + pods.len() + RATE.burst as usize);
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
