//! Pods that call: each sleeps, and a probe is started in it by `kubectl exec` when it is first needed.

use std::{collections::BTreeMap, net::SocketAddr, path::PathBuf};

use anyhow::{Context as _, Result};
use enforcer_common::Transport;
use enforcer_core::model::Labels;
use serde_json::{Value, json};

use super::Node;
use crate::probe::{self, Probe};

/// Where a pod has the machine's files. The test binary needs the machine's libraries, so it is run inside them.
const MACHINE: &str = "/machine";

/// Pods, by `namespace/name`.
pub struct Pods<'n> {
    node: &'n Node,
    binary: PathBuf,
    labels: BTreeMap<String, Labels>,
    probes: BTreeMap<String, Probe>,
}

impl<'n> Pods<'n> {
    /// None yet. `binary` is the test binary.
    pub fn new(node: &'n Node, binary: &str) -> Self {
        Self {
            node,
            binary: binary.into(),
            labels: BTreeMap::new(),
            probes: BTreeMap::new(),
        }
    }

    /// Makes sure that these pods, and their namespaces, are there with exactly these labels, and run.
    ///
    /// # Errors
    /// If the API or the kubelet refuses one.
    pub fn have(&mut self, pods: &BTreeMap<String, Labels>) -> Result<()> {
        let mut items = Vec::new();
        for (pod, labels) in pods.iter().filter(|(pod, _)| !self.labels.contains_key(*pod)) {
            let (namespace, name) = parts(pod)?;
            // One that is there stays as it is.
            items.push(json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": namespace } }));
            items.push(sleeping(namespace, name, labels));
        }
        if !items.is_empty() {
            let list = json!({ "apiVersion": "v1", "kind": "List", "items": items });
            self.node.kubectl_with(&list.to_string(), &["apply", "-f", "-"])?;
        }
        for (pod, labels) in pods {
            let (namespace, name) = parts(pod)?;
            if let Some(before) = self.labels.insert(pod.clone(), labels.clone()) {
                self.relabel(pod, &before, labels)?;
            } else {
                let pod = format!("pod/{name}");
                let ready = [
                    "wait",
                    "--for=condition=Ready",
                    "--timeout=120s",
                    "-n",
                    namespace,
                    &pod,
                ];
                self.node.kubectl(&ready)?;
            }
        }
        Ok(())
    }

    fn relabel(&self, pod: &str, before: &Labels, after: &Labels) -> Result<()> {
        let (namespace, name) = parts(pod)?;
        let gone = before
            .keys()
            .filter(|key| !after.contains_key(*key))
            .map(|key| format!("{key}-"));
        let set = after.iter().map(|(key, value)| format!("{key}={value}"));
        let changes: Vec<_> = gone.chain(set).collect();
        if before != after {
            let mut arguments = vec!["label", "--overwrite", "-n", namespace, "pod", name];
            arguments.extend(changes.iter().map(String::as_str));
            self.node.kubectl(&arguments)?;
        }
        Ok(())
    }

    /// Whether a socket from this pod is refused by its policy.
    ///
    /// # Errors
    /// If the pod's probe cannot be started, or the kinds of datagram differ.
    pub fn is_refused(&mut self, pod: &str, transport: Transport, to: SocketAddr) -> Result<bool> {
        if !self.probes.contains_key(pod) {
            let probe = self.start(pod)?;
            self.probes.insert(pod.to_owned(), probe);
        }
        let probe = self.probes.get_mut(pod).context("it was just started")?;
        probe.is_refused(transport, to)
    }

    fn start(&self, pod: &str) -> Result<Probe> {
        let (namespace, name) = parts(pod)?;
        let binary = self.binary.to_str().context("the binary's path is UTF-8")?;
        let exec = [
            "exec", "-i", "-n", namespace, name, "--", "chroot", MACHINE, binary,
        ];
        let arguments: Vec<_> = exec.into_iter().chain([probe::ARGUMENT, probe::HERE]).collect();
        Probe::behind(&mut self.node.command("kubectl", &arguments))
            .with_context(|| format!("a probe in {pod}"))
    }
}

fn parts(pod: &str) -> Result<(&str, &str)> {
    pod.split_once('/').context("a pod is written namespace/name")
}

fn sleeping(namespace: &str, name: &str, labels: &Labels) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": { "namespace": namespace, "name": name, "labels": labels },
        "spec": {
            "terminationGracePeriodSeconds": 0,
            // A namespace's own account may be a moment later than the namespace, and is not needed.
            "automountServiceAccountToken": false,
            "volumes": [{ "name": "machine", "hostPath": { "path": "/" } }],
            "containers": [{
                "name": "main",
                "image": "busybox:local",
                "command": ["sleep", "86400"],
                "volumeMounts": [{ "name": "machine", "mountPath": MACHINE, "readOnly": true }],
            }],
        },
    })
}
