//! What workloads have learned: what others ask of it, and its end with its workload.

use std::{collections::BTreeMap, net::IpAddr};

use anyhow::Result;
use enforcer_common::{CgroupId, maps::LEARNED_CAPACITY};

use super::Reconciler;
use crate::{
    daemon::ingest::Ingest,
    datapath::{Given, Inherited, Listed},
};

/// How far what was learned by workloads that are gone is taken away.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Gone {
    /// Some may be gone; at the start those of earlier starts.
    #[default]
    ToBeListed,
    /// Some of it is left.
    Left,
    /// Nothing is.
    Nothing,
}

/// The least share of a workload: a name may have as many addresses.
const LEAST: u32 = 128;

/// How many addresses each of so many workloads may have learned, so that the map holds all of them. A power of two where it
/// is less than configured, so that it does not change with every workload.
fn share(configured: u32, workloads: usize) -> u32 {
    let workloads = u32::try_from(workloads.max(1)).unwrap_or(u32::MAX);
    let fair = LEARNED_CAPACITY / workloads;
    match fair.checked_ilog2() {
        Some(_) if fair >= configured => configured,
        Some(power) => (1 << power).max(LEAST).min(configured),
        None => LEAST.min(configured),
    }
}

/// Whether there is no room for the share of all of them.
fn is_too_much(share: u32, workloads: usize) -> bool {
    u64::from(share) * workloads as u64 > u64::from(LEARNED_CAPACITY)
}

impl Reconciler {
    /// Shares what the map of learned addresses holds among the workloads that are to be bound; says so where they get less
    /// than is configured, and where even that is too much.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub(super) fn share_learned(&mut self) -> Result<()> {
        let workloads = self
            .fitted
            .policies
            .iter()
            .map(|policy| policy.workloads.len())
            .sum();
        let configured = self.datapath.configured_share();
        let share = share(configured, workloads);
        if share != self.datapath.share() {
            self.datapath.set_share(share)?;
            self.has_beyond = true;
            self.former.read_again();
            tracing::info!(
                "each of {workloads} workloads may have learned {share} addresses at once (dns.learn.addresses is \
                 {configured}): the map LEARNED holds {LEARNED_CAPACITY} of all together"
            );
        }
        let lacks = is_too_much(share, workloads);
        if lacks && !self.lacks_learned {
            tracing::warn!(
                "the map LEARNED holds {LEARNED_CAPACITY} addresses, which is less than {share} for each of {workloads} \
                 workloads: once it is full, what they are given for a wildcard is refused, and counted in `enforcer status`"
            );
        }
        self.lacks_learned = lacks;
        Ok(())
    }

    /// Says what was taken over from maps of another version or of other capacities, and what was not.
    pub(super) fn tell_inherited(&self) {
        match self.datapath.inherited() {
            Ok(None) => {}
            Ok(Some(Inherited { addresses, lost })) => {
                if addresses > 0 {
                    tracing::info!(
                        "{addresses} learned addresses are taken over from maps of another version or other capacities"
                    );
                }
                for lost in lost {
                    tracing::warn!("{lost}");
                }
            }
            Err(error) => tracing::warn!("cannot count the learned addresses that are taken over: {error:#}"),
        }
    }

    /// As what a workload was given an address; for messages, which do without where it cannot be read.
    pub(in crate::daemon) fn given(&self, workload: CgroupId, address: IpAddr) -> Given {
        self.datapath.given(workload, address).unwrap_or_else(|error| {
            tracing::debug!("a refusal is told without a name: {error:#}");
            Given::default()
        })
    }

    /// How many addresses each workload was given for hosts that rules name.
    pub(in crate::daemon) fn learners(&self) -> Result<BTreeMap<CgroupId, u64>> {
        self.datapath.learners()
    }

    pub(in crate::daemon) fn learned(
        &self,
        workloads: &BTreeMap<CgroupId, u64>,
        most: usize,
    ) -> Result<Listed> {
        self.datapath.learned(workloads, most)
    }

    /// Takes away some of what was learned by workloads that are gone. What others have learned stays, also once it has
    /// expired: their open connections are judged by it.
    pub(in crate::daemon) fn forget_gone(&mut self, ingest: &Ingest) {
        if !self.is_in_force || self.gone == Gone::Nothing {
            return;
        }
        if let Err(error) = self.try_to_forget_gone(ingest) {
            tracing::debug!(
                "what was learned by workloads that are gone stays, which is tried again: {error:#}"
            );
            self.gone = Gone::ToBeListed;
        }
    }

    fn try_to_forget_gone(&mut self, ingest: &Ingest) -> Result<()> {
        let workloads = &self.applied.workloads;
        let is_there = |id| workloads.contains_key(&id) || ingest.cgroups().contains_key(&id);
        if self.gone == Gone::ToBeListed {
            self.datapath.note_gone(is_there)?;
        }
        let is_done = self.datapath.forget_gone(is_there)?;
        self.former.keep(is_there);
        self.gone = if is_done { Gone::Nothing } else { Gone::Left };
        Ok(())
    }

    /// Remembers what workloads have learned whose slots are soon used again, and gives up what lies beyond a share that
    /// has become smaller: nothing newer would ever take its place.
    pub(in crate::daemon) fn keep_to_shares(&mut self) {
        if !self.is_in_force {
            return;
        }
        if let Err(error) = self.try_to_keep_to_shares() {
            tracing::debug!("what lies beyond the workloads' shares stays, which is tried again: {error:#}");
            self.has_beyond = true;
        }
    }

    fn try_to_keep_to_shares(&mut self) -> Result<()> {
        if self.has_beyond {
            self.datapath.note_beyond_share()?;
            self.has_beyond = false;
        }
        for given_up in self.datapath.give_up_beyond_share()? {
            self.former.remember(given_up);
        }
        let share = u64::from(self.datapath.share());
        for (workload, assigned) in self.datapath.assigned(share / 2)? {
            let first = self.former.read(workload).max(assigned.saturating_sub(share));
            for learned in self.datapath.recent(workload, first..assigned)? {
                self.former.remember(learned);
            }
            self.former.note_read(workload, assigned);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn share_is_what_is_configured_while_the_map_holds_that_for_everybody() {
        for workloads in [0, 1, 64] {
            assert_eq!(share(1024, workloads), 1024, "{workloads}");
        }
        assert_eq!(share(1024, 65), 512);
        assert_eq!(share(1024, 128), 512);
        assert_eq!(share(1024, 129), 256);
        assert_eq!(share(1024, 512), 128);
        assert_eq!(share(700, 93), 700, "all of them fit");
        assert_eq!(share(1024, 93), 512);
    }

    #[test]
    fn share_is_never_less_than_a_name_may_have_and_then_not_all_fit() {
        for workloads in [513, 16_384, usize::MAX] {
            assert_eq!(share(1024, workloads), LEAST, "{workloads}");
        }
        assert!(!is_too_much(LEAST, 512) && is_too_much(LEAST, 513));
    }

    #[test]
    fn shares_of_all_fit_the_map() {
        for workloads in 1..=512 {
            for configured in [128, 129, 1024, 100_000, LEARNED_CAPACITY] {
                let share = share(configured, workloads);
                assert!(share >= LEAST && share <= configured);
                assert!(!is_too_much(share, workloads), "{workloads} of {configured}");
            }
        }
    }
}
