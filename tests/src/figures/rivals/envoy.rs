//! A real Envoy to which every call out is redirected, as Istio does it to a pod with a sidecar.

use std::{
    net::TcpStream,
    path::Path,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};

use super::servers::server;
use crate::{
    fixture::tied,
    mesh::{Bootstrap, Capture, PROXY, Upstream},
};

/// Where Envoy takes what is redirected.
const OUTBOUND: &str = "127.0.0.1:15001";

/// How long it may take to start.
const PATIENCE: Duration = Duration::from_secs(20);

/// Starts `binary` in this thread's network with so many workers, each of them with a server that may be called.
pub(super) fn start(binary: &Path, workers: usize) -> Result<Child> {
    let mut bootstrap = Bootstrap::sidecar(&Upstream::BlackHole, false);
    for index in 0..workers {
        let at = server(index);
        bootstrap = bootstrap.redirected(&format!("server-{index}"), &at.to_string(), &Upstream::Static(at));
    }
    let process = tied("setpriv")
        // Its group tells it from who is redirected; the user stays, who may read its binary.
        .args(["--regid", &PROXY.to_string(), "--clear-groups"])
        .arg(binary)
        .args([
            "--disable-hot-restart",
            "--log-level",
            "error",
            "--concurrency",
            &workers.to_string(),
        ])
        .args(["--config-yaml", &bootstrap.text()])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .context("starting Envoy")?;
    wait()?;
    let script = Capture::Redirect.script();
    let redirected = Command::new("sh").args(["-ec", &script]).output()?;
    let said = String::from_utf8_lossy(&redirected.stderr);
    ensure!(
        redirected.status.success(),
        "redirecting to Envoy: {}",
        said.trim()
    );
    Ok(process)
}

fn wait() -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match TcpStream::connect(OUTBOUND) {
            Ok(_) => return Ok(()),
            Err(_) if Instant::now() < deadline => thread::sleep(Duration::from_millis(20)),
            Err(error) => return Err(error).context("Envoy does not start"),
        }
    }
}
