//! The status of each source, for people and probes.

use std::{
    fmt,
    time::{Duration, Instant},
};

/// The status of the API server.
#[derive(Clone, Debug, Default)]
pub struct KubeStatus {
    /// One for each collection that is followed, by name.
    pub sources: Vec<SourceStatus>,
    /// Changes that the owner has not received yet.
    pub backlog: usize,
    /// Whether every source has answered at least once, so that absent objects are known to be absent.
    pub is_complete: bool,
}

/// The status of one collection.
#[derive(Clone, Debug)]
pub struct SourceStatus {
    /// `ServiceEntry`, `Pod (this node)`.
    pub name: String,
    /// Whether it is followed.
    pub state: SourceState,
    /// Objects that are in force.
    pub objects: usize,
    /// Objects whose present version is invalid, whether or not an older one is in force.
    pub rejected: usize,
    /// When the server last sent something about it; None means never.
    pub contact: Option<Instant>,
    /// Why it is not followed.
    pub error: Option<String>,
}

/// Whether a source is followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SourceState {
    /// Nothing was received yet.
    Starting,
    /// Its changes arrive.
    Following,
    /// It was followed and no longer is: the known state stays in force.
    Away,
    /// The server does not accept our credentials: the known state stays in force.
    Unauthorized,
    /// The server does not serve it.
    Absent,
    /// The server denies access to it; the known state stays in force.
    Forbidden,
}

impl SourceState {
    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Following => "following",
            Self::Away => "away",
            Self::Unauthorized => "unauthorized",
            Self::Absent => "absent",
            Self::Forbidden => "forbidden",
        }
    }
}

impl fmt::Display for SourceState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl SourceStatus {
    pub(super) fn new(name: String) -> Self {
        Self {
            name,
            state: SourceState::Starting,
            objects: 0,
            rejected: 0,
            contact: None,
            error: None,
        }
    }

    /// The greatest age of the known state; None if there is none.
    pub fn age(&self) -> Option<Duration> {
        self.contact.map(|contact| contact.elapsed())
    }
}
