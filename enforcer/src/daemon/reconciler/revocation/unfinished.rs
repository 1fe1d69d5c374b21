//! What revocation has not finished, by workload: sockets that could not be listed or judged, that could not be closed,
//! or that are still being closed. Each is a problem in the status and a line in the log, and is listed again.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use enforcer_common::CgroupId;

use crate::revoke::Open;

/// How often the sockets of a workload are listed again while some are hidden or still open.
const AGAIN: Duration = Duration::from_secs(30);

/// For this long, closing sockets is not reported. It takes milliseconds, unless a process prevents it.
const LONG: Duration = Duration::from_secs(10);

#[derive(Default)]
pub(super) struct Unfinished {
    /// Why not all of its sockets could be listed the last time.
    hidden: BTreeMap<CgroupId, String>,
    /// Why some of its sockets could not be judged since it was looked at.
    unjudged: BTreeMap<CgroupId, String>,
    open: BTreeMap<CgroupId, Open>,
    /// Those of `open` that are looked at again, and whether that look is over.
    again: BTreeMap<CgroupId, bool>,
    ending: BTreeMap<CgroupId, Ending>,
    /// When workloads were last looked at again.
    last: Option<Instant>,
}

/// Batches that are to end.
struct Ending {
    batches: usize,
    /// Since when none has ended.
    since: Instant,
}

impl Unfinished {
    /// Whether there is nothing left to come to an end with.
    pub(super) fn is_empty(&self) -> bool {
        let is_known = self.hidden.is_empty() && self.unjudged.is_empty();
        is_known && self.open.is_empty() && self.ending.is_empty()
    }

    /// Forgets all workloads but these.
    pub(super) fn keep(&mut self, workloads: &BTreeSet<CgroupId>) {
        self.hidden.retain(|workload, _| workloads.contains(workload));
        self.unjudged.retain(|workload, _| workloads.contains(workload));
        self.open.retain(|workload, _| workloads.contains(workload));
        self.again.retain(|workload, _| workloads.contains(workload));
    }

    /// These are looked at from now on.
    pub(super) fn note_look(&mut self, workloads: impl Iterator<Item = CgroupId>) {
        for workload in workloads {
            self.unjudged.remove(&workload);
            if self.open.contains_key(&workload) {
                self.again.insert(workload, false);
            }
        }
    }

    /// Sockets of it were found and not judged.
    pub(super) fn note_unjudged(&mut self, workload: CgroupId, why: String) {
        self.unjudged.insert(workload, why);
    }

    pub(super) fn note_looked(&mut self, workload: CgroupId, hidden: Option<String>) {
        match hidden {
            Some(why) => self.hidden.insert(workload, why),
            None => self.hidden.remove(&workload),
        };
        if let Some(is_over) = self.again.get_mut(&workload) {
            *is_over = true;
        }
    }

    pub(super) fn note_end(&mut self, workload: CgroupId) {
        let ending = self.ending.entry(workload).or_insert_with(|| Ending {
            batches: 0,
            since: Instant::now(),
        });
        ending.batches += 1;
    }

    pub(super) fn note_ended(&mut self, workload: CgroupId, open: Option<Open>) {
        if let Some(ending) = self.ending.get_mut(&workload) {
            ending.batches -= 1;
            ending.since = Instant::now();
            if ending.batches == 0 {
                self.ending.remove(&workload);
            }
        }
        if let Some(open) = open {
            self.open.insert(workload, open);
            self.again.remove(&workload);
        }
    }

    /// Removes workloads whose sockets were listed again without one that should be closed. To be called while no
    /// socket waits to be judged.
    pub(super) fn remove_closed(&mut self) {
        let (ending, open) = (&self.ending, &mut self.open);
        self.again.retain(|workload, is_over| {
            let is_closed = *is_over && !ending.contains_key(workload);
            if is_closed {
                open.remove(workload);
            }
            !is_closed
        });
    }

    /// Workloads that are to be looked at again now.
    pub(super) fn due(&mut self) -> BTreeSet<CgroupId> {
        let unseen = self.hidden.keys().chain(self.unjudged.keys());
        let due: BTreeSet<_> = unseen.chain(self.open.keys()).copied().collect();
        let is_early = self.last.is_some_and(|last| last.elapsed() < AGAIN);
        if due.is_empty() || is_early {
            return BTreeSet::new();
        }
        // From the first time on that something was found.
        if self.last.replace(Instant::now()).is_none() {
            return BTreeSet::new();
        }
        due
    }

    /// What an operator has to know, a line each; `name` is a workload's.
    pub(super) fn problems(&self, name: impl Fn(CgroupId) -> String) -> Vec<String> {
        let hidden = self.hidden.iter().map(|(workload, why)| {
            format!(
                "connections of {} that are no longer allowed may stay open: not all of its sockets can be listed: \
                 {why}; they are listed again every {AGAIN:?}",
                name(*workload)
            )
        });
        let unjudged = self.unjudged.iter().map(|(workload, why)| {
            format!(
                "connections of {} that are no longer allowed may stay open: not all of them can be judged: {why}; they \
                 are listed again every {AGAIN:?}",
                name(*workload)
            )
        });
        let open = self.open.iter().map(|(workload, Open { sockets, why })| {
            format!(
                "{sockets} connections of {} that are no longer allowed are still open: the kernel did not close \
                 them: {why}; it is tried again every {AGAIN:?}, and restarting the workload closes them",
                name(*workload)
            )
        });
        let is_long = |(_, ending): &(&CgroupId, &Ending)| ending.since.elapsed() >= LONG;
        let ending = self.ending.iter().filter(is_long).map(|(workload, _)| {
            format!(
                "connections of {} that are no longer allowed are still open: the kernel has been closing them for \
                 more than {LONG:?}, and more of its connections wait for that; restarting the workload closes them",
                name(*workload)
            )
        });
        hidden.chain(unjudged).chain(open).chain(ending).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const W: CgroupId = CgroupId(7);

    fn problems(unfinished: &Unfinished) -> Vec<String> {
        unfinished.problems(|workload| format!("ns/w{}", workload.0))
    }

    fn open(sockets: usize) -> Option<Open> {
        let why = "EPERM".to_owned();
        Some(Open { sockets, why })
    }

    #[test]
    fn hidden_sockets_are_a_problem_until_a_look_sees_all_of_them_or_the_workload_is_gone() {
        let mut unfinished = Unfinished::default();
        unfinished.note_looked(W, Some("it has too many".to_owned()));
        let [problem] = problems(&unfinished).try_into().unwrap();
        assert!(
            problem.contains("ns/w7") && problem.contains("it has too many"),
            "{problem}"
        );
        assert_eq!(unfinished.due(), BTreeSet::new(), "it was looked at a moment ago");
        unfinished.last = Instant::now().checked_sub(AGAIN);
        assert_eq!(unfinished.due(), [W].into());
        assert_eq!(unfinished.due(), BTreeSet::new(), "once in a while");
        unfinished.note_looked(W, None);
        assert_eq!(problems(&unfinished), Vec::<String>::new());
        unfinished.note_looked(W, Some("it has too many".to_owned()));
        unfinished.keep(&BTreeSet::new());
        assert!(unfinished.is_empty());
    }

    #[test]
    fn socket_that_could_not_be_judged_is_a_problem_until_it_is_looked_for_again() {
        let mut unfinished = Unfinished::default();
        unfinished.note_unjudged(W, "reading the map LEARNED: EIO".to_owned());
        unfinished.note_looked(W, None);
        let [problem] = problems(&unfinished).try_into().unwrap();
        assert!(
            problem.contains("ns/w7") && problem.contains("LEARNED: EIO"),
            "{problem}"
        );
        assert!(!unfinished.is_empty());
        unfinished.last = Instant::now().checked_sub(AGAIN);
        assert_eq!(unfinished.due(), [W].into());
        unfinished.note_look([W].into_iter());
        assert!(unfinished.is_empty(), "that look judges all of them");
        unfinished.note_unjudged(W, "again".to_owned());
        unfinished.keep(&BTreeSet::new());
        assert!(unfinished.is_empty());
    }

    #[test]
    fn socket_that_could_not_be_ended_is_a_problem_until_another_look_has_ended_it() {
        let mut unfinished = Unfinished::default();
        let end = |unfinished: &mut Unfinished, open| {
            unfinished.note_end(W);
            assert!(!unfinished.ending.is_empty());
            unfinished.note_ended(W, open);
            assert!(unfinished.ending.is_empty());
        };
        end(&mut unfinished, open(3));
        let [problem] = problems(&unfinished).try_into().unwrap();
        assert!(
            problem.starts_with("3 connections of ns/w7 ") && problem.contains("EPERM"),
            "{problem}"
        );
        unfinished.remove_closed();
        assert_eq!(problems(&unfinished).len(), 1, "nobody has looked again");
        unfinished.note_look([W, CgroupId(8)].into_iter());
        end(&mut unfinished, open(2));
        unfinished.note_looked(W, None);
        unfinished.remove_closed();
        assert!(
            problems(&unfinished)[0].starts_with("2 connections"),
            "it failed again"
        );
        unfinished.note_look([W].into_iter());
        unfinished.note_looked(W, None);
        unfinished.note_end(W);
        unfinished.remove_closed();
        assert_eq!(problems(&unfinished).len(), 1, "its end is waited for");
        unfinished.note_ended(W, None);
        unfinished.remove_closed();
        assert!(unfinished.is_empty());
    }

    #[test]
    fn end_that_takes_long_is_a_problem_unless_others_of_the_workload_come_to_theirs() {
        let mut unfinished = Unfinished::default();
        unfinished.note_end(W);
        unfinished.note_end(W);
        let age = |unfinished: &mut Unfinished| {
            let ending = unfinished.ending.get_mut(&W).unwrap();
            ending.since = Instant::now().checked_sub(LONG).unwrap();
        };
        assert_eq!(problems(&unfinished), Vec::<String>::new());
        age(&mut unfinished);
        assert_eq!(problems(&unfinished).len(), 1);
        unfinished.note_ended(W, None);
        assert_eq!(problems(&unfinished), Vec::<String>::new());
        age(&mut unfinished);
        assert_eq!(problems(&unfinished).len(), 1);
        unfinished.note_ended(W, None);
        assert!(unfinished.is_empty());
    }
}
