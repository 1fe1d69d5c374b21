//! Ports: numbers, names and protocols.

use super::{
    name,
    node::{Findings, Item, Node},
};
use crate::model::Protocol;

/// E12: a port that can be dialled.
pub(super) fn check_number(at: &Node<'_>, number: i64, found: &mut Findings) -> Option<u16> {
    match u16::try_from(number) {
        Ok(number @ 1..) => Some(number),
        _ => {
            found.error(at, format!("port number {number} must be in the range 1..65535"));
            None
        }
    }
}

/// The same by the CRD's rule, which holds for any number that is there, 0 included.
pub(super) fn check_number_if_set(number: Option<&Item<'_, i64>>, found: &mut Findings) {
    if let Some(number) = number
        && !(1..=65535).contains(&number.value)
    {
        found.error(&number.at, "port must be between 1-65535");
    }
}

/// E13: a DNS label.
pub(super) fn check_name(at: &Node<'_>, text: &str, found: &mut Findings) {
    if !name::is_label(text) {
        found.error(at, format!("invalid port name: {text}"));
    }
}

/// E14: a protocol that Istio knows; if there is none, Istio sniffs it.
pub(super) fn check_protocol(at: &Node<'_>, text: &str, found: &mut Findings) -> Protocol {
    if text.is_empty() {
        return Protocol::Auto;
    }
    parse_protocol(text).unwrap_or_else(|| {
        found.error(at, format!("unsupported protocol: {text}"));
        Protocol::Auto
    })
}

/// A protocol by name, in any case (`pkg/config/protocol/instance.go`, `Parse`).
pub(super) fn parse_protocol(text: &str) -> Option<Protocol> {
    Some(match text.to_ascii_lowercase().as_str() {
        "tcp" => Protocol::Tcp,
        "udp" => Protocol::Udp,
        "grpc" => Protocol::Grpc,
        "grpc-web" => Protocol::GrpcWeb,
        "http" => Protocol::Http,
        "http_proxy" => Protocol::HttpProxy,
        "http2" => Protocol::Http2,
        "https" => Protocol::Https,
        "tls" => Protocol::Tls,
        "mongo" => Protocol::Mongo,
        "redis" => Protocol::Redis,
        "mysql" => Protocol::Mysql,
        _ => return None,
    })
}

/// A `SidecarPort`, or an element of a ServiceEntry's `ports`, as written.
#[derive(Debug)]
pub(super) struct RawPort<'a> {
    pub(super) at: Node<'a>,
    pub(super) number: Option<Item<'a, i64>>,
    pub(super) name: Item<'a, &'a str>,
    pub(super) protocol: Item<'a, &'a str>,
    pub(super) target: Option<Item<'a, i64>>,
}

impl<'a> RawPort<'a> {
    pub(super) fn read(at: &Node<'a>, found: &mut Findings) -> Self {
        at.is_mapping(found);
        let text = |key, found: &mut Findings| {
            let at = at.get(key);
            Item {
                value: at.text(found),
                at,
            }
        };
        Self {
            number: at.get("number").integer(found),
            name: text("name", found),
            protocol: text("protocol", found),
            target: at.get("targetPort").integer(found),
            at: at.clone(),
        }
    }

    /// The number, 0 if there is none.
    pub(super) fn number(&self) -> i64 {
        self.number.as_ref().map_or(0, |number| number.value)
    }

    /// Where the number is or should be.
    pub(super) fn number_at(&self) -> Node<'a> {
        self.at.get("number")
    }

    /// The protocol, if it is a known one.
    pub(super) fn known_protocol(&self) -> Option<Protocol> {
        parse_protocol(self.protocol.value)
    }
}
