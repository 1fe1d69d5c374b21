//! The registry of files: those of the configuration, and those that are given.

use std::{
    fs,
    io::{self, Read as _},
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::{Context as _, Result, bail};
use enforcer_core::{
    documents::Documents,
    istio::{Object, Pod},
    model::CgroupId,
    pods::Pods,
    registry::{Registry, Update},
    suggest::Sources,
};

use super::out;
use crate::{
    config::Config,
    daemon::{ingest, settings},
    names,
    sources::{
        files::{Content, FileChange, SIZE_LIMIT, read_all},
        pods::of_node,
    },
};

/// The registry with the workloads that are configured and the pods among its objects, and its ServiceEntries as they are
/// written.
pub(super) fn read(config: &Config, files: Vec<FileChange>) -> Result<(Registry, Sources)> {
    let servers = names::resolvers(&settings::of_names(config, None))?;
    let mut registry = Registry::new(settings::of_registry(config, &servers));
    let of_kubelet = config.pods.as_ref().map(|pods| &pods.built_in.resolv_confs);
    registry.set_of_node(of_kubelet.map(|files| of_node(files)).unwrap_or_default());
    let mut node = config.pods.as_ref().map(ingest::settings).map(Pods::new);
    let (mut documents, mut sources, mut pods) = (Documents::default(), Sources::default(), Vec::new());
    for FileChange { path, content } in files {
        let file = path.display().to_string();
        let text = match content {
            Content::Text(text) => text,
            Content::Gone => continue,
            Content::Unreadable(reason) => {
                documents.set_unreadable(&file, &reason);
                continue;
            }
        };
        sources.add(&text);
        for update in documents.set(&file, Some(&text)) {
            if let Some(node) = &mut node {
                node.note(&update);
            }
            if let Update::Apply(Object::Pod(pod)) = &update {
                pods.push(Arc::clone(pod));
            }
            registry.apply(update);
        }
    }
    for problem in documents.problems() {
        out::complain(format_args!("warning: {problem}"));
    }
    let configured = config.workloads.iter().map(|entry| entry.workload.clone());
    let of_pods = node
        .iter()
        .flat_map(|node| pods.iter().map(|pod: &Arc<Pod>| node.workload(pod)));
    for (number, workload) in (1..).zip(configured.chain(of_pods)) {
        registry.apply(Update::Workload(CgroupId(number), workload));
    }
    Ok((registry, sources))
}

/// The files of the configuration, then those that are given, which have to be there.
pub(super) fn files(config: &Config, more: &[PathBuf]) -> Result<Vec<FileChange>> {
    if config.kubernetes.is_some() && more.is_empty() {
        out::complain(
            "warning: only the registry's files are read, not the API server: `kubectl get serviceentries,sidecars -A -o yaml`, \
             with --registry -, adds its objects",
        );
    }
    let mut all: Vec<_> = config.registry.iter().flat_map(|path| read_all(path)).collect();
    for path in more {
        if path == Path::new("-") {
            let text =
                io::read_to_string(io::stdin().lock().take(SIZE_LIMIT)).context("reading standard input")?;
            all.push(FileChange {
                path: path.clone(),
                content: Content::Text(text),
            });
            continue;
        }
        fs::metadata(path).with_context(|| path.display().to_string())?;
        let read = read_all(path);
        if let Some((path, reason)) = read.iter().find_map(|it| match &it.content {
            Content::Unreadable(reason) => Some((&it.path, reason)),
            Content::Text(_) | Content::Gone => None,
        }) {
            bail!("{}: {reason}", path.display());
        }
        all.extend(read);
    }
    Ok(all)
}
