//! The enforcer as it is installed, on a real Kubernetes node: image, manifests, rights, cgroups, enforcement.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, ensure};
use enforcer_common::Transport;
use tests::{
    case,
    ground::need_root,
    node::{Node, Pods, Table, World},
};

const BINARY: &str = env!("CARGO_BIN_EXE_enforcer-test");

const DEPLOY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy");

#[test]
fn enforcer_as_installed_enforces_a_real_node() {
    need_root().unwrap();
    let Some(node) = Node::start().unwrap() else {
        return;
    };
    if let Err(error) = everything(&node) {
        let log = node.kubectl(&["-n", "enforcer-system", "logs", "--tail=60", "daemonset/enforcer"]);
        let pods = node.kubectl(&["get", "pods", "-A", "-o", "wide"]);
        panic!("{error:#}\n{}\n{}", said(pods), said(log));
    }
}

fn said(answer: Result<String>) -> String {
    answer.unwrap_or_else(|error| format!("{error:#}"))
}

/// One node for all: each step finds what the one before it has left.
fn everything(node: &Node) -> Result<()> {
    let world = World::begin(node)?;
    let mut pods = Pods::new(node, BINARY);
    nothing_is_refused_before(&mut pods)?;
    install(node).context("installing it")?;
    every_row_holds_in_pods(node, &world, &mut pods)?;
    Ok(())
}

/// The control: what is refused later, is refused by the enforcer.
fn nothing_is_refused_before(pods: &mut Pods<'_>) -> Result<()> {
    let pod = "default/control";
    pods.have(&BTreeMap::from([(pod.to_owned(), BTreeMap::new())]))?;
    for transport in [Transport::Tcp, Transport::Udp] {
        for address in ["192.0.2.1:80", "[2001:db8::1]:80"] {
            let is_refused = pods.is_refused(pod, transport, address.parse()?)?;
            ensure!(
                !is_refused,
                "{address} is refused over {transport:?} before anything is installed"
            );
        }
    }
    Ok(())
}

fn overlay(name: &str) -> String {
    format!("{DEPLOY}/overlays/{name}")
}

/// As deploy/README.md says it.
fn install(node: &Node) -> Result<()> {
    node.import_image()?;
    // Servers of this age do not know every field of the definitions.
    node.kubectl(&["apply", "--validate=false", "-k", &format!("{DEPLOY}/crds")])?;
    node.kubectl(&["apply", "-k", &overlay("enforce")])?;
    rolled_out(node)
}

fn rolled_out(node: &Node) -> Result<()> {
    let status = [
        "-n",
        "enforcer-system",
        "rollout",
        "status",
        "daemonset/enforcer",
        "--timeout=120s",
    ];
    node.kubectl(&status).map(drop)
}

fn every_row_holds_in_pods<'n>(node: &'n Node, world: &World, pods: &mut Pods<'n>) -> Result<()> {
    let tally = Table { node, world, pods }.run(&case::all()?)?;
    println!(
        "{} rows hold in pods; cases left out: {:?}",
        tally.rows, tally.left_out
    );
    ensure!(tally.rows >= 300, "the table has lost its rows: {}", tally.rows);
    Ok(())
}
