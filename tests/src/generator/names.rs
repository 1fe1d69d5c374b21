//! The names that calls are given: every family, every kind of address, every length.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6},
};

use fastrand::Rng;

use crate::escape::stage::{
    self, ALLOWED_PORT, ALLOWED4, ALLOWED6, INNER4, INNER6, LINK6, REFUSED4, REFUSED6,
};

/// A name, before it is laid out.
#[derive(Clone, Copy, Debug)]
pub(super) struct Name {
    pub(super) address: IpAddr,
    pub(super) port: u16,
    scope: Scope,
    /// Instead of the address's own.
    family: Option<u16>,
    /// Instead of the layout's own.
    length: Option<usize>,
}

/// Which device a name of IPv6 speaks of.
#[derive(Clone, Copy, Debug)]
enum Scope {
    None,
    Loopback,
    Device,
}

const V4: [Ipv4Addr; 11] = [
    REFUSED4,
    ALLOWED4,
    INNER4,
    Ipv4Addr::LOCALHOST,
    Ipv4Addr::new(127, 8, 8, 8),
    Ipv4Addr::UNSPECIFIED,
    Ipv4Addr::BROADCAST,
    Ipv4Addr::new(198, 18, 7, 255),
    Ipv4Addr::new(224, 0, 0, 251),
    Ipv4Addr::new(239, 1, 2, 3),
    // Behind the router.
    Ipv4Addr::new(203, 0, 113, 9),
];

const V6: [Ipv6Addr; 10] = [
    REFUSED6,
    ALLOWED6,
    INNER6,
    LINK6,
    Ipv6Addr::LOCALHOST,
    Ipv6Addr::UNSPECIFIED,
    Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1),
    Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0xfb),
    Ipv6Addr::new(0xff0e, 0, 0, 0, 0, 0, 0, 0x77),
    Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 9),
];

impl Name {
    /// The allowed destination of that family.
    pub(super) fn allowed(is_v6: bool) -> Self {
        let address = if is_v6 {
            IpAddr::from(ALLOWED6)
        } else {
            ALLOWED4.into()
        };
        Self::of(address, ALLOWED_PORT)
    }

    fn of(address: IpAddr, port: u16) -> Self {
        Self {
            address,
            port,
            scope: Scope::None,
            family: None,
            length: None,
        }
    }

    pub(super) fn random(rng: &mut Rng) -> Self {
        let mut name = Self::of(address(rng), port(rng));
        name.scope = match rng.u8(..8) {
            0 => Scope::Loopback,
            1 | 2 => Scope::Device,
            _ => Scope::None,
        };
        if rng.u8(..8) == 0 {
            let families = [libc::AF_UNSPEC, libc::AF_INET, libc::AF_INET6, libc::AF_UNIX, 255];
            name.family = rng.choice(families).and_then(|family| u16::try_from(family).ok());
        }
        if rng.u8(..10) == 0 {
            name.length = rng.choice([0, 1, 2, 4, 8, 15, 16, 24, 27, 28, 64, 128]);
        }
        name
    }

    /// As the kernel takes it.
    pub(super) fn bytes(&self) -> io::Result<Vec<u8>> {
        let mut bytes = match self.address {
            IpAddr::V4(v4) => stage::name(SocketAddr::from((v4, self.port))),
            IpAddr::V6(v6) => {
                let scope = match self.scope {
                    Scope::None => 0,
                    Scope::Loopback => 1,
                    Scope::Device => stage::device()?,
                };
                stage::name(SocketAddrV6::new(v6, self.port, 0, scope).into())
            }
        };
        if let Some(family) = self.family {
            bytes[..2].copy_from_slice(&family.to_ne_bytes());
        }
        if let Some(length) = self.length {
            bytes.resize(length, 0);
        }
        Ok(bytes)
    }
}

pub(super) fn address(rng: &mut Rng) -> IpAddr {
    match rng.u8(..5) {
        0 | 1 => rng.choice(V4).unwrap_or(REFUSED4).into(),
        2 | 3 => rng.choice(V6).unwrap_or(REFUSED6).into(),
        _ => rng.choice(V4).unwrap_or(REFUSED4).to_ipv6_mapped().into(),
    }
}

fn port(rng: &mut Rng) -> u16 {
    match rng.u8(..6) {
        0 => 0,
        1 => 53,
        2 => rng.u16(1024..),
        _ => ALLOWED_PORT,
    }
}
