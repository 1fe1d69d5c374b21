//! The programs, and what each kind needs to be loaded and attached.

use std::{
    fs::File,
    os::fd::{AsFd as _, OwnedFd},
};

use anyhow::{Context as _, Result, anyhow};
use aya::{
    Btf, Ebpf,
    programs::{
        CgroupSkb, CgroupSock, CgroupSockAddr, CgroupSockopt, FExit, Lsm, Program as Any, ProgramError,
        ProgramFd,
    },
};

use super::sys;

/// A program of the object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Program {
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    pub(super) purpose: Purpose,
}

/// The purpose of a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Verdicts: nothing is enforced without it.
    Verdicts,
    /// It refuses what the rules alone would not stop.
    Refuses(&'static str),
    /// It lets something through that is otherwise refused.
    Lets(&'static str),
}

/// Where a program runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// `connect` and `sendmsg`, of this attach type.
    SockAddr(u32),
    Sock,
    Sockopt,
    /// Packets, of this attach type.
    Packet(u32),
    /// At an LSM hook of the kernel, for every task of the machine.
    Lsm(&'static str),
    /// At the return of a kernel function, for every task of the machine; useful only together with BPF LSM.
    Exit(&'static str),
}

/// Every program. The first one shows whether a cgroup is enforced.
pub(super) const PROGRAMS: [Program; 17] = [
    needed("connect4", 10),
    needed("connect6", 11),
    needed("sendmsg4", 14),
    needed("sendmsg6", 15),
    closure("sock_create", Kind::Sock, "raw, ICMP, SCTP and UDP-Lite sockets"),
    closure(
        "setsockopt",
        Kind::Sockopt,
        "IP options and extension headers at once, and transparent sockets",
    ),
    closure("mark_source", Kind::Sockopt, "sending in another's name"),
    closure(
        "egress",
        Kind::Packet(1),
        "packets with IP options, extension headers or other protocols, and loopback addresses that leave",
    ),
    Program {
        name: "ingress",
        kind: Kind::Packet(0),
        purpose: Purpose::Lets("servers answer datagrams"),
    },
    Program {
        name: "ask",
        kind: Kind::Packet(1),
        purpose: Purpose::Lets("questions for names be known, which answers are held against"),
    },
    Program {
        name: "learn",
        kind: Kind::Packet(0),
        purpose: Purpose::Lets("workloads reach what a resolver has just told them"),
    },
    closure(
        "lsm_create",
        Kind::Lsm("socket_create"),
        "packet and XDP sockets, and those of families without hooks",
    ),
    closure(
        "lsm_connect",
        Kind::Lsm("socket_connect"),
        "connections of sockets that were made outside",
    ),
    closure(
        "lsm_sendmsg",
        Kind::Lsm("socket_sendmsg"),
        "datagrams from sockets that were made outside",
    ),
    closure(
        "lsm_setsockopt",
        Kind::Lsm("socket_setsockopt"),
        "options that reroute sockets that were made outside",
    ),
    closure(
        "lsm_splice",
        Kind::Lsm("file_permission"),
        "files and pipes spliced into sockets that were made outside",
    ),
    Program {
        name: "lsm_receive",
        kind: Kind::Exit("__skb_recv_udp"),
        purpose: Purpose::Lets("servers answer datagrams by sockets that were made outside"),
    },
];

const fn needed(name: &'static str, attach_type: u32) -> Program {
    Program {
        name,
        kind: Kind::SockAddr(attach_type),
        purpose: Purpose::Verdicts,
    }
}

const fn closure(name: &'static str, kind: Kind, closes: &'static str) -> Program {
    Program {
        name,
        kind,
        purpose: Purpose::Refuses(closes),
    }
}

impl Program {
    pub(super) fn is_lsm(&self) -> bool {
        matches!(self.kind, Kind::Lsm(_) | Kind::Exit(_))
    }

    /// Whether it is of use only to kernels with `sendpage`. It costs every write to a file a few nanoseconds.
    pub(super) fn is_for_sendpage(&self) -> bool {
        self.kind == Kind::Lsm("file_permission")
    }

    /// Whether it is of use only to kernels whose programs for options cannot find the workload.
    pub(super) fn is_for_blind_options(&self) -> bool {
        self.name == "mark_source"
    }

    /// Whether it learns names, which requires `bpf_loop` and reading the kernel's memory.
    pub(super) fn is_for_names(&self) -> bool {
        matches!(self.name, "ask" | "learn")
    }

    /// Whether it expects its function to have four arguments.
    pub(super) fn is_for_four(&self) -> bool {
        matches!(self.kind, Kind::Exit(_))
    }

    /// Loads it from its part of the object; `btf` describes the running kernel, if known.
    pub(super) fn load(&self, program: &mut Any, btf: Option<&Btf>) -> Result<(), ProgramError> {
        match (self.kind, btf) {
            (Kind::SockAddr(_), _) => <&mut CgroupSockAddr>::try_from(program)?.load(),
            (Kind::Sock, _) => <&mut CgroupSock>::try_from(program)?.load(),
            (Kind::Sockopt, _) => <&mut CgroupSockopt>::try_from(program)?.load(),
            (Kind::Packet(_), _) => <&mut CgroupSkb>::try_from(program)?.load(),
            (Kind::Lsm(hook), Some(btf)) => <&mut Lsm>::try_from(program)?.load(hook, btf),
            (Kind::Exit(function), Some(btf)) => <&mut FExit>::try_from(program)?.load(function, btf),
            (Kind::Lsm(_) | Kind::Exit(_), None) => Err(ProgramError::NotLoaded),
        }
    }

    /// Attaches it to a cgroup. Links of cgroup programs are always in multi mode, and the kernel refuses the flag
    /// for it.
    pub(super) fn attach(&self, object: &mut Ebpf, cgroup: &File) -> Result<OwnedFd> {
        let attach_type = self
            .attach_type()
            .with_context(|| format!("the program {} is attached to no cgroup", self.name))?;
        let link = sys::create_link(self.fd(object)?.as_fd(), cgroup, attach_type);
        link.map_err(|error| match error.raw_os_error() {
            // This process has attached its claim there, so that it is not for want of a capability.
            Some(libc::EPERM) => anyhow!(error).context(
                "another program is attached here or above so that it runs alone: without the flag BPF_F_ALLOW_MULTI",
            ),
            _ => anyhow!(error),
        })
        .with_context(|| format!("attaching the program {}", self.name))
    }

    /// Attaches an LSM program, which is not bound to a cgroup.
    pub(super) fn attach_everywhere(&self, object: &mut Ebpf) -> Result<OwnedFd> {
        sys::open_raw_tracepoint(self.fd(object)?.as_fd())
            .with_context(|| format!("attaching the program {}", self.name))
    }

    /// `enum bpf_attach_type`, for programs that are attached to cgroups.
    pub(super) fn attach_type(&self) -> Option<u32> {
        match self.kind {
            Kind::SockAddr(attach_type) | Kind::Packet(attach_type) => Some(attach_type),
            Kind::Sock => Some(2),
            Kind::Sockopt => Some(22),
            Kind::Lsm(_) | Kind::Exit(_) => None,
        }
    }

    /// The loaded program.
    pub(super) fn fd<'a>(&self, object: &'a mut Ebpf) -> Result<&'a ProgramFd> {
        self.of(object)?.fd().context("the program is not loaded")
    }

    fn of<'a>(&self, object: &'a mut Ebpf) -> Result<&'a mut Any> {
        object
            .program_mut(self.name)
            .with_context(|| format!("the object has no program {}", self.name))
    }
}
