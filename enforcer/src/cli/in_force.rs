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

/// Succeeds if enforcement is proven, and every gate is lifted. A root that is not keeps no other waiting for ever.
pub(super) fn run(arguments: &InForce) -> Result<ExitCode> {
    let config = Config::load(&arguments.config)?;
    let placements = config.placements();
    let gated = drop_ins::gated(&placements);
    // Those that a changed configuration has added are started by nobody else.
    gates::start(&drop_ins::kept(&placements))?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let start = Instant::now();
    let (status, are_all) = loop {
        let answer = runtime.block_on(control::ask(&config.state));
        let is_late = start.elapsed() >= PATIENCE;
        match answer {
            Ok(status) if is_enforced(&status, &gated) => break (status, true),
            Ok(status) if is_late => break (status, false),
            Err(error) if is_late => return Err(error.context("enforcement is not in force")),
            Ok(_) | Err(_) => std::thread::sleep(GLANCE),
        }
    };
    let enforced = gates::enforced(&gated, &status);
    let mut outcome = Ok(());
    for slice in &enforced {
        outcome = outcome.and(gates::lift(slice).with_context(|| format!("letting {} out", slice.as_str())));
    }
    outcome?;
    if are_all {
        gates::remember()?;
        return Ok(ExitCode::SUCCESS);
    }
    for problem in &status.problems {
        out::complain(format_args!("error: enforcement is not proven: {problem}"));
    }
    for slice in gated.difference(&enforced) {
        out::complain(format_args!(
            "error: nothing gets out of {}: the enforcer that runs does not enforce it; `systemctl reload enforcer` takes \
             up a changed configuration",
            slice.as_str()
        ));
    }
    Ok(ExitCode::FAILURE)
}

/// Whether everything is proven, and the enforcer knows every slice that waits.
fn is_enforced(status: &Status, gated: &BTreeSet<SliceName>) -> bool {
    status.proven && gates::enforced(gated, status) == *gated
}
