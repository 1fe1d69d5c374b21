//! An element of `egress[].hosts`: `namespace/dnsName`, or `~namespace/dnsName` to leave out
//! (`ValidateNamespaceSlashWildcardHostname`).

use crate::{
    istio::{
        name,
        node::{Findings, Item},
        object::{EgressHost, EgressNamespace},
    },
    model::{Host, Namespace},
};

pub(super) fn check(host: &Item<'_, &str>, found: &mut Findings) {
    let Some((namespace, dns_name)) = host.split_once('/') else {
        return found.error(&host.at, "host must be of form namespace/dnsName");
    };
    if namespace.is_empty() || dns_name.is_empty() {
        let message = "config namespace and dnsName in host entry cannot be empty";
        found.error(&host.at, message);
    }
    let bare = namespace.strip_prefix('~').unwrap_or(namespace);
    if !matches!(bare, "" | "*" | ".") && !name::is_label(bare) {
        found.error(
            &host.at,
            format!("invalid namespace value {namespace:?} in sidecar"),
        );
    }
    if dns_name != "*" && !dns_name.contains('.') {
        found.error(&host.at, "short names (non FQDN) are not allowed");
    }
    for result in [
        name::check_wildcard_domain(dns_name),
        name::check_partial_wildcard(dns_name),
    ] {
        if let Err(message) = result {
            found.error(&host.at, message);
        }
    }
}

pub(super) fn build(text: &str) -> Option<EgressHost> {
    let (namespace, host) = text.split_once('/')?;
    let bare = namespace.strip_prefix('~');
    Some(EgressHost {
        imports: bare.is_none(),
        namespace: match bare.unwrap_or(namespace) {
            "" | "*" => EgressNamespace::Any,
            "." => EgressNamespace::Own,
            name => EgressNamespace::Named(Namespace::new(name)),
        },
        host: Host::new(host),
    })
}
