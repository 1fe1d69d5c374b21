//! What systemd is told by `sd_notify(3)`.

use std::os::unix::net::UnixDatagram;

use anyhow::{Context as _, Result};
use nix::sys::signal::Signal;
use tests::{
    daemon::{PATIENCE, Place},
    fixture::{in_own_network, need_root},
};

const BINARY: &str = env!("CARGO_BIN_EXE_enforcer-test");

const CONFIG: &str = "workloads:\n- {namespace: default, name: app, cgroup: $CGROUP/default}\n";

/// What is told until something is.
fn until(socket: &UnixDatagram, wanted: &str) -> Result<Vec<String>> {
    let mut told: Vec<String> = Vec::new();
    let mut message = [0; 4096];
    while !told.iter().any(|line| line == wanted) {
        let length = socket
            .recv(&mut message)
            .with_context(|| format!("{wanted} is not among {told:?}"))?;
        let text = String::from_utf8(message[..length].to_vec())?;
        told.extend(text.lines().map(str::to_owned));
    }
    Ok(told)
}

#[test]
fn systemd_is_told_of_the_proof_a_reload_and_the_end() {
    let claim = || {
        need_root()?;
        let mut place = Place::new(BINARY, CONFIG)?;
        let path = place.folder.path().join("notify");
        let socket = UnixDatagram::bind(&path)?;
        socket.set_read_timeout(Some(PATIENCE))?;
        let path = path.display().to_string();
        place.environment.insert("NOTIFY_SOCKET".to_owned(), path);
        let mut daemon = place.start(&["--ephemeral"])?;
        let told = until(&socket, "READY=1")?;
        let is_status = |line: &&String| line.starts_with("STATUS=");
        assert!(
            told.iter()
                .find(is_status)
                .is_some_and(|line| line.contains("NOT PROVEN"))
        );
        assert!(place.status()?.1.in_force, "it is ready once it is in force");
        daemon.signal(Signal::SIGHUP)?;
        let told = until(&socket, "RELOADING=1")?;
        assert!(
            told.iter().any(|line| line.starts_with("MONOTONIC_USEC=")),
            "Type=notify-reload needs it: {told:?}"
        );
        until(&socket, "READY=1")?;
        daemon.end(Signal::SIGTERM)?;
        until(&socket, "STOPPING=1")?;
        Ok(())
    };
    let claimed: Result<()> = in_own_network(claim);
    claimed.unwrap();
}
