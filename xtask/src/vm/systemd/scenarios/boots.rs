//! Boots, with an enforcer that starts and with one that does not.

use anyhow::{Result, ensure};

use super::{
    install::CONFIGURATION,
    modes::{FAILS, PROGRAM},
};
use crate::vm::systemd::stage::Stage;

/// Every app that starts with the machine is enforced from its first instruction.
pub(super) fn boot(stage: &mut Stage) -> Result<String> {
    stage.reboot()?;
    let status = stage.run("enforcer status")?;
    ensure!(status.contains("enforcement: proven"), "{status}");
    let tally = stage.tally()?.holds()?;
    // Those that wait for the announcement are served at once.
    let calls = stage.run("cat /run/calls")?;
    for name in ["app", "worker-1", "worker-2", "tool"] {
        let reached = format!("{name} 198.51.100.10:900");
        ensure!(
            calls
                .lines()
                .any(|line| line.starts_with(&reached) && line.ends_with(" reached")),
            "{name} was not served:\n{calls}"
        );
        ensure!(
            !calls
                .lines()
                .any(|line| line.starts_with(&reached) && !line.ends_with(" reached")),
            "{name} was refused what is registered:\n{calls}"
        );
    }
    // And those that do not, from then on.
    let again = stage.restart(1)?.holds_and_serves()?;
    Ok(format!("{tally}; then {again}"))
}

/// Addresses of names are kept over a boot with which no resolver comes up.
pub(super) fn boot_unresolved(stage: &mut Stage) -> Result<String> {
    let call = "systemd-run --quiet --pipe --wait --slice frontend.slice \
                machine call --within 1000 - kept 198.51.100.10:9010 198.51.100.20:9010";
    let before = stage.run(call)?;
    stage.run("systemctl disable --now outside-names")?;
    stage.reboot()?;
    let answer = stage.try_run("resolvectl query kept.good.example.com")?;
    let after = stage.run(call)?;
    stage.run("systemctl enable --now outside-names")?;
    ensure!(before.contains("198.51.100.10:9010 reached"), "{before}");
    ensure!(answer.code != Some(0), "the name resolves: {}", answer.text);
    ensure!(
        after.contains("198.51.100.10:9010 reached") && after.contains("198.51.100.20:9010 errno-1"),
        "after the boot: {after}"
    );
    Ok("an address that was resolved before counts".into())
}

/// Where the enforcer's program fails, nothing that is configured gets out.
pub(super) fn boot_failed(stage: &mut Stage) -> Result<String> {
    boot_without(stage, (PROGRAM, FAILS))
}

/// Nor where its configuration has a mistake, which the generator meets too.
pub(super) fn boot_misconfigured(stage: &mut Stage) -> Result<String> {
    let wrong = format!("{}nonsense: true", stage.run(&format!("cat {CONFIGURATION}"))?);
    boot_without(stage, (CONFIGURATION, &wrong))
}

/// Boots with another text in a file, with which the enforcer does not start. The machine boots all the same.
fn boot_without(stage: &mut Stage, (file, text): (&str, &str)) -> Result<String> {
    stage.spoil(file, text)?;
    stage.reboot()?;
    stage.run_as(
        "alice",
        "machine call --within 1000 /run/calls session 198.51.100.20:9005 198.51.100.10:9005",
    )?;
    let tally = stage.tally()?;
    let active =
        stage.try_run("systemctl is-active app.service worker@1.service steady.service other.service")?;
    stage.restore(file)?;
    stage.run("systemctl restart enforcer && enforcer in-force && systemctl start app.service")?;
    tally.holds()?;
    ensure!(tally.accepted == 0, "{} accepts with no enforcer", tally.accepted);
    ensure!(
        tally.others > 0,
        "the service that nobody enforces reaches nothing"
    );
    let states: Vec<_> = active.text.lines().collect();
    ensure!(
        states == ["inactive", "inactive", "active", "active"],
        "{states:?}"
    );
    let again = stage.restart(1)?.holds_and_serves()?;
    Ok(format!("{tally}; once it starts: {again}"))
}
