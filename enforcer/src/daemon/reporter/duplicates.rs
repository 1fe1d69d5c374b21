//! Calls that two programs report.

use std::{collections::HashMap, hash::Hash};

use enforcer_common::{CgroupId, Hook, Verdict};

use crate::datapath::Decision;

/// Audited calls that BPF LSM has reported, by workload and process. The cgroup programs report the same call a moment
/// later, unless the socket is from outside. Both reports count as one call.
#[derive(Debug)]
pub(super) struct Duplicates<S>(HashMap<CgroupId, HashMap<(u32, S), u64>>);

/// Calls of one workload that are remembered at most.
const MOST: usize = 64;

/// Workloads that are remembered; beyond that those of a moment ago are forgotten.
const MOST_WORKLOADS: usize = 256;

/// Nanoseconds between the two programs of one call.
const APART: u64 = 10_000_000;

impl<S> Default for Duplicates<S> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl<S: Eq + Hash> Duplicates<S> {
    /// Whether the same call was already reported.
    pub(super) fn has(&mut self, event: &Decision, subject: S) -> bool {
        if event.verdict != Verdict::Audit {
            return false;
        }
        let of = event.sharer();
        let call = (event.pid, subject);
        if matches!(event.hook, Hook::LsmConnect | Hook::LsmSendmsg) {
            if self.0.len() >= MOST_WORKLOADS {
                let is_recent = |time: &u64| event.time.saturating_sub(*time) < APART;
                self.0.retain(|_, told| told.values().any(is_recent));
            }
            let told = self.0.entry(of).or_default();
            if told.len() >= MOST {
                told.retain(|_, time| event.time.saturating_sub(*time) < APART);
            }
            if told.len() < MOST {
                told.insert(call, event.time);
            }
            return false;
        }
        let Some(told) = self.0.get_mut(&of) else {
            return false;
        };
        let first = told.remove(&call);
        if told.is_empty() {
            self.0.remove(&of);
        }
        first.is_some_and(|first| event.time.saturating_sub(first) < APART)
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use enforcer_common::{Reason, Transport};

    use super::*;
    use crate::datapath::{Cause, Subject};

    fn event(hook: Hook, verdict: Verdict, time: u64) -> Decision {
        Decision {
            time,
            cgroup: CgroupId(7),
            is_known: true,
            address: IpAddr::from([192, 0, 2, 1]),
            port: 80,
            process: String::new(),
            pid: 12,
            uid: 0,
            subject: Subject::Transport(Transport::Tcp),
            hook,
            verdict,
            cause: Cause::Known(Reason::NoRule),
        }
    }

    #[test]
    fn call_on_trial_that_two_programs_tell_of_is_one_call() {
        let mut duplicates = Duplicates::default();
        let mut has = |event: Decision| duplicates.has(&event, (event.cgroup, event.address, event.port));
        assert!(!has(event(Hook::LsmConnect, Verdict::Audit, 1_000)));
        assert!(has(event(Hook::Connect4, Verdict::Audit, 2_000)));
        assert!(
            !has(event(Hook::Connect4, Verdict::Audit, 3_000)),
            "another call, of which BPF LSM has not told"
        );
        assert!(
            !has(event(Hook::LsmConnect, Verdict::Audit, 4_000)),
            "a socket from outside"
        );
        let later = 4_000 + APART;
        assert!(
            !has(event(Hook::Connect4, Verdict::Audit, later)),
            "a later call of the same process"
        );
        assert!(!has(event(Hook::LsmConnect, Verdict::Deny, later)));
        assert!(
            !has(event(Hook::Connect4, Verdict::Deny, later + 1)),
            "what is refused is told of once"
        );
    }
}
