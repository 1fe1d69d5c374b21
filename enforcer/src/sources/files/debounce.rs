//! The reported state of each file, and changes that are held back until they have lasted.

use std::{
    collections::{BTreeMap, hash_map::RandomState},
    hash::BuildHasher,
    path::{Path, PathBuf},
    time::{Duration, Instant, SystemTime},
};

use super::{Content, DEBOUNCE, FileChange, read, walk::Found};
use crate::stamp::Stamp;

/// A file that is gone or shorter has to stay so for this long: editors delete or truncate before they write.
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
    hasher: RandomState,
    has_begun: bool,
}

/// The result of a check of the files.
pub(super) struct Changes {
    /// In the order of the paths.
    pub(super) changes: Vec<FileChange>,
    /// When a change that is held back may be accepted; None if there is none.
    pub(super) due: Option<Duration>,
    /// How many files were read.
    pub(super) reads: usize,
    clock: Clock,
}

/// The time of a check.
#[derive(Clone, Copy)]
pub(super) struct Clock {
    /// When it began.
    pub(super) now: Instant,
    /// The same, by the clock of the files' timestamps.
    pub(super) stamp: SystemTime,
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
    /// What has changed since the last look.
    pub(super) fn compare(&mut self, found: BTreeMap<PathBuf, Found>, clock: Clock) -> Changes {
        let mut changes = Changes::new(clock);
        let debounce = self.files.keys().filter(|path| !found.contains_key(*path));
        let absent: Vec<PathBuf> = debounce
            .filter(|path| !is_hidden(path, &found))
            .cloned()
            .collect();
        for path in absent {
            if self.is_gone(&path, &mut changes) {
                self.tell(path, Content::Gone, &mut changes);
            }
        }
        for (path, found) in found {
            let content = match found {
                Found::File(stamp) => self.look(&path, stamp, &mut changes),
                Found::Missing => self.miss(&path, &mut changes),
                Found::Unreadable(reason) => {
                    let file = self.files.entry(path.clone()).or_default();
                    file.is_settled = false;
                    Some(Content::Unreadable(reason))
                }
            };
            if let Some(content) = content {
                self.tell(path, content, &mut changes);
            }
        }
        self.has_begun = true;
        changes.changes.sort_by(|one, other| one.path.cmp(&other.path));
        changes
    }

    /// The content of a regular file, if it can be accepted and may be new.
    fn look(&mut self, path: &Path, stamp: Stamp, changes: &mut Changes) -> Option<Content> {
        let file = self.files.entry(path.to_owned()).or_default();
        if file.stamp == Some(stamp) {
            file.pending = None;
            if file.is_settled {
                return None;
            }
        } else if self.has_begun && file.holds_back(Some(stamp), changes) {
            return None;
        }
        changes.reads += 1;
        let Some(reading) = read::read(path) else {
            changes.look_again(DEBOUNCE);
            return None;
        };
        let is_whole = !reading.is_torn && reading.stamp.is_none_or(|read| read == stamp);
        if !is_whole {
            changes.look_again(DEBOUNCE);
            if self.has_begun && !file.is_overdue(changes.clock.now) {
                return None;
            }
        }
        file.stamp = reading.stamp.or(file.stamp);
        file.is_settled = reading
            .stamp
            .is_some_and(|stamp| is_whole && !stamp.is_recent(changes.clock.wall()));
        Some(reading.content)
    }

    /// The report for a path that was named and does not exist.
    fn miss(&mut self, path: &Path, changes: &mut Changes) -> Option<Content> {
        let said = Told::Unreadable(MISSING.to_owned());
        if self.files.get(path).is_some_and(|file| file.told == said) || !self.is_gone(path, changes) {
            return None;
        }
        if self.files[path].told == Told::Nothing {
            return Some(Content::Unreadable(MISSING.to_owned()));
        }
        // The file is reported as gone first, and then as missing.
        changes.look_again(Duration::ZERO);
        Some(Content::Gone)
    }

    /// Whether to accept that a path does not exist.
    fn is_gone(&mut self, path: &Path, changes: &mut Changes) -> bool {
        let file = self.files.entry(path.to_owned()).or_default();
        !(self.has_begun && file.holds_back(None, changes))
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
    /// Whether `state` has to last longer before it is accepted.
    fn holds_back(&mut self, state: Option<Stamp>, changes: &mut Changes) -> bool {
        let now = changes.clock.now;
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
        if until > now {
            changes.look_again(until - now);
        }
        until > now
    }

    /// Whether a change has been pending for so long that the present content is accepted.
    fn is_overdue(&self, now: Instant) -> bool {
        self.pending
            .as_ref()
            .is_some_and(|pending| pending.since + LASTING_LIMIT <= now)
    }
}

impl Changes {
    fn new(clock: Clock) -> Self {
        Self {
            changes: Vec::new(),
            due: None,
            reads: 0,
            clock,
        }
    }

    pub(super) fn look_again(&mut self, after: Duration) {
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
mod tests {
    use std::{fs, path::Path};

    use tempfile::TempDir;

    use super::*;
    use crate::sources::files::walk::walk;

    /// A folder that is looked at at chosen times.
    struct Bench {
        folder: TempDir,
        debounce: Debounce,
        clock: Clock,
    }

    impl Bench {
        fn new(files: &[(&str, &str)]) -> Self {
            let folder = tempfile::tempdir().expect("a folder");
            let clock = Clock {
                now: Instant::now(),
                stamp: SystemTime::now(),
            };
            let mut bench = Self {
                folder,
                debounce: Debounce::default(),
                clock,
            };
            for (name, text) in files {
                bench.write(name, text);
            }
            // By then, the stamps of the files are old.
            bench.after(10_000);
            bench
        }

        fn path(&self, name: &str) -> std::path::PathBuf {
            self.folder.path().join(name)
        }

        fn write(&self, name: &str, text: &str) {
            fs::write(self.path(name), text).expect("written");
        }

        fn remove(&self, name: &str) {
            fs::remove_file(self.path(name)).expect("removed");
        }

        fn after(&mut self, milliseconds: u64) -> Changes {
            let step = Duration::from_millis(milliseconds);
            self.clock.now += step;
            self.clock.stamp += step;
            let found = walk(&[self.folder.path().to_owned()]).found;
            self.debounce.compare(found, self.clock)
        }
    }

    /// What changed: `name=text`, `name gone` or `name: reason`.
    fn told(changes: &Changes) -> Vec<String> {
        let name = |path: &Path| {
            path.file_name()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned()
        };
        let line = |change: &FileChange| match &change.content {
            Content::Text(text) => format!("{}={text}", name(&change.path)),
            Content::Gone => format!("{} gone", name(&change.path)),
            Content::Unreadable(reason) => format!("{}: {reason}", name(&change.path)),
        };
        changes.changes.iter().map(line).collect()
    }

    #[test]
    fn only_what_changed_is_read_again() {
        let mut bench = Bench::new(&[("a.yaml", "1"), ("b.yaml", "1"), ("c.yaml", "1")]);
        assert_eq!(bench.after(10_000).reads, 0);
        bench.write("b.yaml", "22");
        let held = bench.after(0);
        assert_eq!((held.reads, held.due), (0, Some(DEBOUNCE)));
        let changes = bench.after(30);
        assert_eq!(told(&changes), ["b.yaml=22"]);
        assert_eq!(changes.reads, 1);
        assert_eq!(bench.after(10_000).reads, 0);
    }

    #[test]
    fn recently_changed_file_is_read_again_until_its_stamp_is_old() {
        let mut bench = Bench::new(&[]);
        bench.clock = Clock {
            now: Instant::now(),
            stamp: SystemTime::now(),
        };
        bench.write("a.yaml", "1");
        bench.after(0);
        assert_eq!(told(&bench.after(30)), ["a.yaml=1"]);
        let again = bench.after(100);
        assert_eq!((again.reads, told(&again).len()), (1, 0));
        assert_eq!(bench.after(10_000).reads, 1);
        assert_eq!(bench.after(10_000).reads, 0);
    }

    #[test]
    fn file_that_is_empty_while_it_is_written_is_never_told_as_empty() {
        let mut bench = Bench::new(&[("a.yaml", "old text")]);
        bench.write("a.yaml", "");
        for _ in 0..4 {
            assert_eq!(told(&bench.after(60)), [""; 0]);
        }
        bench.write("a.yaml", "new text, longer");
        assert_eq!(told(&bench.after(10)), [""; 0]);
        assert_eq!(told(&bench.after(30)), ["a.yaml=new text, longer"]);
    }

    #[test]
    fn file_that_stays_empty_is_told_as_empty() {
        let mut bench = Bench::new(&[("a.yaml", "old text")]);
        bench.write("a.yaml", "");
        assert_eq!(bench.after(0).due, Some(LASTING));
        assert_eq!(told(&bench.after(249)), [""; 0]);
        assert_eq!(told(&bench.after(1)), ["a.yaml="]);
    }

    #[test]
    fn file_that_is_deleted_and_written_again_is_never_told_as_gone() {
        let mut bench = Bench::new(&[("a.yaml", "old text")]);
        bench.remove("a.yaml");
        assert_eq!(bench.after(0).due, Some(LASTING));
        assert_eq!(told(&bench.after(200)), [""; 0]);
        bench.write("a.yaml", "new text");
        bench.after(10);
        assert_eq!(told(&bench.after(30)), ["a.yaml=new text"]);
    }

    #[test]
    fn file_that_stays_away_is_told_as_gone_once() {
        let mut bench = Bench::new(&[("a.yaml", "1"), ("b.yaml", "1")]);
        bench.remove("a.yaml");
        bench.after(0);
        assert_eq!(told(&bench.after(250)), ["a.yaml gone"]);
        let after = bench.after(250);
        assert_eq!((told(&after).len(), after.due), (0, None));
    }

    #[test]
    fn file_that_never_stops_changing_is_told_as_it_is() {
        let mut bench = Bench::new(&[("a.yaml", "")]);
        let mut text = String::new();
        let mut waited = 0;
        while told(&bench.after(20)).is_empty() {
            text.push('x');
            bench.write("a.yaml", &text);
            waited += 20;
        }
        assert_eq!(waited, 420, "the limit, and the look that began it");
    }

    #[test]
    fn file_that_is_written_without_a_pause_is_never_told_as_empty() {
        let mut bench = Bench::new(&[("a.yaml", "old text")]);
        let mut all = Vec::new();
        for round in 0..50 {
            bench.write("a.yaml", "");
            all.extend(told(&bench.after(20)));
            bench.write("a.yaml", &format!("new text {round:02}"));
            all.extend(told(&bench.after(10)));
        }
        assert!(all.len() > 2, "{all:?}");
        assert!(
            all.iter().all(|told| told.starts_with("a.yaml=new text")),
            "{all:?}"
        );
    }

    #[test]
    fn shorter_file_that_never_stops_changing_is_told_in_the_end() {
        let mut bench = Bench::new(&[("a.yaml", &"x".repeat(1000))]);
        let mut waited = 0;
        let mut text = String::new();
        while told(&bench.after(50)).is_empty() {
            text.push('y');
            bench.write("a.yaml", &text);
            waited += 50;
        }
        assert_eq!(waited, 2050, "the limit, and the look that began it");
    }

    #[test]
    fn new_content_that_is_the_old_content_is_not_told() {
        let mut bench = Bench::new(&[("a.yaml", "1")]);
        bench.write("new", "1");
        fs::rename(bench.path("new"), bench.path("a.yaml")).expect("renamed");
        bench.after(0);
        let changes = bench.after(30);
        assert_eq!((changes.reads, told(&changes).len()), (1, 0));
    }

    #[test]
    fn garbage_is_told_once_and_what_mends_it_too() {
        let mut bench = Bench::new(&[("a.yaml", "1")]);
        bench.write("a.yaml", "\0\0\0");
        bench.after(0);
        assert_eq!(
            told(&bench.after(30)),
            ["a.yaml: is not text: it has a zero byte at offset 0"]
        );
        assert_eq!(told(&bench.after(30)), [""; 0]);
        bench.write("a.yaml", "1");
        bench.after(0);
        assert_eq!(told(&bench.after(250)), ["a.yaml=1"]);
    }
}
