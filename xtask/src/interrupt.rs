//! Ctrl-C and the like: whatever waits ends, and what was made is taken away on the way out.

use std::{
    process::{Child, ExitStatus},
    sync::{
        Arc, LazyLock,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

static HAS_COME: LazyLock<Arc<AtomicBool>> = LazyLock::new(Arc::default);

/// Between two looks at a process.
const PAUSE: Duration = Duration::from_millis(20);

/// From here on signals end only what waits.
pub(crate) fn catch() -> Result<()> {
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        signal_hook::flag::register(signal, Arc::clone(&HAS_COME)).context("catching signals")?;
    }
    Ok(())
}

pub(crate) fn has_come() -> bool {
    HAS_COME.load(Ordering::Relaxed)
}

/// Waits for the process; ends it when a signal comes or at the deadline.
///
/// # Errors
/// If it was ended.
pub(crate) fn wait(child: &mut Child, deadline: Instant) -> Result<ExitStatus> {
    loop {
        if let Some(status) = child.try_wait().context("waiting for a process")? {
            return Ok(status);
        }
        let is_late = Instant::now() > deadline;
        if is_late || has_come() {
            child
                .kill()
                .and_then(|()| child.wait())
                .context("ending a process")?;
            bail!(if is_late {
                "it took too long"
            } else {
                "interrupted"
            });
        }
        thread::sleep(PAUSE);
    }
}

/// A moment between two tries.
///
/// # Errors
/// If a signal has come.
pub(crate) fn pause() -> Result<()> {
    thread::sleep(PAUSE * 25);
    if has_come() {
        bail!("interrupted");
    }
    Ok(())
}
