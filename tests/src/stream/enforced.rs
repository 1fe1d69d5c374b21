//! Programs with a registry that allows what is sent here, which learn names from the server of [`super::questions`].

use std::{collections::BTreeSet, path::Path};

use anyhow::{Context as _, Result, ensure};
use enforcer::datapath::{CgroupMount, Datapath, Events, Learning, Options, Pins};
use enforcer_common::Settings;
use enforcer_core::{
    documents::Documents,
    model::{Labels, Namespace, Workload},
    plan::{Applied, diff},
    registry::{Registry, Update},
    settings,
};

use super::questions::SERVER;
use crate::fixture::{Bpffs, TestCgroup, bpf};

const REGISTRY: &str = "
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: streams, namespace: shop}
spec:
  hosts: [streams.example.net]
  addresses: [198.18.7.3]
  ports: [{number: 9000, name: tcp, protocol: TCP}]
  resolution: NONE
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: datagrams, namespace: shop}
spec:
  hosts: [datagrams.example.net]
  addresses: [198.18.7.3]
  ports: [{number: 9000, name: udp, protocol: UDP}, {number: 53, name: dns, protocol: UDP}]
  resolution: NONE
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: wild, namespace: shop}
spec:
  hosts: ['*.example.com']
  ports: [{number: 443, name: tls, protocol: TLS}]
  resolution: NONE
";

/// The programs that learn names.
const LEARNING: [&str; 2] = ["ask", "learn"];

/// Loaded programs, and what keeps their events.
pub type Enforced = (Datapath, Events);

/// Enforces the registry for the cgroup `workload` below `root`.
///
/// # Errors
/// If the kernel refuses.
pub fn enforce(root: &TestCgroup) -> Result<Enforced> {
    enforce_with_share(root, Settings::STRICT.learned)
}

/// The same, where a workload may have learned so many addresses.
///
/// # Errors
/// If the kernel refuses.
pub fn enforce_with_share(root: &TestCgroup, share: u32) -> Result<Enforced> {
    load(root, None, share, REGISTRY)
}

/// The same with another registry, of the namespace `shop`.
///
/// # Errors
/// If the kernel refuses.
pub fn enforce_registry(root: &TestCgroup, registry: &str) -> Result<Enforced> {
    load(root, None, Settings::STRICT.learned, registry)
}

/// The same, and detaches the programs that learn names: all others stay, and so does what maps hold.
///
/// # Errors
/// If the kernel refuses.
pub fn enforce_without_learning(root: &TestCgroup, bpffs: &Bpffs) -> Result<Enforced> {
    let enforced = load(root, Some(bpffs.path()), Settings::STRICT.learned, REGISTRY)?;
    let cgroup = CgroupMount::find()?
        .cgroup(root.path())?
        .context("it was just made")?;
    let links = bpffs.path().join("enforcer/links").join(cgroup.id.0.to_string());
    for program in LEARNING {
        bpf::detach_link(&links.join(program))?;
    }
    Ok(enforced)
}

fn load(root: &TestCgroup, bpffs: Option<&Path>, share: u32, text: &str) -> Result<Enforced> {
    let mount = CgroupMount::find()?;
    let workload = mount
        .cgroup(&root.path().join("workload"))?
        .context("it was just made")?;
    let mut registry = Registry::new(settings::Settings::default());
    let mut documents = Documents::default();
    for update in documents.set("registry", Some(text)) {
        registry.apply(update);
    }
    let problems: Vec<_> = documents.problems().iter().map(ToString::to_string).collect();
    ensure!(problems.is_empty(), "the registry: {}", problems.join("; "));
    let who = Workload::new(Namespace::new("shop"), "workload", Labels::default());
    registry.apply(Update::Workload(workload.id, who));
    let settings = Settings {
        depth_min: workload.depth,
        depth_max: workload.depth,
        learned: share,
        ..Settings::STRICT
    };
    let options = Options::default();
    let pins = bpffs.map(|bpffs| Pins::open(bpffs, &options.capacities));
    let (mut datapath, events) = Datapath::load(pins.transpose()?, options, settings)?;
    let learning = Learning {
        patterns: registry.patterns(),
        resolvers: BTreeSet::from([SERVER]),
        protected: BTreeSet::new(),
    };
    datapath.learn_more(&learning)?;
    datapath.carry_out(&diff(&Applied::default(), &registry.desired()).changes)?;
    datapath.attach(&mount.cgroup(root.path())?.context("it was just made")?)?;
    Ok((datapath, events))
}
