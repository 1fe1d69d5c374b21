//! `enforcer sandbox`: one command, contained, with nothing installed and no daemon.
//!
//! ```text
//! supervise -> guard      its own cgroup; takes everything away when the supervisor ends, however it ends
//!          `-> enforcer   the daemon, in the guard's cgroup; what it pins is in mounts that are the sandbox's own
//!          `-> contain    joins the command's cgroup, gives up what would lead out of it, becomes the command
//! ```
//!
//! **Architecture Invariant:** no process of the command runs unenforced at any moment. What enforces is pinned in a bpffs
//! that exists for as long as any process has the sandbox's mounts, which the command has to its end.
//!
//! The parts are separate processes of one thread each (the daemon excepted): namespaces, users and capabilities belong to
//! threads.

mod allow;
mod apart;
mod caller;
mod clean;
mod contain;
mod end;
mod guard;
mod making;
mod mounts;
mod place;
mod report;
mod settings;
mod signals;
mod supervise;

use std::{ffi::OsString, path::PathBuf};

use crate::config::Enforcement;

pub use allow::Allowed;
pub(crate) use apart::map;
pub use caller::{Identity, of_caller};
pub(crate) use contain::contain;
pub(crate) use end::{End, FAILED};
pub(crate) use guard::{guard, settle};
pub(crate) use place::Place;
pub(crate) use supervise::{Outcome, supervise};

/// The hidden subcommand by which the parts are started.
pub(crate) const PART: &str = "sandboxed";

/// What is to be contained, and how.
#[derive(Clone, Debug)]
pub struct Sandbox {
    /// The command and its arguments; not empty.
    pub command: Vec<OsString>,
    /// Whose processes they are.
    pub identity: Identity,
    /// Files and folders of Istio YAML.
    pub registry: Vec<PathBuf>,
    /// What is allowed beside the registry.
    pub allowed: Vec<Allowed>,
    /// The namespace whose view of the registry the command has.
    pub namespace: String,
    /// Whether it is refused anything.
    pub enforcement: Enforcement,
    /// Where the report goes; `-` is standard output.
    pub report: Option<PathBuf>,
    /// The command keeps privileges and sockets that lead out of the sandbox.
    pub privileged: bool,
    /// Refusals are logged when they happen.
    pub verbose: bool,
}
