//! Node (of a cluster): where it is, and where its pods are.

use std::{net::IpAddr, sync::Arc};

use ipnet::IpNet;

use super::{
    node::{Findings, Node},
    object::{Meta, NodeObject, Object},
};

/// Values that cannot be read are left out: the kubelet and the cluster write them, and they allow nothing.
pub(super) fn read(document: &Node<'_>, meta: Meta, found: &mut Findings) -> Object {
    let spec = document.get("spec");
    let mut pods: Vec<IpNet> = Vec::new();
    for element in spec.get("podCIDRs").list(found) {
        pods.extend(element.text(found).parse::<IpNet>());
    }
    if pods.is_empty() {
        pods.extend(spec.get("podCIDR").text(found).parse::<IpNet>());
    }
    let mut addresses = Vec::new();
    for element in document.get("status").get("addresses").list(found) {
        addresses.extend(element.get("address").text(found).parse::<IpAddr>());
    }
    Object::Node(Arc::new(NodeObject {
        meta,
        pods: pods.iter().map(IpNet::trunc).collect(),
        addresses: addresses.iter().map(IpAddr::to_canonical).collect(),
    }))
}

#[cfg(test)]
mod tests {
    use super::{super::testing::object, *};

    fn read(rest: &str) -> (Vec<String>, Vec<String>) {
        let text = format!("apiVersion: v1\nkind: Node\nmetadata: {{name: node-1}}\n{rest}\n");
        let Object::Node(node) = object(&text).0 else {
            panic!("not a Node")
        };
        assert_eq!(node.meta.namespace.as_str(), "", "it belongs to the cluster");
        let pods = node.pods.iter().map(ToString::to_string);
        let addresses = node.addresses.iter().map(ToString::to_string);
        (pods.collect(), addresses.collect())
    }

    #[test]
    fn node_has_the_ranges_of_its_pods_and_addresses_and_no_names() {
        let spec = "spec: {podCIDR: 10.244.1.0/24, podCIDRs: [10.244.1.0/24, 'fd00:1::/64']}";
        let status = "status: {addresses: [{type: InternalIP, address: 192.0.2.1}, {type: Hostname, address: node-1}]}";
        let (pods, addresses) = read(&format!("{spec}\n{status}"));
        assert_eq!(pods, ["10.244.1.0/24", "fd00:1::/64"]);
        assert_eq!(addresses, ["192.0.2.1"]);
        assert_eq!(read("spec: {podCIDR: 10.244.1.0/24}").0, ["10.244.1.0/24"]);
        assert_eq!(read("spec: {}"), (Vec::new(), Vec::new()));
    }
}
