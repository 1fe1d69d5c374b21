//! A real Prometheus beside a daemon: what it is given of `deploy/monitoring`, and what it answers.
//!
//! ```text
//! rules (the alerts, with seconds for minutes) -> server (Prometheus, which scrapes the daemon) -> firing, query
//! panels (the queries of the dashboard) ------------------------------------------------------------------^
//! ```

mod panels;
mod rules;
mod server;

pub use panels::{Panel, panels};
pub use rules::{alerts, hastened};
pub use server::{Prometheus, find};

/// What operators apply.
const MONITORING: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/monitoring");
