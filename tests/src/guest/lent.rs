//! Whether a socket from outside is told of where it is let through on trial.

use std::{fs, io, os::fd::AsRawFd as _, time::Duration};

use anyhow::{Context as _, Result, bail, ensure};
use enforcer::datapath::{CgroupMount, Datapath, Events};
use enforcer_common::{Hook, Verdict};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, SockaddrIn, connect, socket};
use tokio::{sync::mpsc, time::timeout};

use crate::fixture::{TestCgroup, in_own_network};

/// How long an event may be on its way.
const PATIENCE: Duration = Duration::from_secs(5);

/// Connects a socket that was made outside from inside `root`, and waits until BPF LSM has told of it; `datapath`
/// enforces there, and unknown workloads are on trial.
pub(super) fn is_told(_datapath: &Datapath, events: Events, root: &TestCgroup) -> Result<()> {
    let home = CgroupMount::find()?.path().join("cgroup.procs");
    in_own_network(|| {
        let outside = socket(
            AddressFamily::Inet,
            SockType::Stream,
            SockFlag::SOCK_CLOEXEC,
            None,
        )?;
        fs::write(root.folder().join("cgroup.procs"), "0").context("joining the cgroup")?;
        // An address in a range for documentation, which is nobody's.
        let elsewhere = SockaddrIn::new(192, 0, 2, 1, 80);
        let outcome = connect(outside.as_raw_fd(), &elsewhere).map_err(io::Error::from);
        fs::write(&home, "0").context("leaving the cgroup")?;
        let error = outcome.err().context("somebody listens")?;
        ensure!(
            error.raw_os_error() == Some(libc::ECONNREFUSED),
            "let through on trial: {error}"
        );
        Ok(())
    })?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let (sink, mut told) = mpsc::channel(16);
        let reading = tokio::spawn(events.run(sink));
        let batch = timeout(PATIENCE, told.recv())
            .await
            .context("nobody has told of it")?
            .context("no more events")?;
        let event = batch.decisions.first().context("a batch has an event")?;
        drop(told);
        reading.await.context("reading events")??;
        if (event.hook, event.verdict) != (Hook::LsmConnect, Verdict::Audit) {
            bail!("told of is {event:?}");
        }
        Ok(())
    })
}
