//! Tries every escape: each way to get bytes from an enforced cgroup to a refused destination.
//!
//! ```text
//! suite (outside: attaches, starts a process for each escape, asks the receiver)
//!   |-> arena (namespaces, receiver)
//!   `-> this binary as `escape` (inside: joins the cgroup, tries one escape) -> tcp, udp, kinds, packet, reroute, ...
//! ```
//!
//! Each escape is first tried without enforcement, which shows that it is possible on this machine.

mod answers;
pub(crate) mod arena;
mod discovery;
mod families;
mod forged;
mod kinds;
mod lent;
mod lent_udp;
mod loopback;
mod node_port;
mod packet;
mod page;
mod peer;
mod placement;
mod privileges;
mod reflected;
mod reroute;
mod ring;
mod siblings;
pub(crate) mod stage;
mod suite;
pub(crate) mod sys;
mod tcp;
mod translate;
mod udp;
mod unspecified;

use std::{
    ffi::OsString,
    io::{self, Write as _},
};

use anyhow::{Context as _, Result};

pub use page::page;
pub use privileges::Privileges;
pub use suite::{Manner, Neighbour, Outcome, Report, Row, enforce, opt_in_mistakes, run};

use stage::Stage;

/// Argument with which a test binary tries an escape.
pub const ARGUMENT: &str = "escape";

/// An escape.
struct Escape {
    name: &'static str,
    /// Which program has to close it.
    closed_by: ClosedBy,
    begins: Begins,
    evidence: Evidence,
    attempt: fn(&Stage) -> io::Result<()>,
}

/// What closes an escape.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ClosedBy {
    /// The rules: `connect` and `sendmsg`.
    Rules,
    /// The program of this name refuses the call.
    Call(&'static str),
    /// The guard drops the packets, of which the call may know nothing.
    Guard,
    /// The socket is ended when enforcement begins.
    Revocation,
    /// Nothing of this, and why.
    Nothing(&'static str),
    /// It is none: it has to work.
    Allowed,
}

/// Where an escape's process begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Begins {
    /// In the enforced cgroup.
    Inside,
    /// Outside; it joins by itself.
    Outside,
    /// In the cgroup before it is enforced; it waits by itself.
    Before,
}

/// What shows that an escape is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Evidence {
    /// Something of it is received.
    Arrival,
    /// The attempt succeeds.
    Success,
}

const fn escape(name: &'static str, closed_by: ClosedBy, attempt: fn(&Stage) -> io::Result<()>) -> Escape {
    Escape {
        name,
        closed_by,
        begins: Begins::Inside,
        evidence: Evidence::Arrival,
        attempt,
    }
}

fn escapes() -> Vec<&'static Escape> {
    [
        tcp::ESCAPES,
        udp::ESCAPES,
        ring::ESCAPES,
        kinds::ESCAPES,
        packet::ESCAPES,
        reroute::ESCAPES,
        lent::ESCAPES,
        placement::ESCAPES,
        unspecified::ESCAPES,
        loopback::ESCAPES,
        lent_udp::ESCAPES,
        discovery::ESCAPES,
        answers::ESCAPES,
        forged::ESCAPES,
        reflected::ESCAPES,
        siblings::ESCAPES,
        node_port::ESCAPES,
        families::ESCAPES,
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// Whether an escape is only there where the kernel has a family of sockets.
pub(crate) fn is_family(escape: &str) -> bool {
    families::ESCAPES.iter().any(|family| family.name == escape)
}

/// Whether an escape is one that a program of BPF LSM has to close, or has to leave alone.
pub(crate) fn is_for_lsm(escape: &str) -> bool {
    let mut escapes = escapes().into_iter();
    escapes
        .find(|other| other.name == escape)
        .is_some_and(|escape| match escape.closed_by {
            ClosedBy::Call(program) => program.starts_with("lsm_"),
            ClosedBy::Allowed => true,
            _ => false,
        })
}

/// The process of one attempt: `ESCAPE CGROUP PORT [ROLE]`. It says `ready`, waits for `go`, and says `ok` or the number
/// of the errno. With a role it only says the last.
///
/// # Errors
/// If the arguments are none, or the cgroup cannot be joined.
pub fn main(arguments: impl Iterator<Item = OsString>) -> Result<()> {
    let words: Vec<_> = arguments
        .map(|word| word.to_string_lossy().into_owned())
        .collect();
    let (name, cgroup, port, role) = match words.as_slice() {
        [name, cgroup, port] => (name, cgroup, port, ""),
        [name, cgroup, port, role] => (name, cgroup, port, role.as_str()),
        _ => anyhow::bail!("usage: escape ESCAPE CGROUP PORT [ROLE]"),
    };
    let escape = escapes()
        .into_iter()
        .find(|escape| escape.name == *name)
        .context("no such escape")?;
    let stage = Stage {
        escape: name.clone(),
        cgroup: cgroup.into(),
        port: port.parse()?,
        privileges: std::env::var(privileges::VARIABLE)
            .ok()
            .and_then(|word| Privileges::from_word(&word))
            .unwrap_or_default(),
        role: role.to_owned(),
    };
    if role.is_empty() {
        if escape.begins != Begins::Outside {
            stage
                .join_as_it_is()
                .with_context(|| format!("joining {cgroup}"))?;
        }
        match escape.begins {
            Begins::Inside => stage.ready()?,
            Begins::Outside => stage.told()?,
            Begins::Before => {}
        }
    }
    let word = word(&(escape.attempt)(&stage));
    match writeln!(io::stdout(), "{word}") {
        // Nobody waits for what a part of an attempt has come to once the attempt has failed.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe && !role.is_empty() => Ok(()),
        other => Ok(other?),
    }
}

fn word(result: &io::Result<()>) -> String {
    match result {
        Ok(()) => "ok".to_owned(),
        Err(error) => error
            .raw_os_error()
            .map_or_else(|| error.to_string(), |errno| errno.to_string()),
    }
}

/// What [`main`] said.
fn answer(line: &str) -> io::Result<()> {
    match (line, line.parse()) {
        ("ok", _) => Ok(()),
        (_, Ok(errno)) => Err(io::Error::from_raw_os_error(errno)),
        (other, _) => Err(io::Error::other(other.to_owned())),
    }
}
