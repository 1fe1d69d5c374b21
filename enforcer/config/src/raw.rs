//! The configuration as typed: its keys and the types of their values, with their line numbers.
//!
//! The doc comments of these types are the descriptions in the JSON schema. A section whose keys are all commented
//! out is YAML's `null`, and means the same as one that is absent.

use std::{borrow::Cow, collections::BTreeMap, fmt};

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Deserializer};
use serde_yaml::Spanned;

use super::enums::{Enforcement, Errno, Matching, PodLabels, PodMode, Proxies, Udp, UnknownWorkloads};

/// Configuration of the enforcer.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(title = "enforcer")]
pub(super) struct Raw {
    /// Where the registry comes from.
    pub(super) registry: Option<RawRegistry>,
    /// What becomes of destinations that are not registered. Absent or `{}` means REGISTRY_ONLY.
    pub(super) outbound_traffic_policy: Option<RawOutbound>,
    /// `enforce` (the default) refuses; `audit` lets through and reports what would be refused.
    pub(super) mode: Option<Enforcement>,
    /// The process groups that are enforced.
    pub(super) workloads: Option<Vec<At<RawWorkload>>>,
    /// The name of this node, whose pods are enforced, and followed at the API server. Default: the environment variable
    /// NODE_NAME, else the name of the host.
    pub(super) node: Option<At<String>>,
    /// Cgroups below which everything is enforced. Absent: each workload's own cgroup.
    pub(super) roots: Option<At<Vec<At<String>>>>,
    /// The pods of this node. Absent: they are left alone; `{}` enforces them.
    pub(super) pods: Option<RawPods>,
    /// What becomes of processes below a root that belong to no workload: `deny` (the default) or `allow`.
    pub(super) unknown_workloads: Option<UnknownWorkloads>,
    /// How host names are resolved.
    pub(super) dns: Option<RawDns>,
    /// How refusals look.
    pub(super) deny: Option<RawDeny>,
    /// `declared` (the default) allows only declared or resolved addresses; `istio` never refuses what Envoy
    /// could accept.
    pub(super) matching: Option<Matching>,
    /// UDP follows the registry (`registry`, the default), is let through (`allow`), or may only ask the
    /// resolvers (`dns-only`).
    pub(super) udp: Option<Udp>,
    /// Whether sockets that are no longer allowed are ended (the default). Istio lets them live.
    pub(super) revoke: Option<bool>,
    /// Kinds of socket beyond TCP and UDP that workloads may make. What is admitted is unrestricted.
    pub(super) sockets: Option<RawSockets>,
    /// Where bpffs is mounted. Default: /sys/fs/bpf.
    pub(super) bpffs: Option<At<String>>,
    /// The folder of what is known of names between two starts. Default: /run/enforcer.
    pub(super) state: Option<At<String>>,
    /// Where cgroup v2 is mounted. Absent: found among the mounts.
    pub(super) cgroup_mount: Option<At<String>>,
    /// How many entries each of the kernel's maps holds.
    pub(super) capacities: Option<RawCapacities>,
    /// What is kept of what workloads were seen to reach, for `enforcer suggest`, `monitor` and `top`.
    pub(super) observe: Option<RawObserve>,
    /// The page of `enforcer ui`, served by the enforcer itself. Absent: it is not; `{}` serves it.
    #[serde(default, deserialize_with = "present")]
    pub(super) ui: Option<RawUi>,
    /// What Prometheus scrapes, served by the enforcer itself. Absent: it is not.
    pub(super) metrics: Option<RawMetrics>,
    /// Objects labelled `istio.io/rev` with another revision are ignored. Absent: none is.
    pub(super) revision: Option<At<String>>,
}

/// Where the registry comes from.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(rename = "Registry")]
pub(super) struct RawRegistry {
    /// Files and folders of Istio YAML, relative to the configuration file. Folders are read with all that is
    /// below them.
    pub(super) files: Option<Vec<At<String>>>,
    /// The API server of a cluster, also together with files. `{}` takes the settings of the pod that the enforcer
    /// runs in, else those of KUBECONFIG.
    #[serde(default, deserialize_with = "present")]
    pub(super) kubernetes: Option<RawKubernetes>,
}

/// The API server of a cluster.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(rename = "Kubernetes")]
pub(super) struct RawKubernetes {
    /// How to reach it, as kubectl has it; relative to the configuration file. Absent: the pod's own account, else
    /// the file that KUBECONFIG names.
    pub(super) kubeconfig: Option<At<String>>,
    /// The context in that file. Absent: its current one.
    pub(super) context: Option<At<String>>,
    /// Where `node` was before.
    #[schemars(skip)]
    pub(super) node: Option<At<String>>,
    /// The namespace of the mesh's ConfigMap `istio` (or `istio-<revision>`). Default: istio-system.
    pub(super) mesh_namespace: Option<At<String>>,
}

/// Reads a section whose presence alone has a meaning, even if all of its keys are commented out.
fn present<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(
    deserializer: D,
) -> Result<Option<T>, D::Error> {
    Ok(Some(Option::deserialize(deserializer)?.unwrap_or_default()))
}

/// Istio's `outboundTrafficPolicy`.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(rename = "OutboundTrafficPolicy")]
pub(super) struct RawOutbound {
    /// REGISTRY_ONLY (the default) refuses what is not registered; ALLOW_ANY reports it.
    pub(super) mode: Option<RawMode>,
}

/// Istio's `outboundTrafficPolicy.mode`.
#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[schemars(rename = "OutboundTrafficPolicyMode")]
pub(super) enum RawMode {
    /// What is not registered is refused.
    #[default]
    RegistryOnly,
    /// What is not registered is let through and reported.
    AllowAny,
}

/// A process group that is enforced.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(rename = "Workload", extend("oneOf" = one_place()))]
pub(super) struct RawWorkload {
    /// The namespace whose view it has.
    pub(super) namespace: At<String>,
    /// Its name in messages, unique within the namespace. Default: the name of the unit or user, or the last part of
    /// the cgroup without its unit suffix (`/frontend.slice` is `frontend`).
    pub(super) name: Option<At<String>>,
    /// What Sidecars and entries select it by.
    pub(super) labels: Option<BTreeMap<String, String>>,
    /// How far it is enforced. Default: `mode` of the whole configuration. With `off`, everything is allowed: for a
    /// service that would otherwise lie below an enforced slice.
    pub(super) mode: Option<PodMode>,
    /// A service of systemd, such as `app.service`, an instance (`worker@3.service`), or all instances of a template
    /// (`worker@.service`). It gets a slice of its own, below `enforcer.slice`.
    pub(super) unit: Option<At<String>>,
    /// A slice of systemd with all that is in it, such as `frontend.slice`.
    pub(super) slice: Option<At<String>>,
    /// A user, by name or number: all of her sessions and units.
    pub(super) user: Option<At<RawUser>>,
    /// Path of its cgroup below the cgroup v2 mount, such as `/frontend`. It is created if it does not exist.
    pub(super) cgroup: Option<At<String>>,
}

/// The keys of a workload that say where its processes are; exactly one is given.
pub(super) const PLACES: [&str; 4] = ["unit", "slice", "user", "cgroup"];

fn one_place() -> serde_json::Value {
    PLACES
        .iter()
        .map(|key| serde_json::json!({ "required": [key] }))
        .collect()
}

/// A user, by name or number.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(untagged)]
#[schemars(rename = "User")]
pub(super) enum RawUser {
    /// Her number.
    Number(u32),
    /// Her name, or her number in quotes.
    Name(String),
}

impl fmt::Display for RawUser {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(uid) => write!(f, "{uid}"),
            Self::Name(name) => f.write_str(name),
        }
    }
}

/// The pods of this node.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(rename = "Pods")]
pub(super) struct RawPods {
    /// Where `node` was before.
    #[schemars(skip)]
    pub(super) node: Option<At<String>>,
    /// The kubelet's cgroups of all pods, such as `/kubepods.slice`. Default: found where kubelets have them, and
    /// above the enforcer's own pod.
    pub(super) cgroup_roots: Option<At<Vec<At<String>>>>,
    /// How far pods are enforced whose namespace says nothing. Default: `mode` of the whole configuration. With audit
    /// or off, pods that are not known yet are reported and not refused.
    pub(super) mode: Option<PodMode>,
    /// Which namespaces are enforced that have no label `enforcer.dev/mode`. Default: all.
    pub(super) namespace_selector: Option<RawLabelSelector>,
    /// Namespaces that are off unless they have the label. Default: kube-system, kube-node-lease, kube-public,
    /// istio-system. The enforcer's own is always among them.
    pub(super) excluded_namespaces: Option<Vec<At<String>>>,
    /// What the label `enforcer.dev/mode` of a pod may do: nothing (`ignore`), make enforcement stricter than the
    /// namespace has it (`tighten`, the default), or anything (`honour`).
    pub(super) pod_labels: Option<PodLabels>,
    /// Whether pods are off that keep all of their traffic from Istio's proxy, by `sidecar.istio.io/inject: "false"`
    /// for instance. Pod authors can write that. Default: false.
    pub(super) honour_capture_annotations: Option<bool>,
    /// What pods with a container `istio-proxy`, or with what injection leaves, may reach beside their registry view:
    /// what their proxy dials for it (`endpoints`, the default), or nothing (`none`). All of that is in the registry.
    pub(super) proxies: Option<Proxies>,
    /// Names of containers that are off, such as `istio-proxy`: by their own cgroups, never by user. Pod authors choose
    /// the names of their containers. Default: none.
    pub(super) exempt_containers: Option<Vec<At<String>>>,
    /// What every pod may reach whatever its registry view.
    pub(super) built_in: Option<RawBuiltIn>,
}

/// What every pod may reach whatever its registry view.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(rename = "BuiltIn")]
pub(super) struct RawBuiltIn {
    /// Port 53 of the Service kube-system/kube-dns, and of `clusterDnsAddresses`. Default: true.
    pub(super) cluster_dns: Option<bool>,
    /// Other addresses of the cluster's resolver, such as a cache on the node: 169.254.20.10.
    pub(super) cluster_dns_addresses: Option<Vec<At<String>>>,
    /// Port 443 of the Service default/kubernetes. Default: true.
    pub(super) kubernetes_api: Option<bool>,
    /// A pod's own addresses, on every port, unless they are the node's. Default: true.
    pub(super) own_addresses: Option<bool>,
    /// The resolvers of the node, for pods whose spec gives them these: `dnsPolicy: Default`, or the node's network.
    /// Default: true.
    pub(super) node_dns: Option<bool>,
    /// The node's file that the kubelet hands to such pods (`resolvConf`). Default: /etc/resolv.conf and
    /// /run/systemd/resolve/resolv.conf.
    pub(super) node_resolv_conf: Option<At<String>>,
}

/// A label selector as Kubernetes has it: all of it must hold.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(rename = "LabelSelector")]
pub(super) struct RawLabelSelector {
    /// Labels with their values.
    pub(super) match_labels: Option<BTreeMap<String, String>>,
    /// More that must hold of labels.
    pub(super) match_expressions: Option<Vec<At<RawLabelExpression>>>,
}

/// What must hold of one label.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(rename = "LabelExpression")]
pub(super) struct RawLabelExpression {
    /// The label.
    pub(super) key: String,
    /// How it is held against the values.
    pub(super) operator: RawLabelOperator,
    /// The values; none with Exists and DoesNotExist.
    pub(super) values: Option<Vec<String>>,
}

/// How a label is held against values.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[schemars(rename = "LabelOperator")]
pub(super) enum RawLabelOperator {
    /// It is one of them.
    In,
    /// It is none of them, or absent.
    NotIn,
    /// It is there.
    Exists,
    /// It is absent.
    DoesNotExist,
}

/// How host names are resolved.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(rename = "Dns")]
pub(super) struct RawDns {
    /// Resolvers to ask, as `IP` or `IP:PORT` (IPv6 with a port in brackets). Absent or empty: the system's.
    pub(super) servers: Option<Vec<At<String>>>,
    /// An answer is kept at least this long. Default: 5s.
    pub(super) min_ttl: Option<At<String>>,
    /// An address that has left the answer stays allowed this long. Default: 60s.
    pub(super) grace: Option<At<String>>,
    /// How long one question may take. Default: 5s.
    pub(super) timeout: Option<At<String>>,
    /// Whether every workload may ask the resolvers on their port. Default: true.
    pub(super) allow_resolvers: Option<bool>,
    /// Resolvers whose answers are learned from, as in `servers`. Absent or empty: those that are asked; with pods also
    /// the cluster's, at kube-system/kube-dns and 169.254.20.10.
    pub(super) trusted_resolvers: Option<Vec<At<String>>>,
    /// How addresses are learned from the answers that workloads receive.
    pub(super) learn: Option<RawLearn>,
}

/// How addresses are learned from the answers that workloads receive: what a trusted resolver gives a workload for a
/// registered host, which may be a wildcard, is allowed to it at once.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(rename = "Learn")]
pub(super) struct RawLearn {
    /// Whether anything is learned. Default: true.
    pub(super) enabled: Option<bool>,
    /// A learned address counts at least this long, whatever its time to live. Default: 30s.
    pub(super) min_ttl: Option<At<String>>,
    /// As much of the time to live counts. `dns.grace` is added. Default: 24h.
    pub(super) max_ttl: Option<At<String>>,
    /// How many addresses one workload may have learned at once; the oldest make room. Default: 1024.
    #[schemars(range(min = 128, max = 65_536))]
    pub(super) addresses: Option<At<u32>>,
    /// Whether the cluster's own addresses, of pods, nodes and Services, count for no name outside it. Default: true.
    pub(super) protect_cluster: Option<bool>,
    /// Networks whose addresses count for no name, beside loopback, link-local and the like.
    pub(super) protected: Option<Vec<At<String>>>,
}

/// How refusals look.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(rename = "Deny")]
pub(super) struct RawDeny {
    /// What a refused `connect()` or `sendmsg()` returns, from kernel 5.18 on. Default: EPERM.
    pub(super) errno: Option<Errno>,
}

/// Kinds of socket beyond TCP and UDP that workloads may make. No rule speaks of them, so that what is admitted is
/// unrestricted.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(rename = "Sockets")]
pub(super) struct RawSockets {
    /// Raw IP sockets; with them, packets of any protocol and with any header. Default: false.
    pub(super) raw: Option<bool>,
    /// ICMP datagram sockets, as `ping` has them without privileges. Default: false.
    pub(super) icmp: Option<bool>,
    /// SCTP. Default: false.
    pub(super) sctp: Option<bool>,
    /// UDP-Lite. Default: false.
    pub(super) udplite: Option<bool>,
    /// Packet and XDP sockets, which write frames. Default: false.
    pub(super) packet: Option<bool>,
}

/// The page of `enforcer ui`, served by the enforcer itself.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(rename = "Ui")]
pub(super) struct RawUi {
    /// Where it is served. Default: 127.0.0.1:9901.
    pub(super) listen: Option<At<String>>,
    /// The file with the token that a browser needs, relative to the configuration file. Default: `ui.token` in the
    /// folder `state`, made at the first start.
    pub(super) token_file: Option<At<String>>,
    /// Whether `listen` may be an address that is not loopback. What is sent is not encrypted. Default: false.
    pub(super) allow_remote: Option<bool>,
}

/// What Prometheus scrapes, served by the enforcer itself.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(rename = "Metrics")]
pub(super) struct RawMetrics {
    /// An address with a port at which `/metrics` and `/healthz` are answered, such as `127.0.0.1:9967`, or `[::]:9967`
    /// for all addresses of the machine. Whoever reaches it may read. Absent: nobody listens.
    pub(super) listen: Option<At<String>>,
}

/// How many entries each of the kernel's maps holds.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(rename = "Capacities")]
pub(super) struct RawCapacities {
    /// Workloads. Default: 16384.
    #[schemars(range(min = 1, max = 16_777_216))]
    pub(super) workloads: Option<At<u32>>,
    /// Policies; workloads that see the same share one. Default: 4096.
    #[schemars(range(min = 1, max = 16_777_216))]
    pub(super) policies: Option<At<u32>>,
    /// Rules with one address. Default: 262144.
    #[schemars(range(min = 1, max = 16_777_216))]
    pub(super) exact: Option<At<u32>>,
    /// Rules with a network. Default: 65536.
    #[schemars(range(min = 1, max = 16_777_216))]
    pub(super) prefixes: Option<At<u32>>,
    /// Rules with a port and any address. Default: 65536.
    #[schemars(range(min = 1, max = 16_777_216))]
    pub(super) ports: Option<At<u32>>,
    /// Rules with a host. Default: 65536.
    #[schemars(range(min = 1, max = 16_777_216))]
    pub(super) hosts: Option<At<u32>>,
}

/// What is kept of what workloads were seen to reach.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(rename = "Observe")]
pub(super) struct RawObserve {
    /// How many destinations of all workloads are kept; rare and old ones go first. Default: 8192.
    #[schemars(range(min = 1, max = 65_536))]
    pub(super) entries: Option<At<u32>>,
    /// A file that keeps them over a restart, such as /var/lib/enforcer/observed.jsonl. Absent: they end with the
    /// process.
    pub(super) file: Option<At<String>>,
}

/// A value and its line, counted from 1.
#[derive(Debug)]
pub(super) struct At<T> {
    pub(super) line: Option<u64>,
    pub(super) value: T,
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for At<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Spanned {
            value, referenced, ..
        } = Spanned::deserialize(deserializer)?;
        // The crate's unknown location is line 0.
        let line = Some(referenced.line()).filter(|line| *line > 0);
        Ok(Self { line, value })
    }
}

impl<T: JsonSchema> JsonSchema for At<T> {
    fn inline_schema() -> bool {
        T::inline_schema()
    }

    fn schema_name() -> Cow<'static, str> {
        T::schema_name()
    }

    fn schema_id() -> Cow<'static, str> {
        T::schema_id()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        T::json_schema(generator)
    }
}
