//! Says which workloads came and went.

use std::path::Path;

use enforcer_core::{model::Workload, pods::PodName};

/// A workload, and what it is.
pub(super) enum Announced<'a> {
    /// A configured one.
    Configured(&'a Workload),
    /// A pod, or one of its containers.
    Pod(&'a Workload),
}

impl Announced<'_> {
    /// It is at this cgroup.
    pub(super) fn found(&self, at: &Path) {
        let (what, workload, name) = self.parts();
        let mode = match self {
            Self::Configured(_) => None,
            Self::Pod(_) => workload.enforcement.map(|mode| format!(" ({mode})")),
        };
        tracing::info!(
            event = "workload_found",
            %workload,
            namespace = %workload.namespace,
            pod = name.as_ref().map(|name| name.pod.as_str()),
            container = name.as_ref().and_then(|name| name.container.as_deref()),
            "{what} {workload}{} is at {}",
            mode.unwrap_or_default(),
            at.display()
        );
    }

    /// It is gone, from this cgroup if that is known.
    pub(super) fn gone(&self, from: Option<&Path>) {
        let (what, workload, name) = self.parts();
        let from = from.map(|from| format!(" from {}", from.display()));
        tracing::info!(
            event = "workload_gone",
            %workload,
            namespace = %workload.namespace,
            pod = name.as_ref().map(|name| name.pod.as_str()),
            container = name.as_ref().and_then(|name| name.container.as_deref()),
            "{what} {workload} is gone{}",
            from.unwrap_or_default()
        );
    }

    fn parts(&self) -> (&'static str, &Workload, Option<PodName>) {
        match self {
            Self::Configured(workload) => ("workload", workload, None),
            Self::Pod(workload) => ("pod", workload, Some(PodName::of(workload))),
        }
    }
}
