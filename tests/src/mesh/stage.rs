//! A node with a world that answers, and what tests ask of the pods on it.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    process::Stdio,
};

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use super::Kit;
use crate::{
    cluster::{Cluster as _, LABEL, Names as _, SYSTEM, outcome, parts, rolled_out},
    daemon::wait,
    node::{Node, World},
    pod::Answer,
};

/// Where everything outside answers.
const PORT: &str = "8080";

/// The enforcer's log from its beginning.
const LOG: [&str; 6] = ["-n", SYSTEM, "logs", "--tail=-1", "-l", LABEL];

/// A node, its world and what its pods are made of.
pub struct Stage<'n> {
    /// The node.
    pub node: &'n Node,
    /// What pods are made of.
    pub kit: Kit,
    world: World,
}

impl<'n> Stage<'n> {
    /// A world that answers at every address of documentation on port 8080, with its name.
    ///
    /// # Errors
    /// If the node does not let it.
    pub fn begin(node: &'n Node, kit: Kit, binary: &str) -> Result<Self> {
        let mut world = World::begin(node)?;
        world.serve(node, &[binary, "pod", "serve", "0.0.0.0", PORT])?;
        node.kubectl(&["apply", "-k", &node.overlay("crds")?])?;
        Ok(Self { node, kit, world })
    }

    /// What the world calls itself.
    ///
    /// # Errors
    /// If the node does not say it.
    pub fn outside(&self) -> Result<String> {
        let name = self.node.exec(&["cat", "/proc/sys/kernel/hostname"])?;
        Ok(name.trim().to_owned())
    }

    /// Has names resolve.
    ///
    /// # Errors
    /// If the server cannot be told.
    pub fn resolve(&self, names: &[(&str, &str)]) -> Result<()> {
        let mut addresses: BTreeMap<String, BTreeSet<IpAddr>> = BTreeMap::new();
        for (name, address) in names {
            let address = address.parse()?;
            addresses.entry((*name).to_owned()).or_default().insert(address);
        }
        self.world.resolve("mesh", &addresses)
    }

    /// Makes objects.
    ///
    /// # Errors
    /// If the API server refuses one.
    pub fn apply(&self, objects: &[Value]) -> Result<()> {
        let list = json!({ "apiVersion": "v1", "kind": "List", "items": objects }).to_string();
        self.node.kubectl_with(&list, &["apply", "-f", "-"]).map(drop)
    }

    /// Makes objects, and waits until the pods among them are ready.
    ///
    /// # Errors
    /// If one is not.
    pub fn make(&self, objects: &[Value]) -> Result<()> {
        self.apply(objects)?;
        let pods: Vec<_> = objects.iter().filter(|object| object["kind"] == "Pod").collect();
        if pods.is_empty() {
            return Ok(());
        }
        let list = json!({ "apiVersion": "v1", "kind": "List", "items": pods }).to_string();
        let ready = ["wait", "--for=condition=Ready", "--timeout=120s", "-f", "-"];
        self.node.kubectl_with(&list, &ready).map(drop)
    }

    /// A pod's address.
    ///
    /// # Errors
    /// If it has none.
    pub fn address(&self, pod: &str) -> Result<String> {
        let (namespace, name) = parts(pod)?;
        let address =
            self.node
                .kubectl(&["get", "pod", "-n", namespace, name, "-o=jsonpath={.status.podIP}"])?;
        ensure!(!address.is_empty(), "{pod} has no address");
        Ok(address)
    }

    /// What the test binary prints in a container, `namespace/name/container`.
    ///
    /// # Errors
    /// What it complains of.
    pub fn test(&self, container: &str, arguments: &[&str]) -> Result<String> {
        let binary = ["/test/enforcer-test"];
        self.exec(container, &[binary.as_slice(), arguments].concat())
    }

    /// What the test binary prints that runs there for long.
    ///
    /// # Errors
    /// What it complains of.
    pub fn long_test(&self, container: &str, arguments: &[&str]) -> Result<String> {
        let command = [["/test/enforcer-test"].as_slice(), arguments].concat();
        let command = into_container(container, &command)?;
        let output = self.node.lasting(&command).stdin(Stdio::null()).output()?;
        outcome(&output, &command)
    }

    /// What a command prints in a container, `namespace/name/container`.
    ///
    /// # Errors
    /// What it complains of.
    pub fn exec(&self, container: &str, command: &[&str]) -> Result<String> {
        let (pod, container) = container
            .rsplit_once('/')
            .context("a container is written pod/name")?;
        let (namespace, name) = parts(pod)?;
        let exec = ["exec", "-n", namespace, name, "-c", container, "--"];
        self.node.kubectl(&[exec.as_slice(), command].concat())
    }

    /// What a server answers to a container.
    ///
    /// # Errors
    /// If it cannot be asked.
    pub fn ask(&self, container: &str, to: &str) -> Result<Answer> {
        self.test(container, &["pod", "ask", "tcp", to])?.parse()
    }

    /// A counter of a pod's Envoy.
    ///
    /// # Errors
    /// If it has none of that name.
    pub fn counter(&self, pod: &str, name: &str) -> Result<u64> {
        let url = format!("http://127.0.0.1:15000/stats?filter=^{name}$");
        let stats = self.exec(&format!("{pod}/istio-proxy"), &["wget", "-q", "-O", "-", &url])?;
        let value = stats.trim().rsplit_once(": ").map(|(_, value)| value);
        value
            .with_context(|| format!("{pod} has no {name}"))?
            .parse()
            .context("a counter is a number")
    }

    /// Lines of the enforcer's log that tell of refusals to a pod, of addresses that begin so.
    ///
    /// # Errors
    /// If there is no log.
    pub fn refusals(&self, pod: &str, begin: &str) -> Result<Vec<String>> {
        let log = self.node.kubectl(&LOG)?;
        let words = [
            r#""event":"flow_denied""#.to_owned(),
            format!(r#""workload":"{pod}""#),
            format!(r#""address":"{begin}"#),
        ];
        let has_all = |line: &&str| words.iter().all(|word| line.contains(word));
        Ok(log.lines().filter(has_all).map(str::to_owned).collect())
    }

    /// Installs the enforcer as deploy/README.md says it.
    ///
    /// # Errors
    /// If it does not become ready.
    pub fn install(&self) -> Result<()> {
        self.node.import_image()?;
        self.node
            .kubectl(&["apply", "-k", &self.node.overlay("enforce")?])?;
        rolled_out(self.node)
    }

    /// Gives the enforcer another configuration.
    ///
    /// # Errors
    /// If it does not become ready with it.
    pub fn configure(&self, name: &str, config: &str) -> Result<()> {
        let map = json!({
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": { "namespace": SYSTEM, "name": name },
            "data": { "enforcer.yaml": config },
        });
        self.make(&[map])?;
        let volumes = json!([{ "name": "config", "configMap": { "name": name } }]);
        let patch = json!({ "spec": { "template": { "spec": { "volumes": volumes } } } }).to_string();
        self.node
            .kubectl(&["-n", SYSTEM, "patch", "daemonset", "enforcer", "-p", &patch])?;
        rolled_out(self.node)
    }

    /// Waits for what a server answers to a container.
    ///
    /// # Errors
    /// If it is never that.
    pub fn until(&self, container: &str, to: &str, is_so: impl Fn(&Answer) -> bool) -> Result<()> {
        let mut last = None;
        wait(&format!("other answer of {to} to {container}"), || {
            let answer = self.ask(container, to)?;
            let is_over = is_so(&answer);
            last = Some(answer);
            Ok(is_over)
        })
        .with_context(|| format!("it was {last:?} last"))
    }
}

/// kubectl's arguments.
fn into_container<'a>(container: &'a str, command: &[&'a str]) -> Result<Vec<&'a str>> {
    let (pod, container) = container
        .rsplit_once('/')
        .context("a container is written pod/name")?;
    let (namespace, name) = parts(pod)?;
    let exec = ["exec", "-n", namespace, name, "-c", container, "--"];
    Ok([exec.as_slice(), command].concat())
}
