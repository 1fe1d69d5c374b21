//! One decision of the programs as Rust types: the only place that interprets the numbers of an [`Event`].

use std::{fmt, net::IpAddr};

use enforcer_common::{CgroupId, Event, Hook, Reason, Share, Transport, Verdict};
use thiserror::Error;

/// What the programs decided about a call or a packet, and for which workload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// Nanoseconds since boot, suspended time not counted.
    pub time: u64,
    /// The workload's cgroup; the calling task's own cgroup if it belongs to no known workload.
    pub cgroup: CgroupId,
    /// Whether `cgroup` belongs to a known workload.
    pub is_known: bool,
    /// The destination; unspecified where the call has none.
    pub address: IpAddr,
    /// Its port; 0 where it has none.
    pub port: u16,
    /// Name of the calling task; empty for a packet, which has none.
    pub process: String,
    /// Process id in the initial namespace.
    pub pid: u32,
    /// User id in the initial namespace.
    pub uid: u32,
    /// What was tried.
    pub subject: Subject,
    /// The program that decided.
    pub hook: Hook,
    /// What it decided.
    pub verdict: Verdict,
    /// Why.
    pub cause: Cause,
}

/// What was tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Subject {
    /// A connection or a datagram.
    Transport(Transport),
    /// A packet of another IP protocol, by its number.
    Packet(u8),
    /// A socket was to be made.
    Socket {
        /// `AF_*`.
        family: u8,
        /// `SOCK_*`.
        kind: u8,
        /// Of that family.
        protocol: u8,
    },
    /// A socket option was to be set.
    Option {
        /// `SOL_*`.
        level: u8,
        /// Of that level.
        name: u8,
    },
}

/// The reason for a decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// A reason that this version knows.
    Known(Reason),
    /// A reason that this version has no name for: newer programs have written it.
    Unknown(u8),
}

/// An event that is not a decision: newer programs have written it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("hook {hook}, verdict {verdict}")]
pub struct Unknown {
    hook: u8,
    verdict: u8,
}

impl TryFrom<&Event> for Decision {
    type Error = Unknown;

    fn try_from(event: &Event) -> Result<Self, Unknown> {
        let (Ok(hook), Ok(verdict)) = (Hook::try_from(event.hook), Verdict::try_from(event.verdict)) else {
            return Err(Unknown {
                hook: event.hook,
                verdict: event.verdict,
            });
        };
        let name = event.comm.split(|byte| *byte == 0).next().unwrap_or_default();
        Ok(Self {
            time: event.time,
            cgroup: event.cgroup,
            is_known: event.policy.0 != 0,
            address: IpAddr::from(event.address),
            port: u16::from_be_bytes(event.port),
            process: String::from_utf8_lossy(name).into_owned(),
            pid: event.pid,
            uid: event.uid,
            subject: Subject::new(hook, event),
            hook,
            verdict,
            cause: Reason::try_from(event.reason).map_or_else(Cause::Unknown, Cause::Known),
        })
    }
}

impl Subject {
    fn new(hook: Hook, event: &Event) -> Self {
        match hook {
            Hook::SockCreate | Hook::LsmCreate => Self::Socket {
                family: event.family,
                kind: event.kind,
                protocol: event.transport,
            },
            Hook::Setsockopt => Self::Option {
                level: event.family,
                name: event.kind,
            },
            _ => Transport::try_from(event.transport).map_or_else(Self::Packet, Self::Transport),
        }
    }
}

/// `tcp`, `udp`, `protocol 132`, `socket of family 17, type 3, protocol 0`, `socket option 4 of level 0`
impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Transport(Transport::Tcp) => write!(f, "tcp"),
            Self::Transport(Transport::Udp) => write!(f, "udp"),
            Self::Packet(number) => write!(f, "protocol {number}"),
            Self::Socket {
                family,
                kind,
                protocol,
            } => write!(f, "socket of family {family}, type {kind}, protocol {protocol}"),
            Self::Option { level, name } => write!(f, "socket option {name} of level {level}"),
        }
    }
}

impl Decision {
    /// The workload on whose share it counts. All unknown workloads have one share together: otherwise a process
    /// that can create cgroups there would get a share for each.
    pub fn sharer(&self) -> CgroupId {
        if self.is_known {
            self.cgroup
        } else {
            Share::UNKNOWN
        }
    }

    /// Whether it is about a datagram socket's `connect`: nothing was sent yet, and perhaps nothing would have been.
    pub fn is_datagram_connect(&self) -> bool {
        let is_connect = matches!(self.hook, Hook::Connect4 | Hook::Connect6 | Hook::LsmConnect);
        is_connect && self.subject != Subject::Transport(Transport::Tcp)
    }
}

#[cfg(test)]
mod tests {
    use enforcer_common::{Address, COMM_LENGTH, PolicyId};

    use super::*;

    fn event() -> Event {
        Event {
            time: 1,
            cgroup: CgroupId(7),
            address: Address::from_v4([192, 0, 2, 1]),
            comm: [0; COMM_LENGTH],
            pid: 12,
            uid: 0,
            policy: PolicyId(1),
            port: [0, 80],
            transport: Transport::Tcp as u8,
            hook: Hook::Connect4 as u8,
            verdict: Verdict::Deny as u8,
            reason: Reason::NoRule as u8,
            family: 2,
            kind: 1,
            pad: [0; 4],
        }
    }

    #[test]
    fn every_number_that_the_programs_write_has_a_name() {
        let decision = Decision::try_from(&event()).unwrap();
        assert_eq!(decision.subject, Subject::Transport(Transport::Tcp));
        assert_eq!(
            (decision.hook, decision.verdict, decision.cause),
            (Hook::Connect4, Verdict::Deny, Cause::Known(Reason::NoRule))
        );
    }

    #[test]
    fn unknown_reason_is_told_as_such_and_an_unknown_hook_is_no_decision() {
        let newer = Event {
            reason: 200,
            ..event()
        };
        assert_eq!(Decision::try_from(&newer).unwrap().cause, Cause::Unknown(200));
        for unknown in [
            Event { hook: 200, ..event() },
            Event {
                verdict: 200,
                ..event()
            },
        ] {
            assert!(Decision::try_from(&unknown).is_err());
        }
    }
}
