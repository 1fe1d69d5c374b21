//! The tasks around the owner, each with the owner's ends of what connects them.

mod cluster;

use std::{net::SocketAddr, os::fd::OwnedFd, sync::Arc, time::Instant};

use anyhow::Result;
use hyper::body::Bytes;
use tokio::sync::{mpsc, oneshot, watch};

use super::{
    BACKLOG,
    ingest::{self, NodePods},
    reconciler::Revocation,
    reporter::Observer,
    taint,
    tasks::Tasks,
};
use crate::{
    config::Config,
    control::{self, Control},
    datapath::{Batch, CgroupMount, Datapath, Events},
    handover,
    kept::{Keeping, Kept, Known, Snapshot, read_observations, write_observations},
    metrics::{self, Ledger, Metrics},
    node,
    proof::{self, Canary, Proof, Prover},
    revoke::{self, Report, Request},
    sources::{
        self, Heartbeat,
        boot::{Boot, LOGS},
        kube::{self, KubeChange},
        pods::PodChange,
        sink,
    },
    state, systemd, ui,
};

use cluster::Cluster;

/// What tasks are made from.
pub(super) struct Wiring<'a> {
    pub(super) config: &'a Config,
    /// Nothing is pinned.
    pub(super) ephemeral: bool,
    pub(super) mount: &'a CgroupMount,
    pub(super) tasks: &'a mut Tasks,
    /// Where what is known is kept for the next boot.
    pub(super) kept: Option<Arc<Kept>>,
    /// What was kept for this boot.
    pub(super) boot: Option<&'a Known>,
}

/// What connects the owner with the task that follows the cgroups of pods.
pub(super) struct Pods {
    pub(super) node: NodePods,
    pub(super) changes: mpsc::Receiver<Vec<PodChange>>,
    pub(super) heartbeat: Heartbeat,
}

/// Who asks for the text of the metrics.
type MetricsAsked = mpsc::Receiver<oneshot::Sender<Result<Bytes, String>>>;

/// Takes requests to list and close sockets, and reports the results.
pub(super) type Revoker = (mpsc::Sender<Request>, mpsc::Receiver<Report>);

impl Wiring<'_> {
    /// None without `pods` in the configuration.
    pub(super) fn pods(&mut self) -> Result<Option<Pods>> {
        let Some(config) = &self.config.pods else {
            return Ok(None);
        };
        let (changes, taken) = mpsc::channel(BACKLOG);
        let (sink, heartbeat) = sink(changes);
        let (mount, cancel) = (self.mount.clone(), self.tasks.cancel.clone());
        let follow = sources::pods::follow(mount, ingest::wanted(config), sink, cancel);
        self.tasks.spawn("pods", follow);
        Ok(Some(Pods {
            node: NodePods::new(ingest::settings(config)).keeping(self.kept.clone()),
            changes: taken,
            heartbeat,
        }))
    }

    /// None if no API server is followed. It is asked once `admission` says that it can be.
    pub(super) fn cluster(&mut self, admission: oneshot::Receiver<()>) -> Option<Cluster> {
        let access = self.config.kubernetes.clone()?;
        let settings = kube::Settings {
            versions: (!self.ephemeral).then(|| self.config.state.join(state::VERSIONS)),
            kept: self.kept.clone(),
            ..kube::Settings::new(access, self.config.revision.clone())
        };
        let (cluster, task) = Cluster::new(settings);
        let run = task.run(admission, self.tasks.cancel.clone());
        self.tasks.spawn("kubernetes", run);
        Some(cluster)
    }

    /// What keeps what workloads were seen to reach, with what an earlier start has kept, and how its file stands.
    pub(super) fn observer(&mut self) -> (Observer, Option<watch::Receiver<Keeping>>) {
        let config = &self.config.observe;
        let Some(path) = &config.file else {
            return (Observer::new(config, Vec::new(), None), None);
        };
        let file = path.clone();
        let (keeping, keeping_now) = watch::channel(Keeping { file, failed: None });
        let kept = match read_observations(path) {
            Ok(kept) => kept,
            Err(error) => {
                tracing::error!(
                    "what an earlier start has seen workloads reach is not known, and its file is left as it is: what is \
                     seen now ends with this process; enforcement is not affected: {error:#}"
                );
                let failed = Some((Instant::now(), format!("{error:#}")));
                keeping.send_modify(|keeping| keeping.failed = failed);
                return (Observer::new(config, Vec::new(), None), Some(keeping_now));
            }
        };
        let (file, snapshots) = watch::channel(Snapshot::default());
        self.tasks
            .spawn("observations", write_observations(snapshots, keeping));
        (Observer::new(config, kept, Some(file)), Some(keeping_now))
    }

    /// Keeps what is known for the next boot, if that is wanted.
    pub(super) fn keep(&mut self, servers: &[SocketAddr]) {
        if let Some(kept) = self.kept.clone() {
            kept.note_servers(servers.to_vec());
            self.tasks.spawn("kept", kept.run(self.tasks.cancel.clone()));
        }
    }

    /// At a boot: what was kept, in the place of the API server, and the end of this process once its pod takes over.
    pub(super) fn boot(&mut self) -> Option<mpsc::Receiver<Vec<KubeChange>>> {
        let (known, pods) = (self.boot?, self.config.pods.as_ref()?);
        let boot = Boot::new(known, ingest::settings(pods), LOGS.into());
        let (changes, taken) = mpsc::channel(1);
        let cancel = self.tasks.cancel.clone();
        self.tasks.spawn("boot", boot.run(changes, cancel.clone()));
        let serve = handover::serve(self.config.state.clone(), cancel);
        self.tasks.spawn("handover", serve);
        Some(taken)
    }

    /// None with `revoke: false`. `sockets` is what the programs remember of each.
    pub(super) fn revocation(&mut self, sockets: Arc<OwnedFd>) -> Option<(Revocation, Revoker)> {
        if !self.config.revoke {
            return None;
        }
        // A sweep that is due waits with the owner, behind as little as may be.
        let (requests, asked) = mpsc::channel(1);
        let (found, live) = mpsc::channel(1);
        self.tasks
            .spawn("revoke", revoke::run(asked, found, Some(sockets)));
        let state = (!self.ephemeral).then_some(self.config.state.as_path());
        Some((Revocation::new(requests.clone(), state), (requests, live)))
    }

    /// The self-proof's task: what it has shown, and what it asks.
    pub(super) async fn proof(
        &mut self,
        datapath: &Datapath,
    ) -> (watch::Receiver<Proof>, mpsc::Receiver<proof::Question>) {
        let (owner, questions) = mpsc::channel(BACKLOG);
        let (proven, proof) = watch::channel(Proof::default());
        let prover = Prover {
            canary: Canary::start().await,
            errno: if datapath.features().set_retval {
                self.config.errno.number().cast_signed()
            } else {
                libc::EPERM
            },
            mount: self.mount.clone(),
            owner,
            proof: proven,
        };
        self.tasks.spawn("proof", prover.run(self.tasks.cancel.clone()));
        (proof, questions)
    }

    /// Tells systemd how the enforcer stands; nothing without systemd.
    pub(super) fn notify(&mut self, ports: control::Ports) {
        let notify = systemd::notify::run(ports, self.tasks.cancel.clone());
        self.tasks.spawn("systemd", notify);
    }

    /// Lets pods be scheduled to this node, once enforcement is proven here.
    pub(super) fn untaint(&mut self, ports: control::Ports) {
        if let (Some(access), Some(pods)) = (&self.config.kubernetes, &self.config.pods) {
            let node = node::name(pods.node.as_deref());
            let run = taint::run((access.clone(), node), ports, self.tasks.cancel.clone());
            self.tasks.spawn("taint", run);
        }
    }

    pub(super) fn serve(&mut self, control: Control, ports: control::Ports) {
        let serve = control.serve(ports, self.tasks.cancel.clone());
        self.tasks.spawn("control", serve);
    }

    /// Serves the page, if that is wanted. At a boot there is nobody to look at it yet.
    pub(super) fn show(&mut self) {
        if let (Some(ui), None) = (&self.config.ui, self.boot) {
            let follow = ui::follow(ui.clone(), self.config.state.clone(), self.tasks.cancel.clone());
            self.tasks.spawn("ui", follow);
        }
    }

    /// Counts verdicts, and tells whoever scrapes, if that is wanted. At a boot nobody does yet.
    pub(super) fn count(
        &mut self,
        datapath: &Datapath,
        ledger: &Arc<Ledger>,
        (ports, asked): (control::Ports, MetricsAsked),
    ) -> Result<()> {
        let ask = ports.metrics.clone();
        let task = Metrics {
            counts: datapath.verdicts()?,
            costs: datapath.costs()?,
            ledger: Arc::clone(ledger),
            ports,
            file: (!self.ephemeral).then(|| self.config.state.join(state::VERDICTS)),
            asked,
        };
        let cancel = self.tasks.cancel.clone();
        self.tasks.spawn("metrics", task.run(cancel.clone()));
        if let (Some(config), None) = (&self.config.metrics, self.boot) {
            self.tasks
                .spawn("scrapes", metrics::follow(config.listen, ask, cancel));
        }
        Ok(())
    }

    pub(super) fn events(&mut self, events: Events) -> mpsc::Receiver<Batch> {
        // What the owner does not take waits with the task, by workload.
        let (sink, taken) = mpsc::channel(1);
        self.tasks.spawn("events", events.run(sink));
        taken
    }
}
