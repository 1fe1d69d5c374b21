//! One representation for both address families.

/// An IP address, 16 bytes in network byte order. An IPv4 address is stored in its IPv4-mapped IPv6 form
/// (`::ffff:a.b.c.d`), so that sockets of both families use the same rule. Aligned as two numbers, because the compiler
/// for BPF moves what is not aligned byte by byte.
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Address(pub [u8; 16]);

impl Address {
    /// Bits of the `::ffff:0:0/96` prefix that every IPv4 address carries.
    pub const V4_PREFIX_BITS: u32 = 96;

    /// `::`, which stands for the loopback address, and also for no address.
    pub const UNSPECIFIED: Self = Self([0; 16]);

    /// `0.0.0.0`.
    pub const UNSPECIFIED_V4: Self = Self::from_v4([0; 4]);

    /// `127.0.0.1`.
    pub const LOOPBACK_V4: Self = Self::from_v4([127, 0, 0, 1]);

    /// From an IPv4 address in network byte order.
    #[inline(always)]
    pub const fn from_v4(octets: [u8; 4]) -> Self {
        Self::from_words([0, 0, 0xffff_u32.to_be(), u32::from_ne_bytes(octets)])
    }

    /// From an IPv6 address in network byte order; an IPv4-mapped one is the IPv4 address.
    #[inline(always)]
    pub const fn from_v6(octets: [u8; 16]) -> Self {
        Self(octets)
    }

    /// From the words of an IPv6 address, each in network byte order. Uses one number and no bytes: the compiler for
    /// BPF keeps each byte that it assembles in a register of its own, and runs out of registers.
    #[inline(always)]
    pub const fn from_words(words: [u32; 4]) -> Self {
        let [a, b, c, d] = if cfg!(target_endian = "little") {
            words
        } else {
            [words[3], words[2], words[1], words[0]]
        };
        let whole = (d as u128) << 96 | (c as u128) << 64 | (b as u128) << 32 | a as u128;
        Self(whole.to_ne_bytes())
    }

    /// As two numbers, which a BPF function can take by value.
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "each half is what it is cut to")]
    pub const fn halves(self) -> [u64; 2] {
        let whole = u128::from_ne_bytes(self.0);
        [(whole >> 64) as u64, whole as u64]
    }

    /// From [`Self::halves`].
    #[inline(always)]
    pub const fn from_halves([high, low]: [u64; 2]) -> Self {
        Self((((high as u128) << 64) | low as u128).to_ne_bytes())
    }

    /// Whether it equals `other`. Compares two words: a comparison of bytes would be a function call, which BPF
    /// programs cannot make.
    #[inline(always)]
    pub const fn is(&self, other: &Self) -> bool {
        u128::from_ne_bytes(self.0) == u128::from_ne_bytes(other.0)
    }

    /// The IPv4 address in network byte order, if it is one.
    #[inline(always)]
    pub const fn as_v4(&self) -> Option<[u8; 4]> {
        match self.0 {
            [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, a, b, c, d] => Some([a, b, c, d]),
            _ => None,
        }
    }
}

impl From<core::net::IpAddr> for Address {
    fn from(address: core::net::IpAddr) -> Self {
        match address {
            core::net::IpAddr::V4(v4) => Self::from_v4(v4.octets()),
            core::net::IpAddr::V6(v6) => Self::from_v6(v6.octets()),
        }
    }
}

impl From<Address> for core::net::IpAddr {
    fn from(address: Address) -> Self {
        match address.as_v4() {
            Some(octets) => Self::V4(octets.into()),
            None => Self::V6(address.0.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::net::IpAddr;

    #[test]
    fn mapped_address_is_the_ipv4_address() {
        let mapped: IpAddr = "::ffff:192.0.2.1".parse().unwrap();
        let plain: IpAddr = "192.0.2.1".parse().unwrap();
        assert_eq!(Address::from(mapped), Address::from(plain));
        assert_eq!(IpAddr::from(Address::from(mapped)), plain);
    }

    #[test]
    fn address_is_the_same_by_halves_and_by_words() {
        let address = Address([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15]);
        assert_eq!(Address::from_halves(address.halves()), address);
        let words = [0, 4, 8, 12].map(|at| u32::from_ne_bytes(address.0[at..at + 4].try_into().unwrap()));
        assert_eq!(Address::from_words(words), address);
    }

    #[test]
    fn ipv4_compatible_address_is_not_an_ipv4_address() {
        let compatible: IpAddr = "::192.0.2.1".parse().unwrap();
        assert_eq!(Address::from(compatible).as_v4(), None);
    }
}
