//! Starts everything on the node in its order, says when the node is ready, and ends it when its time is over.

use std::{
    fs,
    io::Write as _,
    net::TcpStream,
    os::unix::net::UnixStream,
    path::Path,
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};

use super::{
    READY, Up,
    components::{self, CONTAINERD, Component, certificates},
    images, mounts, network,
    place::ON_NODE,
    place::Place,
    supervisor::close_stdout,
};
use crate::{
    kubernetes::{api::is_ready, certificates::NODE_ADDRESS, folder::Folder},
    out::complain,
};

/// Runs until the node's time to live is over.
pub(super) fn run(asked: &Up) -> Result<()> {
    let place = Place::find(&asked.dir)?;
    let folder = Folder::new(asked.cache.as_deref())?;
    mounts::arrange(&place, &folder).context("mounting the node's file systems")?;
    network::make().context("making the node's network")?;
    cluster()?;
    fs::write(Path::new(ON_NODE).join(READY), "").context("noting that the node is ready")?;
    // If nobody is waiting for it any more, nobody needs the node.
    let mut output = std::io::stdout();
    writeln!(output, "{READY}")
        .and_then(|()| output.flush())
        .context("reporting that the node is ready")?;
    close_stdout()?;
    thread::sleep(asked.ttl);
    complain!("the node's time to live is over");
    Ok(())
}

fn cluster() -> Result<()> {
    components::first().into_iter().for_each(Component::keep);
    wait(60, "containerd", || Ok(UnixStream::connect(CONTAINERD).is_ok()))?;
    images::import_own().context("importing the node's own images")?;
    let kubeconfig = certificates().file("admin.kubeconfig");
    wait(300, "kube-apiserver", || {
        let listens = TcpStream::connect((NODE_ADDRESS, network::PORT)).is_ok();
        Ok(listens && is_ready("kubectl".as_ref(), &kubeconfig)?)
    })?;
    components::second().into_iter().for_each(Component::keep);
    wait(180, "the node", || {
        let path = r#"-o=jsonpath={.items[*].status.conditions[?(@.type=="Ready")].status}"#;
        Ok(said(&kubeconfig, &["get", "nodes", path])? == "True")
    })?;
    wait(60, "the account of pods", || {
        Ok(!said(&kubeconfig, &["get", "serviceaccount", "default", "-o=name"])?.is_empty())
    })
}

/// What kubectl prints; nothing where it fails.
fn said(kubeconfig: &Path, arguments: &[&str]) -> Result<String> {
    let output = Command::new("kubectl")
        .arg("--kubeconfig")
        .arg(kubeconfig)
        .args(arguments)
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output()
        .context("starting kubectl")?;
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

fn wait(seconds: u64, what: &str, mut is_so: impl FnMut() -> Result<bool>) -> Result<()> {
    let begin = Instant::now();
    while !is_so()? {
        ensure!(
            begin.elapsed() < Duration::from_secs(seconds),
            "{what} is not ready after {seconds} s"
        );
        thread::sleep(Duration::from_millis(100));
    }
    complain!("{what}: ready after {:.1} s", begin.elapsed().as_secs_f32());
    Ok(())
}
