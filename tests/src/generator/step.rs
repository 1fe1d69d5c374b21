//! What a sequence is made of.

use std::net::IpAddr;

use super::names::Name;

/// Sockets that a sequence holds at once.
pub(super) const SLOTS: u8 = 4;

/// One step. Slots are numbers of sockets; an empty one makes the step nothing.
#[derive(Clone, Debug)]
pub(super) enum Step {
    Socket {
        slot: u8,
        family: i32,
        kind: i32,
        protocol: i32,
    },
    Option {
        slot: u8,
        level: i32,
        option: i32,
        value: Value,
    },
    Bind {
        slot: u8,
        name: Name,
    },
    Connect {
        slot: u8,
        name: Name,
        by: Call,
    },
    Listen {
        slot: u8,
    },
    Accept {
        slot: u8,
        into: u8,
    },
    Send {
        slot: u8,
        by: Call,
        flags: i32,
        name: Option<Name>,
        control: Option<Control>,
    },
    Receive {
        slot: u8,
    },
    Shutdown {
        slot: u8,
        how: i32,
    },
    Duplicate {
        slot: u8,
        into: u8,
    },
    Close {
        slot: u8,
    },
    /// A fresh socket reaches the allowed destination, which has to work.
    Plain {
        is_v6: bool,
        by: Plain,
    },
}

/// The value of an option.
#[derive(Clone, Copy, Debug)]
pub(super) enum Value {
    Number(i32),
    /// Of a device, in the order of the network.
    Swapped(Device),
    /// A device's name.
    Named(Device),
    Address(IpAddr),
    /// `struct in_pktinfo` or `struct in6_pktinfo`.
    Source(IpAddr, Device),
    /// A source route by a refused address.
    Route,
    /// An IPv6 routing header by a refused address.
    Header,
    /// An IPv6 header with nothing in it.
    Empty,
    Nothing,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Device {
    None,
    Loopback,
    Cable,
}

/// A control message.
#[derive(Clone, Copy, Debug)]
pub(super) struct Control {
    pub(super) level: i32,
    pub(super) kind: i32,
    pub(super) value: Value,
}

/// How something is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Call {
    Sendto,
    Sendmsg,
    Sendmmsg,
    Write,
    Ring,
    Splice,
    Sendfile,
}

/// How a plain socket is used.
#[derive(Clone, Copy, Debug)]
pub(super) enum Plain {
    Sendto,
    Sendmsg,
    Sendmmsg,
    ConnectAndSend,
    Duplicate,
    Tcp,
}

/// A whole sequence.
#[derive(Clone, Debug, Default)]
pub(super) struct Sequence {
    /// What somebody outside does with the sockets before they are handed in.
    pub(super) outside: Vec<Step>,
    pub(super) inside: Vec<Step>,
}

impl Sequence {
    /// Only the steps whose bits are set, those outside first.
    pub(super) fn masked(mut self, mask: u64) -> Self {
        let mut at = 0;
        for steps in [&mut self.outside, &mut self.inside] {
            steps.retain(|_| {
                at += 1;
                mask & (1 << (at - 1)) != 0
            });
        }
        self
    }

    pub(super) fn len(&self) -> usize {
        self.outside.len() + self.inside.len()
    }
}
