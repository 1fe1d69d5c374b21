//! Files and folders, as people and tools change them, and what is told of it.

use std::{
    collections::BTreeMap,
    fs::{self, File, Permissions},
    os::unix::{
        fs::{PermissionsExt, symlink},
        net::UnixListener,
    },
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use enforcer::sources::{
    self,
    files::{Content, FileChange, SIZE_LIMIT, follow},
};
use nix::{
    sys::stat::Mode,
    unistd::{Uid, geteuid, mkfifo, setfsuid},
};
use tempfile::TempDir;
use tokio::{runtime, sync::mpsc};
use tokio_util::sync::CancellationToken;

/// Far longer than anything here takes, so that only what never comes fails.
const PATIENCE: Duration = Duration::from_secs(30);

/// A follower in a thread of its own, and what it has told so far.
struct Follower {
    changes: mpsc::Receiver<Vec<FileChange>>,
    cancel: CancellationToken,
    thread: Option<thread::JoinHandle<anyhow::Result<()>>>,
    runtime: runtime::Runtime,
    told: BTreeMap<PathBuf, Content>,
    history: Vec<FileChange>,
}

impl Follower {
    fn new(paths: &[PathBuf]) -> Self {
        Self::as_user(None, paths)
    }

    /// Takes the first batch too.
    fn as_user(user: Option<Uid>, paths: &[PathBuf]) -> Self {
        let (sink, changes) = mpsc::channel(4);
        let cancel = CancellationToken::new();
        let (paths, token) = (paths.to_vec(), cancel.clone());
        let thread = thread::spawn(move || {
            if let Some(user) = user {
                // It holds for this thread and those that it starts, and takes root's right to read everything.
                setfsuid(user);
            }
            let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(follow(paths, sources::sink(sink).0, mpsc::channel(1).1, token))
        });
        let runtime = runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        let mut follower = Self {
            changes,
            cancel,
            thread: Some(thread),
            runtime,
            told: BTreeMap::new(),
            history: Vec::new(),
        };
        follower.take();
        follower.history.clear();
        follower
    }

    /// The next batch, also entered in what was told.
    fn take(&mut self) -> Vec<FileChange> {
        let changes = &mut self.changes;
        let batch = self
            .runtime
            .block_on(async { tokio::time::timeout(PATIENCE, changes.recv()).await });
        let batch = batch.unwrap_or_else(|_| panic!("nothing came; so far {:#?}", self.told));
        let batch = batch.expect("the follower lives");
        for change in &batch {
            match change.content {
                Content::Gone => self.told.remove(&change.path),
                _ => self.told.insert(change.path.clone(), change.content.clone()),
            };
        }
        self.history.extend(batch.iter().cloned());
        batch
    }

    /// Waits until what was told is exactly this, names relative to `folder`.
    fn until(&mut self, folder: &Path, expected: &[(&str, &str)]) {
        let expected: BTreeMap<PathBuf, Content> = expected
            .iter()
            .map(|(name, text)| (folder.join(name), Content::Text((*text).to_owned())))
            .collect();
        let deadline = Instant::now() + PATIENCE;
        while self.told != expected {
            assert!(
                Instant::now() < deadline,
                "expected {expected:#?}\ntold {:#?}",
                self.told
            );
            self.take();
        }
    }

    /// Waits until `path` has `text`; how long that took.
    fn until_text(&mut self, path: &Path, text: &str) -> Duration {
        let began = Instant::now();
        while self.told.get(path) != Some(&Content::Text(text.to_owned())) {
            assert!(
                began.elapsed() < PATIENCE,
                "expected {text:?}, told {:?}",
                self.told.get(path)
            );
            self.take();
        }
        began.elapsed()
    }

    fn reason(&self, path: &Path) -> &str {
        match self.told.get(path) {
            Some(Content::Unreadable(reason)) => reason,
            other => panic!("{} is not told as unreadable but as {other:?}", path.display()),
        }
    }

    fn end(mut self) -> anyhow::Result<()> {
        self.cancel.cancel();
        self.thread
            .take()
            .expect("it was started")
            .join()
            .expect("it did not panic")
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.cancel.cancel();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            eprintln!("the follower panicked");
        }
    }
}

fn folder(files: &[(&str, &str)]) -> TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    for (name, text) in files {
        write(&folder.path().join(name), text);
    }
    folder
}

fn write(path: &Path, text: &str) {
    fs::create_dir_all(path.parent().expect("a folder")).expect("its folder");
    fs::write(path, text).expect("written");
}

/// Writes beside, and renames over.
fn replace(path: &Path, text: &str) {
    let beside = path.with_extension("tmp");
    write(&beside, text);
    fs::rename(beside, path).expect("renamed");
}

#[test]
fn first_batch_holds_everything_in_the_order_of_paths() {
    let folder = folder(&[
        ("b.yaml", "b"),
        ("a.yml", "a"),
        ("sub/c.json", "c"),
        ("sub/readme.md", "no"),
    ]);
    let single = folder.path().join("sub/readme.md");
    let follower = Follower::new(&[folder.path().to_owned(), single]);
    let told: Vec<_> = follower
        .told
        .iter()
        .map(|(path, content)| (path.as_path(), content.clone()))
        .collect();
    let at = |name: &str| folder.path().join(name);
    let paths = [at("a.yml"), at("b.yaml"), at("sub/c.json"), at("sub/readme.md")];
    let texts = ["a", "b", "c", "no"].map(|text| Content::Text(text.to_owned()));
    assert_eq!(
        told,
        paths.iter().map(PathBuf::as_path).zip(texts).collect::<Vec<_>>()
    );
}

#[test]
fn first_batch_is_sent_even_if_there_is_nothing() {
    let folder = folder(&[]);
    let follower = Follower::new(&[folder.path().to_owned()]);
    assert!(follower.told.is_empty());
    let follower = Follower::new(&[]);
    assert!(follower.told.is_empty());
}

#[test]
fn creation_change_and_removal_arrive() {
    let folder = folder(&[]);
    let mut follower = Follower::new(&[folder.path().to_owned()]);
    let path = folder.path().join("team/a.yaml");
    write(&path, "1");
    follower.until(folder.path(), &[("team/a.yaml", "1")]);
    write(&path, "2");
    follower.until(folder.path(), &[("team/a.yaml", "2")]);
    fs::remove_file(&path).unwrap();
    follower.until(folder.path(), &[]);
    assert_eq!(follower.history.last().unwrap().content, Content::Gone);
}

/// Runs `write` in a thread again and again, with a count, until it is dropped.
struct Writer {
    is_over: Arc<AtomicBool>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Writer {
    fn new(mut write: impl FnMut(usize) + Send + 'static) -> Self {
        let is_over = Arc::<AtomicBool>::default();
        let seen = is_over.clone();
        let thread = thread::spawn(move || {
            let mut count = 0;
            while !seen.load(Ordering::Relaxed) {
                count += 1;
                write(count);
            }
        });
        Self {
            is_over,
            thread: Some(thread),
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            eprintln!("the writer panicked");
        }
    }
}

#[test]
fn change_arrives_in_well_under_a_second_also_while_others_never_stop_writing() {
    let folder = folder(&[("a.yaml", "0"), ("noise.yaml", "")]);
    let mut follower = Follower::new(&[folder.path().to_owned()]);
    let (path, noise) = (folder.path().join("a.yaml"), folder.path().join("noise.yaml"));
    let writer = Writer::new(move |count| fs::write(&noise, count.to_string()).expect("written"));
    let waits = (1..=5).map(|round: u32| {
        replace(&path, &round.to_string());
        follower.until_text(&path, &round.to_string())
    });
    let waits: Vec<_> = waits.collect();
    drop(writer);
    // The machine may stall now and then; a design that is slow would be so each time.
    assert!(
        waits.iter().any(|wait| *wait < Duration::from_secs(1)),
        "{waits:?}"
    );
}

#[test]
fn file_that_never_stops_changing_is_read_as_it_is() {
    let folder = folder(&[("a.yaml", "first")]);
    let mut follower = Follower::new(&[folder.path().to_owned()]);
    let path = folder.path().join("a.yaml");
    let _writer = Writer::new(move |count| replace(&path, &count.to_string()));
    for _ in 0..3 {
        assert_eq!(follower.take().len(), 1);
    }
}

#[test]
fn file_that_is_rewritten_in_place_is_never_told_as_empty() {
    let folder = folder(&[("a.yaml", "0: the first version")]);
    let mut follower = Follower::new(&[folder.path().to_owned()]);
    for version in 1..=20 {
        let text = format!("{version}: another version");
        fs::write(folder.path().join("a.yaml"), &text).unwrap();
        follower.until(folder.path(), &[("a.yaml", &text)]);
    }
    let empty = Content::Text(String::new());
    assert!(
        follower.history.iter().all(|change| change.content != empty),
        "{:?}",
        follower.history
    );
    fs::write(folder.path().join("a.yaml"), "").unwrap();
    follower.until(folder.path(), &[("a.yaml", "")]);
}

#[test]
fn atomic_rename_over_a_file_is_a_change() {
    let folder = folder(&[("a.yaml", "1")]);
    let mut follower = Follower::new(&[folder.path().to_owned(), folder.path().join("a.yaml")]);
    for text in ["2", "3", "a longer one", "4"] {
        replace(&folder.path().join("a.yaml"), text);
        follower.until(folder.path(), &[("a.yaml", text)]);
    }
    assert!(
        follower
            .history
            .iter()
            .all(|change| change.content != Content::Gone),
        "{:?}",
        follower.history
    );
}

#[test]
fn change_that_keeps_size_and_time_of_last_write_is_seen() {
    let folder = folder(&[("a.yaml", "1")]);
    let path = folder.path().join("a.yaml");
    let written = fs::metadata(&path).unwrap().modified().unwrap();
    let mut follower = Follower::new(&[folder.path().to_owned()]);
    fs::write(&path, "2").unwrap();
    File::options()
        .write(true)
        .open(&path)
        .unwrap()
        .set_modified(written)
        .unwrap();
    follower.until(folder.path(), &[("a.yaml", "2")]);
}

#[test]
fn editors_temporary_files_are_passed_over() {
    let folder = folder(&[("a.yaml", "1"), (".hidden.yaml", "no"), (".git/b.yaml", "no")]);
    let mut follower = Follower::new(&[folder.path().to_owned()]);
    follower.until(folder.path(), &[("a.yaml", "1")]);
    let names = [
        ".a.yaml.swp",
        ".a.yaml.swx",
        "a.yaml~",
        "4913",
        ".#a.yaml",
        "#a.yaml#",
        "a.yaml.bak",
        ".a.yaml",
    ];
    for name in names {
        write(&folder.path().join(name), "no");
    }
    // As vim does it: the old one becomes the backup, a new one is written, the backup goes.
    fs::rename(folder.path().join("a.yaml"), folder.path().join("a.yaml~")).unwrap();
    write(&folder.path().join("a.yaml"), "2");
    fs::remove_file(folder.path().join("a.yaml~")).unwrap();
    follower.until(folder.path(), &[("a.yaml", "2")]);
    let strange: Vec<_> = follower
        .history
        .iter()
        .filter(|change| !change.path.ends_with("a.yaml"))
        .collect();
    assert!(strange.is_empty(), "{strange:?}");
}

#[test]
fn mounted_config_map_is_read_once_and_swapped_whole() {
    let folder = folder(&[
        ("..2026_01/a.yaml", "a1"),
        ("..2026_01/b.yaml", "b1"),
        ("..2026_02/a.yaml", "a2"),
    ]);
    let at = |name: &str| folder.path().join(name);
    symlink("..2026_01", at("..data")).unwrap();
    symlink("..data/a.yaml", at("a.yaml")).unwrap();
    symlink("..data/b.yaml", at("b.yaml")).unwrap();
    let mut follower = Follower::new(&[folder.path().to_owned()]);
    assert_eq!(follower.told.len(), 2, "{:?}", follower.told);
    follower.until(folder.path(), &[("a.yaml", "a1"), ("b.yaml", "b1")]);
    // As the kubelet does it (`AtomicWriter`).
    write(&at("..2026_02/c.yaml"), "c2");
    symlink("..2026_02", at("..data_tmp")).unwrap();
    fs::rename(at("..data_tmp"), at("..data")).unwrap();
    symlink("..data/c.yaml", at("c.yaml")).unwrap();
    fs::remove_file(at("b.yaml")).unwrap();
    fs::remove_dir_all(at("..2026_01")).unwrap();
    follower.until(folder.path(), &[("a.yaml", "a2"), ("c.yaml", "c2")]);
    // And once more, to show that the new target is watched.
    write(&at("..2026_03/a.yaml"), "a3");
    symlink("..2026_03", at("..data_tmp")).unwrap();
    fs::rename(at("..data_tmp"), at("..data")).unwrap();
    fs::remove_file(at("c.yaml")).unwrap();
    follower.until(folder.path(), &[("a.yaml", "a3")]);
}

#[test]
fn target_of_a_link_is_followed_wherever_it_is() {
    let elsewhere = folder(&[("deep/er/real.txt", "1")]);
    let folder = folder(&[]);
    symlink(elsewhere.path().join("deep"), folder.path().join(".way")).unwrap();
    symlink(".way/er/../er/real.txt", folder.path().join("a.yaml")).unwrap();
    let mut follower = Follower::new(&[folder.path().to_owned()]);
    for text in ["2", "3"] {
        replace(&elsewhere.path().join("deep/er/real.txt"), text);
        follower.until(folder.path(), &[("a.yaml", text)]);
    }
}

#[test]
fn folder_that_is_a_link_is_followed_when_it_is_swapped() {
    let folder = folder(&[("v1/a.yaml", "1"), ("v2/b.yaml", "2")]);
    let at = |name: &str| folder.path().join(name);
    symlink("v1", at("current")).unwrap();
    let mut follower = Follower::new(&[at("current")]);
    follower.until(&at("current"), &[("a.yaml", "1")]);
    symlink("v2", at("next")).unwrap();
    fs::rename(at("next"), at("current")).unwrap();
    follower.until(&at("current"), &[("b.yaml", "2")]);
    write(&at("v2/c.yaml"), "3");
    follower.until(&at("current"), &[("b.yaml", "2"), ("c.yaml", "3")]);
}

#[test]
fn folder_that_does_not_exist_yet_is_reported_and_taken_up() {
    let folder = folder(&[]);
    let root = folder.path().join("not/yet/here");
    let mut follower = Follower::new(std::slice::from_ref(&root));
    assert_eq!(follower.reason(&root), "does not exist (yet)");
    write(&root.join("a.yaml"), "1");
    follower.until(&root, &[("a.yaml", "1")]);
}

#[test]
fn folder_that_is_removed_and_made_again_is_followed_on() {
    let folder = folder(&[("x/registry/a.yaml", "1"), ("x/single.yaml", "s")]);
    let (root, single) = (
        folder.path().join("x/registry"),
        folder.path().join("x/single.yaml"),
    );
    let mut follower = Follower::new(&[root.clone(), single.clone()]);
    for round in 0..3 {
        fs::remove_dir_all(folder.path().join("x")).unwrap();
        while !follower
            .told
            .values()
            .all(|content| matches!(content, Content::Unreadable(_)))
        {
            follower.take();
        }
        assert!(!follower.told.contains_key(&root.join("a.yaml")));
        let text = format!("{round}");
        write(&root.join("a.yaml"), &text);
        write(&single, &text);
        follower.until(
            folder.path(),
            &[("x/registry/a.yaml", &text), ("x/single.yaml", &text)],
        );
    }
    // At once, which may give the new folder the old one's inode number.
    for round in 0..20 {
        fs::remove_dir_all(&root).unwrap();
        write(&root.join("a.yaml"), "again");
        write(&root.join("b.yaml"), &format!("{round}"));
    }
    follower.until(
        folder.path(),
        &[
            ("x/registry/a.yaml", "again"),
            ("x/registry/b.yaml", "19"),
            ("x/single.yaml", "2"),
        ],
    );
    write(&root.join("a.yaml"), "and on");
    follower.until(
        folder.path(),
        &[
            ("x/registry/a.yaml", "and on"),
            ("x/registry/b.yaml", "19"),
            ("x/single.yaml", "2"),
        ],
    );
}

#[test]
fn folder_that_is_renamed_is_left_and_the_one_in_its_place_followed() {
    let folder = folder(&[("registry/a.yaml", "1"), ("other/a.yaml", "2")]);
    let at = |name: &str| folder.path().join(name);
    let mut follower = Follower::new(&[at("registry")]);
    fs::rename(at("registry"), at("old")).unwrap();
    fs::rename(at("other"), at("registry")).unwrap();
    follower.until(folder.path(), &[("registry/a.yaml", "2")]);
    write(&at("registry/a.yaml"), "3");
    follower.until(folder.path(), &[("registry/a.yaml", "3")]);
}

#[test]
fn link_loops_are_reported_and_harm_nothing() {
    let folder = folder(&[("a.yaml", "1"), ("sub/b.yaml", "2")]);
    let at = |name: &str| folder.path().join(name);
    symlink("self.yaml", at("self.yaml")).unwrap();
    symlink("pong", at("ping")).unwrap();
    symlink("ping", at("pong")).unwrap();
    symlink("..", at("sub/up")).unwrap();
    symlink("nothing", at("dangling.yaml")).unwrap();
    let mut follower = Follower::new(&[folder.path().to_owned()]);
    for name in ["self.yaml", "ping", "pong"] {
        assert_eq!(
            follower.reason(&at(name)),
            "is a symbolic link that leads back to itself"
        );
    }
    assert_eq!(
        follower.reason(&at("sub/up")),
        "is a symbolic link to a folder that it is in"
    );
    assert_eq!(
        follower.reason(&at("dangling.yaml")),
        "is a symbolic link to nothing"
    );
    assert_eq!(follower.told[&at("sub/b.yaml")], Content::Text("2".to_owned()));
    assert_eq!(follower.told.len(), 7, "{:?}", follower.told);
    for name in ["self.yaml", "ping", "pong", "sub/up", "dangling.yaml"] {
        fs::remove_file(at(name)).unwrap();
    }
    write(&at("a.yaml"), "3");
    follower.until(folder.path(), &[("a.yaml", "3"), ("sub/b.yaml", "2")]);
}

#[test]
fn folder_with_two_ways_to_it_is_read_once() {
    let folder = folder(&[("a/x.yaml", "1")]);
    symlink("a", folder.path().join("b")).unwrap();
    let mut follower = Follower::new(&[folder.path().to_owned(), folder.path().join("b")]);
    follower.until(folder.path(), &[("a/x.yaml", "1")]);
}

#[test]
fn folder_named_like_a_file_is_a_folder() {
    let folder = folder(&[("x.yaml/a.yaml", "1")]);
    let mut follower = Follower::new(&[folder.path().to_owned()]);
    follower.until(folder.path(), &[("x.yaml/a.yaml", "1")]);
    fs::remove_dir_all(folder.path().join("x.yaml")).unwrap();
    write(&folder.path().join("x.yaml"), "2");
    follower.until(folder.path(), &[("x.yaml", "2")]);
}

#[test]
fn what_is_no_regular_file_is_reported_and_never_waited_for() {
    let folder = folder(&[("a.yaml", "1")]);
    let at = |name: &str| folder.path().join(name);
    mkfifo(&at("fifo.yaml"), Mode::S_IRWXU).unwrap();
    mkfifo(&at("fifo"), Mode::S_IRWXU).unwrap();
    symlink("/dev/zero", at("device.yaml")).unwrap();
    let _socket = UnixListener::bind(at("socket.yaml")).unwrap();
    let follower = Follower::new(&[folder.path().to_owned(), at("fifo")]);
    for name in ["fifo.yaml", "fifo", "device.yaml", "socket.yaml"] {
        assert_eq!(follower.reason(&at(name)), "is not a regular file");
    }
    assert_eq!(follower.told.len(), 5, "{:?}", follower.told);
    follower.end().unwrap();
}

#[test]
fn file_over_the_limit_is_reported_with_the_limit_and_read_once_it_is_small() {
    let folder = folder(&[("a.yaml", "1")]);
    let path = folder.path().join("big.yaml");
    File::create(&path).unwrap().set_len(SIZE_LIMIT + 1).unwrap();
    let full = folder.path().join("full.yaml");
    fs::write(&full, vec![b'x'; usize::try_from(SIZE_LIMIT).unwrap()]).unwrap();
    let mut follower = Follower::new(&[folder.path().to_owned()]);
    assert_eq!(
        follower.reason(&path),
        "is too large: 17 MiB, and the limit is 16 MiB; split it"
    );
    assert!(matches!(follower.told[&full], Content::Text(_)));
    fs::remove_file(&full).unwrap();
    fs::write(&path, "small").unwrap();
    follower.until(folder.path(), &[("a.yaml", "1"), ("big.yaml", "small")]);
}

#[test]
fn garbage_is_reported_with_its_place() {
    let folder = folder(&[("a.yaml", "1")]);
    let at = |name: &str| folder.path().join(name);
    let utf16: Vec<u8> = "hosts: [a]".encode_utf16().flat_map(u16::to_le_bytes).collect();
    for (name, bytes, expected) in [
        (
            "latin1.yaml",
            &b"name: M\xfcller"[..],
            "is not UTF-8 text: it is wrong from offset 7 on",
        ),
        (
            "cut.yaml",
            &b"ab\xe2\x82"[..],
            "is not UTF-8 text: it is wrong from offset 2 on",
        ),
        (
            "zero.yaml",
            &b"\x7fELF\x01\0\0"[..],
            "is not text: it has a zero byte at offset 5",
        ),
        (
            "utf16.yaml",
            &utf16,
            "is not text: it has a zero byte at offset 1",
        ),
    ] {
        fs::write(at(name), bytes).unwrap();
        let follower = Follower::new(&[folder.path().to_owned()]);
        assert_eq!(follower.reason(&at(name)), expected);
    }
}

#[test]
fn what_may_not_be_read_is_reported_and_is_not_gone() {
    let folder = folder(&[("a.yaml", "1"), ("sub/b.yaml", "2")]);
    let at = |name: &str| folder.path().join(name);
    let allow = |name: &str, mode| fs::set_permissions(at(name), Permissions::from_mode(mode)).unwrap();
    allow("", 0o755);
    let user = geteuid().is_root().then(|| Uid::from_raw(65534));
    let mut follower = Follower::as_user(user, &[folder.path().to_owned()]);
    allow("a.yaml", 0o000);
    allow("sub", 0o000);
    while follower
        .told
        .values()
        .filter(|content| matches!(content, Content::Unreadable(_)))
        .count()
        < 2
    {
        follower.take();
    }
    for name in ["a.yaml", "sub"] {
        assert_eq!(
            follower.reason(&at(name)),
            "cannot be read: Permission denied (os error 13)"
        );
    }
    assert_eq!(follower.told[&at("sub/b.yaml")], Content::Text("2".to_owned()));
    allow("a.yaml", 0o644);
    allow("sub", 0o755);
    follower.until(folder.path(), &[("a.yaml", "1"), ("sub/b.yaml", "2")]);
    let gone: Vec<_> = follower
        .history
        .iter()
        .filter(|change| change.content == Content::Gone)
        .collect();
    assert_eq!(gone.len(), 1, "only the folder's own trouble is over: {gone:?}");
    assert_eq!(gone[0].path, at("sub"));
}

#[test]
fn change_without_an_event_is_found_by_looking_again() {
    let outside = folder(&[("real", "1")]);
    let folder = folder(&[]);
    // The kernel tells only the folder through which a file is opened.
    fs::hard_link(outside.path().join("real"), folder.path().join("a.yaml")).unwrap();
    let mut follower = Follower::new(&[folder.path().to_owned()]);
    // Once the second file was told, nothing is pending that would have it look at the first.
    write(&folder.path().join("b.yaml"), "b");
    follower.until(folder.path(), &[("a.yaml", "1"), ("b.yaml", "b")]);
    for text in ["2", "3"] {
        fs::write(outside.path().join("real"), text).unwrap();
        follower.until(folder.path(), &[("a.yaml", text), ("b.yaml", "b")]);
    }
}

#[test]
fn fifty_thousand_files_are_told_at_once_and_one_change_alone() {
    let folder = folder(&[]);
    for index in 0..50_000 {
        let sub = folder.path().join(format!("{:02}", index % 50));
        if index < 50 {
            fs::create_dir(&sub).unwrap();
        }
        fs::write(sub.join(format!("{index}.yaml")), format!("{index}")).unwrap();
    }
    let mut follower = Follower::new(&[folder.path().to_owned()]);
    assert_eq!(follower.told.len(), 50_000);
    let path = folder.path().join("07/7.yaml");
    replace(&path, "new");
    let expected = FileChange {
        path,
        content: Content::Text("new".to_owned()),
    };
    assert_eq!(follower.take(), [expected]);
}

#[test]
fn cancelled_follower_ends_well() {
    let folder = folder(&[("a.yaml", "1")]);
    Follower::new(&[folder.path().to_owned()]).end().unwrap();
}

#[test]
fn follower_that_nobody_listens_to_ends_with_an_error() {
    let folder = folder(&[("a.yaml", "1")]);
    let mut follower = Follower::new(&[folder.path().to_owned()]);
    follower.changes.close();
    write(&folder.path().join("a.yaml"), "2");
    let error = follower.thread.take().unwrap().join().unwrap().unwrap_err();
    assert_eq!(error.to_string(), "nobody takes the registry's files any more");
}
