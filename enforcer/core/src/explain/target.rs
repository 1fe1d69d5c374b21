//! One destination of those that a user can write: a host or an address, and no more than one.

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
};

use crate::{
    model::{Destination, Transport},
    typed::{To, Typed, covers_many},
};

use super::Named;

/// Where somebody wants to go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// An address.
    Address(Destination),
    /// A host, whose addresses have to be found.
    Host(Named),
}

impl Target {
    /// Reads a destination; without a suffix, `transport` carries it.
    ///
    /// # Errors
    /// What is wrong, and what to write instead, in one line.
    pub fn parse(text: &str, transport: Transport) -> Result<Self, String> {
        let wrong = |what: &str| format!("{text:?} is no destination: {what}");
        let typed = Typed::parse(text, transport).map_err(|what| wrong(&what))?;
        let (transport, port) = (typed.transport, typed.port);
        match typed.to {
            To::Host(host) if host.is_wildcard() => Err(wrong(&covers_many(host.as_str()))),
            To::Host(host) => Ok(Self::Host(Named {
                transport,
                host,
                port,
            })),
            To::Network(network) if network.prefix_len() < network.max_prefix_len() => Err(wrong(&format!(
                "{network} stands for many addresses: write one of them"
            ))),
            To::Network(network) => Ok(Self::Address(Destination::new(transport, network.addr(), port))),
        }
    }

    /// What carries it.
    pub fn transport(&self) -> Transport {
        match self {
            Self::Address(to) => to.transport,
            Self::Host(named) => named.transport,
        }
    }

    /// The port dialled.
    pub fn port(&self) -> u16 {
        match self {
            Self::Address(to) => to.port,
            Self::Host(named) => named.port,
        }
    }

    /// It at an address, which for a host is one of the host's.
    pub fn at(&self, address: IpAddr) -> Destination {
        Destination::new(self.transport(), address, self.port())
    }
}

/// In the form that [`Target::parse`] reads, whatever the transport is without a suffix.
impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(to) => write!(f, "{}", SocketAddr::new(to.address, to.port))?,
            Self::Host(named) => write!(f, "{}:{}", named.host, named.port)?,
        }
        f.write_str(match self.transport() {
            Transport::Tcp => "/tcp",
            Transport::Udp => "/udp",
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(text: &str) -> Result<String, String> {
        Target::parse(text, Transport::Tcp).map(|target| target.to_string())
    }

    #[test]
    fn destination_is_a_host_or_an_address_with_a_port() {
        for (text, read) in [
            ("db.example.com:5432", "db.example.com:5432/tcp"),
            ("DB.example.com.:5432", "db.example.com:5432/tcp"),
            ("localhost:80/tcp", "localhost:80/tcp"),
            ("my_db:1/UDP", "my_db:1/udp"),
            ("192.0.2.1:53/udp", "192.0.2.1:53/udp"),
            ("[2001:db8::1]:443", "[2001:db8::1]:443/tcp"),
            ("[::ffff:192.0.2.1]:65535/udp", "192.0.2.1:65535/udp"),
            ("1.example:1", "1.example:1/tcp"),
        ] {
            assert_eq!(parse(text).as_deref(), Ok(read), "{text}");
        }
    }

    #[test]
    fn what_is_no_destination_is_told_in_one_line_with_what_to_write() {
        for (text, says) in [
            ("", "HOST:PORT"),
            ("db.example.com", "it has no port: write HOST:PORT"),
            ("db.example.com:", "number from 1 to 65535"),
            ("db.example.com:0", "number from 1 to 65535"),
            ("db.example.com:+80", "number from 1 to 65535"),
            ("db.example.com:65536", "number from 1 to 65535"),
            ("db.example.com:http", "number from 1 to 65535"),
            ("db.example.com:80/sctp", "udp or tcp"),
            ("db.example.com:80/", "udp or tcp"),
            (":80", "the host is missing"),
            ("2001:db8::1:443", "brackets"),
            ("[2001:db8::1]", "number from 1 to 65535"),
            ("[2001:db8::1:443", "between the brackets"),
            ("[192.0.2.1]:80", "between the brackets"),
            ("[fe80::1%eth0]:80", "between the brackets"),
            ("192.0.2.256:80", "neither an IPv4 address nor a name"),
            ("192.0.2:80", "neither an IPv4 address nor a name"),
            ("*.example.com:443", "such as www.example.com"),
            ("*.*:443", "stands for many hosts"),
            ("192.0.2.0/24:443", "192.0.2.0/24 stands for many addresses"),
            ("https://api.example.com/v1?x=1", "api.example.com:443"),
            ("http://api.example.com", "api.example.com:80"),
            ("https://api.example.com:8443/", "but api.example.com:8443"),
            ("a b:80", "' ' is not a character"),
            ("user@host:22", "'@' is not a character"),
            ("a\n:80", r"'\n' is not a character"),
            ("bücher.example:443", "xn--"),
            ("a..b:80", "empty label"),
            (".:80", "empty label"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.contains(says), "{text}: {error}");
            assert_eq!(error.lines().count(), 1, "{error}");
        }
        let long = format!("{}:80", "a.".repeat(130));
        assert!(parse(&long).unwrap_err().contains("too long"));
    }

    proptest! {
        #[test]
        fn what_is_read_is_written_so_that_it_is_read_again(text in "\\PC{0,40}", port in "(:[0-9]{1,5})?(/udp)?") {
            let typed = format!("{text}{port}");
            if let Ok(target) = Target::parse(&typed, Transport::Udp) {
                let again = Target::parse(&target.to_string(), Transport::Tcp);
                prop_assert_eq!(again, Ok(target));
            }
        }
    }
}
