//! The canary's attempts, and their expected results.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket},
    sync::Arc,
    time::Duration,
};

use enforcer_common::{CgroupId, Transport};
use enforcer_core::{
    model::Mode,
    policy::DesiredPolicy,
    rule::{Rule, Rules, To},
};

/// The port of all attempts, at addresses that are reserved for documentation (RFC 5737, RFC 3849): one at which
/// everybody may listen.
pub(super) const PORT: u16 = 9009;

/// Addresses that the canary's policy does not allow.
const REFUSED: [IpAddr; 2] = [v4(1), v6(1)];

/// Addresses that it allows.
const ALLOWED: [IpAddr; 2] = [v4(2), v6(2)];

const fn v4(last: u8) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(192, 0, 2, last))
}

const fn v6(last: u16) -> IpAddr {
    IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, last))
}

/// Rules of the canary's policy: each allowed address over TCP and UDP.
pub(super) const RULES: u32 = 4;

/// Every address that is tried.
pub(super) fn addresses() -> impl Iterator<Item = IpAddr> {
    REFUSED.into_iter().chain(ALLOWED)
}

/// One socket's attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Trial {
    way: Way,
    to: IpAddr,
    is_allowed: bool,
}

/// Each is a hook for either family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    TcpConnect,
    UdpConnect,
    UdpSend,
}

/// How long a connection within one machine may take.
const PATIENCE: Duration = Duration::from_secs(2);

/// Every attempt, in the order of their outcomes.
pub(super) fn all() -> impl Iterator<Item = Trial> {
    let addresses = |is_allowed| {
        let set = if is_allowed { ALLOWED } else { REFUSED };
        set.into_iter().map(move |to| (to, is_allowed))
    };
    addresses(false)
        .chain(addresses(true))
        .flat_map(|(to, is_allowed)| {
            [Way::TcpConnect, Way::UdpConnect, Way::UdpSend]
                .into_iter()
                .map(move |way| Trial { way, to, is_allowed })
        })
}

impl Trial {
    /// 0, or the errno; [`libc::EAFNOSUPPORT`] if the kernel does not support the family.
    pub(super) fn attempt(self) -> i32 {
        let to = SocketAddr::new(self.to, PORT);
        let unspecified: IpAddr = match self.to {
            IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
            IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
        };
        let udp = || UdpSocket::bind((unspecified, 0));
        // The address is local, unless IPv6 is turned off: then IPv6 is no way out either.
        if to.is_ipv6() && UdpSocket::bind((self.to, 0)).is_err() {
            return libc::EAFNOSUPPORT;
        }
        let outcome = match self.way {
            Way::TcpConnect => TcpStream::connect_timeout(&to, PATIENCE).map(|_| ()),
            Way::UdpConnect => udp().and_then(|socket| socket.connect(to)),
            Way::UdpSend => udp().and_then(|socket| socket.send_to(b"canary", to).map(|_| ())),
        };
        // An error without a number means that the connection timed out.
        outcome.map_or_else(
            |error: io::Error| error.raw_os_error().unwrap_or(libc::ETIMEDOUT),
            |()| 0,
        )
    }

    /// What is wrong with an outcome, where a refused call returns `errno`.
    pub(super) fn judge(self, outcome: i32, errno: i32) -> Option<String> {
        let Self { way, to, is_allowed } = self;
        let what = match way {
            Way::TcpConnect => "a TCP connection",
            Way::UdpConnect => "a connected datagram socket",
            Way::UdpSend => "a datagram",
        };
        match (is_allowed, outcome) {
            (_, libc::EAFNOSUPPORT) if to.is_ipv6() => None,
            (false, 0) => Some(format!("{what} to {to} succeeded, although no rule allows it")),
            (false, outcome) if outcome == errno => None,
            (false, outcome) => Some(format!(
                "{what} to {to} failed with {}, instead of being refused",
                io::Error::from_raw_os_error(outcome)
            )),
            (true, 0) => None,
            (true, outcome) => Some(format!(
                "{what} to {to}, which is allowed, failed: {}",
                io::Error::from_raw_os_error(outcome)
            )),
        }
    }
}

/// What is wrong with the outcomes of [`all`], where a refused call returns `errno`.
pub(super) fn judge(outcomes: &[i32], errno: i32) -> Vec<String> {
    let expected = all().count();
    if outcomes.len() != expected {
        return vec![format!(
            "the canary tried {} times, not {expected}",
            outcomes.len()
        )];
    }
    all()
        .zip(outcomes)
        .filter_map(|(trial, outcome)| trial.judge(*outcome, errno))
        .collect()
}

/// The policy for the canary's attempts; None without cgroups.
pub fn policy(cgroups: impl IntoIterator<Item = CgroupId>) -> Option<DesiredPolicy> {
    let workloads: std::collections::BTreeSet<_> = cgroups.into_iter().collect();
    let rules: Rules = ALLOWED
        .into_iter()
        .flat_map(|address| {
            [Transport::Tcp, Transport::Udp].map(|transport| Rule {
                transport,
                port: PORT,
                to: To::Address(address),
            })
        })
        .collect();
    (!workloads.is_empty()).then(|| DesiredPolicy {
        mode: Mode::Enforce,
        allows_udp: false,
        shares: None,
        own: Arc::new(rules),
        workloads,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_should_have_come_is_accepted() {
        for trial in all() {
            let right = if trial.is_allowed { 0 } else { libc::EPERM };
            assert_eq!(trial.judge(right, libc::EPERM), None, "{trial:?}");
            let wrong = if trial.is_allowed { libc::EPERM } else { 0 };
            assert!(trial.judge(wrong, libc::EPERM).is_some(), "{trial:?}");
            assert!(trial.judge(libc::ENETUNREACH, libc::EPERM).is_some(), "{trial:?}");
            let absent = trial.judge(libc::EAFNOSUPPORT, libc::EPERM);
            assert_eq!(absent.is_some(), trial.to.is_ipv4(), "{trial:?}");
        }
    }

    #[test]
    fn every_hook_is_tried_for_both_verdicts() {
        assert_eq!(all().count(), 3 * 2 * 2);
        assert_eq!(all().filter(|trial| trial.is_allowed).count(), 6);
    }

    #[test]
    fn policy_has_as_many_rules_as_there_is_room_for() {
        let policy = policy([CgroupId(1)]).unwrap();
        assert_eq!(policy.own.len(), usize::try_from(RULES).unwrap());
        assert!(super::policy([]).is_none());
    }
}
