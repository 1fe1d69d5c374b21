//! Families and protocols beside the internet's own that can carry bytes to other machines, where the kernel has them.

use super::{ClosedBy, Escape, Evidence, escape, kinds, sys};

const LSM: ClosedBy = ClosedBy::Call("lsm_create");
const CREATE: ClosedBy = ClosedBy::Call("sock_create");

/// Numbers of `linux/socket.h` that not every C library has.
const AF_KCM: i32 = 41;
const AF_QIPCRTR: i32 = 42;
const AF_SMC: i32 = 43;
const AF_MCTP: i32 = 45;
/// `IPPROTO_L2TP`.
const L2TP: i32 = 115;

macro_rules! made {
    ($name:literal, $closed_by:expr, $family:expr, $kind:expr, $protocol:expr) => {
        Escape {
            evidence: Evidence::Success,
            ..escape($name, $closed_by, |_| {
                kinds::made(sys::socket($family, $kind, $protocol))
            })
        }
    };
}

pub(super) static ESCAPES: &[Escape] = &[
    made!("rds socket", LSM, libc::AF_RDS, libc::SOCK_SEQPACKET, 0),
    made!("tipc socket", LSM, libc::AF_TIPC, libc::SOCK_RDM, 0),
    made!(
        "rxrpc socket",
        LSM,
        libc::AF_RXRPC,
        libc::SOCK_DGRAM,
        libc::AF_INET
    ),
    made!("smc socket", LSM, AF_SMC, libc::SOCK_STREAM, 0),
    made!("kcm socket", LSM, AF_KCM, libc::SOCK_DGRAM, 0),
    made!("pppox socket", LSM, libc::AF_PPPOX, libc::SOCK_STREAM, 0),
    made!("l2tp socket", CREATE, libc::AF_INET, libc::SOCK_DGRAM, L2TP),
    made!(
        "l2tp socket, ipv6",
        CREATE,
        libc::AF_INET6,
        libc::SOCK_DGRAM,
        L2TP
    ),
    made!("vsock datagram socket", LSM, libc::AF_VSOCK, libc::SOCK_DGRAM, 0),
    made!("qipcrtr socket", LSM, AF_QIPCRTR, libc::SOCK_DGRAM, 0),
    made!("phonet socket", LSM, libc::AF_PHONET, libc::SOCK_DGRAM, 0),
    made!("can socket", LSM, libc::AF_CAN, libc::SOCK_RAW, 1),
    made!("ax25 socket", LSM, libc::AF_AX25, libc::SOCK_DGRAM, 0),
    made!("netrom socket", LSM, libc::AF_NETROM, libc::SOCK_SEQPACKET, 0),
    made!("rose socket", LSM, libc::AF_ROSE, libc::SOCK_SEQPACKET, 0),
    made!("bluetooth socket", LSM, libc::AF_BLUETOOTH, libc::SOCK_RAW, 1),
    made!("nfc socket", LSM, libc::AF_NFC, libc::SOCK_STREAM, 1),
    made!("x25 socket", LSM, libc::AF_X25, libc::SOCK_SEQPACKET, 0),
    made!("llc socket", LSM, libc::AF_LLC, libc::SOCK_DGRAM, 0),
    made!("ieee802154 socket", LSM, libc::AF_IEEE802154, libc::SOCK_DGRAM, 0),
    made!("appletalk socket", LSM, libc::AF_APPLETALK, libc::SOCK_DGRAM, 0),
    made!("atm socket", LSM, libc::AF_ATMPVC, libc::SOCK_DGRAM, 0),
    made!("caif socket", LSM, libc::AF_CAIF, libc::SOCK_SEQPACKET, 0),
    made!("isdn socket", LSM, libc::AF_ISDN, libc::SOCK_RAW, 0),
    made!("infiniband socket", LSM, libc::AF_IB, libc::SOCK_SEQPACKET, 0),
    made!("mctp socket", LSM, AF_MCTP, libc::SOCK_DGRAM, 0),
];
