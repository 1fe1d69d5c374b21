//! Who asks and who answers: servers that nobody has registered, a client on every node, and one that is never enforced.

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use enforcer_common::Transport;
use serde_json::{Value, json};

use super::{BINARY, Kind};
use crate::{
    cluster::{Cluster as _, Pods, parts},
    daemon::wait_within,
    pod::{self, Answer},
};

/// Namespace of the clients, one on each node.
pub const CLIENTS: &str = "shop";

/// Namespace of the servers.
pub const SERVERS: &str = "outside";

/// A client in a namespace that is off.
pub const FREE: &str = "free/client";

/// An address outside the cluster, which is that of a server in each node's network: no name may stand for a pod's.
pub const OUTSIDE: &str = "203.0.113.77";

/// Where servers answer, over both transports.
const PORTS: [u16; 2] = [80, 81];

/// Where they are asked over each: no two ports of a ServiceEntry have the same number.
pub fn port(transport: Transport) -> u16 {
    PORTS[usize::from(transport == Transport::Udp)]
}

/// How long a change may take until it is in force on every node: a Service's rules of kube-proxy too.
const PATIENCE: Duration = Duration::from_secs(30);

/// The pods of a cluster.
pub struct Cast<'k> {
    kind: &'k Kind,
    /// All of them.
    pub pods: Pods<'k>,
    /// The clients that are enforced.
    pub clients: Vec<String>,
}

impl<'k> Cast<'k> {
    /// Starts them. The servers are where the control plane is, which no test restarts unless it is the only node.
    ///
    /// # Errors
    /// If one does not run.
    pub fn start(kind: &'k Kind) -> Result<Self> {
        let mut cast = Self {
            kind,
            pods: Pods::new(kind, kind.recipe()),
            clients: Vec::new(),
        };
        let first = &kind.nodes()[0];
        for server in ["one", "two"] {
            let serves = kind.server("0.0.0.0");
            let special = json!({ "nodeName": first, "containers": [serves] });
            cast.pods.have_special(&format!("{SERVERS}/{server}"), special)?;
        }
        cast.pods.have_special(FREE, json!({ "nodeName": first }))?;
        for (number, node) in kind.nodes().iter().enumerate() {
            let client = format!("{CLIENTS}/client-{number}");
            cast.pods.have_special(&client, json!({ "nodeName": node }))?;
            cast.pods.have_special(&looker(number), kind.looker(node))?;
            cast.clients.push(client);
            let serves = [kind.server(OUTSIDE)];
            let special = json!({ "nodeName": node, "hostNetwork": true, "containers": serves });
            cast.pods
                .have_special(&format!("{SERVERS}/on-node-{number}"), special)?;
        }
        for namespace in ["free", SERVERS] {
            cast.label(namespace, "off")?;
        }
        Ok(cast)
    }

    /// Sets the mode of a namespace.
    ///
    /// # Errors
    /// If the API refuses it.
    pub fn label(&self, namespace: &str, mode: &str) -> Result<()> {
        let label = format!("enforcer.dev/mode={mode}");
        self.kind
            .kubectl(&["label", "--overwrite", "namespace", namespace, &label])
            .map(drop)
    }

    /// The address of a server.
    ///
    /// # Errors
    /// If it has none.
    pub fn server(&self, name: &str) -> Result<IpAddr> {
        let get = ["get", "pod", "-n", SERVERS, name, "-o=jsonpath={.status.podIP}"];
        let address = self.kind.kubectl(&get)?;
        address
            .trim()
            .parse()
            .with_context(|| format!("{address:?} of {name}"))
    }

    /// What becomes of one question of a pod.
    ///
    /// # Errors
    /// If the pod does not run.
    pub fn ask(&self, pod: &str, transport: Transport, to: SocketAddr) -> Result<Answer> {
        let word = if transport == Transport::Tcp { "tcp" } else { "udp" };
        self.run(pod, &["ask", word, &to.to_string()])?.parse()
    }

    /// Waits until a pod is answered, or refused, over both transports.
    ///
    /// # Errors
    /// What has become of the last question.
    pub fn becomes(&self, pod: &str, to: IpAddr, expected: &Answer) -> Result<()> {
        for transport in [Transport::Tcp, Transport::Udp] {
            let to = SocketAddr::new(to, port(transport));
            self.becomes_over(pod, (transport, to), expected)?;
        }
        Ok(())
    }

    /// The same over one of them.
    ///
    /// # Errors
    /// The same.
    pub fn becomes_over(
        &self,
        pod: &str,
        (transport, to): (Transport, SocketAddr),
        expected: &Answer,
    ) -> Result<()> {
        let mut last = None;
        let waited = wait_within(PATIENCE, "such outcome", || {
            let answer = self.ask(pod, transport, to)?;
            let is_so = answer == *expected;
            last = Some(answer);
            Ok(is_so)
        });
        let last = last.map_or_else(|| "nothing".to_owned(), |answer| answer.to_string());
        waited.with_context(|| format!("{pod} to {to} over {transport:?}: {last}, and not {expected}"))
    }

    /// The same of every client.
    ///
    /// # Errors
    /// Names the first that comes to something else.
    pub fn all_become(&self, to: IpAddr, expected: &Answer) -> Result<()> {
        self.clients
            .iter()
            .try_for_each(|client| self.becomes(client, to, expected))
    }

    /// The addresses that a pod's resolver has for a name.
    ///
    /// # Errors
    /// If it is not answered.
    pub fn resolve(&self, pod: &str, name: &str) -> Result<Vec<String>> {
        let printed = self.run(pod, &["resolve", name])?;
        Ok(printed.lines().map(str::to_owned).collect())
    }

    /// The cgroups of a node at which the enforcer's programs are, as the kernel tells it.
    ///
    /// # Errors
    /// If the kernel does not.
    pub fn attached(&self, node: usize) -> Result<Vec<String>> {
        let printed = self.run(&looker(node), &["attached", "/sys/fs/cgroup"])?;
        Ok(printed.lines().map(str::to_owned).collect())
    }

    /// Every server answers every client, over both transports.
    ///
    /// # Errors
    /// Names the first that does not.
    pub fn all_answer(&self, pods: &[String]) -> Result<()> {
        for server in ["one", "two"] {
            let to = self.server(server)?;
            for pod in pods {
                self.becomes(pod, to, &Answer::From(server.to_owned()))?;
            }
        }
        Ok(())
    }

    fn run(&self, pod: &str, words: &[&str]) -> Result<String> {
        let (namespace, name) = parts(pod)?;
        let exec = ["exec", "-n", namespace, name, "--", BINARY, pod::ARGUMENT];
        self.kind.kubectl(&[exec.as_slice(), words].concat())
    }

    /// A verdict of a client's probe: quicker than a question, and told from failures by its errno.
    ///
    /// # Errors
    /// If it is not the one that is expected.
    pub fn verdict(&mut self, client: usize, to: IpAddr, is_refused: bool) -> Result<()> {
        let pod = self
            .clients
            .get(client)
            .context("there is such a client")?
            .clone();
        let address = SocketAddr::new(to, port(Transport::Tcp));
        let refused = self.pods.is_refused(&pod, Transport::Tcp, address)?;
        ensure!(refused == is_refused, "{pod} to {to}: refused {refused}");
        Ok(())
    }
}

/// A pod that may look at all cgroups of its node.
fn looker(node: usize) -> String {
    format!("free/looker-{node}")
}

impl Kind {
    fn server(&self, address: &str) -> Value {
        let [first, second] = PORTS.map(|port| port.to_string());
        self.container(&["serve", address, &first, &second])
    }

    fn looker(&self, node: &str) -> Value {
        let mut container = self.container(&["sleep"]);
        container["securityContext"] = json!({ "privileged": true });
        container["volumeMounts"] = json!([{ "name": "cgroup", "mountPath": "/sys/fs/cgroup" }]);
        json!({
            "nodeName": node,
            "containers": [container],
            "volumes": [{ "name": "cgroup", "hostPath": { "path": "/sys/fs/cgroup" } }],
        })
    }
}
