//! What a cluster has to say after a failure, while it is still there.

use super::cluster::Cluster;
use crate::{
    out::say,
    process::{answer, status},
};

/// Where the enforcer is.
const SYSTEM: [&str; 2] = ["-n", "enforcer-system"];

/// Its pods.
const PODS: [&str; 2] = ["-l", "app.kubernetes.io/name=enforcer"];

/// Shows nodes, pods, Events, and of every node the enforcer's log and status.
pub(super) fn all(cluster: &Cluster) {
    show(cluster, &["get", "nodes,pods", "-A", "-o", "wide"]);
    show(cluster, &["get", "events", "-A", "--sort-by=.lastTimestamp"]);
    let named = ["-o=jsonpath={range .items[*]}{.metadata.name}{\"\\n\"}{end}"];
    let names = [&SYSTEM, ["get", "pods"].as_slice(), &PODS, &named].concat();
    let names = answer(cluster.kubectl().args(names)).unwrap_or_default();
    for pod in names.lines() {
        let logs = ["logs", pod, "--all-containers", "--tail=80"];
        show(cluster, &[&SYSTEM, logs.as_slice()].concat());
        show(
            cluster,
            &[&SYSTEM, ["exec", pod, "--", "/enforcer", "status"].as_slice()].concat(),
        );
    }
}

/// That one of these fails is one more thing that is shown.
fn show(cluster: &Cluster, words: &[&str]) {
    let mut command = cluster.kubectl();
    match status(command.arg("--request-timeout=20s").args(words)) {
        Ok(status) if status.success() => {}
        Ok(status) => say!("kind: that ended with {status}"),
        Err(error) => say!("kind: {error:#}"),
    }
}
