//! The verdict of the maps in the place of the registry's: what did not fit them, or is not in them yet, is refused
//! whatever the registry says.

use std::collections::BTreeSet;

use enforcer_common::{CgroupId, HostId, is_loopback};

use super::{Explanation, Why};
use crate::{
    model::{Destination, Mode, Verdict},
    plan::Applied,
};

impl Explanation {
    /// The same, with the verdict of maps that hold `held`. Where the registry says something else, the text says that
    /// the maps differ.
    #[must_use]
    pub fn as_held(mut self, held: &Applied, question: (CgroupId, Destination, &BTreeSet<HostId>)) -> Self {
        let (workload, to, given) = question;
        let outcome = held.outcome(workload, to, given);
        let is_known = self.why != Why::UnknownWorkload;
        let is_free = is_loopback(&to.address.into());
        let verdict = match outcome {
            Some(outcome) => outcome.verdict,
            None if is_free => Verdict::Allow,
            None => Verdict::Deny,
        };
        let is_allowed = outcome.map_or(is_free, |outcome| {
            !outcome.is_by_host() && outcome.verdict == Verdict::Allow
        });
        if is_allowed && !self.why.is_permission() && is_known {
            self.why = Why::StillHeld(Box::new(self.why));
            self.suggestion = None;
        } else if !is_allowed && self.why.is_permission() {
            self.why = match outcome {
                Some(_) => Why::NotHeld(Box::new(self.why)),
                None => Why::WorkloadNotHeld,
            };
            self.matched.clear();
        } else if outcome.is_none() && is_known && !is_free {
            self.why = Why::WorkloadNotHeld;
            self.suggestion = None;
        }
        if outcome.is_some() || is_known {
            self.verdict = verdict;
        }
        self.mode = outcome.map_or(self.mode, |_| held.mode(workload).or(self.mode));
        self
    }
}

impl Applied {
    fn mode(&self, workload: CgroupId) -> Option<Mode> {
        let policy = self.policies.get(&self.workloads.get(&workload)?.policy)?;
        let modes = [Mode::Enforce, Mode::Audit, Mode::Observe, Mode::Off];
        modes.into_iter().find(|mode| *mode as u32 == policy.mode)
    }
}
