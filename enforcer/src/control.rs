//! The control socket: whoever is root may ask how everything stands.
//!
//! ```text
//! enforcer status -> <state>/control.sock -> owner (Standing), proof, names, sources -> Status, as one line of JSON
//! ```
//!
//! A connection is a question and the answer is the whole of what is sent; nothing is read, so that nothing can be
//! asked for that changes anything.

mod gather;
mod status;
mod text;

use std::{
    fs, io,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{UnixListener, UnixStream},
    sync::{mpsc, oneshot},
};
use tokio_util::sync::CancellationToken;

use crate::state;

pub use gather::{Ports, Standing, StandingRoot};
pub use status::{Canary, Closure, FailingName, Lapse, Names, Program, Root, Source, Status, Usage};

/// What the task asks of the owner.
pub type Question = mpsc::Sender<oneshot::Sender<Standing>>;

/// How long an answer may take, on either side.
const PATIENCE: Duration = Duration::from_secs(10);

/// The socket, bound.
#[derive(Debug)]
pub struct Control {
    listener: UnixListener,
    path: PathBuf,
}

/// Where the socket is, in the folder of the state.
pub fn path(state: &Path) -> PathBuf {
    state.join("control.sock")
}

impl Control {
    /// Binds the socket, for root alone. One that nobody listens at any more is replaced.
    ///
    /// # Errors
    /// If another enforcer answers there, or the folder cannot be written.
    pub fn bind(state: &Path) -> Result<Self> {
        let path = path(state);
        state::own(state)?;
        if let Ok(stream) = std::os::unix::net::UnixStream::connect(&path) {
            let holder = getsockopt(&stream, PeerCredentials).context("asking who answers")?;
            bail!(
                "another enforcer (pid {}) answers at {}: give this one a `state` of its own",
                holder.pid(),
                path.display()
            );
        }
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(error).with_context(|| format!("removing {}", path.display()));
            }
            _ => {}
        }
        let listener =
            UnixListener::bind(&path).with_context(|| format!("listening at {}", path.display()))?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600))
            .with_context(|| format!("keeping {} to root", path.display()))?;
        Ok(Self { listener, path })
    }

    /// Answers until `cancel`.
    ///
    /// # Errors
    /// If the socket fails, or the owner is gone.
    pub async fn serve(self, ports: Ports, cancel: CancellationToken) -> Result<()> {
        loop {
            let accepted = tokio::select! {
                accepted = self.listener.accept() => accepted,
                () = cancel.cancelled() => break,
            };
            let (stream, _) = accepted.context("accepting at the control socket")?;
            let answered = tokio::time::timeout(PATIENCE, answer(stream, &ports));
            // Who asks may go away before the answer; that is their business.
            if let Ok(Err(error)) = answered.await {
                tracing::debug!("somebody who asked has no answer: {error:#}");
            }
        }
        fs::remove_file(&self.path).with_context(|| format!("removing {}", self.path.display()))
    }
}

async fn answer(mut stream: UnixStream, ports: &Ports) -> Result<()> {
    let peer = stream.peer_cred().context("asking who asks")?.uid();
    // The socket's mode says so too, but it has that a moment after it is there.
    if peer != 0 && peer != nix::unistd::geteuid().as_raw() {
        bail!("user {peer} may not ask");
    }
    let status = ports.gather().await?;
    let mut text = serde_json::to_vec(&status)?;
    text.push(b'\n');
    stream.write_all(&text).await?;
    Ok(stream.shutdown().await?)
}

/// Asks the enforcer whose state is in this folder.
///
/// # Errors
/// If none answers in time.
pub async fn ask(state: &Path) -> Result<Status> {
    let path = path(state);
    let read = async {
        let mut stream = UnixStream::connect(&path).await?;
        let mut text = String::new();
        stream.read_to_string(&mut text).await?;
        io::Result::Ok(text)
    };
    let text = tokio::time::timeout(PATIENCE, read)
        .await
        .with_context(|| format!("no answer at {} within {PATIENCE:?}", path.display()))?
        .with_context(|| format!("no enforcer answers at {}", path.display()))?;
    serde_json::from_str(&text).with_context(|| format!("what answers at {} is no enforcer", path.display()))
}
