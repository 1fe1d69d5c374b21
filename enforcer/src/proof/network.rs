//! The canary's network namespace, in which the tested addresses are local and have listeners.

use std::{
    net::{IpAddr, TcpListener},
    thread,
};

use anyhow::{Context as _, Result};
use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_route::{
    AddressFamily, RouteNetlinkMessage,
    address::{AddressAttribute, AddressHeaderFlags, AddressMessage},
};
use nix::sched::{CloneFlags, unshare};

use super::trial::{PORT, addresses};
use crate::netlink::{LOOPBACK, request, up};

/// Puts this process, which has one thread, into a network namespace of its own and makes that ready.
///
/// # Errors
/// If the kernel refuses.
pub(super) fn enter() -> Result<()> {
    // On most machines, a process that may not create a network namespace may create one in a new user namespace.
    unshare(CloneFlags::CLONE_NEWNET)
        .or_else(|_| unshare(CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNET))
        .context("making a network namespace")?;
    up(LOOPBACK).context("bringing the loopback device up")?;
    for address in addresses() {
        match add(address) {
            // IPv6 may be absent or turned off; the attempts check for themselves.
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

/// Makes an address local at once, without duplicate detection: no other host has it.
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
