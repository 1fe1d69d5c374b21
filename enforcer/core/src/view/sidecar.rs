//! Which Sidecar a workload has, and what its listeners import.

use std::sync::Arc;

use crate::{
    export::ignored,
    istio::{EgressHost, EgressListener, EgressNamespace, Sidecar},
    model::{Host, Namespace, Protocol, Transport, Workload, selects},
    objects::{Objects, in_namespace},
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
            && !listener.is_bound
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

/// The protocol that a port has on the listener `index` of `sidecar`; None if the listener does not have the port.
///
/// A listener with a port replaces the protocol, and owns the port: later listeners do not get it.
pub(super) fn protocol_behind(
    sidecar: &Sidecar,
    index: usize,
    number: u16,
    protocol: Protocol,
) -> Option<Protocol> {
    let transport: Transport = protocol.transport();
    let has_port = |listener: &EgressListener| match listener.port {
        Some((port, own)) => port == number && own.transport() == transport,
        None => false,
    };
    let (before, rest) = sidecar.egress.split_at(index);
    if before
        .iter()
        .any(|listener| !listener.is_bound && has_port(listener))
    {
        return None;
    }
    match rest.first()?.port {
        None => Some(protocol),
        Some((port, own)) => (port == number && own.transport() == transport).then_some(own),
    }
}
