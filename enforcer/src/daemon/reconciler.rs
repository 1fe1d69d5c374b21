//! Brings the kernel up to date: from what the registry says to what the maps hold, which programs run where, and which
//! sockets stay open.
//!
//! ```text
//! desired (registry) -> capacity (what fits) -> plan (difference to what is applied) -> maps
//!                                                   `-> revocation (whose sockets to look at)
//! ```
//!
//! **Architecture Invariant:** nothing else writes to the datapath.

mod bound;
mod capacity;
mod ended;
mod former;
mod learned;
mod proof;
mod revocation;
mod roots;
mod sockets;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use anyhow::{Context as _, Result};
use enforcer_common::{CgroupId, Counter, Settings};
use enforcer_core::{
    model::Host,
    plan::{self, Applied, Change, PlanKind, diff_within},
    policy::{Desired, DesiredPolicy, Shared},
    rule::Rule,
};
use tokio::sync::watch;

use super::ingest::{Ingest, is_there};
use crate::{
    config::Capacities,
    datapath::{Cgroup, Datapath, Features, Hardening, Learning, Sighting},
    metrics::Ledger,
    proof::{Canaries, policy, room_beside},
    report::dedup::{Dedup, IN_STATUS},
};

use former::Former;
use learned::Gone;
use proof::Comparison;
use revocation::Due;
use roots::RootPrograms;

pub(super) use capacity::Capacity;
pub(super) use revocation::Revocation;

pub(super) struct Reconciler {
    datapath: Datapath,
    /// Whose verdicts are whose.
    ledger: Arc<Ledger>,
    /// What the maps hold.
    applied: Applied,
    /// What the registry said at the last plan, and what of it is there and fits.
    desired: Arc<Desired>,
    fitted: Desired,
    capacity: Capacity,
    roots: RootPrograms,
    /// The hosts whose addresses are wanted.
    hosts: watch::Sender<BTreeSet<Host>>,
    /// None with `revoke: false`.
    revocation: Option<Revocation>,
    canaries: Canaries,
    comparison: Comparison,
    /// Whether the kernel holds what the first lists said.
    is_in_force: bool,
    /// Why the kernel does not hold what it should.
    failure: Option<String>,
    failures: Dedup,
    /// What is left to be taken away of workloads that are gone.
    gone: Gone,
    /// Whether slots beyond the workloads' shares are to be looked for.
    has_beyond: bool,
    /// What workloads had learned.
    former: Former,
    /// Whether the map of learned addresses is too small for all workloads' shares.
    lacks_learned: bool,
    /// What was said of connections that stay open.
    unrevoked: Dedup,
}

impl Reconciler {
    /// Nothing is applied yet.
    pub(super) fn new(
        (datapath, ledger): (Datapath, Arc<Ledger>),
        capacities: Capacities,
        hosts: watch::Sender<BTreeSet<Host>>,
        revocation: Option<Revocation>,
    ) -> Self {
        Self {
            datapath,
            ledger,
            applied: Applied::default(),
            desired: Arc::default(),
            fitted: Desired::default(),
            capacity: Capacity::new(capacities),
            roots: RootPrograms::default(),
            hosts,
            revocation,
            canaries: Canaries::default(),
            comparison: Comparison::default(),
            is_in_force: false,
            failure: None,
            failures: Dedup::listed(IN_STATUS),
            gone: Gone::default(),
            has_beyond: true,
            former: Former::default(),
            lacks_learned: false,
            unrevoked: Dedup::listed(IN_STATUS),
        }
    }

    /// Asks for the addresses of the hosts that the registry names, and returns these.
    pub(super) fn request_hosts(&mut self, ingest: &mut Ingest) -> Arc<BTreeSet<Host>> {
        request_hosts(&self.hosts, ingest)
    }

    /// Takes over what another configuration says, and where its hosts are asked for. It comes into force with the next
    /// plan.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub(super) fn configure(
        &mut self,
        settings: Settings,
        hosts: watch::Sender<BTreeSet<Host>>,
    ) -> Result<()> {
        self.hosts = hosts;
        self.datapath.configure(settings).context("writing the settings")
    }

    /// Ends enforcement at roots that are none any more.
    pub(super) fn end_at(&mut self, roots: Vec<Cgroup>) {
        for root in roots {
            self.roots.forget(root.id);
            match self.datapath.detach(&root.path) {
                Ok(()) => tracing::info!("no longer enforcing at {}", root.path.display()),
                Err(error) => tracing::error!(
                    "cannot end enforcement at {}, which is no longer configured; the next start does: {error:#}",
                    root.path.display()
                ),
            }
        }
    }

    /// Allows the enforcer's own pod in the maps of an earlier start, before the start waits for anything: those maps
    /// do not know it, and would refuse it the API server.
    ///
    /// # Errors
    /// If the maps cannot be read or written.
    pub(super) fn admit_own_pod(&mut self, ingest: &Ingest) -> Result<()> {
        for cgroup in ingest.own_pod() {
            self.set_depths(ingest, true)?;
            if let Some(at) = ingest.cgroups().get(&cgroup) {
                self.datapath
                    .admit(at, |applied| plan::admit(applied, cgroup))
                    .context("letting the enforcer's own pod through")?;
            }
        }
        Ok(())
    }

    /// Brings enforcement into force for the first time. Returns why it begins at none of the roots that are there; it
    /// can be tried again then.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub(super) fn begin(&mut self, ingest: &mut Ingest) -> Result<Option<String>> {
        if self.applied == Applied::default() {
            self.applied = self.datapath.read_back()?;
            self.canaries = Canaries::left_in(&self.applied);
            self.tell_inherited();
        }
        self.reconcile(ingest)?;
        // A root that fails does not keep others from being enforced; a start that can enforce no root fails.
        if let Some(refused) = self.roots.refused_everywhere() {
            return Ok(Some(refused));
        }
        self.is_in_force = true;
        self.note_all_bound(ingest);
        self.datapath.keep_pins();
        self.datapath.remove_leftovers(&self.roots.missing(ingest))?;
        for closure in self.datapath.closures() {
            if closure.absent.is_some() {
                tracing::warn!("{closure}");
            }
        }
        Ok(None)
    }

    /// Brings the kernel to what the registry says. Returns whether nothing is left to be tried again.
    pub(super) fn bring_up_to_date(&mut self, ingest: &mut Ingest) -> bool {
        self.failure = self.reconcile(ingest).err().map(|error| format!("{error:#}"));
        for failure in self.failures.news(self.failure.iter().cloned().collect()) {
            tracing::error!(
                "not all changes are in force: the rest is tried again, and until then what it changes stays as it \
                 was: {failure}"
            );
        }
        let is_revoked = self
            .revocation
            .as_ref()
            .is_none_or(|revocation| !revocation.is_due());
        self.failure.is_none() && !self.lacks_roots() && is_revoked
    }

    /// Whether names are learned from now on. If the maps cannot hold what they are learned by, nothing is learned, and
    /// rules are changed all the same.
    fn learn_more(&mut self, learning: &Learning) -> Result<bool> {
        let Err(error) = self.datapath.learn_more(learning) else {
            return Ok(true);
        };
        tracing::error!(
            "addresses are no longer learned from DNS answers: {error:#}; what was learned and what the enforcer itself \
             resolves stays allowed; shorten dns.learn.protected or dns.trustedResolvers, or set \
             dns.learn.protectCluster: false"
        );
        self.datapath.learn_nothing()?;
        Ok(false)
    }

    fn reconcile(&mut self, ingest: &mut Ingest) -> Result<()> {
        let mut learning = ingest.learning();
        ingest.report_pods();
        let hosts = self.request_hosts(ingest);
        let is_news = self.fit(ingest);
        self.share_learned()?;
        learning.patterns = self.capacity.named(learning.patterns, &self.fitted);
        let learns = self.learn_more(&learning)?;
        let desired = self.wanted();
        let (plan, kind) = diff_within(&self.applied, &desired, &room_beside(self.capacity.capacities()));
        self.capacity.note_kind(kind);
        let leaves_out = self.capacity.leaves_workloads_out();
        if !plan.changes.is_empty() {
            self.set_depths(ingest, true)?;
            self.datapath
                .refuse_unknown(leaves_out || matches!(kind, PlanKind::RemovalsFirst(_)))?;
            self.note_due(&plan, ingest);
            if let Err(error) = self.datapath.carry_out(&plan.changes) {
                // It is not known which of them are in force, so a sweep stays due for all of them.
                self.applied = self.datapath.read_back()?;
                self.note_all_bound(ingest);
                return Err(error);
            }
            self.note_bound(&plan.changes, ingest);
            if is_news {
                let (changes, report) = (plan.changes.len(), self.capacity.report());
                tracing::debug!(changes, tables = ?report.tables, "the kernel's maps are up to date");
            }
        }
        if plan
            .changes
            .iter()
            .any(|change| matches!(change, Change::Unbind(_)))
        {
            self.gone = Gone::ToBeListed;
        }
        self.applied = plan.after;
        if learns {
            self.datapath.learn_only(&learning)?;
        }
        self.datapath.refuse_unknown(leaves_out)?;
        self.set_depths(ingest, false)?;
        self.attach(ingest);
        self.sweep(&hosts, ingest)
    }

    /// What the maps hold, as the kernel says, and what would bring them to what the last plan wanted.
    ///
    /// # Errors
    /// If a map cannot be read.
    pub(super) fn compared(&self) -> Result<(Applied, Vec<Change>)> {
        let held = self.datapath.held()?;
        let (plan, _) = diff_within(&held, &self.wanted(), &room_beside(self.capacity.capacities()));
        Ok((held, plan.changes))
    }

    /// What fits of what the registry says, with the canaries' policy.
    fn wanted(&self) -> Desired {
        let mut desired = self.fitted.clone();
        let canary = policy(self.canaries.now().iter().map(|cgroup| cgroup.id));
        desired.policies.extend(canary);
        desired
    }

    /// Fits what the registry says into the maps; returns whether it has changed.
    fn fit(&mut self, ingest: &mut Ingest) -> bool {
        let desired = ingest.desired();
        if Arc::ptr_eq(&desired, &self.desired) {
            return false;
        }
        self.fitted = self.capacity.fit(present(&desired), ingest.registry());
        self.desired = desired;
        true
    }
}

/// What others ask.
impl Reconciler {
    pub(super) fn capacity(&self) -> &Capacity {
        &self.capacity
    }

    pub(super) fn applied(&self) -> &Applied {
        &self.applied
    }

    /// Whether the last plan was of what the registry says now.
    pub(super) fn has_planned(&self, ingest: &mut Ingest) -> bool {
        Arc::ptr_eq(&ingest.desired(), &self.desired)
    }

    /// What the programs are told beside rules.
    pub(super) fn settings(&self) -> Settings {
        self.datapath.settings()
    }

    /// What of the kernel the programs use.
    pub(super) fn features(&self) -> Features {
        self.datapath.features()
    }

    /// Whether a cgroup is the self-proof's.
    pub(super) fn is_canary(&self, cgroup: CgroupId) -> bool {
        self.canaries.has(cgroup)
    }

    pub(super) fn closures(&self) -> &[Hardening] {
        self.datapath.closures()
    }

    pub(super) fn counters(&self) -> Result<BTreeMap<Counter, u64>> {
        self.datapath.counters()
    }

    pub(super) fn suppressed(&self) -> Result<BTreeMap<CgroupId, u64>> {
        self.datapath.suppressed()
    }

    /// What workloads were seen to do since the last call, at most so many destinations.
    pub(super) fn sightings(&mut self, most: usize) -> Result<Vec<Sighting>> {
        self.datapath.sightings(most)
    }

    /// How many calls the programs could not count, by workload.
    pub(super) fn unseen(&self) -> Result<BTreeMap<CgroupId, u64>> {
        self.datapath.unseen()
    }

    /// Why the kernel does not hold what it should, but for what does not fit.
    pub(super) fn failure(&self) -> Option<&str> {
        self.failure.as_deref()
    }

    /// Why some of these rules are not in the kernel for a workload that should have them; None if all are.
    pub(super) fn left_out(&self, rules: &BTreeSet<Rule>) -> Option<String> {
        if !self.capacity.report().is_exceeded() {
            return None;
        }
        let desired = present(&self.desired);
        self.capacity.advice_for(rules, (&desired, &self.fitted))
    }

    pub(super) fn is_in_force(&self) -> bool {
        self.is_in_force
    }

    /// Whether the maps hold all that they should.
    pub(super) fn is_up_to_date(&self) -> bool {
        self.failure.is_none()
    }

    /// Whether programs are missing at a root that is there.
    pub(super) fn lacks_roots(&self) -> bool {
        self.roots.lacks_some()
    }

    /// What keeps the kernel from holding what it should.
    pub(super) fn problems(&self, ingest: &Ingest) -> Vec<String> {
        let mut problems: Vec<_> = self.failure.iter().cloned().collect();
        if !self.is_in_force {
            problems.push("the first lists of all sources are not applied yet".to_owned());
        }
        problems.extend(self.roots.problems());
        problems.extend(self.capacity.problems());
        problems.extend(self.unrevoked(ingest));
        problems
    }
}

/// Asks for the addresses of the hosts that the registry names, and returns these.
pub(super) fn request_hosts(
    sender: &watch::Sender<BTreeSet<Host>>,
    ingest: &mut Ingest,
) -> Arc<BTreeSet<Host>> {
    let wanted = ingest.hosts();
    sender.send_if_modified(|hosts| {
        let differs = *hosts != *wanted;
        if differs {
            hosts.clone_from(&wanted);
        }
        differs
    });
    wanted
}

/// What is desired for the cgroups that are there.
fn present(desired: &Desired) -> Desired {
    let policies = desired.policies.iter().filter_map(|policy| {
        let workloads: BTreeSet<_> = policy
            .workloads
            .iter()
            .filter(|cgroup| is_there(cgroup))
            .copied()
            .collect();
        (!workloads.is_empty()).then(|| DesiredPolicy {
            workloads,
            ..policy.clone()
        })
    });
    let policies: Vec<_> = policies.collect();
    let is_shared = |shares: &Shared| policies.iter().any(|policy| policy.shares == Some(*shares));
    let shared = desired.shared.iter().filter(|(shares, _)| is_shared(shares));
    let shared = shared
        .map(|(shares, rules)| (*shares, Arc::clone(rules)))
        .collect();
    let own = desired.own.iter().filter(|(cgroup, _)| is_there(cgroup));
    let own = own.map(|(cgroup, own)| (*cgroup, *own)).collect();
    Desired {
        shared,
        policies,
        own,
    }
}
