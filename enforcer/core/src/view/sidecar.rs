//! Which Sidecar a workload has, and what its listeners import.

use std::sync::Arc;

use crate::{
    export::ignored,
    grant::Way,
    istio::{Bind, EgressHost, EgressListener, EgressNamespace, Sidecar},
    model::{Host, Namespace, Protocol, Transport, Workload, selects},
    objects::{Objects, in_namespace},
    offer::Import,
    settings::Settings,
};

/// The one Sidecar that applies to `workload`; they are never merged (`doGetSidecarScope`, `initSidecarScopes`
/// in `push_context.go`).
///
/// In order: the oldest in its own namespace with a matching selector, the oldest there without a selector, the
/// oldest in the root namespace without a selector. Ties in age are broken by name.
pub(crate) fn choose(workload: &Workload, objects: &Objects, settings: &Settings) -> Option<Arc<Sidecar>> {
    let mesh = objects.mesh(&settings.revision);
    let counts =
        |sidecar: &&Arc<Sidecar>| ignored(&sidecar.meta, &settings.revision, mesh, objects).is_none();
    let oldest = |namespace: &Namespace, fits: &dyn Fn(&Sidecar) -> bool| {
        in_namespace(&objects.sidecars, namespace)
            .filter(counts)
            .filter(|sidecar| fits(sidecar))
            .min_by_key(|sidecar| (sidecar.meta.created, sidecar.meta.name.clone()))
            .cloned()
    };
    let selected = |sidecar: &Sidecar| {
        sidecar
            .selector
            .as_ref()
            .is_some_and(|selector| selects(selector, &workload.labels))
    };
    let unselective = |sidecar: &Sidecar| sidecar.selector.is_none();
    oldest(&workload.namespace, &selected)
        .or_else(|| oldest(&workload.namespace, &unselective))
        .or_else(|| oldest(&mesh.root_namespace, &unselective))
}

/// Whether `sidecar` leaves anything out that is exported to its workloads.
pub(crate) fn trims(sidecar: &Sidecar) -> bool {
    let is_everything = |listener: &EgressListener| {
        let everything = EgressHost {
            imports: true,
            namespace: EgressNamespace::Any,
            host: Host::new("*"),
        };
        listener.port.is_none()
            && listener.bind == Bind::Services
            && listener.hosts.contains(&everything)
            && listener.hosts.iter().all(|host| host.imports)
    };
    match sidecar.egress.as_slice() {
        [] => false,
        [only] => !is_everything(only),
        _ => true,
    }
}

/// Whether a listener imports `host` of `namespace` for workloads of `own`. An exclusion beats every import.
pub(crate) fn imports(
    listener: &EgressListener,
    namespace: &Namespace,
    host: &Host,
    own: &Namespace,
) -> bool {
    let mut is_imported = false;
    for pattern in &listener.hosts {
        let is_meant = match &pattern.namespace {
            EgressNamespace::Any => true,
            EgressNamespace::Own => namespace == own,
            EgressNamespace::Named(name) => namespace == name,
        };
        if is_meant && pattern.host.covers(host) {
            if !pattern.imports {
                return false;
            }
            is_imported = true;
        }
    }
    is_imported
}

/// Whether a listener imports only services that have its port (`needsPortMatch`): not if it is an HTTP proxy.
pub(super) fn needs_port(listener: &EgressListener) -> bool {
    !matches!(listener.port, None | Some((_, Protocol::HttpProxy)))
}

/// A port of a service on the listener `index` of `sidecar`, with the protocol that it has there; None if the listener
/// does not have it.
///
/// A listener with a port has the services' port of that number and replaces its protocol. An HTTP proxy has every
/// port of its services behind its own.
pub(super) fn on_listener<'a>(sidecar: &Sidecar, index: usize, import: Import<'a>) -> Option<Import<'a>> {
    let transport = import.protocol.transport();
    let (before, rest) = sidecar.egress.split_at(index);
    let listener = rest.first()?;
    let (number, protocol) = match listener.port {
        None => (import.number, import.protocol),
        Some((number, Protocol::HttpProxy)) if transport == Transport::Tcp => (number, Protocol::HttpProxy),
        Some((number, protocol)) if (number, protocol.transport()) == (import.number, transport) => {
            (number, protocol)
        }
        Some(_) => return None,
    };
    let owns = |earlier: &EgressListener| {
        let is_common = matches!(earlier.bind, Bind::Services | Bind::Anywhere);
        let is_there = |(port, of): (u16, Protocol)| (port, of.transport()) == (number, transport);
        is_common && earlier.port.is_some_and(is_there)
    };
    let way = Way {
        bind: listener.bind,
        has_port: listener.port.is_some(),
        is_owned: before.iter().any(owns),
    };
    Some(Import {
        number,
        protocol,
        way,
        ..import
    })
}
