//! Real clients that resolve names by real name servers and connect at once, while the daemon runs, is stopped, is dead.
//!
//! ```text
//! names (each with addresses of its own) <- server (dnsmasq, unbound) <- this module -> client (a process in the cgroup)
//!                                                                                        `- programs/*, own
//! ```
//!
//! The daemon's own resolver answers nothing, so that every address that is allowed was learned in the kernel.

mod client;
mod names;
mod own;
mod server;

use std::{
    fmt,
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use nix::sys::signal::Signal;

pub use own::{ARGUMENT, main};

use self::{
    client::{Client, Running},
    names::{CONTROL, Name},
};
use crate::{
    daemon::{Daemon, Place},
    fixture::TestCgroup,
    servers::networks::{Networks, in_two_networks},
};

/// Nobody listens where the daemon asks.
const CONFIG: &str = "
registry: {files: [registry/]}
outboundTrafficPolicy: {mode: REGISTRY_ONLY}
workloads:
- {namespace: shop, name: client, cgroup: $CGROUP/client}
dns:
  servers: ['198.18.8.2:5399']
  trustedResolvers: [198.18.8.53, 'fd78::53', 198.18.8.54, 'fd78::54']
  timeout: 500ms
";

/// How the daemon is.
const STATES: [State; 3] = [State::Running, State::Stopped, State::Killed];

/// How the daemon is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum State {
    /// At work.
    Running,
    /// Stopped by a signal.
    Stopped,
    /// Dead; what is in force is pinned.
    Killed,
}

/// What one client was answered and refused by one server, at one of its addresses, in one state of the daemon.
#[derive(Clone, Debug)]
pub struct Batch {
    /// The daemon's.
    pub state: State,
    /// The server's name and address.
    pub server: String,
    /// The client's name.
    pub client: String,
    /// Names that it asked for, each with an address of both families.
    pub names: u32,
    /// Names of which it was refused an address.
    pub refused: Vec<String>,
    /// What else went wrong, by the name.
    pub failed: Vec<String>,
    /// How long all took.
    pub time: Duration,
}

/// Has each client ask each server for its part of `total` names, or some more, with the test binary `program`.
///
/// # Errors
/// If the ground cannot be made, or a client ends.
pub fn run(program: &str, total: u32) -> Result<Vec<Batch>> {
    in_two_networks(|networks| {
        let mut place = Place::with_bpffs(program, CONFIG)?;
        let clients = client::all(Path::new(program), place.folder.path())?;
        let parts = STATES.len() * 2 * server::KINDS.len() * clients.len();
        let part = total.div_ceil(u32::try_from(parts)?);
        let total = part * u32::try_from(parts)?;
        place.write("names.yaml", &names::registry(total))?;
        lay_ways(networks)?;
        let outside = TestCgroup::new()?;
        let cgroup = place.cgroup.child("client")?;
        let folder = place.folder.path().to_owned();
        let mut daemon = place.start(&[])?;
        let (mut servers, mut sessions) = (Vec::new(), Vec::new());
        for kind in &server::KINDS {
            let Some(server) = kind.start(networks, (&outside, &folder), total)? else {
                continue;
            };
            servers.push(server);
            for address in kind.addresses() {
                for client in &clients {
                    let running = client.start(&cgroup, (&folder, &address.to_string()))?;
                    let server = format!("{} at {address}", kind.name);
                    sessions.push(Session {
                        server,
                        client,
                        running,
                    });
                }
            }
        }
        let (mut numbers, mut batches) = ((1..).map(Name), Vec::new());
        for state in STATES {
            state.enter(&mut daemon)?;
            for session in &mut sessions {
                let names = numbers.by_ref().take(part as usize);
                let before = networks.accepted_at_client()?;
                let mut batch = session.run(state, names)?;
                batch.check_transport(session.client, networks.accepted_at_client()? - before);
                batches.push(batch);
            }
        }
        drop(sessions);
        explain(&mut daemon, &batches);
        place.stop_resolving()?;
        Ok(batches)
    })
}

/// Gives the servers their addresses, and leads all other ones over the cable, where nobody has them.
fn lay_ways(networks: &Networks) -> Result<()> {
    for kind in &server::KINDS {
        for address in kind.addresses() {
            if address != crate::servers::networks::UPSTREAM4 {
                networks.add_at_client(address)?;
            }
        }
    }
    networks.lead_to_client()
}

/// A client that runs, and the server that it asks.
struct Session<'a> {
    server: String,
    client: &'a Client,
    running: Running,
}

impl Session<'_> {
    fn run(&mut self, state: State, names: impl Iterator<Item = Name>) -> Result<Batch> {
        let mut batch = Batch {
            state,
            server: self.server.clone(),
            client: self.client.name.clone(),
            names: 0,
            refused: Vec::new(),
            failed: Vec::new(),
            time: Duration::ZERO,
        };
        let what = format!("{} with {}, daemon {state:?}", batch.client, batch.server);
        let control = self.running.ask(CONTROL).with_context(|| what.clone())?;
        if control != "2 2" {
            bail!(
                "{what}: of two addresses that nobody has registered both are to be refused, not {control:?}"
            );
        }
        let start = Instant::now();
        for name in names {
            let host = name.host();
            let said = self.running.ask(&host).with_context(|| what.clone())?;
            batch.names += 1;
            match said.as_str() {
                "2 0" => {}
                "2 1" | "2 2" => batch.refused.push(host),
                _ => batch.failed.push(format!("{host}: {said}")),
            }
        }
        batch.time = start.elapsed();
        Ok(batch)
    }
}

impl State {
    fn enter(self, daemon: &mut Daemon) -> Result<()> {
        match self {
            Self::Running => Ok(()),
            Self::Stopped => daemon.hold(),
            Self::Killed => daemon.end(Signal::SIGKILL).map(drop),
        }
    }
}

/// Prints what the daemon has said of the names that were refused.
fn explain(daemon: &mut Daemon, batches: &[Batch]) {
    let lines = daemon.lines();
    for host in batches.iter().flat_map(|batch| &batch.refused) {
        let told = lines.iter().filter(|line| line.contains(host.as_str()));
        told.for_each(|line| println!("{line}"));
    }
}

impl Batch {
    /// Whoever asks over TCP opens a connection for each name at least, and nobody else opens any.
    fn check_transport(&mut self, client: &Client, connections: u64) {
        let is_right = if client.is_by_tcp() {
            connections >= u64::from(self.names)
        } else {
            connections == 0
        };
        if !is_right {
            let names = self.names;
            self.failed
                .push(format!("{connections} TCP connections for {names} names"));
        }
    }
}

impl fmt::Display for Batch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rate = f64::from(self.names) / self.time.as_secs_f64().max(f64::EPSILON);
        write!(
            f,
            "{:?}: {} by {}: {} names, {} refused, {} failed, {rate:.0} names/s",
            self.state,
            self.client,
            self.server,
            self.names,
            self.refused.len(),
            self.failed.len()
        )
    }
}
