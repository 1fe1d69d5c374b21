//! How an enforcer that was started at boot makes room for the one of the DaemonSet: that one asks, and this one ends.
//! What is pinned stays in force meanwhile.

use std::{
    fs::{self, Permissions},
    io::{self, Read as _, Write as _},
    os::unix::{fs::PermissionsExt as _, net},
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, Result};
use nix::{
    sys::signal::{Signal, kill},
    unistd::getpid,
};
use tokio::{
    io::AsyncReadExt as _,
    net::{UnixListener, UnixStream},
};
use tokio_util::sync::CancellationToken;

use crate::state::{self, HANDOVER};

/// How long the one that was started at boot may take to end.
const PATIENCE: Duration = Duration::from_secs(10);

/// Ends this process once somebody asks, who may, as the folder of the state is for root alone.
///
/// # Errors
/// If nobody can ask.
pub(crate) async fn serve(state: PathBuf, cancel: CancellationToken) -> Result<()> {
    let path = state.join(HANDOVER);
    state::own(&state)?;
    match fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(error).with_context(|| format!("removing {}", path.display()));
        }
        _ => {}
    }
    let listener = UnixListener::bind(&path).with_context(|| format!("listening at {}", path.display()))?;
    fs::set_permissions(&path, Permissions::from_mode(0o600))
        .with_context(|| format!("keeping {} to root", path.display()))?;
    let stream = tokio::select! {
        asked = asked(&listener) => asked?,
        () = cancel.cancelled() => return Ok(()),
    };
    // Closed by the end of the process, which whoever has asked waits for.
    std::mem::forget(stream);
    tracing::info!("the enforcer's pod takes over");
    fs::remove_file(&path).with_context(|| format!("removing {}", path.display()))?;
    kill(getpid(), Signal::SIGTERM).context("ending this process")?;
    cancel.cancelled().await;
    Ok(())
}

/// The connection of the first who asks; others have only looked whether this process is there.
async fn asked(listener: &UnixListener) -> Result<UnixStream> {
    loop {
        let (mut stream, _) = listener.accept().await.context("listening for who takes over")?;
        if stream.read_u8().await.is_ok() {
            return Ok(stream);
        }
    }
}

/// Whether an enforcer that was started at boot runs.
pub(crate) fn is_there(state: &Path) -> bool {
    net::UnixStream::connect(state.join(HANDOVER)).is_ok()
}

/// Has it end, and waits until it has.
///
/// # Errors
/// If it does not.
pub(crate) fn ask(state: &Path) -> Result<()> {
    let path = state.join(HANDOVER);
    // One that has ended meanwhile needs not be asked.
    let Ok(mut stream) = net::UnixStream::connect(&path) else {
        return Ok(());
    };
    stream.set_read_timeout(Some(PATIENCE))?;
    stream
        .write_all(&[1])
        .context("asking the enforcer of the boot to end")?;
    stream
        .read_to_end(&mut Vec::new())
        .context("waiting for the enforcer of the boot to end")?;
    Ok(())
}
