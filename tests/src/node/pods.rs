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
        let mut missing = Vec::new();
        for (pod, labels) in pods {
            match self.labels.get(pod) {
                Some(before) => self.relabel(pod, before, labels)?,
                None => missing.push(sleeping(pod, labels, json!({}))?),
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
        self.make(vec![sleeping(pod, &Labels::new(), special)?])?;
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
        self.node.kubectl_with(&list, &["apply", "-f", "-"])?;
        // All of them at once: the kubelet starts them beside each other.
        let pods = json!({ "apiVersion": "v1", "kind": "List", "items": pods }).to_string();
        let ready = ["wait", "--for=condition=Ready", "--timeout=120s", "-f", "-"];
        self.node.kubectl_with(&pods, &ready).map(drop)
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
        self.node.kubectl(&arguments).map(drop)
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

/// A pod that does nothing; the keys of `special` are added to its specification.
fn sleeping(pod: &str, labels: &Labels, special: Value) -> Result<Value> {
    let (namespace, name) = parts(pod)?;
    let mut pod = json!({
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
    });
    let special = special.as_object().context("a specification has keys")?.clone();
    let spec = pod["spec"].as_object_mut().context("it was just written")?;
    spec.extend(special);
    Ok(pod)
}
