//! What somebody who watches is told of each call, and of all of them.

use std::sync::Arc;

use enforcer_core::observed::{Observation, Seen};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::sync::broadcast;

/// A call, or several to one destination within a moment. As JSON it is a line of `enforcer monitor -o json`, with the
/// fields of the log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Watched {
    /// When it was told.
    pub time: Timestamp,
    /// What became of it.
    pub verdict: Seen,
    /// `namespace/name`, or what is known of an unknown one.
    pub workload: String,
    /// Its namespace; None of an unknown one.
    pub namespace: Option<String>,
    /// The process's name; None where calls are counted, which allowed ones are.
    pub process: Option<String>,
    /// Its id in the initial namespace.
    pub pid: Option<u32>,
    /// Its user in the initial namespace.
    pub uid: Option<u32>,
    /// `tcp`, `udp`, the number of another protocol, or the socket or option that was refused.
    pub protocol: String,
    /// The destination's address.
    pub address: String,
    /// Its port.
    pub port: u16,
    /// The name that the workload asked for, else a registered one of the address.
    pub host: Option<String>,
    /// The object that allows it, or that comes closest.
    pub object: Option<String>,
    /// Why.
    pub reason: Option<String>,
    /// What would allow it.
    pub suggestion: Option<String>,
    /// How many calls it stands for.
    pub count: u64,
}

/// What a watcher gets.
#[derive(Debug)]
pub struct Watch {
    /// What was told last, the newest last.
    pub recent: Vec<Arc<Watched>>,
    /// What is told from now on.
    pub live: broadcast::Receiver<Arc<Watched>>,
}

/// A line that a watcher reads.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum WatchLine {
    /// A call.
    Call(Arc<Watched>),
    /// How many lines the watcher has missed, because it did not read.
    Missed(u64),
    /// What was told before has been sent; what follows happens now.
    Now,
}

/// All that was observed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Observed {
    /// In the order of workloads and destinations.
    pub observations: Vec<Observation>,
    /// How many calls are in none of them: more destinations than are kept, or than are counted at once.
    pub dropped: u64,
}
