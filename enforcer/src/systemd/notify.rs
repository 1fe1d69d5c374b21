//! Tells systemd when enforcement is proven, how it stands, and that the enforcer is alive (`sd_notify(3)`).

use std::time::Duration;

use anyhow::Result;
use sd_notify::NotifyState;
use tokio_util::sync::CancellationToken;

use crate::{
    control::{Ports, Status},
    report::escape::Line,
};

/// How often it is looked whether enforcement is proven, before it is.
const GLANCE: Duration = Duration::from_millis(100);

/// How often the status is told afterwards, unless the watchdog wants it more often.
const PAUSE: Duration = Duration::from_secs(10);

/// Tells systemd until `cancel`. Without systemd, or where it does not ask, nothing is told.
///
/// # Errors
/// If the owner is gone.
pub(crate) async fn run(ports: Ports, cancel: CancellationToken) -> Result<()> {
    if std::env::var_os("NOTIFY_SOCKET").is_none() {
        cancel.cancelled().await;
        return Ok(());
    }
    let watchdog = sd_notify::watchdog_enabled().map(|limit| limit / 4);
    let pause = watchdog.map_or(PAUSE, |limit| limit.min(PAUSE));
    let mut is_ready = false;
    loop {
        let gathered = tokio::select! {
            gathered = ports.gather() => gathered,
            () = cancel.cancelled() => break,
        };
        let status = match gathered {
            Ok(status) => status,
            // At the end of the process, its tasks end one by one.
            Err(_) if cancel.is_cancelled() => break,
            Err(error) => return Err(error),
        };
        let line = line(&status);
        // Who has answered is alive.
        let mut states = vec![NotifyState::Status(&line), NotifyState::Watchdog];
        if status.in_force && !is_ready {
            is_ready = true;
            states.push(NotifyState::Ready);
        }
        tell(&states);
        tokio::select! {
            () = tokio::time::sleep(if is_ready { pause } else { GLANCE }) => {}
            () = cancel.cancelled() => break,
        }
    }
    tell(&[
        NotifyState::Stopping,
        NotifyState::Status("the enforcer ends; what is pinned stays in force"),
    ]);
    Ok(())
}

/// The configuration is read again.
pub(crate) fn reloading() {
    let mut states = vec![NotifyState::Reloading];
    states.extend(NotifyState::monotonic_usec_now().ok());
    tell(&states);
}

/// It was, and is in force or was refused.
pub(crate) fn reloaded() {
    tell(&[NotifyState::Ready]);
}

/// If systemd cannot be told, it finds out by itself, and enforcement is not affected.
fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!("systemd cannot be told how the enforcer stands: {error}");
    }
}

/// What `systemctl status` shows.
fn line(status: &Status) -> String {
    let line = match (status.proven, status.problems.split_first()) {
        (true, _) => format!("enforcement is proven, mode {}", status.mode),
        (false, None) => "NOT PROVEN".to_owned(),
        (false, Some((first, []))) => format!("NOT PROVEN: {first}"),
        (false, Some((first, rest))) => format!("NOT PROVEN: {first} (and {} more)", rest.len()),
    };
    Line(line).to_string()
}
