//! Who may come in: a browser that has the page from here, and knows the token.

use http::{
    HeaderMap,
    header::{AUTHORIZATION, HOST},
    uri::Authority,
};

use super::Token;

/// Whether the request is for this server by its address. By a name, another site could have a browser take this server
/// for that site (DNS rebinding); names of the machine itself are not needed at a loopback address.
pub(super) fn is_for_us(headers: &HeaderMap) -> bool {
    let mut hosts = headers.get_all(HOST).iter();
    let (Some(host), None) = (hosts.next(), hosts.next()) else {
        return false;
    };
    let Ok(authority) = Authority::try_from(host.as_bytes()) else {
        return false;
    };
    let name = authority.host();
    let bare = name.strip_prefix('[').and_then(|name| name.strip_suffix(']'));
    name.eq_ignore_ascii_case("localhost") || bare.unwrap_or(name).parse::<std::net::IpAddr>().is_ok()
}

/// Whether the request has the token, in the header that no other page can set.
pub(super) fn knows(headers: &HeaderMap, token: &Token) -> bool {
    let said = headers.get(AUTHORIZATION).map(http::HeaderValue::as_bytes);
    said.and_then(|said| said.strip_prefix(b"Bearer "))
        .is_some_and(|said| token.is(said))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_a_resolver_could_lead_here_are_not_this_server() {
        let is_for_us = |hosts: &[&str]| {
            let mut headers = HeaderMap::new();
            for host in hosts {
                headers.append(HOST, host.parse().unwrap());
            }
            super::is_for_us(&headers)
        };
        for host in [
            "127.0.0.1:9901",
            "127.0.0.1",
            "[::1]:9901",
            "localhost:1",
            "LOCALHOST",
            "192.0.2.1:80",
        ] {
            assert!(is_for_us(&[host]), "{host}");
        }
        for host in [
            "",
            "evil.example",
            "evil.example:9901",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "a@evil.example",
        ] {
            assert!(!is_for_us(&[host]), "{host}");
        }
        assert!(!is_for_us(&[]));
        assert!(!is_for_us(&["127.0.0.1", "evil.example"]));
    }

    #[test]
    fn token_counts_in_its_header_alone() {
        let token = Token::random().unwrap();
        let knows = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(AUTHORIZATION, value.parse().unwrap());
            super::knows(&headers, &token)
        };
        assert!(knows(&format!("Bearer {}", token.as_str())));
        assert!(!knows(token.as_str()));
        assert!(!knows("Bearer "));
        assert!(!knows(&format!("Bearer {}0", token.as_str())));
        assert!(!super::knows(&HeaderMap::new(), &token));
    }
}
