//! The network of a test: every address is local, so that what nobody listens on refuses at once.
//!
//! Spoken to by netlink, since a kernel of the matrix has no other program than the test.

use std::io;

use anyhow::{Context as _, Result, bail};
use netlink_packet_core::{
    NLM_F_ACK, NLM_F_CREATE, NLM_F_EXCL, NLM_F_REQUEST, NetlinkMessage, NetlinkPayload,
};
use netlink_packet_route::{
    AddressFamily, RouteNetlinkMessage,
    link::{LinkFlags, LinkMessage},
    route::{RouteAttribute, RouteMessage, RouteProtocol, RouteScope, RouteType},
};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};

/// The loopback device's index in every network namespace (`LOOPBACK_IFINDEX`).
const LOOPBACK: u32 = 1;

/// `RT_TABLE_LOCAL` of `linux/rtnetlink.h`.
const LOCAL_TABLE: u8 = 255;

/// Brings the loopback device of this thread's network up.
///
/// # Errors
/// If the kernel refuses.
pub fn loopback_up() -> Result<()> {
    let mut link = LinkMessage::default();
    link.header.index = LOOPBACK;
    link.header.flags = LinkFlags::Up;
    link.header.change_mask = LinkFlags::Up;
    request(RouteNetlinkMessage::SetLink(link), 0).context("bringing the loopback device up")
}

/// Makes every address of both families one of this thread's network.
///
/// # Errors
/// If the kernel refuses.
pub fn all_addresses_local() -> Result<()> {
    for family in [AddressFamily::Inet, AddressFamily::Inet6] {
        let mut route = RouteMessage::default();
        route.header.address_family = family;
        route.header.table = LOCAL_TABLE;
        route.header.protocol = RouteProtocol::Boot;
        route.header.scope = RouteScope::Host;
        route.header.kind = RouteType::Local;
        route.attributes.push(RouteAttribute::Oif(LOOPBACK));
        request(RouteNetlinkMessage::NewRoute(route), NLM_F_CREATE | NLM_F_EXCL)
            .with_context(|| format!("making every address of {family:?} local"))?;
    }
    Ok(())
}

/// Sends one request and waits for the kernel's word on it.
fn request(request: RouteNetlinkMessage, flags: u16) -> Result<()> {
    let mut message = NetlinkMessage::from(request);
    message.header.flags = NLM_F_REQUEST | NLM_F_ACK | flags;
    message.finalize();
    let mut bytes = vec![0; message.buffer_len()];
    message.serialize(&mut bytes);
    let socket = Socket::new(NETLINK_ROUTE).context("opening a netlink socket")?;
    socket.connect(&SocketAddr::new(0, 0))?;
    socket.send(&bytes, 0)?;
    let (answer, _) = socket.recv_from_full()?;
    match NetlinkMessage::<RouteNetlinkMessage>::deserialize(&answer)?.payload {
        NetlinkPayload::Error(error) if error.code.is_none() => Ok(()),
        NetlinkPayload::Error(error) => Err(io::Error::from_raw_os_error(-error.raw_code()).into()),
        other => bail!("the kernel answers {other:?}"),
    }
}
