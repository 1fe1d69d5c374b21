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
        let look = Look {
            clock: self.clock,
            hints: Hints::default(),
        };
        self.debounce.compare(found, &look)
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
