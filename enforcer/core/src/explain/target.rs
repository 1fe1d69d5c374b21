//! A destination as a user writes it: `HOST:PORT`, `IP:PORT` or `[IPv6]:PORT`, with `/udp` or `/tcp` after it.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

use crate::{
    model::{Destination, Host, Transport},
    pattern::pattern,
};

use super::Named;

/// What to write.
const FORMS: &str = "write HOST:PORT, IP:PORT or [IPv6]:PORT, and /udp after it for UDP";

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
        if let Some((scheme, rest)) = text.split_once("://") {
            let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
            let port = if scheme == "http" { ":80" } else { ":443" };
            let port = if host.contains(':') { "" } else { port };
            return Err(wrong(&format!("write no URL, but {host}{port}")));
        }
        let (place, transport) = match text.rsplit_once('/') {
            None => (text, transport),
            Some((place, suffix)) if suffix.eq_ignore_ascii_case("tcp") => (place, Transport::Tcp),
            Some((place, suffix)) if suffix.eq_ignore_ascii_case("udp") => (place, Transport::Udp),
            Some(_) => return Err(wrong("what comes after the slash is udp or tcp")),
        };
        let Some((host, port)) = place.rsplit_once(':') else {
            return Err(wrong(&format!("it has no port: {FORMS}")));
        };
        let port = port_of(port).ok_or_else(|| wrong("the port is a number from 1 to 65535"))?;
        if let Some(address) = host.strip_prefix('[') {
            let address = address
                .strip_suffix(']')
                .and_then(|it| it.parse::<Ipv6Addr>().ok());
            let address = address.ok_or_else(|| wrong("between the brackets is an IPv6 address"))?;
            return Ok(Self::Address(Destination::new(transport, address.into(), port)));
        }
        if let Ok(address) = host.parse::<Ipv4Addr>() {
            return Ok(Self::Address(Destination::new(transport, address.into(), port)));
        }
        if host.contains(':') {
            return Err(wrong("an IPv6 address has brackets: [IPv6]:PORT"));
        }
        let host = host_of(host).map_err(|what| wrong(&what))?;
        Ok(Self::Host(Named {
            transport,
            host,
            port,
        }))
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

/// Not 0, and no sign: `+80` is a number for Rust alone.
fn port_of(text: &str) -> Option<u16> {
    let port = text.parse().ok().filter(|port| *port != 0);
    port.filter(|_| text.bytes().all(|byte| byte.is_ascii_digit()))
}

/// Reads the name of a host that can be asked for.
///
/// # Errors
/// What is wrong, in one line.
pub fn host_of(text: &str) -> Result<Host, String> {
    if text.is_empty() {
        return Err("the host is missing".to_owned());
    }
    if text.contains('*') {
        return Err(format!(
            "{text} stands for many hosts: write one that it covers, such as {}",
            text.replacen('*', "www", 1).replace('*', "")
        ));
    }
    if !text.is_ascii() {
        return Err(format!("{text} has to be written in ASCII, as xn--…"));
    }
    let is_of_names = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    if let Some(byte) = text.bytes().find(|byte| !is_of_names(*byte)) {
        return Err(format!(
            "{:?} is not a character of a host's name",
            char::from(byte)
        ));
    }
    let host = Host::new(text);
    if pattern(&host).is_none() {
        return Err(format!("{text} has an empty label, or is too long"));
    }
    let last = host.as_str().rsplit('.').next().unwrap_or_default();
    if last.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(format!("{text} is neither an IPv4 address nor a name"));
    }
    Ok(host)
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
