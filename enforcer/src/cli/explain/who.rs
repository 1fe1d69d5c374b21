//! Which workload is meant: one of the configuration, a pod of the registry, or one that need not exist.

use anyhow::{Result, bail};
use enforcer_core::{
    istio::{Meta, Pod, PodDns, PodPhase},
    model::{Labels, Namespace, Workload},
    pods::Pods,
};

use super::{
    super::out,
    asked::{Asked, Who},
};

/// The workloads that there are.
#[derive(Debug)]
pub(super) struct Known {
    pub(super) configured: Vec<Workload>,
    pub(super) pods: Vec<Found>,
    /// What reads pods; None where pods are not enforced.
    pub(super) node: Option<Pods>,
    /// Whether files were named, and no configuration.
    pub(super) is_named: bool,
}

/// A pod of the registry's files.
#[derive(Debug)]
pub(super) struct Found {
    /// What it is, or would be, on this node.
    pub(super) workload: Workload,
    pub(super) is_here: bool,
}

/// The name of one without labels.
const UNLABELLED: &str = "(no labels)";

impl Known {
    /// The workload that is asked about.
    pub(super) fn meant(&self, asked: &Asked) -> Result<Workload> {
        let namespace = &asked.namespace;
        let pods = self.pods.iter().map(|pod| &pod.workload);
        let known: Vec<&Workload> = pods
            .chain(&self.configured)
            .filter(|workload| workload.namespace == *namespace)
            .collect();
        match (&asked.who, known.as_slice()) {
            (Who::Labels(labels), _) => Ok(self.planned(namespace, labels)),
            (Who::Name(name), _) => match known.iter().find(|workload| workload.name == *name) {
                Some(workload) => Ok((*workload).clone()),
                None if known.is_empty() => bail!(
                    "no workload {namespace}/{name} is configured, nor is there such a pod; leave --workload out to ask \
                     about the namespace, or say --labels"
                ),
                None => bail!(
                    "no workload {namespace}/{name} is configured; there are {}",
                    names(&known)
                ),
            },
            (Who::TheOnlyOne, [one]) => Ok((*one).clone()),
            (Who::TheOnlyOne, []) => Ok(self.planned(namespace, &Labels::new())),
            (Who::TheOnlyOne, _) if self.is_named => {
                out::complain(format_args!(
                    "note: this is about a workload without labels, as namespace {namespace} has several pods; --workload \
                     names one of them, --labels another: {}",
                    names(&known)
                ));
                Ok(self.planned(namespace, &Labels::new()))
            }
            (Who::TheOnlyOne, _) => {
                let what = if self.configured.iter().any(|it| it.namespace == *namespace) {
                    "workloads"
                } else {
                    "pods"
                };
                bail!(
                    "namespace {namespace} has several {what}: choose one by --workload, or say --labels: {}",
                    names(&known)
                )
            }
        }
    }

    /// One that need not exist: where pods are enforced, it would be one.
    fn planned(&self, namespace: &Namespace, labels: &Labels) -> Workload {
        let pairs = labels.iter().map(|(key, value)| format!("{key}={value}"));
        let mut name = pairs.collect::<Vec<_>>().join(",");
        if name.is_empty() {
            UNLABELLED.clone_into(&mut name);
        }
        let Some(node) = &self.node else {
            return Workload::new(namespace.clone(), &name, labels.clone());
        };
        node.workload(&Pod {
            meta: Meta {
                namespace: namespace.clone(),
                name,
                labels: labels.clone(),
                annotations: Labels::new(),
                created: None,
            },
            addresses: Vec::new(),
            uid: String::new(),
            node: String::new(),
            host_network: false,
            phase: PodPhase::Running,
            is_ready: true,
            proxy: None,
            dns: PodDns::default(),
            controller: None,
            containers: Vec::new(),
        })
    }
}

fn names(workloads: &[&Workload]) -> String {
    let names: Vec<_> = workloads.iter().map(|workload| workload.name.as_str()).collect();
    names.join(", ")
}
