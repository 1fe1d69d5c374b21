//! The registry that was asked about, and the workloads that there are.

use std::net::SocketAddr;

use anyhow::{Result, bail};
use enforcer_core::{
    istio::{LabelSelector, Pod},
    model::Enforcement,
    pods::{self, PodLabels, Pods, Scope},
    registry::Registry,
};

use super::{
    super::{
        files::{self, Files, Wanted},
        out,
    },
    asked::Source,
    who::{Found, Known},
};
use crate::{config::Config, daemon::ingest};

/// The configuration, or that which is meant where files are named alone.
pub(super) fn config(source: &Source) -> Result<Config> {
    match source {
        Source::Config(file) => Ok(Config::load(file)?),
        Source::Registry(_) => files::nothing_configured(),
        Source::Live { .. } => bail!("the running enforcer reads its own registry"),
    }
}

/// The registry, with every configured workload present, and the workloads that there are.
pub(super) fn read(source: &Source, config: &Config, servers: &[SocketAddr]) -> Result<(Registry, Known)> {
    let typed = match source {
        Source::Registry(paths) => paths.as_slice(),
        Source::Config(_) | Source::Live { .. } => &[],
    };
    let is_named = !typed.is_empty();
    if config.kubernetes.is_some() {
        out::complain(
            "warning: only the registry's files are read, not the API server: --live asks the enforcer that follows it",
        );
    }
    let pods = config.pods.as_ref().map(ingest::settings);
    let node = pods.or_else(|| is_named.then(of_any_node)).map(Pods::new);
    let wanted = Wanted {
        config,
        servers,
        files: files::all(&config.registry, typed)?,
        node,
    };
    let Files {
        registry,
        node,
        pods,
        is_empty,
    } = files::read(wanted, |_| ());
    if is_named && is_empty {
        out::complain("warning: there is no object in what --registry names");
    }
    let here = config.pods.as_ref().map(|pods| ingest::settings(pods).node);
    let found = |node: &Pods, pod: &Pod| Found {
        workload: node.workload(pod),
        is_here: here.as_ref() == Some(&pod.node),
    };
    let pods = node
        .iter()
        .flat_map(|node| pods.iter().map(|pod| found(node, pod)))
        .collect();
    let configured = config.workloads.iter().map(|entry| entry.workload.clone());
    Ok((
        registry,
        Known {
            configured: configured.collect(),
            pods,
            node,
            is_named,
        },
    ))
}

/// Pods of whatever node: enforced, unless the label of their namespace says otherwise.
fn of_any_node() -> pods::Settings {
    pods::Settings {
        node: String::new(),
        scope: Scope {
            default: Enforcement::Enforce,
            selector: LabelSelector::default(),
            excluded: [].into(),
            pod_labels: PodLabels::default(),
            honours_capture: false,
        },
        exempt: [].into(),
        own_addresses: true,
        node_dns: false,
        proxies: true,
        enforcer: None,
    }
}
