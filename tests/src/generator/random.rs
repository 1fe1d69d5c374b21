//! Random sequences. The same seed makes the same sequence on every machine, for the same [`Features`].

use fastrand::Rng;

use super::{
    Features,
    names::{self, Name},
    step::{Call, Control, Device, Plain, SLOTS, Sequence, Step, Value},
};
use crate::escape::stage::{INNER4, INNER6, REFUSED4, REFUSED6};

/// Steps of a sequence, at most; a mask of them fits into 64 bits.
const INSIDE: usize = 14;
const OUTSIDE: usize = 5;

pub(super) fn sequence(seed: u64, features: Features) -> Sequence {
    let mut rng = Rng::with_seed(seed);
    let rng = &mut rng;
    let mut sequence = Sequence::default();
    // What is lent is closed by BPF LSM alone.
    let is_lent = rng.u8(..3) == 0;
    if is_lent && features.has_lsm {
        for _ in 0..rng.usize(1..=OUTSIDE) {
            sequence.outside.push(outside(rng));
        }
    }
    let first = socket(rng, features, 0);
    sequence.inside.push(first);
    for _ in 0..rng.usize(2..=INSIDE) {
        sequence.inside.push(inside(rng, features));
    }
    sequence
}

fn slot(rng: &mut Rng) -> u8 {
    // Mostly the first, so that steps meet.
    rng.u8(..SLOTS).min(rng.u8(..SLOTS))
}

/// Nothing that sends: somebody outside may send whatever he likes.
fn outside(rng: &mut Rng) -> Step {
    let slot = slot(rng);
    match rng.u8(..8) {
        0..=2 => Step::Socket {
            slot,
            family: *pick(rng, &[libc::AF_INET, libc::AF_INET6]),
            kind: libc::SOCK_DGRAM,
            protocol: 0,
        },
        3 => Step::Socket {
            slot,
            family: *pick(rng, &[libc::AF_INET, libc::AF_INET6]),
            kind: *pick(rng, &[libc::SOCK_RAW, libc::SOCK_DGRAM]),
            protocol: *pick(rng, &[6, 17, 1, 58, 136, 255]),
        },
        4 => loop {
            let option = option(rng, slot);
            // `UDP_CORK` would send what is held back.
            if !matches!(
                option,
                Step::Option {
                    level: libc::SOL_UDP,
                    ..
                }
            ) {
                break option;
            }
        },
        5 => Step::Bind {
            slot,
            name: Name::random(rng),
        },
        6 => Step::Connect {
            slot,
            name: Name::random(rng),
            by: Call::Sendto,
        },
        _ => Step::Send {
            slot,
            by: Call::Sendto,
            flags: libc::MSG_MORE,
            name: Some(Name::random(rng)),
            control: None,
        },
    }
}

fn inside(rng: &mut Rng, features: Features) -> Step {
    let slot = slot(rng);
    match rng.u8(..40) {
        0..=6 => socket(rng, features, slot),
        7..=12 => option(rng, slot),
        13..=16 => Step::Bind {
            slot,
            name: Name::random(rng),
        },
        17..=21 => Step::Connect {
            slot,
            name: Name::random(rng),
            by: if rng.u8(..30) == 0 {
                Call::Ring
            } else {
                Call::Sendto
            },
        },
        22..=33 => send(rng, slot),
        34 => Step::Receive { slot },
        35 => match rng.u8(..3) {
            0 => Step::Listen { slot },
            _ => Step::Accept {
                slot,
                into: rng.u8(..SLOTS),
            },
        },
        36 => Step::Shutdown {
            slot,
            how: rng.i32(0..3),
        },
        37 => Step::Duplicate {
            slot,
            into: rng.u8(..SLOTS),
        },
        38 => Step::Close { slot },
        _ => Step::Plain {
            is_v6: rng.bool(),
            by: *pick(
                rng,
                &[
                    Plain::Sendto,
                    Plain::Sendmsg,
                    Plain::Sendmmsg,
                    Plain::ConnectAndSend,
                    Plain::Duplicate,
                    Plain::Tcp,
                ],
            ),
        },
    }
}

fn socket(rng: &mut Rng, features: Features, slot: u8) -> Step {
    let (mut family, mut kind, mut protocol) = (
        *pick(rng, &[libc::AF_INET, libc::AF_INET6]),
        *pick(rng, &[libc::SOCK_DGRAM, libc::SOCK_DGRAM, libc::SOCK_STREAM]),
        0,
    );
    match rng.u8(..10) {
        0 => {
            kind = *pick(
                rng,
                &[
                    libc::SOCK_RAW,
                    libc::SOCK_DGRAM,
                    libc::SOCK_STREAM,
                    libc::SOCK_SEQPACKET,
                    libc::SOCK_DCCP,
                ],
            );
            protocol = *pick(
                rng,
                &[0, 1, 2, 4, 6, 17, 33, 41, 47, 58, 103, 115, 132, 136, 255, 262],
            );
        }
        1 if features.has_lsm => {
            // Every family that the kernel has a number for, but those of the machine itself.
            family = rng.i32(0..46);
            kind = *pick(
                rng,
                &[
                    libc::SOCK_RAW,
                    libc::SOCK_DGRAM,
                    libc::SOCK_STREAM,
                    libc::SOCK_SEQPACKET,
                ],
            );
            protocol = rng.i32(0..4);
        }
        _ => {}
    }
    Step::Socket {
        slot,
        family,
        kind,
        protocol,
    }
}

fn send(rng: &mut Rng, slot: u8) -> Step {
    let by = match rng.u8(..40) {
        0..=17 => Call::Sendto,
        18..=29 => Call::Sendmsg,
        30..=33 => Call::Sendmmsg,
        34 | 35 => Call::Write,
        36 => Call::Ring,
        37 | 38 => Call::Splice,
        _ => Call::Sendfile,
    };
    let flags = match rng.u8(..8) {
        0 => libc::MSG_MORE,
        1 => libc::MSG_DONTROUTE,
        2 => libc::MSG_FASTOPEN,
        3 => *pick(
            rng,
            &[
                libc::MSG_ZEROCOPY,
                libc::MSG_OOB,
                libc::MSG_CONFIRM,
                libc::MSG_EOR,
            ],
        ),
        _ => 0,
    };
    Step::Send {
        slot,
        by,
        flags,
        name: (rng.u8(..3) > 0).then(|| Name::random(rng)),
        control: (rng.u8(..3) == 0).then(|| control(rng)),
    }
}

fn device(rng: &mut Rng) -> Device {
    *pick(
        rng,
        &[Device::None, Device::Loopback, Device::Cable, Device::Cable],
    )
}

fn source4(rng: &mut Rng) -> Value {
    let source = *pick(
        rng,
        &[
            INNER4,
            INNER4,
            REFUSED4,
            std::net::Ipv4Addr::LOCALHOST,
            std::net::Ipv4Addr::UNSPECIFIED,
        ],
    );
    Value::Source(source.into(), device(rng))
}

fn source6(rng: &mut Rng) -> Value {
    let source = *pick(
        rng,
        &[
            INNER6,
            INNER6,
            REFUSED6,
            std::net::Ipv6Addr::LOCALHOST,
            std::net::Ipv6Addr::UNSPECIFIED,
        ],
    );
    Value::Source(source.into(), device(rng))
}

/// `IPV6_2292*` of `linux/in6.h`.
const IPV6_2292PKTINFO: i32 = 2;
const IPV6_2292HOPOPTS: i32 = 3;
const IPV6_2292DSTOPTS: i32 = 4;
const IPV6_2292RTHDR: i32 = 5;

fn control(rng: &mut Rng) -> Control {
    let (level, kind, value) = match rng.u8(..12) {
        0..=3 => (libc::SOL_IP, libc::IP_PKTINFO, source4(rng)),
        4..=6 => (libc::SOL_IPV6, libc::IPV6_PKTINFO, source6(rng)),
        7 => (libc::SOL_IPV6, IPV6_2292PKTINFO, source6(rng)),
        8 => (libc::SOL_IP, libc::IP_RETOPTS, Value::Route),
        9 => (
            libc::SOL_IPV6,
            *pick(rng, &[libc::IPV6_RTHDR, IPV6_2292RTHDR]),
            Value::Header,
        ),
        10 => (
            libc::SOL_IPV6,
            *pick(
                rng,
                &[
                    libc::IPV6_HOPOPTS,
                    libc::IPV6_DSTOPTS,
                    IPV6_2292HOPOPTS,
                    IPV6_2292DSTOPTS,
                ],
            ),
            Value::Empty,
        ),
        _ => {
            const UDP_SEGMENT: i32 = 103;
            (libc::SOL_UDP, UDP_SEGMENT, Value::Number(rng.i32(..64)))
        }
    };
    Control { level, kind, value }
}

fn option(rng: &mut Rng, slot: u8) -> Step {
    const IPV6_TRANSPARENT: i32 = 75;
    const IPV6_FREEBIND: i32 = 78;
    const UDP_CORK: i32 = 1;
    const UDP_ENCAP: i32 = 100;
    let number = Value::Number(rng.i32(0..3));
    let interface = Value::Swapped(device(rng));
    let named = Value::Named(device(rng));
    let address = Value::Address(names::address(rng));
    let (source4, source6) = (source4(rng), source6(rng));
    let (level, option, value) = *pick(
        rng,
        &[
            (libc::SOL_SOCKET, libc::SO_BINDTODEVICE, named),
            (libc::SOL_SOCKET, libc::SO_BINDTODEVICE, named),
            (libc::SOL_SOCKET, libc::SO_BROADCAST, number),
            (libc::SOL_SOCKET, libc::SO_DONTROUTE, number),
            (libc::SOL_SOCKET, libc::SO_MARK, number),
            (libc::SOL_SOCKET, libc::SO_REUSEADDR, number),
            (libc::SOL_SOCKET, libc::SO_REUSEPORT, number),
            (libc::SOL_SOCKET, libc::SO_ZEROCOPY, number),
            (libc::SOL_SOCKET, libc::SO_BINDTOIFINDEX, number),
            (libc::SOL_IP, libc::IP_TRANSPARENT, number),
            (libc::SOL_IP, libc::IP_TRANSPARENT, Value::Number(1)),
            (libc::SOL_IP, libc::IP_FREEBIND, number),
            (libc::SOL_IP, libc::IP_UNICAST_IF, interface),
            (libc::SOL_IP, libc::IP_MULTICAST_IF, address),
            (libc::SOL_IP, libc::IP_TOS, number),
            (libc::SOL_IP, libc::IP_OPTIONS, Value::Route),
            (libc::SOL_IP, libc::IP_PKTINFO, source4),
            (libc::SOL_IP, libc::IP_HDRINCL, number),
            (libc::SOL_IPV6, IPV6_TRANSPARENT, Value::Number(1)),
            (libc::SOL_IPV6, IPV6_FREEBIND, Value::Number(1)),
            (libc::SOL_IPV6, libc::IPV6_UNICAST_IF, interface),
            (libc::SOL_IPV6, libc::IPV6_MULTICAST_IF, number),
            (libc::SOL_IPV6, libc::IPV6_PKTINFO, source6),
            (libc::SOL_IPV6, libc::IPV6_V6ONLY, number),
            (libc::SOL_IPV6, libc::IPV6_RTHDR, Value::Header),
            (libc::SOL_IPV6, libc::IPV6_DSTOPTS, Value::Empty),
            (libc::SOL_IPV6, libc::IPV6_ADDRFORM, Value::Number(libc::AF_INET)),
            (libc::SOL_UDP, UDP_CORK, number),
            (libc::SOL_UDP, UDP_ENCAP, number),
            (libc::SOL_TCP, libc::TCP_REPAIR, number),
            (libc::SOL_TCP, libc::TCP_FASTOPEN_CONNECT, number),
            (libc::SOL_TCP, libc::TCP_ULP, Value::Nothing),
        ],
    );
    Step::Option {
        slot,
        level,
        option,
        value,
    }
}

fn pick<'a, T>(rng: &mut Rng, from: &'a [T]) -> &'a T {
    &from[rng.usize(..from.len())]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn same_seed_makes_the_same_sequence() {
        let features = Features { has_lsm: true };
        for seed in 0..1000 {
            let text = |sequence: &Sequence| format!("{sequence:?}");
            let one = sequence(seed, features);
            assert_eq!(text(&one), text(&sequence(seed, features)));
            assert!(one.len() <= 64, "a mask holds no more steps");
        }
    }

    #[test]
    fn nothing_is_lent_where_nothing_would_close_it() {
        let features = Features { has_lsm: false };
        assert!((0..1000).all(|seed| sequence(seed, features).outside.is_empty()));
    }
}
