//! Sidecar (`ValidateSidecar` and the CRD). Only `egress`, the selector and the mode determine what is reachable;
//! the rest is validated, because Istio accepts a Sidecar as a whole or not at all.

mod connection_pool;
mod duration;
mod egress;
mod host;
mod ingress;
mod tls;

use std::sync::Arc;

use self::egress::RawListener;
use super::{
    name,
    node::{Choice, Findings, Item, Node},
    object::{Meta, Object, OutboundMode, Sidecar},
    port,
    selector::Selector,
};

/// `captureMode`, by number.
const CAPTURE_MODES: [&str; 3] = ["DEFAULT", "IPTABLES", "NONE"];
/// `outboundTrafficPolicy.mode`, by number. The mesh's third mode has the number 3.
const MODES: [&str; 2] = ["REGISTRY_ONLY", "ALLOW_ANY"];

pub(super) fn read(document: &Node<'_>, meta: Meta, found: &mut Findings) -> Option<Object> {
    let spec = document.get("spec");
    spec.is_mapping(found);
    let selector = Selector::read(spec.get("workloadSelector"), found);
    // E1, E2: Istio returns at once.
    if selector.as_ref().is_some_and(|selector| !selector.check(found)) || found.is_mistyped {
        return None;
    }
    let ingress = spec.get("ingress").list(found);
    let policy = spec.get("outboundTrafficPolicy");
    let pool = spec.get("inboundConnectionPool");
    let listeners = RawListener::read_all(&spec.get("egress"), found);
    if ingress.is_empty() && listeners.is_empty() && !policy.is_set() && !pool.is_set() {
        found.error(&spec, "sidecar: empty configuration provided");
        return None;
    }
    if let Some(selector) = &selector {
        selector.warn_if_empty("sidecar", found);
    }
    ingress::check(&ingress, found);
    connection_pool::check(&pool, found);
    egress::check(&meta.namespace, &listeners, found);
    let mode = read_policy(&policy, found);
    found.errors.is_empty().then(|| {
        Object::Sidecar(Arc::new(Sidecar {
            selector: selector.as_ref().map(Selector::labels),
            egress: listeners.iter().filter_map(RawListener::build).collect(),
            mode,
            meta,
        }))
    })
}

/// `outboundTrafficPolicy` (`validateSidecarOutboundTrafficPolicy`); `{}` is REGISTRY_ONLY.
fn read_policy(policy: &Node<'_>, found: &mut Findings) -> Option<OutboundMode> {
    if !policy.is_mapping(found) {
        return None;
    }
    let choice = policy.get("mode").choice(found, &MODES);
    if let Choice::Unknown(Item { at, value }) = &choice
        && (*value == "ALLOW_ANY_DYNAMIC_DNS" || *value == 3)
    {
        let message =
            "sidecar: ALLOW_ANY_DYNAMIC_DNS mode is only supported in MeshConfig, not in Sidecar resource";
        found.error(at, message);
    }
    let mode = match choice {
        Choice::Known(0) => OutboundMode::RegistryOnly,
        Choice::Known(_) => OutboundMode::AllowAny,
        Choice::Unknown(_) => return None,
    };
    check_proxy(&policy.get("egressProxy"), mode, found);
    Some(mode)
}

/// `egressProxy`, where unknown destinations would be sent (`validateDestination`).
fn check_proxy(proxy: &Node<'_>, mode: OutboundMode, found: &mut Findings) {
    if !proxy.is_mapping(found) {
        return;
    }
    let host_at = proxy.get("host");
    super::schema::required(&host_at, found);
    if mode != OutboundMode::AllowAny {
        let message = "sidecar: egress_proxy must be set only with ALLOW_ANY outbound_traffic_policy mode";
        return found.error(proxy, message);
    }
    let host = host_at.text(found);
    if let Err(message) = name::check_domain(host) {
        found.error(&host_at, message);
    }
    let port = proxy.get("port");
    if !port.is_mapping(found) {
        return found.error(&port, "sidecar: egress_proxy port must be non-nil");
    }
    if host == "*" {
        found.error(&host_at, "invalid destination host *");
    } else if let Err(message) = name::check_wildcard_domain(host) {
        found.error(&host_at, message);
    }
    let subset_at = proxy.get("subset");
    let subset = subset_at.text(found);
    if !subset.is_empty() && !name::is_label(subset) {
        found.error(&subset_at, format!("subset name is invalid: {subset}"));
    }
    let number_at = port.get("number");
    let number = number_at.integer(found).map_or(0, |number| number.value);
    port::check_number(&number_at, number, found);
}

#[cfg(test)]
mod tests;
