//! The pods of a node as the kubelet lays them out: real cgroups below a test's own kubepods, Pod documents, real
//! sockets of processes in the containers' cgroups.
#![expect(clippy::unwrap_used, reason = "that is how a test fails")]

use std::{fmt::Write as _, net::TcpListener, path::Path, time::Duration};

use anyhow::{Result, ensure};
use enforcer_common::Transport;
use enforcer_core::pods::ROOTS;
use tests::{
    daemon::{Daemon, Place, RESOLVER, wait},
    fixture::{in_own_network, need_root},
    probe::Outcome,
};

const BINARY: &str = env!("CARGO_BIN_EXE_enforcer-test");

/// `$ROOT` is the kubelet's cgroup of pods.
const CONFIG: &str = "
registry:
  files: [registry/]
pods:
  node: node-1
  cgroupRoots: [$CGROUP/$ROOT]
$PODS
dns: {servers: [192.0.2.53], minTtl: 1s, grace: 2s, timeout: 500ms}
";

/// What pods of `shop` may reach, and nobody else.
const DB: &str = "192.0.2.10:5432";
const ELSEWHERE: &str = "192.0.2.11:5432";

const REGISTRY: &str = "
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: db, namespace: shop}
spec:
  hosts: [db.example.com]
  addresses: [192.0.2.10]
  exportTo: ['.']
  ports: [{number: 5432, name: tcp, protocol: TCP}]
";

/// How a kubelet names cgroups.
#[derive(Clone, Copy, Debug)]
enum Driver {
    Cgroupfs,
    Systemd,
    /// As in a node that is a container itself.
    NestedSystemd,
    NestedCgroupfs,
}

impl Driver {
    const ALL: [Self; 4] = [
        Self::Cgroupfs,
        Self::Systemd,
        Self::NestedSystemd,
        Self::NestedCgroupfs,
    ];

    fn root(self) -> &'static str {
        match self {
            Self::Cgroupfs => "kubepods",
            Self::Systemd => "kubepods.slice",
            Self::NestedSystemd => "kubelet.slice/kubelet-kubepods.slice",
            Self::NestedCgroupfs => "kubelet/kubepods",
        }
    }

    /// Of a pod of a class; an empty one is guaranteed.
    fn pod(self, class: &str, uid: &str) -> String {
        let root = self.root();
        let dash = |prefix: &str| match class {
            "" => format!("{root}/{prefix}-pod{}.slice", uid.replace('-', "_")),
            _ => format!(
                "{root}/{prefix}-{class}.slice/{prefix}-{class}-pod{}.slice",
                uid.replace('-', "_")
            ),
        };
        match (self, class) {
            (Self::Systemd, _) => dash("kubepods"),
            (Self::NestedSystemd, _) => dash("kubelet-kubepods"),
            (Self::Cgroupfs | Self::NestedCgroupfs, "") => format!("{root}/pod{uid}"),
            (Self::Cgroupfs | Self::NestedCgroupfs, _) => format!("{root}/{class}/pod{uid}"),
        }
    }

    fn container(self, class: &str, uid: &str, id: &str) -> String {
        let pod = self.pod(class, uid);
        match self {
            Self::Systemd | Self::NestedSystemd => format!("{pod}/cri-containerd-{id}.scope"),
            Self::Cgroupfs | Self::NestedCgroupfs => format!("{pod}/{id}"),
        }
    }
}

fn uid(number: usize) -> String {
    format!("5d16b9a1-6e7d-4a4c-9d0b-{number:012}")
}

/// A Pod of the node; `more` are lines of further sections.
fn pod(namespace: &str, name: &str, uid: &str, more: &str) -> String {
    format!(
        "---\napiVersion: v1\nkind: Pod\nmetadata: {{name: {name}, namespace: {namespace}, uid: {uid}}}\n\
         spec: {{nodeName: node-1}}\n{more}\n"
    )
}

fn namespace(name: &str, mode: &str) -> String {
    format!(
        "---\napiVersion: v1\nkind: Namespace\nmetadata: {{name: {name}, labels: {{enforcer.dev/mode: {mode:?}}}}}\n"
    )
}

/// A place where the kubelet's cgroup is there, with `pods` in its configuration.
fn place(driver: Driver, pods: &str) -> Result<Place> {
    need_root()?;
    let config = CONFIG.replace("$ROOT", driver.root()).replace("$PODS", pods);
    let place = Place::new(BINARY, &config)?;
    place.cgroup.child(driver.root())?;
    place.write("db.yaml", REGISTRY)?;
    Ok(place)
}

/// Runs `claim` with an enforcer for the pods of `driver`, with these lines below `pods` in its configuration.
fn check_with(driver: Driver, pods: &str, claim: impl FnOnce(&mut Place, &mut Daemon) -> Result<()> + Send) {
    in_own_network(|| {
        let mut place = place(driver, pods)?;
        let mut daemon = place.start(&["--ephemeral"])?;
        claim(&mut place, &mut daemon)
    })
    .unwrap();
}

fn check(claim: impl FnOnce(&mut Place, &mut Daemon) -> Result<()> + Send) {
    check_with(Driver::Cgroupfs, "", claim);
}

/// A container of a guaranteed pod of the cgroupfs driver.
fn container(number: usize, id: &str) -> String {
    Driver::Cgroupfs.container("", &uid(number), id)
}

#[test]
fn pods_of_every_layout_and_class_have_the_view_of_their_namespace() {
    for driver in Driver::ALL {
        check_with(driver, "", |place, _| {
            let classes = ["", "burstable", "besteffort"];
            let mut documents = String::new();
            for (number, class) in classes.iter().enumerate() {
                documents += &pod("shop", &format!("in{number}"), &uid(number), "");
                documents += &pod("other", &format!("out{number}"), &uid(number + 10), "");
                place.cgroup.child(driver.pod(class, &uid(number)))?;
            }
            place.write("pods.yaml", &documents)?;
            for (number, class) in classes.iter().enumerate() {
                let inside = driver.container(class, &uid(number), "c0ffee");
                let outside = driver.container(class, &uid(number + 10), "c0ffee");
                place.until(&inside, DB, true)?;
                assert!(!place.reaches(&inside, ELSEWHERE)?, "{driver:?} {class}");
                assert!(!place.reaches(&outside, DB)?, "{driver:?} {class}");
                // Whatever a container makes below itself is part of its pod.
                let posing = format!("{outside}/{}", driver.container(class, &uid(number), "c0ffee"));
                assert!(!place.reaches(&posing, DB)?, "{driver:?} {class}");
            }
            Ok(())
        });
    }
}

#[test]
fn pod_is_enforced_before_its_first_instruction() {
    check(|place, daemon| {
        place.write("pods.yaml", &pod("shop", "a", &uid(1), ""))?;
        daemon.hold()?;
        let app = container(1, "app");
        assert!(
            !place.reaches(&app, ELSEWHERE)?,
            "the enforcer has not seen it yet"
        );
        daemon.go_on()?;
        place.until(&app, DB, true)?;
        assert!(!place.reaches(&app, ELSEWHERE)?);
        Ok(())
    });
}

#[test]
fn names_of_a_pod_are_resolved_before_its_cgroup_is_there() {
    in_own_network(|| {
        let mut place = place(Driver::Cgroupfs, "")?;
        place.resolve("192.0.2.20 queue.example.com\n")?;
        place.write(
            "queue.yaml",
            "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {name: queue, namespace: jobs}\n\
             spec: {hosts: [queue.example.com], exportTo: ['.'], resolution: DNS, \
             ports: [{number: 5671, name: tcp, protocol: TCP}]}\n",
        )?;
        place.write("pods.yaml", &pod("jobs", "a", &uid(1), ""))?;
        let mut daemon = place.start(&["--ephemeral"])?;
        // From now on nothing can be resolved any more: the name must have been.
        place.stop_resolving()?;
        place.cgroup.child(Driver::Cgroupfs.pod("", &uid(1)))?;
        daemon.line(&["pod jobs/a", "is at"])?;
        place.until(&container(1, "app"), "192.0.2.20:5671", true)?;
        Ok(())
    })
    .unwrap();
}

#[test]
fn init_ordinary_and_ephemeral_containers_are_the_pod() {
    check(|place, _| {
        place.write("pods.yaml", &pod("shop", "a", &uid(1), ""))?;
        for id in ["init", "sidecar", "app", "ephemeral"] {
            let container = container(1, id);
            place.until(&container, DB, true)?;
            assert!(!place.reaches(&container, ELSEWHERE)?, "{id}");
            if id == "init" {
                place.remove_cgroup(&container)?;
            }
        }
        Ok(())
    });
}

#[test]
fn pod_in_the_nodes_network_is_enforced_and_does_not_own_the_nodes_address() {
    check(|place, _| {
        let status = "status: {phase: Running, podIP: 192.0.2.77}";
        let host_network = pod("shop", "agent", &uid(1), status)
            .replace("nodeName: node-1", "nodeName: node-1, hostNetwork: true");
        place.write("pods.yaml", &host_network)?;
        let app = container(1, "app");
        place.until(&app, DB, true)?;
        assert!(!place.reaches(&app, ELSEWHERE)?);
        assert!(!place.reaches(&app, "192.0.2.77:10250")?);
        Ok(())
    });
}

#[test]
fn labels_of_namespaces_choose_how_far_and_pods_may_only_tighten() {
    check(|place, daemon| {
        let mut documents = namespace("trial", "audit") + &namespace("free", "off");
        documents += &pod("shop", "strict", &uid(1), "");
        documents += &pod("trial", "a", &uid(2), "");
        documents += &pod("free", "a", &uid(3), "");
        documents += &pod("kube-system", "a", &uid(4), "");
        let labelled = |namespace: &str, number: usize, mode: &str| {
            let plain = pod(namespace, "labelled", &uid(number), "");
            plain.replace("uid:", &format!("labels: {{enforcer.dev/mode: {mode:?}}}, uid:"))
        };
        documents += &labelled("shop", 5, "off");
        documents += &labelled("free", 6, "enforce");
        place.write("pods.yaml", &documents)?;
        let app = |number| container(number, "app");
        place.until(&app(3), ELSEWHERE, true)?;
        for (number, reaches) in [
            (1, false),
            (2, true),
            (3, true),
            (4, true),
            (5, false),
            (6, false),
        ] {
            place.until(&app(number), ELSEWHERE, reaches)?;
        }
        daemon.line(&["pod shop/labelled", "its label enforcer.dev/mode=off is ignored"])?;
        daemon.line(&["would deny", "trial/a", "192.0.2.11:5432"])?;
        daemon.lines();
        let of_free = |line: &&String| line.contains("192.0.2.11") && line.contains("free/a ");
        assert_eq!(
            daemon.seen.iter().find(of_free),
            None,
            "what is off is not told of"
        );

        // A namespace that changes its mind takes its running pods along.
        place.write("mode.yaml", &namespace("shop", "off"))?;
        place.until(&app(1), ELSEWHERE, true)?;
        place.remove("mode.yaml")?;
        place.until(&app(1), ELSEWHERE, false)?;
        Ok(())
    });
}

#[test]
fn wish_not_to_be_captured_is_reported_and_ignored() {
    check(|place, daemon| {
        let wish = pod("shop", "a", &uid(1), "").replace(
            "uid:",
            "annotations: {traffic.sidecar.istio.io/excludeOutboundPorts: '5432'}, uid:",
        );
        place.write("pods.yaml", &wish)?;
        daemon.line(&["pod shop/a", "excludeOutboundPorts is ignored"])?;
        place.until(&container(1, "app"), DB, true)?;
        assert!(!place.reaches(&container(1, "app"), ELSEWHERE)?);
        Ok(())
    });
}

#[test]
fn pod_reaches_its_own_addresses_and_no_other_pod_does() {
    check(|place, _| {
        let with = |address: &str| {
            format!("status: {{phase: Running, podIPs: [{{ip: {address}}}, {{ip: 'fd00::7'}}]}}")
        };
        let documents = |address: &str| {
            pod("shop", "a", &uid(1), &with(address))
                + &pod("shop", "b", &uid(2), "status: {podIP: 10.1.0.8}")
        };
        place.write("pods.yaml", &documents("10.1.0.7"))?;
        let (a, b) = (container(1, "app"), container(2, "app"));
        place.until(&a, "10.1.0.7:80", true)?;
        assert!(place.reaches(&a, "[fd00::7]:8080")?);
        assert_eq!(place.call(&a, Transport::Udp, "10.1.0.7:53")?, Outcome::Through);
        place.until(&b, "10.1.0.8:80", true)?;
        assert!(!place.reaches(&a, "10.1.0.8:80")?);
        assert!(!place.reaches(&b, "10.1.0.7:80")?);
        assert!(!place.reaches(&b, "[fd00::7]:80")?);
        // A sandbox that is made anew has another address.
        place.write("pods.yaml", &documents("10.1.0.9"))?;
        place.until(&a, "10.1.0.9:80", true)?;
        assert!(!place.reaches(&a, "10.1.0.7:80")?);
        Ok(())
    });
}

#[test]
fn exempt_container_is_off_by_its_own_cgroup_and_the_rest_of_its_pod_is_not() {
    let exempt = "  exemptContainers: [istio-proxy]";
    for driver in [Driver::Cgroupfs, Driver::Systemd] {
        check_with(driver, exempt, |place, _| {
            let status = "status:\n  containerStatuses:\n  - {name: istio-proxy, containerID: 'containerd://beef'}\n  \
                          - {name: app, containerID: 'containerd://c0ffee'}";
            place.write("pods.yaml", &pod("shop", "a", &uid(1), status))?;
            let of = |id: &str| driver.container("burstable", &uid(1), id);
            place.until(&of("c0ffee"), DB, true)?;
            place.until(&of("beef"), ELSEWHERE, true)?;
            assert!(!place.reaches(&of("c0ffee"), ELSEWHERE)?, "{driver:?}");
            assert!(
                place.reaches(&format!("{}/nested", of("beef")), ELSEWHERE)?,
                "{driver:?}"
            );
            Ok(())
        });
    }
}

#[test]
fn what_a_pod_may_no_longer_reach_is_ended_and_an_exempt_container_keeps_its_own() {
    check_with(
        Driver::Cgroupfs,
        "  exemptContainers: [istio-proxy]",
        |place, daemon| {
            let _server = TcpListener::bind(ELSEWHERE)?;
            let status =
                "status:\n  containerStatuses:\n  - {name: istio-proxy, containerID: 'containerd://beef'}";
            let documents = |mode: &str| namespace("shop", mode) + &pod("shop", "a", &uid(1), status);
            place.write("pods.yaml", &documents("audit"))?;
            let (app, proxy) = (container(1, "c0ffee"), container(1, "beef"));
            for container in [&app, &proxy] {
                place.until(container, ELSEWHERE, true)?;
                place.probe(container)?.hold(Transport::Tcp, ELSEWHERE.parse()?)?;
            }
            // Until its own cgroup is found, a container is let through, and judged, as its pod is.
            daemon.line(&["pod shop/a/istio-proxy", " is at "])?;
            place.write("pods.yaml", &documents("enforce"))?;
            daemon.line(&["revoked shop/a ", ELSEWHERE])?;
            assert_eq!(
                place.probe(&app)?.held_errno(Duration::from_secs(10))?,
                Some(libc::ECONNABORTED)
            );
            assert_eq!(place.probe(&proxy)?.held_errno(Duration::from_millis(200))?, None);
            Ok(())
        },
    );
}

#[test]
fn running_pod_outside_the_kubelets_cgroup_is_an_alarm_until_it_is_bound() {
    in_own_network(|| {
        let mut place = place(Driver::Cgroupfs, "")?;
        // Of no other test: cgroups of pods are found by the UID, wherever they are.
        let number = 9001;
        let at = format!("custom/{}", Driver::Cgroupfs.pod("", &uid(number)));
        let running = pod("shop", "lost", &uid(number), "status: {phase: Running}");
        place.write("pods.yaml", &running)?;
        let app = format!("{at}/app");
        assert!(place.reaches(&app, ELSEWHERE)?, "nothing enforces it");

        let mut daemon = place.launch(&["--ephemeral"])?;
        wait("announcement", || Ok(daemon.has_announced()))?;
        let announced = &daemon.announced;
        assert!(!announced.contains("enforcement is in force"), "{announced}");
        assert!(
            announced.contains("but not for 1 of the pods that run on this node"),
            "{announced}"
        );
        let line = daemon.line(&["pod shop/lost runs at "])?;
        let status = place.until_status("alarm alone", |status| status.problems.len() == 1)?;
        assert!(!status.proven);
        assert_eq!(place.status()?.0, Some(1), "the readiness probe fails");
        let [problem] = &status.problems[..] else {
            panic!("one problem: {status:#?}")
        };
        assert!(line.contains(problem), "{line}");
        let advice = format!(
            "{}/custom/kubepods in `pods.cgroupRoots`",
            place.cgroup.path().display()
        );
        assert!(
            problem.contains(&format!("{at}, ")) && problem.contains(&advice),
            "{problem}"
        );

        place.remove_cgroup("custom")?;
        let app = container(number, "app");
        place.until(&app, DB, true)?;
        assert!(!place.reaches(&app, ELSEWHERE)?);
        place.until_status("proof", |status| status.proven)?;
        Ok(())
    })
    .unwrap();
}

#[test]
fn kubelets_cgroup_above_the_enforcers_own_pod_is_found_wherever_it_is() {
    for (driver, parent) in [(Driver::Cgroupfs, 9101), (Driver::Systemd, 9201)] {
        in_own_network(|| {
            let mut place = place(driver, "")?;
            // Without `cgroupRoots`, pods of the machine would be enforced too.
            let is_node = ROOTS
                .iter()
                .any(|root| Path::new(&format!("/sys/fs/cgroup{root}")).exists());
            ensure!(!is_node, "this machine is the node of a cluster");
            let config = std::fs::read_to_string(place.config())?;
            let is_of_roots = |line: &&str| !line.contains("cgroupRoots");
            let config: Vec<_> = config.lines().filter(is_of_roots).collect();
            place.configure(&config.join("\n"))?;
            let at = |number| format!("custom/{}", driver.container("burstable", &uid(number), "c0ffee"));
            let (own, app) = (at(parent), at(parent + 1));
            place.environment.insert("POD_UID".to_owned(), uid(parent));
            assert!(place.reaches(&own, ELSEWHERE)? && place.reaches(&app, ELSEWHERE)?);
            let running = pod("shop", "a", &uid(parent + 1), "status: {phase: Running}");
            place.write("pods.yaml", &running)?;

            let _daemon = place.start(&["--ephemeral"])?;
            place.until(&app, DB, true)?;
            assert!(!place.reaches(&app, ELSEWHERE)?, "{driver:?}");
            assert!(place.reaches(&own, ELSEWHERE)?, "{driver:?}: the enforcer is off");
            let status = place.until_status("proof", |status| status.proven)?;
            let root = format!("{}/custom/{}", place.cgroup.path().display(), driver.root());
            assert!(status.roots.iter().any(|found| found.path == root), "{status:#?}");
            Ok(())
        })
        .unwrap();
    }
}

#[test]
fn explanation_of_a_pod_names_its_mode() {
    in_own_network(|| {
        let place = place(Driver::Cgroupfs, "")?;
        let status = "status: {podIP: 10.1.0.7}";
        let documents = namespace("free", "off")
            + &namespace("trial", "audit")
            + &pod("free", "a", &uid(1), "")
            + &pod("trial", "a", &uid(2), "")
            + &pod("shop", "a", &uid(3), status)
            + &pod("shop", "b", &uid(4), status);
        place.write("pods.yaml", &documents)?;
        let explain = |arguments: &[&str]| -> Result<(String, String, bool)> {
            let mut words = vec!["explain", "--exit-verdict"];
            words.extend(arguments);
            let output = place.command(&words).output()?;
            let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
            Ok((
                text(&output.stdout),
                text(&output.stderr),
                output.status.success(),
            ))
        };
        for (arguments, lines, reaches) in [
            (
                &["--namespace", "free", ELSEWHERE][..],
                ["allowed by its mode (off", "mode: off"],
                true,
            ),
            (
                &["--namespace", "trial", ELSEWHERE],
                ["would be denied", "mode: audit"],
                false,
            ),
            (
                &["--namespace", "shop", "--name", "a", DB],
                ["allowed by ServiceEntry shop/db", "mode: enforce"],
                true,
            ),
            (
                &["--namespace", "shop", "--name", "a", ELSEWHERE],
                ["denied", "mode: enforce"],
                false,
            ),
            (
                &["--namespace", "shop", "--name", "b", "10.1.0.7:80"],
                ["own address", "mode: enforce"],
                true,
            ),
        ] {
            let (out, errors, is_allowed) = explain(arguments)?;
            for line in lines {
                assert!(out.contains(line), "{arguments:?}: {out}{errors}");
            }
            assert_eq!(is_allowed, reaches, "{arguments:?}: {out}");
        }
        let (_, errors, _) = explain(&["--namespace", "shop", DB])?;
        assert!(
            errors.contains("has several pods: choose one by --workload, or say --labels: a, b"),
            "{errors}"
        );
        let (_, errors, _) = explain(&["--namespace", "shop", "--workload", "c", DB])?;
        assert!(
            errors.contains("no workload shop/c is configured; there are a, b"),
            "{errors}"
        );
        // Namespaces need no pod yet; their labels say how theirs would be enforced.
        for (namespace, says) in [
            ("nowhere", "nowhere/(no labels) -> tcp 192.0.2.99:80: denied"),
            (
                "kube-system",
                "kube-system/(no labels) -> tcp 192.0.2.99:80: allowed by its mode (off",
            ),
        ] {
            let (out, errors, _) = explain(&["--namespace", namespace, "192.0.2.99:80"])?;
            assert!(out.contains(says), "{out}{errors}");
        }
        Ok(())
    })
    .unwrap();
}

#[test]
fn cluster_services_are_built_in_unless_they_are_turned_off() {
    const SERVICES: &str = "
apiVersion: v1
kind: Service
metadata: {name: kube-dns, namespace: kube-system, annotations: {networking.istio.io/exportTo: '~'}}
spec: {clusterIP: 10.96.0.10, ports: [{port: 53, name: dns, protocol: UDP}]}
---
apiVersion: v1
kind: Service
metadata: {name: kubernetes, namespace: default, annotations: {networking.istio.io/exportTo: '~'}}
spec: {clusterIP: 10.96.0.1, ports: [{port: 443, name: https, protocol: TCP}]}
";
    let off = "  builtIn: {clusterDns: false, kubernetesApi: false, ownAddresses: false}";
    for (pods, is_on) in [("", true), (off, false)] {
        check_with(Driver::Cgroupfs, pods, |place, _| {
            place.write("services.yaml", SERVICES)?;
            place.write(
                "pods.yaml",
                &pod("shop", "a", &uid(1), "status: {podIP: 10.1.0.7}"),
            )?;
            let app = container(1, "app");
            place.until(&app, DB, true)?;
            for to in ["10.96.0.10:53", "10.96.0.1:443", "10.1.0.7:80"] {
                place.until(&app, to, is_on)?;
            }
            assert!(!place.reaches(&app, "10.96.0.1:6443")?);
            assert_eq!(
                place.call(&app, Transport::Udp, "10.96.0.10:53")? == Outcome::Through,
                is_on
            );
            assert!(
                place.reaches(&app, &format!("{RESOLVER}:53"))?,
                "the enforcer's own resolver"
            );
            Ok(())
        });
    }
}

#[test]
fn pod_that_is_not_known_is_refused_and_told_of() {
    check(|place, daemon| {
        let app = container(1, "app");
        assert!(!place.reaches(&app, DB)?);
        daemon.line(&["denied", &uid(1), "192.0.2.10:5432"])?;
        // Another node's pod of that UID is none of ours.
        let elsewhere = pod("shop", "a", &uid(1), "").replace("node-1", "node-2");
        place.write("pods.yaml", &(elsewhere + &pod("shop", "b", &uid(2), "")))?;
        place.until(&container(2, "app"), DB, true)?;
        assert!(!place.reaches(&app, DB)?);
        place.write("pods.yaml", &pod("shop", "a", &uid(1), ""))?;
        place.until(&app, DB, true)?;
        Ok(())
    });
}

#[test]
fn pods_on_trial_are_let_through_and_told_of_even_while_they_are_not_known() {
    check_with(Driver::Cgroupfs, "  mode: audit", |place, daemon| {
        assert!(place.reaches(&container(1, "app"), ELSEWHERE)?);
        daemon.line(&["would deny", &uid(1), "192.0.2.11:5432"])?;
        let modes = namespace("strict", "enforce") + &pod("strict", "a", &uid(2), "");
        place.write("pods.yaml", &modes)?;
        place.until(&container(2, "app"), ELSEWHERE, false)?;
        assert!(place.reaches(&container(1, "app"), ELSEWHERE)?);
        Ok(())
    });
}

#[test]
fn static_pod_is_found_by_the_uid_of_its_manifest() {
    check(|place, _| {
        const HASH: &str = "1f2e3d4c5b6a79880716253443526170";
        let annotations = format!("annotations: {{kubernetes.io/config.mirror: {HASH}}}, uid:");
        place.write(
            "pods.yaml",
            &pod("shop", "etcd-node-1", &uid(1), "").replace("uid:", &annotations),
        )?;
        let app = Driver::Cgroupfs.container("burstable", HASH, "app");
        place.until(&app, DB, true)?;
        assert!(!place.reaches(&app, ELSEWHERE)?);
        Ok(())
    });
}

#[test]
fn uid_that_comes_again_is_not_the_pod_that_it_was() {
    check(|place, daemon| {
        place.write("pods.yaml", &pod("shop", "a", &uid(1), ""))?;
        let app = container(1, "app");
        place.until(&app, DB, true)?;
        // Its processes may go on for a while; they keep what they had.
        place.write("pods.yaml", &pod("shop", "other", &uid(9), ""))?;
        place.until(&container(9, "app"), DB, true)?;
        assert!(place.reaches(&app, DB)?);
        place.remove_cgroup(&app)?;
        place.remove_cgroup(&Driver::Cgroupfs.pod("", &uid(1)))?;
        daemon.line(&["pod shop/a is gone"])?;
        assert!(!place.reaches(&app, DB)?, "a cgroup of the same name");
        place.write("pods.yaml", &pod("trial", "b", &uid(1), ""))?;
        daemon.line(&["pod trial/b", "is at"])?;
        assert!(!place.reaches(&app, DB)?, "another namespace");
        place.write("pods.yaml", &pod("shop", "c", &uid(1), ""))?;
        place.until(&app, DB, true)?;
        Ok(())
    });
}

#[test]
fn kubelet_that_comes_after_the_enforcer_is_found() {
    in_own_network(|| {
        let mut place = place(Driver::NestedSystemd, "")?;
        place.cgroup.child("kubelet.slice")?;
        place.remove_cgroup("kubelet.slice")?;
        place.write("pods.yaml", &pod("shop", "a", &uid(1), ""))?;
        let mut daemon = place.start(&["--ephemeral"])?;
        let app = Driver::NestedSystemd.container("besteffort", &uid(1), "app");
        place.cgroup.child(&app)?;
        daemon.line(&["enforcing at", "kubelet-kubepods.slice"])?;
        place.until(&app, DB, true)?;
        assert!(!place.reaches(&app, ELSEWHERE)?);
        Ok(())
    })
    .unwrap();
}

#[test]
fn enforcers_own_pod_is_off_and_the_others_of_the_node_are_not() {
    in_own_network(|| {
        let mut place = place(Driver::Cgroupfs, "")?;
        place.environment.insert("POD_UID".to_owned(), uid(7));
        place.cgroup.child(container(7, "enforcer"))?;
        let _daemon = place.start(&["--ephemeral"])?;
        assert!(place.reaches(&container(7, "enforcer"), ELSEWHERE)?);
        assert!(!place.reaches(&container(8, "app"), ELSEWHERE)?);
        Ok(())
    })
    .unwrap();
}

#[test]
fn pods_that_come_and_go_as_fast_as_they_can_get_no_wrong_verdict_and_leave_nothing() {
    const WAVES: usize = 10;
    const WAVE: usize = 50;
    check(|place, daemon| {
        place.write("modes.yaml", &namespace("free", "off"))?;
        for wave in 0..WAVES {
            let numbers = wave * WAVE..(wave + 1) * WAVE;
            let mut documents = String::new();
            for number in numbers.clone() {
                let namespace = ["shop", "other", "free"][number % 3];
                write!(
                    documents,
                    "{}",
                    pod(namespace, &format!("p{number}"), &uid(number), "")
                )?;
            }
            place.write("pods.yaml", &documents)?;
            for number in numbers.clone() {
                let app = container(number, "app");
                // Of the first instruction on: only who is off ever gets anywhere.
                let early = (place.reaches(&app, DB)?, place.reaches(&app, ELSEWHERE)?);
                let allowed = [(true, false), (false, false), (true, true)][number % 3];
                ensure!(
                    (!early.0 || allowed.0) && (!early.1 || allowed.1),
                    "pod {number} reaches {early:?} and may {allowed:?}"
                );
            }
            for number in numbers.clone() {
                let app = container(number, "app");
                let (to_db, elsewhere) = [(true, false), (false, false), (true, true)][number % 3];
                place.until(&app, DB, to_db)?;
                place.until(&app, ELSEWHERE, elsewhere)?;
            }
            // What is refused everything is refused also before the enforcer knows the pod.
            for number in numbers.clone() {
                let name = format!("/p{number} ");
                let is_found = |line: &String| line.contains(&name) && line.contains(" is at ");
                wait("pod that is known", || {
                    daemon.lines();
                    Ok(daemon.seen.iter().any(is_found))
                })?;
            }
            for number in numbers {
                place.remove_cgroup(&Driver::Cgroupfs.pod("", &uid(number)))?;
            }
        }
        place.remove("pods.yaml")?;
        let gone = |daemon: &mut Daemon| {
            daemon.lines();
            let is_end = |line: &&String| line.contains("pod ") && line.ends_with(" is gone");
            daemon.seen.iter().filter(is_end).count()
        };
        wait("end of every pod", || Ok(gone(daemon) >= WAVES * WAVE))?;
        assert_eq!(gone(daemon), WAVES * WAVE, "each ends once");
        Ok(())
    });
}

#[test]
fn nodes_resolvers_are_asked_by_pods_that_are_given_them_and_followed() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("resolv.conf");
    std::fs::write(&file, "nameserver 192.0.2.11\n").unwrap();
    let built_in = format!("  builtIn: {{nodeResolvConf: {}}}", file.display());
    check_with(Driver::Cgroupfs, &built_in, |place, daemon| {
        let with = |name, number, spec: &str| {
            let pod = pod("shop", name, &uid(number), "");
            pod.replace("nodeName: node-1", &format!("nodeName: node-1, {spec}"))
        };
        let pods = [
            with("default", 1, "dnsPolicy: Default"),
            with("first", 2, "dnsPolicy: ClusterFirst"),
            with("host", 3, "hostNetwork: true"),
            with(
                "host-first",
                4,
                "hostNetwork: true, dnsPolicy: ClusterFirstWithHostNet",
            ),
            with(
                "none",
                5,
                "dnsPolicy: None, dnsConfig: {nameservers: [192.0.2.11, 192.0.2.53]}",
            ),
        ];
        place.write("pods.yaml", &pods.concat())?;
        let app = |number| container(number, "app");
        for (number, asks) in [(1, true), (2, false), (3, true), (4, false), (5, false)] {
            place.until(&app(number), DB, true)?;
            place.until(&app(number), "192.0.2.11:53", asks)?;
            let asked = place.call(&app(number), Transport::Udp, "192.0.2.11:53")?;
            assert_eq!(asked == Outcome::Through, asks, "{number}");
            assert!(!place.reaches(&app(number), "192.0.2.11:80")?, "{number}");
        }
        // 192.0.2.53 is the enforcer's own, which everybody may ask.
        daemon.line(&["pod shop/none: dnsConfig names the resolver 192.0.2.11, which is refused"])?;
        std::fs::write(&file, "nameserver 192.0.2.12\n")?;
        place.until(&app(1), "192.0.2.12:53", true)?;
        place.until(&app(1), "192.0.2.11:53", false)?;
        Ok(())
    });
}
