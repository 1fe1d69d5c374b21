//! Ordinary server programs in an enforced cgroup: nobody has registered their clients, and all are served.
//!
//! ```text
//! networks (two, with a cable) -> site (an enforcer, a server's cgroup, what was refused) <- program (real servers)
//!                                   `- traffic (what clients ask, and what came of it)
//! udp, quic, accepted (servers that this binary is: `process`) -> sys
//! ```
//!
//! Those that this binary is need no other program, so that a kernel of the matrix has them too.

pub mod accepted;
pub mod dns;
pub mod networks;
mod process;
pub mod program;
pub mod quic;
pub mod site;
mod sys;
pub mod traffic;
pub mod udp;

use std::{ffi::OsString, path::Path};

use anyhow::{Context as _, Result, bail};

pub use process::ARGUMENT;

/// A server's main: `KIND CGROUP ...`.
///
/// # Errors
/// If the arguments are none, or the server ends.
pub fn main(arguments: impl Iterator<Item = OsString>) -> Result<()> {
    let words: Vec<_> = arguments
        .map(|word| word.to_string_lossy().into_owned())
        .collect();
    let program = std::env::current_exe().context("finding this program's own path")?;
    let [kind, cgroup, rest @ ..] = words.as_slice() else {
        bail!("usage: {ARGUMENT} KIND CGROUP ...");
    };
    let (cgroup, first) = (Path::new(cgroup), rest.first().map(String::as_str));
    match kind.as_str() {
        "udp" => udp::main(cgroup, first.unwrap_or_default()),
        "quic" => quic::main(cgroup, process::address(first)?),
        "accepted" => accepted::main(&program, cgroup, rest),
        other => bail!("no kind of server is called {other}"),
    }
}
