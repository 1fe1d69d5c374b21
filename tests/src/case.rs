//! The conformance table: what a workload may reach, as users write the registry.
//!
//! A file holds cases. A case is a registry in Istio's YAML, the addresses that names resolve to, workloads, and rows
//! `workload  transport  address:port  verdict  reason`. A verdict of `a|b` is `a` under the matching `declared` and
//! `b` under `istio`; a reason, which may be left out, is that of `declared`.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, SocketAddr},
    path::PathBuf,
};

use anyhow::{Context as _, Result, bail, ensure};
use enforcer_common::{Transport, Verdict};
use enforcer_core::{
    documents::Documents,
    model::{Enforcement, Host, Labels, Namespace, Workload},
    registry::Update,
    settings::{Allowance, Matching, Settings, UdpPolicy},
};
use serde::Deserialize;

/// One registry with its rows.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Case {
    /// What it is about, in a claim.
    pub name: String,
    /// Namespace and name of each workload, with its labels.
    pub workloads: BTreeMap<String, Labels>,
    /// How far workloads are enforced, where the case's own mode does not hold.
    #[serde(default)]
    modes: BTreeMap<String, Mode>,
    /// Addresses of workloads themselves.
    #[serde(default)]
    own: BTreeMap<String, BTreeSet<IpAddr>>,
    /// Where the cluster's resolver is, if the cluster's own services are built in.
    #[serde(default)]
    cluster_dns: Option<BTreeSet<IpAddr>>,
    /// The resolvers of the node.
    #[serde(default)]
    node_dns: BTreeSet<SocketAddr>,
    /// Workloads that are given these.
    #[serde(default)]
    asks_node: BTreeSet<String>,
    /// What names resolve to.
    #[serde(default)]
    pub resolved: BTreeMap<String, BTreeSet<IpAddr>>,
    /// What each workload was told by a trusted resolver.
    #[serde(default)]
    pub given: BTreeMap<String, Vec<Given>>,
    /// What becomes of UDP.
    #[serde(default)]
    udp: Udp,
    /// Resolvers that everybody may ask.
    #[serde(default)]
    resolvers: BTreeSet<IpAddr>,
    /// The revision whose objects count; empty takes all.
    #[serde(default)]
    revision: String,
    /// Whether REGISTRY_ONLY is on trial.
    #[serde(default)]
    audit: bool,
    /// The registry.
    registry: String,
    /// The rows.
    rows: String,
}

/// An answer that a workload was given.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Given {
    /// The name that it had asked for.
    pub name: String,
    /// The names that the answer says it is another name for, in their order.
    #[serde(default)]
    pub aliases: Vec<String>,
    /// An address of the answer.
    pub address: IpAddr,
    /// Seconds since then.
    #[serde(default)]
    pub age: u64,
    /// Seconds since the workload last connected to it.
    #[serde(default)]
    pub used: Option<u64>,
}

impl Given {
    /// For how many seconds an answer counts, with its grace: 30 and 60 by default, for a time to live below that.
    const LIFE: u64 = 90;
    /// For how many seconds a use extends that: by default the longest time to live.
    const USE: u64 = 24 * 3600;

    /// Whether the answer still counts: by its age, or by a use at which it did.
    pub fn counts(&self) -> bool {
        let in_time = |used: u64| used <= Self::USE && self.age.saturating_sub(used) <= Self::LIFE;
        self.age <= Self::LIFE || self.used.is_some_and(in_time)
    }
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Mode {
    Off,
    Audit,
    Enforce,
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Udp {
    #[default]
    Registry,
    Allow,
    DnsOnly,
}

/// A case as a cluster can have it.
#[derive(Clone, Debug)]
pub struct InCluster {
    /// The registry, as `kubectl apply` takes it.
    pub documents: String,
    /// What names resolve to.
    pub resolved: BTreeMap<String, BTreeSet<IpAddr>>,
    /// Resolvers that only other settings would allow.
    pub resolvers: BTreeSet<IpAddr>,
}

/// One line of the table.
#[derive(Clone, Debug)]
pub struct Row {
    /// Its text, for messages.
    pub text: String,
    /// Who asks.
    pub who: Who,
    /// Over what.
    pub transport: Transport,
    /// As written: IPv4-mapped addresses are not unmapped, so that the socket is an IPv6 one.
    pub address: SocketAddr,
    /// The verdict under `declared`.
    pub declared: Verdict,
    /// The verdict under `istio`.
    pub istio: Verdict,
    /// The whole reason, if the row gives one.
    pub reason: Option<String>,
}

/// Who asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Who {
    /// A workload; with a path, from a cgroup that is nested in its own.
    Workload(String, Option<PathBuf>),
    /// A process below the enforced root that belongs to no workload.
    Unknown,
    /// A process outside the enforced root.
    Outside,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    cases: Vec<Case>,
}

/// The files as they were when this was built: a kernel of the matrix has no files but the test.
const FILES: &[(&str, &str)] = include!(concat!(env!("OUT_DIR"), "/cases.rs"));

/// Every case of every file, with the file's name.
///
/// # Errors
/// If a file cannot be read as cases.
pub fn all() -> Result<Vec<(String, Case)>> {
    ensure!(!FILES.is_empty(), "there are no cases");
    let mut cases = Vec::new();
    for (name, text) in FILES {
        let File { cases: read } = serde_yaml::from_str(text).context(*name)?;
        cases.extend(read.into_iter().map(|case| ((*name).to_owned(), case)));
    }
    Ok(cases)
}

impl Case {
    /// The rows.
    ///
    /// # Errors
    /// If a row is not in the form.
    pub fn rows(&self) -> Result<Vec<Row>> {
        self.rows
            .lines()
            .map(str::trim)
            .filter(|line| !line.is_empty() && !line.starts_with('#'))
            .map(|line| Row::parse(line).with_context(|| format!("{}: {line}", self.name)))
            .collect()
    }

    /// The case as a cluster can have it, where the registry comes through the API and names from a DNS server: with
    /// the documents, and without the rows that other settings allow. `mark` tells its names from those of others,
    /// whose addresses are remembered for a while.
    ///
    /// # Errors
    /// Why no cluster can have it.
    pub fn in_cluster(&self, mark: &str) -> Result<InCluster, &'static str> {
        if self.audit || !self.revision.is_empty() || !matches!(self.udp, Udp::Registry) {
            return Err("the settings are another installation's");
        }
        // An API server chooses a Service's address itself, and its controllers write the endpoints.
        let kinds = self
            .registry
            .lines()
            .filter_map(|line| line.strip_prefix("kind: "));
        for kind in kinds {
            match kind {
                "ServiceEntry" | "WorkloadEntry" | "Sidecar" | "ConfigMap" => {}
                _ => return Err("objects whose content an API server decides"),
            }
        }
        if !(self.modes.is_empty()
            && self.own.is_empty()
            && self.cluster_dns.is_none()
            && self.asks_node.is_empty())
        {
            return Err("modes and addresses that pods of a cluster have otherwise");
        }
        if self.workloads.keys().any(|name| name.matches('/').count() > 1) {
            return Err("workloads within others, which pods are not");
        }
        if self.registry.trim().is_empty() {
            return Err("nothing to apply");
        }
        if self.registry.contains("creationTimestamp") {
            return Err("ages, which an API server gives");
        }
        if self.registry.lines().any(|line| line.starts_with("status:")) {
            return Err("what istiod and kubelets write");
        }
        if !self.given.is_empty() {
            return Err("answers of a certain age");
        }
        if self.registry.contains("\"*.") && !self.resolved.is_empty() {
            return Err("names below a wildcard, which nobody asks for");
        }
        let marked = |text: &str| text.replace("example.com", &format!("{mark}.example.com"));
        Ok(InCluster {
            documents: marked(&self.registry),
            resolved: self
                .resolved
                .iter()
                .map(|(host, addresses)| (marked(host), addresses.clone()))
                .collect(),
            resolvers: self.resolvers.clone(),
        })
    }

    /// The settings under a matching.
    pub fn settings(&self, matching: Matching) -> Settings {
        let udp = match self.udp {
            Udp::Registry => UdpPolicy::Registry,
            Udp::Allow => UdpPolicy::Allow,
            Udp::DnsOnly => UdpPolicy::DnsOnly,
        };
        let cluster = self
            .cluster_dns
            .iter()
            .flat_map(|addresses| [Allowance::cluster_dns(addresses.clone()), Allowance::api_server()]);
        Settings {
            allowances: cluster.collect(),
            matching,
            udp,
            resolvers: self.resolvers.clone(),
            of_node: self.node_dns.clone(),
            revision: self.revision.clone(),
            audit: self.audit,
            ..Settings::default()
        }
    }

    /// What the registry's text and the names come to.
    ///
    /// # Errors
    /// If a document of it is invalid.
    pub fn updates(&self) -> Result<Vec<Update>> {
        let mut documents = Documents::default();
        let mut updates = documents.set(&self.name, Some(&self.registry));
        let problems: Vec<_> = documents.problems().iter().map(ToString::to_string).collect();
        ensure!(problems.is_empty(), "{}: {}", self.name, problems.join("; "));
        updates.extend(self.resolved.iter().map(|(host, addresses)| Update::Resolved {
            host: Host::new(host),
            addresses: addresses.clone(),
        }));
        Ok(updates)
    }

    /// The workload that is written `namespace/name`.
    ///
    /// # Errors
    /// If the case has none of that name.
    pub fn workload(&self, name: &str) -> Result<Workload> {
        let labels = self
            .workloads
            .get(name)
            .with_context(|| format!("no workload {name}"))?;
        let (namespace, name) = name
            .split_once('/')
            .context("a workload is written namespace/name")?;
        let workload = Workload::new(Namespace::new(namespace), name, labels.clone());
        let key = format!("{namespace}/{name}");
        Ok(Workload {
            enforcement: self.modes.get(&key).map(|mode| match mode {
                Mode::Off => Enforcement::Off,
                Mode::Audit => Enforcement::Audit,
                Mode::Enforce => Enforcement::Enforce,
            }),
            own: self.own.get(&key).into_iter().flatten().copied().collect(),
            asks_node: self.asks_node.contains(&key),
            ..workload
        })
    }
}

impl Row {
    fn parse(line: &str) -> Result<Self> {
        let mut fields = line.split_whitespace();
        let mut next = |what| fields.next().with_context(|| format!("no {what}"));
        let who = match next("workload")? {
            "unknown" => Who::Unknown,
            "outside" => Who::Outside,
            name => match name.split_once("//") {
                Some((name, nested)) => Who::Workload(name.to_owned(), Some(nested.into())),
                None => Who::Workload(name.to_owned(), None),
            },
        };
        let transport = match next("transport")? {
            "tcp" => Transport::Tcp,
            "udp" => Transport::Udp,
            other => bail!("transport {other}"),
        };
        let address = next("address")?.parse().context("address")?;
        let verdicts = next("verdict")?;
        let (declared, istio) = verdicts.split_once('|').unwrap_or((verdicts, verdicts));
        let reason: Vec<_> = fields.collect();
        let reason = (!reason.is_empty()).then(|| reason.join(" "));
        let text = line.to_owned();
        Ok(Self {
            text,
            who,
            transport,
            address,
            declared: verdict(declared)?,
            istio: verdict(istio)?,
            reason,
        })
    }

    /// The verdict under a matching.
    pub fn verdict(&self, matching: Matching) -> Verdict {
        match matching {
            Matching::Declared => self.declared,
            Matching::Istio => self.istio,
        }
    }
}

fn verdict(word: &str) -> Result<Verdict> {
    Ok(match word {
        "allow" => Verdict::Allow,
        "deny" => Verdict::Deny,
        "audit" => Verdict::Audit,
        other => bail!("verdict {other}"),
    })
}
