//! Two network namespaces with a cable between them, and who listens at its far end.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    net::UdpSocket,
    os::fd::{AsRawFd as _, OwnedFd},
    process::Command,
};

use anyhow::{Context as _, Result, ensure};
use nix::{
    sched::{CloneFlags, CpuSet, sched_setaffinity, setns, unshare},
    sys::{
        socket::{MsgFlags, recv, setsockopt, sockopt},
        time::TimeVal,
    },
    unistd::Pid,
};

use super::{
    stage::{ALLOWED4, ALLOWED6, DEVICE, INNER4, INNER6, LINK6, REFUSED4, REFUSED6},
    sys,
};

/// This thread is in the inner namespace, where the workload lives; what its device sends comes out in the outer one.
pub(super) struct Arena {
    capture: OwnedFd,
    marks: UdpSocket,
    next_mark: u16,
    arrived: BTreeSet<u16>,
}

const OUTER_DEVICE: &str = "outer";
const INNER_MAC: &str = "02:00:00:00:00:01";
const OUTER_MAC: &str = "02:00:00:00:00:02";
const OUTER_MAC_BYTES: [u8; 6] = [2, 0, 0, 0, 0, 2];
/// Numbers below are marks, those above are attempts.
pub(super) const FIRST_ATTEMPT: u16 = 20_000;
const ETH_P_ALL: u16 = 3;
/// How long a mark may take that has to come.
const PATIENCE_SECONDS: i64 = 20;

impl Arena {
    /// Takes this thread to the inner namespace.
    pub(super) fn new() -> Result<Self> {
        // On one processor, frames arrive in the order in which they were sent.
        let mut cpus = CpuSet::new();
        cpus.set(0)?;
        sched_setaffinity(Pid::from_raw(0), &cpus).context("staying on one processor")?;

        let outer = enter_new_network()?;
        let capture = sys::socket(libc::AF_PACKET, libc::SOCK_RAW, i32::from(ETH_P_ALL.to_be()))?;
        setsockopt(
            &capture,
            sockopt::ReceiveTimeout,
            &TimeVal::new(PATIENCE_SECONDS, 0),
        )?;
        setsockopt(&capture, sockopt::RcvBufForce, &(8 << 20))?;
        let inner = enter_new_network()?;
        // Of this namespace alone: who may open ICMP datagram sockets.
        fs::write("/proc/sys/net/ipv4/ping_group_range", "0 2147483647")?;

        let cable = ["link", "add", DEVICE, "address", INNER_MAC, "type", "veth"];
        let peer = ["peer", "name", OUTER_DEVICE, "address", OUTER_MAC];
        ip(&[&cable[..], &peer[..]].concat())?;
        let far = format!("/proc/{}/fd/{}", std::process::id(), outer.as_raw_fd());
        ip(&["link", "set", OUTER_DEVICE, "netns", &far])?;
        raise(DEVICE, &[&INNER4], &[&INNER6, &"fe80::1"])?;
        for to in [REFUSED4, ALLOWED4] {
            neighbour(&to, DEVICE, OUTER_MAC)?;
        }
        for to in [REFUSED6, ALLOWED6, LINK6] {
            neighbour(&to, DEVICE, OUTER_MAC)?;
        }
        ip(&["route", "add", "224.0.0.0/4", "dev", DEVICE])?;
        let marks = UdpSocket::bind((INNER4, 0))?;

        setns(&outer, CloneFlags::CLONE_NEWNET)?;
        raise(
            OUTER_DEVICE,
            &[&REFUSED4, &ALLOWED4],
            &[&REFUSED6, &ALLOWED6, &LINK6],
        )?;
        neighbour(&INNER4, OUTER_DEVICE, INNER_MAC)?;
        neighbour(&INNER6, OUTER_DEVICE, INNER_MAC)?;
        setns(&inner, CloneFlags::CLONE_NEWNET)?;
        Ok(Self {
            capture,
            marks,
            next_mark: 1,
            arrived: BTreeSet::new(),
        })
    }

    /// Whether anything of an attempt has arrived, once all that was sent before this call has.
    pub(super) fn has_arrived(&mut self, attempt: u16) -> Result<bool> {
        self.settle()?;
        Ok(self.arrived.contains(&attempt))
    }

    /// Sends a mark, and takes in whatever arrives before it.
    fn settle(&mut self) -> Result<()> {
        let mark = self.next_mark;
        self.next_mark += 1;
        self.marks
            .send_to(format!("escape-{mark}.").as_bytes(), (REFUSED4, 9))
            .context("sending a mark")?;
        let mut frame = vec![0; 65536];
        while !self.arrived.contains(&mark) {
            let size = recv(self.capture.as_raw_fd(), &mut frame, MsgFlags::empty())
                .context("waiting for the mark to arrive")?;
            self.arrived.extend(attempts(&frame[..size]));
        }
        Ok(())
    }
}

fn enter_new_network() -> Result<File> {
    unshare(CloneFlags::CLONE_NEWNET).context("making a network namespace")?;
    ip(&["link", "set", "lo", "up"])?;
    File::open("/proc/thread-self/ns/net").context("opening the network namespace")
}

type Shown<'a> = &'a dyn std::fmt::Display;

fn raise(device: &str, v4: &[Shown<'_>], v6: &[Shown<'_>]) -> Result<()> {
    ip(&["link", "set", device, "addrgenmode", "none"])?;
    for address in v4 {
        let network = format!("{address}/24");
        ip(&["address", "add", &network, "broadcast", "+", "dev", device])?;
    }
    for address in v6 {
        let network = format!("{address}/64");
        ip(&["-6", "address", "add", &network, "dev", device, "nodad"])?;
    }
    ip(&["link", "set", device, "up"])
}

/// Known from the start, so that no packet waits for an answer.
fn neighbour(to: Shown<'_>, device: &str, mac: &str) -> Result<()> {
    let to = to.to_string();
    ip(&[
        "neighbour",
        "replace",
        &to,
        "lladdr",
        mac,
        "dev",
        device,
        "nud",
        "permanent",
    ])
}

/// The attempts and marks that a frame belongs to: by what it carries, or by its ports.
fn attempts(frame: &[u8]) -> Vec<u16> {
    if frame.get(6..12) == Some(&OUTER_MAC_BYTES) {
        return Vec::new();
    }
    let mut found: Vec<_> = tokens(frame).collect();
    found.extend(
        ports(frame)
            .into_iter()
            .flatten()
            .filter(|port| *port >= FIRST_ATTEMPT),
    );
    found
}

fn tokens(frame: &[u8]) -> impl Iterator<Item = u16> {
    const BEGINNING: &[u8] = b"escape-";
    frame
        .windows(BEGINNING.len())
        .enumerate()
        .filter_map(|(at, window)| {
            if window != BEGINNING {
                return None;
            }
            let rest = &frame[at + BEGINNING.len()..];
            let end = rest.iter().position(|byte| *byte == b'.')?;
            std::str::from_utf8(&rest[..end]).ok()?.parse().ok()
        })
}

/// Source and destination of what has ports.
fn ports(frame: &[u8]) -> Option<[u16; 2]> {
    let ethertype = u16::from_be_bytes([*frame.get(12)?, *frame.get(13)?]);
    let packet = frame.get(14..)?;
    let (mut protocol, mut at) = match ethertype {
        0x0800 => (*packet.get(9)?, usize::from(packet.first()? & 15) * 4),
        0x86dd => (*packet.get(6)?, 40),
        _ => return None,
    };
    // Hop-by-hop options, routing header, destination options.
    while ethertype == 0x86dd && matches!(protocol, 0 | 43 | 60) {
        protocol = *packet.get(at)?;
        at += (usize::from(*packet.get(at + 1)?) + 1) * 8;
    }
    const WITH_PORTS: [u8; 5] = [6, 17, 33, 132, 136];
    if !WITH_PORTS.contains(&protocol) {
        return None;
    }
    let port = |at| Some(u16::from_be_bytes([*packet.get(at)?, *packet.get(at + 1)?]));
    Some([port(at)?, port(at + 2)?])
}

/// Runs `ip` of iproute2 in this thread's network namespace.
fn ip(arguments: &[&str]) -> Result<()> {
    let output = Command::new("ip")
        .args(arguments)
        .output()
        .context("starting ip (iproute2)")?;
    let error = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "ip {}: {error}", arguments.join(" "));
    Ok(())
}
