//! `inboundConnectionPool` and `ingress[].connectionPool` (`validateConnectionPool`).

use super::duration;
use crate::istio::node::{Findings, Node};

/// `http.h2UpgradePolicy`, by number.
const UPGRADE_POLICIES: [&str; 3] = ["DEFAULT", "DO_NOT_UPGRADE", "UPGRADE"];

pub(super) fn check(pool: &Node<'_>, found: &mut Findings) {
    if !pool.is_mapping(found) {
        return;
    }
    let (http, tcp) = (pool.get("http"), pool.get("tcp"));
    if !http.is_set() && !tcp.is_set() {
        return found.error(pool, "connection pool must have at least one field");
    }
    if http.is_mapping(found) {
        check_http(&http, found);
    }
    if tcp.is_mapping(found) {
        check_tcp(&tcp, found);
    }
}

fn check_http(http: &Node<'_>, found: &mut Findings) {
    for (key, name) in [
        ("http1MaxPendingRequests", "http1 max pending requests"),
        ("http2MaxRequests", "http2 max requests"),
        ("maxRequestsPerConnection", "max requests per connection"),
        ("maxRetries", "max retries"),
        ("maxConcurrentStreams", "max concurrent streams"),
    ] {
        check_count(&http.get(key), name, found);
    }
    duration::check(&http.get("idleTimeout"), found);
    let upgrade = http
        .get("h2UpgradePolicy")
        .choice(found, &UPGRADE_POLICIES)
        .or_first();
    if http.get("useClientProtocol").flag(found) && UPGRADE_POLICIES[upgrade] == "UPGRADE" {
        let message = "use client protocol must not be true when H2UpgradePolicy is UPGRADE";
        found.error(&http.get("useClientProtocol"), message);
    }
    let keepalive = http.get("http2KeepAlive");
    if keepalive.is_mapping(found) {
        for key in ["interval", "timeout"] {
            let at = keepalive.get(key);
            if at.is_set() {
                duration::check(&at, found);
            } else {
                found.error(&at, format!("http2 keepalive {key} is required"));
            }
        }
    }
}

fn check_tcp(tcp: &Node<'_>, found: &mut Findings) {
    check_count(&tcp.get("maxConnections"), "max connections", found);
    duration::check(&tcp.get("connectTimeout"), found);
    duration::check(&tcp.get("maxConnectionDuration"), found);
    duration::check_or_zero(&tcp.get("idleTimeout"), found);
    let keepalive = tcp.get("tcpKeepalive");
    if keepalive.is_mapping(found) {
        duration::check(&keepalive.get("time"), found);
        duration::check(&keepalive.get("interval"), found);
        check_count(&keepalive.get("probes"), "probes", found);
    }
}

fn check_count(at: &Node<'_>, name: &str, found: &mut Findings) {
    if let Some(count) = at.integer(found)
        && count.value < 0
    {
        found.error(at, format!("{name} must be non-negative"));
    }
}
