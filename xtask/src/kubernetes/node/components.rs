//! The programs of a cluster on its node. One that ends is started again.

use std::{
    fs::OpenOptions,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result};

use super::{
    network::{ADDRESS, PORT},
    place::ON_NODE,
};
use crate::{
    kubernetes::{
        certificates::{Certificates, NODE},
        control_plane::ControlPlane,
    },
    out::complain,
    process::answer,
};

/// Where containerd is asked.
pub(super) const CONTAINERD: &str = "/run/containerd/containerd.sock";

/// How soon what has ended is started again.
const PAUSE: Duration = Duration::from_secs(1);

/// A program that is kept running.
pub(super) struct Component {
    program: &'static str,
    arguments: Vec<String>,
}

/// The certificates, as the node sees them.
pub(super) fn certificates() -> Certificates {
    Certificates::at(Path::new(ON_NODE).join("certificates"))
}

/// What everything else needs.
pub(super) fn first() -> [Component; 3] {
    let certificates = certificates();
    let place = ControlPlane {
        address: ADDRESS,
        port: PORT,
        etcd: [2379, 2380],
        data: format!("{ON_NODE}/etcd"),
        certificates: &certificates,
    };
    [
        Component::new("containerd", [format!("--config={ON_NODE}/containerd.toml")]),
        Component::new("etcd", place.etcd()),
        Component::new("kube-apiserver", place.apiserver().into_iter().chain(gates())),
    ]
}

/// What needs the API server.
pub(super) fn second() -> [Component; 4] {
    let file = |flag: &str, name: &str| format!("--{flag}={}", certificates().path(name));
    // There is one of each: none has to win an election, and nobody else asks them.
    let alone = [
        "--leader-elect=false".to_owned(),
        "--bind-address=127.0.0.1".to_owned(),
    ];
    let [one, other] = alone.clone();
    let controllers = Component::new(
        "kube-controller-manager",
        [
            file("kubeconfig", "controller-manager.kubeconfig"),
            file("root-ca-file", "ca.crt"),
            file("service-account-private-key-file", "sa.key"),
            file("cluster-signing-cert-file", "ca.crt"),
            file("cluster-signing-key-file", "ca.key"),
            // Its own choice is a folder of the machine, which it would make.
            format!("--flex-volume-plugin-dir={ON_NODE}/kubelet/plugins"),
            one,
            other,
        ]
        .into_iter()
        .chain(gates()),
    );
    let [one, other] = alone;
    let scheduler = Component::new(
        "kube-scheduler",
        [file("kubeconfig", "scheduler.kubeconfig"), one, other],
    );
    let own = [
        format!("--config={ON_NODE}/kubelet.yaml"),
        file("kubeconfig", "kubelet.kubeconfig"),
        format!("--hostname-override={NODE}"),
        format!("--node-ip={ADDRESS}"),
    ];
    let kubelet = Component::new("kubelet", own.into_iter().chain(runtime()));
    let proxy = Component::new(
        "kube-proxy",
        [
            file("kubeconfig", "proxy.kubeconfig"),
            format!("--hostname-override={NODE}"),
            "--proxy-mode=iptables".into(),
            "--cluster-cidr=10.244.0.0/16".into(),
            // Settings of the whole kernel, which cannot be written here.
            "--conntrack-max-per-core=0".into(),
            "--conntrack-tcp-timeout-established=0".into(),
            "--conntrack-tcp-timeout-close-wait=0".into(),
        ],
    );
    [controllers, scheduler, kubelet, proxy]
}

/// What later versions do by themselves: an endpoint stays in its slice, as terminating, until its pod has ended (1.22).
fn gates() -> Option<String> {
    let gate = "--feature-gates=EndpointSliceTerminatingCondition=true";
    minor().is_none_or(|minor| minor < 22).then(|| gate.to_owned())
}

/// Where containerd is, for a kubelet that does not take it from its configuration (before 1.27).
fn runtime() -> Vec<String> {
    if minor().is_some_and(|minor| minor >= 27) {
        return Vec::new();
    }
    vec![
        "--container-runtime=remote".into(),
        format!("--container-runtime-endpoint=unix://{CONTAINERD}"),
    ]
}

/// The number behind `1.` of the version that runs.
fn minor() -> Option<u32> {
    let version = answer(Command::new("kubelet").arg("--version"))?;
    version.split('.').nth(1)?.parse().ok()
}

impl Component {
    fn new(program: &'static str, arguments: impl IntoIterator<Item = String>) -> Self {
        Self {
            program,
            arguments: arguments.into_iter().collect(),
        }
    }

    /// Keeps it running for as long as this process lives.
    pub(super) fn keep(self) {
        thread::spawn(move || {
            loop {
                match self.run() {
                    Ok(status) => complain!("{} has ended ({status})", self.program),
                    Err(error) => complain!("{}: {error:#}", self.program),
                }
                thread::sleep(PAUSE);
            }
        });
    }

    fn run(&self) -> Result<std::process::ExitStatus> {
        let log = PathBuf::from(format!("/var/log/{}.log", self.program));
        let log = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&log)
            .with_context(|| format!("opening {}", log.display()))?;
        Command::new(self.program)
            .args(&self.arguments)
            // The kubelet would ask a cloud who it is, for some seconds.
            .env("AWS_EC2_METADATA_DISABLED", "true")
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .status()
            .context("starting it")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kubernetes::certificates::NODE_ADDRESS;

    #[test]
    fn node_listens_where_its_certificates_say() {
        assert_eq!(ADDRESS.to_string(), NODE_ADDRESS);
    }
}
