//! A registry of a size, for one workload or many, and an enforcer that follows it.

use std::{
    fmt::Write as _,
    fs,
    net::Ipv4Addr,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};

use super::Setting;
use crate::daemon::{Daemon, PATIENCE, Place};

/// How many entries a file has, as teams that keep theirs together write them.
const IN_A_FILE: u32 = 500;

/// How many namespaces there are.
const NAMESPACES: u32 = 100;

/// The port of every entry.
pub(super) const PORT: u16 = 443;

/// How often a workload tries: less often than an event costs, so that the enforcer is not busy with refusals.
const GLANCE: Duration = Duration::from_micros(200);

/// The address of the entry of a number.
pub(super) fn address(number: u32) -> Ipv4Addr {
    Ipv4Addr::from_bits(0x0b00_0000 + number)
}

/// Where that entry is reached.
pub(super) fn destination(number: u32) -> String {
    format!("{}:{PORT}", address(number))
}

/// The ServiceEntry of a number, as text of a file.
pub(super) fn entry(number: u32) -> String {
    format!(
        "---\napiVersion: networking.istio.io/v1\nkind: ServiceEntry\n\
         metadata:\n  name: service-{number}\n  namespace: ns-{}\n\
         spec:\n  hosts: [service-{number}.example.com]\n  addresses: [{}]\n  location: MESH_EXTERNAL\n  \
         resolution: NONE\n  ports:\n  - {{number: {PORT}, name: tls, protocol: TLS}}\n",
        number % NAMESPACES,
        address(number)
    )
}

/// A configuration with so many workloads in the namespaces, whose cgroups are `web0`, `web1`...
pub(super) fn configuration(workloads: u32) -> String {
    let mut text = "registry:\n  files: [registry/]\nworkloads:\n".to_owned();
    for number in 0..workloads {
        let namespace = number % NAMESPACES;
        let line =
            format!("- {{namespace: ns-{namespace}, name: web{number}, cgroup: $CGROUP/web{number}}}\n");
        text.push_str(&line);
    }
    text + "dns: {servers: [192.0.2.53], timeout: 500ms}\n"
}

/// A place with so many workloads whose registry has so many entries.
///
/// # Errors
/// If the machine does not let it.
pub(super) fn place(setting: &Setting, workloads: u32, entries: u32) -> Result<Place> {
    let mut place = Place::with_bpffs(&setting.program.to_string_lossy(), &configuration(workloads))?;
    place.enforcer = setting.enforcer.clone();
    let registry = place.folder.path().join("registry");
    for first in (0..entries).step_by(IN_A_FILE as usize) {
        let mut text = String::new();
        for number in first..entries.min(first + IN_A_FILE) {
            write!(text, "{}", entry(number))?;
        }
        fs::write(registry.join(format!("entries-{first}.yaml")), text)?;
    }
    for number in 0..workloads {
        place.cgroup.child(format!("web{number}"))?;
    }
    Ok(place)
}

/// Tries until a socket of the first workload gets there, or does not: how long that took, in milliseconds.
///
/// # Errors
/// If it does not come to that.
pub(super) fn until(place: &mut Place, to: &str, reaches: bool) -> Result<f64> {
    let begin = Instant::now();
    while place.reaches("web0", to)? != reaches {
        ensure!(
            begin.elapsed() < PATIENCE,
            "{to} has not come to {reaches} after {PATIENCE:?}"
        );
        thread::park_timeout(GLANCE);
    }
    Ok(begin.elapsed().as_secs_f64() * 1e3)
}

/// Waits until enforcement is proven: what follows a start is over.
///
/// # Errors
/// If it is not.
pub(super) fn settle(place: &Place, daemon: &mut Daemon) -> Result<()> {
    place.until_status("proof", |status| status.proven)?;
    daemon.lines();
    Ok(())
}

/// The sizes that figures grow over: entries.
pub(super) fn sizes(setting: &Setting) -> &'static [u32] {
    setting
        .size
        .pick(&[10, 1_000, 10_000, 100_000], &[10, 10_000], &[10])
}
