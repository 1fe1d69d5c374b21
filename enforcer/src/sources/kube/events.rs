//! Writes Kubernetes Events, few of them, in turn by the object's share.
//!
//! The same news about the same object is one Event with a count. Its name is derived from its content, so that a
//! restart, and the other nodes that see the same object, do not write a second one.
//!
//! Events are written to `v1`, which every version of Kubernetes serves; `events.k8s.io` shows the same objects.

mod lookup;
mod waiting;

use std::{
    collections::HashMap,
    hash::{DefaultHasher, Hash as _, Hasher as _},
    sync::{Arc, Mutex, MutexGuard},
    time::{Duration, Instant},
};

use enforcer_core::istio::ObjectId;
use k8s_openapi::jiff::{Timestamp, Unit};
use kube::{
    api::{Patch, PatchParams, PostParams},
    core::{Request, Status},
};
use serde_json::{Value, json};
use tokio::{sync::mpsc, time::sleep_until};

use super::{access::Access, failure::Failure};
use crate::report::notice::{About, Notice};
use waiting::{Next, Waiting};

/// The most Events whose counts are stored.
const MOST: usize = 1000;
const PATIENCE: Duration = Duration::from_secs(10);
const COMPONENT: &str = "enforcer";

/// The pods of this node by namespace and name, with their uids.
#[derive(Clone, Debug, Default)]
pub(super) struct Pods(Arc<Mutex<HashMap<(String, String), String>>>);

impl Pods {
    pub(super) fn insert(&self, id: &ObjectId, uid: String) {
        self.lock()
            .insert((id.namespace.to_string(), id.name.clone()), uid);
    }

    pub(super) fn remove(&self, id: &ObjectId) {
        self.lock().remove(&(id.namespace.to_string(), id.name.clone()));
    }

    fn uid(&self, namespace: &str, name: &str) -> Option<String> {
        self.lock().get(&(namespace.to_owned(), name.to_owned())).cloned()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<(String, String), String>> {
        self.0.lock().expect("nothing panics while it holds this lock")
    }
}

/// The object that an Event is about, as the API names it.
struct Reference {
    api_version: String,
    kind: String,
    namespace: String,
    name: String,
    uid: String,
}

pub(super) struct Writer {
    access: Arc<Access>,
    pods: Pods,
    node: String,
    /// Counts of what was written, by the Events' names.
    counts: HashMap<String, u64>,
    /// Whether it was logged that Events cannot be written.
    is_failing: bool,
}

impl Writer {
    pub(super) fn new(access: Arc<Access>, pods: Pods, node: String) -> Self {
        Self {
            access,
            pods,
            node,
            counts: HashMap::new(),
            is_failing: false,
        }
    }

    /// Writes until the sender is closed. New notices are accepted at once, however slow the API server is: one
    /// source's notices must not keep out another's.
    pub(super) async fn run(mut self, mut notices: mpsc::Receiver<Notice>) {
        let mut waiting = Waiting::new(self.pods.clone(), Instant::now());
        loop {
            let next = waiting.next(Instant::now());
            let is_idle = next.is_err();
            let write = async {
                match next {
                    Ok(next) => self.tell(next).await,
                    Err(Some(due)) => sleep_until(due.into()).await,
                    Err(None) => std::future::pending().await,
                }
            };
            tokio::pin!(write);
            loop {
                tokio::select! {
                    () = &mut write => break,
                    notice = notices.recv() => {
                        let Some(notice) = notice else { return };
                        waiting.take(notice, Instant::now());
                        if is_idle {
                            break;
                        }
                    }
                }
            }
        }
    }

    async fn tell(&mut self, (notice, again): Next) {
        let outcome = match self.reference(&notice.about).await {
            Ok(Some(reference)) => self.write(&reference, &notice, again).await,
            Ok(None) => return,
            Err(failure) => Err(failure),
        };
        match outcome {
            Ok(()) => self.is_failing = false,
            Err(failure) if self.is_failing => tracing::debug!("no Kubernetes Event: {failure}"),
            Err(failure) => {
                self.is_failing = true;
                tracing::warn!(
                    "cannot write Kubernetes Events about refusals and about objects that are rejected or suspicious; \
                     they are in this log, and enforcement is not affected: {failure}"
                );
            }
        }
    }

    /// None if there is no such object.
    async fn reference(&self, about: &About) -> Result<Option<Reference>, Failure> {
        Ok(match about {
            About::Pod(namespace, name) => self.pods.uid(namespace, name).map(|uid| Reference {
                api_version: "v1".to_owned(),
                kind: "Pod".to_owned(),
                uid,
                namespace: namespace.clone(),
                name: name.clone(),
            }),
            About::Object(id, api_version, uid) => Some(Reference {
                api_version: api_version.clone(),
                kind: format!("{:?}", id.kind),
                namespace: id.namespace.to_string(),
                name: id.name.clone(),
                uid: uid.clone(),
            }),
            About::Named(id) => lookup::reference(&self.access.client(), id).await?,
        })
    }

    async fn write(&mut self, about: &Reference, notice: &Notice, again: u64) -> Result<(), Failure> {
        let name = event_name(about, &notice.subject);
        if self.counts.len() >= MOST {
            self.counts.clear();
        }
        let count = self.counts.entry(name.clone()).or_default();
        let is_first = *count == 0;
        *count += 1 + again;
        let count = *count;
        let namespace = if about.namespace.is_empty() {
            "default"
        } else {
            &about.namespace
        };
        let events = Request::new(format!("/api/v1/namespaces/{namespace}/events"));
        let client = self.access.client();
        let send = async |request: http::Request<Vec<u8>>| {
            let answer = tokio::time::timeout(PATIENCE, client.request_text(request)).await;
            answer.map_err(|_| Failure::Away("no answer".to_owned()))
        };
        let now = now();
        let change = json!({ "count": count, "lastTimestamp": now, "message": notice.message });
        let patch = events
            .patch(&name, &PatchParams::default(), &Patch::Merge(change))
            .map_err(kube::Error::BuildRequest)?;
        if !is_first {
            match send(patch.clone()).await? {
                // It has expired after an hour.
                Err(kube::Error::Api(status)) if status.code == 404 => {}
                answer => return Ok(answer.map(drop)?),
            }
        }
        let event = self.event(about, notice, (namespace, &name, &now));
        let create = events
            .create(&PostParams::default(), event.to_string().into_bytes())
            .map_err(kube::Error::BuildRequest)?;
        match send(create).await? {
            // This node's own Event from before a restart, or another node's about an object that all nodes see.
            Err(kube::Error::Api(status)) if status.code == 409 => match notice.about {
                About::Pod(..) => Ok(send(patch).await?.map(drop)?),
                About::Object(..) | About::Named(_) => Ok(()),
            },
            // Its namespace is being deleted.
            Err(kube::Error::Api(status)) if status.code == 404 || is_terminating(&status) => Ok(()),
            answer => Ok(answer.map(drop)?),
        }
    }

    fn event(&self, about: &Reference, notice: &Notice, (namespace, name, now): (&str, &str, &str)) -> Value {
        json!({
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": { "namespace": namespace, "name": name },
            "involvedObject": {
                "apiVersion": about.api_version,
                "kind": about.kind,
                "namespace": about.namespace,
                "name": about.name,
                "uid": about.uid,
            },
            "type": "Warning",
            "reason": notice.reason,
            "message": notice.message,
            "count": 1,
            "firstTimestamp": now,
            "lastTimestamp": now,
            "source": { "component": COMPONENT, "host": self.node },
            "reportingComponent": COMPONENT,
            "reportingInstance": self.node,
        })
    }
}

/// Whether nothing is taken in any more because the namespace is being deleted: a 403 with this cause, which is not
/// RBAC's (`NamespaceLifecycle` of the API server).
fn is_terminating(status: &Status) -> bool {
    let causes = status.details.iter().flat_map(|details| &details.causes);
    status.code == 403
        && causes
            .into_iter()
            .any(|cause| cause.reason == "NamespaceTerminating")
}

/// Every node gives the same news about the same object the same name.
fn event_name(about: &Reference, subject: &str) -> String {
    let mut hasher = DefaultHasher::new();
    (&about.uid, &about.kind, subject).hash(&mut hasher);
    // With the rest, at most the 253 bytes of a name.
    let base = &about.name[..about.name.floor_char_boundary(236)];
    let base = base.trim_end_matches(['.', '-']);
    format!("{base}.{:016x}", hasher.finish())
}

fn now() -> String {
    let now = Timestamp::now();
    now.round(Unit::Second).unwrap_or(now).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reference(name: &str) -> Reference {
        Reference {
            api_version: "v1".to_owned(),
            kind: "Pod".to_owned(),
            namespace: "n".to_owned(),
            name: name.to_owned(),
            uid: "u".to_owned(),
        }
    }

    #[test]
    fn same_news_has_the_same_name_everywhere() {
        let name = event_name(&reference("web"), "a");
        // Nodes of two versions share it too, for as long as the standard library's hash stays the same.
        assert!(name.starts_with("web.") && name.len() == "web.".len() + 16);
        assert_eq!(name, event_name(&reference("web"), "a"));
        assert_ne!(name, event_name(&reference("web"), "b"));
        assert!(event_name(&reference(&"x".repeat(253)), "a").len() <= 253);
    }

    #[test]
    fn namespace_that_is_being_deleted_is_told_from_a_missing_role() {
        let is_terminating = |text: &str| super::is_terminating(&serde_json::from_str(text).unwrap());
        // What `POST /api/v1/namespaces/n/events` is answered while a finalizer holds the namespace.
        assert!(is_terminating(
            r#"{"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "reason": "Forbidden",
            "message": "forbidden: unable to create new content in namespace n because it is being terminated", "details": {"name": "e", "kind": "events", "causes": [{"reason": "NamespaceTerminating",
            "message": "namespace n is being terminated", "field": "metadata.namespace"}]}, "code": 403}"#
                .replace('\n', " ")
                .as_str()
        ));
        assert!(!is_terminating(
            r#"{"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "reason": "Forbidden",
            "message": "events is forbidden", "details": {"kind": "events"}, "code": 403}"#
        ));
    }

    #[test]
    fn times_are_whole_seconds_as_the_api_wants_them() {
        let text = now();
        assert_eq!(
            (text.len(), &text[19..]),
            ("2026-01-01T00:00:00Z".len(), "Z"),
            "{text}"
        );
    }
}
