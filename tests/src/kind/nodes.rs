//! What is done on the nodes themselves, as root, by `docker exec`.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, ensure};

use super::{
    Kind,
    cast::{CLIENTS, FREE, SERVERS},
};
use crate::cluster::{Cluster as _, LABEL, SYSTEM};

/// The addresses of documentation and others that the conformance table uses: on a node they are its own, and nobody
/// listens, so that what gets through is refused by a reset and no packet leaves the machine.
const OUTSIDE: [&str; 9] = [
    "192.0.2.0/24",
    "198.51.99.0/24",
    "198.51.100.0/24",
    "198.51.101.0/24",
    "203.0.113.0/24",
    "10.0.0.0/24",
    "10.1.0.0/24",
    "10.2.0.0/24",
    "169.254.0.0/16",
];

/// What of a node is its own `/sys/fs/bpf`, `/run/enforcer` and cgroups, and was left there by the enforcer. A bpffs may
/// have files of the kernel's own (`progs.debug`, `maps.debug`).
const LEFT: &str = "find /sys/fs/bpf /run/enforcer -mindepth 1 -not -name '*.debug' 2>/dev/null; \
                    find /sys/fs/cgroup -name '*enforcer*'";

impl Kind {
    /// Makes a node ready for the table; again after each restart of it.
    ///
    /// # Errors
    /// If the node does not let it.
    pub fn prepare(&self, node: &str) -> Result<()> {
        for network in OUTSIDE {
            self.on_node(node, &format!("ip route replace local {network} dev lo"))?;
        }
        Ok(())
    }

    /// The kubelet's cgroups of pods, as the node's own mount has them.
    ///
    /// # Errors
    /// If there is none.
    pub fn kubelet_cgroups(&self, node: &str) -> Result<String> {
        let find = "find /sys/fs/cgroup -maxdepth 3 -name '*kubepods' -o -maxdepth 3 -name '*kubepods.slice'";
        let found = self.on_node(node, find)?;
        ensure!(!found.is_empty(), "{node} has no cgroup of pods");
        Ok(found.trim().replace('\n', ", "))
    }

    /// The enforcer's pod of a node.
    ///
    /// # Errors
    /// If there is not one.
    pub fn daemon(&self, node: &str) -> Result<String> {
        let of_node = format!("spec.nodeName={node}");
        let get = [
            "get",
            "pods",
            "-n",
            SYSTEM,
            "-l",
            LABEL,
            "--field-selector",
            &of_node,
        ];
        let names = self.kubectl(&[get.as_slice(), &["-o=jsonpath={.items[*].metadata.name}"]].concat())?;
        let mut names = names.split_whitespace();
        let (first, second) = (names.next(), names.next());
        ensure!(second.is_none(), "{node} has two of the enforcer's pods");
        Ok(first
            .with_context(|| format!("{node} has no pod of the enforcer"))?
            .to_owned())
    }

    /// A command of the enforcer in its pod of a node.
    ///
    /// # Errors
    /// What it complains of.
    pub fn enforcer(&self, node: &str, command: &str) -> Result<String> {
        let pod = self.daemon(node)?;
        self.kubectl(&["-n", SYSTEM, "exec", &pod, "--", "/enforcer", command])
    }

    /// How often the first container of a pod was started again.
    ///
    /// # Errors
    /// If it does not run.
    pub fn restarts(&self, namespace: &str, pod: &str) -> Result<u32> {
        let path = "-o=jsonpath={.status.containerStatuses[0].restartCount}";
        let count = self.kubectl(&["get", "pod", "-n", namespace, pod, path])?;
        count
            .trim()
            .parse()
            .with_context(|| format!("{count:?} restarts of {pod}"))
    }

    /// The pods of a node that are ready, and how often each was started again: the enforcer's, clients and servers.
    ///
    /// # Errors
    /// If the API does not answer.
    pub fn ready(&self, node: &str) -> Result<BTreeMap<String, u32>> {
        let of_node = format!("spec.nodeName={node}");
        let fields = "-o=jsonpath={range .items[*]}{.metadata.namespace}/{.metadata.name} \
                      {.status.containerStatuses[0].ready} {.status.containerStatuses[0].restartCount}{\"\\n\"}{end}";
        let pods = self.kubectl(&["get", "pods", "-A", "--field-selector", &of_node, fields])?;
        let pods = pods.lines().filter_map(|line| {
            let [name, "true", count] = line.split_whitespace().collect::<Vec<_>>()[..] else {
                return None;
            };
            let (namespace, _) = name.split_once('/')?;
            let is_meant = [SYSTEM, CLIENTS, SERVERS].contains(&namespace) || FREE.starts_with(namespace);
            Some((name.to_owned(), count.parse().ok()?)).filter(|_| is_meant)
        });
        Ok(pods.collect())
    }

    /// Files and cgroups that are the enforcer's.
    ///
    /// # Errors
    /// If the node does not list them.
    pub fn left(&self, node: &str) -> Result<String> {
        self.on_node(node, LEFT)
    }
}
