//! Connects the sources with the owner: passes changes on, keeps the status of each source, and starts and stops
//! sources.
//!
//! It must never wait for the owner: changes that the owner does not receive wait here, and only the last one of
//! each object is kept.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
    time::Instant,
};

use anyhow::{Result, bail};
use enforcer_core::{
    istio::{Kind, Object, ObjectId},
    model::Namespace,
    registry::Update,
};
use tokio::{
    sync::{mpsc, watch},
    task::{AbortHandle, JoinSet},
};

use super::{
    KubeChange, KubeStatus, Ports, Settings, SourceState, SourceStatus,
    access::Access,
    events::{Pods, Writer},
    source::Source,
    store::{Change, Rejection, Store},
    versions::Versions,
    watch::{Follower, News, Report},
};
use crate::report::{dedup::Dedup, notice::Notice};

/// Reports that wait between the sources and the hub.
const BACKLOG: usize = 64;

/// Objects that are passed on at once: a request to the owner waits until it has processed them.
const BATCH: usize = 1000;

pub(super) struct Hub {
    settings: Arc<Settings>,
    access: Arc<Access>,
    node: String,
    tasks: JoinSet<&'static str>,
    slots: BTreeMap<usize, Slot>,
    /// The source that follows the pods of a namespace.
    selectable: BTreeMap<Namespace, usize>,
    /// ServiceEntries that select pods.
    selectors: BTreeSet<ObjectId>,
    /// Which sources have a pod: one that is bound to a node moves from one source to another.
    pods: HashMap<ObjectId, BTreeSet<usize>>,
    /// The pods of this node, for events.
    references: Pods,
    pending: BTreeMap<ObjectId, Update>,
    /// What the owner was not told of rejections.
    rejections: BTreeMap<ObjectId, Option<String>>,
    versions: Versions,
    listed: Listed,
    problems: BTreeMap<ObjectId, String>,
    /// Whether the problems differ from those that were reported.
    has_new_problems: bool,
    said: Dedup,
}

struct Slot {
    source: Source,
    has_answered: bool,
    /// The newest version of its objects.
    newest: Option<u64>,
    /// Up to which version the owner may count on having everything, and what it was told of that.
    followed: Option<u64>,
    told: Option<u64>,
    abort: AbortHandle,
    status: SourceStatus,
}

/// Whether it was reported that everything has been listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Listed {
    No,
    Due,
    Said,
}

impl Hub {
    pub(super) fn new(settings: Settings, access: Arc<Access>) -> Self {
        let node = crate::node::name(settings.access.node.as_deref());
        let versions = Versions::open(settings.versions.as_deref());
        Self {
            settings: Arc::new(settings),
            access,
            node,
            tasks: JoinSet::new(),
            slots: BTreeMap::new(),
            selectable: BTreeMap::new(),
            selectors: BTreeSet::new(),
            pods: HashMap::new(),
            references: Pods::default(),
            pending: BTreeMap::new(),
            rejections: BTreeMap::new(),
            versions,
            listed: Listed::No,
            problems: BTreeMap::new(),
            has_new_problems: false,
            said: Dedup::listed(": each rejected object has a Kubernetes Event that says why"),
        }
    }

    /// Runs until the receiver of changes is closed.
    pub(super) async fn run(mut self, ports: Ports) -> Result<()> {
        let Ports {
            changes,
            status,
            notices: (notify, notices),
        } = ports;
        let (out, mut reports) = mpsc::channel(BACKLOG);
        for source in Source::all(&self.settings, &self.node) {
            self.start(source, &out);
        }
        let writer = Writer::new(self.access.clone(), self.references.clone(), self.node.clone());
        self.tasks.spawn(async move {
            writer.run(notices).await;
            "events"
        });
        loop {
            tokio::select! {
                Some(report) = reports.recv() => self.take(report, &out, &notify),
                permit = changes.reserve(), if self.has_news() => match permit {
                    Ok(permit) => permit.send(self.news()),
                    Err(_) => bail!("nobody takes the API server's objects any more"),
                },
                Some(ended) = self.tasks.join_next() => match ended {
                    Err(error) if error.is_cancelled() => {}
                    Err(error) => return Err(error.into()),
                    Ok(name) => bail!("{name} has ended"),
                },
            }
            while let Ok(report) = reports.try_recv() {
                self.take(report, &out, &notify);
            }
            self.publish(&status);
        }
    }

    fn start(&mut self, source: Source, out: &mpsc::Sender<Report>) -> usize {
        let number = self.slots.last_key_value().map_or(0, |(last, _)| last + 1);
        let status = SourceStatus::new(source.name.clone());
        let newest = self.versions.earlier(&source.name);
        let kept = self.settings.kept.clone().filter(|_| !source.is_for_warnings());
        let known = Store::new(source.clone(), newest).keeping(kept);
        let to = (number, out.clone());
        let follower = Follower::new(self.access.clone(), self.settings.clone(), known, to);
        let abort = self.tasks.spawn(async move {
            follower.run().await;
            "the source of objects"
        });
        let slot = Slot {
            has_answered: source.is_for_warnings(),
            source,
            newest,
            followed: None,
            told: None,
            abort,
            status,
        };
        self.slots.insert(number, slot);
        number
    }

    fn take(&mut self, report: Report, out: &mpsc::Sender<Report>, notify: &mpsc::Sender<Notice>) {
        // The last reports of a source that is no longer needed.
        let Some(slot) = self.slots.get_mut(&report.source) else {
            return;
        };
        match report.news {
            News::Contact => slot.status.contact = Some(Instant::now()),
            News::Answered => slot.has_answered = true,
            News::State(state, error) => {
                slot.set_state(state, error);
                if state == SourceState::Following {
                    slot.status.contact = Some(Instant::now());
                }
            }
            News::Changes(changes, known) => {
                slot.status.contact = Some(Instant::now());
                (slot.status.objects, slot.status.rejected) = known.counts;
                slot.newest = known.newest;
                slot.followed = known.followed;
                for change in changes {
                    self.change(report.source, change, notify);
                }
                self.say_problems();
                self.follow_selectors(out);
            }
        }
        if self.listed == Listed::No && self.slots.values().all(|slot| slot.has_answered) {
            self.listed = Listed::Due;
        }
    }

    fn change(&mut self, source: usize, change: Change, notify: &mpsc::Sender<Notice>) {
        match change {
            Change::Set(object, uid) => {
                let id = object.id();
                self.is_rejected_no_more(&id);
                match &object {
                    Object::Pod(_) => self.pod_is_there(source, &id, uid),
                    Object::ServiceEntry(entry) if entry.selector.is_some() => {
                        self.selectors.insert(id.clone());
                    }
                    Object::ServiceEntry(_) => drop(self.selectors.remove(&id)),
                    _ => {}
                }
                self.pending.insert(id, Update::Apply(object));
            }
            Change::Gone(id) => {
                self.is_rejected_no_more(&id);
                self.selectors.remove(&id);
                if id.kind != Kind::Pod || self.pod_is_gone(source, &id) {
                    self.pending.insert(id.clone(), Update::Delete(id));
                }
            }
            Change::Rejected(rejection) => {
                let Rejection {
                    id,
                    uid,
                    api_version,
                    message,
                    keeps_older,
                } = rejection;
                let kept = if keeps_older {
                    " (the last good version stays in force)"
                } else {
                    ""
                };
                self.has_new_problems = true;
                self.problems.insert(id.clone(), format!("{id}: {message}{kept}"));
                self.rejections
                    .insert(id.clone(), Some(format!("{message}{kept}")));
                let notice = Notice::rejected(id, (api_version, uid), &message, keeps_older);
                if notify.try_send(notice).is_err() {
                    tracing::debug!("too many Kubernetes Events wait: one is not written");
                }
            }
        }
    }

    fn is_rejected_no_more(&mut self, id: &ObjectId) {
        if self.problems.remove(id).is_some() {
            self.has_new_problems = true;
            self.rejections.insert(id.clone(), None);
        }
    }

    fn pod_is_there(&mut self, source: usize, id: &ObjectId, uid: String) {
        self.pods.entry(id.clone()).or_default().insert(source);
        if !self.selectable.values().any(|number| *number == source) {
            self.references.insert(id, uid);
        }
    }

    /// Whether no other source has the pod.
    fn pod_is_gone(&mut self, source: usize, id: &ObjectId) -> bool {
        if !self.selectable.values().any(|number| *number == source) {
            self.references.remove(id);
        }
        let Some(sources) = self.pods.get_mut(id) else {
            return true;
        };
        sources.remove(&source);
        let is_gone = sources.is_empty();
        if is_gone {
            self.pods.remove(id);
        }
        is_gone
    }

    /// Follows the pods of exactly those namespaces in which entries select pods.
    fn follow_selectors(&mut self, out: &mpsc::Sender<Report>) {
        let wanted: BTreeSet<Namespace> = self.selectors.iter().map(|id| id.namespace.clone()).collect();
        let unwanted: Vec<_> = self
            .selectable
            .keys()
            .filter(|it| !wanted.contains(*it))
            .cloned()
            .collect();
        for namespace in unwanted {
            let Some(number) = self.selectable.remove(&namespace) else {
                continue;
            };
            if let Some(slot) = self.slots.remove(&number) {
                slot.abort.abort();
                if let Some(kept) = &self.settings.kept {
                    kept.forget(&slot.source.name);
                }
            }
            let left = self.pods.iter().filter(|(_, sources)| sources.contains(&number));
            for id in left.map(|(id, _)| id.clone()).collect::<Vec<_>>() {
                let sources = self.pods.entry(id.clone()).or_default();
                sources.remove(&number);
                if sources.is_empty() {
                    self.pods.remove(&id);
                    self.pending.insert(id.clone(), Update::Delete(id));
                }
            }
        }
        for namespace in wanted {
            if !self.selectable.contains_key(&namespace) {
                let number = self.start(Source::selectable(&namespace, &self.node), out);
                self.selectable.insert(namespace, number);
            }
        }
    }

    fn say_problems(&mut self) {
        if !std::mem::take(&mut self.has_new_problems) {
            return;
        }
        for problem in self.said.news(self.problems.values().cloned().collect()) {
            tracing::error!("{problem}");
        }
    }

    fn has_news(&self) -> bool {
        let has_marks = || self.slots.values().any(|slot| slot.mark().is_some());
        !self.pending.is_empty() || !self.rejections.is_empty() || self.listed == Listed::Due || has_marks()
    }

    /// The waiting changes, as many as are passed on at once. Their versions are stored first, so that the next
    /// start cannot miss anything that they bring into force.
    fn news(&mut self) -> Vec<KubeChange> {
        let slots = self.slots.values();
        let newest = slots.filter_map(|slot| Some((slot.source.name.clone(), slot.newest?)));
        self.versions.keep(newest.collect());
        let waiting = std::iter::from_fn(|| self.pending.pop_first());
        let some = waiting.take(BATCH).map(|(_, update)| KubeChange::Update(update));
        let mut news: Vec<_> = some.collect();
        let rejections = std::mem::take(&mut self.rejections);
        news.extend(
            rejections
                .into_iter()
                .map(|(id, why)| KubeChange::Rejected(id, why)),
        );
        if self.pending.is_empty() {
            news.extend(self.slots.values_mut().filter_map(Slot::take_mark));
        }
        if self.listed == Listed::Due && self.pending.is_empty() {
            self.listed = Listed::Said;
            news.push(KubeChange::Listed);
            if let Some(kept) = &self.settings.kept {
                kept.complete();
            }
        }
        news
    }

    fn publish(&self, status: &watch::Sender<KubeStatus>) {
        status.send_replace(KubeStatus {
            sources: self.slots.values().map(|slot| slot.status.clone()).collect(),
            backlog: self.pending.len(),
            is_complete: self.listed != Listed::No,
        });
    }
}

impl Slot {
    /// Up to which version the owner has everything, if it was not told and somebody may wait for that.
    fn mark(&self) -> Option<u64> {
        let is_waited_for = matches!(
            self.source.kind,
            Kind::ServiceEntry | Kind::WorkloadEntry | Kind::Sidecar | Kind::Service
        );
        self.followed
            .filter(|_| is_waited_for && self.followed != self.told)
    }

    fn take_mark(&mut self) -> Option<KubeChange> {
        let version = self.mark()?;
        self.told = self.followed;
        Some(KubeChange::Followed(self.source.kind, version))
    }

    /// Sets a state, and logs it if it is new.
    fn set_state(&mut self, state: SourceState, error: Option<String>) {
        let before = std::mem::replace(&mut self.status.state, state);
        self.status.error = error;
        if before == state {
            return;
        }
        let (name, plural, objects) = (&self.source.name, self.source.plural(), self.status.objects);
        let reason = self.status.error.as_deref().unwrap_or_default();
        match state {
            SourceState::Absent | SourceState::Forbidden if self.source.is_for_warnings() => {
                tracing::info!(
                    "{name}: {state}, so that there are no warnings about it; nothing that is allowed depends on it: {reason}"
                );
            }
            SourceState::Following if before == SourceState::Starting => {
                tracing::debug!("{name}: following");
            }
            SourceState::Following => tracing::info!("{name}: following again"),
            SourceState::Starting => {}
            SourceState::Away => {
                tracing::warn!(
                    "{name}: the API server does not answer; keeping the {objects} known objects; changes are followed \
                     once it is back: {reason}"
                );
            }
            SourceState::Unauthorized => {
                tracing::error!(
                    "{name}: 401 unauthorized, the API server rejects the enforcer's credentials; keeping the {objects} \
                     known objects, whose changes are not followed; the token is read again at each try: {reason}"
                );
            }
            SourceState::Absent => {
                tracing::warn!(
                    "{name}: 404 not served, its CustomResourceDefinition is not installed; no object of it allows \
                     anything; install the definitions if this kind is used: {reason}"
                );
            }
            SourceState::Forbidden => {
                tracing::error!(
                    "{name}: 403 forbidden by RBAC (list {plural}); keeping the {objects} known objects, whose changes \
                     are not followed; grant list and watch to the enforcer's ServiceAccount: {reason}"
                );
            }
        }
    }
}
