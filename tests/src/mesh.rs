//! Pods with a proxy, as Istio makes them, on a real node: Envoy with what istiod would tell it, and the redirection of
//! Istio's init container.
//!
//! ```text
//! redirect (what the init container does) -.
//! bootstrap (what istiod tells Envoy) ------> injected (pods) <- endpoints (what istiod tells it of a Service's endpoints)
//! stage (a node, and what is asked of its pods) -> shop (servers, and applications that call them)
//! load (what an application asks meanwhile)
//! ```
//!
//! **Architecture Invariant:** what is proven here is what the kernel does with Envoy's calls. No part of Istio runs.

mod bootstrap;
mod endpoints;
mod injected;
pub mod load;
mod redirect;
pub mod shop;
mod stage;

use std::{env, path::PathBuf};

use anyhow::{Result, ensure};

pub use bootstrap::{Bootstrap, Upstream};
pub use endpoints::Follower;
pub use injected::{Kit, Start};
pub use load::Tally;
pub use redirect::Capture;
pub use stage::Stage;

/// Where Envoy's binary is.
const ENVOY: &str = "ENFORCER_ENVOY";

/// Of a run in which there has to be one.
const REQUIRED: &str = "REAL_ENVOY_REQUIRED";

/// The user as which Istio's proxy runs, and its group.
pub(crate) const PROXY: u32 = 1337;

/// Envoy's binary. None, after a line that says why, where there is none.
///
/// # Errors
/// If there has to be one.
pub fn envoy() -> Result<Option<PathBuf>> {
    let envoy = envoy_path();
    if envoy.is_none() {
        ensure!(
            env::var_os(REQUIRED).is_none(),
            "{REQUIRED} is set, and {ENVOY} names no Envoy"
        );
        println!("SKIPPED: no Envoy: run `cargo xtask test --kubernetes`");
    }
    Ok(envoy)
}

/// Envoy's binary, if there is one.
pub fn envoy_path() -> Option<PathBuf> {
    env::var_os(ENVOY).map(PathBuf::from)
}
