//! From nothing to enforced, to another version, and to nothing.

use anyhow::{Result, ensure};

use crate::vm::systemd::stage::{SERVICES, Stage};

/// Where the configuration is.
pub(super) const CONFIGURATION: &str = "/etc/enforcer/enforcer.yaml";

/// The workloads of this machine, each named as systemd names it.
const WORKLOADS: &str = include_str!("../workloads.yaml");
/// What they may reach.
pub(super) const REGISTRY: &str = include_str!("../registry.yaml");

/// The page's commands start the enforcer with the example's configuration, in audit mode.
pub(super) fn install(stage: &mut Stage) -> Result<String> {
    stage.type_in("Installing on a machine")?;
    let status = stage.run("enforcer status")?;
    ensure!(status.contains("enforcement: proven  (mode audit"), "{status}");
    // Then the owner writes what this machine has.
    stage.write(CONFIGURATION, WORKLOADS)?;
    stage.write("/etc/enforcer/registry/good.yaml", REGISTRY)?;
    stage.type_in("Changing the configuration")?;
    stage.run(&format!(
        "systemctl enable --now {} steady.service other.service",
        quoted()
    ))?;
    Ok("the example starts, in audit mode".into())
}

/// Everything is let through, and the journal says what would not be.
pub(super) fn audit(stage: &mut Stage) -> Result<String> {
    let tally = stage.restart(1)?;
    ensure!(tally.escaped > 0 && tally.refused == 0, "{tally}");
    let said = stage.run("journalctl --boot --unit enforcer --output cat --no-pager")?;
    for name in ["app", "worker", "tool", "frontend"] {
        ensure!(
            said.lines().any(|line| line.contains("would deny")
                && line.contains(name)
                && line.contains("198.51.100.20")),
            "nothing in the journal says what would be refused to {name}:\n{said}"
        );
    }
    Ok(format!("{tally}, reported"))
}

/// From the page's commands on, nothing is let through that is not registered.
pub(super) fn enforce(stage: &mut Stage) -> Result<String> {
    stage.type_in("Enforcing on a machine")?;
    stage.expect(true);
    let status = stage.run("enforcer status")?;
    ensure!(status.contains("enforcement: proven  (mode enforce"), "{status}");
    let tally = stage.restart(1)?.holds_and_serves()?;
    stage.run("systemctl restart other.service")?;
    ensure!(
        stage.tally()?.others > 0,
        "the service that nobody enforces reaches nothing"
    );
    Ok(tally.to_string())
}

/// Another file of the same version takes the place of the one that runs.
pub(super) fn upgrade(stage: &mut Stage) -> Result<String> {
    let process = "systemctl show --property MainPID --value enforcer";
    let before = stage.run(process)?;
    stage.forget()?;
    stage.type_in("Upgrading on a machine")?;
    ensure!(stage.run(process)? != before, "the process {before} still runs");
    let tally = stage.restart(5)?.holds_and_serves()?;
    Ok(tally.to_string())
}

/// Nothing is left, and nothing is refused.
pub(super) fn uninstall(stage: &mut Stage) -> Result<String> {
    stage.type_in("Uninstalling from a machine")?;
    stage.expect(false);
    let left = stage.run(include_str!("../left.sh"))?;
    ensure!(left.is_empty(), "this is left:\n{left}");
    let tally = stage.restart(1)?;
    ensure!(
        tally.escaped >= SERVICES.split(' ').count() && tally.refused == 0,
        "{tally}, {} refused",
        tally.refused
    );
    Ok("nothing is left".into())
}

/// The configuration of this machine, where it is enforced from the beginning.
pub(super) fn enforced() -> String {
    WORKLOADS.replace("\nmode: audit\n", "\nmode: enforce\n")
}

/// The services, for a shell.
pub(super) fn quoted() -> String {
    format!("'{}'", SERVICES.replace(' ', "' '"))
}
