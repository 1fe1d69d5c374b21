//! The Debian package, from its installation to its purge: what it does by itself, and what it leaves to the owner.

use anyhow::{Result, ensure};

use super::install::CONFIGURATION;
use crate::vm::systemd::stage::{PACKAGE, Stage};

/// The process of a service that nothing has a reason to stop.
const STEADY: &str = "systemctl show --property MainPID --value steady.service";

/// Installed, it does nothing; enabled, it enforces; replaced, it goes on enforcing; removed, it leaves nothing in force.
pub(super) fn package(stage: &mut Stage) -> Result<String> {
    if stage.try_run("test -e /usr/local/sbin/enforcer")?.code == Some(0) {
        // What is installed by hand takes precedence over a package.
        stage.type_in("Uninstalling from a machine")?;
    }
    stage.expect(false);
    stage.run("systemctl start steady.service")?;
    let steady = stage.run(STEADY)?;
    installed(stage)?;
    let tally = enabled(stage)?;
    let again = replaced(stage)?;
    removed(stage)?;
    ensure!(
        stage.run(STEADY)? == steady,
        "a service that has nothing to do with it was restarted"
    );
    Ok(format!("{tally}; replaced: {again}; nothing is left"))
}

/// Nothing is started or enabled, and nothing is refused.
fn installed(stage: &mut Stage) -> Result<()> {
    let said = stage.run(&format!("dpkg --install {PACKAGE}"))?;
    ensure!(said.contains("nothing is enforced yet"), "{said}");
    for unit in ["enforcer.service", "enforcer-in-force.service"] {
        let state = stage.try_run(&format!(
            "systemctl is-active {unit}; systemctl is-enabled {unit}"
        ))?;
        ensure!(
            state.text.lines().eq(["inactive", "disabled"]),
            "{unit} after the installation: {}",
            state.text
        );
    }
    let written = stage.run("find /run/systemd/generator* -path '*enforcer*'")?;
    ensure!(written.is_empty(), "the generator has written {written}");
    let tally = stage.restart(1)?;
    ensure!(tally.escaped > 0 && tally.refused == 0, "{tally}");
    // What an owner looks for.
    stage.run("enforcer completions bash | cmp - /usr/share/bash-completion/completions/enforcer")?;
    stage.run(&format!("enforcer check --config {CONFIGURATION}"))?;
    Ok(())
}

/// With the owner's configuration, the two units are all that it takes.
fn enabled(stage: &mut Stage) -> Result<String> {
    stage.write(CONFIGURATION, &super::install::enforced())?;
    stage.write("/etc/enforcer/registry/good.yaml", super::install::REGISTRY)?;
    stage
        .run("systemctl daemon-reload; systemctl enable --now enforcer.service enforcer-in-force.service")?;
    let status = stage.run("enforcer status")?;
    ensure!(status.contains("enforcement: proven  (mode enforce"), "{status}");
    stage.expect(true);
    Ok(stage.restart(1)?.holds_and_serves()?.to_string())
}

/// The daemon is another process, the owner's configuration is the same, and nothing has escaped meanwhile.
fn replaced(stage: &mut Stage) -> Result<String> {
    let process = "systemctl show --property MainPID --value enforcer";
    let before = stage.run(process)?;
    let configuration = stage.run(&format!("cat {CONFIGURATION}"))?;
    stage.run(&format!("dpkg --install --force-confold {PACKAGE}"))?;
    ensure!(stage.run(process)? != before, "the process {before} still runs");
    ensure!(
        stage.run(&format!("cat {CONFIGURATION}"))? == configuration,
        "the owner's configuration was replaced"
    );
    let status = stage.run("enforcer status")?;
    ensure!(status.contains("enforcement: proven  (mode enforce"), "{status}");
    Ok(stage.restart(1)?.holds_and_serves()?.to_string())
}

/// Removed, it ends enforcement and keeps the configuration; purged, nothing of it is there.
fn removed(stage: &mut Stage) -> Result<()> {
    stage.run("dpkg --remove enforcer")?;
    stage.expect(false);
    stage.run(&format!("test -f {CONFIGURATION}"))?;
    let tally = stage.restart(1)?;
    ensure!(
        tally.escaped > 0 && tally.refused == 0,
        "after the removal: {tally}, {} refused",
        tally.refused
    );
    stage.run("rm /etc/enforcer/registry/good.yaml; dpkg --purge enforcer")?;
    let left = stage.run(include_str!("../left.sh"))?;
    ensure!(left.is_empty(), "this is left:\n{left}");
    Ok(())
}
