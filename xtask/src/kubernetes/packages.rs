//! What this machine itself has to have: programs that no service belongs to, installed as `setup` installs others.

use anyhow::{Result, ensure};

use crate::{apt, out::say, process::find, programs::Program};

/// What a node runs.
pub(super) static RUNNING: [Program; 6] = [
    program("iptables", "iptables", "kube-proxy's rules on the node"),
    program("conntrack", "conntrack", "kube-proxy's connections on the node"),
    program("ip", "iproute2", "the node's network"),
    program("pkill", "procps", "ends components of the node in tests"),
    program("setpriv", "util-linux", "ends the node with what has started it"),
    program("timeout", "coreutils", "ends an API server that was forgotten"),
];

/// What building needs.
pub(super) static BUILDING: [Program; 1] = [program(
    "dpkg-source",
    "dpkg-dev",
    "unpacks the source of Kubernetes",
)];

const fn program(name: &'static str, package: &'static str, why: &'static str) -> Program {
    Program {
        name,
        package,
        why,
        is_there: |program| find(program.name).is_some(),
    }
}

/// Installs what is missing, after saying what and why.
pub(super) fn install(programs: &[Program]) -> Result<()> {
    let missing: Vec<_> = programs.iter().filter(|program| !program.is_there()).collect();
    if missing.is_empty() {
        return Ok(());
    }
    say!("kubernetes: missing on this machine, installed by apt:");
    for program in &missing {
        say!("  {} ({}): {}", program.name, program.package, program.why);
    }
    ensure!(
        apt::is_there(),
        "this system has no apt: please install them yourself"
    );
    let packages: Vec<_> = missing.iter().map(|program| program.package.to_owned()).collect();
    apt::install(&packages)
}

/// Fails where something is missing.
///
/// # Errors
/// Names it.
pub(super) fn expect(programs: &[Program]) -> Result<()> {
    let missing = programs.iter().filter(|program| !program.is_there());
    let missing: Vec<_> = missing.map(|program| program.name).collect();
    ensure!(
        missing.is_empty(),
        "{} not found: run `cargo xtask kubernetes build`",
        missing.join(", ")
    );
    Ok(())
}
