//! Resolves hosts repeatedly: the only module that uses the resolver crate.
//!
//! ```text
//! hosts wanted -> core::names (what is due, what is known) -> lookup -> DNS servers
//! registry <- Update::Resolved <-'                         <- system (resolv.conf, hosts)
//! ```
//!
//! **Architecture Invariant:** nothing is decided here. [`enforcer_core::names`] decides when to ask, what to keep
//! and what to drop; this module asks, keeps the time and logs.

mod lookup;
pub(crate) mod memory;
mod records;
mod settings;
mod system;
mod task;
mod wait;

use std::{collections::BTreeSet, net::SocketAddr};

use anyhow::Context;
use enforcer_core::{model::Host, names::HostStatus, registry::Update};
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

pub use settings::Settings;
pub(crate) use system::name_servers;
pub use wait::{AskStatus, wait_for_answers};

/// What the task is connected to.
#[derive(Debug)]
pub struct Ports {
    /// The hosts that are wanted; others are forgotten.
    pub hosts: watch::Receiver<BTreeSet<Host>>,
    /// Hosts whose addresses have changed.
    pub updates: mpsc::Sender<Update>,
    /// The DNS servers in use, initially from [`resolvers`]: updated when the system's change.
    pub resolvers: watch::Sender<Vec<SocketAddr>>,
    /// Requests for the status of each host.
    pub status: mpsc::Receiver<oneshot::Sender<Vec<HostStatus>>>,
}

/// Keeps every wanted host resolved until `cancel`. Ends early, with an error, only if the registry is gone.
///
/// # Errors
/// The system's resolvers cannot be read at the start, or nobody takes updates or gives hosts any more.
pub async fn run(settings: Settings, ports: Ports, cancel: CancellationToken) -> anyhow::Result<()> {
    let mut task = task::Task::new(settings, ports)?;
    let ended = tokio::select! {
        () = cancel.cancelled() => Ok(()),
        ended = task.run() => ended,
    };
    task.save();
    ended
}

/// The DNS servers in use at first: the configured ones, else the system's; the local machine if its file names none
/// or does not exist, like the C library. Never empty.
///
/// # Errors
/// The system's file exists and cannot be read.
pub fn resolvers(settings: &Settings) -> anyhow::Result<Vec<SocketAddr>> {
    if !settings.servers.is_empty() {
        let mut servers = Vec::new();
        for server in &settings.servers {
            if !servers.contains(server) {
                servers.push(*server);
            }
        }
        return Ok(servers);
    }
    let path = &settings.resolv_conf;
    let text = match system::read(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
        read => read.with_context(|| format!("reading the system's DNS servers from {}", path.display()))?,
    };
    let mut servers = system::name_servers(&text);
    if servers.is_empty() {
        tracing::warn!(file = %path.display(), server = %system::LOCAL, "no DNS server is named, asking the local one");
        servers.push(system::LOCAL);
    }
    Ok(servers)
}

/// The DNS servers that workloads may be given: those that are asked, and behind a stub those that it asks.
pub fn in_use(asked: &[SocketAddr], settings: &Settings) -> Vec<SocketAddr> {
    let mut servers = asked.to_vec();
    let is_stub = |server: &SocketAddr| system::STUBS.contains(&server.ip());
    if settings.servers.is_empty() && asked.iter().any(is_stub) {
        // Without the file, the stub is all that there is.
        let upstreams = system::read(&settings.upstreams).unwrap_or_default();
        let upstreams = system::name_servers(&upstreams);
        servers.extend(upstreams.into_iter().filter(|server| !asked.contains(server)));
    }
    servers
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(servers: &[&str], resolv_conf: &std::path::Path) -> Vec<String> {
        let settings = Settings {
            servers: servers.iter().map(|server| server.parse().unwrap()).collect(),
            resolv_conf: resolv_conf.to_owned(),
            ..Settings::default()
        };
        let resolvers = resolvers(&settings).unwrap();
        resolvers.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn configured_servers_come_before_the_systems_and_those_before_the_local_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("resolv.conf");
        assert_eq!(of(&[], &path), ["127.0.0.1:53"], "no file");
        std::fs::write(&path, "search lan\n").unwrap();
        assert_eq!(of(&[], &path), ["127.0.0.1:53"], "nobody named");
        std::fs::write(&path, "nameserver 192.0.2.1\nnameserver ::1\n").unwrap();
        assert_eq!(of(&[], &path), ["192.0.2.1:53", "[::1]:53"]);
        assert_eq!(
            of(&["192.0.2.7:5353", "192.0.2.7:5353"], &path),
            ["192.0.2.7:5353"]
        );
    }

    #[test]
    fn servers_behind_the_stub_of_systemd_are_in_use_too() {
        let folder = tempfile::tempdir().unwrap();
        let upstreams = folder.path().join("resolv.conf");
        std::fs::write(&upstreams, "nameserver 192.0.2.1\nnameserver 127.0.0.53\n").unwrap();
        let settings = Settings {
            upstreams,
            ..Settings::default()
        };
        let in_use = |asked: &str| {
            let servers = in_use(&[asked.parse().unwrap()], &settings);
            servers.iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        assert_eq!(in_use("127.0.0.53:53"), ["127.0.0.53:53", "192.0.2.1:53"]);
        assert_eq!(in_use("192.0.2.7:53"), ["192.0.2.7:53"], "there is no stub");
        let settings = Settings {
            upstreams: folder.path().join("none"),
            ..Settings::default()
        };
        assert_eq!(
            super::in_use(&["127.0.0.53:53".parse().unwrap()], &settings).len(),
            1
        );
    }

    #[test]
    fn resolvers_that_cannot_be_read_are_an_error_that_names_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let settings = Settings {
            resolv_conf: folder.path().to_owned(),
            ..Settings::default()
        };
        let error = format!("{:#}", resolvers(&settings).unwrap_err());
        assert!(error.contains(&folder.path().display().to_string()), "{error}");
    }
}
