//! A destination as a user types it, `HOST:PORT`, `IP:PORT` or `[IPv6]:PORT`, with `/udp` or `/tcp` behind it; or many at
//! once, `*.DOMAIN:PORT` and `NETWORK:PORT`.
//!
//! It must never resolve a name, nor guess a port.

use std::{
    fmt,
    net::{IpAddr, Ipv6Addr},
};

use ipnet::{IpNet, Ipv6Net};

use crate::{
    model::{Host, Transport},
    pattern::pattern,
};

/// What to write.
const FORMS: &str = "write HOST:PORT, IP:PORT or [IPv6]:PORT, and /udp after it for UDP";

/// What was typed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Typed {
    /// Where to.
    pub to: To,
    /// From 1.
    pub port: u16,
    /// What carries it.
    pub transport: Transport,
}

/// A place, or many.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum To {
    /// A host, or all below a domain.
    Host(Host),
    /// A network; an address is one with itself alone.
    Network(IpNet),
}

impl Typed {
    /// Reads a destination; without a suffix, `transport` carries it.
    ///
    /// # Errors
    /// What is wrong, and what to write instead, in one line.
    pub fn parse(text: &str, transport: Transport) -> Result<Self, String> {
        if let Some((scheme, rest)) = text.split_once("://") {
            let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
            let port = if scheme == "http" { ":80" } else { ":443" };
            let port = if host.contains(':') { "" } else { port };
            return Err(format!("write no URL, but {host}{port}"));
        }
        let (place, transport) = match text.rsplit_once('/') {
            // The slash of a network.
            Some((_, rest)) if rest.contains(':') => (text, transport),
            None => (text, transport),
            Some((place, suffix)) if suffix.eq_ignore_ascii_case("tcp") => (place, Transport::Tcp),
            Some((place, suffix)) if suffix.eq_ignore_ascii_case("udp") => (place, Transport::Udp),
            Some(_) => return Err("what comes after the slash is udp or tcp".to_owned()),
        };
        let Some((to, port)) = place.rsplit_once(':') else {
            return Err(format!("it has no port: {FORMS}"));
        };
        let port = port_of(port).ok_or("the port is a number from 1 to 65535")?;
        let to = To::parse(to)?;
        Ok(Self { to, port, transport })
    }
}

impl To {
    /// An address.
    pub fn address(address: IpAddr) -> Self {
        Self::Network(address.to_canonical().into())
    }

    fn parse(text: &str) -> Result<Self, String> {
        if let Some(inner) = text.strip_prefix('[') {
            let inner = inner.strip_suffix(']').unwrap_or_default();
            let address = inner
                .parse::<Ipv6Addr>()
                .map(|address| Self::address(address.into()));
            let network = || {
                inner
                    .parse::<Ipv6Net>()
                    .map(|it| Self::Network(it.trunc().into()))
            };
            return address
                .or_else(|_| network())
                .map_err(|_| "between the brackets is an IPv6 address".to_owned());
        }
        if text.contains(':') {
            return Err("an IPv6 address has brackets: [IPv6]:PORT".to_owned());
        }
        if let Ok(address) = text.parse::<IpAddr>() {
            return Ok(Self::address(address));
        }
        if let Ok(network) = text.parse::<IpNet>() {
            return Ok(Self::Network(network.trunc()));
        }
        let domain = text.strip_prefix("*.").filter(|domain| !domain.contains('*'));
        let host = match domain {
            Some(domain) => host_of(domain).map(|_| Host::new(text)),
            None => host_of(text),
        };
        host.map(Self::Host)
    }
}

/// As it can be typed, without `/tcp`.
impl fmt::Display for Typed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.to {
            To::Host(host) => write!(f, "{host}:{}", self.port)?,
            To::Network(network) => {
                let place = shortest(network);
                match network {
                    IpNet::V4(_) => write!(f, "{place}:{}", self.port)?,
                    IpNet::V6(_) => write!(f, "[{place}]:{}", self.port)?,
                }
            }
        }
        match self.transport {
            Transport::Tcp => Ok(()),
            Transport::Udp => f.write_str("/udp"),
        }
    }
}

/// A network, or the one address that it has.
pub(crate) fn shortest(network: &IpNet) -> String {
    if network.prefix_len() == network.max_prefix_len() {
        network.addr().to_string()
    } else {
        network.to_string()
    }
}

/// What is wrong with a wildcard where one host is meant.
pub(crate) fn covers_many(wildcard: &str) -> String {
    format!(
        "{wildcard} stands for many hosts: write one that it covers, such as {}",
        wildcard.replacen('*', "www", 1).replace('*', "")
    )
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
        return Err(covers_many(text));
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
