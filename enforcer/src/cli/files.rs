//! The registry of files, as `explain` and `suggest` read it: those of a configuration, and those that were typed.

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
    istio::{Object, Pod},
    model::CgroupId,
    pods::Pods,
    registry::{Registry, Update},
};

use super::out;
use crate::{
    config::Config,
    daemon::settings,
    sources::{
        files::{Content, FileChange, SIZE_LIMIT, read_all},
        pods::of_node,
    },
};

/// What is read, and for whom.
pub(super) struct Wanted<'a> {
    pub(super) config: &'a Config,
    /// The resolvers that are asked.
    pub(super) servers: &'a [SocketAddr],
    /// What the files of the registry hold.
    pub(super) files: Vec<FileChange>,
    /// What is told of namespaces and pods.
    pub(super) node: Option<Pods>,
}

/// What was read.
pub(super) struct Files {
    /// With every configured workload present, numbered from 1.
    pub(super) registry: Registry,
    pub(super) node: Option<Pods>,
    pub(super) pods: Vec<Arc<Pod>>,
    /// There is no object in any of them.
    pub(super) is_empty: bool,
}

/// The configuration where only `--registry` says what is registered.
pub(super) fn nothing_configured() -> Result<Config> {
    Ok(Config::parse("workloads: []", Path::new("--registry"))?)
}

/// Makes the registry of the files, and shows the text of each. What cannot be read is a warning.
pub(super) fn read(wanted: Wanted<'_>, mut show: impl FnMut(&str)) -> Files {
    let Wanted {
        config,
        servers,
        files: read,
        mut node,
    } = wanted;
    let mut registry = Registry::new(settings::of_registry(config, servers));
    let files = config.pods.as_ref().map(|pods| &pods.built_in.resolv_confs);
    registry.set_of_node(files.map(|files| of_node(files)).unwrap_or_default());
    let (mut documents, mut pods) = (Documents::default(), Vec::new());
    for FileChange { path, content } in read {
        let file = path.display().to_string();
        let text = match content {
            Content::Text(text) => text,
            Content::Gone => continue,
            Content::Unreadable(reason) => {
                documents.set_unreadable(&file, &reason);
                continue;
            }
        };
        show(&text);
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
    for (number, entry) in (1..).zip(&config.workloads) {
        registry.apply(Update::Workload(CgroupId(number), entry.workload.clone()));
    }
    Files {
        registry,
        node,
        pods,
        is_empty: documents.is_empty(),
    }
}

/// The files of the configuration, then those that were typed behind `--registry`; `-` is standard input.
///
/// # Errors
/// If something that was typed cannot be read.
pub(super) fn all(configured: &[PathBuf], typed: &[PathBuf]) -> Result<Vec<FileChange>> {
    let mut all: Vec<_> = configured.iter().flat_map(|path| read_all(path)).collect();
    for path in typed {
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
        for change in read_all(path) {
            if let Content::Unreadable(reason) = &change.content {
                bail!("{}: {reason}", change.path.display());
            }
            all.push(change);
        }
    }
    Ok(all)
}
