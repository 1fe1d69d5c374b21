//! Words that everybody has: they tell nothing, and without them nobody could read what is left.

/// Keys below which only our own words stand.
const OURS: [&str; 13] = [
    "level",
    "verdict",
    "protocol",
    "transport",
    "kind",
    "event",
    "mode",
    "phase",
    "resolution",
    "timestamp",
    "time",
    "version",
    "purpose",
];

/// Names that Kubernetes, Istio, systemd or the enforcer give.
const PUBLIC: [&str; 34] = [
    "default",
    "kube-system",
    "kube-public",
    "kube-node-lease",
    "istio-system",
    "istio",
    "istiod",
    "istio-proxy",
    "kubernetes",
    "kube-dns",
    "coredns",
    "localhost",
    "enforcer",
    "enforcer-system",
    "root",
    "init",
    "system",
    "user",
    "machine",
    "kubepods",
    "besteffort",
    "burstable",
    "pod",
    "true",
    "false",
    "http",
    "https",
    "grpc",
    "tcp",
    "udp",
    "tls",
    "registry",
    "v1",
    "cgroup",
];

/// Parts of paths that every machine has.
const PARTS: [&str; 58] = [
    "sys",
    "fs",
    "bpf",
    "etc",
    "run",
    "var",
    "lib",
    "proc",
    "self",
    "usr",
    "bin",
    "sbin",
    "local",
    "opt",
    "home",
    "tmp",
    "mnt",
    "dev",
    "null",
    "kernel",
    "security",
    "debug",
    "tracing",
    "log",
    "pods",
    "kubelet",
    "systemd",
    "journal",
    "resolve",
    "resolv.conf",
    "unified",
    "btf",
    "vmlinux",
    "conf",
    "all",
    "net",
    "devices",
    "memory",
    "cpu",
    "cpuset",
    "blkio",
    "freezer",
    "hugetlb",
    "perf_event",
    "net_cls",
    "net_prio",
    "pids",
    "rdma",
    "misc",
    "cpuacct",
    "links",
    "lsm",
    "stub-resolv.conf",
    "state",
    "names.json",
    "control.sock",
    "secrets",
    "serviceaccount",
];

/// Ends of names of files and units: what has one is no host.
const ENDS: [&str; 18] = [
    "yaml", "yml", "json", "jsonl", "sock", "slice", "service", "scope", "mount", "txt", "log", "new",
    "conf", "token", "so", "gz", "md", "damaged",
];

/// Parts of the names of fields in documents and configurations: `spec.hosts`, `dns.learn.minTtl`.
const FIELDS: [&str; 70] = [
    "spec",
    "metadata",
    "status",
    "hosts",
    "ports",
    "name",
    "number",
    "protocol",
    "targetPort",
    "addresses",
    "endpoints",
    "address",
    "resolution",
    "exportTo",
    "egress",
    "ingress",
    "workloadSelector",
    "labels",
    "annotations",
    "matchLabels",
    "matchExpressions",
    "location",
    "selector",
    "clusterIP",
    "externalName",
    "namespace",
    "registry",
    "files",
    "kubernetes",
    "kubeconfig",
    "context",
    "node",
    "meshNamespace",
    "outboundTrafficPolicy",
    "mode",
    "workloads",
    "unit",
    "slice",
    "user",
    "cgroup",
    "roots",
    "pods",
    "cgroupRoots",
    "namespaceSelector",
    "excludedNamespaces",
    "podLabels",
    "proxies",
    "exemptContainers",
    "builtIn",
    "dns",
    "servers",
    "minTtl",
    "maxTtl",
    "grace",
    "timeout",
    "allowResolvers",
    "trustedResolvers",
    "learn",
    "enabled",
    "protected",
    "protectCluster",
    "deny",
    "errno",
    "matching",
    "sockets",
    "capacities",
    "observe",
    "file",
    "ui",
    "listen",
];

/// Whose labels and annotations are named by these: `istio.io/rev`.
const GROUPS: [&str; 10] = [
    "istio.io",
    "networking.istio.io",
    "sidecar.istio.io",
    "traffic.sidecar.istio.io",
    "kubernetes.io",
    "app.kubernetes.io",
    "topology.kubernetes.io",
    "kubectl.kubernetes.io",
    "discovery.k8s.io",
    "enforcer.dev",
];

/// Whether only our own words stand below a key.
pub(super) fn is_ours(key: Option<&str>) -> bool {
    key.is_some_and(|key| OURS.contains(&key))
}

/// Whether a name is one that everybody has.
pub(super) fn is_public(name: &str) -> bool {
    PUBLIC.contains(&name) || name.bytes().all(|byte| byte.is_ascii_digit())
}

/// Whether a part of a path is one that every machine has.
pub(super) fn is_part(part: &str) -> bool {
    PARTS.contains(&part) || is_public(part)
}

/// The end of a file's or unit's name, with its dot.
pub(super) fn end(name: &str) -> Option<&str> {
    let at = name.rfind('.')?;
    ENDS.contains(&&name[at + 1..]).then(|| &name[at..])
}

/// Whether it is the name of a field.
pub(super) fn is_field(word: &str) -> bool {
    word.split('.').all(|part| FIELDS.contains(&part))
}

/// Whether it is whose label it is.
pub(super) fn is_group(word: &str) -> bool {
    GROUPS.contains(&word)
}
