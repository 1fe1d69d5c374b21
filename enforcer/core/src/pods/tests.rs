//! The workloads of pods, in any order of events.

use super::*;
use crate::{
    istio::{Container, DnsPolicy, LabelSelector, Meta, ObjectId, PodDns, PodPhase},
    model::Enforcement::{Audit, Enforce, Off},
};

const MODE_LABEL: &str = Enforcement::LABEL;
const NODE: &str = "node-1";

fn settings() -> Settings {
    Settings {
        node: NODE.to_owned(),
        scope: Scope {
            default: Enforce,
            selector: LabelSelector::default(),
            excluded: [Namespace::new("kube-system")].into(),
            pod_labels: PodLabels::Tighten,
            honours_capture: false,
        },
        exempt: BTreeSet::new(),
        own_addresses: true,
        node_dns: true,
        proxies: true,
        enforcer: None,
    }
}

fn pairs(of: &[(&str, &str)]) -> Labels {
    of.iter()
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
        .collect()
}

fn pod(namespace: &str, name: &str, uid: &str) -> Pod {
    Pod {
        meta: Meta {
            namespace: Namespace::new(namespace),
            name: name.to_owned(),
            labels: Labels::new(),
            annotations: Labels::new(),
            created: None,
        },
        uid: uid.to_owned(),
        node: NODE.to_owned(),
        addresses: Vec::new(),
        host_network: false,
        phase: PodPhase::default(),
        is_ready: true,
        proxy: None,
        dns: PodDns::default(),
        controller: None,
        containers: Vec::new(),
    }
}

fn labelled(namespace: &str, labels: &[(&str, &str)]) -> Pod {
    let mut pod = pod(namespace, "p", "u-1");
    pod.meta.labels = pairs(labels);
    pod
}

fn apply(pod: Pod) -> Update {
    Update::Apply(Object::Pod(Arc::new(pod)))
}

fn namespace(name: &str, mode: &str) -> Update {
    let meta = Meta {
        namespace: Namespace::new(""),
        name: name.to_owned(),
        labels: pairs(&[(MODE_LABEL, mode)]),
        annotations: Labels::new(),
        created: None,
    };
    Update::Apply(Object::Namespace(Arc::new(NamespaceObject { meta })))
}

fn delete(kind: Kind, namespace: &str, name: &str) -> Update {
    Update::Delete(ObjectId {
        kind,
        namespace: Namespace::new(namespace),
        name: name.to_owned(),
    })
}

fn at(uid: &str) -> PodCgroup {
    PodCgroup::Pod(PodUid::new(uid).unwrap())
}

/// The pods with what a registry would hold of them.
struct World {
    pods: Pods,
    workloads: BTreeMap<CgroupId, Workload>,
}

impl World {
    fn new(settings: Settings) -> Self {
        Self {
            pods: Pods::new(settings),
            workloads: BTreeMap::new(),
        }
    }

    fn apply(&mut self, updates: Vec<Update>) {
        for update in updates {
            match update {
                Update::Workload(cgroup, workload) => drop(self.workloads.insert(cgroup, workload)),
                Update::WorkloadGone(cgroup) => {
                    assert!(
                        self.workloads.remove(&cgroup).is_some(),
                        "gone without having come"
                    );
                }
                other => panic!("nothing of pods: {other:?}"),
            }
        }
    }

    fn note(&mut self, update: Update) {
        let updates = self.pods.note(&update);
        self.apply(updates);
    }

    fn appeared(&mut self, cgroup: u64, found: PodCgroup) {
        let updates = self.pods.appeared(CgroupId(cgroup), found);
        self.apply(updates);
    }

    fn gone(&mut self, cgroup: u64) {
        let updates = self.pods.gone(CgroupId(cgroup));
        self.apply(updates);
    }

    /// `namespace/name mode` of a cgroup.
    fn of(&self, cgroup: u64) -> Option<String> {
        let workload = self.workloads.get(&CgroupId(cgroup))?;
        Some(format!("{workload} {}", workload.enforcement.unwrap()))
    }

    fn placeholders(&self) -> usize {
        self.workloads
            .keys()
            .filter(|cgroup| cgroup.0 & PLACEHOLDER != 0)
            .count()
    }
}

#[test]
fn pod_and_cgroup_meet_in_either_order() {
    let mut world = World::new(settings());
    world.note(apply(pod("shop", "a", "u-1")));
    assert_eq!((world.of(1), world.placeholders()), (None, 1));
    world.appeared(1, at("u-1"));
    assert_eq!(world.of(1).as_deref(), Some("shop/a enforce"));
    world.appeared(2, at("u-2"));
    assert_eq!(world.of(2), None, "unknown until its object is there");
    assert!(world.pods.unknown_pod(CgroupId(2)).is_some());
    world.note(apply(pod("shop", "b", "u-2")));
    assert_eq!(world.of(2).as_deref(), Some("shop/b enforce"));
    assert_eq!(world.pods.unknown_pod(CgroupId(2)), None);
}

#[test]
fn pods_of_other_nodes_and_of_none_stand_for_nothing() {
    let mut world = World::new(settings());
    world.appeared(1, at("u-1"));
    for node in ["node-2", ""] {
        let elsewhere = Pod {
            node: node.to_owned(),
            ..pod("shop", "a", "u-1")
        };
        world.note(apply(elsewhere));
        assert_eq!((world.of(1), world.placeholders()), (None, 0), "{node:?}");
    }
    world.note(apply(pod("shop", "a", "u-1")));
    assert_eq!(world.of(1).as_deref(), Some("shop/a enforce"));
}

#[test]
fn pod_without_uid_stands_for_nothing() {
    let mut world = World::new(settings());
    world.note(apply(pod("shop", "a", "")));
    assert_eq!(world.placeholders(), 0);
}

#[test]
fn static_pod_is_known_by_the_uid_that_its_mirror_names() {
    let mut world = World::new(settings());
    world.appeared(1, at("5b6a79880716253443526170"));
    let mut mirror = pod("shop", "etcd-node-1", "u-api");
    mirror.meta.annotations = pairs(&[(MIRROR, "5b6a79880716253443526170")]);
    world.note(apply(mirror));
    assert_eq!(world.of(1).as_deref(), Some("shop/etcd-node-1 enforce"));
}

#[test]
fn made_up_mirror_never_displaces_another_pod() {
    let mirror = |name: &str, created| {
        let mut mirror = pod("loose", name, "u-x");
        mirror.meta.annotations = pairs(&[(MIRROR, "u-1")]);
        mirror.meta.created = Some(created);
        apply(mirror)
    };
    let mut world = World::new(settings());
    world.note(namespace("loose", "off"));
    world.appeared(1, at("u-1"));
    world.note(mirror("made-up", 1));
    world.note(apply(pod("shop", "a", "u-1")));
    assert_eq!(world.of(1).as_deref(), Some("shop/a enforce"));
    world.note(mirror("again", 0));
    assert_eq!(world.of(1).as_deref(), Some("shop/a enforce"));
    world.note(delete(Kind::Pod, "shop", "a"));
    assert_eq!(
        world.of(1).as_deref(),
        Some("shop/a enforce"),
        "one that has waited"
    );
    world.note(mirror("late", 5));
    assert_eq!(world.of(1).as_deref(), Some("shop/a enforce"));
}

#[test]
fn deleted_pod_keeps_its_workload_until_its_cgroup_is_gone() {
    let mut world = World::new(settings());
    world.note(apply(pod("shop", "a", "u-1")));
    world.appeared(1, at("u-1"));
    world.note(delete(Kind::Pod, "shop", "a"));
    assert_eq!(world.of(1).as_deref(), Some("shop/a enforce"));
    assert_eq!(world.placeholders(), 0, "nothing is to come any more");
    world.note(namespace("shop", "audit"));
    assert_eq!(
        world.of(1).as_deref(),
        Some("shop/a audit"),
        "and follows its namespace"
    );
    world.gone(1);
    world.appeared(2, at("u-1"));
    assert_eq!(world.of(2), None, "the UID alone is nobody");
    world.note(apply(pod("other", "b", "u-1")));
    assert_eq!(world.of(2).as_deref(), Some("other/b enforce"));
    assert_eq!(world.workloads.len(), 2);
}

#[test]
fn nothing_is_left_of_pods_that_are_gone() {
    let mut world = World::new(Settings {
        exempt: ["istio-proxy".to_owned()].into(),
        ..settings()
    });
    for round in 0..50_u64 {
        let uid = format!("u-{round}");
        let mut pod = pod("shop", &format!("p-{round}"), &uid);
        pod.meta.labels = pairs(&[(MODE_LABEL, "wrong")]);
        world.appeared(round * 2 + 1, at(&uid));
        world.note(apply(pod));
        if round % 2 == 0 {
            world.gone(round * 2 + 1);
            world.note(delete(Kind::Pod, "shop", &format!("p-{round}")));
        } else {
            world.note(delete(Kind::Pod, "shop", &format!("p-{round}")));
            world.gone(round * 2 + 1);
        }
    }
    let Pods {
        objects,
        claims,
        orphans,
        cgroups,
        cgroups_of,
        placeholders,
        said,
        notices,
        ..
    } = world.pods;
    assert!(objects.is_empty() && claims.is_empty() && orphans.is_empty());
    assert!(cgroups.is_empty() && cgroups_of.is_empty() && placeholders.is_empty());
    assert!(said.is_empty() && notices.is_empty() && world.workloads.is_empty());
}

#[test]
fn exempt_container_is_off_by_its_own_cgroup_and_no_other_is() {
    let container = |name: &str, id: &str| Container {
        name: name.to_owned(),
        id: id.to_owned(),
    };
    let of_container = |id: &str| PodCgroup::Container {
        pod: PodUid::new("u-1").unwrap(),
        id: id.to_owned(),
    };
    let with_containers = || Pod {
        containers: vec![container("istio-proxy", "c1"), container("app", "c2")],
        ..pod("shop", "a", "u-1")
    };
    let exempting = Settings {
        exempt: ["istio-proxy".to_owned()].into(),
        ..settings()
    };
    let mut world = World::new(exempting);
    world.appeared(1, at("u-1"));
    world.appeared(2, of_container("c1"));
    world.appeared(3, of_container("c2"));
    world.note(apply(pod("shop", "a", "u-1")));
    assert_eq!(
        world.of(2),
        None,
        "part of the pod until the runtime's identifier is known"
    );
    world.note(apply(with_containers()));
    assert_eq!(world.of(1).as_deref(), Some("shop/a enforce"));
    assert_eq!(world.of(2).as_deref(), Some("shop/a/istio-proxy off"));
    assert_eq!(world.of(3), None);
    world.gone(2);
    assert_eq!(world.of(2), None);

    let mut world = World::new(settings());
    world.appeared(2, of_container("c1"));
    world.note(apply(with_containers()));
    assert_eq!(world.of(2), None, "by default none is");
}

#[test]
fn own_addresses_are_those_of_the_pod_and_not_of_its_node() {
    let with = |host_network| Pod {
        addresses: vec!["10.0.0.7".parse().unwrap(), "fd00::7".parse().unwrap()],
        host_network,
        ..pod("shop", "a", "u-1")
    };
    let own = |settings: Settings, pod: Pod| Pods::new(settings).workload(&pod).own;
    let expected: OwnAddresses = with(false).addresses.into_iter().collect();
    assert_eq!(own(settings(), with(false)), expected);
    assert_eq!(own(settings(), with(true)), OwnAddresses::default());
    let without = Settings {
        own_addresses: false,
        ..settings()
    };
    assert_eq!(own(without, with(false)), OwnAddresses::default());
}

#[test]
fn pod_is_given_the_nodes_resolvers_by_its_spec_unless_that_is_turned_off() {
    let with = |policy| Pod {
        dns: PodDns {
            policy,
            servers: Vec::new(),
        },
        ..pod("shop", "a", "u-1")
    };
    let asks = |settings: Settings, policy| Pods::new(settings).workload(&with(policy)).asks_node;
    assert!(asks(settings(), DnsPolicy::Default));
    assert!(!asks(settings(), DnsPolicy::ClusterFirst));
    let without = Settings {
        node_dns: false,
        ..settings()
    };
    assert!(!asks(without, DnsPolicy::Default));
}

#[test]
fn enforcers_own_pod_is_off_before_its_object_is_known() {
    let mut world = World::new(Settings {
        enforcer: PodUid::new("u-1"),
        ..settings()
    });
    world.appeared(1, at("u-1"));
    assert_eq!(world.of(1).as_deref(), Some("default/enforcer off"));
    world.note(apply(pod("enforcer", "enforcer-x", "u-1")));
    assert_eq!(world.of(1).as_deref(), Some("enforcer/enforcer-x off"));
}

/// The mode of a pod with `labels` in `shop`, whose label is `mode`, and the notices.
fn mode(scope: &Scope, of_namespace: Option<&str>, pod: &Pod) -> (Enforcement, Vec<String>) {
    let labels = of_namespace.map(|mode| (MODE_LABEL.to_owned(), mode.to_owned()));
    let (enforcement, notices) = scope.enforcement(pod, &labels.into_iter().collect());
    (enforcement, notices.iter().map(ToString::to_string).collect())
}

#[test]
fn label_of_the_namespace_wins_over_defaults_and_pods_may_only_tighten() {
    let scope = settings().scope;
    for (of_namespace, namespace, of_pod, expected) in [
        (None, "shop", None, Enforce),
        (Some("audit"), "shop", None, Audit),
        (Some("off"), "shop", None, Off),
        (None, "kube-system", None, Off),
        (Some("enforce"), "kube-system", None, Enforce),
        (Some("audit"), "shop", Some("enforce"), Enforce),
        (Some("off"), "shop", Some("audit"), Audit),
        (Some("enforce"), "shop", Some("off"), Enforce),
        (None, "shop", Some("audit"), Enforce),
        (None, "kube-system", Some("enforce"), Enforce),
        // What is no mode is the strictest.
        (Some("Off"), "shop", None, Enforce),
        (Some(""), "shop", None, Enforce),
        (Some("enforcr"), "kube-system", None, Enforce),
        (Some("auditt"), "shop", Some("audit"), Enforce),
        (Some("audit"), "shop", Some("none"), Enforce),
        (Some("off"), "shop", Some("enforcr"), Enforce),
    ] {
        let labels: Vec<_> = of_pod.map(|mode| (MODE_LABEL, mode)).into_iter().collect();
        let (enforcement, _) = mode(&scope, of_namespace, &labelled(namespace, &labels));
        assert_eq!(enforcement, expected, "{of_namespace:?} {namespace} {of_pod:?}");
    }
}

#[test]
fn mistake_in_a_label_weakens_nothing_whatever_the_default() {
    for default in [Off, Audit, Enforce] {
        let scope = Scope {
            default,
            ..settings().scope
        };
        let pod = labelled("shop", &[]);
        assert_eq!(mode(&scope, Some("enforcr"), &pod).0, Enforce, "{default}");
    }
    let (_, notices) = mode(
        &settings().scope,
        Some("audit"),
        &labelled("shop", &[(MODE_LABEL, "enforcr")]),
    );
    assert_eq!(
        notices,
        [
            "pod shop/p: the label enforcer.dev/mode is \"enforcr\", which is no mode and counts as enforce; modes are \
             enforce, audit and off"
        ]
    );
}

#[test]
fn operator_decides_what_the_label_of_a_pod_may_do() {
    let pod = labelled("shop", &[(MODE_LABEL, "off")]);
    let with = |pod_labels| Scope {
        pod_labels,
        ..settings().scope
    };
    assert_eq!(mode(&with(PodLabels::Honour), None, &pod).0, Off);
    assert_eq!(mode(&with(PodLabels::Ignore), None, &pod).0, Enforce);
    let (enforcement, notices) = mode(&with(PodLabels::Tighten), None, &pod);
    assert_eq!(enforcement, Enforce);
    assert_eq!(
        notices,
        [
            "pod shop/p: its label enforcer.dev/mode=off is ignored, it stays at enforce; \
          `pods.podLabels: honour` would let pods choose"
        ]
    );
    let stricter = labelled("shop", &[(MODE_LABEL, "enforce")]);
    assert_eq!(mode(&with(PodLabels::Ignore), Some("audit"), &stricter).0, Audit);
    let mistyped = labelled("shop", &[(MODE_LABEL, "enforcr")]);
    assert_eq!(
        mode(&with(PodLabels::Ignore), Some("audit"), &mistyped),
        (Audit, Vec::new())
    );
}

#[test]
fn namespaces_that_are_not_selected_are_off() {
    let scope = Scope {
        selector: LabelSelector {
            labels: pairs(&[("team", "a")]),
            expressions: Vec::new(),
        },
        default: Audit,
        ..settings().scope
    };
    let pod = labelled("shop", &[]);
    assert_eq!(scope.enforcement(&pod, &pairs(&[("team", "a")])).0, Audit);
    assert_eq!(scope.enforcement(&pod, &pairs(&[("team", "b")])).0, Off);
    assert_eq!(
        scope.enforcement(&pod, &pairs(&[(MODE_LABEL, "enforce")])).0,
        Enforce
    );
}

#[test]
fn wishes_of_pods_not_to_be_captured_are_reported_and_honoured_only_on_request() {
    const INJECT: &str = "sidecar.istio.io/inject";
    let annotated = |key: &str, value: &str| {
        let mut pod = labelled("shop", &[]);
        pod.meta.annotations = pairs(&[(key, value)]);
        pod
    };
    let honouring = Scope {
        honours_capture: true,
        ..settings().scope
    };
    let traffic = "traffic.sidecar.istio.io/";
    for (pod, of_all, is_reported) in [
        (annotated(INJECT, "false"), true, true),
        (labelled("shop", &[(INJECT, "false")]), true, true),
        (annotated(INJECT, "true"), false, false),
        (
            labelled("shop", &[("istio.io/dataplane-mode", "none")]),
            true,
            true,
        ),
        (annotated("sidecar.istio.io/interceptionMode", "NONE"), true, true),
        (
            annotated("sidecar.istio.io/interceptionMode", "TPROXY"),
            false,
            false,
        ),
        (
            annotated(&format!("{traffic}includeOutboundIPRanges"), ""),
            true,
            true,
        ),
        (
            annotated(&format!("{traffic}includeOutboundIPRanges"), "*"),
            false,
            false,
        ),
        (
            annotated(&format!("{traffic}includeOutboundIPRanges"), "10.0.0.0/8"),
            false,
            true,
        ),
        (
            annotated(&format!("{traffic}excludeOutboundIPRanges"), "0.0.0.0/0"),
            true,
            true,
        ),
        (
            annotated(&format!("{traffic}excludeOutboundIPRanges"), "10.0.0.0/8"),
            false,
            true,
        ),
        (
            annotated(&format!("{traffic}excludeOutboundPorts"), "443"),
            false,
            true,
        ),
        (
            annotated(&format!("{traffic}excludeOutboundPorts"), ""),
            false,
            false,
        ),
    ] {
        let (enforcement, notices) = mode(&settings().scope, None, &pod);
        assert_eq!(enforcement, Enforce, "{pod:?}");
        assert_eq!(notices.len(), usize::from(is_reported), "{notices:?} {pod:?}");
        let (enforcement, _) = mode(&honouring, None, &pod);
        assert_eq!(enforcement, if of_all { Off } else { Enforce }, "{pod:?}");
    }
    // Its label wins over its annotation.
    let mut both = labelled("shop", &[(INJECT, "true")]);
    both.meta.annotations = pairs(&[(INJECT, "false")]);
    assert_eq!(mode(&honouring, None, &both).0, Enforce);
}

#[test]
fn running_pod_is_known_with_and_without_its_cgroup_unless_it_is_off() {
    let running = |namespace: &str, name: &str, uid: &str, phase| Pod {
        phase,
        ..pod(namespace, name, uid)
    };
    let mut world = World::new(Settings {
        enforcer: PodUid::new("u-5"),
        ..settings()
    });
    for (namespace, uid, phase) in [
        ("shop", "u-1", PodPhase::Running),
        ("shop", "u-2", PodPhase::Waiting),
        ("shop", "u-3", PodPhase::Ended),
        ("kube-system", "u-4", PodPhase::Running),
        ("shop", "u-5", PodPhase::Running),
        ("shop", "u-6", PodPhase::Ending),
    ] {
        world.note(apply(running(namespace, uid, uid, phase)));
    }
    let elsewhere = Pod {
        node: "node-2".to_owned(),
        ..running("shop", "elsewhere", "u-7", PodPhase::Running)
    };
    world.note(apply(elsewhere));
    let found = |world: &World| -> Vec<_> {
        let pods = world.pods.running();
        pods.map(|pod| (pod.workload.name, pod.has_cgroup, pod.is_ending))
            .collect()
    };
    let found_at = |has_cgroup| {
        [
            ("u-1".to_owned(), has_cgroup, false),
            ("u-6".to_owned(), false, true),
        ]
    };
    assert_eq!(found(&world), found_at(false));
    let container = PodCgroup::Container {
        pod: PodUid::new("u-1").unwrap(),
        id: "c0ffee".to_owned(),
    };
    world.appeared(1, container);
    assert_eq!(found(&world), found_at(false), "a container's is not the pod's");
    world.appeared(2, at("u-1"));
    assert_eq!(found(&world), found_at(true));
    world.gone(2);
    assert_eq!(found(&world), found_at(false));
    world.note(delete(Kind::Pod, "shop", "u-1"));
    world.note(delete(Kind::Pod, "shop", "u-6"));
    assert_eq!(found(&world), []);
}
