//! What systemd is told of the configuration, and how enforcement and systemd's units wait for each other.
//!
//! ```text
//! enforcer.yaml -> generator (drop_ins) -> units in slices that stay, each slice closed by a gate
//! daemon: READY=1 -> enforcer-in-force.service -> gates are lifted -> units of workloads start
//! ```

pub mod drop_ins;
pub mod gates;
pub(crate) mod notify;
