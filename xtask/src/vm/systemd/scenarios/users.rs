//! Sessions, units and containers of users, and containers of root's in a slice.

use anyhow::{Result, ensure};

use crate::vm::systemd::stage::Stage;

/// Calls the refused server, then the registered one.
const CALL: &str = "machine call --within 1000 /run/calls";

/// A session, a unit of the user's and what she may ask for are enforced.
pub(super) fn users(stage: &mut Stage) -> Result<String> {
    stage.forget()?;
    let addresses = "198.51.100.20:9005 198.51.100.10:9005";
    stage.run_as(
        "alice",
        &format!(
            "set -eu
            {CALL} session {addresses}
            systemd-run --user --quiet --wait {CALL} user-unit {addresses}
            systemd-run --user --quiet --scope {CALL} user-scope {addresses}
            loginctl enable-linger
            systemctl --user --quiet enable --now agent"
        ),
    )?;
    // Without asking for more privileges, nobody leaves by asking systemd.
    let asked = stage.run_as(
        "alice",
        &format!("! systemd-run --no-ask-password --wait {CALL} system-unit {addresses} 2>/dev/null"),
    );
    ensure!(asked.is_ok(), "alice may start units of the system");
    let tally = stage.enforced(&["session", "user-unit", "user-scope"])?;
    Ok(format!("session, unit, scope: {tally}"))
}

/// Containers in a slice, of a user without privileges, of a service, and of Docker.
pub(super) fn containers(stage: &mut Stage) -> Result<String> {
    stage.forget()?;
    stage.run("systemctl enable container.service && systemctl start container.service")?;
    let of_root = stage.enforced(&["container"])?;
    stage.forget()?;
    stage.run_as(
        "bob",
        "set -eu
        podman import --quiet --change 'ENTRYPOINT [\"/machine\"]' /tmp/container.tar machine:1
        podman run --rm --volume /run/calls:/calls machine:1 call --within 3000 /calls rootless \
            198.51.100.20:9008 198.51.100.10:9008",
    )?;
    let of_bob = stage.enforced(&["rootless"])?;
    stage.forget()?;
    stage.run("systemctl start quadlet.service")?;
    let of_file = stage.enforced(&["quadlet"])?;
    stage.forget()?;
    // Its bridge is not there, so that it changes nothing for others.
    stage.run(
        "mkdir -p /etc/docker; echo '{\"bridge\": \"none\", \"iptables\": false}' > /etc/docker/daemon.json
        systemctl start docker.service
        docker import --change 'ENTRYPOINT [\"/machine\"]' /tmp/container.tar machine:1
        docker run --rm --network host --cgroup-parent=containers.slice --volume /run/calls:/calls machine:1 \
            call --within 3000 /calls docker 198.51.100.20:9012 198.51.100.10:9012
        systemctl stop docker.service docker.socket containerd.service",
    )?;
    let of_docker = stage.enforced(&["docker"])?;
    Ok(format!(
        "podman of root: {of_root}; of a user: {of_bob}; by Quadlet: {of_file}; Docker: {of_docker}"
    ))
}
