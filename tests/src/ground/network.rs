//! The networks of a test: one in which every address is local, so that what nobody listens on refuses at once, or
//! two with a cable between them.
//!
//! Spoken to by netlink, since a kernel of the matrix has no other program than the test.

use std::{
    io,
    net::{IpAddr, Ipv4Addr},
    os::fd::{AsRawFd as _, BorrowedFd},
};

use anyhow::{Context as _, Result, bail};
use netlink_packet_core::{
    NLM_F_ACK, NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE, NLM_F_REQUEST, NetlinkMessage, NetlinkPayload,
};
use netlink_packet_route::{
    AddressFamily, RouteNetlinkMessage,
    address::{AddressAttribute, AddressHeaderFlags, AddressMessage},
    link::{InfoData, InfoKind, InfoVeth, LinkAttribute, LinkFlags, LinkInfo, LinkMessage},
    neighbour::{NeighbourAddress, NeighbourAttribute, NeighbourMessage, NeighbourState},
    route::{RouteAddress, RouteAttribute, RouteMessage, RouteProtocol, RouteScope, RouteType},
};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};
use nix::net::if_::if_nametoindex;

/// The loopback device's index in every network namespace (`LOOPBACK_IFINDEX`).
const LOOPBACK: u32 = 1;

/// `RT_TABLE_LOCAL` of `linux/rtnetlink.h`.
const LOCAL_TABLE: u8 = 255;
/// `RT_TABLE_MAIN`.
const MAIN_TABLE: u8 = 254;

/// One end of a cable.
#[derive(Clone, Copy, Debug)]
pub struct End {
    /// The device's name.
    pub device: &'static str,
    /// Its own address on the link.
    pub station: [u8; 6],
}

/// Brings the loopback device of this thread's network up.
///
/// # Errors
/// If the kernel refuses.
pub fn loopback_up() -> Result<()> {
    up(LOOPBACK).context("bringing the loopback device up")
}

/// Brings a device of this thread's network up.
///
/// # Errors
/// If there is none of this name, or the kernel refuses.
pub fn device_up(device: &str) -> Result<()> {
    up(if_nametoindex(device)?).with_context(|| format!("bringing {device} up"))
}

fn up(index: u32) -> Result<()> {
    let mut link = LinkMessage::default();
    link.header.index = index;
    link.header.flags = LinkFlags::Up;
    link.header.change_mask = LinkFlags::Up;
    request(RouteNetlinkMessage::SetLink(link), 0)
}

/// Lays a cable (veth) from this thread's network to another.
///
/// # Errors
/// If the kernel refuses, or has no such devices: Debian's has them in a module.
pub fn lay_cable(near: End, far: End, network: BorrowedFd<'_>) -> Result<()> {
    let end = |end: End| {
        let mut link = LinkMessage::default();
        link.attributes = vec![
            LinkAttribute::IfName(end.device.to_owned()),
            LinkAttribute::Address(end.station.to_vec()),
        ];
        link
    };
    let (mut link, mut peer) = (end(near), end(far));
    peer.attributes.push(LinkAttribute::NetNsFd(network.as_raw_fd()));
    link.attributes.push(LinkAttribute::LinkInfo(vec![
        LinkInfo::Kind(InfoKind::Veth),
        LinkInfo::Data(InfoData::Veth(InfoVeth::Peer(peer))),
    ]));
    request(RouteNetlinkMessage::NewLink(link), NLM_F_CREATE | NLM_F_EXCL)
        .with_context(|| format!("laying a cable from {} to {}", near.device, far.device))
}

/// Gives a device an address, with the network around it (IPv4: 24 bits, IPv6: 64), used from now on.
///
/// # Errors
/// If the kernel refuses.
pub fn add_address(device: &str, address: IpAddr) -> Result<()> {
    let mut message = AddressMessage::default();
    message.header.index = if_nametoindex(device)?;
    message.header.flags = AddressHeaderFlags::Nodad;
    message.attributes = vec![
        AddressAttribute::Local(address),
        AddressAttribute::Address(address),
    ];
    message.header.family = family(address);
    match address {
        IpAddr::V4(v4) => {
            let [a, b, c, _] = v4.octets();
            message.header.prefix_len = 24;
            message
                .attributes
                .push(AddressAttribute::Broadcast(Ipv4Addr::new(a, b, c, 255)));
        }
        IpAddr::V6(_) => message.header.prefix_len = 64,
    }
    request(
        RouteNetlinkMessage::NewAddress(message),
        NLM_F_CREATE | NLM_F_EXCL,
    )
    .with_context(|| format!("giving {device} the address {address}"))
}

/// Says which station has an address, so that no packet has to wait for an answer.
///
/// # Errors
/// If the kernel refuses.
pub fn add_neighbour(device: &str, address: IpAddr, station: [u8; 6]) -> Result<()> {
    let mut message = NeighbourMessage::default();
    message.header.family = family(address);
    message.header.ifindex = if_nametoindex(device)?;
    message.header.state = NeighbourState::Permanent;
    let destination = match address {
        IpAddr::V4(v4) => NeighbourAddress::Inet(v4),
        IpAddr::V6(v6) => NeighbourAddress::Inet6(v6),
    };
    message.attributes = vec![
        NeighbourAttribute::Destination(destination),
        NeighbourAttribute::LinkLayerAddress(station.to_vec()),
    ];
    request(
        RouteNetlinkMessage::NewNeighbour(message),
        NLM_F_CREATE | NLM_F_REPLACE,
    )
    .with_context(|| format!("saying where {address} is"))
}

/// Sends what goes to a network by a device.
///
/// # Errors
/// If the kernel refuses.
pub fn add_route(device: &str, network: IpAddr, prefix_length: u8) -> Result<()> {
    let mut route = route(device, family(network))?;
    route.header.destination_prefix_length = prefix_length;
    route.header.scope = RouteScope::Link;
    route
        .attributes
        .push(RouteAttribute::Destination(route_address(network)));
    request(RouteNetlinkMessage::NewRoute(route), NLM_F_CREATE | NLM_F_EXCL)
        .with_context(|| format!("sending {network}/{prefix_length} by {device}"))
}

/// Sends whatever has no other route to a router behind a device.
///
/// # Errors
/// If the kernel refuses.
pub fn add_gateway(device: &str, router: IpAddr) -> Result<()> {
    let mut route = route(device, family(router))?;
    route
        .attributes
        .push(RouteAttribute::Gateway(route_address(router)));
    request(RouteNetlinkMessage::NewRoute(route), NLM_F_CREATE | NLM_F_EXCL)
        .with_context(|| format!("sending everything else to {router} behind {device}"))
}

fn route(device: &str, family: AddressFamily) -> Result<RouteMessage> {
    let mut route = RouteMessage::default();
    route.header.address_family = family;
    route.header.table = MAIN_TABLE;
    route.header.protocol = RouteProtocol::Boot;
    route.header.kind = RouteType::Unicast;
    route.attributes = vec![RouteAttribute::Oif(if_nametoindex(device)?)];
    Ok(route)
}

fn route_address(address: IpAddr) -> RouteAddress {
    match address {
        IpAddr::V4(v4) => RouteAddress::Inet(v4),
        IpAddr::V6(v6) => RouteAddress::Inet6(v6),
    }
}

fn family(address: IpAddr) -> AddressFamily {
    match address {
        IpAddr::V4(_) => AddressFamily::Inet,
        IpAddr::V6(_) => AddressFamily::Inet6,
    }
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
