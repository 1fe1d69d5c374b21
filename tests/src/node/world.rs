//! What is outside the node: addresses that refuse, and the cluster's DNS server.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    fs,
    net::IpAddr,
    process::{Child, Stdio},
};

use anyhow::{Context as _, Result};
use tempfile::TempDir;

use super::Node;
use crate::{
    cluster::{Cluster as _, Names},
    daemon::wait,
    fixture::folder,
};

/// The node's way out, where the DNS server listens.
const GATEWAY: &str = "172.31.0.1";

/// The addresses of documentation (RFC 5737), which the table uses.
const NETWORKS: [&str; 3] = ["192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24"];

/// The Service whose address pods have for their resolver, with the server behind it.
const DNS_SERVICE: &str = "
apiVersion: v1
kind: Service
metadata: {name: kube-dns, namespace: kube-system}
spec:
  clusterIP: 10.96.0.10
  ports: [{name: dns, port: 53, protocol: UDP}, {name: dns-tcp, port: 53, protocol: TCP}]
---
apiVersion: v1
kind: Endpoints
metadata: {name: kube-dns, namespace: kube-system}
subsets:
- addresses: [{ip: 172.31.0.1}]
  ports: [{name: dns, port: 53, protocol: UDP}, {name: dns-tcp, port: 53, protocol: TCP}]
";

/// The outside of a node.
pub struct World {
    /// The DNS server first.
    programs: Vec<Child>,
    folder: TempDir,
}

impl World {
    /// Makes addresses refuse at once, and starts the DNS server.
    ///
    /// # Errors
    /// If the node does not let it, or dnsmasq is not installed.
    pub fn begin(node: &Node) -> Result<Self> {
        for network in NETWORKS {
            node.exec(&["ip", "-n", "world", "route", "add", "local", network, "dev", "lo"])?;
        }
        let folder = folder("enforcer-world-")?;
        let hosts = folder.path().join("hosts");
        fs::create_dir(&hosts)?;
        let directory = format!("--hostsdir={}", hosts.display());
        let listen = format!("--listen-address={GATEWAY}");
        let dns = node
            .command(
                "exec",
                &[
                    "ip",
                    "netns",
                    "exec",
                    "world",
                    "dnsmasq",
                    "--keep-in-foreground",
                    "--conf-file=/dev/null",
                    "--no-resolv",
                    "--no-hosts",
                    "--user=root",
                    "--pid-file=",
                    "--bind-interfaces",
                    "--local=/example.com/",
                    "--local-ttl=1",
                    &listen,
                    &directory,
                ],
            )
            .stdin(Stdio::null())
            .spawn()
            .context("starting dnsmasq")?;
        let world = Self {
            programs: vec![dns],
            folder,
        };
        node.kubectl_with(DNS_SERVICE, &["apply", "-f", "-"])?;
        wait("the cluster's DNS", || {
            Ok(node
                .exec(&["bash", "-c", "exec 3<>/dev/tcp/10.96.0.10/53"])
                .is_ok())
        })?;
        Ok(world)
    }

    /// Starts a server outside, which ends with this.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn serve(&mut self, node: &Node, command: &[&str]) -> Result<()> {
        let server = [&["ip", "netns", "exec", "world"], command].concat();
        let server = node.command("exec", &server).stdin(Stdio::null()).spawn();
        self.programs.push(server.context("starting a server outside")?);
        Ok(())
    }
}

impl Names for World {
    /// dnsmasq sees the new file by itself.
    fn resolve(&self, mark: &str, names: &BTreeMap<String, BTreeSet<IpAddr>>) -> Result<()> {
        let mut lines = String::new();
        for (name, addresses) in names {
            for address in addresses {
                writeln!(lines, "{address} {name}")?;
            }
        }
        let file = self.folder.path().join("hosts").join(mark);
        Ok(fs::write(file, lines)?)
    }
}

impl Drop for World {
    fn drop(&mut self) {
        for program in &mut self.programs {
            if let Err(error) = program.kill().and_then(|()| program.wait().map(drop)) {
                eprintln!("a server outside is still there: {error}");
            }
        }
    }
}
