//! What `enforcer-in-force.service` does: waits until enforcement is proven, and lets out what waits for that.

use std::{
    collections::BTreeSet,
    process::ExitCode,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};

use super::{InForce, out};
use crate::{
    config::{Config, SliceName},
    control::{self, Status},
    systemd::{drop_ins, gates},
};

/// How long a start may take, the slowest of machines included.
const PATIENCE: Duration = Duration::from_secs(90);

/// How often the enforcer is asked.
const GLANCE: Duration = Duration::from_millis(200);

/// Succeeds if enforcement is in force wherever it should be, and every gate is lifted. A root that is not keeps no other
/// waiting for ever, nor does a slice that systemd does not start.
pub(super) fn run(arguments: &InForce) -> Result<ExitCode> {
    let config = Config::load(&arguments.config)?;
    let placements = config.placements();
    let gated = drop_ins::gated(&placements);
    // Those that a changed configuration has added are started by nobody else.
    let started = gates::start(&drop_ins::kept(&placements));
    let (status, are_all) = wait(&config, &gated)?;
    let enforced = gates::enforced(&gated, &status);
    let mut outcome = started;
    for slice in &enforced {
        outcome = outcome.and(gates::lift(slice).with_context(|| format!("letting {} out", slice.as_str())));
    }
    let mut misplaced = status.misplaced.clone();
    for (unit, problem) in gates::misplaced(&placements) {
        if !misplaced.iter().any(|known| known.contains(&unit)) {
            misplaced.push(problem);
        }
    }
    for problem in &misplaced {
        out::complain(format_args!("error: {problem}"));
    }
    if are_all {
        gates::remember()?;
        outcome?;
        let is_wrong = arguments.placed && !misplaced.is_empty();
        return Ok(if is_wrong {
            ExitCode::FAILURE
        } else {
            ExitCode::SUCCESS
        });
    }
    for problem in status
        .problems
        .iter()
        .filter(|problem| !misplaced.contains(problem))
    {
        out::complain(format_args!("error: enforcement is not proven: {problem}"));
    }
    for slice in gated.difference(&enforced) {
        out::complain(format_args!(
            "error: nothing gets out of {}: the enforcer that runs does not enforce it; `systemctl reload enforcer` takes \
             up a changed configuration, then `systemctl start enforcer-in-force`",
            slice.as_str()
        ));
    }
    outcome?;
    Ok(ExitCode::FAILURE)
}

/// How everything stands once it is enforced, or when it has not become so in time, and which of both.
fn wait(config: &Config, gated: &BTreeSet<SliceName>) -> Result<(Status, bool)> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let start = Instant::now();
    loop {
        let answer = runtime.block_on(control::ask(&config.state));
        let is_late = start.elapsed() >= PATIENCE;
        match answer {
            Ok(status) if is_enforced(&status, gated) => return Ok((status, true)),
            Ok(status) if is_late => return Ok((status, false)),
            Err(error) if is_late => return Err(error.context("enforcement is not in force")),
            Ok(_) | Err(_) => std::thread::sleep(GLANCE),
        }
    }
}

/// Whether everything is enforced, units that run elsewhere until they are restarted left aside, and the enforcer knows
/// every slice that waits.
fn is_enforced(status: &Status, gated: &BTreeSet<SliceName>) -> bool {
    status.in_force && gates::enforced(gated, status) == *gated
}
