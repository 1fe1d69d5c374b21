//! What the source of Kubernetes' objects makes of servers that misbehave at a chosen moment.
#![expect(clippy::unwrap_used, reason = "that is how a test fails")]

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use anyhow::Result;
use enforcer::{
    config::Config,
    sources::kube::{self, KubeChange, KubeStatus, Ports, Settings, SourceState},
};
use enforcer_core::{istio::Object, registry::Update};
use serde_json::{Value, json};
use tempfile::TempDir;
use tests::{
    daemon::PATIENCE,
    kube::{Fake, Reply, Then},
};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

const ENTRIES: &str = "/serviceentries";

fn entry(name: &str, version: u64, host: &str) -> Value {
    json!({
        "apiVersion": "networking.istio.io/v1", "kind": "ServiceEntry",
        "metadata": {"namespace": "n", "name": name, "uid": name, "resourceVersion": version.to_string()},
        "spec": {"hosts": [host], "ports": [{"number": 1, "name": "p", "protocol": "TCP"}]},
    })
}

fn line(what: &str, object: &Value) -> String {
    json!({"type": what, "object": object}).to_string() + "\n"
}

fn is_watch(path: &str) -> bool {
    path.contains("watch=true")
}

/// Answers for a cluster in which only entries are of interest: what else is asked for is empty, and nothing happens
/// to it.
fn others(path: &str) -> Reply {
    if is_watch(path) {
        Reply::Watch(Vec::new(), Then::Hold)
    } else {
        Reply::list(1, "", &[])
    }
}

/// What was told, as the owner takes it.
struct Told {
    changes: mpsc::Receiver<Vec<KubeChange>>,
    status: watch::Receiver<KubeStatus>,
    /// The hosts of what is in force, by name.
    entries: BTreeMap<String, String>,
    /// Each state that the owner has seen.
    history: Vec<BTreeMap<String, String>>,
    is_listed: bool,
}

impl Told {
    /// Takes in what comes until the entries are these.
    async fn until(&mut self, expected: &[(&str, &str)]) {
        let pairs = expected
            .iter()
            .map(|(name, host)| ((*name).to_owned(), (*host).to_owned()));
        let expected: BTreeMap<_, _> = pairs.collect();
        let arrive = async {
            while !(self.entries == expected && self.is_listed) {
                self.take().await;
            }
        };
        let in_time = tokio::time::timeout(PATIENCE, arrive).await;
        assert!(in_time.is_ok(), "it is {:?}, and not {expected:?}", self.entries);
    }

    async fn take(&mut self) {
        for change in self.changes.recv().await.expect("the source goes on") {
            match change {
                KubeChange::Update(Update::Apply(Object::ServiceEntry(entry))) => {
                    self.entries
                        .insert(entry.meta.name.clone(), entry.hosts[0].to_string());
                }
                KubeChange::Update(Update::Delete(id)) => drop(self.entries.remove(&id.name)),
                KubeChange::Update(other) => panic!("{other:?}"),
                KubeChange::Listed => self.is_listed = true,
                KubeChange::Rejected(..) | KubeChange::Followed(..) => {}
            }
        }
        self.history.push(self.entries.clone());
    }

    /// Waits until the entries' source is in a state, and returns why.
    async fn state(&mut self, state: SourceState) -> String {
        let is_so = |status: &KubeStatus| {
            let entries = status.sources.iter().find(|source| source.name == "ServiceEntry");
            entries.is_some_and(|source| source.state == state)
        };
        let status = tokio::time::timeout(PATIENCE, self.status.wait_for(is_so)).await;
        let status = status.expect("it comes to that").unwrap();
        let source = status
            .sources
            .iter()
            .find(|source| source.name == "ServiceEntry")
            .unwrap();
        source.error.clone().unwrap_or_default()
    }
}

/// Runs `claim` on what the source tells of a server that answers so; the second argument counts the requests for
/// lists of entries, the third those for watches, both from 1.
fn check(
    answer: impl Fn(&str, usize, usize) -> Option<Reply> + Send + Sync + 'static,
    claim: impl AsyncFnOnce(&mut Told, &Fake),
) -> Result<()> {
    check_in(&tempfile::tempdir()?, answer, claim)
}

/// The file of [`check_in`] that is kept for the next run.
const VERSIONS: &str = "versions.json";

/// Like [`check`], after others in the same folder.
fn check_in(
    folder: &TempDir,
    answer: impl Fn(&str, usize, usize) -> Option<Reply> + Send + Sync + 'static,
    claim: impl AsyncFnOnce(&mut Told, &Fake),
) -> Result<()> {
    let (lists, watches) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let fake = Fake::start(move |path| {
        if path.contains(ENTRIES) {
            let counter = if is_watch(path) { &watches } else { &lists };
            counter.fetch_add(1, Ordering::SeqCst);
        }
        let counts = (lists.load(Ordering::SeqCst), watches.load(Ordering::SeqCst));
        answer(path, counts.0, counts.1).unwrap_or_else(|| others(path))
    })?;
    std::fs::write(folder.path().join("kubeconfig"), fake.kubeconfig())?;
    let text = "registry: {kubernetes: {kubeconfig: kubeconfig, node: n1}}";
    let config = Config::parse(text, &folder.path().join("enforcer.yaml"))?;
    let settings = Settings {
        silence: Duration::from_millis(400),
        patience: Duration::from_millis(400),
        pause: Duration::from_millis(100),
        versions: Some(folder.path().join(VERSIONS)),
        ..Settings::new(config.kubernetes.expect("it is there"), None)
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let (sink, changes) = mpsc::channel(1);
        let (known, status) = watch::channel(KubeStatus::default());
        let ports = Ports {
            changes: sink,
            status: known,
            notices: mpsc::channel(16),
        };
        let cancel = CancellationToken::new();
        let task = tokio::spawn(kube::follow(settings, ports, cancel.clone()));
        let mut told = Told {
            changes,
            status,
            entries: BTreeMap::new(),
            history: Vec::new(),
            is_listed: false,
        };
        claim(&mut told, &fake).await;
        cancel.cancel();
        task.await?
    })
}

/// How a list of entries is asked for that may come from the server's cache.
fn from_cache(version: u64) -> String {
    format!("serviceentries?&resourceVersion={version}&resourceVersionMatch=NotOlderThan")
}

fn entries_only(path: &str, reply: impl FnOnce() -> Reply) -> Option<Reply> {
    path.contains(ENTRIES).then(reply)
}

#[test]
fn watch_that_has_expired_is_listed_again_without_an_empty_moment() {
    let answer = |path: &str, lists: usize, _| {
        entries_only(path, || match (is_watch(path), lists) {
            (false, 1) => Reply::list(5, "", &[entry("a", 4, "a.com"), entry("b", 5, "b.com")]),
            (false, _) => Reply::list(9, "", &[entry("a", 4, "a.com"), entry("c", 9, "c.com")]),
            (true, 1) => Reply::Watch(
                vec![line("ERROR", &json!({"kind": "Status", "code": 410}))],
                Then::End,
            ),
            (true, _) => Reply::Watch(Vec::new(), Then::Hold),
        })
    };
    check(answer, async |told, fake| {
        told.until(&[("a", "a.com"), ("c", "c.com")]).await;
        assert_eq!(fake.asked(&from_cache(5)), 1, "etcd is not asked again");
        for (moment, entries) in told.history.iter().enumerate() {
            assert!(
                entries.contains_key("a") || !told.is_listed || moment == 0,
                "{:?}",
                told.history
            );
        }
    })
    .unwrap();
}

#[test]
fn half_an_event_is_told_again_by_the_next_watch() {
    let whole = line("ADDED", &entry("a", 6, "a.com"));
    let answer = move |path: &str, _, watches: usize| {
        entries_only(path, || match (is_watch(path), watches) {
            (false, _) => Reply::list(5, "", &[]),
            (true, 1) => Reply::Watch(vec![whole[..whole.len() / 2].to_owned()], Then::Cut),
            (true, 2) => Reply::Watch(vec![whole[..whole.len() / 2].to_owned()], Then::End),
            (true, _) => {
                assert!(path.contains("resourceVersion=5"), "{path}");
                Reply::Watch(vec![whole.clone()], Then::Hold)
            }
        })
    };
    check(answer, async |told, fake| {
        told.until(&[("a", "a.com")]).await;
        assert_eq!(fake.asked("serviceentries?&limit"), 1, "nothing was listed again");
    })
    .unwrap();
}

#[test]
fn watch_that_falls_silent_is_replaced_and_goes_on_where_it_was() {
    let answer = |path: &str, _, watches: usize| {
        entries_only(path, || match (is_watch(path), watches) {
            (false, _) => Reply::list(5, "", &[]),
            (true, 1) => Reply::Watch(vec![line("ADDED", &entry("a", 6, "a.com"))], Then::Hold),
            (true, _) if path.contains("resourceVersion=6") => {
                Reply::Watch(vec![line("ADDED", &entry("b", 7, "b.com"))], Then::Hold)
            }
            (true, _) => Reply::Watch(Vec::new(), Then::Hold),
        })
    };
    check(answer, async |told, _| {
        told.until(&[("a", "a.com"), ("b", "b.com")]).await;
    })
    .unwrap();
}

#[test]
fn events_that_come_twice_or_in_another_order_leave_what_is_newest() {
    let answer = |path: &str, _, _| {
        entries_only(path, || {
            if !is_watch(path) {
                return Reply::list(5, "", &[entry("a", 5, "five.com"), entry("gone", 4, "gone.com")]);
            }
            let lines = vec![
                line("MODIFIED", &entry("a", 9, "nine.com")),
                line("MODIFIED", &entry("a", 7, "seven.com")),
                line("DELETED", &entry("gone", 8, "gone.com")),
                line("MODIFIED", &entry("gone", 6, "gone.com")),
                line("DELETED", &entry("gone", 8, "gone.com")),
                line("ADDED", &entry("a", 5, "five.com")),
                line("ADDED", &entry("last", 10, "last.com")),
                line("ADDED", &entry("last", 10, "last.com")),
            ];
            Reply::Watch(lines, Then::Hold)
        })
    };
    check(answer, async |told, _| {
        told.until(&[("a", "nine.com"), ("last", "last.com")]).await;
    })
    .unwrap();
}

#[test]
fn object_that_cannot_be_decoded_is_one_rejected_object() {
    let deep = |name: &str, version: u64| {
        let nested = format!("{}{}", "[".repeat(300), "]".repeat(300));
        let text = entry(name, version, "deep.com").to_string();
        text.replacen("\"spec\":{", &format!("\"spec\":{{\"deep\":{nested},"), 1)
    };
    let page = format!(
        "{{\"metadata\":{{\"resourceVersion\":\"5\"}},\"items\":[{},{}]}}",
        deep("bad", 4),
        entry("good", 5, "good.com")
    );
    let event = format!("{{\"type\":\"ADDED\",\"object\":{}}}\n", deep("worse", 6));
    let answer = move |path: &str, _, _| {
        entries_only(path, || {
            if is_watch(path) {
                let next = line("ADDED", &entry("next", 7, "next.com"));
                Reply::Watch(vec![event.clone(), next], Then::Hold)
            } else {
                Reply::Whole(200, page.clone())
            }
        })
    };
    check(answer, async |told, _| {
        told.until(&[("good", "good.com"), ("next", "next.com")]).await;
        let is_rejected = |status: &KubeStatus| status.sources.iter().any(|source| source.rejected == 2);
        let status = tokio::time::timeout(PATIENCE, told.status.wait_for(is_rejected)).await;
        assert_eq!(status.expect("both are counted").unwrap().sources[0].objects, 2);
    })
    .unwrap();
}

#[test]
fn event_that_is_no_json_has_everything_listed_again() {
    let answer = |path: &str, lists: usize, watches: usize| {
        entries_only(path, || match (is_watch(path), lists, watches) {
            (false, 1, _) => Reply::list(5, "", &[entry("a", 5, "a.com")]),
            (false, ..) => Reply::list(6, "", &[entry("a", 5, "a.com"), entry("b", 6, "b.com")]),
            (true, _, 1) => Reply::Watch(vec!["{\"type\":\n".to_owned()], Then::Hold),
            (true, ..) => Reply::Watch(Vec::new(), Then::Hold),
        })
    };
    check(answer, async |told, _| {
        told.until(&[("a", "a.com"), ("b", "b.com")]).await;
    })
    .unwrap();
}

#[test]
fn list_that_breaks_off_takes_nothing_away() {
    let answer = |path: &str, lists: usize, watches: usize| {
        entries_only(path, || match (is_watch(path), lists) {
            (false, 1) => Reply::list(5, "", &[entry("a", 4, "a.com"), entry("b", 5, "b.com")]),
            (true, _) if watches == 1 => Reply::Watch(vec![line("ERROR", &json!({"code": 410}))], Then::End),
            (true, _) => Reply::Watch(Vec::new(), Then::Hold),
            // Each of these lists begins well and is never completed.
            (false, 2 | 4) => Reply::list(9, "more", &[entry("c", 9, "c.com")]),
            (false, 3) => Reply::status(500),
            (false, 5) => Reply::status(410),
            (false, _) if path.contains("continue=more") => Reply::list(9, "", &[entry("a", 4, "a.com")]),
            (false, _) => Reply::list(9, "more", &[entry("c", 9, "c.com")]),
        })
    };
    check(answer, async |told, _| {
        told.until(&[("a", "a.com"), ("c", "c.com")]).await;
        let with_c = told.history.iter().filter(|entries| entries.contains_key("c"));
        assert!(
            with_c.clone().count() >= 2,
            "the broken lists have told what they had: {:?}",
            told.history
        );
        assert!(
            told.history.iter().any(|entries| entries.len() == 3),
            "b stays until a list is complete: {:?}",
            told.history
        );
    })
    .unwrap();
}

#[test]
fn server_that_is_starting_is_not_believed_when_it_denies() {
    static IS_READY: AtomicUsize = AtomicUsize::new(0);
    let answer = |path: &str, lists: usize, watches: usize| {
        if path.contains("/readyz") {
            let is_ready = IS_READY.load(Ordering::SeqCst) == 1;
            return Some(if is_ready {
                Reply::Whole(200, "ok".to_owned())
            } else {
                Reply::status(500)
            });
        }
        entries_only(path, || match (is_watch(path), lists) {
            (false, 1) => Reply::list(5, "", &[entry("a", 5, "a.com")]),
            (true, _) if watches == 1 => Reply::Watch(Vec::new(), Then::Cut),
            (true, _) | (false, _) => Reply::status(404),
        })
    };
    check(answer, async |told, fake| {
        told.until(&[("a", "a.com")]).await;
        let enough = async {
            while fake.asked("/readyz") < 3 {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(PATIENCE, enough)
            .await
            .expect("it is asked whether it is ready");
        assert!(told.changes.try_recv().is_err(), "nothing was taken away");
        IS_READY.store(1, Ordering::SeqCst);
        told.until(&[]).await;
        let reason = told.state(SourceState::Absent).await;
        assert!(reason.contains("not served"), "{reason}");
    })
    .unwrap();
}

#[test]
fn kind_that_is_not_shown_keeps_what_was_known() {
    let answer = |path: &str, lists: usize, watches: usize| {
        if path.contains("/readyz") {
            return Some(Reply::Whole(200, "ok".to_owned()));
        }
        entries_only(path, || match (is_watch(path), lists) {
            (false, 1) => Reply::list(5, "", &[entry("a", 5, "a.com")]),
            (true, _) if watches == 1 => Reply::Watch(Vec::new(), Then::Cut),
            (true, _) | (false, _) => Reply::status(403),
        })
    };
    check(answer, async |told, _| {
        told.until(&[("a", "a.com")]).await;
        told.state(SourceState::Forbidden).await;
        assert!(told.changes.try_recv().is_err(), "nothing was taken away");
        let status = told.status.borrow().clone();
        assert_eq!(status.sources[0].objects, 1);
    })
    .unwrap();
}

#[test]
fn server_that_never_answers_holds_the_first_lists_up_and_is_asked_again() {
    let answer = |path: &str, lists: usize, _| {
        entries_only(path, || match (is_watch(path), lists) {
            (false, 1..=2) => Reply::Never,
            (false, _) => Reply::list(5, "", &[entry("a", 5, "a.com")]),
            (true, _) => Reply::Watch(Vec::new(), Then::Hold),
        })
    };
    check(answer, async |told, _| {
        let reason = told.state(SourceState::Away).await;
        assert!(reason.contains("no answer within"), "{reason}");
        assert!(!told.status.borrow().is_complete);
        told.until(&[("a", "a.com")]).await;
        assert!(told.status.borrow().is_complete);
    })
    .unwrap();
}

#[test]
fn server_that_was_set_back_is_listed_again() {
    let bookmark = line("BOOKMARK", &json!({"metadata": {"resourceVersion": "3"}}));
    let answer = move |path: &str, lists: usize, watches: usize| {
        entries_only(path, || match (is_watch(path), lists, watches) {
            (false, 1, _) => Reply::list(900, "", &[entry("a", 900, "a.com")]),
            (false, ..) => Reply::list(3, "", &[entry("b", 3, "b.com")]),
            (true, _, 1) => Reply::Watch(vec![bookmark.clone()], Then::Hold),
            (true, ..) => Reply::Watch(Vec::new(), Then::Hold),
        })
    };
    check(answer, async |told, fake| {
        told.until(&[("b", "b.com")]).await;
        assert_eq!(
            fake.asked("NotOlderThan"),
            0,
            "nothing is as new as what was known"
        );
    })
    .unwrap();
}

#[test]
fn changes_that_nobody_takes_wait_once_for_each_object() {
    let answer = |path: &str, _, _| {
        entries_only(path, || {
            if !is_watch(path) {
                return Reply::list(5, "", &[]);
            }
            let versions = 6..2006;
            let event = |version| line("MODIFIED", &entry("a", version, &format!("v{version}.com")));
            let last = line("ADDED", &entry("last", 2006, "last.com"));
            Reply::Watch(versions.map(event).chain([last]).collect(), Then::Hold)
        })
    };
    check(answer, async |told, _| {
        let all = |status: &KubeStatus| status.sources.first().is_some_and(|source| source.objects == 2);
        let waiting = tokio::time::timeout(PATIENCE, told.status.wait_for(all)).await;
        assert_eq!(waiting.expect("they wait").unwrap().backlog, 2);
        told.until(&[("a", "v2005.com"), ("last", "last.com")]).await;
        assert!(told.history.len() <= 3, "{} batches", told.history.len());
    })
    .unwrap();
}

#[test]
fn start_asks_for_nothing_older_than_what_an_earlier_one_has_handed_on() {
    let folder = tempfile::tempdir().unwrap();
    let first = |path: &str, _, _| {
        entries_only(path, || {
            if is_watch(path) {
                Reply::Watch(vec![line("ADDED", &entry("c", 8, "c.com"))], Then::Hold)
            } else {
                Reply::list(7, "", &[entry("a", 4, "a.com"), entry("b", 5, "b.com")])
            }
        })
    };
    check_in(&folder, first, async |told, fake| {
        told.until(&[("a", "a.com"), ("b", "b.com"), ("c", "c.com")])
            .await;
        assert_eq!(fake.asked("NotOlderThan"), 0, "nothing was known");
    })
    .unwrap();
    let second = |path: &str, _, _| {
        entries_only(path, || {
            if is_watch(path) {
                Reply::Watch(vec![line("DELETED", &entry("b", 9, "b.com"))], Then::Hold)
            } else {
                Reply::list(8, "", &[entry("b", 5, "b.com"), entry("c", 8, "c.com")])
            }
        })
    };
    check_in(&folder, second, async |told, fake| {
        told.until(&[("c", "c.com")]).await;
        assert_eq!(
            (fake.asked(&from_cache(8)), fake.asked("serviceentries?&limit")),
            (1, 0)
        );
    })
    .unwrap();
    // A server that was set back, or that has fallen behind.
    let third = |path: &str, _, _| {
        entries_only(path, || {
            let future = json!({"kind": "Status", "status": "Failure", "code": 504,
                                "message": "Timeout: Too large resource version: 9, current: 3"});
            if is_watch(path) {
                Reply::Watch(Vec::new(), Then::Hold)
            } else if path.contains("NotOlderThan") {
                Reply::Whole(504, future.to_string())
            } else {
                Reply::list(3, "", &[entry("d", 3, "d.com")])
            }
        })
    };
    check_in(&folder, third, async |told, fake| {
        told.until(&[("d", "d.com")]).await;
        assert_eq!(
            (fake.asked(&from_cache(9)), fake.asked("serviceentries?&limit")),
            (1, 1)
        );
    })
    .unwrap();
    check_in(&folder, third, async |told, fake| {
        told.state(SourceState::Following).await;
        assert_eq!(
            fake.asked(&from_cache(3)),
            1,
            "what it was set back to is what is known"
        );
    })
    .unwrap();
}

#[test]
fn nothing_is_handed_on_before_it_is_kept_that_it_was_known() {
    const EVENTS: u64 = 3000;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join(VERSIONS);
    let answer = |path: &str, _, _| {
        entries_only(path, || {
            if !is_watch(path) {
                return Reply::list(9, "", &[]);
            }
            let event = |version| {
                line(
                    "ADDED",
                    &entry(&format!("e{version}"), version, &format!("v{version}.com")),
                )
            };
            Reply::Watch((10..10 + EVENTS).map(event).collect(), Then::Hold)
        })
    };
    check_in(&folder, answer, async |told, _| {
        while told.entries.len() < usize::try_from(EVENTS).unwrap() {
            let take = tokio::time::timeout(PATIENCE, told.take()).await;
            take.expect("all events are told");
            let kept: BTreeMap<String, u64> =
                serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap_or_default();
            let versions = told.entries.values();
            let newest = versions
                .map(|host| host[1..host.len() - 4].parse::<u64>().unwrap())
                .max();
            assert!(
                kept.get("ServiceEntry").copied() >= newest,
                "{kept:?} is less than {newest:?}"
            );
        }
        assert!(told.history.len() > 3, "they came a few at a time");
    })
    .unwrap();
}

#[test]
fn list_that_ends_half_way_is_asked_for_again_in_pages() {
    let whole = json!({
        "items": (1..=250).map(|number| entry(&format!("e{number}"), number, "e.com")).collect::<Vec<_>>(),
        "metadata": {"resourceVersion": "250"},
    })
    .to_string();
    let half = whole[..whole.len() / 2].to_owned();
    let answer = move |path: &str, lists: usize, watches: usize| {
        entries_only(path, || match (is_watch(path), lists) {
            (false, 1) => Reply::list(1, "", &[entry("e1", 1, "e.com")]),
            (false, 2) => Reply::Watch(vec![half.clone()], Then::Hold),
            (false, 3) => Reply::Watch(vec![half.clone()], Then::Cut),
            (false, 4) => Reply::Watch(vec![half.clone()], Then::End),
            (false, _) => Reply::list(
                251,
                "",
                &[entry("e1", 1, "e.com"), entry("last", 251, "last.com")],
            ),
            (true, _) if watches == 1 => Reply::Watch(vec![line("ERROR", &json!({"code": 410}))], Then::End),
            (true, _) => Reply::Watch(Vec::new(), Then::Hold),
        })
    };
    check(answer, async |told, fake| {
        told.until(&[("e1", "e.com"), ("last", "last.com")]).await;
        let (whole, pages) = (fake.asked(&from_cache(1)), fake.asked("serviceentries?&limit"));
        assert_eq!(
            (whole, pages),
            (1, 4),
            "what was too much whole is asked for in pages"
        );
        let most = told.history.iter().map(BTreeMap::len).max();
        assert!(most >= Some(100), "a list tells what it has as it comes");
    })
    .unwrap();
}
