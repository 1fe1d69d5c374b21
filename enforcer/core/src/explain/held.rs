//! The verdict of the maps in the place of the registry's: what did not fit them, or is not in them yet, is refused
//! whatever the registry says.

use std::collections::BTreeSet;

use enforcer_common::{CgroupId, HostId, Outcome, is_loopback};

use super::{Explanation, Named, Why};
use crate::{
    model::{Destination, Mode, Verdict},
    pattern::ids_over,
    plan::Applied,
};

impl Explanation {
    /// The same, with the verdict of maps that hold `held`. Where the registry says something else, the text says that
    /// the maps differ.
    #[must_use]
    pub fn as_held(self, held: &Applied, question: (CgroupId, Destination, &BTreeSet<HostId>)) -> Self {
        let (workload, to, given) = question;
        let outcome = held.outcome(workload, to, given);
        // The programs let every process reach its own network namespace.
        if outcome.is_none() && is_loopback(&to.address.into()) {
            return self;
        }
        self.decided(held, workload, outcome)
    }

    /// The same of an explanation by name.
    #[must_use]
    pub fn as_held_by_name(self, held: &Applied, (workload, named): (CgroupId, &Named)) -> Self {
        let outcome =
            held.outcome_at_no_address(workload, (named.transport, named.port), &ids_over(&named.host));
        // What it will resolve to is not in the maps yet.
        if outcome.is_some() && matches!(self.why, Why::ToBeResolved { .. }) {
            return self;
        }
        self.decided(held, workload, outcome)
    }

    fn decided(mut self, held: &Applied, workload: CgroupId, outcome: Option<Outcome>) -> Self {
        if self.why == Why::UnknownWorkload {
            return self;
        }
        let Some(outcome) = outcome else {
            self.verdict = Verdict::Deny;
            self.why = Why::WorkloadNotHeld;
            self.matched.clear();
            self.suggestion = None;
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
