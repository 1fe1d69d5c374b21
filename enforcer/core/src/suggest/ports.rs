//! Which protocol a port is given.
//!
//! Where a host's addresses are what its name resolves to, the enforcer allows the same whatever the protocol: it
//! matters to proxies alone (D1 to D6 and D10 in ARCHITECTURE.md). Under the matching `istio` it decides what is allowed:
//! an HTTP port is any address, whatever is declared, and so is a TLS or TCP port without addresses; only these two with
//! addresses allow these alone (D7, D8, D11, D12).

use crate::{
    model::{Host, Protocol, Transport},
    objects::Owner,
    registry::Lookup,
};

/// The protocol of a port that nothing is said about: what is unambiguous by its number, else TCP, which is right for any
/// bytes.
pub(super) fn by_number(number: u16, transport: Transport) -> Protocol {
    if transport == Transport::Udp {
        return Protocol::Udp;
    }
    match number {
        80 => Protocol::Http,
        443 => Protocol::Tls,
        3306 => Protocol::Mysql,
        6379 => Protocol::Redis,
        27017 => Protocol::Mongo,
        _ => Protocol::Tcp,
    }
}

/// The protocol that an object gives to this port of the host, else the one that its number says.
pub(super) fn known(
    lookup: &Lookup<'_>,
    host: Option<&Host>,
    (number, transport): (u16, Transport),
) -> Protocol {
    let states = host.and_then(|host| lookup.states.get(host));
    let owners = states.into_iter().flat_map(|state| &state.offers);
    let entries = owners.filter_map(|offer| match &offer.owner {
        Owner::Entry(entry) => Some(entry),
        Owner::Service(_) => None,
    });
    let mut ports = entries.flat_map(|entry| &entry.ports);
    let same = ports.find(|port| {
        let is_same = port.number == number && port.protocol.transport() == transport;
        is_same && !matches!(port.protocol, Protocol::Auto | Protocol::HttpProxy)
    });
    same.map_or_else(|| by_number(number, transport), |port| port.protocol)
}

/// The same as far as declared addresses alone are then allowed.
pub(super) fn by_address(protocol: Protocol) -> Protocol {
    if protocol.is_http() || protocol == Protocol::Auto {
        Protocol::Tcp
    } else {
        protocol
    }
}
