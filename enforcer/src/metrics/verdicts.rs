//! How many verdicts were made for each owner: what the programs count for workloads that are there, and what they have
//! counted for those that are gone.
//!
//! ```text
//! entry of the map - what was taken of it (by the ledger: whose it is) -> owner
//! workload gone -> its numbers to the owner's past -> file -> the entry is removed
//! ```
//!
//! **Architecture Invariant:** no number of an owner ever becomes smaller while the process lives, nor by a restart with
//! the same maps. There is a bounded number of owners.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::Result;
use enforcer_common::{CgroupId, Share, Verdicts};

use super::{
    kept::Kept,
    ledger::{Ledger, Owner, Who},
};
use crate::datapath::VerdictCounts;

/// The most owners that are told apart; what is beyond is told as [`Owner::other`]. A node has a few hundred pods.
pub(super) const MOST: usize = 1000;

/// How long after the end of a workload its numbers are taken: a program that runs at that moment may still count.
const LAG: Duration = Duration::from_secs(1);

/// What is known of an owner beside the map's entries.
#[derive(Debug)]
struct Past {
    verdicts: Verdicts,
    /// Since when it has no workload; None while it has one.
    since: Option<Instant>,
}

impl Default for Past {
    fn default() -> Self {
        Self {
            verdicts: Verdicts::NONE,
            since: None,
        }
    }
}

/// Whose numbers are to be taken now, when the next ones are, and whether workloads have come or gone.
struct Due {
    due: Vec<(CgroupId, Who)>,
    next: Option<Instant>,
    has_changed: bool,
}

/// The numbers of the kernel, and of the past.
pub(super) struct Counting {
    counts: VerdictCounts,
    ledger: Arc<Ledger>,
    past: BTreeMap<Owner, Past>,
    /// Owners that are told together while they have workloads.
    others: BTreeSet<Owner>,
    /// What of an entry is in the past already.
    taken: BTreeMap<CgroupId, Verdicts>,
    /// Who was bound when an earlier process ended.
    former: BTreeMap<CgroupId, Owner>,
    file: Option<PathBuf>,
}

impl Counting {
    /// With what an earlier process has kept in `file` of the same map.
    pub(super) fn new(counts: VerdictCounts, ledger: Arc<Ledger>, file: Option<PathBuf>) -> Self {
        let kept = file.as_deref().and_then(|file| Kept::read(file, counts.id()));
        let Kept { past, taken, former } = kept.unwrap_or_default();
        let now = Instant::now();
        let past = past.into_iter().map(|(owner, verdicts)| {
            let since = Some(now);
            (owner, Past { verdicts, since })
        });
        Self {
            counts,
            ledger,
            past: past.collect(),
            others: BTreeSet::new(),
            taken,
            former,
            file,
        }
    }

    /// The numbers of every owner.
    ///
    /// # Errors
    /// If the map cannot be read.
    pub(super) fn all(&mut self) -> Result<BTreeMap<Owner, Verdicts>> {
        self.place();
        let entries = self.counts.read()?;
        let past = self.past.iter();
        let mut all: BTreeMap<_, _> = past.map(|(owner, past)| (owner.clone(), past.verdicts)).collect();
        for (cgroup, verdicts) in entries {
            if let Some(Who::Workload(owner)) = self.who(cgroup) {
                let owner = self.told_as(owner);
                let left = less(&verdicts, self.taken.get(&cgroup));
                add(all.entry(owner).or_insert(Verdicts::NONE), &left);
            }
        }
        Ok(all)
    }

    /// Takes over the numbers of workloads that are gone, and returns when there are more of them to take.
    ///
    /// # Errors
    /// If the map cannot be read or written.
    pub(super) fn settle(&mut self) -> Result<Option<Instant>> {
        self.place();
        let Due {
            due,
            next,
            has_changed,
        } = self.due()?;
        for (cgroup, who) in &due {
            let Some(verdicts) = self.counts.of(*cgroup)? else {
                continue;
            };
            if let Who::Workload(owner) = who {
                let owner = self.told_as(owner.clone());
                let left = less(&verdicts, self.taken.get(cgroup));
                add(&mut self.past.entry(owner).or_default().verdicts, &left);
            }
            self.taken.insert(*cgroup, verdicts);
        }
        let is_news = due.iter().any(|(_, who)| *who != Who::Canary);
        if is_news || has_changed {
            self.keep();
        }
        for (cgroup, _) in due {
            let mut book = self.ledger.book();
            book.ended.remove(&cgroup);
            self.former.remove(&cgroup);
            // One that is bound again meanwhile goes on counting in its entry.
            if !book.bound.contains_key(&cgroup) {
                self.counts.end(cgroup)?;
                self.taken.remove(&cgroup);
            }
        }
        Ok(next)
    }

    /// What is to be done now.
    fn due(&self) -> Result<Due> {
        let entries = self.counts.workloads()?;
        let mut book = self.ledger.book();
        let has_changed = std::mem::take(&mut book.has_changed);
        let (mut due, mut next) = (Vec::new(), None);
        for (cgroup, (who, since)) in &book.ended {
            let at = *since + LAG;
            if at <= Instant::now() {
                due.push((*cgroup, who.clone()));
            } else {
                next = next.into_iter().chain([at]).min();
            }
        }
        if book.is_whole {
            for cgroup in entries {
                let is_known = book.bound.contains_key(&cgroup) || book.ended.contains_key(&cgroup);
                if !is_known && cgroup != Share::UNKNOWN {
                    // Whoever was bound too shortly for its name to be kept is left out, as the self-proof is.
                    let former = self.former.get(&cgroup).cloned();
                    due.push((cgroup, former.map_or(Who::Canary, Who::Workload)));
                }
            }
        }
        Ok(Due {
            due,
            next,
            has_changed,
        })
    }

    /// Gives every owner that has workloads a place, as long as there are some; owners without workloads make room, the
    /// oldest first.
    fn place(&mut self) {
        let owners: BTreeSet<Owner> = {
            let book = self.ledger.book();
            let ended = book.ended.values().map(|(who, _)| who);
            let all = book.bound.values().chain(ended);
            let owners = all.filter_map(|who| match who {
                Who::Workload(owner) => Some(owner.clone()),
                Who::Canary => None,
            });
            owners.chain(self.former.values().cloned()).collect()
        };
        self.others.retain(|owner| owners.contains(owner));
        let now = Instant::now();
        for (owner, past) in &mut self.past {
            let is_there = owners.contains(owner) || *owner == Owner::other();
            past.since = if is_there { None } else { past.since.or(Some(now)) };
        }
        for owner in owners {
            if self.past.contains_key(&owner) || self.others.contains(&owner) {
                continue;
            }
            if self.past.len() >= MOST {
                let gone = self
                    .past
                    .iter()
                    .filter_map(|(owner, past)| Some((past.since?, owner)));
                match gone.min().map(|(_, owner)| owner.clone()) {
                    Some(oldest) => drop(self.past.remove(&oldest)),
                    None => {
                        self.others.insert(owner);
                        continue;
                    }
                }
            }
            self.past.insert(owner, Past::default());
        }
    }

    /// Who a cgroup of the map is; None of one that is not known yet.
    fn who(&self, cgroup: CgroupId) -> Option<Who> {
        if cgroup == Share::UNKNOWN {
            return Some(Who::Workload(Owner::unknown()));
        }
        let book = self.ledger.book();
        let ended = || book.ended.get(&cgroup).map(|(who, _)| who);
        let former = || self.former.get(&cgroup).cloned().map(Who::Workload);
        book.bound.get(&cgroup).or_else(ended).cloned().or_else(former)
    }

    fn told_as(&self, owner: Owner) -> Owner {
        if self.others.contains(&owner) {
            Owner::other()
        } else {
            owner
        }
    }

    /// Writes the file: what was taken, and who is bound. What cannot be written costs numbers at the next start.
    fn keep(&self) {
        let Some(file) = &self.file else {
            return;
        };
        let mut former = self.former.clone();
        {
            let book = self.ledger.book();
            let ended = book.ended.iter().map(|(cgroup, (who, _))| (cgroup, who));
            for (cgroup, who) in book.bound.iter().chain(ended) {
                if let Who::Workload(owner) = who {
                    former.insert(*cgroup, owner.clone());
                }
            }
        }
        let past = self.past.iter();
        let kept = Kept {
            past: past.map(|(owner, past)| (owner.clone(), past.verdicts)).collect(),
            taken: self.taken.clone(),
            former,
        };
        if let Err(error) = kept.write(file, self.counts.id()) {
            tracing::warn!(
                "what was counted of workloads that are gone is not kept for the next start; enforcement is not \
                 affected: {error:#}"
            );
        }
    }
}

/// What an entry has beyond what was taken of it.
fn less(verdicts: &Verdicts, taken: Option<&Verdicts>) -> Verdicts {
    let mut left = *verdicts;
    for (left, taken) in left.0.iter_mut().zip(taken.unwrap_or(&Verdicts::NONE).0) {
        *left = left.saturating_sub(taken);
    }
    left
}

fn add(to: &mut Verdicts, more: &Verdicts) {
    for (to, more) in to.0.iter_mut().zip(more.0) {
        *to = to.saturating_add(more);
    }
}
