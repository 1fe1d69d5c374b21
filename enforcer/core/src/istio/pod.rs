//! Pod: what selectors select, and at which addresses it is.

use std::{net::IpAddr, sync::Arc};

use super::{
    node::{Findings, Node},
    object::{Meta, Object, Pod},
};

pub(super) fn read(document: &Node<'_>, meta: Meta, found: &mut Findings) -> Option<Object> {
    let spec = document.get("spec");
    spec.is_mapping(found);
    let host_network = spec.get("hostNetwork").flag(found);
    let status = document.get("status");
    // The addresses of a pod that has ended are given to others.
    let has_ended = matches!(status.get("phase").text(found), "Succeeded" | "Failed");
    let addresses = if has_ended {
        Vec::new()
    } else {
        read_addresses(&status, found)
    };
    Some(Object::Pod(Arc::new(Pod {
        meta,
        addresses,
        host_network,
    })))
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
    fn malformed_addresses_are_errors() {
        check(
            &format!("{HEAD}status: {{podIPs: [{{ip: x}}]}}\n"),
            &["Invalid value: \"x\": must be a valid IP address"],
        );
    }
}
