//! The composition root: which tasks there are, and what connects them.
//!
//! ```text
//! files, kubernetes, cgroups, names -> owner (registry, plan, datapath) <- events
//!                                       |-> hosts wanted -> names
//!                                       `-> notices -> kubernetes
//! ```
//!
//! **Architecture Invariant:** one task owns the registry and the datapath. Any task that ends, for whatever
//! reason, ends the process with its name.

mod answers;
mod cluster;
mod flows;
mod owner;
mod places;
pub(crate) mod pods;
mod precedence;
mod revocation;
mod room;
mod startup;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    path::PathBuf,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use enforcer_common::{Counter, Mode, Settings, socket};
use enforcer_core::{
    documents::Documents,
    model,
    names::Pacing,
    plan::Applied,
    registry::{self, Registry, Update},
};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::{mpsc, oneshot, watch},
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;

use self::{
    answers::Outcome,
    cluster::Cluster,
    flows::Flows,
    owner::{Inputs, Owner},
    places::Places,
    pods::NodePods,
    precedence::Precedence,
    revocation::Revocation,
    room::Room,
};
use crate::{
    config::{self, Config, Enforcement, Matching, Sockets, Udp, UnknownWorkloads},
    control::{self, Control},
    datapath::{CgroupMount, Datapath, Options, Pins},
    names,
    proof::{self, Canaries, Canary, Proof, Prover},
    report::{log::LogFormat, once::Once},
    revoke,
    sources::{self, cgroups, files, kube, sink},
    state,
};

/// How the daemon is started, beside its configuration.
#[derive(Clone, Copy, Debug)]
pub struct Start {
    /// Pin nothing; take everything away at the end.
    pub ephemeral: bool,
    /// The programs write a line for each verdict.
    pub debug_programs: bool,
    /// How flows are written.
    pub format: LogFormat,
}

/// How long a task may take to end once it was told to.
const DEADLINE: Duration = Duration::from_millis(1500);

/// Messages that wait between two tasks.
const BACKLOG: usize = 256;

/// Enforces until SIGTERM or SIGINT.
///
/// # Errors
/// What is missing, or the task that has ended and why.
pub async fn run(config: Config, start: Start) -> Result<()> {
    let started = Instant::now();
    let mount = match &config.cgroup_mount {
        Some(path) => CgroupMount::at(path)?,
        None => CgroupMount::find()?,
    };
    let capacities = proof::room_beside(&config.capacities);
    let pins = if start.ephemeral {
        None
    } else {
        Some(Pins::open(&config.bpffs, &capacities)?)
    };
    let control = Control::bind(&config.state)?;
    let options = Options {
        capacities,
        debug: start.debug_programs,
    };
    let (datapath, events) = Datapath::load(pins, options, settings(&config))?;
    if !datapath.features().set_retval && config.errno.number() != libc::EPERM.unsigned_abs() {
        tracing::warn!(
            "this kernel returns EPERM for refused calls, whatever deny.errno says (5.18 or newer is needed)"
        );
    }

    let cancel = CancellationToken::new();
    let mut terminate = signal(SignalKind::terminate()).context("listening for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("listening for SIGINT")?;
    let mut tasks = Tasks {
        set: JoinSet::new(),
        cancel: cancel.clone(),
    };

    let (file_sink, file_changes) = mpsc::channel(BACKLOG);
    let (cgroup_sink, cgroup_changes) = mpsc::channel(BACKLOG);
    let (name_sink, name_updates) = mpsc::channel(BACKLOG);
    let (event_sink, flow_events) = mpsc::channel(BACKLOG);
    let (proof_sink, proof_questions) = mpsc::channel(BACKLOG);
    let (standing_sink, standing_questions) = mpsc::channel(BACKLOG);
    let (hosts, wanted) = watch::channel(BTreeSet::new());
    let memory = (!start.ephemeral).then(|| config.state.join(state::NAMES));
    let name_settings = name_settings(&config, memory);
    let servers = names::resolvers(&name_settings)?;
    let (resolver_sink, resolvers) = watch::channel(servers);
    let (name_status, status) = mpsc::channel(1);

    let ports = names::Ports {
        hosts: wanted,
        updates: name_sink,
        resolvers: resolver_sink,
        status,
    };
    tasks.spawn("names", names::run(name_settings, ports, cancel.clone()));
    let (file_sink, files_heard) = sink(file_sink);
    tasks.spawn(
        "files",
        files::follow(config.registry.clone(), file_sink, cancel.clone()),
    );
    let places = Places::new(&config);
    let paths = places.paths();
    let (node, pod_changes, pods_heard) = match &config.pods {
        Some(config) => {
            let (changes_sink, changes) = mpsc::channel(BACKLOG);
            let (changes_sink, heard) = sink(changes_sink);
            let task =
                sources::pods::follow(mount.clone(), pods::wanted(config), changes_sink, cancel.clone());
            tasks.spawn("pods", task);
            let node = NodePods::new(pods::settings(config)?);
            (Some(node), Some(changes), Some(heard))
        }
        None => (None, None, None),
    };
    let (cgroup_sink, cgroups_heard) = sink(cgroup_sink);
    tasks.spawn(
        "cgroups",
        cgroups::follow(mount.clone(), paths, cgroup_sink, cancel.clone()),
    );
    tasks.spawn("events", events.run(event_sink));
    let (admitted, admission) = oneshot::channel();
    let cluster = config.kubernetes.clone().map(|access| {
        let (cluster, task) = Cluster::new(kube::Settings::new(access, config.revision.clone()));
        tasks.spawn("kubernetes", task.run(admission, cancel.clone()));
        cluster
    });
    let notify = cluster.as_ref().map(|cluster| cluster.notify.clone());
    let kube_status = cluster.as_ref().map(|cluster| cluster.status.clone());
    let (revocation, live_sockets) = if config.revoke {
        let (requests, asked) = mpsc::channel(BACKLOG);
        let (found, live) = mpsc::channel(BACKLOG);
        tasks.spawn("revoke", revoke::run(asked, found));
        let state = (!start.ephemeral).then_some(config.state.as_path());
        (Some(Revocation::new(requests, state)), Some(live))
    } else {
        (None, None)
    };
    let inputs = Inputs {
        admitted: Some(admitted),
        file_changes,
        kube_changes: cluster.map(|cluster| cluster.changes),
        kube_status: kube_status.clone(),
        cgroup_changes,
        pod_changes,
        name_updates,
        flow_events,
        resolvers,
        live_sockets,
        proof_questions,
        standing_questions,
    };
    let mut registry = Registry::new(registry_settings(&config, &inputs.resolvers.borrow()));
    for (cgroup, workload) in places.foreseen() {
        registry.apply(Update::Workload(cgroup, workload.clone()));
    }
    let lost = datapath
        .counters()?
        .get(&Counter::Lost)
        .copied()
        .unwrap_or_default();
    let errno = if datapath.features().set_retval {
        config.errno.number().cast_signed()
    } else {
        libc::EPERM
    };
    let (proven, proof) = watch::channel(Proof::default());
    let prover = Prover {
        mount,
        canary: Canary::start().await,
        errno,
        owner: proof_sink,
        proof: proven,
    };
    tasks.spawn("proof", prover.run(cancel.clone()));
    let ports = control::Ports {
        owner: standing_sink,
        names: name_status.clone(),
        proof,
        kubernetes: kube_status,
        files: files_heard,
        cgroups: cgroups_heard,
        pods: pods_heard,
        start: started,
    };
    tasks.spawn("control", control.serve(ports, cancel.clone()));
    let owner = Owner {
        registry,
        documents: Documents::default(),
        datapath,
        applied: Applied::default(),
        places,
        pods: node,
        cgroups: BTreeMap::new(),
        unattached: BTreeMap::new(),
        hosts,
        flows: Flows::new(start.format, notify),
        format: start.format,
        allow_resolvers: config.dns.allow_resolvers,
        lost,
        revocation,
        is_started: false,
        canaries: Canaries::default(),
        outcome: Outcome::new(config.enforcement),
        room: Room::new(config.capacities),
        problems: Once::default(),
        warnings: Once::default(),
        failures: Once::default(),
        refusals: Once::default(),
        precedence: Precedence::new(config.kubernetes.is_some() && !config.registry.is_empty()),
    };
    tasks.spawn("owner", owner.run(inputs, name_status, cancel.clone()));

    let ended = tokio::select! {
        _ = terminate.recv() => None,
        _ = interrupt.recv() => None,
        ended = tasks.set.join_next() => ended,
    };
    tasks.end(ended).await
}

struct Tasks {
    set: JoinSet<(&'static str, Result<()>)>,
    cancel: CancellationToken,
}

impl Tasks {
    fn spawn(&mut self, name: &'static str, task: impl Future<Output = Result<()>> + Send + 'static) {
        self.set.spawn(async move { (name, task.await) });
    }

    /// Tells all tasks to end, and waits for them until the deadline. `ended` is the one that has ended by itself.
    async fn end(
        mut self,
        ended: Option<Result<(&'static str, Result<()>), tokio::task::JoinError>>,
    ) -> Result<()> {
        self.cancel.cancel();
        let outcome = match ended {
            None => Ok(()),
            Some(Ok((name, result))) => Err(result.err().unwrap_or_else(|| anyhow::anyhow!("it ended")))
                .with_context(|| format!("task {name}")),
            Some(Err(error)) => Err(error).context("a task panicked"),
        };
        let drained =
            tokio::time::timeout(DEADLINE, async { while self.set.join_next().await.is_some() {} }).await;
        if drained.is_err() {
            tracing::warn!("some tasks did not end within {DEADLINE:?}");
        }
        outcome
    }
}

fn settings(config: &Config) -> Settings {
    // Where pods are on trial, or off unless they are labelled, one that is not known yet is not refused either.
    let is_trial = |pods: &config::Pods| pods.scope.default != model::Enforcement::Enforce;
    let is_audit = config.enforcement == Enforcement::Audit || config.pods.as_ref().is_some_and(is_trial);
    let unknown = match config.unknown_workloads {
        UnknownWorkloads::Allow => Mode::Observe,
        UnknownWorkloads::Deny if is_audit => Mode::Audit,
        UnknownWorkloads::Deny => Mode::Enforce,
    };
    Settings {
        errno: config.errno.number(),
        depth_min: 1,
        depth_max: 1,
        unknown: unknown as u32,
        sockets: sockets(config.sockets),
    }
}

fn sockets(config: Sockets) -> u32 {
    let Sockets {
        raw,
        icmp,
        sctp,
        udplite,
        packet,
    } = config;
    let bits = [
        (raw, socket::RAW),
        (icmp, socket::ICMP),
        (sctp, socket::SCTP),
        (udplite, socket::UDPLITE),
        (packet, socket::PACKET),
    ];
    bits.iter()
        .filter(|(admitted, _)| *admitted)
        .fold(0, |all, (_, bit)| all | bit)
}

pub(crate) fn name_settings(config: &Config, memory: Option<PathBuf>) -> names::Settings {
    let pacing = Pacing {
        floor: config.dns.min_ttl,
        grace: config.dns.grace,
        ..Pacing::default()
    };
    names::Settings {
        servers: config.dns.servers.clone(),
        timeout: config.dns.timeout,
        memory,
        pacing,
        ..names::Settings::default()
    }
}

pub(crate) fn registry_settings(config: &Config, servers: &[SocketAddr]) -> registry::Settings {
    let resolvers = if config.dns.allow_resolvers {
        servers.iter().map(SocketAddr::ip).collect()
    } else {
        BTreeSet::new()
    };
    registry::Settings {
        mode: config.outbound,
        audit: config.enforcement == Enforcement::Audit,
        matching: match config.matching {
            Matching::Declared => registry::Matching::Declared,
            Matching::Istio => registry::Matching::Istio,
        },
        udp: match config.udp {
            Udp::Registry => registry::UdpPolicy::Registry,
            Udp::Allow => registry::UdpPolicy::Allow,
            Udp::DnsOnly => registry::UdpPolicy::DnsOnly,
        },
        resolvers,
        allowances: config
            .pods
            .as_ref()
            .map(|pods| pods.built_in.allowances.clone())
            .unwrap_or_default(),
        revision: config.revision.clone().unwrap_or_default(),
        ..registry::Settings::default()
    }
}
