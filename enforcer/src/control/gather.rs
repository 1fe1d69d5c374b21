//! Puts together what each task knows.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, anyhow};
use enforcer_core::names::HostStatus;
use hyper::body::Bytes;
use tokio::sync::{mpsc, oneshot, watch};

use super::{
    AboutLive, Explained, HeldAddress, Inside, NameSource, NameTable, Observed, OwnerQuestion, Question,
    Watch,
    status::{
        Canary, Configuration, Drift, FailingName, Hardening, Learning, Names, ObservedFile, Program, Root,
        Source, Status, Suppressed, Unjudged, Usage,
    },
};
use crate::{
    datapath,
    kept::Keeping,
    names::AskStatus,
    proof::Proof,
    report::recent::RECENT,
    sources::{
        Heartbeat, files,
        kube::{KubeStatus, SourceState, SourceStatus},
    },
};

/// What the owner knows.
#[derive(Clone, Debug, Default)]
pub struct OwnerStatus {
    /// `enforce` or `audit`.
    pub mode: &'static str,
    /// Workloads that may reach everything by ALLOW_ANY.
    pub allow_any: Vec<String>,
    /// Every root of the configuration.
    pub roots: Vec<RootStatus>,
    /// What is closed beyond rules.
    pub closures: Vec<datapath::Hardening>,
    /// What is in each map.
    pub usage: Vec<Usage>,
    /// Units that run where nothing enforces them.
    pub misplaced: Vec<String>,
    /// Documents that are wrong now.
    pub rejected: Vec<String>,
    /// What is suspicious about files and about the registry as a whole.
    pub warnings: Vec<String>,
    /// How many there are, with those that are not named.
    pub warnings_in_all: usize,
    /// How many of them are about conflicts.
    pub conflicts: usize,
    /// Objects of the registry, by kind.
    pub objects: BTreeMap<String, usize>,
    /// Flows whose workload is not looked for.
    pub unjudged: Unjudged,
    /// Objects that files define.
    pub file_objects: usize,
    /// Workloads' cgroups that are there.
    pub workloads: usize,
    /// Cgroups of pods that are there.
    pub pods: usize,
    /// What is learned of names.
    pub learning: Learning,
    /// Events that did not fit the ring buffer.
    pub lost: u64,
    /// Of which workloads events were left out of the log, the most first.
    pub suppressed: Vec<Suppressed>,
    /// What keeps the kernel from holding what it should.
    pub problems: Vec<String>,
}

/// A root of the configuration.
#[derive(Clone, Debug, Default)]
pub struct RootStatus {
    /// From the cgroup mount on.
    pub path: PathBuf,
    /// Whether the cgroup is there.
    pub is_there: bool,
    /// Whether it has to be.
    pub is_required: bool,
}

/// The ends of tasks that another configuration replaces.
#[derive(Clone, Debug)]
pub struct Live {
    /// The hosts' task.
    pub names: AskStatus,
    /// When the files were last looked at.
    pub files: Heartbeat,
    /// Has them looked at.
    pub look: mpsc::Sender<files::Question>,
    /// When the cgroups were.
    pub cgroups: Heartbeat,
}

/// The configuration that is in force.
#[derive(Clone, Debug, Default)]
pub struct Taken {
    /// Its file.
    pub file: PathBuf,
    /// The text that was read from it.
    pub text: String,
    /// How often the file was read again.
    pub attempts: u64,
    /// Why what was read last is not in force.
    pub refused: Option<String>,
}

impl Taken {
    fn status(&self) -> Configuration {
        let now = std::fs::read(&self.file);
        Configuration {
            file: self.file.display().to_string(),
            has_changed: now.is_ok_and(|now| now != self.text.as_bytes()),
            attempts: self.attempts,
            refused: self.refused.clone(),
        }
    }
}

/// Whom the task asks.
#[derive(Clone, Debug)]
pub struct Ports {
    /// The owner.
    pub owner: Question,
    /// Changes whenever the owner has planned, or has received what needs no plan.
    pub turns: watch::Receiver<u64>,
    /// The tasks that another configuration replaces.
    pub live: watch::Receiver<Live>,
    /// Which configuration is in force.
    pub configuration: watch::Receiver<Taken>,
    /// What was proven last.
    pub proof: watch::Receiver<Proof>,
    /// What is known of the API server's kinds; None if none is followed.
    pub kubernetes: Option<watch::Receiver<KubeStatus>>,
    /// When the cgroups of pods were; None without `pods` in the configuration.
    pub pods: Option<Heartbeat>,
    /// Who writes the metrics.
    pub metrics: AskMetrics,
    /// How the file of observations stands; None without one.
    pub(crate) observations: Option<watch::Receiver<Keeping>>,
    /// When the enforcer was started.
    pub start: Instant,
}

/// Where the text of the metrics is asked for, which is written anew at most twice a second. An error is what to say
/// instead.
pub type AskMetrics = mpsc::Sender<oneshot::Sender<Result<Bytes, String>>>;

impl Ports {
    /// Asks all of them.
    ///
    /// # Errors
    /// If one of them is gone.
    pub async fn gather(&self) -> Result<Status> {
        let (reply, state) = oneshot::channel();
        let question = OwnerQuestion::Status(reply);
        self.owner.send(question).await.context("the owner is gone")?;
        let state = state.await.context("the owner does not answer")?;
        let names = self.hosts().await?;
        let live = self.live.borrow().clone();
        let configuration = self.configuration.borrow().clone();
        let proof = self.proof.borrow().clone();
        let source = |name: &str, objects, age: Option<Duration>| Source {
            name: name.to_owned(),
            objects,
            age_seconds: age.map(|age| age.as_secs_f64()),
            problem: None,
            up: age.is_some(),
            rejected: 0,
        };
        let mut status = Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            uptime_seconds: self.start.elapsed().as_secs_f64(),
            mode: state.mode.to_owned(),
            allow_any: state.allow_any,
            proof_age_seconds: proof.at.map(age),
            roots: state.roots.iter().map(|place| root(place, &proof)).collect(),
            closures: state.closures.iter().map(closure).collect(),
            usage: state.usage,
            sources: vec![
                source("files", state.file_objects, live.files.age()),
                source("cgroups", state.workloads, live.cgroups.age()),
            ],
            configuration: configuration.status(),
            observed_file: self.observations.as_ref().map(|now| observed(&now.borrow())),
            misplaced: state.misplaced,
            rejected: state.rejected,
            warnings: state.warnings,
            warnings_in_all: state.warnings_in_all,
            conflicts: state.conflicts,
            objects: state.objects,
            unjudged: state.unjudged,
            names: named(&names),
            learning: state.learning,
            events_lost: state.lost,
            events_suppressed: state.suppressed,
            lapses: proof.lapses.iter().map(lapse).collect(),
            problems: state
                .problems
                .into_iter()
                .chain(proof.unmended.iter().map(ToString::to_string))
                .collect(),
            backlog: 0,
            proven: false,
            in_force: false,
        };
        if let Some(pods) = &self.pods {
            status.sources.push(source("pods", state.pods, pods.age()));
        }
        if let Some(kubernetes) = &self.kubernetes {
            let known = kubernetes.borrow();
            status.sources.extend(known.sources.iter().map(kind));
            status.backlog = known.backlog;
        }
        status.judge();
        Ok(status)
    }

    /// What workloads were seen to reach.
    pub(super) async fn gather_observed(&self) -> Result<Observed> {
        let (reply, observed) = oneshot::channel();
        let question = OwnerQuestion::Observed(reply);
        self.owner.send(question).await.context("the owner is gone")?;
        observed.await.context("the owner does not answer")
    }

    /// What the owner has inside, with the last records of the log.
    pub(super) async fn gather_inside(&self) -> Result<Inside> {
        let (reply, inside) = oneshot::channel();
        let question = OwnerQuestion::Inside(reply);
        self.owner.send(question).await.context("the owner is gone")?;
        let mut inside = inside.await.context("the owner does not answer")?;
        let records = RECENT.all();
        let value = |line: &String| serde_json::from_str(line).unwrap_or_else(|_| line.as_str().into());
        inside.log = records.iter().map(value).collect();
        Ok(inside)
    }

    /// The text of the metrics. The inner error is why there is none.
    pub(super) async fn gather_metrics(&self) -> Result<Result<String>> {
        let (reply, text) = oneshot::channel();
        let asked = self.metrics.send(reply).await;
        asked.context("nobody writes metrics")?;
        let text = text.await.context("nobody answers for metrics")?;
        Ok(text
            .map(|text| String::from_utf8_lossy(&text).into_owned())
            .map_err(|error| anyhow!(error)))
    }

    /// What was told last of calls, and what is told from now on.
    pub(super) async fn watch(&self) -> Result<Watch> {
        let (reply, watch) = oneshot::channel();
        let question = OwnerQuestion::Watch(reply);
        self.owner.send(question).await.context("the owner is gone")?;
        watch.await.context("the owner does not answer")
    }

    /// What names stand for. The inner error is what the owner says to who asked.
    pub(super) async fn gather_names(&self, workload: Option<String>) -> Result<Result<NameTable>> {
        let is_of_all = workload.is_none();
        let (reply, table) = oneshot::channel();
        let question = OwnerQuestion::Names(workload, reply);
        self.owner.send(question).await.context("the owner is gone")?;
        let mut table = table.await.context("the owner does not answer")?;
        if let (Ok(table), true) = (&mut table, is_of_all) {
            table.add_resolved(&self.hosts().await?);
        }
        Ok(table)
    }

    /// What the kernel decides. The inner error is what the owner says to who asked.
    pub(super) async fn gather_explained(&self, about: AboutLive) -> Result<Result<Explained>> {
        let (reply, explained) = oneshot::channel();
        let question = OwnerQuestion::Explain(about, reply);
        self.owner.send(question).await.context("the owner is gone")?;
        let mut explained = explained.await.context("the owner does not answer")?;
        let is_resolved = |held: &HeldAddress| held.source == NameSource::Resolved;
        if let Ok(Explained { host, record, .. }) = &mut explained
            && let Some(held) = &mut record.addresses
            && held.iter().any(is_resolved)
        {
            // When that was, the owner does not know.
            let hosts = self.hosts().await?;
            for held in held.iter_mut().filter(|held| is_resolved(held)) {
                held.age = resolved_age(&hosts, (host.as_deref(), &held.address));
            }
        }
        Ok(explained)
    }

    pub(super) async fn hosts(&self) -> Result<Vec<HostStatus>> {
        let mut live = self.live.clone();
        loop {
            let names = live.borrow_and_update().names.clone();
            let (reply, hosts) = oneshot::channel();
            let asked = names.send(reply).await.context("nobody resolves names");
            let answer = match asked {
                Ok(()) => hosts.await.context("nobody answers for names"),
                Err(error) => Err(error),
            };
            // The task may just have been replaced.
            if answer.is_ok() || !live.has_changed().unwrap_or(false) {
                return answer;
            }
        }
    }
}

/// How long ago the host, or if none is named any, was last resolved to the address.
fn resolved_age(hosts: &[HostStatus], (host, address): (Option<&str>, &str)) -> Option<f64> {
    let is_it = |status: &&HostStatus| host.is_none_or(|host| status.host.as_str() == host);
    let has = |status: &&HostStatus| status.addresses.iter().any(|it| it.to_string() == address);
    let ages = hosts
        .iter()
        .filter(is_it)
        .filter(has)
        .filter_map(|status| status.age);
    ages.min().map(|age| age.as_secs_f64())
}

fn observed(keeping: &Keeping) -> ObservedFile {
    let (since, error) = keeping.failed.clone().unzip();
    ObservedFile {
        path: keeping.file.display().to_string(),
        error,
        failing_seconds: since.map(age),
    }
}

fn kind(source: &SourceStatus) -> Source {
    let is_followed = matches!(source.state, SourceState::Following);
    let mut problems: Vec<_> = (!is_followed)
        .then(|| source.state.to_string())
        .into_iter()
        .collect();
    problems.extend(source.error.clone());
    if source.rejected > 0 {
        problems.push(format!("{} rejected", source.rejected));
    }
    Source {
        name: source.name.clone(),
        objects: source.objects,
        age_seconds: source.contact.map(age),
        problem: (!problems.is_empty()).then(|| problems.join(": ")),
        up: is_followed,
        rejected: source.rejected,
    }
}

fn age(at: Instant) -> f64 {
    at.elapsed().as_secs_f64()
}

fn root(place: &RootStatus, proof: &Proof) -> Root {
    let state = proof.roots.iter().find(|state| state.path == place.path);
    Root {
        path: place.path.display().to_string(),
        is_there: place.is_there,
        is_required: place.is_required,
        programs: state
            .into_iter()
            .flat_map(|state| &state.programs)
            .map(|(name, id)| Program {
                name: (*name).to_owned(),
                id: *id,
            })
            .collect(),
        absent: state
            .into_iter()
            .flat_map(|state| &state.absent)
            .map(|name| (*name).to_owned())
            .collect(),
        canary: proof.canary.get(&place.path).map(|verdict| Canary {
            age_seconds: age(verdict.at),
            failures: verdict.failures.clone(),
        }),
    }
}

fn closure(closure: &datapath::Hardening) -> Hardening {
    Hardening {
        program: closure.program.to_owned(),
        purpose: closure.purpose.to_string(),
        absent: closure.absent.clone(),
    }
}

fn lapse((at, lapse): &(Instant, datapath::Drift)) -> Drift {
    Drift {
        what: lapse.what.clone(),
        age_seconds: age(*at),
        stays: lapse.stays.clone(),
    }
}

fn named(hosts: &[HostStatus]) -> Names {
    let failing = hosts.iter().filter_map(|status| {
        let failing = status.failing.as_ref()?;
        Some(FailingName {
            host: status.host.to_string(),
            error: failing.error.clone(),
            seconds: failing.duration.as_secs_f64(),
            kept: status.addresses.len(),
            age_seconds: status.age.map(|age| age.as_secs_f64()),
        })
    });
    Names {
        hosts: hosts.len(),
        failing: failing.collect(),
        oldest_seconds: hosts
            .iter()
            .filter_map(|status| status.age)
            .max()
            .map(|age| age.as_secs_f64()),
    }
}
