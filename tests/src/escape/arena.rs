//! Two network namespaces with a cable between them, and who listens at its far end.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    net::{IpAddr, Ipv4Addr, UdpSocket},
    os::fd::{AsFd as _, AsRawFd as _, OwnedFd},
    path::PathBuf,
    process,
};

use anyhow::{Context as _, Result, bail};
use nix::{
    errno::Errno,
    net::if_::if_nametoindex,
    sched::{CloneFlags, CpuSet, sched_setaffinity, setns, unshare},
    sys::{
        socket::{MsgFlags, recv, setsockopt, sockopt},
        time::TimeVal,
    },
    unistd::Pid,
};

use super::{
    stage::{self, ALLOWED4, ALLOWED6, DEVICE, INNER_LINK6, INNER4, INNER6, LINK6, REFUSED4, REFUSED6},
    sys, translate,
};
use crate::fixture::{
    End, add_address, add_gateway, add_neighbour, add_route, device_up, lay_cable, loopback_up,
};

/// This thread is in the inner namespace, where the workload lives; what its device sends comes out in the outer one.
pub(crate) struct Arena {
    outer: File,
    capture: OwnedFd,
    marks: UdpSocket,
    next_mark: u16,
    arrived: BTreeSet<u16>,
}

const INNER: End = End {
    device: DEVICE,
    station: [2, 0, 0, 0, 0, 1],
};
const OUTER: End = End {
    device: "outer",
    station: [2, 0, 0, 0, 0, 2],
};
/// Numbers below are marks, those above are attempts.
pub(super) const FIRST_ATTEMPT: u16 = 20_000;
const ETH_P_ALL: u16 = 3;
/// How long a mark may take before it is sent again: a processor that is flooded by others drops frames.
const MARK_SECONDS: i64 = 1;
/// How often a mark is sent that has to come.
const MARKS: usize = 30;

impl Arena {
    /// Takes this thread to the inner namespace.
    pub(crate) fn new() -> Result<Self> {
        // On one processor, frames arrive in the order in which they were sent.
        let mut cpus = CpuSet::new();
        cpus.set(0)?;
        sched_setaffinity(Pid::from_raw(0), &cpus).context("staying on one processor")?;

        let outer = enter_new_network()?;
        let capture = sys::socket(libc::AF_PACKET, libc::SOCK_RAW, 0)?;
        setsockopt(&capture, sockopt::ReceiveTimeout, &TimeVal::new(MARK_SECONDS, 0))?;
        setsockopt(&capture, sockopt::RcvBufForce, &(8 << 20))?;
        let inner = enter_new_network()?;
        // Of this namespace alone: who may open ICMP datagram sockets.
        fs::write("/proc/sys/net/ipv4/ping_group_range", "0 2147483647")?;

        lay_cable(INNER, OUTER, outer.as_fd())?;
        raise(DEVICE, &[INNER4.into(), INNER6.into(), INNER_LINK6.into()])?;
        let far: [IpAddr; 5] = [
            REFUSED4.into(),
            ALLOWED4.into(),
            REFUSED6.into(),
            ALLOWED6.into(),
            LINK6.into(),
        ];
        for to in far {
            add_neighbour(DEVICE, to, OUTER.station)?;
        }
        add_route(DEVICE, Ipv4Addr::new(224, 0, 0, 0).into(), 4)?;
        // As in a pod: whatever is known nowhere else goes to a router.
        add_gateway(DEVICE, REFUSED4.into())?;
        add_gateway(DEVICE, REFUSED6.into())?;
        let marks = UdpSocket::bind((INNER4, 0))?;

        setns(&outer, CloneFlags::CLONE_NEWNET)?;
        raise(OUTER.device, &far)?;
        for to in [INNER4.into(), INNER6.into(), INNER_LINK6.into()] {
            add_neighbour(OUTER.device, to, INNER.station)?;
        }
        listen(&capture)?;
        setns(&inner, CloneFlags::CLONE_NEWNET)?;
        Ok(Self {
            outer,
            capture,
            marks,
            next_mark: 1,
            arrived: BTreeSet::new(),
        })
    }

    /// Has the inner network translate addresses, as that of a node does. Where the kernel cannot, escapes that need it
    /// are none.
    pub(super) fn translate(&self) {
        if let Err(error) = translate::install() {
            println!("SKIPPED: escapes by address translation: {error:#}");
        }
    }

    /// The file of the outer network, for other processes.
    pub(super) fn outer(&self) -> PathBuf {
        let file = format!("/proc/{}/fd/{}", process::id(), self.outer.as_raw_fd());
        file.into()
    }

    /// Whether anything of an attempt has arrived, once all that was sent before this call has.
    pub(super) fn has_arrived(&mut self, attempt: u16) -> Result<bool> {
        self.settle()?;
        Ok(self.arrived.contains(&attempt))
    }

    /// Takes in whatever was sent before.
    fn settle(&mut self) -> Result<()> {
        let mut arrived = std::mem::take(&mut self.arrived);
        let done = self.drain(|frame| arrived.extend(attempts(frame)));
        self.arrived = arrived;
        done
    }

    /// Hands over each frame that the inner side has sent before this call: sends a mark, and takes in what comes up
    /// to it.
    pub(crate) fn drain(&mut self, mut each: impl FnMut(&[u8])) -> Result<()> {
        let mark = self.next_mark;
        self.next_mark = if mark + 1 < FIRST_ATTEMPT { mark + 1 } else { 1 };
        for _ in 0..MARKS {
            self.marks
                .send_to(format!("escape-{mark}.").as_bytes(), (REFUSED4, 9))
                .context("sending a mark")?;
            if self.receive_up_to(mark, &mut each)? {
                return Ok(());
            }
        }
        bail!("nothing that is sent arrives any more")
    }

    /// Takes in what arrives until the mark does. Says whether it has.
    fn receive_up_to(&self, mark: u16, each: &mut impl FnMut(&[u8])) -> Result<bool> {
        let mut frame = vec![0; 65536];
        let port = self.marks.local_addr()?.port();
        loop {
            let frame = match recv(self.capture.as_raw_fd(), &mut frame, MsgFlags::empty()) {
                Ok(size) => &frame[..size],
                Err(Errno::EAGAIN) => return Ok(false),
                Err(error) => return Err(error).context("waiting for the mark to arrive"),
            };
            // Its own port tells a mark, also one that was sent before and came late.
            if ports(frame) == Some([port, 9]) {
                if tokens(frame).any(|token| token == mark) {
                    return Ok(true);
                }
                continue;
            }
            each(frame);
        }
    }
}

/// Has a packet socket receive what comes in by the outer device, and nothing else.
fn listen(capture: &OwnedFd) -> Result<()> {
    const PACKET_IGNORE_OUTGOING: i32 = 23;
    sys::setsockopt(
        capture,
        libc::SOL_PACKET,
        PACKET_IGNORE_OUTGOING,
        &1_i32.to_ne_bytes(),
    )?;
    // `struct sockaddr_ll`.
    let mut name = stage::family(libc::AF_PACKET).to_vec();
    name.extend(ETH_P_ALL.to_be_bytes());
    name.extend(if_nametoindex(OUTER.device)?.to_ne_bytes());
    name.extend([0; 12]);
    sys::bind(capture, &name).context("listening to the cable")
}

fn enter_new_network() -> Result<File> {
    unshare(CloneFlags::CLONE_NEWNET).context("making a network namespace")?;
    loopback_up()?;
    File::open("/proc/thread-self/ns/net").context("opening the network namespace")
}

fn raise(device: &str, addresses: &[IpAddr]) -> Result<()> {
    // `IN6_ADDR_GEN_MODE_NONE`: the kernel chooses no address of its own, so that all are known.
    fs::write(format!("/proc/sys/net/ipv6/conf/{device}/addr_gen_mode"), "1")
        .with_context(|| format!("keeping addresses from {device}"))?;
    for address in addresses {
        add_address(device, *address)?;
    }
    device_up(device)
}

/// The attempts and marks that a frame belongs to: by what it carries, or by its ports.
fn attempts(frame: &[u8]) -> Vec<u16> {
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
