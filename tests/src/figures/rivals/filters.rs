//! Filters of packets, each in the form that costs it least: a set of nftables, and one rule of iptables for an address.

use std::{
    fmt::Write as _,
    io::Write as _,
    path::Path,
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, bail, ensure};
use enforcer::datapath::CgroupMount;

use super::{ours::others, servers::PORTS};
use crate::stream::TO;

/// Where nft looks for cgroups.
const CGROUPS: &str = "/sys/fs/cgroup";

/// A set of addresses and ports, for sockets of a cgroup. Established connections are looked up as well: to have them
/// tracked costs more.
pub(super) fn nftables(cgroup: &Path, rules: u32) -> Result<()> {
    let mount = CgroupMount::find()?;
    let level = cgroup.components().count() - 1;
    let below = mount
        .path()
        .strip_prefix(CGROUPS)
        .context("nft looks for cgroups elsewhere")?;
    let path = below.join(cgroup.strip_prefix("/")?);
    let path = path.display();
    let mut text = String::from(
        "table ip enforced {\n set allowed {\n type ipv4_addr . inet_proto . inet_service\n elements = {\n",
    );
    for port in 0..PORTS {
        for protocol in ["tcp", "udp"] {
            writeln!(text, "{} . {protocol} . {},", TO.ip(), TO.port() + port)?;
        }
    }
    for address in others(rules - 1) {
        writeln!(text, "{address} . tcp . 443,")?;
    }
    write!(
        text,
        "}}\n }}\n chain out {{\n type filter hook output priority 0; policy accept;\n \
         socket cgroupv2 level {level} \"{path}\" ip daddr . meta l4proto . th dport @allowed accept\n \
         socket cgroupv2 level {level} \"{path}\" reject\n }}\n}}\n"
    )?;
    feed(Command::new("nft").args(["-f", "-"]), &text)
}

/// A rule for each address, of which half stand before the one that is used, for packets that begin a connection.
pub(super) fn iptables(cgroup: &Path, rules: u32) -> Result<()> {
    let mut chain = String::new();
    let middle = rules / 2;
    for (index, address) in (0..).zip(others(rules)) {
        if index == middle {
            writeln!(chain, "-A ALLOWED -d {}/32 -j ACCEPT", TO.ip())?;
        }
        writeln!(chain, "-A ALLOWED -d {address}/32 -j ACCEPT")?;
    }
    restore(
        cgroup,
        ":ALLOWED - [0:0]\n",
        "ALLOWED",
        &format!("{chain}-A ALLOWED -j REJECT\n"),
    )
}

/// Hands every packet that begins a connection to a process.
pub(super) fn queue(cgroup: &Path) -> Result<()> {
    restore(cgroup, "", "NFQUEUE --queue-num 0", "")
}

fn restore(cgroup: &Path, chains: &str, target: &str, rules: &str) -> Result<()> {
    let text = format!(
        "*filter\n{chains}-A OUTPUT -m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT\n\
         -A OUTPUT -m cgroup --path {} -j {target}\n{rules}COMMIT\n",
        cgroup.display()
    );
    feed(&mut Command::new("iptables-restore"), &text)
}

/// Runs a program with `text` as its input.
fn feed(command: &mut Command, text: &str) -> Result<()> {
    let program = command.get_program().display().to_string();
    let piped = command
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    let mut child = match piped.spawn() {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => bail!("there is no {program}"),
        other => other.with_context(|| format!("starting {program}"))?,
    };
    let written = child
        .stdin
        .take()
        .context("a pipe was asked for")?
        .write_all(text.as_bytes());
    let output = child.wait_with_output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(
        output.status.success(),
        "{program}: {}",
        said.trim().lines().next().unwrap_or_default()
    );
    written.with_context(|| format!("telling {program} its rules"))
}
