//! The guard: ends what is left of a sandbox once its supervisor has ended, however that was.
//!
//! The supervisor holds the other end of its input. It has its own cgroup and session, and no signal ends it but SIGKILL,
//! so that what ends the supervisor does not end it too.

use std::{
    fs,
    io::{self, Read as _},
};

use anyhow::{Context as _, Result};
use nix::unistd::setsid;

use super::{Place, clean, signals::forwarded};

/// How readily the kernel ends it where memory is short: last.
const OOM: &str = "-1000";

/// Puts this process where nothing that is meant for the caller reaches it.
pub(crate) fn settle(place: &Place) -> Result<()> {
    let cgroup = place.below_mount(&place.guard());
    fs::write(cgroup.join("cgroup.procs"), "0").with_context(|| format!("joining {}", cgroup.display()))?;
    setsid().context("beginning a session")?;
    forwarded().thread_block().context("blocking signals")?;
    std::env::set_current_dir("/").context("leaving the caller's folder")
}

/// Waits for the end of the supervisor, and takes everything away.
pub(crate) fn guard(place: &Place) -> Result<()> {
    settle(place)?;
    // A container may not let it.
    fs::write("/proc/self/oom_score_adj", OOM).ok();
    io::stdin()
        .read_to_end(&mut Vec::new())
        .context("waiting for the supervisor's end")?;
    clean::take_away_and_leave(place)
}
