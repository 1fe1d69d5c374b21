//! Whether one object is in force, told to whoever waits for it: at once, and again whenever that changes.
//!
//! ```text
//! Asked::Await -> a look at the files -> owner (Presence), names, proof -> an Awaited for each change, until it is over
//!                      `-- after a plan, a proof, or another configuration --'
//! ```
//!
//! **Architecture Invariant:** nobody polls the owner: it tells when it has planned, and is asked then.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    net::IpAddr,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use enforcer_core::{
    istio::{Kind, ObjectId},
    model::{Host, Namespace},
    names::HostStatus,
};
use serde::{Deserialize, Serialize};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines},
    net::{UnixStream, unix::OwnedReadHalf},
    sync::{Semaphore, oneshot},
    time::sleep,
};

use super::{Asked, Failure, OwnerQuestion, Ports, path, watching::gone};
use crate::sources::{
    files,
    kube::{SourceState, SourceStatus},
};

/// How many may wait at one time; others need the remaining connections.
pub(super) const WAITERS: usize = 8;

/// How often hosts are looked at that do not resolve: only a failure is told by nothing else.
const LOOK: Duration = Duration::from_millis(250);

/// After an answer that took so long, the owner is left alone for as many times that.
const SHARE: u32 = 10;

/// The object whose coming into force, or going, is waited for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AboutObject {
    /// As users write it: `ServiceEntry`, `serviceentries`, `se`.
    pub kind: String,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// The `resourceVersion` that the API server has told; None for what files have now, or what is known.
    #[serde(default)]
    pub version: Option<u64>,
    /// Whether it is to be gone.
    #[serde(default)]
    pub is_gone: bool,
}

/// How it stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Awaited {
    /// `ServiceEntry frontend/db`.
    pub object: String,
    /// Whether it is over.
    pub standing: Standing,
    /// Why it is not in force, one sentence each, without its end.
    pub reasons: Vec<String>,
    /// What is suspicious about it all the same.
    pub warnings: Vec<String>,
}

/// Whether an object is in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Standing {
    /// It is in the kernel's maps, and enforcement is proven.
    InForce,
    /// It is not there any more, nor in the kernel's maps.
    Gone,
    /// It may come into force by itself.
    Waiting,
    /// It does not come into force unless somebody changes something.
    Refused,
}

/// What the owner is asked.
#[derive(Clone, Debug)]
pub struct Sought {
    /// The object.
    pub id: ObjectId,
    /// As in [`AboutObject`].
    pub version: Option<u64>,
    /// As in [`AboutObject`].
    pub is_gone: bool,
    /// How many batches of files have to be applied.
    pub batches: u64,
    /// What hosts resolve to as far as their task knows; only those that were asked for and answered.
    pub resolved: BTreeMap<Host, BTreeSet<IpAddr>>,
}

/// What the owner answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Presence {
    /// Not yet.
    Pending(String),
    /// Not unless something is changed.
    Refused(Vec<String>),
    /// It is gone, and so are its rules.
    Gone,
    /// These names of its are not resolved. Whether workloads learn them from answers, too.
    Unresolved(BTreeSet<Host>, bool),
    /// It is in the kernel's maps.
    Written {
        /// What keeps it from having an effect and may end by itself.
        waits: Vec<String>,
        /// What is suspicious about it.
        warnings: Vec<String>,
        /// Problems of the status that are about other objects.
        others: Vec<String>,
    },
}

/// The kind that users mean by a word.
pub fn kind(word: &str) -> Option<Kind> {
    Some(match word.to_ascii_lowercase().as_str() {
        "serviceentry" | "serviceentries" | "se" => Kind::ServiceEntry,
        "workloadentry" | "workloadentries" | "we" => Kind::WorkloadEntry,
        "sidecar" | "sidecars" => Kind::Sidecar,
        "service" | "services" | "svc" => Kind::Service,
        _ => return None,
    })
}

impl AboutObject {
    /// The object's key.
    ///
    /// # Errors
    /// If nothing can be waited for of that kind.
    pub fn id(&self) -> Result<ObjectId> {
        let Some(kind) = kind(&self.kind) else {
            bail!(
                "cannot wait for {}: it can be a ServiceEntry, WorkloadEntry, Sidecar or Service",
                self.kind
            );
        };
        Ok(ObjectId {
            kind,
            namespace: Namespace::new(&self.namespace),
            name: self.name.clone(),
        })
    }
}

/// `ServiceEntry a/b is not in force: reason; reason`.
impl fmt::Display for Awaited {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let object = &self.object;
        match self.standing {
            Standing::InForce => write!(f, "{object} is in force"),
            Standing::Gone => write!(f, "{object} is gone"),
            Standing::Waiting => write!(f, "{object} is not in force yet: {}", self.reasons.join("; ")),
            Standing::Refused => write!(f, "{object} is not in force: {}", self.reasons.join("; ")),
        }
    }
}

/// Tells how the object stands until that is settled, or who asks goes away.
pub(super) async fn serve(
    stream: UnixStream,
    ports: &Ports,
    places: &Arc<Semaphore>,
    about: AboutObject,
) -> Result<()> {
    let (mut reader, mut writer) = stream.into_split();
    let failure = match (places.try_acquire(), about.id()) {
        (Err(_), _) => format!("{WAITERS} others wait already"),
        (_, Err(error)) => format!("{error:#}"),
        (Ok(_place), Ok(id)) => {
            let mut waiting = Waiting::new(ports, about, id);
            let tell = async {
                loop {
                    let (awaited, is_over) = waiting.next().await?;
                    let mut line = serde_json::to_vec(&awaited)?;
                    line.push(b'\n');
                    writer.write_all(&line).await?;
                    if is_over {
                        return Ok(writer.shutdown().await?);
                    }
                }
            };
            return tokio::select! {
                () = gone(&mut reader) => Ok(()),
                told = tell => told,
            };
        }
    };
    let mut line = serde_json::to_vec(&Failure { error: failure })?;
    line.push(b'\n');
    Ok(writer.write_all(&line).await?)
}

/// One who waits.
struct Waiting<'a> {
    ports: &'a Ports,
    sought: Sought,
    /// Whether the batches to be applied are known.
    has_looked: bool,
    turns: tokio::sync::watch::Receiver<u64>,
    proof: tokio::sync::watch::Receiver<crate::proof::Proof>,
    live: tokio::sync::watch::Receiver<super::Live>,
    last: Option<Awaited>,
    /// Whether hosts have no answer yet.
    is_unresolved: bool,
    /// Hosts that the enforcer cannot resolve, and workloads may.
    unknown: Vec<String>,
    /// When the owner may be asked again.
    rested: Instant,
}

impl<'a> Waiting<'a> {
    fn new(ports: &'a Ports, about: AboutObject, id: ObjectId) -> Self {
        Self {
            ports,
            sought: Sought {
                id,
                version: about.version,
                is_gone: about.is_gone,
                batches: 0,
                resolved: BTreeMap::new(),
            },
            has_looked: false,
            turns: ports.turns.clone(),
            proof: ports.proof.clone(),
            live: ports.live.clone(),
            last: None,
            is_unresolved: false,
            unknown: Vec::new(),
            rested: Instant::now(),
        }
    }

    /// What is to be told next, and whether that is the last of it.
    async fn next(&mut self) -> Result<(Awaited, bool)> {
        loop {
            self.look().await?;
            self.turns.mark_unchanged();
            self.proof.mark_unchanged();
            self.sought.resolved.clear();
            self.is_unresolved = false;
            self.unknown.clear();
            let began = Instant::now();
            let awaited = self.judge().await?;
            self.rested = Instant::now() + began.elapsed() * SHARE;
            if self.live.has_changed().unwrap_or(true) {
                // What was judged may have been another configuration's.
                self.has_looked = false;
                continue;
            }
            let is_over = awaited.standing != Standing::Waiting;
            if self.last.as_ref() != Some(&awaited) {
                self.last = Some(awaited.clone());
                return Ok((awaited, is_over));
            }
            self.rest().await?;
        }
    }

    /// Has the files looked at, once for each configuration: what was written before is to count.
    async fn look(&mut self) -> Result<()> {
        while !self.has_looked {
            let look = self.live.borrow_and_update().look.clone();
            let (question, answer): (files::Question, _) = oneshot::channel();
            let asked = look.send(question).await.is_ok();
            match answer.await {
                Ok(batches) if asked => {
                    self.sought.batches = batches;
                    self.has_looked = true;
                }
                // The task was replaced by that of another configuration, or is about to be.
                _ => self.live.changed().await.context("nobody follows the files")?,
            }
        }
        Ok(())
    }

    /// Waits until something may have changed.
    async fn rest(&mut self) -> Result<()> {
        tokio::time::sleep_until(self.rested.into()).await;
        tokio::select! {
            changed = self.turns.changed() => changed.context("the owner is gone")?,
            changed = self.proof.changed() => changed.context("nobody proves anything")?,
            changed = self.live.changed() => {
                changed.context("nobody follows the files")?;
                self.has_looked = false;
            }
            () = sleep(LOOK), if self.is_unresolved => {}
        }
        Ok(())
    }

    async fn judge(&mut self) -> Result<Awaited> {
        let found = self.ask().await?;
        let (standing, reasons, warnings) = match found {
            Presence::Pending(reason) => self.or_cut_off(vec![reason]),
            Presence::Refused(reasons) => (Standing::Refused, reasons, Vec::new()),
            Presence::Gone => (Standing::Gone, Vec::new(), Vec::new()),
            Presence::Unresolved(hosts, learns) => return self.judge_names(hosts, learns).await,
            Presence::Written {
                waits,
                mut warnings,
                others,
            } => {
                warnings.append(&mut self.unknown);
                let mut reasons = waits;
                reasons.extend(self.unproven(&others).await?);
                let standing = if reasons.is_empty() {
                    Standing::InForce
                } else {
                    Standing::Waiting
                };
                (standing, reasons, warnings)
            }
        };
        Ok(self.awaited(standing, reasons, warnings))
    }

    fn awaited(&self, standing: Standing, reasons: Vec<String>, warnings: Vec<String>) -> Awaited {
        Awaited {
            object: self.sought.id.to_string(),
            standing,
            reasons,
            warnings,
        }
    }

    async fn ask(&self) -> Result<Presence> {
        let (reply, found) = oneshot::channel();
        let question = OwnerQuestion::Await(self.sought.clone(), reply);
        let owner = &self.ports.owner;
        owner.send(question).await.context("the owner is gone")?;
        found.await.context("the owner does not answer")
    }

    /// Looks whether hosts were asked for and answered; then the owner says whether the addresses are in the maps.
    async fn judge_names(&mut self, hosts: BTreeSet<Host>, learns: bool) -> Result<Awaited> {
        let known = self.ports.hosts().await?;
        let mut reasons = Vec::new();
        for host in &hosts {
            let status = known.iter().find(|status| status.host == *host);
            match status.map(|status| (status, unsettled(status, learns))) {
                None => reasons.push(format!("{host} is not resolved yet")),
                Some((_, Some(reason))) => reasons.push(reason),
                Some((status, None)) => {
                    if let (Some(failing), true) = (&status.failing, status.addresses.is_empty()) {
                        self.unknown.push(format!(
                            "{host} does not resolve ({}): workloads are allowed what they are given when they ask for it",
                            failing.error
                        ));
                    }
                    self.sought
                        .resolved
                        .insert(host.clone(), status.addresses.clone());
                }
            }
        }
        if reasons.is_empty() {
            return Box::pin(self.judge()).await;
        }
        self.is_unresolved = true;
        Ok(self.awaited(Standing::Waiting, reasons, Vec::new()))
    }

    /// What keeps enforcement from being proven, for whatever object.
    async fn unproven(&self, others: &[String]) -> Result<Vec<String>> {
        let status = self.ports.gather().await?;
        let is_other = |problem: &&String| status.misplaced.contains(problem) || others.contains(problem);
        let problems = status.problems.iter().filter(|problem| !is_other(problem));
        Ok(problems
            .map(|problem| format!("enforcement is not proven: {problem}"))
            .collect())
    }

    /// Where the API server is not followed, that is the reason; where it refuses to be, nothing is waited for.
    fn or_cut_off(&self, mut reasons: Vec<String>) -> (Standing, Vec<String>, Vec<String>) {
        let mut standing = Standing::Waiting;
        if let (Some(kubernetes), Some(_)) = (&self.ports.kubernetes, self.sought.version) {
            let known = kubernetes.borrow();
            let name = format!("{:?}", self.sought.id.kind);
            let is_cut_off = |source: &&SourceStatus| {
                source.name == name && !matches!(source.state, SourceState::Following | SourceState::Starting)
            };
            if let Some(source) = known.sources.iter().find(is_cut_off) {
                reasons.push(format!(
                    "{name}: {}: {}",
                    source.state,
                    source.error.as_deref().unwrap_or_default()
                ));
                if matches!(source.state, SourceState::Forbidden | SourceState::Absent) {
                    standing = Standing::Refused;
                }
            }
        }
        (standing, reasons, Vec::new())
    }
}

/// Why a host is to be waited for. One that does not resolve is not where workloads learn it themselves.
fn unsettled(status: &HostStatus, learns: bool) -> Option<String> {
    let host = &status.host;
    match &status.failing {
        _ if status.is_pending => Some(format!("{host} is not resolved yet")),
        Some(failing) if status.addresses.is_empty() && !learns => {
            Some(format!("{host} does not resolve: {}", failing.error))
        }
        _ => None,
    }
}

/// What the enforcer says of an object, one after the other.
#[derive(Debug)]
pub struct Answers {
    lines: Lines<BufReader<OwnedReadHalf>>,
    /// While it is open, the enforcer goes on.
    _writer: tokio::net::unix::OwnedWriteHalf,
    path: std::path::PathBuf,
}

impl Answers {
    /// Asks the enforcer whose state is in this folder.
    ///
    /// # Errors
    /// If none answers.
    pub async fn ask(state: &Path, about: AboutObject) -> Result<Self> {
        let path = path(state);
        let stream = UnixStream::connect(&path)
            .await
            .with_context(|| format!("no enforcer answers at {}", path.display()))?;
        let (reader, mut writer) = stream.into_split();
        let mut question = serde_json::to_vec(&Asked::Await(about))?;
        question.push(b'\n');
        let asked = writer.write_all(&question).await;
        asked.with_context(|| format!("asking at {}", path.display()))?;
        Ok(Self {
            lines: BufReader::new(reader).lines(),
            _writer: writer,
            path,
        })
    }

    /// The next; None if the enforcer has ended.
    ///
    /// # Errors
    /// If it says why there is no answer, or what cannot be understood.
    pub async fn next(&mut self) -> Result<Option<Awaited>> {
        let Ok(Some(line)) = self.lines.next_line().await else {
            return Ok(None);
        };
        if let Ok(Failure { error }) = serde_json::from_str(&line) {
            bail!("{error}");
        }
        super::understood(&self.path, &line).map(Some)
    }
}
