//! The same calls by io_uring, which is not seen by filters of system calls.

use super::{
    ClosedBy, Escape, escape,
    sys::{self, Message},
    tcp, udp,
};

pub(super) static ESCAPES: &[Escape] = &[
    escape("io_uring connect", ClosedBy::Rules, |stage| {
        tcp::in_progress(sys::connect_by_ring(&tcp::tcp()?, &stage.refused4()))
    }),
    escape("io_uring connect, ipv6", ClosedBy::Rules, |stage| {
        tcp::in_progress(sys::connect_by_ring(&tcp::tcp6()?, &stage.refused6()))
    }),
    escape("io_uring sendmsg", ClosedBy::Rules, |stage| {
        Message::new(&stage.token(), &stage.refused4(), None).send_by_ring(&udp::udp()?)
    }),
    escape("io_uring raw socket", ClosedBy::Call("sock_create"), |stage| {
        let socket = sys::socket_by_ring(libc::AF_INET, libc::SOCK_RAW, libc::IPPROTO_UDP)?;
        udp::send(stage, &socket, &stage.refused4())
    }),
];
