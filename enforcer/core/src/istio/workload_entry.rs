//! WorkloadEntry (`ValidateWorkloadEntry`): an endpoint of its own.

use std::sync::Arc;

use super::{
    endpoint::RawEndpoint,
    node::{Findings, Node},
    object::{Meta, Object, WorkloadEntry},
    schema,
};

/// Says that a health check decides whether the entry counts.
const HEALTH_CHECKED: &str = "proxy.istio.io/health-checks-enabled";

pub(super) fn read(document: &Node<'_>, meta: Meta, found: &mut Findings) -> Option<Object> {
    let spec = document.get("spec");
    schema::required(&spec, found);
    let raw = RawEndpoint::read(&spec, found);
    if found.is_mistyped {
        return None;
    }
    raw.check(None, found);
    raw.check_schema(found);
    let healthy = is_healthy(document, &meta);
    found.errors.is_empty().then(|| {
        Object::WorkloadEntry(Arc::new(WorkloadEntry {
            meta,
            endpoint: raw.build(),
            healthy,
        }))
    })
}

/// Without a health check an entry is healthy; with one it is not until the check succeeds (`isHealthy`).
fn is_healthy(document: &Node<'_>, meta: &Meta) -> bool {
    let checked = meta.annotations.get(HEALTH_CHECKED).map(String::as_str);
    if !matches!(checked, Some("1" | "t" | "T" | "true" | "TRUE" | "True")) {
        return true;
    }
    let conditions = document.get("status").get("conditions").value();
    let mut conditions = conditions.as_array().into_iter().flatten();
    let condition = conditions.find(|condition| condition["type"] == "Healthy");
    condition.is_some_and(|condition| condition["status"] == "True")
}

#[cfg(test)]
mod tests {
    use super::super::testing::{check, object};
    use super::*;
    use crate::istio::EndpointAddress;

    const HEAD: &str =
        "apiVersion: networking.istio.io/v1\nkind: WorkloadEntry\nmetadata: {name: we, namespace: ns}\n";

    #[test]
    fn e16_e26_an_address_is_an_ip_a_name_or_a_socket() {
        for (spec, errors) in [
            ("{address: 1.2.3.4}", &[][..]),
            ("{address: '2001:db8::1', ports: {http: 80}}", &[]),
            ("{address: db.example.com, ports: {'7777': 7777}}", &[]),
            ("{address: 'unix:///run/db'}", &[]),
            ("{network: far}", &[]),
            ("{}", &["address is required", "Address is required"]),
            (
                "{address: 'db.example.com:9443'}",
                &["endpoint address \"db.example.com:9443\" is not a valid FQDN or an IP address"],
            ),
            (
                "{address: 'unix:///run/db', ports: {a: 1}}",
                &[
                    "unix endpoint unix:///run/db must not include ports",
                    "UDS may not include ports",
                ],
            ),
            (
                "{address: 'unix://run/'}",
                &[
                    "run/ is not an absolute path to a file",
                    "UDS must be an absolute path or abstract socket",
                    "UDS may not be a dir",
                ],
            ),
            (
                "{address: 'unix://'}",
                &[
                    "unix address must not be empty",
                    "UDS must be an absolute path or abstract socket",
                    "UDS may not be a dir",
                ],
            ),
            (
                "{address: 1.2.3.4, ports: {a: 65536}}",
                &[
                    "port number 65536 must be in the range 1..65535",
                    "port must be between 1-65535",
                ],
            ),
            (
                "{address: 1.2.3.4, weight: -1}",
                &["must be an integer from 0 to 4294967295"],
            ),
        ] {
            check(&format!("{HEAD}spec: {spec}\n"), errors);
        }
    }

    #[test]
    fn w5_endpoint_in_another_network_needs_no_address() {
        let (object, warnings) = object(&format!("{HEAD}spec: {{network: far}}\n"));
        assert_eq!(warnings, ["address is unset with network \"far\""]);
        let Object::WorkloadEntry(entry) = object else {
            panic!("not a WorkloadEntry")
        };
        assert_eq!(entry.endpoint.address, EndpointAddress::Unset);
    }

    #[test]
    fn checked_entry_is_unhealthy_until_the_check_says_otherwise() {
        let annotated = HEAD.replace(
            "namespace: ns",
            "namespace: ns, annotations: {proxy.istio.io/health-checks-enabled: 'true'}",
        );
        for (head, status, healthy) in [
            (HEAD, "", true),
            (
                HEAD,
                "status: {conditions: [{type: Healthy, status: 'False'}]}",
                true,
            ),
            (annotated.as_str(), "", false),
            (
                &annotated,
                "status: {conditions: [{type: Healthy, status: 'False'}]}",
                false,
            ),
            (
                &annotated,
                "status: {conditions: [{type: Healthy, status: 'True'}]}",
                true,
            ),
        ] {
            let (object, _) = object(&format!("{head}spec: {{address: 1.2.3.4}}\n{status}\n"));
            let Object::WorkloadEntry(entry) = object else {
                panic!("not a WorkloadEntry")
            };
            assert_eq!(entry.healthy, healthy, "{status}");
        }
    }
}
