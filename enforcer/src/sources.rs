//! The sources of the registry and the workloads.

pub(crate) mod boot;
pub mod cgroups;
pub mod files;
mod heartbeat;
pub mod kube;
mod look;
mod notices;
pub mod pods;

pub use heartbeat::{Heartbeat, Sink, sink};
