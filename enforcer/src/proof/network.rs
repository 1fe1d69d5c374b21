//! The canary's network namespace, in which the addresses that it tries are local and somebody listens.

use std::{
    io,
    net::{IpAddr, TcpListener},
    thread,
};

use anyhow::{Context as _, Result, bail};
use netlink_packet_core::{
    NLM_F_ACK, NLM_F_CREATE, NLM_F_EXCL, NLM_F_REQUEST, NetlinkMessage, NetlinkPayload,
};
use netlink_packet_route::{
    AddressFamily, RouteNetlinkMessage,
    address::{AddressAttribute, AddressHeaderFlags, AddressMessage},
    link::{LinkFlags, LinkMessage},
};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};
use nix::sched::{CloneFlags, unshare};

use super::trial::{PORT, addresses};

/// The loopback device's index in every network namespace (`LOOPBACK_IFINDEX`).
const LOOPBACK: u32 = 1;

/// Puts this process, which has one thread, into a network namespace of its own and makes that ready.
///
/// # Errors
/// If the kernel refuses.
pub(super) fn enter() -> Result<()> {
    // Who may not make a network namespace may, on most machines, make one below a user namespace.
    unshare(CloneFlags::CLONE_NEWNET)
        .or_else(|_| unshare(CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNET))
        .context("making a network namespace")?;
    let mut link = LinkMessage::default();
    link.header.index = LOOPBACK;
    link.header.flags = LinkFlags::Up;
    link.header.change_mask = LinkFlags::Up;
    request(RouteNetlinkMessage::SetLink(link), 0).context("bringing the loopback device up")?;
    for address in addresses() {
        match add(address) {
            // IPv6 may be absent or turned off; the attempts look for themselves.
            Err(_) if address.is_ipv6() => {}
            added => {
                added.with_context(|| format!("making {address} local"))?;
                let listener =
                    TcpListener::bind((address, PORT)).with_context(|| format!("listening at {address}"))?;
                thread::spawn(move || listener.incoming().for_each(drop));
            }
        }
    }
    Ok(())
}

/// Makes an address local, at once: nobody else has it.
fn add(address: IpAddr) -> Result<()> {
    let mut message = AddressMessage::default();
    (message.header.family, message.header.prefix_len) = match address {
        IpAddr::V4(_) => (AddressFamily::Inet, 32),
        IpAddr::V6(_) => (AddressFamily::Inet6, 128),
    };
    message.header.flags = AddressHeaderFlags::Nodad;
    message.header.index = LOOPBACK;
    message.attributes.push(AddressAttribute::Local(address));
    message.attributes.push(AddressAttribute::Address(address));
    let flags = NLM_F_CREATE | NLM_F_EXCL;
    request(RouteNetlinkMessage::NewAddress(message), flags)
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
