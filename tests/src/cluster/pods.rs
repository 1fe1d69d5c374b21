//! Pods that call: each sleeps, and a probe is started in it by `kubectl exec` when it is first needed.

use std::{collections::BTreeMap, net::SocketAddr};

use anyhow::{Context as _, Result};
use enforcer_common::Transport;
use enforcer_core::model::Labels;
use serde_json::{Value, json};

use super::Cluster;
use crate::probe::{self, Probe};

/// What a cluster's pods are made of.
pub struct Recipe {
    /// The specification of one that sleeps.
    pub spec: Value,
    /// How the test binary is started in it.
    pub binary: Vec<String>,
}

/// Pods, by `namespace/name`.
pub struct Pods<'n> {
    cluster: &'n dyn Cluster,
    recipe: Recipe,
    labels: BTreeMap<String, Labels>,
    probes: BTreeMap<String, Probe>,
}

impl<'n> Pods<'n> {
    /// None yet.
    pub fn new(cluster: &'n dyn Cluster, recipe: Recipe) -> Self {
        Self {
            cluster,
            recipe,
            labels: BTreeMap::new(),
            probes: BTreeMap::new(),
        }
    }

    /// Makes sure that these pods, and their namespaces, are there with exactly these labels, and run.
    ///
    /// # Errors
    /// If the API or the kubelet refuses one.
    pub fn have(&mut self, pods: &BTreeMap<String, Labels>) -> Result<()> {
        let mut missing = Vec::new();
        for (pod, labels) in pods {
            match self.labels.get(pod) {
                Some(before) => self.relabel(pod, before, labels)?,
                None => missing.push(self.sleeping(pod, labels, json!({}))?),
            }
        }
        self.make(missing)?;
        self.labels.extend(pods.clone());
        Ok(())
    }

    /// Makes one pod with a specification that differs from the others', and waits until it runs.
    ///
    /// # Errors
    /// If the API or the kubelet refuses it.
    pub fn have_special(&mut self, pod: &str, special: Value) -> Result<()> {
        self.make(vec![self.sleeping(pod, &Labels::new(), special)?])?;
        self.labels.insert(pod.to_owned(), Labels::new());
        Ok(())
    }

    fn make(&self, pods: Vec<Value>) -> Result<()> {
        if pods.is_empty() {
            return Ok(());
        }
        let mut items: Vec<_> = pods
            .iter()
            .map(|pod| json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": pod["metadata"]["namespace"] } }))
            .collect();
        items.extend(pods.iter().cloned());
        let list = json!({ "apiVersion": "v1", "kind": "List", "items": items }).to_string();
        // A namespace that is there stays as it is.
        self.cluster.kubectl_with(&list, &["apply", "-f", "-"])?;
        // All of them at once: the kubelet starts them beside each other.
        let pods = json!({ "apiVersion": "v1", "kind": "List", "items": pods }).to_string();
        let ready = ["wait", "--for=condition=Ready", "--timeout=120s", "-f", "-"];
        self.cluster.kubectl_with(&pods, &ready).map(drop)
    }

    fn relabel(&self, pod: &str, before: &Labels, after: &Labels) -> Result<()> {
        if before == after {
            return Ok(());
        }
        let (namespace, name) = parts(pod)?;
        let gone = before.keys().filter(|key| !after.contains_key(*key));
        let changes: Vec<_> = gone
            .map(|key| format!("{key}-"))
            .chain(after.iter().map(|(key, value)| format!("{key}={value}")))
            .collect();
        let mut arguments = vec!["label", "--overwrite", "-n", namespace, "pod", name];
        arguments.extend(changes.iter().map(String::as_str));
        self.cluster.kubectl(&arguments).map(drop)
    }

    /// Whether a socket from this pod is refused by its policy.
    ///
    /// # Errors
    /// If the pod's probe cannot be started, or the kinds of datagram differ.
    pub fn is_refused(&mut self, pod: &str, transport: Transport, to: SocketAddr) -> Result<bool> {
        self.probe(pod)?.is_refused(transport, to)
    }

    /// The same over TCP, to an address as it is written.
    ///
    /// # Errors
    /// If the pod's probe cannot be started, or the address is none.
    pub fn is_cut_off(&mut self, pod: &str, to: &str) -> Result<bool> {
        self.is_refused(
            pod,
            Transport::Tcp,
            to.parse().with_context(|| format!("address {to}"))?,
        )
    }

    fn probe(&mut self, pod: &str) -> Result<&mut Probe> {
        if !self.probes.contains_key(pod) {
            let probe = self.start(pod)?;
            self.probes.insert(pod.to_owned(), probe);
        }
        self.probes.get_mut(pod).context("it was just started")
    }

    fn start(&self, pod: &str) -> Result<Probe> {
        let (namespace, name) = parts(pod)?;
        let binary = self.recipe.binary.iter().map(String::as_str);
        let exec = ["exec", "-i", "-n", namespace, name, "--"];
        let arguments: Vec<_> = exec
            .into_iter()
            .chain(binary)
            .chain([probe::ARGUMENT, probe::HERE])
            .collect();
        Probe::behind(&mut self.cluster.lasting(&arguments)).with_context(|| format!("a probe in {pod}"))
    }

    /// Forgets the probe of a pod whose processes have ended: the next question starts another.
    pub fn forget(&mut self, pod: &str) {
        self.probes.remove(pod);
    }

    /// A pod that does nothing; the keys of `special` are added to its specification.
    fn sleeping(&self, pod: &str, labels: &Labels, special: Value) -> Result<Value> {
        let (namespace, name) = parts(pod)?;
        let mut pod = json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": { "namespace": namespace, "name": name, "labels": labels },
            "spec": self.recipe.spec,
        });
        let spec = pod["spec"].as_object_mut().context("a specification has keys")?;
        spec.insert("terminationGracePeriodSeconds".into(), 0.into());
        // A namespace's own account may be a moment later than the namespace, and is not needed.
        spec.insert("automountServiceAccountToken".into(), false.into());
        spec.extend(special.as_object().context("a specification has keys")?.clone());
        Ok(pod)
    }
}

/// Namespace and name.
///
/// # Errors
/// If one is missing.
pub fn parts(pod: &str) -> Result<(&str, &str)> {
    pod.split_once('/').context("a pod is written namespace/name")
}
