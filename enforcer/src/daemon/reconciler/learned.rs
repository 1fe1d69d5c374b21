//! What workloads have learned: what others ask of it, and its end with its workload.

use std::{collections::BTreeMap, net::IpAddr};

use anyhow::Result;
use enforcer_common::CgroupId;

use super::Reconciler;
use crate::{
    daemon::ingest::Ingest,
    datapath::{Given, Listed},
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

impl Reconciler {
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
        self.gone = if is_done { Gone::Nothing } else { Gone::Left };
        Ok(())
    }
}
