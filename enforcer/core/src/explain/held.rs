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
        if self.why == Why::UnknownWorkload {
            return self;
        }
        let Some(outcome) = held.outcome(workload, to, given) else {
            // The programs let every process reach its own network namespace.
            if !is_loopback(&to.address.into()) {
                self.verdict = Verdict::Deny;
                self.why = Why::WorkloadNotHeld;
                self.matched.clear();
                self.suggestion = None;
            }
            return self;
        };
        self.verdict = outcome.verdict;
        self.mode = held.mode(workload).or(self.mode);
        // Without a rule, it is the mode that lets it through.
        let is_allowed = outcome.verdict == Verdict::Allow && !outcome.is_by_host();
        match (is_allowed, self.why.is_permission()) {
            (true, false) => {
                self.why = Why::StillHeld(Box::new(self.why));
                self.suggestion = None;
            }
            (false, true) => {
                self.why = Why::NotHeld(Box::new(self.why));
                self.matched.clear();
            }
            (true, true) | (false, false) => {}
        }
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
