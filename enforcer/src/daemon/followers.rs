//! The tasks that follow what the configuration names: files, cgroups, hosts. Another configuration replaces them.

use std::{collections::BTreeSet, net::SocketAddr};

use anyhow::Result;
use enforcer_core::model::Host;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::{BACKLOG, ingest, input::Sources, settings, tasks::Task};
use crate::{
    config::Config,
    control::Live,
    datapath::CgroupMount,
    names,
    sources::{cgroups, files, sink},
    state,
};

/// Where these tasks work.
#[derive(Clone, Debug)]
pub(super) struct Place {
    /// Nothing is pinned or kept.
    pub(super) ephemeral: bool,
    pub(super) mount: CgroupMount,
}

/// The tasks, and the owner's ends of what connects them.
pub(super) struct Followers {
    pub(super) tasks: Vec<Task>,
    /// Closed once all of them have ended.
    pub(super) ended: mpsc::Receiver<()>,
    pub(super) sources: Sources,
    /// The hosts that are wanted.
    pub(super) hosts: watch::Sender<BTreeSet<Host>>,
    /// The DNS servers in use at first.
    pub(super) servers: Vec<SocketAddr>,
    pub(super) live: Live,
}

impl Followers {
    /// They begin once they are started, and end once `token` is cancelled.
    ///
    /// # Errors
    /// If the system's resolvers cannot be read.
    pub(super) fn new(config: &Config, place: &Place, token: &CancellationToken) -> Result<Self> {
        let (updates, names) = mpsc::channel(BACKLOG);
        let (hosts, wanted) = watch::channel(BTreeSet::new());
        let memory = (!place.ephemeral).then(|| state::names(&config.state));
        let settings = settings::of_names(config, memory);
        let servers = names::in_use(&names::resolvers(&settings)?, &settings);
        let (resolver_sink, resolvers) = watch::channel(servers.clone());
        let (ask, asked) = mpsc::channel(1);
        let ports = names::Ports {
            hosts: wanted,
            updates,
            resolvers: resolver_sink,
            status: asked,
        };
        let (changes, files) = mpsc::channel(BACKLOG);
        let (file_sink, files_heartbeat) = sink(changes);
        let (look, looks) = mpsc::channel(BACKLOG);
        let (changes, cgroups) = mpsc::channel(BACKLOG);
        let (cgroup_sink, cgroups_heartbeat) = sink(changes);
        let wanted = ingest::wanted_cgroups(config);
        let mount = place.mount.clone();
        let (guard, ended) = mpsc::channel(1);
        let task = |name, run| Task {
            guard: guard.clone(),
            name,
            token: token.clone(),
            run,
        };
        let (follow_files, follow_cgroups) = (
            files::follow(config.registry.clone(), file_sink, looks, token.clone()),
            cgroups::follow(mount, wanted, cgroup_sink, token.clone()),
        );
        Ok(Self {
            ended,
            tasks: vec![
                task("names", Box::pin(names::run(settings, ports, token.clone()))),
                task("files", Box::pin(follow_files)),
                task("cgroups", Box::pin(follow_cgroups)),
            ],
            sources: Sources {
                files,
                kube: None,
                cgroups,
                pods: None,
                names,
                resolvers,
            },
            hosts,
            servers,
            live: Live {
                names: ask,
                files: files_heartbeat,
                look,
                cgroups: cgroups_heartbeat,
            },
        })
    }
}
