//! Objects of the registry as they are understood: what decides, and nothing that only their authors read.

use enforcer_core::{
    istio::{
        EgressHost, EgressListener, EgressNamespace, EndpointAddress, ExportTo, MeshConfig, Object,
        OutboundMode, Pod, Service, ServiceEntry, ServiceKind, ServicePort, Sidecar,
    },
    model::Labels,
};
use serde_json::{Value, json};

/// One object. `source` is its file and line, or who else has it.
pub fn described(object: &Object, source: &str) -> Value {
    let id = object.id();
    let of_kind = match object {
        Object::ServiceEntry(entry) => entry_of(entry),
        Object::WorkloadEntry(entry) => json!({
            "endpoints": [endpoint(&entry.endpoint.address)],
            "labels": labels(&entry.endpoint.labels),
            "healthy": entry.healthy,
        }),
        Object::Sidecar(sidecar) => sidecar_of(sidecar),
        Object::VirtualService(service) => json!({
            "hosts": service.hosts,
            "inMesh": service.is_in_mesh,
            "destinations": service.destinations,
        }),
        Object::MeshConfig(mesh) => mesh_of(mesh),
        Object::Service(service) => service_of(service),
        Object::EndpointSlice(slice) => json!({
            "service": slice.service,
            "addresses": slice.addresses,
            "ports": slice.ports.iter().map(|port| json!([port.name, port.number])).collect::<Vec<_>>(),
        }),
        Object::Pod(pod) => pod_of(pod),
        Object::Namespace(_) => json!({}),
        Object::Node(node) => json!({ "pods": node.pods, "addresses": node.addresses }),
    };
    let mut value = json!({
        "kind": format!("{:?}", id.kind),
        "namespace": id.namespace.as_str(),
        "name": id.name,
        "source": source,
        "labels": labels(&object.meta().labels),
        "created": object.meta().created,
    });
    if let (Value::Object(all), Value::Object(more)) = (&mut value, of_kind) {
        all.extend(more);
    }
    value
}

/// As `key=value`, so that no key of the record is somebody's own.
fn labels(labels: &Labels) -> Vec<String> {
    labels
        .iter()
        .map(|(key, value)| format!("{key}={value}"))
        .collect()
}

fn export_to(exports: &[ExportTo]) -> Vec<&str> {
    let word = |export| match export {
        &ExportTo::Everyone => "*",
        &ExportTo::Nobody => "~",
        &ExportTo::Own => ".",
        ExportTo::Namespace(namespace) => namespace.as_str(),
    };
    exports.iter().map(word).collect()
}

fn ports(ports: &[ServicePort]) -> Vec<Value> {
    let port = |port: &ServicePort| {
        json!({
            "number": port.number,
            "name": port.name,
            "protocol": format!("{:?}", port.protocol),
            "target": port.target,
        })
    };
    ports.iter().map(port).collect()
}

fn endpoint(address: &EndpointAddress) -> String {
    match address {
        EndpointAddress::Ip(address) => address.to_string(),
        EndpointAddress::Host(host) => host.to_string(),
        EndpointAddress::Unix(path) => format!("unix://{path}"),
        EndpointAddress::Unset => "in another network".to_owned(),
    }
}

fn mode(mode: Option<OutboundMode>) -> Option<&'static str> {
    mode.map(|mode| match mode {
        OutboundMode::AllowAny => "ALLOW_ANY",
        OutboundMode::RegistryOnly => "REGISTRY_ONLY",
    })
}

fn entry_of(entry: &ServiceEntry) -> Value {
    json!({
        "hosts": entry.hosts.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "addresses": entry.addresses,
        "ports": ports(&entry.ports),
        "resolution": format!("{:?}", entry.resolution),
        "endpoints": entry.endpoints.iter().map(|it| endpoint(&it.address)).collect::<Vec<_>>(),
        "selector": entry.selector.as_ref().map(labels),
        "exportTo": export_to(&entry.export_to),
        "allocated": entry.allocated.values().flatten().collect::<Vec<_>>(),
    })
}

fn sidecar_of(sidecar: &Sidecar) -> Value {
    let listener = |listener: &EgressListener| {
        json!({
            "port": listener.port.map(|(port, protocol)| format!("{port} {protocol:?}")),
            "hosts": listener.hosts.iter().map(imported).collect::<Vec<_>>(),
            "bind": format!("{:?}", listener.bind),
        })
    };
    json!({
        "selector": sidecar.selector.as_ref().map(labels),
        "egress": sidecar.egress.iter().map(listener).collect::<Vec<_>>(),
        "mode": mode(sidecar.mode),
    })
}

/// `namespace/host`, as it is written; what is subtracted begins with `~`.
fn imported(host: &EgressHost) -> String {
    let sign = if host.imports { "" } else { "~" };
    let namespace = match &host.namespace {
        EgressNamespace::Any => "*",
        EgressNamespace::Own => ".",
        EgressNamespace::Named(namespace) => namespace.as_str(),
    };
    format!("{sign}{namespace}/{}", host.host)
}

fn mesh_of(mesh: &MeshConfig) -> Value {
    let dialled = mesh.dialled.iter();
    json!({
        "mode": mode(mesh.mode),
        "exportTo": export_to(&mesh.default_export_to),
        "rootNamespace": mesh.root_namespace.as_str(),
        "discoverySelectors": format!("{:?}", mesh.discovery_selectors),
        "visibility": format!("{:?}", mesh.visibility),
        "dialled": dialled.map(|to| format!("{}:{}", to.host, to.port)).collect::<Vec<_>>(),
    })
}

fn service_of(service: &Service) -> Value {
    let (kind, addresses, name) = match &service.kind {
        ServiceKind::ClusterIp(addresses) => ("ClusterIP", addresses.as_slice(), None),
        ServiceKind::Headless => ("headless", [].as_slice(), None),
        ServiceKind::ExternalName(host) => ("ExternalName", [].as_slice(), Some(host.to_string())),
    };
    json!({
        "type": kind,
        "addresses": addresses,
        "host": name,
        "ports": ports(&service.ports),
        "exportTo": export_to(&service.export_to),
        "selector": labels(&service.selector),
    })
}

fn pod_of(pod: &Pod) -> Value {
    json!({
        "node": pod.node,
        "uid": pod.uid.to_string(),
        "phase": format!("{:?}", pod.phase),
        "ready": pod.is_ready,
        "addresses": pod.addresses,
    })
}

#[cfg(test)]
mod tests {
    use enforcer_core::{documents::Documents, registry::Update};

    use super::*;

    #[test]
    fn entry_is_described_by_what_decides() {
        let text = "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {name: db, namespace: frontend, \
                    annotations: {note: for whom}}\nspec: {hosts: [db.example.com], resolution: STATIC, ports: \
                    [{number: 5432, name: tcp, protocol: TCP}], endpoints: [{address: 192.0.2.7}], exportTo: [., b]}\n";
        let updates = Documents::default().set("a.yaml", Some(text));
        let [Update::Apply(object)] = updates.as_slice() else {
            panic!("{updates:?}");
        };
        let value = described(object, "a.yaml:1");
        assert_eq!(value["hosts"], json!(["db.example.com"]));
        assert_eq!(value["endpoints"], json!(["192.0.2.7"]));
        assert_eq!(value["exportTo"], json!([".", "b"]));
        assert_eq!(
            (&value["source"], &value["name"]),
            (&"a.yaml:1".into(), &"db".into())
        );
        assert!(!value.to_string().contains("for whom"), "{value}");
    }
}
