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
mod ended;
mod flows;
mod inputs;
mod limits;
mod owner;
mod places;
pub(crate) mod pods;
mod precedence;
mod reconcile;
mod revocation;
mod room;
pub(crate) mod settings;
mod startup;
mod take;
mod tasks;
mod twins;
mod wiring;

use std::{collections::BTreeMap, path::Path, time::Instant};

use anyhow::{Context as _, Result};
use enforcer_common::Counter;
use enforcer_core::{
    documents::Documents,
    plan::Applied,
    registry::{Registry, Update},
};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::{mpsc, oneshot, watch},
};

use self::{
    answers::Outcome,
    flows::Flows,
    inputs::{Changes, Controls, Inputs},
    owner::Owner,
    places::Places,
    precedence::Precedence,
    room::Room,
    tasks::{Left, Tasks},
    wiring::Wiring,
};
use crate::{
    config::{Config, Enforcement},
    control::{self, Control},
    datapath::{CgroupMount, Datapath, Options, Pins},
    proof::{self, Canaries, Canary, Proof, Prover},
    report::{
        log::LogFormat,
        once::{IN_STATUS, Once},
    },
};

/// How the daemon is started, beside its configuration.
#[derive(Clone, Copy, Debug)]
pub struct Start<'a> {
    /// The configuration's file.
    pub config: &'a Path,
    /// Pin nothing; take everything away at the end.
    pub ephemeral: bool,
    /// The programs write a line for each verdict.
    pub debug_programs: bool,
    /// How flows are written.
    pub format: LogFormat,
}

/// Messages that wait between two tasks.
const BACKLOG: usize = 256;

/// Enforces until SIGTERM or SIGINT.
///
/// # Errors
/// What is missing, or the task that has ended and why.
pub async fn run(config: Config, start: Start<'_>) -> Result<()> {
    let began = Instant::now();
    limits::raise_open_files()?;
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
    tracing::info!(
        "enforcer {} starts: {}, configuration {}",
        env!("CARGO_PKG_VERSION"),
        match config.enforcement {
            Enforcement::Enforce => "mode enforce",
            Enforcement::Audit => "mode audit (nothing is refused)",
        },
        start.config.display()
    );
    let options = Options {
        capacities,
        debug: start.debug_programs,
    };
    let (datapath, events) = Datapath::load(pins, options, settings::of_programs(&config))?;
    let can_choose = datapath.features().set_retval;
    if !can_choose && config.errno.number() != libc::EPERM.unsigned_abs() {
        tracing::warn!(
            "this kernel returns EPERM for refused calls, whatever deny.errno says (5.18 or newer is needed)"
        );
    }
    let terminate = signal(SignalKind::terminate()).context("listening for SIGTERM")?;
    let interrupt = signal(SignalKind::interrupt()).context("listening for SIGINT")?;

    let mut tasks = Tasks::new();
    let mut wiring = Wiring {
        config: &config,
        ephemeral: start.ephemeral,
        mount: &mount,
        tasks: &mut tasks,
    };
    let names = wiring.names()?;
    let (file_changes, files) = wiring.files();
    let places = Places::new(&config);
    let (cgroup_changes, cgroups) = wiring.cgroups(places.paths());
    let pods = wiring.pods()?;
    let (admitted, admission) = oneshot::channel();
    let cluster = wiring.cluster(admission);
    let (revocation, live_sockets) = wiring.revocation(datapath.sockets());
    let flow_events = wiring.events(events);
    let (proof_sink, proof_questions) = mpsc::channel(BACKLOG);
    let (standing_sink, standing_questions) = mpsc::channel(BACKLOG);

    let (proven, proof) = watch::channel(Proof::default());
    let prover = Prover {
        canary: Canary::start().await,
        errno: if can_choose {
            config.errno.number().cast_signed()
        } else {
            libc::EPERM
        },
        mount,
        owner: proof_sink,
        proof: proven,
    };
    tasks.spawn("proof", prover.run(tasks.cancel.clone()));
    let kube_status = cluster.as_ref().map(|cluster| cluster.status.clone());
    let ports = control::Ports {
        owner: standing_sink,
        names: names.status.clone(),
        proof,
        kubernetes: kube_status.clone(),
        files,
        cgroups,
        pods: pods.as_ref().map(|pods| pods.heard.clone()),
        start: began,
    };
    tasks.spawn("control", control.serve(ports, tasks.cancel.clone()));

    let mut registry = Registry::new(settings::of_registry(&config, &names.resolvers.borrow()));
    for (cgroup, workload) in places.foreseen() {
        registry.apply(Update::Workload(cgroup, workload.clone()));
    }
    let notify = cluster.as_ref().map(|cluster| cluster.notify.clone());
    let mut flows = Flows::new(start.format, notify);
    flows.untold.skip(datapath.untold()?);
    let lost = datapath.counters()?.get(&Counter::Lost).copied();
    let (node, pod_changes) = pods.map(|pods| (pods.node, pods.changes)).unzip();
    let owner = Owner {
        registry,
        documents: Documents::default(),
        datapath,
        applied: Applied::default(),
        places,
        pods: node,
        cgroups: BTreeMap::new(),
        unattached: BTreeMap::new(),
        hosts: names.hosts,
        flows,
        format: start.format,
        allow_resolvers: config.dns.allow_resolvers,
        lost: lost.unwrap_or_default(),
        revocation,
        is_started: false,
        canaries: Canaries::default(),
        outcome: Outcome::new(config.enforcement),
        room: Room::new(config.capacities),
        problems: Once::listed(IN_STATUS),
        warnings: Once::listed(IN_STATUS),
        failures: Once::listed(IN_STATUS),
        refusals: Once::listed(IN_STATUS),
        unrevoked: Once::listed(IN_STATUS),
        precedence: Precedence::new(config.kubernetes.is_some() && !config.registry.is_empty()),
    };
    let inputs = Inputs {
        admitted: Some(admitted),
        controls: Controls {
            proof: proof_questions,
            standing: standing_questions,
            live_sockets,
        },
        changes: Changes {
            files: file_changes,
            kube: cluster.map(|cluster| cluster.changes),
            cgroups: cgroup_changes,
            pods: pod_changes,
            names: names.updates,
            resolvers: names.resolvers,
        },
        events: flow_events,
        kube_status,
    };
    tasks.spawn("owner", owner.run(inputs, names.status, tasks.cancel.clone()));
    let left = if start.ephemeral {
        Left::Nothing
    } else {
        Left::Enforcement
    };
    tasks.run(terminate, interrupt, left).await
}
