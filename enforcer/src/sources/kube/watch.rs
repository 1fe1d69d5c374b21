//! Follows one source for ever: lists it, then watches its changes, and lists again when the server no longer has
//! the version.
//!
//! ```text
//! list -> watch -> watch ... (from the last version seen, whatever ended the one before)
//!   ^------ 410 -----'
//! ```
//!
//! It must never end, and never treat an error as a change: the known state stays until a list or an event changes
//! it.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use futures_util::{AsyncBufRead, AsyncBufReadExt as _};
use tokio::{sync::mpsc, time::sleep};

use super::{
    Settings,
    access::Access,
    backoff::{Backoff, spread},
    denial_guard::DenialGuard,
    document::{Document, Event},
    failure::Failure,
    list::{self, Items, List},
    request,
    status::SourceState,
    store::{Change, Store},
};

/// A report to the hub about a source.
#[derive(Debug)]
pub(super) struct Report {
    /// The number of the source.
    pub(super) source: usize,
    pub(super) news: News,
}

#[derive(Debug)]
pub(super) enum News {
    /// The server has answered.
    Contact,
    /// Changed objects, and what is known with them.
    Changes(Vec<Change>, Known),
    /// Everything that exists was reported, or nothing can be.
    Answered,
    /// Whether it is followed, and why not.
    State(SourceState, Option<String>),
}

/// What is known of a collection.
#[derive(Clone, Copy, Debug)]
pub(super) struct Known {
    /// How many objects are in force, and how many are rejected.
    pub(super) counts: (usize, usize),
    /// The newest version of any.
    pub(super) newest: Option<u64>,
    /// Up to which version nothing is missing.
    pub(super) followed: Option<u64>,
}

/// The approximate interval at which the server is asked whether it now serves an absent kind.
const LOOK: Duration = Duration::from_secs(6);
/// A watch that ends sooner than this without an event counts as a failure.
const BRIEF: Duration = Duration::from_secs(1);
/// Lists that thousands of nodes have to make at once are spread over this time.
const RELIST: Duration = Duration::from_secs(1);

pub(super) struct Follower {
    access: Arc<Access>,
    settings: Arc<Settings>,
    known: Store,
    number: usize,
    out: mpsc::Sender<Report>,
    backoff: Backoff,
    /// The next list has to come from etcd, page by page.
    in_pages: bool,
    denial_guard: DenialGuard,
}

/// Why a watch has ended.
enum End {
    /// Another watch can continue where it ended.
    Over,
    /// Everything has to be listed again.
    List,
}

/// The receiver of reports is closed.
pub(super) struct Closed;

impl Follower {
    pub(super) fn new(
        access: Arc<Access>,
        settings: Arc<Settings>,
        known: Store,
        (number, out): (usize, mpsc::Sender<Report>),
    ) -> Self {
        Self {
            backoff: Backoff::new(settings.pause),
            known,
            access,
            settings,
            number,
            out,
            in_pages: false,
            denial_guard: DenialGuard::default(),
        }
    }

    /// Runs until the receiver of reports is closed.
    pub(super) async fn run(mut self) -> Closed {
        loop {
            let Err(closed) = self.round().await else { continue };
            return closed;
        }
    }

    /// One list, and the watches after it.
    async fn round(&mut self) -> Result<(), Closed> {
        let mut version = match self.list().await? {
            Ok(version) => version,
            Err(failure) => return self.failed(failure).await,
        };
        self.denial_guard = DenialGuard::default();
        loop {
            match self.watch(&mut version).await? {
                Ok(End::Over) => self.backoff.reset(),
                Ok(End::List) => break,
                Err(failure @ (Failure::Expired(_) | Failure::Behind(_))) => {
                    tracing::debug!("{} is listed again: {failure}", self.known.source().name);
                    self.in_pages = matches!(failure, Failure::Behind(_));
                    break;
                }
                Err(failure) if failure.is_denial() => break,
                Err(failure) => self.failed(failure).await?,
            }
        }
        sleep(spread(RELIST)).await;
        Ok(())
    }

    /// Lists everything, and returns the version from which changes are to be watched.
    async fn list(&mut self) -> Result<Result<String, Failure>, Closed> {
        let began = Instant::now();
        self.known.begin();
        let (list, answer) = match self.ask().await {
            Ok(asked) => asked,
            Err(failure) => return Ok(Err(self.list_failed(failure))),
        };
        let (out, items) = mpsc::channel(list::AHEAD);
        let (version, taken) = tokio::join!(list.read(answer, out), self.take_in(items));
        taken?;
        let version = match version {
            Ok(version) => version,
            Err(failure) => {
                // Whole, it may be too much for what lies between: pages are not.
                self.in_pages = true;
                return Ok(Err(self.list_failed(failure)));
            }
        };
        self.in_pages = false;
        let gone = self.known.end(version.parse().ok());
        self.tell_changes(gone).await?;
        self.tell(News::Answered).await?;
        let (name, objects) = (&self.known.source().name, self.known.counts().0);
        tracing::debug!("{name}: {objects} objects listed in {:?}", began.elapsed());
        Ok(Ok(version))
    }

    /// Requests the list in the newest version that is served.
    async fn ask(&mut self) -> Result<(List, impl AsyncBufRead + Unpin + use<>), Failure> {
        loop {
            let list = List {
                client: self.access.client(),
                source: self.known.source().clone(),
                served: self.known.served,
                page: self.settings.page,
                patience: self.settings.patience,
            };
            let not_older_than = self.known.newest().filter(|_| !self.in_pages);
            match list.ask(not_older_than).await {
                Ok(answer) => return Ok((list, answer)),
                Err(Failure::Absent(_)) if self.known.served + 1 < self.known.source().versions() => {
                    self.known.served += 1;
                }
                Err(failure) => return Err(failure),
            }
        }
    }

    /// After a denial, every version is tried again; if the list itself was refused, the next one is read in pages.
    fn list_failed(&mut self, failure: Failure) -> Failure {
        match failure {
            Failure::Absent(_) | Failure::Forbidden(_) => self.known.served = 0,
            Failure::Unauthorized(_) | Failure::Away(_) => {}
            Failure::Expired(_) | Failure::Behind(_) | Failure::Refused(_) => self.in_pages = true,
        }
        failure
    }

    async fn take_in(&mut self, mut items: mpsc::Receiver<Items>) -> Result<(), Closed> {
        while let Some(items) = items.recv().await {
            let documents = items.iter().map(|item| Document::read(item));
            let changes = documents.filter_map(|it| self.known.set(it)).collect();
            self.tell_changes(changes).await?;
        }
        Ok(())
    }

    /// Processes the changes from `version` on, and advances it.
    async fn watch(&mut self, version: &mut String) -> Result<Result<End, Failure>, Closed> {
        let bounds = (version.as_str(), self.settings.patience);
        let client = self.access.client();
        let lines = match request::changes(&client, self.known.source(), self.known.served, bounds).await {
            Ok(lines) => lines,
            Err(failure) => return Ok(Err(failure)),
        };
        self.tell(News::State(SourceState::Following, None)).await?;
        self.read(lines, version).await
    }

    async fn read(
        &mut self,
        mut lines: impl AsyncBufRead + Unpin,
        version: &mut String,
    ) -> Result<Result<End, Failure>, Closed> {
        let began = Instant::now();
        let mut line = Vec::new();
        let mut is_mute = true;
        loop {
            line.clear();
            let silence = self.settings.silence;
            match tokio::time::timeout(silence, lines.read_until(b'\n', &mut line)).await {
                Err(_) => return Ok(Err(Failure::Away(format!("no event for {silence:?}")))),
                Ok(Err(error)) => return Ok(Err(Failure::Away(format!("the watch broke off: {error}")))),
                // A line without its newline is half an event, which the next watch sends again.
                Ok(Ok(_)) if line.last() != Some(&b'\n') => {
                    let is_failure = is_mute && began.elapsed() < BRIEF;
                    return Ok(if is_failure {
                        Err(Failure::Away("the watch was ended at once".to_owned()))
                    } else {
                        Ok(End::Over)
                    });
                }
                Ok(Ok(_)) => is_mute = false,
            }
            let event = match Event::read(&line) {
                Ok(event) => event,
                Err(error) => {
                    // The next watch would send it again; a list decodes objects one by one.
                    let failure = Failure::Away(format!("cannot decode an event: {error}"));
                    self.failed(failure).await?;
                    return Ok(Ok(End::List));
                }
            };
            if let Some(seen) = event.version() {
                if is_back(seen, version) && matches!(event, Event::Bookmark(_)) {
                    return Ok(Err(Failure::Behind(format!("its bookmark has version {seen}"))));
                }
                if !is_back(seen, version) {
                    seen.clone_into(version);
                }
            }
            let is_of_object = matches!(event, Event::Set(_) | Event::Gone(_));
            let change = match event {
                Event::Set(document) => self.known.set(document),
                Event::Gone(head) => self.known.gone(&head),
                Event::Failed(status) => return Ok(Err(Failure::of_status(&status))),
                Event::Bookmark(_) | Event::Unknown => None,
            };
            match change {
                Some(change) => self.tell_changes(vec![change]).await?,
                // Whoever waits for that version need not wait any longer.
                None if is_of_object => self.tell_changes(Vec::new()).await?,
                None => self.tell(News::Contact).await?,
            }
            self.backoff.reset();
        }
    }

    /// Reports a failure, and waits before the next attempt.
    async fn failed(&mut self, failure: Failure) -> Result<(), Closed> {
        let state = match &failure {
            Failure::Absent(_) => SourceState::Absent,
            Failure::Forbidden(_) => SourceState::Forbidden,
            Failure::Unauthorized(_) => SourceState::Unauthorized,
            Failure::Expired(_) | Failure::Behind(_) | Failure::Refused(_) | Failure::Away(_) => {
                SourceState::Away
            }
        };
        let is_believed = failure.is_denial() && self.denial_guard.is_over(&self.access.client()).await;
        if failure.is_denial() && !is_believed {
            sleep(self.backoff.pause()).await;
            return Ok(());
        }
        if !failure.is_denial() {
            self.denial_guard = DenialGuard::default();
        }
        if is_believed {
            // The objects of a kind that is not served are gone with it; those of a forbidden kind are not.
            if state == SourceState::Absent {
                self.known.begin();
                let gone = self.known.end(self.known.newest());
                self.tell_changes(gone).await?;
            }
            self.tell(News::Answered).await?;
        }
        self.tell(News::State(state, Some(failure.to_string()))).await?;
        self.access.renew().await;
        if state == SourceState::Absent && !self.known.source().is_for_warnings() {
            self.await_kind().await;
        } else {
            sleep(self.backoff.pause()).await;
        }
        Ok(())
    }

    /// Pauses, but not longer than until the server reports that it serves the kind: without its definition nothing
    /// of it is in force, and objects follow soon after a definition.
    async fn await_kind(&mut self) {
        let until = Instant::now() + self.backoff.pause();
        loop {
            let rest = until.saturating_duration_since(Instant::now());
            let look = LOOK * 3 / 4 + spread(LOOK / 2);
            sleep(rest.min(look)).await;
            let source = self.known.source();
            if rest <= look || request::is_served(&self.access.client(), source).await {
                return;
            }
        }
    }

    async fn tell_changes(&self, changes: Vec<Change>) -> Result<(), Closed> {
        let known = Known {
            counts: self.known.counts(),
            newest: self.known.newest(),
            followed: self.known.followed(),
        };
        self.tell(News::Changes(changes, known)).await
    }

    async fn tell(&self, news: News) -> Result<(), Closed> {
        let report = Report {
            source: self.number,
            news,
        };
        self.out.send(report).await.map_err(|_| Closed)
    }
}

/// Whether one version is older than another.
fn is_back(version: &str, other: &str) -> bool {
    let number = |version: &str| version.parse::<u64>().ok();
    number(version)
        .zip(number(other))
        .is_some_and(|(one, other)| one < other)
}
