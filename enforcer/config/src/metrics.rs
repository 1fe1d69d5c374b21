//! The listener for what scrapes metrics.

use std::net::SocketAddr;

use super::{error::Findings, raw::RawMetrics};

/// The listener for what scrapes metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Metrics {
    /// Where it listens.
    pub listen: SocketAddr,
}

/// None without an address: the section alone starts nothing.
pub(super) fn metrics(raw: &RawMetrics, findings: &mut Findings) -> Option<Metrics> {
    let listen = findings.read("metrics.listen", raw.listen.as_ref()?, |text: &String| {
        text.parse().map_err(|_| {
            format!("{text:?} is no address with a port, such as 127.0.0.1:9967 or \"[::]:9967\" (all of the machine)")
        })
    })?;
    Some(Metrics { listen })
}
