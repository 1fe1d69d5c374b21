//! The control socket: whoever is root may ask how everything stands.
//!
//! ```text
//! enforcer status -> <state>/control.sock -> owner (OwnerStatus), proof, names, sources -> Status, as one line of JSON
//! enforcer names  -> the same             -> owner, names                               -> NameTable
//! enforcer explain --live                 -> owner, names                               -> Explained
//! enforcer suggest, top, ui -> the same   -> owner                                      -> Observed
//! whoever asks for metrics -> the same    -> the metrics' task                          -> their text
//! enforcer monitor -> the same            -> owner                                      -> a WatchLine for each call
//! enforcer wait -> the same               -> files, owner, names, proof                 -> an Awaited for each change
//! enforcer bundle -> the same             -> owner                                      -> Inside
//! ```
//!
//! A connection is a question, and the answer is one line. What is asked is a line too, and one of [`Asked`], none of which
//! changes anything; who says nothing asks for the status.

mod awaited;
mod explained;
mod gather;
mod inside;
mod names;
mod status;
mod text;
mod watched;
mod watching;

use std::{
    fs, io,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use anyhow::{Context as _, Result, bail, ensure};
use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::{UnixListener, UnixStream},
    sync::{Semaphore, mpsc, oneshot},
    task::{JoinError, JoinSet},
    time::MissedTickBehavior,
};
use tokio_util::sync::CancellationToken;

use crate::{ending, state};
use awaited::WAITERS;
use watching::WATCHERS;

pub use awaited::{AboutObject, Answers, Awaited, Presence, Sought, Standing, kind};
pub use explained::{AboutLive, Explained, Found, HeldAddress, Judged, Record};
pub use gather::{AskMetrics, Live, OwnerStatus, Ports, RootStatus, Taken};
pub use inside::{Inside, Listing, Named as NamedIn, described, held};
pub use names::{MOST as MOST_NAMES, Name, NameTable, Source as NameSource};
pub use status::{
    Canary, Configuration, Drift, FailingName, Hardening, Learning, Names, ObservedFile, Program, Root,
    Source, Status, Suppressed, Unjudged, Usage,
};
pub(crate) use text::AllowAny;
pub use watched::{Observed, Watch, WatchLine, Watched};
pub use watching::watch;

/// What the task asks of the owner.
#[derive(Debug)]
pub enum OwnerQuestion {
    /// How everything stands.
    Status(oneshot::Sender<OwnerStatus>),
    /// What is declared and learned; of one workload, `namespace/name`, what it has learned.
    Names(Option<String>, oneshot::Sender<Result<NameTable>>),
    /// What the kernel decides on a destination of a workload.
    Explain(AboutLive, oneshot::Sender<Result<Explained>>),
    /// What workloads were seen to reach.
    Observed(oneshot::Sender<Observed>),
    /// Whether an object is in the kernel's maps.
    Await(Sought, oneshot::Sender<Presence>),
    /// What was told last, and what is told from now on.
    Watch(oneshot::Sender<Watch>),
    /// What there is inside, for the support bundle.
    Inside(oneshot::Sender<Inside>),
}

/// Where the owner is asked.
pub type Question = mpsc::Sender<OwnerQuestion>;

/// What can be asked at the socket.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Asked {
    /// For [`Status`].
    Status,
    /// For a [`NameTable`], of one workload if it is named.
    Names(Option<String>),
    /// For an [`Explained`].
    Explain(AboutLive),
    /// For [`Observed`].
    Observed,
    /// For [`Inside`].
    Bundle,
    /// For the text that Prometheus scrapes, as a string.
    Metrics,
    /// For an [`Awaited`] now and for each that differs from the one before, until it is over.
    Await(AboutObject),
    /// For a [`WatchLine`] for each of the last so many calls, and for each call from then on.
    Watch {
        /// How many of those that were told before.
        last: usize,
        /// Whether to go on after them.
        follow: bool,
    },
}

/// Longest line that is read.
const QUESTION: u64 = 1024;

/// How long who asks may take to say what.
const LISTENING: Duration = Duration::from_millis(500);

/// How long an answer may take, on either side.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long who asks may take to read the answer.
const READING: Duration = Duration::from_secs(1);

/// How many are answered at one time.
const CLIENTS: usize = 32;

/// How often it is looked whether the socket is still where who asks looks for it.
const LOOK: Duration = Duration::from_secs(2);

/// How long nobody is answered where a connection cannot be accepted.
const PAUSE: Duration = Duration::from_millis(100);

/// The socket, bound.
#[derive(Debug)]
pub struct Control {
    listener: UnixListener,
    path: PathBuf,
}

/// Where the socket is, in the folder of the state.
pub fn path(state: &Path) -> PathBuf {
    state.join(crate::state::SOCKET)
}

impl Control {
    /// Binds the socket, for root alone. One that nobody listens at any more is replaced.
    ///
    /// # Errors
    /// If another enforcer answers there, or the folder cannot be written.
    pub fn bind(state: &Path) -> Result<Self> {
        let path = path(state);
        state::own(state)?;
        if let Some(holder) = ending::wait(|| holder(&path))? {
            bail!(
                "another enforcer (pid {holder}) runs and answers at {}: this one does not start; end that one first, or \
                 give this one a `state` of its own if both are to run",
                path.display()
            );
        }
        let listener = listen(&path)?;
        Ok(Self { listener, path })
    }

    /// Makes the socket, and the folder of the state, again if somebody has removed them.
    fn restore(&mut self) -> Result<()> {
        if self.path.exists() {
            return Ok(());
        }
        let folder = self
            .path
            .parent()
            .context("the socket lies in the state folder")?;
        state::own(folder)?;
        self.listener = listen(&self.path)?;
        tracing::warn!(
            "{0} was removed and is created again: `enforcer status` works again; the files in {1} are written again \
             when their content changes",
            self.path.display(),
            folder.display()
        );
        Ok(())
    }

    /// Answers until `cancel`. Nobody who asks waits for another who does.
    ///
    /// # Errors
    /// If the socket's file cannot be removed.
    pub async fn serve(mut self, ports: Ports, cancel: CancellationToken) -> Result<()> {
        let ports = Arc::new(ports);
        let watchers = Arc::new(Semaphore::new(WATCHERS));
        let waiters = Arc::new(Semaphore::new(WAITERS));
        let mut answers = JoinSet::new();
        let mut look = tokio::time::interval(LOOK);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut said = None;
        loop {
            tokio::select! {
                () = cancel.cancelled() => break,
                _ = look.tick() => {
                    let failed = self.restore().err().map(|error| format!("{error:#}"));
                    if let Some(error) = failed.as_ref().filter(|_| failed != said) {
                        tracing::error!(
                            "`enforcer status` does not work: {} was removed and cannot be created again; it is tried \
                             every {LOOK:?}, and enforcement is not affected: {error}",
                            self.path.display()
                        );
                    }
                    said = failed;
                }
                Some(answered) = answers.join_next() => note(answered),
                accepted = self.listener.accept(), if answers.len() < CLIENTS => match accepted {
                    Ok((stream, _)) => {
                        let ports = Arc::clone(&ports);
                        let places = (Arc::clone(&watchers), Arc::clone(&waiters));
                        answers.spawn(async move { serve(stream, &ports, &places).await });
                    }
                    // Too many open files, say: whoever asks next may be more lucky.
                    Err(error) => {
                        tracing::warn!(
                            "`enforcer status` does not work: the control socket accepts no connection; it is tried \
                             again, and enforcement is not affected: {error}"
                        );
                        tokio::time::sleep(PAUSE).await;
                    }
                },
            }
        }
        match fs::remove_file(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(error).with_context(|| format!("removing {}", self.path.display()))
            }
            _ => Ok(()),
        }
    }
}

/// The process that answers at a path.
fn holder(path: &Path) -> Result<Option<u32>> {
    let Ok(stream) = std::os::unix::net::UnixStream::connect(path) else {
        return Ok(None);
    };
    let holder = getsockopt(&stream, PeerCredentials).context("asking who answers")?;
    Ok(Some(holder.pid().unsigned_abs()))
}

/// Listens at a path, for root alone, in the place of who no longer does.
fn listen(path: &Path) -> Result<UnixListener> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(error).with_context(|| format!("removing {}", path.display()));
        }
        _ => {}
    }
    let listener = UnixListener::bind(path).with_context(|| format!("listening at {}", path.display()))?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600))
        .with_context(|| format!("keeping {} to root", path.display()))?;
    Ok(listener)
}

/// Who asks may go away before the answer; that is their business.
fn note(answered: Result<Result<(), anyhow::Error>, JoinError>) {
    match answered {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!("a connection to the control socket got no answer: {error:#}"),
        Err(error) => {
            tracing::error!("one `enforcer status` got no answer; enforcement is not affected: {error}");
        }
    }
}

/// Those who watch, and those who wait.
type Places = (Arc<Semaphore>, Arc<Semaphore>);

async fn serve(mut stream: UnixStream, ports: &Ports, (watchers, waiters): &Places) -> Result<()> {
    let peer = stream.peer_cred().context("asking who asks")?.uid();
    // The socket's mode says so too, but it has that a moment after it is there.
    if peer != 0 && peer != nix::unistd::geteuid().as_raw() {
        bail!("user {peer} may not ask for the status: it is for root");
    }
    let asked = question(&mut stream).await?;
    if let Asked::Watch { last, follow } = asked {
        return watching::serve(stream, ports, watchers, (last, follow)).await;
    }
    if let Asked::Await(about) = asked {
        return awaited::serve(stream, ports, waiters, about).await;
    }
    tokio::time::timeout(PATIENCE, answer(stream, ports, asked))
        .await
        .with_context(|| format!("not within {PATIENCE:?}"))?
}

async fn answer(mut stream: UnixStream, ports: &Ports, asked: Asked) -> Result<()> {
    let mut text = match asked {
        Asked::Observed => serde_json::to_vec(&ports.gather_observed().await?)?,
        Asked::Bundle => serde_json::to_vec(&ports.gather_inside().await?)?,
        Asked::Metrics => told(&ports.gather_metrics().await?)?,
        // It has no one answer.
        Asked::Watch { .. } | Asked::Await(_) | Asked::Status => serde_json::to_vec(&ports.gather().await?)?,
        Asked::Names(workload) => told(&ports.gather_names(workload).await?)?,
        Asked::Explain(about) => told(&ports.gather_explained(about).await?)?,
    };
    text.push(b'\n');
    let write = async {
        stream.write_all(&text).await?;
        stream.shutdown().await
    };
    tokio::time::timeout(READING, write)
        .await
        .context("the client does not read the answer")??;
    Ok(())
}

/// An answer, or why there is none.
fn told(answer: &Result<impl Serialize>) -> Result<Vec<u8>> {
    Ok(match answer {
        Ok(answer) => serde_json::to_vec(answer)?,
        Err(error) => serde_json::to_vec(&Failure {
            error: format!("{error:#}"),
        })?,
    })
}

/// Why there is no answer.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Failure {
    error: String,
}

/// What somebody asks. Commands of earlier versions say nothing.
async fn question(stream: &mut UnixStream) -> Result<Asked> {
    let mut line = String::new();
    let mut reader = BufReader::new(stream.take(QUESTION));
    let read = reader.read_line(&mut line);
    match tokio::time::timeout(LISTENING, read).await {
        Err(_) | Ok(Ok(0)) => Ok(Asked::Status),
        Ok(read) => {
            read?;
            serde_json::from_str(&line).context("what is asked is not understood")
        }
    }
}

/// Asks the enforcer whose state is in this folder how everything stands.
///
/// # Errors
/// If none answers in time.
pub async fn ask(state: &Path) -> Result<Status> {
    let text = answered(state, &Asked::Status).await?;
    understood(&path(state), &text)
}

/// Asks the enforcer whose state is in this folder what names stand for.
///
/// # Errors
/// If none answers in time, or says why there is no answer.
pub async fn ask_names(state: &Path, question: &Asked) -> Result<NameTable> {
    ask_or_fail(state, question).await
}

/// Asks the enforcer whose state is in this folder what the kernel decides.
///
/// # Errors
/// If none answers in time, or says why there is no answer.
pub async fn ask_explained(state: &Path, about: AboutLive) -> Result<Explained> {
    ask_or_fail(state, &Asked::Explain(about)).await
}

async fn ask_or_fail<T: DeserializeOwned>(state: &Path, question: &Asked) -> Result<T> {
    let text = answered(state, question).await?;
    if let Ok(Failure { error }) = serde_json::from_str(&text) {
        bail!("{error}");
    }
    understood(&path(state), &text)
}

/// Asks the enforcer whose state is in this folder what workloads were seen to reach.
///
/// # Errors
/// If none answers in time.
pub async fn ask_observed(state: &Path) -> Result<Observed> {
    let text = answered(state, &Asked::Observed).await?;
    understood(&path(state), &text)
}

/// Asks the enforcer whose state is in this folder what it has inside.
///
/// # Errors
/// If none answers in time.
pub async fn ask_inside(state: &Path) -> Result<Inside> {
    let text = answered(state, &Asked::Bundle).await?;
    understood(&path(state), &text)
}

/// Asks the enforcer whose state is in this folder for what Prometheus scrapes, whether or not anybody may scrape it.
///
/// # Errors
/// If none answers in time, or says why there is no answer.
pub async fn ask_metrics(state: &Path) -> Result<String> {
    ask_or_fail(state, &Asked::Metrics).await
}

async fn answered(state: &Path, question: &Asked) -> Result<String> {
    let path = path(state);
    let mut line = serde_json::to_vec(question)?;
    line.push(b'\n');
    let read = async {
        let mut stream = UnixStream::connect(&path).await?;
        // Another version may answer without having read it.
        stream.write_all(&line).await.ok();
        let mut text = String::new();
        stream.read_to_string(&mut text).await?;
        io::Result::Ok(text)
    };
    let text = tokio::time::timeout(PATIENCE, read)
        .await
        .with_context(|| format!("no answer at {} within {PATIENCE:?}", path.display()))?
        .with_context(|| format!("no enforcer answers at {}", path.display()))?;
    ensure!(
        !text.is_empty(),
        "the enforcer at {} gives no answer",
        path.display()
    );
    Ok(text)
}

fn understood<T: DeserializeOwned>(path: &Path, text: &str) -> Result<T> {
    serde_json::from_str(text).map_err(|error| {
        anyhow::anyhow!(
            "cannot decode the answer at {}: it comes from another version of the enforcer than this command, or from \
             no enforcer ({error})",
            path.display()
        )
    })
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use tokio::sync::watch;

    use super::*;
    use crate::{proof::Proof, sources::sink};

    /// Whom the task asks, with an answer that no socket's buffer holds.
    fn ports() -> Ports {
        let (owner, mut questions) = mpsc::channel(1);
        tokio::spawn(async move {
            while let Some(OwnerQuestion::Status(reply)) = questions.recv().await {
                let rejected = vec!["x".repeat(1 << 18)];
                drop(reply.send(OwnerStatus {
                    rejected,
                    ..OwnerStatus::default()
                }));
            }
        });
        let (names, mut asked) = mpsc::channel::<oneshot::Sender<_>>(1);
        tokio::spawn(async move {
            while let Some(reply) = asked.recv().await {
                drop(reply.send(Vec::new()));
            }
        });
        let heartbeat = || sink::<()>(mpsc::channel(1).0).1;
        Ports {
            owner,
            turns: watch::channel(0).1,
            live: watch::channel(Live {
                names,
                files: heartbeat(),
                look: mpsc::channel(1).0,
                cgroups: heartbeat(),
            })
            .1,
            configuration: watch::channel(Taken::default()).1,
            proof: watch::channel(Proof::default()).1,
            kubernetes: None,
            pods: None,
            metrics: mpsc::channel(1).0,
            observations: None,
            start: Instant::now(),
        }
    }

    #[tokio::test]
    async fn clients_that_do_not_read_keep_nobody_waiting() {
        let folder = tempfile::tempdir().unwrap();
        let control = Control::bind(folder.path()).unwrap();
        let cancel = CancellationToken::new();
        let serving = tokio::spawn(control.serve(ports(), cancel.clone()));
        let silent: Vec<_> = (0..CLIENTS - 1)
            .map(|_| std::os::unix::net::UnixStream::connect(path(folder.path())).unwrap())
            .collect();
        let start = Instant::now();
        ask(folder.path()).await.unwrap();
        assert!(start.elapsed() < PATIENCE / 2, "{:?}", start.elapsed());
        // Also where there are more of them than are answered at one time.
        let more: Vec<_> = (0..CLIENTS)
            .map(|_| std::os::unix::net::UnixStream::connect(path(folder.path())).unwrap())
            .collect();
        let start = Instant::now();
        ask(folder.path()).await.unwrap();
        assert!(start.elapsed() < PATIENCE / 2, "{:?}", start.elapsed());
        drop((silent, more));
        cancel.cancel();
        serving.await.unwrap().unwrap();
        assert!(!path(folder.path()).exists());
    }
}
