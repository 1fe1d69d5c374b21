//! A server under a real enforcer: REGISTRY_ONLY, and nothing registered of its clients.

use std::{
    fs,
    net::SocketAddr,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail, ensure};
use enforcer_common::Transport;
use nix::mount::{MsFlags, mount};

use super::{
    networks::{CLIENT4, CLIENT6, Networks, UPSTREAM4, in_two_networks},
    program::{Program, Server},
    traffic::Tally,
};
use crate::{
    daemon::{Daemon, Place},
    fixture::need_root,
    probe::Outcome,
};

/// `$CGROUP/server` is the server's workload, `$CGROUP/other` another.
const CONFIG: &str = "
registry: {files: [registry/]}
outboundTrafficPolicy: {mode: REGISTRY_ONLY}
workloads:
- {namespace: shop, name: server, cgroup: $CGROUP/server}
- {namespace: shop, name: other, cgroup: $CGROUP/other}
roots: [$CGROUP]
dns: {servers: [198.18.8.53], timeout: 500ms}
";

/// A port of the clients' that is nobody's: what the server must not reach.
const UNREGISTERED: u16 = 9;

/// The networks and the cgroup of one test.
pub struct Site<'a> {
    /// Where the server and its clients are.
    pub networks: &'a Networks,
    daemon: Daemon,
    place: Place,
}

/// Runs `claim` with an enforcer, the test binary `program`, whose registry is `registry` and whose configuration has
/// `more` in it.
///
/// # Errors
/// What `claim` returns, or if the networks cannot be made.
pub fn enforced(
    program: &str,
    (registry, more): (&str, &str),
    claim: impl FnOnce(&mut Site<'_>) -> Result<()> + Send,
) -> Result<()> {
    need_root()?;
    in_two_networks(|networks| {
        let place = Place::new(program, &format!("{CONFIG}{more}"))?;
        place.write("registry.yaml", registry)?;
        for name in ["server", "other"] {
            place.cgroup.child(name)?;
        }
        use_resolver(place.folder.path())?;
        let daemon = place.start(&["--ephemeral"])?;
        let mut site = Site {
            networks,
            daemon,
            place,
        };
        claim(&mut site)
    })
}

/// Has programs ask the resolver that is configured, as pods do; nobody answers there. Seen in this thread's mounts alone.
fn use_resolver(folder: &Path) -> Result<()> {
    let Ok(used) = fs::canonicalize("/etc/resolv.conf") else {
        return Ok(());
    };
    let ours = folder.join("resolv.conf");
    fs::write(&ours, format!("nameserver {UPSTREAM4}\n"))?;
    fs::set_permissions(&ours, fs::Permissions::from_mode(0o644))?;
    mount(Some(&ours), &used, None::<&str>, MsFlags::MS_BIND, None::<&str>).context("choosing the resolver")
}

impl Site<'_> {
    /// The cgroup of the server.
    pub fn cgroup(&self) -> PathBuf {
        self.place.cgroup.folder().join("server")
    }

    /// The cgroup of another workload.
    pub fn other_cgroup(&self) -> PathBuf {
        self.place.cgroup.folder().join("other")
    }

    /// A folder for the server.
    pub fn folder(&self) -> &Path {
        self.place.folder.path()
    }

    /// Writes a file into the server's folder, and says where it is.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn write(&self, name: &str, text: impl AsRef<[u8]>) -> Result<String> {
        let path = self.folder().join(name);
        fs::write(&path, text).with_context(|| format!("writing {}", path.display()))?;
        Ok(path.display().to_string())
    }

    /// Starts a server program in its cgroup.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn start(&self, program: &Program, arguments: &[&str]) -> Result<Server> {
        program.start(&self.cgroup(), &self.folder().join("server.log"), arguments)
    }

    /// Claims that all requests were answered, that the server was refused nothing meanwhile, and that it was enforced:
    /// its clients' addresses are refused to it on a port from which nothing came.
    ///
    /// # Errors
    /// Says which of these is not so.
    pub fn judge(&mut self, tally: &Tally) -> Result<()> {
        let refused = self.refusals()?;
        println!("{tally}, {} refused", refused.len());
        ensure!(
            tally.is_whole() && refused.is_empty(),
            "{tally}\nrefused under enforcement: {}\n{}",
            refused.len(),
            refused.join("\n")
        );
        Ok(())
    }

    /// What has been refused to the server; none of it unseen, since what it is refused in the end is told of last.
    ///
    /// # Errors
    /// If nothing is refused to it in the end.
    pub fn refusals(&mut self) -> Result<Vec<String>> {
        let mut meant = Vec::new();
        for address in [
            SocketAddr::from((CLIENT4, UNREGISTERED)),
            (CLIENT6, UNREGISTERED).into(),
        ] {
            for transport in [Transport::Tcp, Transport::Udp] {
                let outcome = self.place.probe("server")?.call(transport, address)?;
                if outcome != Outcome::Refused(libc::EPERM) {
                    bail!("the server is not enforced: {transport:?} to {address} is {outcome:?}");
                }
                let word = if transport == Transport::Tcp { "tcp" } else { "udp" };
                meant.push(format!("-> {word} {address}:"));
                self.daemon.line(&["denied", &meant[meant.len() - 1]])?;
            }
        }
        self.daemon.lines();
        let denied = self
            .daemon
            .seen
            .iter()
            .filter(|line| line.contains(" WARN denied "));
        let is_meant = |line: &&String| meant.iter().any(|words| line.contains(words));
        Ok(denied.filter(|line| !is_meant(line)).cloned().collect())
    }
}
