//! What is known at a boot, before the API server can be asked: what was kept, and which pods the kubelet has made since.
//!
//! ```text
//! Known -> every object, then "listed"
//! /var/log/pods/<namespace>_<name>_<uid> -> pods of namespaces that are off
//! ```
//!
//! Pods of a namespace that is off may be needed for the API server to be reached at all, such as those of the node's
//! network: one that was made while the node was down is let through, as the kubelet's folder of its log tells its
//! namespace. Every other pod that is not known is refused until the API server says what it is.
//!
//! **Architecture Invariant:** what is not known never makes a policy: only a pod whose namespace is off becomes one here.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::PathBuf,
    time::Duration,
};

use anyhow::{Result, bail};
use enforcer_core::{
    istio::{self, Object, Pod, Reading},
    model::{Enforcement, Labels, Namespace},
    pods::Settings,
    registry::Update,
};
use serde_json::json;
use tokio::{sync::mpsc, time::interval};
use tokio_util::sync::CancellationToken;

use super::kube::KubeChange;
use crate::kept::Known;

/// How often it is looked for new pods.
const PAUSE: Duration = Duration::from_millis(100);

/// Where kubelets have the logs of pods.
pub(crate) const LOGS: &str = "/var/log/pods";

/// The annotation of a static pod's mirror with the identifier that the kubelet has given the pod.
const MIRROR: &str = "kubernetes.io/config.mirror";

/// The label that API servers give every namespace.
const NAMESPACE_NAME: &str = "kubernetes.io/metadata.name";

/// What tells the pods of a node.
pub(crate) struct Boot {
    settings: Settings,
    logs: PathBuf,
    objects: Vec<Object>,
    namespaces: BTreeMap<Namespace, Labels>,
    /// Pods that were kept or were looked at, by UID.
    pods: BTreeSet<String>,
}

impl Boot {
    /// What was kept; `settings` say which pods are off.
    pub(crate) fn new(known: &Known, settings: Settings, logs: PathBuf) -> Self {
        let mut boot = Self {
            settings,
            logs,
            objects: Vec::new(),
            namespaces: BTreeMap::new(),
            pods: BTreeSet::new(),
        };
        for value in &known.objects {
            match istio::read(value) {
                Reading::Valid(object, _) => boot.note(object),
                Reading::Skipped => {}
                Reading::Invalid(invalid) => tracing::warn!(
                    "an object that was kept for this boot is not valid: {}",
                    invalid
                        .errors
                        .first()
                        .map(ToString::to_string)
                        .unwrap_or_default()
                ),
            }
        }
        boot
    }

    fn note(&mut self, object: Object) {
        match &object {
            Object::Namespace(namespace) => {
                let name = namespace.meta.name.clone();
                let mut labels = namespace.meta.labels.clone();
                labels
                    .entry(NAMESPACE_NAME.to_owned())
                    .or_insert_with(|| name.clone());
                self.namespaces.insert(Namespace::new(&name), labels);
            }
            Object::Pod(pod) => {
                self.pods.insert(pod.uid.clone());
                self.pods.extend(pod.meta.annotations.get(MIRROR).cloned());
            }
            _ => {}
        }
        self.objects.push(object);
    }

    /// Tells it, and goes on with new pods until `cancel`.
    ///
    /// # Errors
    /// If nobody listens.
    pub(crate) async fn run(
        mut self,
        changes: mpsc::Sender<Vec<KubeChange>>,
        cancel: CancellationToken,
    ) -> Result<()> {
        let objects = std::mem::take(&mut self.objects).into_iter().map(Update::Apply);
        let mut news: Vec<_> = objects.map(KubeChange::Update).collect();
        news.extend(self.added());
        news.push(KubeChange::Listed);
        let mut tick = interval(PAUSE);
        loop {
            if !news.is_empty() && changes.send(news).await.is_err() {
                if cancel.is_cancelled() {
                    return Ok(());
                }
                bail!("nobody takes what was kept for this boot");
            }
            tokio::select! {
                _ = tick.tick() => news = self.added().collect(),
                () = cancel.cancelled() => return Ok(()),
            }
        }
    }

    /// Pods that the kubelet has made and that were not looked at yet.
    fn added(&mut self) -> impl Iterator<Item = KubeChange> {
        let entries = fs::read_dir(&self.logs).into_iter().flatten().flatten();
        let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
        let mut added = Vec::new();
        for name in names {
            let parts: Vec<_> = name.split('_').collect();
            if let [namespace, name, uid] = parts[..]
                && self.pods.insert(uid.to_owned())
            {
                added.extend(self.pod(namespace, name, uid));
            }
        }
        added
            .into_iter()
            .map(|pod| KubeChange::Update(Update::Apply(pod)))
    }

    /// The pod, if its namespace is off. It has a name of its own, so that it takes the place of none that is known: whoever
    /// may write to the folder could have others forgotten by that, and folders outlive their pods.
    fn pod(&self, namespace: &str, name: &str, uid: &str) -> Option<Object> {
        let value = json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": { "namespace": namespace, "name": format!("{name}.{uid}"), "uid": uid },
            "spec": { "nodeName": self.settings.node },
        });
        let Reading::Valid(object, _) = istio::read(&value) else {
            return None;
        };
        let Object::Pod(pod) = &object else { return None };
        self.is_off(pod).then(|| {
            tracing::info!("pod {namespace}/{name} is new, and its namespace is off");
            object.clone()
        })
    }

    /// A namespace that was not known is off only by its name: its labels could say otherwise.
    fn is_off(&self, pod: &Pod) -> bool {
        let scope = &self.settings.scope;
        match self.namespaces.get(&pod.meta.namespace) {
            Some(labels) => scope.enforcement(pod, labels).0 == Enforcement::Off,
            None => scope.excluded.contains(&pod.meta.namespace),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::Config;

    #[test]
    fn new_pod_of_a_namespace_that_is_off_is_let_through_and_no_other() {
        let logs = tempfile::tempdir().unwrap();
        let config = Config::parse("pods: {node: n1}", Path::new("c.yaml")).unwrap();
        let namespace = |name: &str, mode: &str| {
            json!({"apiVersion": "v1", "kind": "Namespace",
                "metadata": {"name": name, "labels": {"enforcer.dev/mode": mode}}})
        };
        let known = Known {
            objects: vec![
                namespace("istio-system", "enforce"),
                namespace("free", "off"),
                json!({"apiVersion": "v1", "kind": "Pod", "spec": {"nodeName": "n1"}, "metadata":
                    {"name": "a", "namespace": "kube-system", "uid": "u1", "annotations": {MIRROR: "u2"}}}),
            ],
            ..Known::default()
        };
        let settings = Settings {
            node: "n1".to_owned(),
            scope: config.pods.unwrap().scope,
            exempt: BTreeSet::new(),
            own_addresses: true,
            node_dns: true,
            proxies: true,
            enforcer: None,
        };
        let mut boot = Boot::new(&known, settings, logs.path().to_owned());
        assert_eq!(boot.objects.len(), 3);
        for folder in [
            "kube-system_a_u1",
            "kube-system_a_u2",
            "kube-system_proxy.x_u3",
            "istio-system_gate_u4",
            "free_b_u5",
            "default_c_u6",
            "new_d_u7",
            "kube-system_u8",
            "kube-system_a_b_u9",
            "kube-system_a_v1",
        ] {
            fs::create_dir(logs.path().join(folder)).unwrap();
        }
        let mut found: Vec<_> = boot
            .added()
            .filter_map(|change| match change {
                KubeChange::Update(Update::Apply(Object::Pod(pod))) => {
                    Some((pod.uid.clone(), pod.meta.name.clone()))
                }
                _ => None,
            })
            .collect();
        found.sort();
        // What is known by a name is not displaced by another of that name.
        let expected = [("u3", "proxy.x.u3"), ("u5", "b.u5"), ("v1", "a.v1")];
        assert_eq!(
            found,
            expected.map(|(uid, name)| (uid.to_owned(), name.to_owned()))
        );
        assert_eq!(boot.added().count(), 0, "each is told once");
    }
}
