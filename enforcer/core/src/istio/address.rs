//! Addresses as Istio accepts them: what Go's `net/netip` parses, and `unix://` paths.

use std::net::IpAddr;

use ipnet::IpNet;

/// The prefix of an address that is a Unix socket.
pub(super) const UNIX_PREFIX: &str = "unix://";

/// An address; a zone after `%` is allowed for IPv6, as in Go, and dropped.
pub(super) fn parse_ip(text: &str) -> Option<IpAddr> {
    match text.split_once('%') {
        None => text.parse().ok(),
        Some((_, "")) => None,
        Some((address, _)) => address.parse().ok().filter(IpAddr::is_ipv6),
    }
}

/// An element of a ServiceEntry's `addresses`: an address or, with a `/`, a network, host bits cleared.
///
/// # Errors
/// Istio's message for what is wrong with it.
pub(super) fn parse_network(text: &str) -> Result<IpNet, String> {
    let Some((address, length)) = text.split_once('/') else {
        return parse_ip(text)
            .map(IpNet::from)
            .ok_or_else(|| format!("{text} is not a valid IP"));
    };
    if length.contains('/') {
        return Err(format!("{text} is not a valid IP"));
    }
    let is_plain =
        length.bytes().all(|byte| byte.is_ascii_digit()) && (length == "0" || !length.starts_with('0'));
    let network = address
        .parse()
        .ok()
        .zip(length.parse().ok().filter(|_| is_plain))
        .and_then(|(address, length)| IpNet::new(address, length).ok());
    network
        .map(|network| network.trunc())
        .ok_or_else(|| format!("{text} is not a valid CIDR block"))
}

/// What comes after `unix://`: an absolute path to a file, or an abstract name after `@`.
///
/// # Errors
/// Istio's message for what is wrong with it.
pub(super) fn check_unix(path: &str) -> Result<(), String> {
    if path.is_empty() {
        return Err("unix address must not be empty".to_owned());
    }
    if path.starts_with('@') || (path.starts_with('/') && !path.ends_with('/')) {
        return Ok(());
    }
    Err(format!("{path} is not an absolute path to a file"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_those_that_go_parses() {
        for text in [
            "1.2.3.4",
            "::",
            "2001:db8::1",
            "001:db8::",
            "::ffff:1.2.3.4",
            "fe80::1%eth0",
        ] {
            assert!(parse_ip(text).is_some(), "{text}");
        }
        for text in [
            "",
            "1.2.3",
            "01.2.3.4",
            "1.2.3.4%eth0",
            "fe80::1%",
            "[::1]",
            " 1.2.3.4",
            "1.2.3.4:80",
        ] {
            assert!(parse_ip(text).is_none(), "{text}");
        }
    }

    #[test]
    fn networks_lose_their_host_bits() {
        for (text, network) in [
            ("10.1.2.3/8", "10.0.0.0/8"),
            ("1.2.3.4", "1.2.3.4/32"),
            ("2001:db8::1/32", "2001:db8::/32"),
            ("::1", "::1/128"),
            ("0.0.0.0/0", "0.0.0.0/0"),
        ] {
            assert_eq!(parse_network(text).unwrap().to_string(), network);
        }
    }

    #[test]
    fn malformed_networks_are_refused() {
        for text in [
            "10.0.0.0/33",
            "10.0.0.0/-1",
            "10.0.0.0/08",
            "10.0.0.0/",
            "::/129",
            "10.0.0/8",
            "fe80::%a/64",
        ] {
            assert_eq!(
                parse_network(text).unwrap_err(),
                format!("{text} is not a valid CIDR block")
            );
        }
        assert_eq!(
            parse_network("1.2.3.4/8/8").unwrap_err(),
            "1.2.3.4/8/8 is not a valid IP"
        );
        assert_eq!(
            parse_network("db.example.com").unwrap_err(),
            "db.example.com is not a valid IP"
        );
    }
}
