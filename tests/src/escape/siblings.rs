//! Roundabout forms of calls that are seen: other ways to hand the same thing to the kernel.

use std::io;

use nix::sched::{CloneFlags, unshare};

use super::{
    Begins, ClosedBy, Escape, escape, reroute,
    stage::{self, ALLOWED6, Stage, name},
    sys::{self, Message},
    udp,
};

const RULES: ClosedBy = ClosedBy::Rules;
const GUARD: ClosedBy = ClosedBy::Guard;
/// Of `linux/in6.h`.
const IPV6_2292HOPOPTS: i32 = 3;
const IPV6_2292DSTOPTS: i32 = 4;
const IPV6_2292RTHDR: i32 = 5;
const IPV6_FLOWLABEL_MGR: i32 = 32;
const IPV6_FLOWINFO_SEND: i32 = 33;
const UDP_SEGMENT: i32 = 103;
const UDP_ENCAP: i32 = 100;
/// An options header with padding alone.
const PADDING: [u8; 8] = [0, 0, 1, 4, 0, 0, 0, 0];

pub(super) static ESCAPES: &[Escape] = &[
    escape(
        "udp, flow label with a routing header",
        ClosedBy::Call("setsockopt"),
        |stage| {
            let socket = udp::udp6()?;
            let label = flow_label(&reroute::mobile());
            sys::setsockopt(&socket, libc::SOL_IPV6, IPV6_FLOWLABEL_MGR, &label)?;
            sys::setsockopt(&socket, libc::SOL_IPV6, IPV6_FLOWINFO_SEND, &1_i32.to_ne_bytes())?;
            let mut to = stage::allowed6();
            to[4..8].copy_from_slice(&LABEL.to_be_bytes());
            udp::send(stage, &socket, &to)
        },
    ),
    escape("udp, IPV6_2292RTHDR as a control message", GUARD, |stage| {
        with_header(stage, IPV6_2292RTHDR, &reroute::mobile())
    }),
    escape("udp, IPV6_2292HOPOPTS as a control message", GUARD, |stage| {
        with_header(stage, IPV6_2292HOPOPTS, &PADDING)
    }),
    escape("udp, IPV6_2292DSTOPTS as a control message", GUARD, |stage| {
        with_header(stage, IPV6_2292DSTOPTS, &PADDING)
    }),
    escape("udp, IPV6_HOPOPTS as a control message", GUARD, |stage| {
        with_header(stage, libc::IPV6_HOPOPTS, &PADDING)
    }),
    escape("udp, IPV6_DSTOPTS as a control message", GUARD, |stage| {
        with_header(stage, libc::IPV6_DSTOPTS, &PADDING)
    }),
    escape("udp, segments by UDP_SEGMENT", RULES, |stage| {
        let size = 12_u16.to_ne_bytes();
        let control = (libc::SOL_UDP, UDP_SEGMENT, size.as_slice());
        let data = [stage.token(), stage.token()].concat();
        Message::new(&data, &stage.refused4(), Some(control)).send(&udp::udp()?)
    }),
    escape("udp, MSG_ZEROCOPY", RULES, |stage| {
        let socket = udp::udp()?;
        sys::setsockopt(&socket, libc::SOL_SOCKET, libc::SO_ZEROCOPY, &1_i32.to_ne_bytes())?;
        sys::sendto(
            &socket,
            &stage.token(),
            libc::MSG_ZEROCOPY,
            Some(&stage.refused4()),
        )
    }),
    escape("udp, SO_INCOMING_CPU", RULES, |stage| {
        let socket = udp::udp()?;
        sys::setsockopt(
            &socket,
            libc::SOL_SOCKET,
            libc::SO_INCOMING_CPU,
            &0_i32.to_ne_bytes(),
        )?;
        udp::send(stage, &socket, &stage.refused4())
    }),
    escape("udp, a socket that encapsulates ESP", RULES, |stage| {
        const ESP: i32 = 2;
        let socket = udp::udp()?;
        sys::setsockopt(&socket, libc::SOL_UDP, UDP_ENCAP, &ESP.to_ne_bytes())?;
        udp::send(stage, &socket, &stage.refused4())
    }),
    escape(
        "udp connected, sendmmsg without and with a name",
        RULES,
        |stage| {
            let socket = udp::udp()?;
            sys::connect(&socket, &stage::allowed4())?;
            let first = Message::new(b"harmless", &[], None);
            let second = Message::new(&stage.token(), &stage.refused4(), None);
            Message::send_all(vec![first, second], &socket)
        },
    ),
    escape("udp from a user namespace of one's own", RULES, |stage| {
        unshare(CloneFlags::CLONE_NEWUSER)?;
        udp::send(stage, &udp::udp()?, &stage.refused4())
    }),
    escape(
        "raw socket from a user namespace of one's own",
        ClosedBy::Call("sock_create"),
        |stage| {
            unshare(CloneFlags::CLONE_NEWUSER)?;
            let socket = sys::socket(libc::AF_INET, libc::SOCK_RAW, libc::IPPROTO_UDP)?;
            udp::send(stage, &socket, &stage.refused4())
        },
    ),
    escape(
        "udp socket taken into a network namespace of one's own",
        RULES,
        |stage| {
            let socket = udp::udp()?;
            unshare(CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNET)?;
            udp::send(stage, &socket, &stage.refused4())
        },
    ),
    escape("udp by a polling io_uring", RULES, |stage| {
        let ring = sys::polling_ring()?;
        Message::new(&stage.token(), &stage.refused4(), None).send_by(ring, &udp::udp()?)
    }),
    Escape {
        begins: Begins::Outside,
        ..escape("udp by a polling io_uring from outside", RULES, |stage| {
            let ring = sys::polling_ring()?;
            stage.join()?;
            Message::new(&stage.token(), &stage.refused4(), None).send_by(ring, &udp::udp()?)
        })
    },
    Escape {
        begins: Begins::Outside,
        ..escape(
            "udp socket from outside by a polling io_uring from outside",
            // The ring's thread moves with its process.
            ClosedBy::Call("lsm_sendmsg"),
            |stage| {
                let (ring, socket) = (sys::polling_ring()?, udp::udp()?);
                stage.join()?;
                Message::new(&stage.token(), &stage.refused4(), None).send_by(ring, &socket)
            },
        )
    },
    Escape {
        begins: Begins::Outside,
        ..escape(
            "udp socket that a ring from outside has registered",
            ClosedBy::Call("lsm_sendmsg"),
            |stage| {
                let (ring, socket) = (sys::plain_ring()?, udp::udp()?);
                sys::register(&ring, &socket)?;
                drop(socket);
                stage.join()?;
                Message::new(&stage.token(), &stage.refused4(), None).send_by_registered(ring)
            },
        )
    },
    Escape {
        begins: Begins::Outside,
        ..escape(
            "udp beside a socket from outside on the same port",
            RULES,
            |stage| {
                let bound = |socket: &_| {
                    let on = 1_i32.to_ne_bytes();
                    sys::setsockopt(socket, libc::SOL_SOCKET, libc::SO_REUSEPORT, &on)?;
                    sys::bind(
                        socket,
                        &name((std::net::Ipv4Addr::UNSPECIFIED, stage.port).into()),
                    )
                };
                let outside = udp::udp()?;
                bound(&outside)?;
                stage.join()?;
                let inside = udp::udp()?;
                bound(&inside)?;
                udp::send(stage, &inside, &stage.refused4())
            },
        )
    },
];

const LABEL: u32 = 0x7_7777;

fn with_header(stage: &Stage, kind: i32, header: &[u8]) -> io::Result<()> {
    let control = (libc::SOL_IPV6, kind, header);
    Message::new(&stage.token(), &stage::allowed6(), Some(control)).send(&udp::udp6()?)
}

/// `struct in6_flowlabel_req` of `linux/in6.h`, and behind it a control message with the header.
fn flow_label(header: &[u8]) -> Vec<u8> {
    const GET: u8 = 0;
    const EXCLUSIVE: u8 = 1;
    const CREATE: u16 = 1;
    let mut bytes = ALLOWED6.octets().to_vec();
    bytes.extend(LABEL.to_be_bytes());
    bytes.extend([GET, EXCLUSIVE]);
    bytes.extend(CREATE.to_ne_bytes());
    // Expiry and lingering, in seconds, and padding.
    bytes.extend([0; 8]);
    bytes.extend((16 + header.len()).to_ne_bytes());
    bytes.extend(libc::SOL_IPV6.to_ne_bytes());
    bytes.extend(libc::IPV6_RTHDR.to_ne_bytes());
    bytes.extend(header);
    bytes
}
