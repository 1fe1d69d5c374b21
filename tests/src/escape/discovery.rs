//! What only the kernel itself has to say: IPv6 neighbour discovery, from raw sockets.

use std::{
    io,
    net::{Ipv6Addr, SocketAddrV6},
};

use super::{
    Begins, ClosedBy, Escape, escape,
    stage::{self, LINK6, REFUSED6, Stage, name},
    sys,
};

/// The guard lets discovery pass to where it belongs, and does not tell who sends it.
const ON_THE_LINK: ClosedBy = ClosedBy::Nothing("neighbour discovery on the link is let out");

pub(super) static ESCAPES: &[Escape] = &[
    before(
        "raw icmpv6 from before, router solicitation",
        ClosedBy::Guard,
        |stage| discover(stage, 133, REFUSED6),
    ),
    before(
        "raw icmpv6 from before, router advertisement",
        ClosedBy::Guard,
        |stage| discover(stage, 134, REFUSED6),
    ),
    before(
        "raw icmpv6 from before, neighbour solicitation",
        ClosedBy::Guard,
        |stage| discover(stage, 135, REFUSED6),
    ),
    before(
        "raw icmpv6 from before, neighbour advertisement",
        ClosedBy::Guard,
        |stage| discover(stage, 136, REFUSED6),
    ),
    before("raw icmpv6 from before, redirect", ClosedBy::Guard, |stage| {
        discover(stage, 137, REFUSED6)
    }),
    before(
        "raw icmpv6 from before, multicast listener report",
        ClosedBy::Guard,
        |stage| discover(stage, 143, REFUSED6),
    ),
    before(
        "raw icmpv6 from before, to a group beyond the link",
        ClosedBy::Guard,
        |stage| discover(stage, 135, Ipv6Addr::new(0xff0e, 0, 0, 0, 0, 0, 0, 1)),
    ),
    before(
        "raw icmpv6 from before, neighbour solicitation to a link-local address",
        ON_THE_LINK,
        |stage| discover(stage, 135, LINK6),
    ),
    before(
        "raw icmpv6 from before, neighbour solicitation to all nodes",
        ON_THE_LINK,
        |stage| discover(stage, 135, Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1)),
    ),
];

const fn before(name: &'static str, closed_by: ClosedBy, attempt: fn(&Stage) -> io::Result<()>) -> Escape {
    Escape {
        begins: Begins::Before,
        ..escape(name, closed_by, attempt)
    }
}

/// A message of that type with the token, and the hop limit that discovery asks for.
fn discover(stage: &Stage, kind: u8, to: Ipv6Addr) -> io::Result<()> {
    let socket = sys::socket(libc::AF_INET6, libc::SOCK_RAW, libc::IPPROTO_ICMPV6)?;
    for option in [libc::IPV6_UNICAST_HOPS, libc::IPV6_MULTICAST_HOPS] {
        sys::setsockopt(&socket, libc::SOL_IPV6, option, &255_i32.to_ne_bytes())?;
    }
    stage.ready()?;
    let mut message = vec![kind, 0, 0, 0, 0, 0, 0, 0];
    message.extend(REFUSED6.octets());
    message.extend(stage.token());
    let to = SocketAddrV6::new(to, 0, 0, stage::device()?);
    sys::sendto(&socket, &message, 0, Some(&name(to.into())))
}
