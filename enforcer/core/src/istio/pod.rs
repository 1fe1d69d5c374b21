//! Pod: its labels for selectors, its addresses, its node and its containers.

use std::{net::IpAddr, sync::Arc};

use super::{
    namespace::check_mode,
    node::{Findings, Node},
    object::{Container, DnsPolicy, Meta, Object, PROXY_CONTAINER, Pod, PodDns, PodPhase, Proxy},
};

/// The annotation that injection leaves.
const INJECTED: &str = "sidecar.istio.io/status";

pub(super) fn read(document: &Node<'_>, meta: Meta, found: &mut Findings) -> Option<Object> {
    check_mode(document, &meta, found);
    let spec = document.get("spec");
    spec.is_mapping(found);
    let host_network = spec.get("hostNetwork").flag(found);
    let status = document.get("status");
    // The addresses of a pod that has ended may be assigned to other pods.
    let metadata = document.get("metadata");
    let is_deleted = !metadata.get("deletionTimestamp").text(found).is_empty();
    let phase = match status.get("phase").text(found) {
        "Succeeded" | "Failed" => PodPhase::Ended,
        "Running" if is_deleted => PodPhase::Ending,
        "Running" => PodPhase::Running,
        _ => PodPhase::Waiting,
    };
    let addresses = if phase == PodPhase::Ended {
        Vec::new()
    } else {
        read_addresses(&status, found)
    };
    Some(Object::Pod(Arc::new(Pod {
        uid: metadata.get("uid").text(found).to_owned(),
        node: spec.get("nodeName").text(found).to_owned(),
        addresses,
        host_network,
        phase,
        is_ready: is_ready(&status),
        proxy: read_proxy(&spec, &meta, found),
        dns: read_dns(&spec, found),
        controller: read_controller(document, found),
        containers: read_containers(&status, found),
        meta,
    })))
}

fn is_ready(status: &Node<'_>) -> bool {
    let conditions = status.get("conditions").value();
    let mut conditions = conditions.as_array().into_iter().flatten();
    let condition = conditions.find(|condition| condition["type"] == "Ready");
    condition.is_some_and(|condition| condition["status"] == "True")
}

/// Istio's injection, gateways, waypoints and ztunnel all name the container alike; injection also leaves an annotation
/// (`inject.go`), which stays if a template renames the container.
fn read_proxy(spec: &Node<'_>, meta: &Meta, found: &mut Findings) -> Option<Proxy> {
    let mut containers = spec.get("containers").list(found);
    containers.extend(spec.get("initContainers").list(found));
    let proxy = containers
        .iter()
        .find(|container| container.get("name").value() == PROXY_CONTAINER);
    if proxy.is_none() && !meta.annotations.contains_key(INJECTED) {
        return None;
    }
    let mut args = proxy.into_iter().flat_map(|it| it.get("args").texts(found));
    let is_gateway = args.any(|arg| matches!(arg.value, "router" | "waypoint"));
    Some(if is_gateway {
        Proxy::Gateway
    } else {
        Proxy::Sidecar
    })
}

/// A policy that is not known counts as the default one, which gives no other resolvers than the cluster's.
fn read_dns(spec: &Node<'_>, found: &mut Findings) -> PodDns {
    let policy = match spec.get("dnsPolicy").text(found) {
        "Default" => DnsPolicy::Default,
        "None" => DnsPolicy::None,
        "ClusterFirstWithHostNet" => DnsPolicy::ClusterFirstWithHostNet,
        _ => DnsPolicy::ClusterFirst,
    };
    let servers = spec.get("dnsConfig").get("nameservers").texts(found);
    let servers = servers
        .iter()
        .filter_map(|text| text.value.parse::<IpAddr>().ok());
    PodDns {
        policy,
        servers: servers.map(|server| server.to_canonical()).collect(),
    }
}

fn read_controller(document: &Node<'_>, found: &mut Findings) -> Option<String> {
    let owners = document.get("metadata").get("ownerReferences").list(found);
    let controller = owners.iter().find(|owner| owner.get("controller").flag(found))?;
    let kind = controller.get("kind").text(found);
    Some(format!("{kind} {}", controller.get("name").text(found)))
}

/// `containerID` is `<runtime>://<id>`, and empty until the runtime has made the container.
fn read_containers(status: &Node<'_>, found: &mut Findings) -> Vec<Container> {
    const LISTS: [&str; 3] = [
        "initContainerStatuses",
        "containerStatuses",
        "ephemeralContainerStatuses",
    ];
    let mut containers = Vec::new();
    for list in LISTS {
        for element in status.get(list).list(found) {
            let name = element.get("name").text(found).to_owned();
            let id = element.get("containerID").text(found);
            if let Some((_, id)) = id.split_once("://").filter(|(_, id)| !id.is_empty()) {
                let id = id.to_owned();
                containers.push(Container { name, id });
            }
        }
    }
    containers
}

fn read_addresses(status: &Node<'_>, found: &mut Findings) -> Vec<IpAddr> {
    let mut texts = Vec::new();
    for element in status.get("podIPs").list(found) {
        texts.extend(element.get("ip").optional_text(found));
    }
    if texts.is_empty() {
        texts.extend(status.get("podIP").optional_text(found));
    }
    let mut addresses = Vec::new();
    for text in texts.iter().filter(|text| !text.is_empty()) {
        match text.parse::<IpAddr>() {
            Ok(address) => addresses.push(address.to_canonical()),
            Err(_) => found.error(
                &text.at,
                format!("Invalid value: {:?}: must be a valid IP address", text.value),
            ),
        }
    }
    addresses
}

#[cfg(test)]
mod tests {
    use super::super::testing::{check, object};
    use super::*;

    const HEAD: &str = "apiVersion: v1\nkind: Pod\nmetadata: {name: p}\n";

    fn addresses(rest: &str) -> Vec<String> {
        let Object::Pod(pod) = object(&format!("{HEAD}{rest}\n")).0 else {
            panic!("not a Pod")
        };
        pod.addresses.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn pod_has_the_addresses_of_its_status_until_it_ends() {
        assert_eq!(addresses(""), [""; 0]);
        assert_eq!(addresses("status: {podIP: 10.0.0.1}"), ["10.0.0.1"]);
        assert_eq!(
            addresses("status: {phase: Running, podIP: 10.0.0.1, podIPs: [{ip: 10.0.0.1}, {ip: 'fd00::1'}]}"),
            ["10.0.0.1", "fd00::1"]
        );
        assert_eq!(addresses("status: {phase: Succeeded, podIP: 10.0.0.1}"), [""; 0]);
    }

    #[test]
    fn proxy_is_told_by_its_container_or_by_what_injection_leaves() {
        let named = |rest: &str| format!("spec: {{{rest}}}");
        let annotated = "metadata: {name: p, annotations: {sidecar.istio.io/status: '{}'}}";
        for (rest, proxy) in [
            (String::new(), None),
            (named("containers: [{name: app}]"), None),
            (
                named("containers: [{name: app}, {name: istio-proxy, args: [proxy, sidecar]}]"),
                Some(Proxy::Sidecar),
            ),
            (
                named("initContainers: [{name: istio-proxy}]"),
                Some(Proxy::Sidecar),
            ),
            (
                named("containers: [{name: istio-proxy, args: [proxy, router]}]"),
                Some(Proxy::Gateway),
            ),
            (
                named("containers: [{name: istio-proxy, args: [proxy, waypoint]}]"),
                Some(Proxy::Gateway),
            ),
            (named("containers: [{name: app, args: [router]}]"), None),
        ] {
            let Object::Pod(pod) = object(&format!("{HEAD}{rest}\n")).0 else {
                panic!("not a Pod")
            };
            assert_eq!(pod.proxy, proxy, "{rest}");
        }
        let Object::Pod(pod) = object(&format!("apiVersion: v1\nkind: Pod\n{annotated}\n")).0 else {
            panic!("not a Pod")
        };
        assert_eq!(pod.proxy, Some(Proxy::Sidecar));
    }

    #[test]
    fn pod_is_ready_if_its_condition_says_so() {
        for (conditions, is_ready) in [
            ("[]", false),
            ("[{type: Ready, status: 'True'}]", true),
            ("[{type: Ready, status: 'False'}]", false),
            ("[{type: Initialized, status: 'True'}]", false),
        ] {
            let text = format!("{HEAD}status: {{conditions: {conditions}}}\n");
            let Object::Pod(pod) = object(&text).0 else {
                panic!("not a Pod")
            };
            assert_eq!(pod.is_ready, is_ready, "{conditions}");
        }
    }

    #[test]
    fn pod_has_the_containers_that_a_runtime_has_made() {
        let text = "spec: {nodeName: node-1}\nstatus:\n  phase: Running\n  \
                    initContainerStatuses: [{name: init, containerID: 'containerd://1'}]\n  \
                    containerStatuses: [{name: a, containerID: 'cri-o://2'}, {name: b, containerID: ''}, {name: c}]\n  \
                    ephemeralContainerStatuses: [{name: debug, containerID: 'containerd://3'}]";
        let document = format!("apiVersion: v1\nkind: Pod\nmetadata: {{name: p, uid: u-1}}\n{text}\n");
        let Object::Pod(pod) = object(&document).0 else {
            panic!("not a Pod")
        };
        let containers: Vec<_> = pod
            .containers
            .iter()
            .map(|it| (it.name.as_str(), it.id.as_str()))
            .collect();
        assert_eq!(containers, [("init", "1"), ("a", "2"), ("debug", "3")]);
        assert_eq!(
            (pod.uid.as_str(), pod.node.as_str(), pod.phase),
            ("u-1", "node-1", PodPhase::Running)
        );
    }

    #[test]
    fn pod_that_is_being_deleted_is_ending_until_it_has_ended() {
        let phase = |deleted: &str, phase: &str| {
            let document = format!(
                "apiVersion: v1\nkind: Pod\nmetadata: {{name: p{deleted}}}\nstatus: {{phase: {phase}}}\n"
            );
            let Object::Pod(pod) = object(&document).0 else {
                panic!("not a Pod")
            };
            pod.phase
        };
        let deleted = ", deletionTimestamp: '2024-01-01T00:00:00Z'";
        for (of, is) in [
            (phase("", "Pending"), PodPhase::Waiting),
            (phase(deleted, "Pending"), PodPhase::Waiting),
            (phase("", "Running"), PodPhase::Running),
            (phase(deleted, "Running"), PodPhase::Ending),
            (phase(deleted, "Succeeded"), PodPhase::Ended),
            (phase("", "Failed"), PodPhase::Ended),
        ] {
            assert_eq!(of, is);
        }
    }

    #[test]
    fn pod_asks_its_node_by_its_policy_and_its_network() {
        for (spec, asks_node) in [
            ("", false),
            ("dnsPolicy: ClusterFirst", false),
            ("dnsPolicy: Default", true),
            ("dnsPolicy: None", false),
            ("dnsPolicy: Other, hostNetwork: false", false),
            ("hostNetwork: true", true),
            ("hostNetwork: true, dnsPolicy: ClusterFirst", true),
            ("hostNetwork: true, dnsPolicy: Default", true),
            ("hostNetwork: true, dnsPolicy: ClusterFirstWithHostNet", false),
            ("hostNetwork: true, dnsPolicy: None", false),
        ] {
            let Object::Pod(pod) = object(&format!("{HEAD}spec: {{{spec}}}\n")).0 else {
                panic!("not a Pod")
            };
            assert_eq!(pod.asks_node(), asks_node, "{spec}");
        }
    }

    #[test]
    fn pod_has_the_servers_of_its_spec_and_its_controller() {
        let document = "apiVersion: v1\nkind: Pod\nmetadata:\n  name: p\n  ownerReferences:\n  \
                        - {kind: Other, name: o}\n  - {kind: ReplicaSet, name: web-5d8, controller: true}\n\
                        spec: {dnsConfig: {nameservers: [192.0.2.53, '::ffff:192.0.2.54', x]}}\n";
        let Object::Pod(pod) = object(document).0 else {
            panic!("not a Pod")
        };
        let servers: Vec<_> = pod.dns.servers.iter().map(ToString::to_string).collect();
        assert_eq!(servers, ["192.0.2.53", "192.0.2.54"]);
        assert_eq!(pod.controller.as_deref(), Some("ReplicaSet web-5d8"));
    }

    #[test]
    fn malformed_addresses_are_errors() {
        check(
            &format!("{HEAD}status: {{podIPs: [{{ip: x}}]}}\n"),
            &["Invalid value: \"x\": must be a valid IP address"],
        );
    }
}
