//! What workloads were seen to reach, or to be refused: what `enforcer suggest` is made of.
//!
//! An observation is all calls of one workload to one destination with one verdict. It never decides anything.

mod table;

use std::{fmt, net::IpAddr};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

pub use table::Observations;

use crate::model::{Host, Namespace, Transport};

/// One workload, one destination, one verdict. As JSON it is the record that scripts read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Observation {
    /// The workload's namespace.
    pub namespace: String,
    /// Its name, as in messages.
    pub workload: String,
    /// The name that it asked for, else a registered name of the address; None: only the address is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// The addresses that were dialled, the last one last: one without a name, else at most [`Observation::ADDRESSES`].
    pub addresses: Vec<IpAddr>,
    /// The port that was dialled.
    pub port: u16,
    /// What carried it.
    pub transport: Carrier,
    /// What became of it.
    pub verdict: Seen,
    /// Whether all of it was `connect()` of datagram sockets, which sends nothing: resolver libraries sort addresses so.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub probe: bool,
    /// The object that allows it, or that comes closest: `ServiceEntry frontend/db`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub object: Option<String>,
    /// Why, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// What would allow it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suggestion: Option<String>,
    /// When it was seen first.
    pub first: Timestamp,
    /// When it was seen last.
    pub last: Timestamp,
    /// How often.
    pub count: u64,
}

impl Observation {
    /// How many addresses of a host are kept.
    pub const ADDRESSES: usize = 16;

    /// The namespace as the registry has it.
    pub fn namespace(&self) -> Namespace {
        Namespace::new(&self.namespace)
    }

    /// The name as the registry has it.
    pub fn host(&self) -> Option<Host> {
        self.host.as_deref().map(Host::new)
    }
}

/// `frontend/web -> tcp db.example.com:5432`
impl fmt::Display for Observation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            namespace,
            workload,
            port,
            ..
        } = self;
        write!(f, "{namespace}/{workload} -> {} ", self.transport)?;
        match (&self.host, self.addresses.last()) {
            (Some(host), _) => write!(f, "{host}:{port}"),
            (None, Some(address)) => write!(f, "{}", std::net::SocketAddr::new(*address, *port)),
            (None, None) => write!(f, ":{port}"),
        }
    }
}

/// What carried a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Carrier {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

impl From<Transport> for Carrier {
    fn from(transport: Transport) -> Self {
        match transport {
            Transport::Tcp => Self::Tcp,
            Transport::Udp => Self::Udp,
        }
    }
}

impl From<Carrier> for Transport {
    fn from(carrier: Carrier) -> Self {
        match carrier {
            Carrier::Tcp => Self::Tcp,
            Carrier::Udp => Self::Udp,
        }
    }
}

impl fmt::Display for Carrier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        })
    }
}

/// What became of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Seen {
    /// A rule allows it.
    Allow,
    /// No rule allows it, and ALLOW_ANY let it through.
    Unregistered,
    /// No rule allows it, and audit let it through.
    Audit,
    /// It was refused.
    Deny,
}

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Allow => "allow",
            Self::Unregistered => "unregistered",
            Self::Audit => "audit",
            Self::Deny => "deny",
        })
    }
}
