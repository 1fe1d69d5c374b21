//! Whom to ask, and how patiently.

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    str::FromStr,
    time::Duration,
};

use enforcer_core::names::Pacing;

/// How names are resolved.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Whom to ask, in this order; the system's resolvers if there are none here.
    pub servers: Vec<Server>,
    /// Where the system keeps its resolvers; followed while the daemon runs.
    pub resolv_conf: PathBuf,
    /// A file whose addresses are allowed beside those that resolvers give, because applications read it too. Only
    /// in use with the system's resolvers: whoever names servers wants those. A container has a hosts file of its
    /// own, which is not this one.
    pub hosts_file: Option<PathBuf>,
    /// Where addresses are kept for the next start; None keeps none.
    pub memory: Option<PathBuf>,
    /// How long one server may take for one question: 2 s, in which a lost packet is sent anew.
    pub timeout: Duration,
    /// After how long without an answer the next server is asked as well: 500 ms. The first goes on meanwhile.
    pub patience: Duration,
    /// The most questions on their way at one time: 64.
    pub in_flight: usize,
    /// When to ask again.
    pub pacing: Pacing,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            servers: Vec::new(),
            resolv_conf: "/etc/resolv.conf".into(),
            hosts_file: Some("/etc/hosts".into()),
            memory: None,
            timeout: Duration::from_secs(2),
            patience: Duration::from_millis(500),
            in_flight: 64,
            pacing: Pacing::default(),
        }
    }
}

/// A resolver as the configuration writes it: `192.0.2.53`, `192.0.2.53:5353`, `2001:db8::1` or
/// `[2001:db8::1]:53`. The port is 53 if there is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Server(SocketAddr);

/// The port of DNS.
pub(super) const PORT: u16 = 53;

/// Why a text is no resolver.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidServer {
    /// Not an address, with or without a port.
    #[error(
        "`{0}` is not a DNS server: write its IP address, with a port if it is not 53 (192.0.2.53:5353, [2001:db8::1]:53)"
    )]
    NotAnAddress(String),
    /// Nothing listens there.
    #[error("`{0}` is not a DNS server: no server has that {1}")]
    Nowhere(String, &'static str),
}

impl Server {
    /// Where it listens.
    pub fn address(self) -> SocketAddr {
        self.0
    }
}

impl FromStr for Server {
    type Err = InvalidServer;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bare = text
            .strip_prefix('[')
            .and_then(|rest| rest.strip_suffix(']'))
            .filter(|inner| inner.contains(':'))
            .unwrap_or(text);
        let address = match bare.parse::<IpAddr>() {
            Ok(ip) => SocketAddr::new(ip, PORT),
            Err(_) => text
                .parse()
                .map_err(|_| InvalidServer::NotAnAddress(text.to_owned()))?,
        };
        let ip = address.ip().to_canonical();
        if ip.is_unspecified() || ip.is_multicast() {
            return Err(InvalidServer::Nowhere(text.to_owned(), "address"));
        }
        if address.port() == 0 {
            return Err(InvalidServer::Nowhere(text.to_owned(), "port"));
        }
        Ok(Self(SocketAddr::new(ip, address.port())))
    }
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn server_is_an_address_with_or_without_port() {
        for (text, address) in [
            ("192.0.2.53", "192.0.2.53:53"),
            ("192.0.2.53:5353", "192.0.2.53:5353"),
            ("2001:db8::1", "[2001:db8::1]:53"),
            ("[2001:db8::1]", "[2001:db8::1]:53"),
            ("[2001:db8::1]:5353", "[2001:db8::1]:5353"),
            ("::ffff:192.0.2.53", "192.0.2.53:53"),
        ] {
            assert_eq!(
                text.parse().map(Server::address),
                Ok(address.parse().unwrap()),
                "{text}"
            );
        }
    }

    #[test]
    fn what_is_no_server_is_said_with_the_text() {
        for text in [
            "",
            "dns.example.com",
            "192.0.2.53:",
            "192.0.2.53:70000",
            "192.0.2",
            "[192.0.2.53]",
            "0.0.0.0",
            "::",
            "224.0.0.251",
            "192.0.2.53:0",
        ] {
            let error = text.parse::<Server>().unwrap_err().to_string();
            assert!(
                error.starts_with(&format!("`{text}` is not a DNS server: ")),
                "{error}"
            );
        }
    }
}
