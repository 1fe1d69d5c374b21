//! The registry of files: those of a configuration, or those that were named.

use std::{
    fs,
    io::{self, Read as _},
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::{Context as _, Result, bail};
use enforcer_core::{
    documents::Documents,
    istio::{LabelSelector, Object, Pod},
    model::{CgroupId, Enforcement},
    pods::{self, PodLabels, Pods, Scope},
    registry::{Registry, Update},
};

use super::{
    super::out,
    asked::Source,
    who::{Found, Known},
};
use crate::{
    config::Config,
    daemon::{ingest, settings},
    sources::{
        files::{Content, FileChange, SIZE_LIMIT, read_all},
        pods::of_node,
    },
};

/// The configuration, or that which is meant where files are named alone.
pub(super) fn config(source: &Source) -> Result<Config> {
    match source {
        Source::Config(file) => Ok(Config::load(file)?),
        Source::Registry(paths) => {
            let nothing = Config::parse("workloads: []", Path::new("--registry"))?;
            Ok(Config {
                registry: paths.clone(),
                ..nothing
            })
        }
        Source::Live { .. } => bail!("the running enforcer reads its own registry"),
    }
}

/// The registry, with every configured workload present, and the workloads that there are.
pub(super) fn read(source: &Source, config: &Config, servers: &[SocketAddr]) -> Result<(Registry, Known)> {
    let is_named = matches!(source, Source::Registry(_));
    let mut registry = Registry::new(settings::of_registry(config, servers));
    let files = config.pods.as_ref().map(|pods| &pods.built_in.resolv_confs);
    registry.set_of_node(files.map(|files| of_node(files)).unwrap_or_default());
    let pods = config.pods.as_ref().map(ingest::settings);
    let mut node = pods.or_else(|| is_named.then(of_any_node)).map(Pods::new);
    if config.kubernetes.is_some() {
        out::complain(
            "warning: only the registry's files are read, not the API server: --live asks the enforcer that follows it",
        );
    }
    let mut objects = Vec::new();
    let mut documents = Documents::default();
    for path in &config.registry {
        for change in contents(path, is_named)? {
            let file = change.path.display().to_string();
            match change.content {
                Content::Text(text) => {
                    for update in documents.set(&file, Some(&text)) {
                        if let Some(node) = &mut node {
                            node.note(&update);
                        }
                        if let Update::Apply(Object::Pod(pod)) = &update {
                            objects.push(Arc::clone(pod));
                        }
                        registry.apply(update);
                    }
                }
                Content::Gone => {}
                Content::Unreadable(reason) if is_named => bail!("{file}: {reason}"),
                Content::Unreadable(reason) => documents.set_unreadable(&file, &reason),
            }
        }
    }
    for problem in documents.problems() {
        out::complain(format_args!("warning: {problem}"));
    }
    for (number, entry) in (1..).zip(&config.workloads) {
        registry.apply(Update::Workload(CgroupId(number), entry.workload.clone()));
    }
    let here = config.pods.as_ref().map(|pods| ingest::settings(pods).node);
    let found = |node: &Pods, pod: &Pod| Found {
        workload: node.workload(pod),
        is_here: here.as_ref() == Some(&pod.node),
    };
    let pods = node
        .iter()
        .flat_map(|node| objects.iter().map(|pod| found(node, pod)))
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

/// The content of a path. One that was typed has to be there.
fn contents(path: &PathBuf, is_named: bool) -> Result<Vec<FileChange>> {
    if is_named && path == Path::new("-") {
        let text =
            io::read_to_string(io::stdin().lock().take(SIZE_LIMIT)).context("reading standard input")?;
        return Ok(vec![FileChange {
            path: path.clone(),
            content: Content::Text(text),
        }]);
    }
    if is_named {
        fs::metadata(path).with_context(|| path.display().to_string())?;
    }
    Ok(read_all(path))
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
