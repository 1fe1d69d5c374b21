//! Where the registry and the workloads come from.

pub mod cgroups;
pub mod files;
mod heard;
pub mod kube;
mod look;
mod notices;
pub mod pods;

pub use heard::{Heard, Sink, sink};
