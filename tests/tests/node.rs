//! The enforcer as it is installed, on a real Kubernetes node: image, manifests, rights, cgroups, enforcement.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::symlink,
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

use anyhow::{Context as _, Result, ensure};
use enforcer_common::Transport;
use serde_json::json;
use tests::{
    case,
    cluster::{Cluster as _, LABEL, Pods, Table, rolled_out},
    daemon::wait,
    fixture::need_root,
    node::{Node, World},
};

const BINARY: &str = env!("CARGO_BIN_EXE_enforcer-test");

const DEPLOY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy");

/// An address that no entry has.
const UNREGISTERED: &str = "203.0.113.99:80";

/// What [`ENTRY`] registers.
const REGISTERED: &str = "203.0.113.7:80";

/// An entry for everybody.
const ENTRY: &str = "
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: registered, namespace: default}
spec:
  hosts: [registered.example.com]
  addresses: [203.0.113.7]
  ports: [{number: 80, name: tcp, protocol: TCP}]
";

#[test]
fn enforcer_as_installed_enforces_a_real_node() {
    need_root().unwrap();
    let Some(node) = Node::start().unwrap() else {
        return;
    };
    if let Err(error) = everything(&node) {
        let log = node.kubectl(&["-n", "enforcer-system", "logs", "--tail=60", "daemonset/enforcer"]);
        let pods = node.kubectl(&["get", "pods", "-A", "-o", "wide"]);
        panic!("{error:#}\n{}\n{}", said(pods), said(log));
    }
}

fn said(answer: Result<String>) -> String {
    answer.unwrap_or_else(|error| format!("{error:#}"))
}

/// One node for all: each step finds what the one before it has left.
fn everything(node: &Node) -> Result<()> {
    let world = World::begin(node)?;
    let mut pods = Pods::new(node, node.recipe(BINARY));
    nothing_is_refused_before(&mut pods)?;
    // As on a node of kind, where nobody mounts it.
    node.exec(&["umount", "/sys/fs/bpf"])?;
    install(node).context("installing it")?;
    refusals_and_mistakes_are_events(node, &mut pods)?;
    built_in_destinations_are_reached(node, &mut pods)?;
    readiness_goes_and_comes_with_the_proof(node)?;
    every_row_holds_in_pods(node, &world, &mut pods)?;
    node.kubectl_with(ENTRY, &["apply", "-f", "-"])?;
    wait("way to what is registered", || {
        Ok(!pods.is_cut_off("default/control", REGISTERED)?)
    })?;
    namespaces_of_the_system_are_off(&mut pods)?;
    pipeline_that_waits_is_never_refused(node, &mut pods).context("kubectl enforcer")?;
    label_of_a_namespace_is_followed(node, &mut pods)?;
    pod_in_the_nodes_network_is_enforced(&mut pods)?;
    node_port_leads_nobody_out(node, &mut pods)?;
    pod_is_enforced_from_its_first_instruction(node, &mut pods)?;
    native_sidecar_is_enforced(node, &mut pods)?;
    verdicts_outlive_the_daemon(node, &mut pods)?;
    uninstalling_leaves_nothing(node, &mut pods)
}

/// The control: what is refused later, is refused by the enforcer.
fn nothing_is_refused_before(pods: &mut Pods<'_>) -> Result<()> {
    let pod = "default/control";
    pods.have(&BTreeMap::from([(pod.to_owned(), BTreeMap::new())]))?;
    for transport in [Transport::Tcp, Transport::Udp] {
        for address in [UNREGISTERED, "[2001:db8::1]:80"] {
            let is_refused = pods.is_refused(pod, transport, address.parse()?)?;
            ensure!(
                !is_refused,
                "{address} is refused over {transport:?} before anything is installed"
            );
        }
    }
    Ok(())
}

/// As deploy/README.md says it.
fn install(node: &Node) -> Result<()> {
    node.import_image()?;
    node.kubectl(&["apply", "-k", &node.overlay("crds")?])?;
    node.kubectl(&["apply", "-k", &node.overlay("enforce")?])?;
    rolled_out(node)?;
    enforcer(node, &["status"])
        .context("what is ready is proven")
        .map(drop)
}

/// A command of the enforcer in its pod.
fn enforcer(node: &Node, arguments: &[&str]) -> Result<String> {
    let mut command = vec![
        "-n",
        "enforcer-system",
        "exec",
        "daemonset/enforcer",
        "--",
        "/enforcer",
    ];
    command.extend(arguments);
    node.kubectl(&command)
}

/// A pod that is refused something hears of it, and so does who wrote an entry that is not taken. Before the table,
/// whose rows would use up what may be written.
fn refusals_and_mistakes_are_events(node: &Node, pods: &mut Pods<'_>) -> Result<()> {
    wait("refusal", || pods.is_cut_off("default/control", UNREGISTERED))?;
    let wrong = ENTRY
        .replace("name: registered,", "name: wrong,")
        .replace("203.0.113.7", "203.0.113.7/99");
    node.kubectl_with(&wrong, &["apply", "-f", "-"])?;
    for (object, reason, words) in [
        (
            "control",
            "EgressRefused",
            ["203.0.113.99", "port 80", "ServiceEntry"],
        ),
        (
            "wrong",
            "Rejected",
            ["spec.addresses[0]", "203.0.113.7/99", "CIDR"],
        ),
    ] {
        let selector = format!("involvedObject.name={object},reason={reason}");
        let said = ["get", "events", "-n", "default", "--field-selector", &selector];
        let messages: Vec<_> = said
            .into_iter()
            .chain(["-o=jsonpath={.items[*].message}"])
            .collect();
        wait(&format!("Event {reason}"), || {
            let text = node.kubectl(&messages)?;
            Ok(words.iter().all(|word| text.contains(word)))
        })?;
    }
    node.kubectl_with(&wrong, &["delete", "-f", "-"]).map(drop)
}

/// The cluster's DNS, its API and a pod's own address, each on its own port alone where it has one.
fn built_in_destinations_are_reached(node: &Node, pods: &mut Pods<'_>) -> Result<()> {
    let pod = "default/control";
    let path = "-o=jsonpath={.status.podIP}";
    let own = node.kubectl(&["get", "pod", "-n", "default", "control", path])?;
    for (transport, to, is_refused) in [
        (Transport::Udp, "10.96.0.10:53".to_owned(), false),
        (Transport::Tcp, "10.96.0.10:53".to_owned(), false),
        (Transport::Tcp, "10.96.0.10:80".to_owned(), true),
        (Transport::Tcp, "10.96.0.1:443".to_owned(), false),
        (Transport::Tcp, "10.96.0.1:80".to_owned(), true),
        (Transport::Tcp, format!("{own}:8080"), false),
    ] {
        let refused = pods.is_refused(pod, transport, to.parse()?)?;
        ensure!(
            refused == is_refused,
            "{to} over {transport:?}: refused {refused}"
        );
    }
    Ok(())
}

/// A kubelet's cgroup that takes no more children has no room for the canary either, for as long as that lasts.
fn readiness_goes_and_comes_with_the_proof(node: &Node) -> Result<()> {
    let limit = |most: &str| {
        let command = format!("echo {most} >/sys/fs/cgroup/kubepods/cgroup.max.descendants");
        node.exec(&["sh", "-c", &command])
    };
    let becomes = |ready: &str| {
        let condition = format!("--for=condition=Ready={ready}");
        let pods = [
            "-n",
            "enforcer-system",
            "wait",
            "pod",
            "-l",
            LABEL,
            "--timeout=60s",
        ];
        node.kubectl(&pods.into_iter().chain([condition.as_str()]).collect::<Vec<_>>())
    };
    limit("0")?;
    becomes("false").context("what is not proven is not ready")?;
    limit("max")?;
    becomes("true")
        .context("what is proven again is ready again")
        .map(drop)
}

fn every_row_holds_in_pods<'n>(node: &'n Node, world: &World, pods: &mut Pods<'n>) -> Result<()> {
    let table = Table {
        cluster: node,
        names: world,
        pods,
    };
    let tally = { table }.run(&case::all()?)?;
    println!(
        "{} rows hold in pods; cases left out: {:?}",
        tally.rows, tally.left_out
    );
    ensure!(tally.rows >= 220, "the table has lost its rows: {}", tally.rows);
    Ok(())
}

fn namespaces_of_the_system_are_off(pods: &mut Pods<'_>) -> Result<()> {
    for pod in ["kube-system/control", "enforcer-system/control"] {
        pods.have(&BTreeMap::from([(pod.to_owned(), BTreeMap::new())]))?;
        ensure!(!pods.is_cut_off(pod, UNREGISTERED)?, "{pod} is enforced");
    }
    Ok(())
}

/// Applies an entry, waits by the plugin of kubectl, and has a pod connect at once; then the plugin's other commands.
fn pipeline_that_waits_is_never_refused(node: &Node, pods: &mut Pods<'_>) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let program = folder.path().join("kubectl-enforcer");
    symlink(BINARY, &program)?;
    let program = program.to_str().context("its path is UTF-8")?;
    let plugin = |arguments: &[&str]| node.exec(&[&[program], arguments].concat());
    let status = plugin(&["status"])?;
    ensure!(status.contains("  proven "), "{status}");
    let pod = "default/control";
    let wait = ["wait", "--for", "ServiceEntry", "-n", "default", "piped"];
    let piped = |address: &str| {
        ENTRY
            .replace("name: registered,", "name: piped,")
            .replace("registered.example.com", "piped.example.com")
            .replace("203.0.113.7", address)
    };
    for round in 1..=20 {
        let address = format!("198.51.100.{round}");
        let to = format!("{address}:80");
        ensure!(
            pods.is_cut_off(pod, &to)?,
            "{to} is reached before it is registered"
        );
        node.kubectl_with(&piped(&address), &["apply", "-f", "-"])?;
        let said = plugin(&wait)?;
        ensure!(
            said.starts_with("ServiceEntry default/piped is in force on "),
            "{said}"
        );
        ensure!(!pods.is_cut_off(pod, &to)?, "refused in round {round}");
    }
    let explained = plugin(&[
        "explain",
        "-n",
        "default",
        "--workload",
        "control",
        "198.51.100.20:80",
    ])?;
    ensure!(
        explained.contains("allowed: ServiceEntry default/piped"),
        "{explained}"
    );
    let seen = plugin(&["monitor", "--verdict", "deny", "--last", "500"])?;
    ensure!(seen.contains("denied default/control"), "{seen}");
    let suggested = plugin(&["suggest", "-n", "default", "--workload", "control"])?;
    ensure!(suggested.contains("kind: ServiceEntry"), "{suggested}");
    node.kubectl_with(&piped("198.51.100.1/99"), &["apply", "-f", "-"])?;
    let refused = plugin(&wait).err().context("it is rejected")?;
    ensure!(format!("{refused:#}").contains("it is rejected"), "{refused:#}");
    node.kubectl_with(&piped("198.51.100.1"), &["delete", "-f", "-"])?;
    let gone = plugin(&[&wait[..], &["--delete"]].concat())?;
    ensure!(gone.contains("ServiceEntry default/piped is gone"), "{gone}");
    ensure!(
        pods.is_cut_off(pod, "198.51.100.20:80")?,
        "what is gone is reached"
    );
    Ok(())
}

/// Of a namespace with a pod that runs: audit lets it through, off too, and enforce refuses again.
fn label_of_a_namespace_is_followed(node: &Node, pods: &mut Pods<'_>) -> Result<()> {
    let pod = "labelled/control";
    pods.have(&BTreeMap::from([(pod.to_owned(), BTreeMap::new())]))?;
    for (mode, is_refused) in [
        ("enforce", true),
        ("audit", false),
        ("enforce", true),
        ("off", false),
    ] {
        let label = format!("enforcer.dev/mode={mode}");
        node.kubectl(&["label", "--overwrite", "namespace", "labelled", &label])?;
        wait(&format!("{pod} under {mode}"), || {
            Ok(pods.is_cut_off(pod, UNREGISTERED)? == is_refused)
        })?;
    }
    Ok(())
}

fn pod_in_the_nodes_network_is_enforced(pods: &mut Pods<'_>) -> Result<()> {
    let pod = "default/in-the-nodes-network";
    pods.have_special(pod, json!({ "hostNetwork": true }))?;
    ensure!(
        pods.is_cut_off(pod, UNREGISTERED)?,
        "it reaches what is not registered"
    );
    ensure!(
        !pods.is_cut_off(pod, REGISTERED)?,
        "it does not reach what is registered"
    );
    Ok(())
}

/// A Service that anybody may make, whose backend is outside.
const NODE_PORT: &str = "
apiVersion: v1
kind: Service
metadata: {name: outside, namespace: default}
spec:
  type: NodePort
  ports: [{name: http, port: 8080, nodePort: 30080, protocol: TCP}]
---
apiVersion: v1
kind: Endpoints
metadata: {name: outside, namespace: default}
subsets:
- addresses: [{ip: 203.0.113.50}]
  ports: [{name: http, port: 8080, protocol: TCP}]
";

/// kube-proxy makes the backend of a loopback address: in the node's network, a pod that is not enforced reaches it so,
/// and one that is does not.
fn node_port_leads_nobody_out(node: &Node, pods: &mut Pods<'_>) -> Result<()> {
    let server = [
        "ip",
        "netns",
        "exec",
        "world",
        "busybox",
        "httpd",
        "-p",
        "203.0.113.50:8080",
        "-h",
        "/etc",
    ];
    node.exec(&server)?;
    node.kubectl_with(NODE_PORT, &["apply", "-f", "-"])?;
    let free = "kube-system/in-the-nodes-network";
    pods.have_special(free, json!({ "hostNetwork": true }))?;
    let fetches = |pod: &str, host: &str| {
        let (namespace, name) = pod.split_once('/').context("a pod is written namespace/name")?;
        let url = format!("http://{host}:30080/hostname");
        let fetch = ["timeout", "4", "wget", "-q", "-O", "/dev/null", url.as_str()];
        let exec = ["exec", "-n", namespace, name, "--"];
        anyhow::Ok(node.kubectl(&[exec.as_slice(), &fetch].concat()).is_ok())
    };
    for host in ["127.0.0.1", "172.31.0.2"] {
        wait(&format!("the way by {host}"), || fetches(free, host))?;
        ensure!(
            !fetches("default/in-the-nodes-network", host)?,
            "a node port of {host} leads to where nothing is registered"
        );
    }
    let told = node.kubectl(&[
        "-n",
        "enforcer-system",
        "logs",
        "--tail=200",
        "daemonset/enforcer",
    ])?;
    ensure!(told.contains("NAT translates"), "the log does not tell of it");
    node.kubectl_with(NODE_PORT, &["delete", "--ignore-not-found", "-f", "-"])
        .map(drop)
}

/// Its first container asks at once, and once only.
fn pod_is_enforced_from_its_first_instruction(node: &Node, pods: &mut Pods<'_>) -> Result<()> {
    let first = json!([{
        "name": "first",
        "image": "busybox:local",
        "command": ["sh", "-c", "nc -w 5 203.0.113.99 80 </dev/null 2>&1; true"],
    }]);
    for number in 0..5 {
        let name = format!("first-{number}");
        pods.have_special(&format!("default/{name}"), json!({ "initContainers": first }))?;
        let log = node.kubectl(&["-n", "default", "logs", &name, "-c", "first"])?;
        ensure!(log.contains("Operation not permitted"), "{name} was told: {log}");
    }
    Ok(())
}

/// One that Kubernetes itself knows as such runs beside the pod's containers from before they start.
fn native_sidecar_is_enforced(node: &Node, pods: &mut Pods<'_>) -> Result<()> {
    let minor = node.minor()?;
    if minor < 29 {
        println!("SKIPPED: a native sidecar: Kubernetes 1.{minor} has none");
        return Ok(());
    }
    let sidecar = json!([{
        "name": "sidecar",
        "image": "busybox:local",
        "restartPolicy": "Always",
        "command": ["sh", "-c", "nc -w 5 203.0.113.99 80 </dev/null 2>&1; exec sleep 86400"],
    }]);
    pods.have_special("default/with-sidecar", json!({ "initContainers": sidecar }))?;
    wait("answer to the sidecar", || {
        let log = node.kubectl(&["-n", "default", "logs", "with-sidecar", "-c", "sidecar"])?;
        ensure!(
            log.is_empty() || log.contains("Operation not permitted"),
            "it was told: {log}"
        );
        Ok(!log.is_empty())
    })
}

/// A pod asks without pause while the daemon is killed and comes back, and while its pod is replaced.
fn verdicts_outlive_the_daemon(node: &Node, pods: &mut Pods<'_>) -> Result<()> {
    let is_over = AtomicBool::new(false);
    let asked = thread::scope(|scope| {
        let asking = scope.spawn(|| -> Result<usize> {
            let mut asked = 0;
            while !is_over.load(Ordering::Relaxed) {
                ensure!(
                    pods.is_cut_off("default/control", UNREGISTERED)?,
                    "{UNREGISTERED} is reached"
                );
                ensure!(
                    !pods.is_cut_off("default/control", REGISTERED)?,
                    "{REGISTERED} is refused"
                );
                asked += 2;
            }
            Ok(asked)
        });
        let disturbed = disturb(node);
        is_over.store(true, Ordering::Relaxed);
        let asked = asking.join().expect("it returns its errors");
        disturbed.and(asked)
    })?;
    println!("{asked} verdicts while the daemon was killed and replaced, all of them right");
    ensure!(asked >= 100, "the pod asked only {asked} times");
    Ok(())
}

fn disturb(node: &Node) -> Result<()> {
    let restarts = || {
        let path = "-o=jsonpath={.items[0].status.containerStatuses[0].restartCount}";
        node.kubectl(&["-n", "enforcer-system", "get", "pods", "-l", LABEL, path])
    };
    let before = restarts()?;
    node.exec(&["pkill", "-KILL", "-x", "enforcer", "--oldest"])?;
    wait("restart of the daemon", || Ok(restarts()? != before))?;
    rolled_out(node)?;
    let replace = [
        "-n",
        "enforcer-system",
        "rollout",
        "restart",
        "daemonset/enforcer",
    ];
    node.kubectl(&replace)?;
    rolled_out(node)?;
    reconfigure(node)
}

/// Maps of another size: those that decide do not know the pod that is to replace them.
fn reconfigure(node: &Node) -> Result<()> {
    let path = Path::new(DEPLOY).join("overlays/enforce/enforcer.yaml");
    let config = fs::read_to_string(path)? + "capacities: {exact: 20000, policies: 1000}\n";
    let map = json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": { "namespace": "enforcer-system", "name": "enforcer-other" },
        "data": { "enforcer.yaml": config },
    });
    node.kubectl_with(&map.to_string(), &["apply", "-f", "-"])?;
    let volumes = json!([{ "name": "config", "configMap": { "name": "enforcer-other" } }]);
    let patch = json!({ "spec": { "template": { "spec": { "volumes": volumes } } } }).to_string();
    node.kubectl(&[
        "-n",
        "enforcer-system",
        "patch",
        "daemonset",
        "enforcer",
        "-p",
        &patch,
    ])?;
    rolled_out(node).context("with maps of another size")?;
    let status = enforcer(node, &["status"])?;
    ensure!(
        status.contains("of 20000"),
        "the configuration is not in force: {status}"
    );
    Ok(())
}

/// As deploy/README.md says it.
fn uninstalling_leaves_nothing(node: &Node, pods: &mut Pods<'_>) -> Result<()> {
    let uninstall = node.overlay("uninstall")?;
    ensure!(
        pods.is_cut_off("default/control", UNREGISTERED)?,
        "nothing is enforced before"
    );
    node.kubectl(&["apply", "-k", &uninstall])?;
    rolled_out(node)?;
    ensure!(
        !pods.is_cut_off("default/control", UNREGISTERED)?,
        "the programs are still there"
    );
    node.kubectl(&["delete", "-k", &uninstall, "--timeout=60s"])?;
    node.kubectl(&["delete", "-k", &node.overlay("crds")?, "--timeout=60s"])?;
    // A bpffs may have files of the kernel's own (`progs.debug`, `maps.debug`).
    let ours = ["find", "/sys/fs/bpf", "/run/enforcer", "-mindepth", "1"];
    let left = node.exec(&[ours.as_slice(), &["-not", "-name", "*.debug"]].concat())?;
    ensure!(left.is_empty(), "files are left: {left}");
    let cgroups = node.exec(&["find", "/sys/fs/cgroup", "-name", "*enforcer*"])?;
    ensure!(cgroups.is_empty(), "cgroups are left: {cgroups}");
    let kinds = "clusterroles,clusterrolebindings,namespaces,customresourcedefinitions";
    let objects = node.kubectl(&["get", kinds, "-o", "name"])?;
    let ours = |name: &&str| name.contains("enforcer") || name.contains("istio.io");
    ensure!(
        objects.lines().find(ours).is_none(),
        "objects are left: {objects}"
    );
    Ok(())
}
