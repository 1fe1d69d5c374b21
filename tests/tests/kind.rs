//! The enforcer as it is installed, on a cluster of several nodes that `cargo xtask kind` has made.
//!
//! "Refused" is EPERM in the pod that asks, or the Event of its refusal, and never a failure of another kind. Every
//! server was reached before, by pods that are refused later, and is reached all the time by a pod that is not enforced.

use std::{
    net::{IpAddr, SocketAddr},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use enforcer_common::Transport;
use serde_json::{Value, json};
use tests::{
    case,
    cluster::{Cluster as _, SYSTEM, Table, names, rolled_out},
    daemon::wait_within,
    kind::{CLIENTS, Cast, Corefile, FREE, Kind, OUTSIDE, SERVERS, port},
    pod::Answer,
};

/// A name that CoreDNS has for [`OUTSIDE`].
const NAME: &str = "server.kind.example.com";

/// How long a node may take until its pods run again.
const RESTART: Duration = Duration::from_secs(150);

#[test]
fn enforcer_as_installed_enforces_every_node_of_a_cluster() {
    let Some(kind) = Kind::given().unwrap() else {
        return;
    };
    let mut suite = Suite::begin(&kind).unwrap();
    for (sentence, step) in steps() {
        println!("kind: {sentence}");
        let begin = Instant::now();
        if let Err(error) = step(&mut suite) {
            panic!("{sentence}: {error:#}");
        }
        println!("kind:     ok after {:.1} s", begin.elapsed().as_secs_f32());
    }
}

type Step<'k> = fn(&mut Suite<'k>) -> Result<()>;

/// Each finds what the one before it has left.
fn steps<'k>() -> [(&'static str, Step<'k>); 16] {
    [
        (
            "every server answers every client before anything is installed",
            Suite::every_server_answers,
        ),
        (
            "the enforcer is installed, and proven on every node",
            Suite::is_installed,
        ),
        (
            "a namespace that is off reaches what others are refused, and the refused are told by an Event",
            Suite::refusals_are_told,
        ),
        (
            "a ServiceEntry lets through; changed, it lets through to its other address alone; removed, to none",
            Suite::entry_is_followed,
        ),
        (
            "an entry of a TCP port leaves UDP refused",
            Suite::entry_of_tcp_is_not_one_of_udp,
        ),
        (
            "names resolve by CoreDNS, and an entry by name allows the answer",
            Suite::names_resolve,
        ),
        (
            "the cluster address of a Service is reached, while there is the Service",
            Suite::service_is_followed,
        ),
        (
            "a pod in the node's network is enforced",
            Suite::pod_in_the_nodes_network_is_enforced,
        ),
        (
            "audit, enforce and off by the label of a namespace",
            Suite::label_is_followed,
        ),
        ("the conformance table holds in pods", Suite::table_holds),
        (
            "verdicts stay while the DaemonSet is rolled out again",
            Suite::verdicts_outlive_a_rollout,
        ),
        (
            "verdicts stay while a daemon is killed",
            Suite::verdicts_outlive_a_kill,
        ),
        (
            "a node that is restarted enforces again",
            Suite::restarted_node_enforces,
        ),
        (
            "all other nodes have enforced all the time",
            Suite::others_still_enforce,
        ),
        (
            "uninstalled, nothing is enforced any more",
            Suite::uninstalling_ends_enforcement,
        ),
        ("and nothing is left on any node", Suite::nothing_is_left),
    ]
}

struct Suite<'k> {
    kind: &'k Kind,
    cast: Cast<'k>,
    corefile: Corefile,
}

impl<'k> Suite<'k> {
    fn begin(kind: &'k Kind) -> Result<Self> {
        println!("kind: nodes {}", kind.nodes().join(", "));
        for node in kind.nodes() {
            kind.prepare(node)?;
        }
        let cast = Cast::start(kind)?;
        let mut names = names(&case::all()?);
        names.insert(NAME.to_owned(), [OUTSIDE.parse()?].into());
        let corefile = Corefile::write(kind, names)?;
        Ok(Self { kind, cast, corefile })
    }

    fn every_server_answers(&mut self) -> Result<()> {
        self.cast.all_answer(&self.cast.clients)?;
        self.cast.all_answer(&[FREE.to_owned()])?;
        self.all_reach_outside()
    }

    /// As deploy/README.md says it.
    fn is_installed(&mut self) -> Result<()> {
        // Servers of some age do not know every field of the definitions.
        self.kind.kubectl(&["apply", "-k", &self.kind.overlay("crds")?])?;
        self.kind.kubectl(&["apply", "-k", &self.kind.overlay("kind")?])?;
        rolled_out(self.kind)?;
        for (number, node) in self.kind.nodes().iter().enumerate() {
            self.kind
                .enforcer(node, "status")
                .context("what is ready is proven")?;
            let attached = self.cast.attached(number)?;
            ensure!(!attached.is_empty(), "{node} has no programs");
            let cgroups = self.kind.kubelet_cgroups(node)?;
            println!(
                "kind:     {node}: the kubelet's pods are in {cgroups}, programs are at {}",
                attached.join(", ")
            );
        }
        Ok(())
    }

    fn refusals_are_told(&mut self) -> Result<()> {
        let one = self.cast.server("one")?;
        self.cast.all_answer(&[FREE.to_owned()])?;
        self.cast.all_become(one, &Answer::Refused)?;
        let address = one.to_string();
        for client in &self.cast.clients {
            let name = client.rsplit('/').next().context("it has a name")?;
            let selector = format!("involvedObject.name={name},reason=EgressRefused");
            let get = ["get", "events", "-n", CLIENTS, "--field-selector", &selector];
            let get = [get.as_slice(), &["-o=jsonpath={.items[*].message}"]].concat();
            wait_within(RESTART, "Event of the refusal", || {
                let told = self.kind.kubectl(&get)?;
                Ok(told.contains(&address) && told.contains("ServiceEntry"))
            })?;
        }
        Ok(())
    }

    fn entry_is_followed(&mut self) -> Result<()> {
        let (one, two) = (self.cast.server("one")?, self.cast.server("two")?);
        self.apply(&entry(one, &[Transport::Tcp, Transport::Udp]))?;
        self.cast.all_become(one, &Answer::From("one".into()))?;
        self.cast.all_become(two, &Answer::Refused)?;
        self.apply(&entry(two, &[Transport::Tcp, Transport::Udp]))?;
        self.cast.all_become(two, &Answer::From("two".into()))?;
        self.cast.all_become(one, &Answer::Refused)?;
        self.delete(&entry(two, &[Transport::Tcp, Transport::Udp]))?;
        self.cast.all_become(two, &Answer::Refused)?;
        self.cast.all_become(one, &Answer::Refused)
    }

    fn entry_of_tcp_is_not_one_of_udp(&mut self) -> Result<()> {
        let one = self.cast.server("one")?;
        self.apply(&entry(one, &[Transport::Tcp]))?;
        let by_tcp = SocketAddr::new(one, port(Transport::Tcp));
        let answered = Answer::From("one".into());
        for client in &self.cast.clients {
            self.cast
                .becomes_over(client, (Transport::Tcp, by_tcp), &answered)?;
            self.cast
                .becomes_over(client, (Transport::Udp, by_tcp), &Answer::Refused)?;
        }
        self.delete(&entry(one, &[Transport::Tcp]))?;
        self.cast.all_become(one, &Answer::Refused)
    }

    fn names_resolve(&mut self) -> Result<()> {
        for client in &self.cast.clients {
            for name in [NAME, "kubernetes.default.svc.cluster.local"] {
                wait_within(RESTART, "answer of CoreDNS", || {
                    let addresses = self.cast.resolve(client, name);
                    Ok(addresses.is_ok_and(|addresses| !addresses.is_empty()))
                })
                .with_context(|| format!("{client} asks for {name}"))?;
            }
            let addresses = self.cast.resolve(client, NAME)?;
            ensure!(addresses == [OUTSIDE], "{NAME} is {addresses:?}");
        }
        let to = OUTSIDE.parse()?;
        self.cast.all_become(to, &Answer::Refused)?;
        let mut named = entry(to, &[Transport::Tcp, Transport::Udp]);
        named["spec"] = json!({
            "hosts": [NAME],
            "resolution": "DNS",
            "ports": named["spec"]["ports"],
        });
        self.apply(&named)?;
        self.all_reach_outside()?;
        self.delete(&named)?;
        self.cast.all_become(to, &Answer::Refused)
    }

    /// There, the node of the client answers.
    fn all_reach_outside(&self) -> Result<()> {
        let to = OUTSIDE.parse()?;
        let mut clients = self.cast.clients.iter().zip(self.kind.nodes());
        clients.try_for_each(|(client, node)| self.cast.becomes(client, to, &Answer::From(node.clone())))
    }

    fn service_is_followed(&mut self) -> Result<()> {
        self.kind
            .kubectl(&["label", "--overwrite", "-n", SERVERS, "pod/one", "serves=one"])?;
        let served = |transport| {
            let protocol = protocol(transport);
            json!({ "name": protocol.to_lowercase(), "port": port(transport), "protocol": protocol })
        };
        let service = json!({
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": { "namespace": SERVERS, "name": "one" },
            "spec": { "selector": { "serves": "one" }, "ports": [served(Transport::Tcp), served(Transport::Udp)] },
        });
        self.apply(&service)?;
        let get = [
            "get",
            "service",
            "-n",
            SERVERS,
            "one",
            "-o=jsonpath={.spec.clusterIP}",
        ];
        let address = self.kind.kubectl(&get)?;
        let to = address.trim().parse()?;
        self.cast.all_become(to, &Answer::From("one".into()))?;
        let name = format!("one.{SERVERS}.svc.cluster.local");
        let resolved = self.cast.resolve(&self.cast.clients[0], &name)?;
        ensure!(resolved == [address.trim()], "{name} is {resolved:?}");
        self.delete(&service)?;
        self.cast.all_become(to, &Answer::Refused)?;
        self.cast.all_become(self.cast.server("one")?, &Answer::Refused)
    }

    fn pod_in_the_nodes_network_is_enforced(&mut self) -> Result<()> {
        let (one, two) = (self.cast.server("one")?, self.cast.server("two")?);
        let entry = entry(one, &[Transport::Tcp, Transport::Udp]);
        self.apply(&entry)?;
        for (number, node) in self.kind.nodes().iter().enumerate() {
            let pod = format!("{CLIENTS}/in-the-nodes-network-{number}");
            let special = json!({ "nodeName": node, "hostNetwork": true });
            self.cast.pods.have_special(&pod, special)?;
            self.cast.becomes(&pod, one, &Answer::From("one".into()))?;
            self.cast.becomes(&pod, two, &Answer::Refused)?;
        }
        self.delete(&entry)
    }

    fn label_is_followed(&mut self) -> Result<()> {
        let one = self.cast.server("one")?;
        let answered = Answer::From("one".into());
        for (mode, expected) in [
            ("audit", &answered),
            ("enforce", &Answer::Refused),
            ("off", &answered),
            ("enforce", &Answer::Refused),
        ] {
            self.cast.label(CLIENTS, mode)?;
            self.cast
                .all_become(one, expected)
                .with_context(|| format!("under {mode}"))?;
        }
        Ok(())
    }

    fn table_holds(&mut self) -> Result<()> {
        let mut table = Table {
            cluster: self.kind,
            names: &self.corefile,
            pods: &mut self.cast.pods,
        };
        let tally = table.run(&case::all()?)?;
        println!(
            "kind:     {} rows hold; cases left out: {:?}",
            tally.rows, tally.left_out
        );
        ensure!(tally.rows >= 220, "the table has lost its rows: {}", tally.rows);
        Ok(())
    }

    fn verdicts_outlive_a_rollout(&mut self) -> Result<()> {
        self.undisturbed_by(|kind| {
            kind.kubectl(&["-n", SYSTEM, "rollout", "restart", "daemonset/enforcer"])?;
            rolled_out(kind)
        })
    }

    fn verdicts_outlive_a_kill(&mut self) -> Result<()> {
        self.undisturbed_by(|kind| {
            for node in kind.nodes() {
                let pod = kind.daemon(node)?;
                let before = kind.restarts(SYSTEM, &pod)?;
                kind.on_node(node, "pkill -KILL -x enforcer --oldest")?;
                wait_within(RESTART, "restart of the daemon", || {
                    Ok(kind.restarts(SYSTEM, &pod)? > before)
                })?;
            }
            rolled_out(kind)
        })
    }

    /// Every client asks without pause for what is registered and for what is not.
    fn undisturbed_by(&mut self, disturb: impl FnOnce(&Kind) -> Result<()>) -> Result<()> {
        let (one, two) = (self.cast.server("one")?, self.cast.server("two")?);
        let entry = entry(one, &[Transport::Tcp, Transport::Udp]);
        self.apply(&entry)?;
        self.cast.all_become(one, &Answer::From("one".into()))?;
        let (kind, cast) = (self.kind, &mut self.cast);
        // A probe ends with the thread that has first asked it.
        (0..cast.clients.len()).try_for_each(|client| cast.verdict(client, two, true))?;
        let is_over = AtomicBool::new(false);
        let asked = thread::scope(|scope| {
            let asking = scope.spawn(|| -> Result<usize> {
                let mut asked = 0;
                while !is_over.load(Ordering::Relaxed) {
                    for client in 0..cast.clients.len() {
                        cast.verdict(client, one, false)?;
                        cast.verdict(client, two, true)?;
                        asked += 2;
                    }
                }
                Ok(asked)
            });
            let disturbed = disturb(kind);
            is_over.store(true, Ordering::Relaxed);
            let asked = asking.join().expect("it returns its errors");
            disturbed.and(asked)
        })?;
        println!("kind:     {asked} verdicts meanwhile, all of them right");
        ensure!(asked >= 100, "the pods asked only {asked} times");
        self.delete(&entry)
    }

    /// Its bpffs is gone with all pins, and its cgroups are new ones.
    fn restarted_node_enforces(&mut self) -> Result<()> {
        let number = self.kind.nodes().len() - 1;
        let node = &self.kind.nodes()[number];
        let client = self.cast.clients[number].clone();
        let before = self.kind.ready(node)?;
        ensure!(before.contains_key(&client), "{client} is not ready");
        self.kind.docker(&["restart", node])?;
        self.kind.prepare(node)?;
        self.cast.pods.forget(&client);
        wait_within(RESTART, "restart of the node's pods", || {
            // The API server may be on that node.
            let Ok(now) = self.kind.ready(node) else {
                return Ok(false);
            };
            Ok(before.iter().all(|(pod, count)| now.get(pod) > Some(count)))
        })?;
        rolled_out(self.kind)?;
        self.kind.enforcer(node, "status").context("it is proven again")?;
        let one = self.cast.server("one")?;
        self.cast.becomes(&client, one, &Answer::Refused)?;
        let entry = entry(one, &[Transport::Tcp, Transport::Udp]);
        self.apply(&entry)?;
        self.cast.becomes(&client, one, &Answer::From("one".into()))?;
        self.delete(&entry)?;
        self.cast.becomes(&client, one, &Answer::Refused)
    }

    fn others_still_enforce(&mut self) -> Result<()> {
        let one = self.cast.server("one")?;
        self.cast.all_become(one, &Answer::Refused)?;
        self.cast.all_answer(&[FREE.to_owned()])
    }

    /// As deploy/README.md says it.
    fn uninstalling_ends_enforcement(&mut self) -> Result<()> {
        let uninstall = self.kind.overlay("uninstall")?;
        self.kind.kubectl(&["apply", "-k", &uninstall])?;
        rolled_out(self.kind)?;
        self.cast.all_answer(&self.cast.clients)?;
        self.kind
            .kubectl(&["delete", "-k", &uninstall, "--timeout=120s"])?;
        self.kind
            .kubectl(&["delete", "-k", &self.kind.overlay("crds")?, "--timeout=120s"])
            .map(drop)
    }

    fn nothing_is_left(&mut self) -> Result<()> {
        for (number, node) in self.kind.nodes().iter().enumerate() {
            let attached = self.cast.attached(number)?;
            ensure!(attached.is_empty(), "{node} has programs at {attached:?}");
            let left = self.kind.left(node)?;
            ensure!(left.is_empty(), "{node} has {left}");
        }
        let kinds = "clusterroles,clusterrolebindings,namespaces,customresourcedefinitions";
        let objects = self.kind.kubectl(&["get", kinds, "-o", "name"])?;
        let ours = |name: &&str| name.contains("enforcer") || name.contains("istio.io");
        ensure!(
            objects.lines().find(ours).is_none(),
            "objects are left: {objects}"
        );
        Ok(())
    }

    fn apply(&self, object: &Value) -> Result<()> {
        let apply = ["apply", "-f", "-"];
        self.kind.kubectl_with(&object.to_string(), &apply).map(drop)
    }

    fn delete(&self, object: &Value) -> Result<()> {
        self.kind
            .kubectl_with(&object.to_string(), &["delete", "-f", "-"])
            .map(drop)
    }
}

/// A ServiceEntry of the clients' namespace with one address.
fn entry(to: IpAddr, transports: &[Transport]) -> Value {
    let ports: Vec<_> = transports
        .iter()
        .map(|transport| {
            let protocol = protocol(*transport);
            json!({ "number": port(*transport), "name": protocol.to_lowercase(), "protocol": protocol })
        })
        .collect();
    json!({
        "apiVersion": "networking.istio.io/v1",
        "kind": "ServiceEntry",
        "metadata": { "namespace": CLIENTS, "name": "server" },
        "spec": { "hosts": ["server.example.com"], "addresses": [to.to_string()], "ports": ports },
    })
}

fn protocol(transport: Transport) -> &'static str {
    if transport == Transport::Tcp { "TCP" } else { "UDP" }
}
