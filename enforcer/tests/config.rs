//! What a configuration means, and how its mistakes read.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use enforcer::config::{
    Config, Enforcement, Errno, Learn, Matching, Proxies, Roots, Sockets, Udp, UnknownWorkloads, json_schema,
};
use enforcer_common::maps;
use enforcer_core::{istio::OutboundMode, model};
use serde_json::Value;

fn deploy() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy"))
}

fn parse(text: &str) -> Config {
    Config::parse(text, Path::new("/etc/enforcer/enforcer.yaml"))
        .unwrap_or_else(|mistakes| panic!("{text}\n{mistakes}"))
}

fn mistakes(text: &str) -> Vec<String> {
    let mistakes = match Config::parse(text, Path::new("enforcer.yaml")) {
        Ok(config) => panic!("{text}\nis taken for {config:?}"),
        Err(mistakes) => mistakes,
    };
    let lines: Vec<String> = mistakes.to_string().lines().map(str::to_owned).collect();
    assert_eq!(lines.len(), mistakes.iter().count(), "one line each:\n{mistakes}");
    lines
}

/// The example with every setting that is commented out as `#key:`.
fn whole_example() -> String {
    let text = fs::read_to_string(deploy().join("examples/enforcer.yaml")).expect("the example is there");
    let is_setting = |line: &str| {
        let rest = line.trim_start().strip_prefix('#').unwrap_or("");
        let key = rest.trim_start().split(':').next().unwrap_or("");
        let is_indented = rest.starts_with("  ") || !rest.starts_with(' ');
        is_indented && rest.contains(':') && !key.is_empty() && key.chars().all(char::is_alphanumeric)
    };
    let lines = text.lines().map(|line| {
        if is_setting(line) {
            line.replacen('#', "", 1)
        } else {
            line.to_owned()
        }
    });
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn smallest_configuration_has_the_documented_defaults() {
    let config = parse("workloads: []");
    assert_eq!(config.outbound, OutboundMode::RegistryOnly);
    assert_eq!(config.enforcement, Enforcement::Enforce);
    assert_eq!(config.unknown_workloads, UnknownWorkloads::Deny);
    assert_eq!(config.roots, Roots::EachWorkload);
    assert_eq!(config.errno, Errno::Eperm);
    assert_eq!(config.errno.number(), 1);
    assert_eq!(config.matching, Matching::Declared);
    assert_eq!(config.udp, Udp::Registry);
    assert!(config.revoke);
    assert_eq!(config.sockets, Sockets::default());
    assert_eq!(config.bpffs, Path::new("/sys/fs/bpf"));
    assert_eq!(config.state, Path::new("/run/enforcer"));
    assert_eq!((config.cgroup_mount, config.revision), (None, None));
    assert_eq!(config.kubernetes, None);
    assert_eq!(
        config.pods, None,
        "pods are enforced only where somebody has said so"
    );
    assert!(config.registry.is_empty() && config.workloads.is_empty() && config.dns.servers.is_empty());
    assert_eq!(config.dns.grace, Duration::from_secs(60));
    assert!(config.dns.allow_resolvers && config.dns.trusted.is_empty());
    let expected = Learn {
        enabled: true,
        min_ttl: Duration::from_secs(30),
        max_ttl: Duration::from_secs(24 * 3600),
        addresses: 1024,
        protect_cluster: true,
        protected: Vec::new(),
    };
    assert_eq!(config.dns.learn, expected);
    assert_eq!(config.capacities.workloads, maps::WORKLOADS_CAPACITY);
    assert_eq!(config.capacities.policies, maps::POLICIES_CAPACITY);
    assert_eq!(config.capacities.exact, maps::EXACT_CAPACITY);
    assert_eq!(config.capacities.prefixes, maps::PREFIXES_CAPACITY);
    assert_eq!(config.capacities.ports, maps::PORTS_CAPACITY);
    assert_eq!(config.capacities.hosts, maps::HOSTS_CAPACITY);
}

#[test]
fn section_without_keys_means_its_defaults() {
    let defaults = parse("workloads: []");
    for text in [
        "outboundTrafficPolicy: {}",
        "outboundTrafficPolicy:",
        "outboundTrafficPolicy: {mode: REGISTRY_ONLY}",
        "registry: {}\ndns:\ndeny: {}\ncapacities:\n",
        "dns: {servers: }\nworkloads:",
    ] {
        assert_eq!(parse(text), defaults, "{text}");
    }
}

#[test]
fn kubernetes_is_followed_if_its_key_is_there_and_says_nothing_more() {
    for text in [
        "registry: {kubernetes: {}}",
        "registry:\n  kubernetes:\n    #node: n1\n",
    ] {
        let kubernetes = parse(text).kubernetes.expect(text);
        assert_eq!((kubernetes.kubeconfig, kubernetes.context), (None, None));
        assert_eq!(kubernetes.mesh_namespace.as_str(), "istio-system");
    }
}

#[test]
fn pods_are_enforced_by_the_safe_defaults() {
    use enforcer_core::{
        model::{Enforcement, Namespace},
        pods::PodLabels,
    };
    let pods = |text: &str| parse(text).pods.unwrap();
    let safe = pods("pods: {}");
    assert_eq!((safe.node, safe.roots.len(), safe.exempt.len()), (None, 0, 0));
    assert_eq!(safe.scope.default, Enforcement::Enforce);
    assert_eq!(safe.scope.pod_labels, PodLabels::Tighten);
    assert!(!safe.scope.honours_capture);
    assert_eq!(safe.proxies, Proxies::Endpoints);
    assert_eq!(
        safe.scope
            .excluded
            .iter()
            .map(Namespace::as_str)
            .collect::<Vec<_>>(),
        ["istio-system", "kube-node-lease", "kube-public", "kube-system"]
    );
    assert!(safe.built_in.own_addresses);
    assert_eq!(safe.built_in.resolv_confs[0], PathBuf::from("/etc/resolv.conf"));
    let names: Vec<_> = safe.built_in.allowances.iter().map(|it| it.name).collect();
    assert_eq!(names, ["cluster DNS", "kubernetes.default"]);
    // On trial as a whole, pods are too, unless they are not.
    assert_eq!(pods("mode: audit\npods: {}").scope.default, Enforcement::Audit);
    let text = "mode: audit\npods: {mode: enforce}";
    assert_eq!(pods(text).scope.default, Enforcement::Enforce);
}

#[test]
fn every_setting_of_pods_is_taken() {
    use enforcer_core::{
        istio::{LabelExpression, LabelOperator},
        model::{Enforcement, Namespace},
        pods::PodLabels,
    };
    let pods = parse(
        "node: node-1.example
pods:
  cgroupRoots: [/kubelet/kubepods, /kubelet.slice/kubelet-kubepods.slice]
  mode: off
  namespaceSelector: {matchLabels: {team: a}, matchExpressions: [{key: env, operator: NotIn, values: [dev]}]}
  excludedNamespaces: [infra]
  podLabels: honour
  honourCaptureAnnotations: true
  exemptContainers: [istio-proxy]
  proxies: none
  builtIn: {clusterDns: true, clusterDnsAddresses: [169.254.20.10], kubernetesApi: false, ownAddresses: false,
    nodeResolvConf: /run/kubernetes/resolv.conf}
",
    );
    let pods = pods.pods.unwrap();
    assert_eq!(pods.node.as_deref(), Some("node-1.example"));
    assert_eq!(pods.roots[1].as_str(), "/kubelet.slice/kubelet-kubepods.slice");
    assert_eq!(pods.scope.default, Enforcement::Off);
    assert_eq!(pods.scope.selector.labels["team"], "a");
    let not_dev = LabelExpression {
        key: "env".to_owned(),
        operator: LabelOperator::NotIn(vec!["dev".to_owned()]),
    };
    assert_eq!(pods.scope.selector.expressions, [not_dev]);
    assert_eq!(pods.scope.excluded.first().map(Namespace::as_str), Some("infra"));
    assert_eq!(pods.scope.pod_labels, PodLabels::Honour);
    assert_eq!(pods.proxies, Proxies::None);
    assert!(pods.scope.honours_capture && pods.exempt.contains("istio-proxy"));
    assert!(!pods.built_in.own_addresses);
    assert_eq!(
        pods.built_in.resolv_confs,
        [PathBuf::from("/run/kubernetes/resolv.conf")]
    );
    let [dns] = pods.built_in.allowances.as_slice() else {
        panic!("{:?}", pods.built_in)
    };
    assert_eq!(dns.addresses, ["169.254.20.10".parse().unwrap()].into());
}

#[test]
fn every_setting_is_taken() {
    let config = parse(
        "registry:
  files: [registry/, /srv/more.yaml]
  kubernetes: {kubeconfig: admin.conf, context: production, node: node-1, meshNamespace: mesh}
outboundTrafficPolicy: {mode: ALLOW_ANY}
mode: audit
workloads:
  - {namespace: frontend, name: web, labels: {app: web, version: 1.0}, cgroup: //a/./web.x/}
  - {namespace: frontend, cgroup: /a/api.slice}
roots: [/a]
unknownWorkloads: allow
dns: {servers: [192.0.2.53, '192.0.2.54:5353', '2001:db8::53', '[2001:db8::54]', '[2001:db8::55]:5353',
  '::ffff:192.0.2.53'], minTtl: 1m, grace: 1h30m, timeout: 500ms, allowResolvers: false, trustedResolvers: [192.0.2.56],
  learn: {enabled: false, minTtl: 1s, maxTtl: 1h, addresses: 128, protectCluster: false, protected: [10.1.2.3/8, '::1']}}
deny: {errno: ECONNREFUSED}
matching: istio
udp: dns-only
revoke: false
sockets: {raw: true, sctp: true}
bpffs: /run/bpf
state: /var/lib/enforcer
cgroupMount: /sys/fs/cgroup/unified
capacities: {workloads: 1, policies: 2, exact: 3, prefixes: 4, ports: 5, hosts: 6}
revision: canary
",
    );
    assert_eq!(
        config.registry,
        [Path::new("/etc/enforcer/registry/"), Path::new("/srv/more.yaml")]
    );
    let kubernetes = config.kubernetes.expect("the section is there");
    assert_eq!(
        kubernetes.kubeconfig.as_deref(),
        Some(Path::new("/etc/enforcer/admin.conf"))
    );
    assert_eq!(kubernetes.context.as_deref(), Some("production"));
    assert_eq!(kubernetes.node.as_deref(), Some("node-1"));
    assert_eq!(kubernetes.mesh_namespace.as_str(), "mesh");
    assert_eq!(config.outbound, OutboundMode::AllowAny);
    assert_eq!(config.enforcement, Enforcement::Audit);
    let workloads: Vec<_> = config
        .workloads
        .iter()
        .map(|w| (w.workload.to_string(), w.cgroup.to_string()))
        .collect();
    let expected = [("frontend/web", "/a/web.x"), ("frontend/api", "/a/api.slice")];
    assert_eq!(
        workloads,
        expected.map(|(name, cgroup)| (name.to_owned(), cgroup.to_owned()))
    );
    assert_eq!(config.workloads[0].workload.labels["version"], "1.0");
    let Roots::These(roots) = &config.roots else {
        panic!("{:?}", config.roots)
    };
    assert_eq!(roots[0].as_str(), "/a");
    assert_eq!(config.unknown_workloads, UnknownWorkloads::Allow);
    let servers: Vec<_> = config.dns.servers.iter().map(ToString::to_string).collect();
    let expected = [
        "192.0.2.53:53",
        "192.0.2.54:5353",
        "[2001:db8::53]:53",
        "[2001:db8::54]:53",
        "[2001:db8::55]:5353",
    ];
    assert_eq!(servers, expected);
    let times = [config.dns.min_ttl, config.dns.grace, config.dns.timeout];
    assert_eq!(times, [60_000, 5_400_000, 500].map(Duration::from_millis));
    assert!(!config.dns.allow_resolvers);
    assert_eq!(config.dns.trusted, ["192.0.2.56:53".parse().unwrap()]);
    let expected = Learn {
        enabled: false,
        min_ttl: Duration::from_secs(1),
        max_ttl: Duration::from_secs(3600),
        addresses: 128,
        protect_cluster: false,
        protected: vec!["10.0.0.0/8".parse().unwrap(), "::1/128".parse().unwrap()],
    };
    assert_eq!(config.dns.learn, expected);
    assert_eq!(config.errno.number(), 111);
    assert_eq!((config.matching, config.udp), (Matching::Istio, Udp::DnsOnly));
    assert!(!config.revoke);
    let Sockets {
        raw,
        icmp,
        sctp,
        udplite,
        packet,
    } = config.sockets;
    assert_eq!(
        [raw, icmp, sctp, udplite, packet],
        [true, false, true, false, false]
    );
    assert_eq!(config.bpffs, Path::new("/run/bpf"));
    assert_eq!(config.state, Path::new("/var/lib/enforcer"));
    assert_eq!(
        config.cgroup_mount.as_deref(),
        Some(Path::new("/sys/fs/cgroup/unified"))
    );
    let c = config.capacities;
    assert_eq!(
        [c.workloads, c.policies, c.exact, c.prefixes, c.ports, c.hosts],
        [1, 2, 3, 4, 5, 6]
    );
    assert_eq!(config.revision.as_deref(), Some("canary"));
}

#[test]
fn node_that_is_given_once_is_the_node_of_pods_and_of_the_api_server() {
    for text in [
        "registry: {kubernetes: {node: n1}}\npods: {}",
        "registry: {kubernetes: {}}\npods: {node: n1}",
        "registry: {kubernetes: {node: n1}}\npods: {node: n1}",
    ] {
        let config = parse(text);
        let nodes = (config.pods.unwrap().node, config.kubernetes.unwrap().node);
        assert_eq!(nodes, (Some("n1".to_owned()), Some("n1".to_owned())), "{text}");
    }
}

#[test]
fn every_mistake_is_one_line_that_says_where_and_how_to_mend_it() {
    let mut failures = Vec::new();
    for (text, expected) in [
        (
            "# nothing\n---\n",
            "enforcer.yaml: is empty; the smallest configuration is `workloads: []`",
        ),
        (
            "workloads: []\n\noutboundTrafficPolcy:\n  mode: ALLOW_ANY",
            "enforcer.yaml:3: unknown key \"outboundTrafficPolcy\", did you mean \"outboundTrafficPolicy\"?",
        ),
        (
            "pods: {cgroupRoots: [/frontend.slice]}",
            "enforcer.yaml:1: pods.cgroupRoots: \"/frontend.slice\" is not a kubelet's cgroup of pods, whose name is \
             \"kubepods\", \"kubepods.slice\" or \"…-kubepods.slice\"",
        ),
        (
            "pods: {cgroupRoots: []}",
            "enforcer.yaml:1: pods.cgroupRoots: an empty list would enforce no pod; remove the key to have the \
             cgroups found",
        ),
        (
            "pods: {cgroupRoots: [/kubepods, /kubepods]}",
            "enforcer.yaml:1: pods.cgroupRoots: /kubepods and /kubepods overlap; a kubelet's pods lie below one cgroup",
        ),
        (
            "pods:\n  node: Node_1",
            "enforcer.yaml:2: node: \"Node_1\" is not a node's name: lower-case letters, digits, hyphens and \
             dots, at most 253",
        ),
        (
            "pods:\n  exemptContainers: [istio/proxy]",
            "enforcer.yaml:2: pods.exemptContainers: \"istio/proxy\" is not a container's name: lower-case letters, \
             digits and \
             inner hyphens, at most 63",
        ),
        (
            "pods:\n  namespaceSelector: {matchExpressions: [{key: a, operator: In}]}",
            "enforcer.yaml:2: pods.namespaceSelector.matchExpressions: \"a\" needs `values`",
        ),
        (
            "pods:\n  builtIn: {clusterDnsAddresses: [dns]}",
            "enforcer.yaml:2: pods.builtIn.clusterDnsAddresses: \"dns\" is not the address of one resolver",
        ),
        (
            "metrics:\n  listen: localhost:9967",
            "enforcer.yaml:2: metrics.listen: \"localhost:9967\" is no address with a port, such as 127.0.0.1:9967 or \
             \"[::]:9967\" (all of the machine)",
        ),
        (
            "dns:\n  minTTL: 5s",
            "enforcer.yaml:2: unknown key \"minTTL\", did you mean \"minTtl\"?",
        ),
        (
            "registry:\n  paths: []",
            "enforcer.yaml:2: unknown key \"paths\", the keys here are files, kubernetes",
        ),
        (
            "workloads:\n  - namespace: a\n    cgroup: /a\n    namespce: b",
            "enforcer.yaml:4: unknown key \"namespce\", did you mean \"namespace\"?",
        ),
        (
            "outboundTrafficPolicy:\n  mode: REGISTRY_ONY",
            "enforcer.yaml:2: unknown value \"REGISTRY_ONY\", did you mean \"REGISTRY_ONLY\"? valid are REGISTRY_ONLY, \
             ALLOW_ANY",
        ),
        (
            "\nudp: maybe",
            "enforcer.yaml:2: unknown value \"maybe\", valid are registry, allow, dns-only",
        ),
        (
            "mode: 7",
            "enforcer.yaml:1: unknown value \"7\", valid are enforce, audit",
        ),
        (
            "deny: {errno: EAGAIN}",
            "enforcer.yaml:1: unknown value \"EAGAIN\", valid are EPERM, EACCES, ECONNREFUSED, ENETUNREACH, \
             EHOSTUNREACH, ETIMEDOUT",
        ),
        (
            "workloads:\n  - cgroup: /a",
            "enforcer.yaml:2: missing key \"namespace\"",
        ),
        (
            "udp: allow\nudp: allow",
            "enforcer.yaml:2: the key \"udp\" is given twice",
        ),
        (
            "udp: allow\n---\nudp: allow",
            "enforcer.yaml:3: a second document begins here; only one is allowed",
        ),
        (
            "workloads:\n  - namespace: a\n    cgroup: a.slice",
            "enforcer.yaml:3: workloads.cgroup: \"a.slice\" is relative; write the path below the cgroup mount, as in \
             \"/frontend.slice\"",
        ),
        (
            "workloads: [{namespace: a, cgroup: /a/../b}]",
            "enforcer.yaml:1: workloads.cgroup: \"/a/../b\" has a part \"..\"; write the path without it",
        ),
        (
            "workloads: [{namespace: a, cgroup: /./}]",
            "enforcer.yaml:1: workloads.cgroup: \"/./\" is the root of all cgroups, so that the whole machine would \
             be enforced; name a cgroup below it",
        ),
        (
            "workloads: [{namespace: a, cgroup: /sys/fs/cgroup/a}]",
            "enforcer.yaml:1: workloads.cgroup: \"/sys/fs/cgroup/a\" includes the cgroup mount; write the path below \
             the mount: \
             \"/a\"",
        ),
        (
            "workloads: [{namespace: a, cgroup: /1/2/3/4/5/6/7/8/9/10/11/12/13/14/15/16/17}]",
            "enforcer.yaml:1: workloads.cgroup: \"/1/2/3/4/5/6/7/8/9/10/11/12/13/14/15/16/17\" is 17 levels deep, and \
             the kernel's programs look no deeper than 16",
        ),
        (
            "workloads:\n  - namespace: a\n    cgroup: /x/web\n  - namespace: b\n    cgroup: /x//web/",
            "enforcer.yaml:5: /x/web is already the cgroup of a/web (line 2); a cgroup belongs to one workload",
        ),
        (
            "workloads:\n  - namespace: a\n    cgroup: /x/web\n  - namespace: a\n    cgroup: /y/web",
            "enforcer.yaml:4: the workload a/web is already in line 2; give one of them another `name`",
        ),
        (
            "workloads: [{namespace: Front_End, cgroup: /a}]",
            "enforcer.yaml:1: workloads.namespace: \"Front_End\" is not a namespace: lower-case letters, digits and \
             inner \
             hyphens, at most 63",
        ),
        (
            "workloads: [{namespace: a, cgroup: /a, labels: {app: a b}}]",
            "enforcer.yaml:1: workloads.labels: \"a b\" is not a value of the label \"app\"",
        ),
        (
            "registry:\n  kubernetes:\n    node: n1\npods: {node: n2}",
            "enforcer.yaml:3: registry.kubernetes.node: has moved to `node`, and contradicts another key that has; \
             write `node` alone",
        ),
        (
            "roots: []",
            "enforcer.yaml:1: roots: an empty list would enforce nothing; remove the key to enforce each workload's \
             own cgroup",
        ),
        (
            "roots: [/a/b, /a]",
            "enforcer.yaml:1: roots: /a and /a/b overlap; keep the outer one",
        ),
        (
            "roots:\n- /b\nworkloads:\n- namespace: a\n  cgroup: /a",
            "enforcer.yaml:4: workloads.cgroup: /a of a/a is below none of the roots, so nothing would enforce it",
        ),
        (
            "dns:\n  servers:\n    - 192.0.2.1\n    - 192.0.2.53:70000",
            "enforcer.yaml:4: dns.servers: the port of \"192.0.2.53:70000\" is out of range; it is a number from 1 to \
             65535",
        ),
        (
            "dns: {servers: ['[2001:db8::1]:0']}",
            "enforcer.yaml:1: dns.servers: the port of \"[2001:db8::1]:0\" is out of range; it is a number from 1 to \
             65535",
        ),
        (
            "dns: {servers: [dns.example.com]}",
            "enforcer.yaml:1: dns.servers: \"dns.example.com\" is not a resolver; write IP, IP:PORT or [IPv6]:PORT",
        ),
        (
            "dns: {servers: [0.0.0.0]}",
            "enforcer.yaml:1: dns.servers: \"0.0.0.0\" is not the address of one resolver",
        ),
        (
            "dns: {grace: 60}",
            "enforcer.yaml:1: dns.grace: \"60\" has no unit; write 60s for seconds",
        ),
        (
            "dns: {minTtl: soon}",
            "enforcer.yaml:1: dns.minTtl: \"soon\" is not a duration; write it like 500ms, 60s, 5m or 1h30m",
        ),
        (
            "dns: {minTtl: 0s}",
            "enforcer.yaml:1: dns.minTtl: \"0s\" is too short; at least 1000ms",
        ),
        (
            "dns: {grace: 25h}",
            "enforcer.yaml:1: dns.grace: \"25h\" is too long; at most 24h",
        ),
        (
            "dns:\n  learn:\n    minTtl: 1h\n    maxTtl: 30s",
            "enforcer.yaml:4: dns.learn.maxTtl: is shorter than dns.learn.minTtl",
        ),
        (
            "dns: {learn: {addresses: 127}}",
            "enforcer.yaml:1: dns.learn.addresses: 127 is out of range; it is a number from 128 to 65536",
        ),
        (
            "dns: {learn: {protected: [10.0.0.0/33]}}",
            "enforcer.yaml:1: dns.learn.protected: \"10.0.0.0/33\" is not a network; write it like 10.0.0.0/8 or \
             2001:db8::/32",
        ),
        (
            "capacities:\n  exact: 0",
            "enforcer.yaml:2: capacities.exact: 0 is out of range; it is a number from 1 to 16777216",
        ),
        (
            "capacities:\n  exact: lots",
            "enforcer.yaml:2: \"exact\" has to be a whole number, not negative",
        ),
        (
            "capacities:\n  exact: -1",
            "enforcer.yaml:2: \"exact\" has to be a whole number, not negative",
        ),
        (
            "dns:\n  allowResolvers: perhaps",
            "enforcer.yaml:2: \"allowResolvers\" has to be true or false",
        ),
        (
            "bpffs: run/bpf",
            "enforcer.yaml:1: bpffs: \"run/bpf\" is relative; write the whole path",
        ),
        (
            "revision: ''",
            "enforcer.yaml:1: revision: is empty; remove the key instead",
        ),
        (
            "registry: {files: ['']}",
            "enforcer.yaml:1: registry.files: is empty; remove the key instead",
        ),
        (
            "registry:\n  files: registry/",
            "enforcer.yaml:2: \"files\" has to be a list (`- value` lines or `[value]`)",
        ),
        (
            "dns: []",
            "enforcer.yaml:1: \"dns\" has to be a mapping (`key: value` lines)",
        ),
        (
            "- a",
            "enforcer.yaml:1: \"a\" has to be a mapping (`key: value` lines)",
        ),
        (
            "bpffs: [a]",
            "enforcer.yaml:1: \"bpffs\" has to be a single value",
        ),
        (
            "workloads:\n- namespace:\n  cgroup: /a",
            "enforcer.yaml:2: \"namespace\" has to be a text, but is empty",
        ),
    ] {
        let found = mistakes(text);
        if found != [expected] {
            failures.push(format!("{text}\n    found {found:?}\n    not   {expected:?}"));
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn all_mistakes_of_meaning_are_found_at_once() {
    let lines = mistakes(
        "workloads:\n- namespace: A\n  cgroup: b\n- namespace: c\n  cgroup: /\ndns: {grace: 1, servers: [x]}\nbpffs: x",
    );
    let places: Vec<_> = lines.iter().map(|line| line.split(' ').next().unwrap()).collect();
    let expected = [2, 3, 5, 6, 6, 7].map(|line| format!("enforcer.yaml:{line}:"));
    assert_eq!(places, expected, "{lines:#?}");
}

#[test]
fn broken_and_hostile_yaml_is_one_mistake_in_one_line() {
    let bomb = (1..12).fold(
        "roots:\n- &a0 [a,a,a,a,a,a,a,a,a,a]\n".to_owned(),
        |text, level| {
            let before = level - 1;
            text + &format!("- &a{level} [{}]\n", vec![format!("*a{before}"); 10].join(","))
        },
    );
    for (text, expected) in [
        ("roots: [".to_owned(), "enforcer.yaml:1: "),
        (
            "\u{0}\u{1}\u{2}".to_owned(),
            "enforcer.yaml:1: unexpected character: `\\u{0}'",
        ),
        (
            "udp: *nowhere".to_owned(),
            "enforcer.yaml:1: alias references unknown anchor",
        ),
        ("udp: allow\n  x: y".to_owned(), "enforcer.yaml:"),
        ("bpffs: 'open".to_owned(), "enforcer.yaml:"),
        (bomb, "enforcer.yaml:2: "),
        (
            format!("roots: {}", "[".repeat(100_000)),
            "enforcer.yaml:1: recursion limit exceeded",
        ),
        (format!("registry: {}", "{a: ".repeat(5_000)), "enforcer.yaml:1: "),
        (format!("{}: 1", "a".repeat(100_000)), "enforcer.yaml:1: "),
        (
            format!("bpffs: {}", "a".repeat(1_000_000)),
            "enforcer.yaml:1: bpffs: \"aaa",
        ),
        (
            format!("roots: [{}]", "/a,".repeat(300_000)),
            "enforcer.yaml:1: exceeds the limits of a configuration file",
        ),
    ] {
        let lines = mistakes(&text);
        let start: String = text.chars().take(40).collect();
        assert_eq!(lines.len(), 1, "{start}: {lines:?}");
        assert!(lines[0].starts_with(expected), "{start}: {lines:?}");
        assert!(lines[0].chars().count() < 450, "{start}: {lines:?}");
    }
}

#[test]
fn alias_is_reported_where_it_is_used() {
    let text = "registry: {files: [&here relative]}\n\nbpffs: *here";
    assert_eq!(
        mistakes(text),
        ["enforcer.yaml:3: bpffs: \"relative\" is relative; write the whole path"]
    );
}

#[test]
fn file_that_cannot_be_taken_is_said_to_be_so() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("enforcer.yaml");
    let mistake = || Config::load(&file).unwrap_err().to_string();
    let says = |what: &str| format!("{}: {what}", file.display());
    assert_eq!(
        mistake(),
        says("cannot be read: No such file or directory (os error 2)")
    );
    fs::write(&file, [0xff, 0xfe, 0x00]).unwrap();
    assert_eq!(mistake(), says("is not UTF-8 text"));
    fs::File::create(&file).unwrap().set_len(100 << 20).unwrap();
    assert_eq!(mistake(), says("is larger than 16 MiB"));
    fs::write(&file, "registry: {files: [registry]}").unwrap();
    assert_eq!(
        Config::load(&file).unwrap().registry,
        [folder.path().join("registry")]
    );
}

#[test]
fn committed_schema_is_the_generated_one() {
    let path = deploy().join("config.schema.json");
    let generated = serde_json::to_string_pretty(&json_schema()).unwrap() + "\n";
    if std::env::var_os("BLESS").is_some_and(|bless| bless == "1") {
        fs::write(&path, &generated).unwrap();
    }
    let committed = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        committed == generated,
        "{} is stale; run the tests once with BLESS=1",
        path.display()
    );
}

#[test]
fn example_is_a_valid_configuration() {
    let config = Config::load(&deploy().join("examples/enforcer.yaml"))
        .unwrap_or_else(|mistakes| panic!("{mistakes}"));
    assert_eq!(config.workloads.len(), 4);
    assert!(
        config.registry.iter().all(|path| path.exists()),
        "{:?}",
        config.registry
    );
}

#[test]
fn example_shows_the_defaults_of_what_it_leaves_commented_out() {
    let example = Config::load(&deploy().join("examples/enforcer.yaml")).unwrap();
    let mut whole = Config::parse(&whole_example(), &deploy().join("examples/enforcer.yaml")).unwrap();
    // These have no default that could be written.
    assert_eq!(whole.workloads[0].workload.name, "web");
    whole.workloads[0]
        .workload
        .name
        .clone_from(&example.workloads[0].workload.name);
    assert_eq!(
        whole.workloads[0].workload.enforcement.take(),
        Some(model::Enforcement::Enforce)
    );
    assert!(matches!(whole.roots, Roots::These(_)));
    whole.roots = Roots::EachWorkload;
    let mut pods = whole.pods.take().unwrap();
    assert_eq!(pods.node.take().as_deref(), Some("node-1"));
    assert_eq!(std::mem::take(&mut pods.roots).len(), 1);
    let defaults = parse("pods: {}").pods.unwrap();
    assert_eq!(pods.built_in.resolv_confs, [PathBuf::from("/etc/resolv.conf")]);
    pods.built_in
        .resolv_confs
        .clone_from(&defaults.built_in.resolv_confs);
    assert!(!std::mem::replace(&mut pods.built_in.asks_kubelet, true));
    assert_eq!(pods, defaults);
    assert!(whole.cgroup_mount.take().is_some());
    let kubernetes = whole.kubernetes.take().expect("the section is there");
    assert_eq!(kubernetes.mesh_namespace.as_str(), "istio-system");
    assert!(whole.revision.take().is_some());
    assert!(whole.observe.file.take().is_some());
    let mut ui = whole.ui.take().expect("the section is there");
    assert!(ui.token_file.take().is_some());
    assert_eq!(Some(ui), parse("ui: {}").ui);
    assert!(whole.metrics.take().is_some());
    assert_eq!(
        parse("metrics: {}").metrics,
        None,
        "nobody listens without an address"
    );
    assert_eq!(whole, example);
}

#[test]
fn example_has_every_key_of_the_schema() {
    let schema = json_schema();
    let example: Value = serde_yaml::from_str(&whole_example()).unwrap();
    let compared = compare(&schema, &schema, &example, "");
    assert!(compared > 30, "only {compared} keys were compared");
}

/// Every property that `part` of `schema` has is in `value`, and nothing else is; the number of properties.
fn compare(schema: &Value, part: &Value, value: &Value, path: &str) -> usize {
    if let Some(name) = part["$ref"].as_str() {
        let target = schema
            .pointer(&name[1..])
            .unwrap_or_else(|| panic!("{name} is not in the schema"));
        return compare(schema, target, value, path);
    }
    if let Some(choices) = part["anyOf"].as_array() {
        let choice = choices
            .iter()
            .find(|choice| choice["type"] != "null")
            .expect("a choice that is not null");
        return compare(schema, choice, value, path);
    }
    let choices = part["oneOf"].as_array();
    // Choices of keys and not of values are those of one workload.
    if let Some(choices) =
        choices.filter(|choices| choices.iter().all(|choice| choice.get("const").is_some()))
    {
        assert!(
            choices.iter().any(|choice| choice["const"] == *value),
            "{path}: {value} is no choice"
        );
    }
    if let (Some(items), Some(values)) = (part.get("items"), value.as_array()) {
        // A key may stand in one item alone.
        let Some(mut whole) = values.first().cloned() else {
            return 0;
        };
        for value in values.iter().skip(1) {
            if let (Some(whole), Some(value)) = (whole.as_object_mut(), value.as_object()) {
                whole.extend(value.clone());
            }
        }
        return compare(schema, items, &whole, path);
    }
    let Some(properties) = part["properties"].as_object() else {
        return 0;
    };
    assert_eq!(part["additionalProperties"], false, "{path} admits unknown keys");
    for key in value.as_object().into_iter().flat_map(|object| object.keys()) {
        assert!(properties.contains_key(key), "{path}.{key} is not in the schema");
    }
    let count = |(key, property): (&String, &Value)| {
        let path = format!("{path}.{key}");
        assert!(value.get(key).is_some(), "{path} is missing in the example");
        assert!(
            property.get("description").is_some(),
            "{path} has no description in the schema"
        );
        1 + compare(schema, property, &value[key], &path)
    };
    properties.iter().map(count).sum()
}
