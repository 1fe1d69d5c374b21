//! The enforcer on a cluster in containers: makes one with kind, installs the overlay `kind`, and shows a connection
//! that is refused and, once a ServiceEntry names it, allowed.
//!
//! Needs Docker, kind and kubectl, and installs none of them: they are the user's choice.

use std::{
    io::Write as _,
    process::{Command, Stdio},
};

use anyhow::{Context, Result, bail, ensure};

use crate::out::say;
use crate::{
    arch::Arch,
    image,
    process::{answer, find, run as run_visibly, workspace},
};

/// The cluster's name.
const CLUSTER: &str = "enforcer";

/// What pods of the demonstration run.
const BUSYBOX: &str = "busybox:1.36";

/// What `kind` is asked for.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Leave the cluster there, to look around
    #[arg(long)]
    keep: bool,
}

/// Makes the cluster, shows what there is to be shown, and takes the cluster away.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let missing: Vec<_> = ["docker", "kind", "kubectl"]
        .into_iter()
        .filter(|program| find(program).is_none())
        .collect();
    ensure!(
        missing.is_empty(),
        "not installed: {}; without them, `cargo xtask demo` shows the same on this machine",
        missing.join(", ")
    );
    ensure!(
        answer(Command::new("docker").arg("info").stderr(Stdio::null())).is_some(),
        "Docker's server does not answer: `docker info` says why"
    );
    let image = image::write(Arch::own(), None)?;
    run_visibly(kind("create").args(["--wait", "3m"]))?;
    let shown = show(&image);
    if arguments.keep {
        say!("kind: the cluster stays; `kind delete cluster --name {CLUSTER}` removes it");
    } else {
        run_visibly(&mut kind("delete"))?;
    }
    shown
}

fn show(image: &image::Written) -> Result<()> {
    say!("kind: loading {} into the nodes", image.reference);
    let mut load = Command::new("kind");
    load.args(["load", "image-archive", "--name", CLUSTER])
        .arg(&image.file);
    run_visibly(&mut load)?;
    mount_bpffs()?;
    let deploy = |folder: &str| workspace().join("deploy").join(folder).display().to_string();
    run_visibly(kubectl().args(["apply", "-k", &deploy("crds")]))?;
    run_visibly(kubectl().args(["apply", "-k", &deploy("overlays/kind")]))?;
    let rollout = [
        "-n",
        "enforcer-system",
        "rollout",
        "status",
        "daemonset/enforcer",
        "--timeout=3m",
    ];
    run_visibly(kubectl().args(rollout))?;

    say!("kind: starting a server that no Service names, in a namespace that is off, and a client");
    apply(&demonstration())?;
    for pod in ["outside/server", "shop/client"] {
        let (namespace, name) = pod.split_once('/').context("written namespace/name")?;
        let ready = ["wait", "--for=condition=Ready", "--timeout=3m", "-n", namespace];
        run_visibly(kubectl().args(ready).arg(format!("pod/{name}")))?;
    }
    let address = [
        "get",
        "pod",
        "server",
        "-n",
        "outside",
        "-o",
        "jsonpath={.status.podIP}",
    ];
    let address = answer(kubectl().args(address)).context("the server has an address")?;
    ensure!(
        !reaches(&address)?,
        "the client reaches {address}, although nothing names it"
    );
    say!("kind: refused, as it is not registered");
    apply(&entry(&address))?;
    // Until it is followed, the client asks again.
    let asks =
        format!("for i in $(seq 100); do nc -w 2 {address} 80 </dev/null && exit 0; sleep 0.1; done; exit 1");
    ensure!(
        in_client(&asks)?,
        "the client does not reach {address}, which a ServiceEntry names"
    );
    say!("kind: allowed, once a ServiceEntry names it");
    run_visibly(kubectl().args(["get", "events", "-n", "shop"]))
}

/// kind's nodes are containers, in which systemd mounts no bpffs.
fn mount_bpffs() -> Result<()> {
    let nodes = answer(Command::new("kind").args(["get", "nodes", "--name", CLUSTER]))
        .context("listing the nodes")?;
    for node in nodes.lines() {
        let mount = "mountpoint -q /sys/fs/bpf || mount -t bpf bpf /sys/fs/bpf";
        run_visibly(Command::new("docker").args(["exec", node, "sh", "-c", mount]))?;
    }
    Ok(())
}

fn kind(action: &str) -> Command {
    let mut command = Command::new("kind");
    command.args([action, "cluster", "--name", CLUSTER]);
    command
}

fn kubectl() -> Command {
    let mut command = Command::new("kubectl");
    command.arg(format!("--context=kind-{CLUSTER}"));
    command
}

fn apply(documents: &str) -> Result<()> {
    let mut child = kubectl()
        .args(["apply", "-f", "-"])
        .stdin(Stdio::piped())
        .spawn()
        .context("starting kubectl")?;
    let mut input = child.stdin.take().context("standard input is piped")?;
    input
        .write_all(documents.as_bytes())
        .context("passing documents to kubectl")?;
    drop(input);
    match child.wait() {
        Ok(status) if status.success() => Ok(()),
        other => bail!("kubectl rejects the documents: {other:?}"),
    }
}

/// Whether the client gets through; what it says is shown.
fn reaches(address: &str) -> Result<bool> {
    in_client(&format!("nc -w 2 {address} 80 </dev/null"))
}

fn in_client(script: &str) -> Result<bool> {
    crate::process::status(kubectl().args(["exec", "-n", "shop", "client", "--", "sh", "-c", script]))
        .map(|status| status.success())
}

fn demonstration() -> String {
    let pod = |namespace: &str, name: &str, command: &str| {
        format!(
            "apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}, namespace: {namespace}}}\nspec:\n  containers:\n  - \
             {{name: main, image: \"{BUSYBOX}\", command: [sh, -c, {command}]}}\n"
        )
    };
    let namespace = |name: &str, labels: &str| {
        format!("apiVersion: v1\nkind: Namespace\nmetadata: {{name: {name}, labels: {labels}}}\n")
    };
    [
        namespace("outside", "{enforcer.dev/mode: \"off\"}"),
        namespace("shop", "{}"),
        pod("outside", "server", "httpd -f -p 80"),
        pod("shop", "client", "sleep 86400"),
    ]
    .join("---\n")
}

fn entry(address: &str) -> String {
    format!(
        "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {{name: server, namespace: shop}}\nspec:\n  \
         hosts: [server.example.com]\n  addresses: [{address}]\n  ports: [{{number: 80, name: tcp, protocol: TCP}}]\n"
    )
}
