//! The reported state of each file, and changes that are held back until they have lasted.

use std::{
    collections::{BTreeMap, BTreeSet, hash_map::RandomState},
    hash::BuildHasher,
    path::{Path, PathBuf},
    time::{Duration, Instant, SystemTime},
};

use super::{
    Content, DEBOUNCE, FileChange,
    hints::{Hints, Told as Hint},
    read,
    walk::Found,
};
use crate::stamp::Stamp;

/// A file that is gone or shorter has to stay so for this long: editors delete or truncate before they write. One that
/// was moved there was written before.
const LASTING: Duration = Duration::from_millis(250);
/// A file that keeps changing is read after this time, if it is not shorter at that moment...
const CHANGING_LIMIT: Duration = Duration::from_millis(400);
/// ...and after this time in any case.
const LASTING_LIMIT: Duration = Duration::from_secs(2);

const MISSING: &str = "does not exist (yet)";

/// Every file that was reported, or is about to be.
#[derive(Default)]
pub(super) struct Debounce {
    files: BTreeMap<PathBuf, File>,
    /// Those that are looked at again although nothing was told of them.
    waiting: BTreeSet<PathBuf>,
    hasher: RandomState,
    has_begun: bool,
}

/// The result of a check of the files.
#[derive(Default)]
pub(super) struct Changes {
    /// In the order of the paths.
    pub(super) changes: Vec<FileChange>,
    /// When a change that is held back may be accepted; None if there is none.
    pub(super) due: Option<Duration>,
    /// How many files were read.
    pub(super) reads: usize,
    waiting: BTreeSet<PathBuf>,
}

/// The circumstances of a check.
#[derive(Default)]
pub(super) struct Look {
    pub(super) clock: Clock,
    pub(super) hints: Hints,
}

/// The time of a check.
#[derive(Clone, Copy)]
pub(super) struct Clock {
    /// When it began.
    pub(super) now: Instant,
    /// The same, by the clock of the files' timestamps.
    pub(super) stamp: SystemTime,
}

impl Default for Clock {
    fn default() -> Self {
        Self {
            now: Instant::now(),
            stamp: SystemTime::now(),
        }
    }
}

impl Clock {
    /// The timestamp of a file that is written now: a check may take longer than the resolution of timestamps.
    fn wall(&self) -> SystemTime {
        self.stamp + self.now.elapsed()
    }
}

#[derive(Default)]
struct File {
    told: Told,
    /// The last state that was read.
    stamp: Option<Stamp>,
    /// Whether a file in that same state need not be read again.
    is_settled: bool,
    pending: Option<Pending>,
}

#[derive(Default, PartialEq, Eq)]
enum Told {
    #[default]
    Nothing,
    /// With a digest of the text, so that the text need not be kept.
    Text(u64),
    Unreadable(String),
}

/// A state that is not accepted yet; None means that the file is gone.
struct Pending {
    since: Instant,
    state: Option<Stamp>,
    state_since: Instant,
}

impl Debounce {
    /// What has changed since the last look at all files.
    pub(super) fn compare(&mut self, found: BTreeMap<PathBuf, Found>, look: &Look) -> Changes {
        self.waiting.clear();
        let missing = self.files.keys().filter(|path| !found.contains_key(*path));
        let missing = missing.filter(|path| !is_hidden(path, &found));
        let missing: Vec<_> = missing.map(|path| (path.clone(), None)).collect();
        let found = found.into_iter().map(|(path, found)| (path, Some(found)));
        let changes = self.compare_some(missing.into_iter().chain(found), look);
        self.has_begun = true;
        changes
    }

    /// What has changed of these; None stands for a file that is not there.
    pub(super) fn compare_some(
        &mut self,
        found: impl IntoIterator<Item = (PathBuf, Option<Found>)>,
        look: &Look,
    ) -> Changes {
        let mut changes = Changes::default();
        for (path, found) in found {
            self.waiting.remove(&path);
            let content = match found {
                Some(Found::File(stamp)) => self.look((&path, stamp), look, &mut changes),
                Some(Found::Missing) => self.miss(&path, look, &mut changes),
                Some(Found::Unreadable(reason)) => {
                    let file = self.files.entry(path.clone()).or_default();
                    file.is_settled = false;
                    Some(Content::Unreadable(reason))
                }
                None => self.is_gone(&path, look, &mut changes).then_some(Content::Gone),
            };
            if let Some(content) = content {
                self.tell(path, content, &mut changes);
            }
        }
        self.waiting.append(&mut changes.waiting);
        changes.changes.sort_by(|one, other| one.path.cmp(&other.path));
        changes
    }

    /// Whether there is such a file, or was.
    pub(super) fn knows(&self, path: &Path) -> bool {
        self.files.contains_key(path)
    }

    /// The files that are looked at again although nothing was told of them.
    pub(super) fn waiting(&self) -> &BTreeSet<PathBuf> {
        &self.waiting
    }

    /// The content of a regular file, if it can be accepted and may be new.
    fn look(&mut self, (path, stamp): (&Path, Stamp), look: &Look, changes: &mut Changes) -> Option<Content> {
        let file = self.files.entry(path.to_owned()).or_default();
        if file.stamp == Some(stamp) {
            file.pending = None;
            if file.is_settled {
                return None;
            }
        } else if self.has_begun
            && !file.is_whole(stamp, look.hints.of(path))
            && let Some(rest) = file.holds_back(Some(stamp), look.clock.now)
        {
            changes.look_again(path, rest);
            return None;
        }
        changes.reads += 1;
        let Some(reading) = read::read(path) else {
            changes.look_again(path, DEBOUNCE);
            return None;
        };
        let is_whole = !reading.is_torn && reading.stamp.is_none_or(|read| read == stamp);
        if !is_whole {
            changes.look_again(path, DEBOUNCE);
            if self.has_begun && !file.is_overdue(look.clock.now) {
                return None;
            }
        }
        file.stamp = reading.stamp.or(file.stamp);
        file.is_settled = reading
            .stamp
            .is_some_and(|stamp| is_whole && !stamp.is_recent(look.clock.wall()));
        Some(reading.content)
    }

    /// The report for a path that was named and does not exist.
    fn miss(&mut self, path: &Path, look: &Look, changes: &mut Changes) -> Option<Content> {
        let said = Told::Unreadable(MISSING.to_owned());
        if self.files.get(path).is_some_and(|file| file.told == said) || !self.is_gone(path, look, changes) {
            return None;
        }
        if self.files[path].told == Told::Nothing {
            return Some(Content::Unreadable(MISSING.to_owned()));
        }
        // The file is reported as gone first, and then as missing.
        changes.look_again(path, Duration::ZERO);
        Some(Content::Gone)
    }

    /// Whether to accept that a path does not exist.
    fn is_gone(&mut self, path: &Path, look: &Look, changes: &mut Changes) -> bool {
        let file = self.files.entry(path.to_owned()).or_default();
        let rest = file.holds_back(None, look.clock.now);
        let rest = rest.filter(|_| self.has_begun);
        if let Some(rest) = rest {
            changes.look_again(path, rest);
        }
        rest.is_none()
    }

    fn tell(&mut self, path: PathBuf, content: Content, changes: &mut Changes) {
        let told = match &content {
            Content::Text(text) => Told::Text(self.hasher.hash_one(text)),
            Content::Unreadable(reason) => Told::Unreadable(reason.clone()),
            Content::Gone => Told::Nothing,
        };
        let is_gone = content == Content::Gone;
        let file = self.files.entry(path.clone()).or_default();
        file.pending = None;
        if file.told != told {
            file.told = told;
            let path = path.clone();
            changes.changes.push(FileChange { path, content });
        }
        if is_gone {
            self.files.remove(&path);
        }
    }
}

impl File {
    /// Whether what was told of a new state says that all of it was written: what was moved there is another file than
    /// before. What was closed need not be: `{ a; b; } > file` closes it once, `a > file; b >> file` after each part, and
    /// connections to what is in the second would be closed. What is empty is what a writer begins with.
    fn is_whole(&self, state: Stamp, hint: Hint) -> bool {
        let is_less = self.stamp.is_some_and(|stamp| state.size < stamp.size);
        match hint {
            Hint::Moved => {
                state.size > 0 && self.stamp.is_none_or(|stamp| stamp.inode != state.inode) || !is_less
            }
            Hint::Closed | Hint::Open | Hint::Changed => false,
        }
    }

    /// For how much longer `state` has to last before it is accepted.
    fn holds_back(&mut self, state: Option<Stamp>, now: Instant) -> Option<Duration> {
        let is_less = match (state, self.stamp) {
            (Some(state), Some(stamp)) => state.size < stamp.size,
            (Some(_), None) => false,
            (None, _) => true,
        };
        let (patience, limit) = if is_less {
            (LASTING, LASTING_LIMIT)
        } else {
            (DEBOUNCE, CHANGING_LIMIT)
        };
        let pending = self.pending.get_or_insert(Pending {
            since: now,
            state,
            state_since: now,
        });
        if pending.state != state {
            pending.state = state;
            pending.state_since = now;
        }
        let until = (pending.state_since + patience).min(pending.since + limit);
        (until > now).then(|| until - now)
    }

    /// Whether a change has been pending for so long that the present content is accepted.
    fn is_overdue(&self, now: Instant) -> bool {
        self.pending
            .as_ref()
            .is_some_and(|pending| pending.since + LASTING_LIMIT <= now)
    }
}

impl Changes {
    /// The file is looked at again.
    fn look_again(&mut self, path: &Path, after: Duration) {
        self.waiting.insert(path.to_owned());
        self.look_soon(after);
    }

    pub(super) fn look_soon(&mut self, after: Duration) {
        self.due = Some(self.due.map_or(after, |due| due.min(after)));
    }
}

/// Whether `path` is below something that cannot be read now, so that its state is unknown.
fn is_hidden(path: &Path, found: &BTreeMap<PathBuf, Found>) -> bool {
    path.ancestors()
        .skip(1)
        .any(|folder| matches!(found.get(folder), Some(Found::Unreadable(_))))
}

#[cfg(test)]
mod tests;
