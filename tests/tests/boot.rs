//! A node's restart: what pods reach that connect in their first instruction, with `enforcer boot` before the kubelet and
//! without it.
//!
//! A restart is: every process of a pod is ended, containerd's shims too, and cgroups, pins and `/run/enforcer` are gone,
//! as after a boot of the kernel; then kubelet and containerd are started anew.

use std::time::Instant;

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::{Value, json};
use tests::{
    cluster::{Cluster as _, rolled_out},
    daemon::wait,
    fixture::need_root,
    node::{Node, World},
};

const DEPLOY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy");

/// What a restart leaves, and what systemd does before the kubelet, on the node.
const RESTART: &str = include_str!("boot/restart.sh");

/// Says what it was told at its first call, and each time that this changes. `nc` says it behind the last colon.
const CALLER: &str = r#"
last=
while :; do
  told=$(nc -w 1 "$0" 80 </dev/null 2>&1)
  [ "$told" = "$last" ] || echo "${told##*: }"
  last=$told
done"#;

const UNREGISTERED: &str = "203.0.113.99";
const REGISTERED: &str = "203.0.113.7";

/// The world answers nobody, so that a call that gets out is told this.
const OUT: &str = "Connection refused";
const REFUSED: &str = "Operation not permitted";

/// That of the enforcer, and one that is somebody else's.
const TAINT: &str = "enforcer.dev/not-proven=:NoSchedule";
const OTHER_TAINT: &str = "example.com/other=:PreferNoSchedule";

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
fn nothing_gets_out_after_a_restart_with_the_unit_before_the_kubelet() {
    need_root().unwrap();
    let Some(node) = Node::start().unwrap() else {
        return;
    };
    if let Err(error) = everything(&node) {
        let said = |command: &[&str]| node.exec(command).unwrap_or_else(|error| format!("{error:#}"));
        let log = said(&["sh", "-c", "cat /run/boot.log; kubectl get pods -A"]);
        panic!("{error:#}\n{log}");
    }
}

fn everything(node: &Node) -> Result<()> {
    let _world = World::begin(node)?;
    // The node has the machine's other folders.
    for folder in ["/opt", "/etc/systemd/system"] {
        node.exec(&["mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", folder])?;
    }
    node.import_image()?;
    node.kubectl(&["apply", "-k", &node.overlay("crds")?])?;
    node.kubectl(&["taint", "nodes", "--all", TAINT, OTHER_TAINT])?;
    node.kubectl(&["apply", "-k", &node.overlay("boot")?])?;
    rolled_out(node)?;
    taint_is_removed_by_who_may(node)?;
    node.kubectl_with(ENTRY, &["apply", "-f", "-"])?;
    make(
        node,
        &[
            caller("default", "refused", UNREGISTERED),
            caller("default", "registered", REGISTERED),
            caller("kube-system", "free", UNREGISTERED),
        ],
    )?;
    node.kubectl(&[
        "wait",
        "-A",
        "--for=condition=Ready",
        "--timeout=60s",
        "pod",
        "--all",
    ])?;
    wait("what is kept", || {
        let kept = node.exec(&["cat", "/opt/enforcer/boot/known.json"])?;
        Ok(["registered.example.com", "\"refused\"", "\"free\""]
            .iter()
            .all(|it| kept.contains(it)))
    })?;
    without_the_unit(node)?;
    with_the_unit(node)?;
    with_nothing_that_can_be_read(node)?;
    uninstalling_removes_the_unit(node)
}

/// Of the node, by key.
fn taints(node: &Node) -> Result<Vec<String>> {
    let keys = node.kubectl(&["get", "nodes", "-o=jsonpath={.items[*].spec.taints[*].key}"])?;
    Ok(keys.split_whitespace().map(str::to_owned).collect())
}

/// What is proven removes the one taint, if it has been given the right.
fn taint_is_removed_by_who_may(node: &Node) -> Result<()> {
    let logs = ["-n", "enforcer-system", "logs", "daemonset/enforcer"];
    wait("word of the missing right", || {
        Ok(node.kubectl(&logs)?.contains("kubectl apply -k deploy/taint"))
    })?;
    ensure!(taints(node)?.len() == 2, "a taint is gone: {:?}", taints(node)?);
    node.kubectl(&["apply", "-k", &format!("{DEPLOY}/taint")])?;
    wait("removal of the taint", || {
        Ok(taints(node)? == ["example.com/other"])
    })
}

/// How long pods run unenforced.
fn without_the_unit(node: &Node) -> Result<()> {
    restart(node, "without", || Ok(()))?;
    let of_pod = || told(node, ("default", "refused"), 1);
    wait("end of the window", || Ok(of_pod()?.len() > 1))?;
    let told = of_pod()?;
    let [(begin, out), (end, refused)] = &told[..] else {
        bail!("it was told {told:?}");
    };
    ensure!(
        (out.as_str(), refused.as_str()) == (OUT, REFUSED),
        "it was told {told:?}"
    );
    let window = end.checked_sub(*begin).context("it is not about midnight")?;
    println!("without the unit, pods run unenforced for {window} ms after a restart");
    ready(node)
}

fn with_the_unit(node: &Node) -> Result<()> {
    // Made while the kubelet is down.
    let late = [
        caller("default", "late", UNREGISTERED),
        caller("kube-system", "late", UNREGISTERED),
    ];
    restart(node, "boot", || make(node, &late))?;
    let begin = Instant::now();
    let pods = [
        (("default", "refused"), 2, REFUSED),
        (("default", "late"), 0, REFUSED),
        (("default", "registered"), 2, OUT),
        (("kube-system", "free"), 2, OUT),
    ];
    let new = ("kube-system", "late");
    for (pod, restarts, _) in pods.into_iter().chain([(new, 0, OUT)]) {
        wait(&format!("start of {pod:?}"), || {
            Ok(!told(node, pod, restarts)?.is_empty())
        })?;
    }
    for words in ["pod kube-system/late is new", "the enforcer's pod takes over"] {
        wait(words, || {
            Ok(node.exec(&["cat", "/run/boot.log"])?.contains(words))
        })?;
    }
    ready(node)?;
    let seconds = begin.elapsed().as_secs();
    println!("with the unit, the enforcer's pod enforces {seconds} s after the kubelet was started");
    for (pod, restarts, expected) in pods {
        let told = told(node, pod, restarts)?;
        let words: Vec<_> = told.iter().map(|(_, word)| word.as_str()).collect();
        ensure!(words == [expected], "{pod:?} was told {words:?}");
    }
    let told = told(node, new, 0)?;
    ensure!(
        told.last().is_some_and(|(_, word)| word == OUT),
        "{new:?} was told {told:?}"
    );
    Ok(())
}

/// What was kept is damaged: what is not off is refused until the enforcer's pod takes over.
fn with_nothing_that_can_be_read(node: &Node) -> Result<()> {
    restart(node, "boot", || {
        node.exec(&["truncate", "--size=100", "/opt/enforcer/boot/known.json"])
            .map(drop)
    })?;
    for (pod, expected) in [
        (("default", "refused"), [REFUSED].as_slice()),
        (("default", "registered"), &[REFUSED, OUT]),
        (("kube-system", "free"), &[OUT]),
    ] {
        let mut all = Vec::new();
        let last = expected.last().copied();
        wait(&format!("{expected:?} of {pod:?}"), || {
            all = told(node, pod, 3)?;
            Ok(all.last().map(|(_, word)| word.as_str()) == last)
        })?;
        let words: Vec<_> = all.iter().map(|(_, word)| word.as_str()).collect();
        // A busy node may have started it once everything was over.
        let is_late = last.as_slice() == words && all[0].0 >= taken_over(node)?;
        ensure!(words == expected || is_late, "{pod:?} was told {words:?}");
    }
    ready(node)
}

/// When the enforcer's pod took over last, in milliseconds of a day.
fn taken_over(node: &Node) -> Result<u64> {
    let log = node.exec(&["cat", "/run/boot.log"])?;
    let mut lines = log.lines().rev();
    let line = lines.find(|line| line.contains("the enforcer's pod takes over"));
    let time = line.and_then(|line| line.split_whitespace().next());
    time.and_then(milliseconds).context("nobody has taken over")
}

fn uninstalling_removes_the_unit(node: &Node) -> Result<()> {
    let installed = node.exec(&["find", "/opt", "/etc/systemd/system", "-type", "f"])?;
    ensure!(
        installed.contains("/etc/systemd/system/enforcer-boot.service"),
        "{installed}"
    );
    let uninstall = node.overlay("uninstall-boot")?;
    node.kubectl(&["apply", "-k", &uninstall])?;
    rolled_out(node)?;
    let left = node.exec(&["find", "/opt", "/etc/systemd/system", "-not", "-type", "d"])?;
    ensure!(left.is_empty(), "files are left: {left}");
    wait("end of enforcement", || {
        let told = told(node, ("default", "refused"), 2)?;
        Ok(told.last().is_some_and(|(_, word)| word == OUT))
    })
}

/// Waits until the enforcer's pod answers for itself.
fn ready(node: &Node) -> Result<()> {
    wait("proof by the enforcer's pod", || {
        let status = [
            "-n",
            "enforcer-system",
            "exec",
            "daemonset/enforcer",
            "--",
            "/enforcer",
            "status",
        ];
        Ok(node.kubectl(&status).is_ok())
    })
}

fn caller(namespace: &str, name: &str, to: &str) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": { "namespace": namespace, "name": name },
        "spec": {
            "terminationGracePeriodSeconds": 0,
            "automountServiceAccountToken": false,
            "hostNetwork": namespace == "kube-system",
            "containers": [{ "name": "main", "image": "busybox:local", "command": ["sh", "-c", CALLER, to] }],
        },
    })
}

fn make(node: &Node, pods: &[Value]) -> Result<()> {
    let list = json!({ "apiVersion": "v1", "kind": "List", "items": pods }).to_string();
    node.kubectl_with(&list, &["apply", "-f", "-"]).map(drop)
}

/// Ends everything, does `meanwhile`, and starts it again.
fn restart(node: &Node, how: &str, meanwhile: impl FnOnce() -> Result<()>) -> Result<()> {
    let step = |step: &str| {
        node.exec(&["sh", "-c", RESTART, step])
            .with_context(|| format!("restart, {step}"))
    };
    step("end")?;
    meanwhile()?;
    step(how)?;
    step("start").map(drop)
}

/// What a pod was told, and when (milliseconds of a day), since it was started for the `restarts`th time. Nothing while
/// that has not happened.
fn told(node: &Node, (namespace, name): (&str, &str), restarts: u32) -> Result<Vec<(u64, String)>> {
    let count = "-o=jsonpath={.status.containerStatuses[0].restartCount}";
    let counted = node.kubectl(&["-n", namespace, "get", "pod", name, count])?;
    if counted.parse::<u32>().is_ok_and(|counted| counted < restarts) {
        return Ok(Vec::new());
    }
    let Ok(log) = node.kubectl(&["-n", namespace, "logs", "--timestamps", name]) else {
        return Ok(Vec::new());
    };
    let line = |line: &str| {
        let (time, word) = line.split_once(' ').context("a line has a time")?;
        Ok((
            milliseconds(time).with_context(|| format!("time {time}"))?,
            word.to_owned(),
        ))
    };
    log.lines().map(line).collect()
}

/// Of a time such as `2026-01-02T03:04:05.678901234Z`.
fn milliseconds(time: &str) -> Option<u64> {
    let (_, time) = time.strip_suffix('Z')?.split_once('T')?;
    let (time, fraction) = time.split_once('.')?;
    let seconds = time
        .split(':')
        .try_fold(0, |sum, part| Some(sum * 60 + part.parse::<u64>().ok()?))?;
    let fraction = format!("{fraction:0<3}");
    Some(seconds * 1000 + fraction.get(..3)?.parse::<u64>().ok()?)
}
