//! Proves every few seconds that enforcement is in force.
//!
//! ```text
//! every 3 s -> owner: do our programs run, are the pins there? (mended if not)
//!           -> a cgroup below each root -> owner: bind it -> canary tries its connections there -> Proof
//! ```
//!
//! The canary is a process in a network namespace of its own, in which the addresses reserved for documentation are
//! local. Its policy allows one of them and not the other, whatever the registry contains, and nothing that it sends
//! can leave that namespace.
//!
//! **Architecture Invariant:** a request is no proof. Only the result of a socket call, and what the kernel reports
//! about its programs, count.

mod canary;
mod network;
mod trial;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use enforcer_common::{Binding, CgroupId};
use enforcer_core::plan::Applied;
use nix::unistd::geteuid;
use tokio::{
    sync::{mpsc, oneshot, watch},
    task::block_in_place,
};
use tokio_util::sync::CancellationToken;

use crate::config::Capacities;
use crate::counts::COUNTS;
use crate::datapath::{Cgroup, CgroupMount, Drift, Inspection, RootState};
use crate::random;
use crate::report::dedup::Dedup;

pub use canary::{COMMAND, Canary, join, serve};
pub use trial::policy;

/// The room that the canary needs in the maps beside everything else.
pub fn room_beside(capacities: &Capacities) -> Capacities {
    Capacities {
        workloads: capacities.workloads.saturating_add(ROUND.into()),
        policies: capacities.policies.saturating_add(1),
        exact: capacities.exact.saturating_add(trial::RULES),
        ..*capacities
    }
}

/// The canary's cgroup below each root. It exists only while the canary runs.
pub const CGROUP: &str = "enforcer-canary";

/// How many levels below its root that is.
pub const LEVELS: u32 = 1;

/// How often enforcement is proven: what was detached has to be back within 10 s.
pub const INTERVAL: Duration = Duration::from_secs(3);

/// Roots at which the canary tries in one round. With more, they take turns.
const ROUND: u8 = 16;

/// Lapses that are remembered.
const REMEMBERED: usize = 32;

/// What the task requests from the owner.
#[derive(Debug)]
pub enum Question {
    /// Check whether everything in the kernel is as it was installed, and repair what is not.
    Inspect(oneshot::Sender<Inspection>),
    /// Bind these cgroups, and no others, to the canary's policy.
    Bind(Vec<Cgroup>, oneshot::Sender<Result<()>>),
}

/// The latest result.
#[derive(Clone, Debug, Default)]
pub struct Proof {
    /// When the last round ended; None before the first.
    pub at: Option<Instant>,
    /// The state of each root at that time.
    pub roots: Vec<RootState>,
    /// What the canary found at each root, and when.
    pub canary: BTreeMap<PathBuf, Verdict>,
    /// What had lapsed, and when it was noticed; the newest last.
    pub lapses: Vec<(Instant, Drift)>,
    /// What the last round could not repair.
    pub unmended: Vec<Drift>,
}

/// The canary's result at a root.
#[derive(Clone, Debug)]
pub struct Verdict {
    /// When it tried.
    pub at: Instant,
    /// What was wrong, in sentences without a full stop; empty if nothing was.
    pub failures: Vec<String>,
}

/// The task that proves.
#[derive(Debug)]
pub struct Prover {
    /// Where cgroup v2 is mounted.
    pub mount: CgroupMount,
    /// The process that makes the attempts.
    pub canary: Canary,
    /// What a refused call returns.
    pub errno: i32,
    /// The owner.
    pub owner: mpsc::Sender<Question>,
    /// Receives the results.
    pub proof: watch::Sender<Proof>,
}

impl Prover {
    /// Proves repeatedly, until `cancel`.
    ///
    /// # Errors
    /// If the owner is gone.
    pub async fn run(mut self, cancel: CancellationToken) -> Result<()> {
        let mut interval = tokio::time::interval(INTERVAL);
        interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut proof = Proof::default();
        let (mut said, mut has_failed) = (Dedup::default(), false);
        loop {
            tokio::select! {
                _ = interval.tick() => {}
                () = cancel.cancelled() => return Ok(()),
            }
            // The owner answers the first time once enforcement is in force.
            let Some(inspection) = cancel.run_until_cancelled(self.inspect()).await else {
                return Ok(());
            };
            proof.take(inspection?);
            let due = due(&proof);
            let roots: Vec<_> = due.iter().filter_map(|path| self.root(path)).collect();
            proof.canary.retain(|path, _| !due.contains(path));
            for (root, verdict) in self.try_at(&roots).await? {
                // What failed because the root went away says nothing about enforcement.
                if verdict.failures.is_empty() || root.is_there() {
                    proof.canary.insert(root.path, verdict);
                }
            }
            let failures = proof.failures();
            if failures.is_empty() && has_failed {
                tracing::info!(
                    "the self-proof succeeds again: enforcement is proven at every root that was tried"
                );
            }
            has_failed = !failures.is_empty();
            let rounds = if has_failed || !proof.unmended.is_empty() {
                &COUNTS.unproven
            } else {
                &COUNTS.proven
            };
            rounds.add(1);
            for failure in said.news(failures) {
                tracing::error!("{failure}");
            }
            proof.at = Some(Instant::now());
            self.proof.send_replace(proof.clone());
        }
    }

    async fn inspect(&self) -> Result<Inspection> {
        let (reply, inspection) = oneshot::channel();
        self.ask(Question::Inspect(reply)).await?;
        inspection.await.context("the owner does not answer")
    }

    /// The root at a path. Without one, nothing is proven there.
    fn root(&self, path: &Path) -> Option<Cgroup> {
        self.mount.cgroup(path).ok().flatten()
    }

    /// Has the canary try below each of these roots.
    async fn try_at(&mut self, roots: &[Cgroup]) -> Result<Vec<(Cgroup, Verdict)>> {
        if roots.is_empty() {
            return Ok(Vec::new());
        }
        let mut made = Vec::new();
        let mut verdicts = Vec::new();
        let mut say = |root: &Cgroup, failures| {
            let at = Instant::now();
            verdicts.push((root.clone(), Verdict { at, failures }));
        };
        for root in roots {
            if is_frozen(&self.mount.folder(&root.path)) {
                let why = "its cgroup is frozen, so that no connection can be tried there until it is thawed";
                say(root, vec![why.to_owned()]);
                continue;
            }
            // A process that keeps creating cgroups delays others that create one.
            match block_in_place(|| make(&self.mount, &root.path)) {
                Ok(cgroup) => made.push((root, cgroup)),
                Err(error) => say(root, vec![format!("the canary has no cgroup: {error:#}")]),
            }
        }
        let bound = self
            .bind(made.iter().map(|(_, cgroup)| cgroup.clone()).collect())
            .await?;
        for (root, cgroup) in &made {
            let failures = match &bound {
                Ok(()) => self.canary.tries(&cgroup.folder, self.errno).await,
                Err(error) => vec![format!("the canary's policy is not in force: {error:#}")],
            };
            say(root, failures);
        }
        for (root, cgroup) in made {
            if let Err(error) = block_in_place(|| remove(&cgroup.folder)) {
                tracing::warn!(
                    "cannot remove the self-proof's cgroup below {} yet ({error}): enforcement is not affected, and \
                     the next round removes it",
                    root.path.display()
                );
            }
        }
        if let Err(error) = self.bind(Vec::new()).await? {
            tracing::warn!(
                "cannot remove the self-proof's policy from the kernel's maps yet: no workload has it, and the next \
                 round removes it: {error:#}"
            );
        }
        Ok(verdicts)
    }

    async fn bind(&self, cgroups: Vec<Cgroup>) -> Result<Result<()>> {
        let (reply, bound) = oneshot::channel();
        self.ask(Question::Bind(cgroups, reply)).await?;
        bound.await.context("the owner does not answer")
    }

    async fn ask(&self, question: Question) -> Result<()> {
        self.owner.send(question).await.context("the owner is gone")
    }
}

impl Proof {
    /// What the canary found wrong when it last tried, a line each.
    fn failures(&self) -> BTreeSet<String> {
        let all = self.canary.iter().flat_map(|(root, verdict)| {
            let failures = verdict.failures.iter();
            failures.map(move |failure| {
                format!(
                    "the self-proof failed at {}: {failure}; enforcement is not proven there, and it is tried again \
                     every {INTERVAL:?}; `enforcer status` has the details",
                    root.display()
                )
            })
        });
        all.collect()
    }

    fn take(&mut self, inspection: Inspection) {
        let now = Instant::now();
        COUNTS.lapses.add(inspection.lapses.len() as u64);
        let stays = inspection.lapses.iter().filter(|lapse| lapse.stays.is_some());
        self.unmended = stays.cloned().collect();
        self.lapses
            .extend(inspection.lapses.into_iter().map(|lapse| (now, lapse)));
        let surplus = self.lapses.len().saturating_sub(REMEMBERED);
        self.lapses.drain(..surplus);
        self.roots = inspection.roots;
        self.canary
            .retain(|path, _| self.roots.iter().any(|root| root.path == *path));
    }
}

/// The roots whose proof is the oldest.
fn due(proof: &Proof) -> Vec<PathBuf> {
    let mut roots: Vec<_> = proof.roots.iter().map(|root| root.path.clone()).collect();
    roots.sort_by_key(|path| proof.canary.get(path).map(|verdict| verdict.at));
    roots.truncate(ROUND.into());
    roots
}

/// Whether nothing runs in a cgroup, and below it, until somebody thaws it. Every attempt would take as long as it may,
/// while other roots wait.
fn is_frozen(folder: &Path) -> bool {
    fs::read_to_string(folder.join("cgroup.events"))
        .is_ok_and(|events| events.lines().any(|line| line == "frozen 1"))
}

/// The canary's cgroup below a root. Where cgroups are delegated, workloads create some too: if one of theirs has
/// the name, it is left alone, and an unpredictable name is used.
fn make(mount: &CgroupMount, root: &Path) -> Result<Cgroup> {
    let other = || format!("{CGROUP}-{:016x}", random::number());
    for name in [CGROUP.to_owned(), other()] {
        let path = root.join(name);
        let folder = mount.folder(&path);
        match fs::create_dir(&folder) {
            // A cgroup that a killed enforcer has left can be used too.
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                return Err(error).with_context(|| format!("creating {}", folder.display()));
            }
            _ => {}
        }
        if is_own(&folder) {
            return mount.cgroup(&path)?.context("it went away at once");
        }
    }
    bail!(
        "another process creates cgroups of its name at {}",
        root.display()
    )
}

/// Whether this user has created it.
fn is_own(folder: &Path) -> bool {
    fs::metadata(folder).is_ok_and(|there| there.uid() == geteuid().as_raw())
}

fn remove(folder: &Path) -> io::Result<()> {
    match fs::remove_dir(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Removes the canary's cgroups that killed enforcers have left below the cgroup `folder`. One with a process belongs
/// to an enforcer that runs, one of another user to a workload; both are left alone.
///
/// # Errors
/// If one cannot be removed.
pub fn remove_leftovers(folder: &Path) -> Result<()> {
    let context = || format!("looking into {}", folder.display());
    let children = match fs::read_dir(folder) {
        // Cgroups come and go.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        children => children.with_context(context)?,
    };
    for child in children {
        let child = child.with_context(context)?;
        if child.file_name().to_string_lossy().starts_with(CGROUP) {
            if !is_own(&child.path()) {
                continue;
            }
            match remove(&child.path()) {
                Err(error) if error.kind() != io::ErrorKind::ResourceBusy => {
                    return Err(error).with_context(|| format!("removing {}", child.path().display()));
                }
                _ => {}
            }
        } else if child.file_type().with_context(context)?.is_dir() {
            remove_leftovers(&child.path())?;
        }
    }
    Ok(())
}

/// Whether a cgroup is the canary's, now or a moment ago.
#[derive(Debug, Default)]
pub struct Canaries {
    now: Vec<Cgroup>,
    before: Vec<CgroupId>,
}

impl Canaries {
    /// Cgroups that a killed enforcer has left in the maps. Only the canary's policy has these rules.
    pub fn left_in(applied: &Applied) -> Self {
        let of_canary = policy([CgroupId(0)]).map(|policy| policy.own);
        let is_canarys = |binding: &Binding| {
            let policy = applied.policies.get(&binding.policy);
            let own = policy.and_then(|policy| applied.scopes.get(&policy.own));
            own.is_some() && own == of_canary.as_ref()
        };
        let bound = applied
            .workloads
            .iter()
            .filter(|(_, binding)| is_canarys(binding));
        Self {
            now: Vec::new(),
            before: bound.map(|(cgroup, _)| *cgroup).collect(),
        }
    }

    /// Replaces the present cgroups.
    pub fn set(&mut self, cgroups: Vec<Cgroup>) {
        if !self.now.is_empty() {
            self.before = self.now.iter().map(|cgroup| cgroup.id).collect();
        }
        self.now = cgroups;
    }

    /// The present cgroups.
    pub fn now(&self) -> &[Cgroup] {
        &self.now
    }

    /// Whether an event of this cgroup is the canary's.
    pub fn has(&self, cgroup: CgroupId) -> bool {
        self.before.contains(&cgroup) || self.now.iter().any(|canary| canary.id == cgroup)
    }
}
