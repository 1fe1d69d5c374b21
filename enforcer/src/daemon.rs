//! The composition root: which tasks there are, and what connects them.
//!
//! ```text
//! files, kubernetes, cgroups, pods, names -> owner (ingest -> reconciler -> reporter) <- events
//!                                             |-> hosts wanted -> names
//!                                             |-> sockets to look for -> revoke
//!                                             `-> notices -> kubernetes
//! proof, control -> owner
//! ```
//!
//! **Architecture Invariant:** one task owns the registry and the datapath. Any task that ends, for whatever
//! reason, ends the process with its name.

mod followers;
pub(crate) mod ingest;
mod input;
mod limits;
mod owner;
mod reconciler;
mod reload;
mod reporter;
mod schedule;
pub(crate) mod settings;
mod start;
mod taint;
mod tasks;
mod wiring;

use std::{
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use enforcer_common::Counter;
use enforcer_core::registry::Registry;
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::{mpsc, oneshot, watch},
    time::MissedTickBehavior,
};

use self::{
    followers::{Followers, Place},
    ingest::Ingest,
    input::{Inputs, Sources},
    owner::Owner,
    reconciler::Reconciler,
    reload::Reloader,
    reporter::{Counted, Reporter},
    schedule::Schedule,
    tasks::{Left, Tasks},
    wiring::Wiring,
};
use crate::{
    config::{Config, Enforcement},
    control::{self, Control, Taken},
    datapath::{CgroupMount, Datapath, Events, Options, Pins},
    handover,
    kept::{self, Kept, Known},
    metrics::Ledger,
    node, proof,
    report::log::LogFormat,
    sources::kube,
    state,
};

/// How the daemon is started, beside its configuration.
#[derive(Clone, Copy, Debug)]
pub struct Start<'a> {
    /// The configuration's file, and the text that was read from it.
    pub config: (&'a Path, &'a str),
    /// Pin nothing; take everything away at the end.
    pub ephemeral: bool,
    /// The programs write a line for each verdict.
    pub debug_programs: bool,
    /// How flows are written.
    pub format: LogFormat,
    /// Where what is known is kept for the next boot.
    pub kept: Option<&'a Path>,
    /// What was kept for this boot, in the place of the API server.
    pub(crate) boot: Option<&'a Known>,
}

/// Messages that wait between two tasks.
const BACKLOG: usize = 256;

/// How often the programs' counters are looked at.
const COUNT: Duration = Duration::from_secs(5);

/// Enforces until SIGTERM or SIGINT.
///
/// # Errors
/// What is missing, or the task that has ended and why.
pub async fn run(config: Config, start: Start<'_>) -> Result<()> {
    let began = Instant::now();
    limits::raise_open_files()?;
    if start.boot.is_none() && !start.ephemeral {
        take_over(&config).await?;
    }
    let mount = match &config.cgroup_mount {
        Some(path) => CgroupMount::at(path)?,
        None => CgroupMount::find()?,
    };
    let (datapath, events, control) = load(&config, start)?;
    let signals = (listen(SignalKind::terminate())?, listen(SignalKind::interrupt())?);
    let mut tasks = Tasks::new();
    let wiring = Wiring {
        config: &config,
        ephemeral: start.ephemeral,
        mount: &mount,
        tasks: &mut tasks,
        kept: start
            .kept
            .map(|folder| Kept::new(kept(folder, &config, start.config.1))),
        boot: start.boot,
    };
    let loaded = Loaded {
        datapath,
        events,
        control,
        began,
        format: start.format,
        taken: Taken {
            file: start.config.0.to_owned(),
            text: start.config.1.to_owned(),
            ..Taken::default()
        },
        reload: listen(SignalKind::hangup())?,
    };
    connect(wiring, loaded).await?;
    let left = if start.ephemeral {
        Left::Nothing
    } else {
        Left::Enforcement
    };
    tasks.run(signals.0, signals.1, left).await
}

/// Takes the place of the enforcer that was started at boot, once the API server answers: until then that one lets new
/// pods through that may be needed for this.
async fn take_over(config: &Config) -> Result<()> {
    if !handover::is_there(&config.state) {
        return Ok(());
    }
    if let Some(access) = &config.kubernetes {
        tracing::info!("what was known at boot is enforced; waiting for the API server");
        kube::answers(access, || !handover::is_there(&config.state)).await?;
    }
    handover::ask(&config.state)
}

/// What is kept for the next boot beside what sources say.
fn kept(folder: &Path, config: &Config, text: &str) -> kept::Place {
    let pods = config.pods.as_ref();
    kept::Place {
        folder: folder.to_owned(),
        config: text.to_owned(),
        node: node::name(pods.and_then(|pods| pods.node.as_deref())),
        namespace: std::env::var("POD_NAMESPACE")
            .ok()
            .filter(|name| !name.is_empty()),
        names: state::names(&config.state),
    }
}

/// What is there before any task is.
struct Loaded {
    datapath: Datapath,
    events: Events,
    control: Control,
    began: Instant,
    format: LogFormat,
    taken: Taken,
    /// The signal by which the configuration is read again.
    reload: Signal,
}

fn load(config: &Config, start: Start<'_>) -> Result<(Datapath, Events, Control)> {
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
        start.config.0.display()
    );
    let options = Options {
        capacities,
        debug: start.debug_programs,
    };
    let (datapath, events) = Datapath::load(pins, options, settings::of_programs(config))?;
    if !datapath.features().set_retval && config.errno.number() != libc::EPERM.unsigned_abs() {
        tracing::warn!(
            "this kernel returns EPERM for refused calls, whatever deny.errno says (5.18 or newer is needed)"
        );
    }
    Ok((datapath, events, control))
}

fn listen(kind: SignalKind) -> Result<Signal> {
    signal(kind).with_context(|| format!("listening for {kind:?}"))
}

/// Starts all tasks, the owner last.
async fn connect(mut wiring: Wiring<'_>, loaded: Loaded) -> Result<()> {
    let Loaded {
        datapath,
        events,
        control,
        began,
        format,
        taken,
        reload,
    } = loaded;
    let config = wiring.config;
    let place = Place {
        ephemeral: wiring.ephemeral,
        mount: wiring.mount.clone(),
    };
    let token = wiring.tasks.cancel.child_token();
    let Followers {
        tasks,
        ended,
        sources,
        hosts,
        servers,
        live,
    } = Followers::new(config, &place, &token)?;
    tasks.into_iter().for_each(|task| wiring.tasks.start(task));
    wiring.keep(&servers);
    let registry = Registry::new(settings::of_registry(config, &servers));
    let names = live.names.clone();
    let (live, live_now) = watch::channel(live);
    let (taken, taken_now) = watch::channel(taken);
    let pods = wiring.pods()?;
    let (admitted, admission) = oneshot::channel();
    let cluster = wiring.cluster(admission);
    let (revocation, revoker) = wiring.revocation(datapath.sockets()).unzip();
    let (proof, proof_questions) = wiring.proof(&datapath).await;
    let (status, status_questions) = mpsc::channel(BACKLOG);
    let (metrics, metrics_asked) = mpsc::channel(BACKLOG);
    let (turns, turns_now) = watch::channel(0);
    let (observer, observations) = wiring.observer();
    let ports = control::Ports {
        metrics,
        owner: status,
        turns: turns_now,
        live: live_now,
        configuration: taken_now,
        proof,
        kubernetes: cluster.as_ref().map(|cluster| cluster.status.clone()),
        pods: pods.as_ref().map(|pods| pods.heartbeat.clone()),
        observations,
        start: began,
    };
    wiring.notify(ports.clone());
    wiring.untaint(ports.clone());
    wiring.serve(control, ports.clone());
    wiring.show();

    let (node, pods) = pods.map(|pods| (pods.node, pods.changes)).unzip();
    let (notify, kube_status) = cluster
        .as_ref()
        .map(|cluster| (cluster.notify.clone(), cluster.status.clone()))
        .unzip();
    let ledger = Arc::<Ledger>::default();
    wiring.count(&datapath, &ledger, (ports, metrics_asked))?;
    let counted = Counted {
        ledger: Arc::clone(&ledger),
        suppressed: datapath.suppressed()?,
        lost: datapath
            .counters()?
            .get(&Counter::Lost)
            .copied()
            .unwrap_or_default(),
    };
    let is_boot = wiring.boot.is_some();
    let kept = wiring.boot();
    let sources = Sources {
        kube: cluster.map(|cluster| cluster.changes).or(kept),
        pods,
        ..sources
    };
    let (owner, reloads) = mpsc::channel(1);
    let reloader = Reloader {
        config: config.clone(),
        place,
        token,
        ended,
        spawner: wiring.tasks.spawner.clone(),
        owner,
        live,
        taken,
    };
    let cancel = wiring.tasks.cancel.clone();
    wiring.tasks.spawn("reload", reloader.run(reload, cancel));
    let start = start::Start::new(&sources, admitted, names, kube_status);
    let owner = Owner {
        ingest: Ingest::new(config, &servers, registry, node),
        reconciler: Reconciler::new((datapath, ledger), config.capacities, hosts, revocation),
        reporter: Reporter::new(format, config.enforcement, notify, (counted, observer)),
        start: Some(if is_boot { start.at_once() } else { start }),
        pending: None,
        schedule: Schedule::default(),
        turns,
    };
    let mut tick = tokio::time::interval(COUNT);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (requests, sockets) = revoker.unzip();
    let inputs = Inputs {
        cancel: wiring.tasks.cancel.clone(),
        proof: proof_questions,
        status: status_questions,
        sockets,
        revoker: requests,
        sources,
        reloads,
        events: wiring.events(events),
        tick,
    };
    wiring.tasks.spawn(tasks::OWNER, owner.run(inputs));
    Ok(())
}
