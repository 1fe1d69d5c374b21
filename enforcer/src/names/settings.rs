//! Which servers to ask, and the timeouts.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use enforcer_core::names::Pacing;

/// How names are resolved.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The servers to ask, in this order; the system's resolvers if empty.
    pub servers: Vec<SocketAddr>,
    /// The system's resolver configuration; changes are followed while the daemon runs.
    pub resolv_conf: PathBuf,
    /// Whom systemd-resolved asks, in the same form. Where its stub is among the system's resolvers, containers are given
    /// these.
    pub upstreams: PathBuf,
    /// A file whose addresses are allowed beside those that resolvers give, because applications read it too. Used
    /// only with the system's resolvers: a configuration that names servers means those alone. A container has a
    /// hosts file of its own, which is not this one.
    pub hosts_file: Option<PathBuf>,
    /// Where addresses are kept for the next start; None keeps none.
    pub memory: Option<PathBuf>,
    /// How long one server may take for one question: 2 s, which includes a retransmission after packet loss.
    pub timeout: Duration,
    /// The time without an answer after which the next server is asked too: 500 ms. The first question stays open.
    pub patience: Duration,
    /// The most questions in flight: 64.
    pub in_flight: usize,
    /// When to ask again.
    pub pacing: Pacing,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            servers: Vec::new(),
            resolv_conf: "/etc/resolv.conf".into(),
            upstreams: "/run/systemd/resolve/resolv.conf".into(),
            hosts_file: Some("/etc/hosts".into()),
            memory: None,
            timeout: Duration::from_secs(2),
            patience: Duration::from_millis(500),
            in_flight: 64,
            pacing: Pacing::default(),
        }
    }
}

/// The port of DNS.
pub(super) const PORT: u16 = 53;
