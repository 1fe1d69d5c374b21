//! Services that are started anew while the enforcer runs, is stopped, is dead, cannot start, is told nonsense.

use anyhow::{Result, ensure};

use super::install::CONFIGURATION;
use crate::vm::systemd::stage::{Stage, Tally};

/// How often each of the services is started in each of the modes.
pub(super) const ROUNDS: usize = 20;

/// The daemon's file.
pub(super) const PROGRAM: &str = "/usr/local/sbin/enforcer";

/// What takes its place, where it is to fail.
pub(super) const FAILS: &str = "#!/bin/sh\nexit 1";

/// In seconds, from `systemctl restart` to its error.
const SOON: f32 = 10.0;

pub(super) fn started(stage: &mut Stage) -> Result<String> {
    Ok(stage.restart(ROUNDS)?.holds_and_serves()?.to_string())
}

pub(super) fn stopped(stage: &mut Stage) -> Result<String> {
    stage.run("systemctl stop enforcer")?;
    let tally = stage.restart(ROUNDS)?.holds_and_serves();
    stage.run("systemctl start enforcer")?;
    Ok(tally?.to_string())
}

/// Killed at every start of the services, so that they start before, while and after it comes back.
pub(super) fn killed(stage: &mut Stage) -> Result<String> {
    stage.forget()?;
    let mut total = Tally::default();
    for _ in 0..ROUNDS {
        stage.run("systemctl kill --signal KILL --kill-whom main enforcer || true")?;
        let tally = stage.restart(1)?.holds_and_serves()?;
        total.tried += tally.tried;
        total.accepted += tally.accepted;
    }
    stage.run("systemctl start enforcer && enforcer status")?;
    Ok(total.to_string())
}

/// A daemon that ends as soon as it starts changes nothing about what is in force.
pub(super) fn failed(stage: &mut Stage) -> Result<String> {
    stage.spoil(PROGRAM, FAILS)?;
    let outcome = stage.try_run("systemctl restart enforcer");
    let tally = stage.restart(ROUNDS)?.holds_and_serves();
    stage.restore(PROGRAM)?;
    stage.run("systemctl restart enforcer && enforcer status")?;
    ensure!(
        outcome?.code != Some(0),
        "a start is announced where the program fails"
    );
    Ok(tally?.to_string())
}

/// A mistake ends a start at once with its line, and a reload changes nothing.
pub(super) fn misconfigured(stage: &mut Stage) -> Result<String> {
    stage.spoil(CONFIGURATION, "workloads:\n- {namespace: shop, unit: app.socket}")?;
    let reloaded = stage.try_run("systemctl reload enforcer")?;
    let proven = stage.try_run("enforcer status")?;
    let tally = stage.restart(ROUNDS / 2)?.holds_and_serves();
    let begin = std::time::Instant::now();
    let restarted = stage.try_run("systemctl restart enforcer")?;
    let took = begin.elapsed().as_secs_f32();
    let again = stage.restart(ROUNDS / 2)?.holds_and_serves();
    let said = stage.run("journalctl --boot --unit enforcer --output cat --no-pager --lines 40")?;
    stage.restore(CONFIGURATION)?;
    stage.run("systemctl restart enforcer && enforcer status")?;
    ensure!(
        proven.text.contains("enforcement: proven"),
        "after a reload that fails: {}",
        proven.text
    );
    ensure!(
        restarted.code != Some(0),
        "a start is announced where the configuration is wrong"
    );
    ensure!(took < SOON, "a mistake is told after {took:.1} s");
    ensure!(
        said.contains("enforcer.yaml:2"),
        "the journal does not say which line is wrong:\n{said}"
    );
    Ok(format!(
        "reload {}, restart fails after {took:.1} s; {}, then {}",
        if reloaded.code == Some(0) {
            "announced"
        } else {
            "refused"
        },
        tally?,
        again?
    ))
}

/// What is added to the configuration is in force when the reload returns.
pub(super) fn reload(stage: &mut Stage) -> Result<String> {
    let call = "systemd-run --quiet --pipe --wait --slice late.slice \
                machine call --within 1000 - late 198.51.100.20:9007 198.51.100.10:9007";
    stage.run(&format!(
        "printf '%s\\n' '- {{namespace: shop, slice: late.slice}}' >> {CONFIGURATION}"
    ))?;
    let status = stage.run("enforcer status")?;
    ensure!(
        status.contains("changed on disk"),
        "the status does not say that the file differs:\n{status}"
    );
    stage.type_in("Changing the configuration")?;
    let called = stage.run(call)?;
    ensure!(
        called.contains(":9007 errno-1") && called.contains("198.51.100.10:9007 reached"),
        "{called}"
    );
    Ok("a slice that is added is enforced".into())
}

/// A unit that runs already is named at once, keeps nothing else waiting, and is enforced from its restart on.
pub(super) fn added(stage: &mut Stage) -> Result<String> {
    stage.forget()?;
    stage.write(
        "/run/systemd/system/late.service",
        "[Service]\nExecStart=/usr/local/bin/machine call --until-ended --within 1000 /run/calls late 198.51.100.20:9009",
    )?;
    stage.run(&format!(
        "systemctl daemon-reload; systemctl start late
        printf '%s\\n' '- {{namespace: shop, unit: late.service}}' >> {CONFIGURATION}"
    ))?;
    let begin = std::time::Instant::now();
    let reloaded = stage.type_in("Changing the configuration");
    let took = begin.elapsed().as_secs_f32();
    let said = stage.run("journalctl --boot --unit enforcer-in-force --output cat --no-pager --lines 20")?;
    let status = stage.try_run("enforcer status")?;
    // Others wait for nothing.
    stage.run("systemctl restart app.service")?;
    // Cgroups are looked at every 2 s.
    let proven =
        "for i in $(seq 100); do enforcer status >/dev/null && break; sleep 0.2; done; enforcer status";
    stage.run(&format!("systemctl restart late.service; {proven}"))?;
    let refused = "for i in $(seq 100); do grep -q '^late .* errno-1$' /run/calls && break; sleep 0.2; done; cat /run/calls";
    let calls = stage.run(refused)?;
    ensure!(
        reloaded.is_err(),
        "the reload says nothing of a unit that runs unenforced"
    );
    ensure!(took < SOON * 3.0, "the reload takes {took:.1} s");
    ensure!(
        said.contains("late.service") && status.text.contains("late.service"),
        "{said}\n{}",
        status.text
    );
    ensure!(
        status.code == Some(1),
        "the status is {:?}:\n{}",
        status.code,
        status.text
    );
    ensure!(
        calls
            .lines()
            .any(|line| line == "late 198.51.100.20:9009 reached")
            && calls
                .lines()
                .any(|line| line == "late 198.51.100.20:9009 errno-1"),
        "{calls}"
    );
    Ok(format!("named after {took:.1} s, enforced from its restart on"))
}
