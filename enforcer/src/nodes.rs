//! The enforcers of a cluster, asked over the API server with the rights of whoever asks.
//!
//! ```text
//! kubeconfig -> Cluster -> the DaemonSet's pods, and nodes that have none -> `enforcer …` in each, by exec -> Ran
//! ```
//!
//! It must never run anything but the enforcer's own commands, nor write to the API server.

mod exec;
mod objects;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::{
    Api, Client, Config,
    api::ListParams,
    config::{KubeConfigOptions, Kubeconfig},
};
use tokio::{
    sync::{Semaphore, mpsc},
    task::JoinSet,
};

pub(crate) use exec::Ran;

/// Of the enforcer's pods.
const LABEL: &str = "app.kubernetes.io/name=enforcer";

/// How many nodes are asked at one time.
const AT_ONCE: usize = 32;

/// The timeout for a connection to the API server.
const CONNECT: Duration = Duration::from_secs(10);

/// How the API server is reached.
#[derive(Clone, Debug, Default)]
pub(crate) struct Access {
    /// The file; None for that of KUBECONFIG, or `~/.kube/config`.
    pub(crate) kubeconfig: Option<PathBuf>,
    /// The context in it; None for its current one.
    pub(crate) context: Option<String>,
}

/// A cluster, as a user reaches it.
#[derive(Clone)]
pub(crate) struct Cluster {
    client: Client,
    /// The namespace of the enforcers.
    system: String,
    /// The namespace of the user's context.
    pub(crate) namespace: String,
}

/// Where enforcers are, and where they should be.
#[derive(Debug, Default)]
pub(crate) struct Enforcers {
    /// The pod of each node whose enforcer can be asked.
    pub(crate) pods: BTreeMap<String, String>,
    /// Why others cannot.
    pub(crate) absent: BTreeMap<String, String>,
    /// Why it is not known whether there are nodes without one.
    pub(crate) unknown: Option<String>,
}

/// What came of asking each node.
pub(crate) type Answers = BTreeMap<String, Result<Ran, String>>;

impl Cluster {
    /// Reads the configuration; sends no request yet.
    ///
    /// # Errors
    /// If it cannot be read.
    pub(crate) async fn open(access: &Access, system: &str) -> Result<Self> {
        let options = KubeConfigOptions {
            context: access.context.clone(),
            ..KubeConfigOptions::default()
        };
        let mut config = match &access.kubeconfig {
            Some(file) => {
                let read = Kubeconfig::read_from(file);
                let read = read.with_context(|| format!("reading {}", file.display()))?;
                Config::from_custom_kubeconfig(read, &options)
                    .await
                    .with_context(|| format!("reading {}", file.display()))?
            }
            None => Config::from_kubeconfig(&options)
                .await
                .context("reading the kubeconfig")?,
        };
        config.connect_timeout = Some(CONNECT);
        // A command that waits says nothing for long.
        config.read_timeout = None;
        Ok(Self {
            namespace: config.default_namespace.clone(),
            client: Client::try_from(config).context("making a client")?,
            system: system.to_owned(),
        })
    }

    /// Finds the enforcers of all nodes.
    ///
    /// # Errors
    /// If the pods cannot be listed, or there are none.
    pub(crate) async fn enforcers(&self) -> Result<Enforcers> {
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), &self.system);
        let system = &self.system;
        let listed = pods.list(&ListParams::default().labels(LABEL)).await;
        let listed = listed.with_context(|| format!("listing the enforcer's pods in namespace {system}"))?;
        let mut found = Enforcers::default();
        for pod in listed.items {
            found.add(&pod);
        }
        ensure!(
            !found.pods.is_empty() || !found.absent.is_empty(),
            "there is no pod with the label {LABEL} in namespace {system}: --enforcer-namespace names another"
        );
        match self.nodes().await {
            Ok(nodes) => {
                for node in nodes {
                    if !found.pods.contains_key(&node) {
                        let none = || "no enforcer's pod is there".to_owned();
                        found.absent.entry(node).or_insert_with(none);
                    }
                }
            }
            Err(error) => found.unknown = Some(format!("{error:#}")),
        }
        Ok(found)
    }

    /// The nodes that should have an enforcer, as the DaemonSet chooses them.
    async fn nodes(&self) -> Result<BTreeSet<String>> {
        let nodes: Api<Node> = Api::all(self.client.clone());
        let listed = nodes
            .list(&ListParams::default())
            .await
            .context("listing nodes")?;
        let has_kernel = |node: &Node| {
            let label = |key: &str| {
                let labels = node.metadata.labels.as_ref();
                labels.and_then(|labels| labels.get(key)).map(String::as_str)
            };
            label("kubernetes.io/os").is_none_or(|os| os == "linux")
                && label("eks.amazonaws.com/compute-type") != Some("fargate")
                && label("type") != Some("virtual-kubelet")
        };
        let nodes = listed.items.into_iter().filter(has_kernel);
        Ok(nodes.filter_map(|node| node.metadata.name).collect())
    }

    /// Runs `enforcer` with these arguments on each node, and waits until all have ended. One that takes longer than
    /// `patience` could not be asked.
    pub(crate) async fn ask(
        &self,
        enforcers: &Enforcers,
        arguments: &[String],
        patience: Duration,
    ) -> Answers {
        let places = Arc::new(Semaphore::new(AT_ONCE));
        let mut asked = JoinSet::new();
        for (node, pod) in enforcers.pods.clone() {
            let (this, arguments, places) = (self.clone(), arguments.to_vec(), Arc::clone(&places));
            asked.spawn(async move {
                let _place = places.acquire().await;
                let ran = tokio::time::timeout(patience, this.run(&pod, &arguments)).await;
                let ran = match ran {
                    Ok(ran) => ran.map_err(|error| format!("{error:#}")),
                    Err(_) => Err(format!("no answer within {patience:?}")),
                };
                (node, ran)
            });
        }
        let absent = enforcers.absent.iter();
        let mut answers: Answers = absent
            .map(|(node, why)| (node.clone(), Err(why.clone())))
            .collect();
        while let Some(answered) = asked.join_next().await {
            if let Ok((node, ran)) = answered {
                answers.insert(node, ran);
            }
        }
        // A task that broke off has said nothing.
        for node in enforcers.pods.keys() {
            let broken = || Err("asking it broke off".to_owned());
            answers.entry(node.clone()).or_insert_with(broken);
        }
        answers
    }

    /// Runs `enforcer` with these arguments on each node, and passes each line on that they write, with the node; at last
    /// how each has ended.
    pub(crate) fn follow(
        &self,
        enforcers: &Enforcers,
        arguments: &[String],
    ) -> mpsc::Receiver<(String, Told)> {
        let (sink, lines) = mpsc::channel(AT_ONCE);
        for (node, pod) in enforcers.pods.clone() {
            let (this, arguments, sink) = (self.clone(), arguments.to_vec(), sink.clone());
            tokio::spawn(async move {
                let ended = this.run_lines(&pod, &arguments, (&node, &sink)).await;
                let told = Told::Ended(ended.map_err(|error| format!("{error:#}")));
                // Nobody reads any more if this fails.
                sink.send((node, told)).await.ok();
            });
        }
        lines
    }
}

/// What a node has told.
#[derive(Debug)]
pub(crate) enum Told {
    /// A line of standard output.
    Line(String),
    /// The end, with the exit code and what was complained of; or why it could not be asked.
    Ended(Result<Ran, String>),
}

impl Enforcers {
    fn add(&mut self, pod: &Pod) {
        let node = pod.spec.as_ref().and_then(|spec| spec.node_name.clone());
        let name = pod.metadata.name.clone().unwrap_or_default();
        let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
        let Some(node) = node else {
            self.absent.insert(
                format!("(pod {name})"),
                "it is not scheduled to a node".to_owned(),
            );
            return;
        };
        let is_ending = pod.metadata.deletion_timestamp.is_some();
        match phase {
            Some("Running") if !is_ending => {
                self.absent.remove(&node);
                self.pods.insert(node, name);
            }
            // Another one runs there, which takes its place.
            _ if self.pods.contains_key(&node) => {}
            phase => {
                let phase = if is_ending {
                    "ending"
                } else {
                    phase.unwrap_or("unknown")
                };
                self.absent
                    .insert(node, format!("the enforcer's pod {name} is {phase}"));
            }
        }
    }
}
