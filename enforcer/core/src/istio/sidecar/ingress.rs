//! `ingress`: of no consequence for what is reachable, and judged all the same.

use std::collections::BTreeSet;

use super::{CAPTURE_MODES, connection_pool, egress, tls};
use crate::istio::{
    address,
    node::{Findings, Item, Node},
    port::{self, RawPort},
    schema,
};

/// The addresses that a `defaultEndpoint` may have.
const DEFAULT_HOSTS: [&str; 5] = ["", "127.0.0.1", "0.0.0.0", "::1", "::"];

pub(super) fn check(listeners: &[Node<'_>], found: &mut Findings) {
    let mut numbers = BTreeSet::new();
    for at in listeners {
        if !at.is_mapping(found) {
            found.error(at, "sidecar: ingress may not be null");
            continue;
        }
        let port_at = at.get("port");
        if !port_at.is_mapping(found) {
            schema::required(&port_at, found);
            found.error(&port_at, "sidecar: port is required for ingress listeners");
            continue;
        }
        let port = RawPort::read(&port_at, found);
        check_listener(at, &port, found);
        if !numbers.insert(port.number()) {
            let message = "sidecar: ports on IP bound listeners must be unique";
            found.error(&port.number_at(), message);
        }
        tls::check(&at.get("tls"), &port, found);
        let pool = at.get("connectionPool");
        connection_pool::check(&pool, found);
        if pool.get("http").is_set() && !port.known_protocol().is_some_and(crate::model::Protocol::is_http) {
            let message = format!(
                "sidecar: HTTP connection pool settings are configured for port {} ({:?}) but its protocol is not HTTP ({}); only TCP settings will apply",
                port.number(),
                port.name.value,
                port.protocol.value
            );
            found.warning(&pool, message);
        }
    }
}

/// `validateSidecarIngressPortAndBind`, and the default endpoint.
fn check_listener(at: &Node<'_>, port: &RawPort<'_>, found: &mut Findings) {
    egress::check_port_itself(port, found);
    port::check_number(&port.number_at(), port.number(), found);
    let bind_at = at.get("bind");
    let bind = Item {
        value: bind_at.text(found),
        at: bind_at,
    };
    egress::check_bind(&bind, found);
    at.get("captureMode").choice(found, &CAPTURE_MODES);
    if let Some(endpoint) = at.get("defaultEndpoint").optional_text(found)
        && !endpoint.is_empty()
    {
        check_default_endpoint(&endpoint, found);
    }
}

fn check_default_endpoint(endpoint: &Item<'_, &str>, found: &mut Findings) {
    if let Some(path) = endpoint.strip_prefix(address::UNIX_PREFIX) {
        if let Err(message) = address::check_unix(path) {
            found.error(&endpoint.at, message);
        }
        return;
    }
    let (host, port) = match split_host_port(endpoint.value) {
        Ok(parts) => parts,
        Err(message) => {
            found.error(&endpoint.at, format!("address {}: {message}", endpoint.value));
            ("", "")
        }
    };
    if !DEFAULT_HOSTS.contains(&host) {
        let message = "sidecar: defaultEndpoint must be of form 127.0.0.1:<port>,0.0.0.0:<port>,[::1]:port,[::]:port,unix://filepath or unset";
        found.error(&endpoint.at, message);
    }
    match port.parse() {
        Ok(number) => {
            port::check_number(&endpoint.at, number, found);
        }
        Err(_) => {
            let message = format!(
                "sidecar: defaultEndpoint port ({port}) is not a number: parsing {port:?}: invalid syntax"
            );
            found.error(&endpoint.at, message);
        }
    }
}

/// `host:port` or `[host]:port`, as Go's `net.SplitHostPort` takes it.
fn split_host_port(text: &str) -> Result<(&str, &str), &'static str> {
    let (host, port) = text.rsplit_once(':').ok_or("missing port in address")?;
    let host = match host.strip_prefix('[') {
        Some(bracketed) => match bracketed.split_once(']') {
            Some((host, "")) => host,
            Some((_, rest)) if rest.starts_with(':') => return Err("too many colons in address"),
            Some(_) => return Err("missing port in address"),
            None if text.contains(']') => return Err("missing port in address"),
            None => return Err("missing ']' in address"),
        },
        None if host.contains(':') => return Err("too many colons in address"),
        None => host,
    };
    if host.contains('[') || port.contains('[') {
        return Err("unexpected '[' in address");
    }
    if host.contains(']') || port.contains(']') {
        return Err("unexpected ']' in address");
    }
    Ok((host, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_and_port_are_told_apart_as_go_does() {
        for (text, parts) in [
            ("127.0.0.1:80", Ok(("127.0.0.1", "80"))),
            ("[::1]:80", Ok(("::1", "80"))),
            (":80", Ok(("", "80"))),
            ("localhost", Err("missing port in address")),
            ("::1:80", Err("too many colons in address")),
            ("[::1:80", Err("missing ']' in address")),
            ("[::1]", Err("missing port in address")),
            ("a]:80", Err("unexpected ']' in address")),
            ("", Err("missing port in address")),
        ] {
            assert_eq!(split_host_port(text), parts, "{text}");
        }
    }
}
