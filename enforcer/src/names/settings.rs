//! Whom to ask, and how patiently.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use enforcer_core::names::Pacing;

/// How names are resolved.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Whom to ask, in this order; the system's resolvers if there are none here.
    pub servers: Vec<SocketAddr>,
    /// Where the system keeps its resolvers; followed while the daemon runs.
    pub resolv_conf: PathBuf,
    /// A file whose addresses are allowed beside those that resolvers give, because applications read it too. Only
    /// in use with the system's resolvers: whoever names servers wants those. A container has a hosts file of its
    /// own, which is not this one.
    pub hosts_file: Option<PathBuf>,
    /// Where addresses are kept for the next start; None keeps none.
    pub memory: Option<PathBuf>,
    /// How long one server may take for one question: 2 s, in which a lost packet is sent anew.
    pub timeout: Duration,
    /// After how long without an answer the next server is asked as well: 500 ms. The first goes on meanwhile.
    pub patience: Duration,
    /// The most questions on their way at one time: 64.
    pub in_flight: usize,
    /// When to ask again.
    pub pacing: Pacing,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            servers: Vec::new(),
            resolv_conf: "/etc/resolv.conf".into(),
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
