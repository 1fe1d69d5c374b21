//! One test for each rule, named by its number; `spec` is what stands after `spec:`.

use super::*;
use crate::{
    istio::{
        EndpointAddress, ExportTo,
        testing::{check, object},
    },
    model::{Namespace, Protocol},
};

const CIDR: &str = "CIDR addresses are allowed only for NONE/STATIC resolution types";
const RANGE: &str = "port must be between 1-65535";
const ADDRESSES_REQUIRED: &str =
    "addresses are required for ports serving TCP (or unset) protocol when IP Autoallocation is not enabled";

fn document(spec: &str) -> String {
    format!(
        "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {{name: e, namespace: ns5}}\nspec: {{{spec}}}\n"
    )
}

/// The errors of `spec`, in any order.
fn errors(spec: &str, expected: &[&str]) {
    check(&document(spec), expected);
}

/// `spec` is valid and has these warnings.
fn warnings(spec: &str, expected: &[&str]) {
    assert_eq!(object(&document(spec)).1, expected, "{spec}");
}

fn entry(text: &str) -> ServiceEntry {
    match object(text).0 {
        Object::ServiceEntry(entry) => (*entry).clone(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn e1_e2_selector_takes_neither_empty_keys_nor_wildcards_and_ends_the_judgement() {
    for (labels, expected) in [
        (
            "'': bar",
            &["empty key is not supported in selector: \"=bar\""][..],
        ),
        ("a: '*'", &["wildcard is not supported in selector: \"a=*\""]),
        ("'a*': b", &["wildcard is not supported in selector: \"a*=b\""]),
        (
            "a: '*', '': b",
            &[
                "wildcard is not supported in selector: \"a=*\"",
                "empty key is not supported in selector: \"=b\"",
            ],
        ),
    ] {
        errors(
            &format!("workloadSelector: {{labels: {{{labels}}}}}, hosts: ['*']"),
            expected,
        );
    }
}

#[test]
fn w1_selector_without_labels_selects_everything() {
    let w1 = "service entry: workload selector specified without labels, will be applied to all services in namespace";
    warnings("hosts: [a.com], resolution: DNS, workloadSelector: {}", &[w1]);
    warnings(
        "hosts: [a.com], resolution: STATIC, workloadSelector: {labels: {}}",
        &[w1],
    );
}

#[test]
fn e3_selector_and_endpoints_exclude_each_other() {
    errors(
        "hosts: [a.com], resolution: STATIC, workloadSelector: {labels: {a: b}}, endpoints: [{address: 1.1.1.1}]",
        &[
            "only one of WorkloadSelector or Endpoints is allowed in Service Entry",
            "only one of WorkloadSelector or Endpoints can be set",
        ],
    );
    // The API server counts an empty list, the webhook does not.
    errors(
        "hosts: [a.com], resolution: STATIC, workloadSelector: {labels: {a: b}}, endpoints: []",
        &["only one of WorkloadSelector or Endpoints can be set"],
    );
}

#[test]
fn e4_there_is_a_host() {
    let none = "service entry must have at least one host";
    errors("", &[none, "Required value"]);
    errors("hosts: null", &[none, "Required value"]);
    errors("hosts: []", &[none, "must have at least 1 items"]);
    check(
        "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {name: e}\n",
        &["Required value"],
    );
}

#[test]
fn e5_host_is_not_everything() {
    errors("hosts: ['*']", &["invalid host *", "hostname cannot be wildcard"]);
}

#[test]
fn e6_host_is_a_domain_name() {
    let long = "a.".repeat(128);
    for (host, expected) in [
        ("-", "domain name \"-\" invalid (label \"-\" invalid)".to_owned()),
        (
            "1.2.3.4",
            "domain name \"2.3.4\" invalid (top level domain \"4\" cannot be all-numeric)".to_owned(),
        ),
        (
            "db.example.123",
            "domain name \"example.123\" invalid (top level domain \"123\" cannot be all-numeric)".to_owned(),
        ),
        (
            "2001:db8::1",
            "domain name \"2001:db8::1\" invalid (label \"2001:db8::1\" invalid)".to_owned(),
        ),
        (
            "a.b_c.com",
            "domain name \"b_c.com\" invalid (label \"b_c\" invalid)".to_owned(),
        ),
        ("''", "empty domain name not allowed".to_owned()),
        (&long, format!("domain name {long:?} too long (max 255)")),
    ] {
        errors(&format!("hosts: ['{}']", host.trim_matches('\'')), &[&expected]);
    }
    for host in [
        "a",
        "a.com.",
        "A.Example.COM",
        "*.com",
        "xn--bcher-kva.example",
        "1a.2b",
    ] {
        warnings(&format!("hosts: ['{host}']"), &[]);
    }
}

#[test]
fn w2_partial_wildcard_is_suspicious_but_for_dynamic_dns() {
    warnings("hosts: ['*a.com']", &["partial wildcard \"*a.com\" not allowed"]);
    warnings(
        "hosts: ['*-a.com']",
        &["partial wildcard \"*-a.com\" not allowed"],
    );
    warnings("hosts: ['*a.com'], resolution: DYNAMIC_DNS", &[]);
}

#[test]
fn e7_addresses_are_ips_or_networks() {
    for (address, expected) in [
        ("a.com", "a.com is not a valid IP"),
        ("10.0.0.0/33", "10.0.0.0/33 is not a valid CIDR block"),
        ("2001:db8::/129", "2001:db8::/129 is not a valid CIDR block"),
        ("10.0.0.0/x", "10.0.0.0/x is not a valid CIDR block"),
        ("10.0.0/8", "10.0.0/8 is not a valid CIDR block"),
        ("1.2.3.4:80", "1.2.3.4:80 is not a valid IP"),
    ] {
        errors(&format!("hosts: [a.com], addresses: ['{address}']"), &[expected]);
    }
}

#[test]
fn e8_networks_need_none_or_static() {
    for resolution in ["DNS", "DNS_ROUND_ROBIN"] {
        for address in ["10.0.0.0/8", "1.2.3.4/32", "2001:db8::/32"] {
            let spec = format!("hosts: [a.com], addresses: ['{address}'], resolution: {resolution}");
            errors(&spec, &[CIDR]);
        }
    }
    warnings(
        "hosts: [a.com], addresses: ['2001:db8::/32'], resolution: STATIC",
        &[],
    );
}

#[test]
fn e9_port_is_not_null() {
    let null = "service entry port may not be null";
    errors("hosts: [a.com], ports: [null]", &[null]);
    errors(
        "hosts: [a.com, b.com], ports: [null], resolution: DNS, addresses: [1.1.1.1]",
        &[null, "ports cannot be nil", "ports cannot be nil"],
    );
    errors(
        "hosts: ['*.com'], ports: [null], resolution: DYNAMIC_DNS",
        &[null, "port cannot be nil"],
    );
}

#[test]
fn e10_e11_port_names_and_numbers_are_unique() {
    errors(
        "hosts: [a.com], addresses: [1.1.1.1], ports: [{name: a, number: 1}, {name: a, number: 2}]",
        &[
            "service entry port name \"a\" already defined",
            "Duplicate value: \"a\"",
        ],
    );
    errors(
        "hosts: [a.com], addresses: [1.1.1.1], ports: [{name: a, number: 1}, {name: b, number: 1}]",
        &[
            "service entry port 1 already defined",
            "port number cannot be duplicated",
        ],
    );
}

#[test]
fn e12_ports_are_from_1_to_65535() {
    let port = |port: &str| format!("hosts: [a.com], addresses: [1.1.1.1], ports: [{{name: a, {port}}}]");
    for number in ["0", "65536", "-1", "4294967296"] {
        let message = format!("port number {number} must be in the range 1..65535");
        errors(&port(&format!("number: {number}")), &[&message, RANGE]);
    }
    errors(
        &port("number: 1, targetPort: 65536"),
        &["port number 65536 must be in the range 1..65535", RANGE],
    );
    // Explicit, 0 is refused by the API server alone.
    errors(&port("number: 1, targetPort: 0"), &[RANGE]);
    errors(
        &port("protocol: TCP"),
        &["port number 0 must be in the range 1..65535", "Required value"],
    );
    warnings(&port("number: 65535, targetPort: 1"), &[]);
}

#[test]
fn w3_tcp_without_addresses_needs_allocation() {
    let port = |protocol: &str| format!("hosts: [a.com], ports: [{{name: a, number: 1{protocol}}}]");
    for (protocol, resolution, expected) in [
        ("", "NONE", &[ADDRESSES_REQUIRED][..]),
        (", protocol: TCP", "NONE", &[ADDRESSES_REQUIRED]),
        // The comparison is one of letters.
        (", protocol: tcp", "NONE", &[]),
        (", protocol: HTTP", "NONE", &[]),
        ("", "DNS", &[]),
    ] {
        warnings(&format!("{}, resolution: {resolution}", port(protocol)), expected);
    }
    let opted_out = document(&format!("{}, resolution: DNS", port(""))).replace(
        "namespace: ns5",
        "namespace: ns5, labels: {networking.istio.io/enable-autoallocate-ip: 'False'}",
    );
    assert_eq!(object(&opted_out).1, [ADDRESSES_REQUIRED]);
}

#[test]
fn e13_port_names_are_dns_labels() {
    let port = |name: &str| format!("hosts: [a.com], ports: [{{name: '{name}', number: 1, protocol: HTTP}}]");
    for name in ["a_b", "-a", "a.b", "", &"a".repeat(64)] {
        errors(&port(name), &[&format!("invalid port name: {name}")]);
    }
    errors(
        "hosts: [a.com], ports: [{number: 1, protocol: HTTP}]",
        &["invalid port name: ", "Required value"],
    );
    for name in ["A", "http-1", &"a".repeat(63)] {
        warnings(&port(name), &[]);
    }
}

#[test]
fn e14_protocols_are_known_in_any_case() {
    let port = |protocol: &str| {
        format!("hosts: [a.com], addresses: [1.1.1.1], ports: [{{name: a, number: 1, protocol: {protocol}}}]")
    };
    for protocol in ["HTTP1", "sctp", "http-web", "HBONE"] {
        errors(&port(protocol), &[&format!("unsupported protocol: {protocol}")]);
    }
    for (protocol, expected) in [
        ("http_proxy", Protocol::HttpProxy),
        ("gRPC-Web", Protocol::GrpcWeb),
        ("Mongo", Protocol::Mongo),
        ("UDP", Protocol::Udp),
        ("''", Protocol::Auto),
        ("null", Protocol::Auto),
    ] {
        assert_eq!(entry(&document(&port(protocol))).ports[0].protocol, expected);
    }
}

#[test]
fn e15_w4_none_has_neither_endpoints_nor_selector() {
    errors(
        "hosts: [a.com], endpoints: [{address: 1.1.1.1}]",
        &[
            "no endpoints should be provided for resolution type none",
            "NONE mode cannot set endpoints",
        ],
    );
    errors(
        "hosts: [a.com], endpoints: []",
        &["NONE mode cannot set endpoints"],
    );
    warnings(
        "hosts: [a.com], workloadSelector: {labels: {a: b}}",
        &["workloadSelector should not be set when resolution mode is NONE"],
    );
}

/// An entry of that resolution with one port `http` and one endpoint.
fn with_endpoint(resolution: &str, endpoint: &str) -> String {
    format!(
        "hosts: [a.com], resolution: {resolution}, ports: [{{name: http, number: 80, protocol: HTTP}}], endpoints: [{endpoint}]"
    )
}

#[test]
fn e16_w5_static_endpoint_has_an_address_or_a_network() {
    errors(
        &with_endpoint("STATIC", "{}"),
        &["address is required", "Address is required"],
    );
    // An empty address satisfies the API server.
    errors(
        &with_endpoint("STATIC", "{address: ''}"),
        &["address is required"],
    );
    warnings(
        &with_endpoint("STATIC", "{network: n1}"),
        &["address is unset with network \"n1\""],
    );
}

#[test]
fn e17_static_endpoint_is_an_ip() {
    for address in ["a.com", "1.1.1.1/32", "[::1]"] {
        let message = format!("endpoint address {address:?} is not a valid IP address");
        errors(
            &with_endpoint("STATIC", &format!("{{address: '{address}'}}")),
            &[&message],
        );
    }
    for address in ["1.1.1.1", "2001:db8::1", "::ffff:1.1.1.1"] {
        warnings(
            &with_endpoint("STATIC", &format!("{{address: '{address}'}}")),
            &[],
        );
    }
}

#[test]
fn e18_e19_e20_socket_is_a_path_alone() {
    errors(
        &with_endpoint("STATIC", "{address: 'unix://run/db'}"),
        &[
            "run/db is not an absolute path to a file",
            "UDS must be an absolute path or abstract socket",
        ],
    );
    errors(
        &with_endpoint("STATIC", "{address: 'unix:///run/'}"),
        &["/run/ is not an absolute path to a file", "UDS may not be a dir"],
    );
    errors(
        &with_endpoint("STATIC", "{address: 'unix:///run/db', ports: {http: 1}}"),
        &[
            "unix endpoint unix:///run/db must not include ports",
            "UDS may not include ports",
        ],
    );
    errors(
        "hosts: [a.com], resolution: STATIC, endpoints: [{address: 'unix:///run/db'}]",
        &["exactly 1 service port required for unix endpoints"],
    );
    for address in ["unix:///run/db", "unix://@abstract"] {
        warnings(
            &with_endpoint("STATIC", &format!("{{address: '{address}'}}")),
            &[],
        );
    }
}

#[test]
fn e21_endpoint_ports_are_ports_of_the_entry() {
    for resolution in ["STATIC", "DNS"] {
        let endpoint =
            |ports: &str| with_endpoint(resolution, &format!("{{address: 1.1.1.1, ports: {{{ports}}}}}"));
        errors(
            &endpoint("tcp: 7070"),
            &["endpoint port 7070 is not defined by the service entry"],
        );
        errors(
            &endpoint("http: 0"),
            &["port number 0 must be in the range 1..65535", RANGE],
        );
        errors(
            &endpoint("h_p: 1"),
            &[
                "endpoint port 1 is not defined by the service entry",
                "invalid port name: h_p",
                "port name must be valid",
            ],
        );
        warnings(&endpoint("http: 8080"), &[]);
    }
}

#[test]
fn endpoint_port_name_is_one_shorter_than_a_label() {
    let name = "a".repeat(63);
    let spec = format!(
        "hosts: [a.com], resolution: STATIC, ports: [{{name: {name}, number: 80}}], endpoints: [{{address: 1.1.1.1, ports: {{{name}: 1}}}}]"
    );
    errors(&spec, &["port name must be valid"]);
}

#[test]
fn e22_endpoint_labels_are_kubernetes_labels() {
    for resolution in ["STATIC", "DNS"] {
        let endpoint =
            |label: &str| with_endpoint(resolution, &format!("{{address: '::1', labels: {{{label}}}}}"));
        errors(&endpoint("'a b': c"), &["invalid tag key: \"a b\""]);
        errors(&endpoint("a: 'b c'"), &["invalid tag value: \"b c\""]);
        errors(
            &endpoint(&format!("{}: a", "a".repeat(64))),
            &[&format!(
                "invalid tag key: {:?} (name is too long)",
                "a".repeat(64)
            )],
        );
        warnings(&endpoint("example.com/a_b: '', x: Y.1"), &[]);
    }
}

#[test]
fn e23_endpoint_is_not_null() {
    for resolution in ["STATIC", "DNS"] {
        errors(&with_endpoint(resolution, "null"), &["endpoint cannot be nil"]);
    }
}

#[test]
fn e24_dns_without_endpoints_needs_complete_names() {
    for (resolution, selector) in [
        ("DNS", ""),
        ("DNS_ROUND_ROBIN", ", workloadSelector: {labels: {a: b}}"),
    ] {
        let message = format!(
            "hosts must be FQDN or contain only prefix wildcards if no endpoints are provided for resolution mode {resolution}, domain name \"*.a.com\" invalid (label \"*\" invalid)"
        );
        let spec = format!("hosts: [b.com, '*.a.com', '*.b.com'], resolution: {resolution}{selector}");
        errors(&spec, &[&message]);
    }
    warnings(
        "hosts: ['*.a.com'], resolution: DNS, endpoints: [{address: b.com}]",
        &[],
    );
}

#[test]
fn e25_round_robin_has_one_endpoint_at_most() {
    errors(
        "hosts: [a.com], resolution: DNS_ROUND_ROBIN, endpoints: [{address: a.com}, {address: b.com}]",
        &[
            "there must only be 0 or 1 endpoint for resolution mode DNS_ROUND_ROBIN",
            "DNS_ROUND_ROBIN mode cannot have multiple endpoints",
        ],
    );
}

#[test]
fn e26_dns_endpoint_is_a_name_or_an_ip() {
    for address in ["*.a.com", "unix:///run/db", "a.com:80", "1.2.3"] {
        let message = format!("endpoint address {address:?} is not a valid FQDN or an IP address");
        errors(
            &with_endpoint("DNS", &format!("{{address: '{address}'}}")),
            &[&message],
        );
    }
    errors(
        &with_endpoint("DNS", "{network: n1}"),
        &["endpoint address \"\" is not a valid FQDN or an IP address"],
    );
    warnings(&with_endpoint("DNS", "{address: '2001:db8::1'}"), &[]);
}

#[test]
fn w6_several_hosts_with_addresses_and_a_tcp_port() {
    let message =
        "service entry can not have more than one host specified simultaneously with address and tcp port";
    let spec = |protocol: &str| {
        format!(
            "hosts: [a.com, b.com], resolution: DNS, addresses: ['2001:db8::1'], ports: [{{name: a, number: 1, protocol: {protocol}}}]"
        )
    };
    for (protocol, expected) in [("HTTPS", &[message][..]), ("TLS", &[message]), ("HTTP", &[])] {
        warnings(&spec(protocol), expected);
    }
}

#[test]
fn e27_to_e31_dynamic_dns_is_for_wildcards_and_nothing_else() {
    let port = "ports: [{name: a, number: 1, protocol: TLS}]";
    errors(
        &format!("hosts: [], resolution: DYNAMIC_DNS, {port}"),
        &[
            "service entry must have at least one host",
            "at least one wildcard host must be provided for resolution type DYNAMIC_DNS",
            "must have at least 1 items",
        ],
    );
    errors(
        &format!("hosts: [a.com], resolution: DYNAMIC_DNS, {port}"),
        &["host must be wildcarded for resolution mode DYNAMIC_DNS"],
    );
    errors(
        &format!(
            "hosts: ['*.a.com'], resolution: DYNAMIC_DNS, addresses: [1.1.1.1/32], endpoints: [{{address: b.com}}], {port}"
        ),
        &[
            CIDR,
            "addresses cannot be set for resolution type DYNAMIC_DNS. HTTP route domains will only be generated from the hosts field values",
            "endpoints cannot be set for resolution type DYNAMIC_DNS. Destination IP address determined from hosts field values",
        ],
    );
    for protocol in ["TCP", "HTTPS", "GRPC-Web", "''", "UDP"] {
        errors(
            &format!(
                "hosts: ['*.a.com'], resolution: DYNAMIC_DNS, ports: [{{name: a, number: 1, protocol: {protocol}}}]"
            ),
            &["only HTTP, TLS, GRPC, and HTTP2 protocols are supported for resolution type DYNAMIC_DNS"],
        );
    }
    let internal = format!("hosts: ['*.a.com'], resolution: DYNAMIC_DNS, location: MESH_INTERNAL, {port}");
    warnings(&internal, &[]);
    for (waypoint, expected) in [
        (
            "w",
            &[
                "location MESH_INTERNAL with resolution type DYNAMIC_DNS is not supported when using waypoints",
            ][..],
        ),
        ("None", &[]),
        ("''", &[]),
    ] {
        let labels = format!("namespace: ns5, labels: {{istio.io/use-waypoint: {waypoint}}}");
        check(&document(&internal).replace("namespace: ns5", &labels), expected);
    }
}

#[test]
fn e32_resolution_and_location_are_known_ones_by_name_or_number() {
    let supported = "supported values: [\"NONE\", \"STATIC\", \"DNS\", \"DNS_ROUND_ROBIN\", \"DYNAMIC_DNS\"]";
    errors(
        "hosts: [a.com], resolution: dns",
        &[
            &format!("Unsupported value: \"dns\": {supported}"),
            "unsupported resolution type dns",
        ],
    );
    errors(
        "hosts: [a.com], resolution: 9",
        &[
            &format!("Unsupported value: 9: {supported}"),
            "unsupported resolution type ",
        ],
    );
    errors(
        "hosts: ['*.a.com'], resolution: DYNAMIC_DNS, location: 7",
        &[
            "Unsupported value: 7: supported values: [\"MESH_EXTERNAL\", \"MESH_INTERNAL\"]",
            "location must be MESH_EXTERNAL or MESH_INTERNAL for resolution type DYNAMIC_DNS",
        ],
    );
    for (written, resolution) in [
        ("null", Resolution::None),
        ("2", Resolution::Dns),
        ("DNS_ROUND_ROBIN", Resolution::DnsRoundRobin),
    ] {
        let entry = entry(&document(&format!("hosts: [a.com], resolution: {written}")));
        assert_eq!(entry.resolution, resolution);
    }
}

#[test]
fn e33_only_http_and_tls_tell_several_hosts_apart() {
    let spec = |resolution: &str, protocol: &str| {
        format!(
            "hosts: [a.com, b.com], resolution: {resolution}, ports: [{{name: a, number: 1, protocol: {protocol}}}]"
        )
    };
    for protocol in ["TCP", "Mongo", "UDP", "''"] {
        errors(
            &spec("DNS", protocol),
            &["multiple hosts provided with non-HTTP, non-TLS ports"],
        );
    }
    for (resolution, protocol) in [("DNS", "GRPC"), ("STATIC", "HTTPS"), ("NONE", "UDP")] {
        errors(&spec(resolution, protocol), &[]);
    }
}

#[test]
fn e34_to_e38_export_to_does_not_contradict_itself() {
    let label = "only .,*, or a valid DNS 1123 label is allowed as exportTo entry";
    let public = "cannot have both public (*) and non-public exportTo values for a resource";
    let nobody = "cannot export service entry to no one (~) and someone";
    for (export_to, expected) in [
        ("", &[][..]),
        ("., ns1", &[]),
        ("'*'", &[]),
        ("'~'", &[]),
        ("a, a", &["duplicate entries in exportTo for entry a"]),
        ("., ns5", &["duplicate entries in exportTo for entry ns5"]),
        (
            "ns5, .",
            &["duplicate entries in exportTo: . and current namespace ns5"],
        ),
        (
            "., .",
            &["duplicate entries in exportTo: . and current namespace ns5"],
        ),
        ("a_b", &[label]),
        ("''", &[label]),
        ("'*', ns1", &[public]),
        ("., '*'", &[public]),
        ("'~', ns1", &[nobody]),
        ("'~', '~'", &["duplicate entries in exportTo for entry ~", nobody]),
        ("'*', '~'", &[public, nobody]),
    ] {
        errors(&format!("hosts: [a.com], exportTo: [{export_to}]"), expected);
    }
}

#[test]
fn sizes_are_those_of_the_crd() {
    let hosts = |count: usize| {
        (0..count)
            .map(|index| format!("h{index}.com"))
            .collect::<Vec<_>>()
            .join(", ")
    };
    errors(&format!("hosts: [{}]", hosts(256)), &[]);
    errors(
        &format!("hosts: [{}]", hosts(257)),
        &["Too many: 257: must have at most 256 items"],
    );
    errors(
        &format!(
            "hosts: [a.com], resolution: STATIC, workloadSelector: {{labels: {{a: {}}}}}",
            "b".repeat(64)
        ),
        &["Too long: may not be more than 63 bytes"],
    );
    let address = format!("{}/8", "1".repeat(64));
    errors(
        &format!("hosts: [a.com], addresses: ['{address}']"),
        &[
            &format!("{address} is not a valid CIDR block"),
            "Too long: may not be more than 64 bytes",
        ],
    );
}

#[test]
fn wrong_types_are_errors_and_nothing_else_is_said() {
    for (spec, expected) in [
        ("hosts: a.com", "must be of type array: \"string\""),
        ("hosts: [80]", "must be of type string: \"integer\""),
        ("hosts: [null]", "must be of type string: \"null\""),
        (
            "hosts: [a.com], ports: [{name: a, number: '443'}]",
            "must be of type integer: \"string\"",
        ),
        (
            "hosts: [a.com], ports: [{name: a, number: 80.5}]",
            "must be of type integer: \"number\"",
        ),
        ("hosts: [a.com], ports: {}", "must be of type array: \"object\""),
        (
            "hosts: [a.com], endpoints: [x]",
            "must be of type object: \"string\"",
        ),
        (
            "hosts: [a.com], workloadSelector: {labels: {a: true}}",
            "must be of type string: \"boolean\"",
        ),
        (
            "hosts: [a.com], resolution: true",
            "must be of type string: \"boolean\"",
        ),
    ] {
        errors(spec, &[expected]);
    }
    errors(
        "hosts: [a.com], ports: [{name: a, number: 80.0, protocol: HTTP}]",
        &[],
    );
}

#[test]
fn valid_entry_says_what_was_written() {
    let entry = entry(
        "apiVersion: networking.istio.io/v1beta1\n\
         kind: ServiceEntry\n\
         metadata: {name: e, namespace: ns5, creationTimestamp: '2024-01-01T00:00:00Z', labels: {a: b}}\n\
         spec:\n\
         \x20 hosts: ['*.A.com', 'b.com.']\n\
         \x20 addresses: [10.1.2.3/8, '2001:db8::1', 0.0.0.0]\n\
         \x20 ports:\n\
         \x20 - {name: http, number: 80, targetPort: 8080, protocol: http}\n\
         \x20 resolution: STATIC\n\
         \x20 endpoints:\n\
         \x20 - {address: '::ffff:1.2.3.4', ports: {http: 81}, labels: {v: '1'}, network: far}\n\
         \x20 - {address: 'unix:///run/db'}\n\
         \x20 exportTo: ['.', other]\n\
         status: {addresses: [{host: '*.a.com', value: 240.240.0.1}, {host: '*.a.com', value: '2001:2::1'}, {value: x}]}\n",
    );
    assert_eq!(entry.meta.created, Some(1_704_067_200));
    assert_eq!(entry.hosts, [Host::new("*.a.com"), Host::new("b.com")]);
    let addresses: Vec<_> = entry.addresses.iter().map(ToString::to_string).collect();
    assert_eq!(addresses, ["10.0.0.0/8", "2001:db8::1/128", "0.0.0.0/32"]);
    assert_eq!(
        entry.ports,
        [ServicePort {
            number: 80,
            name: "http".into(),
            protocol: Protocol::Http,
            target: Some(8080),
        }]
    );
    assert_eq!(entry.resolution, Resolution::Static);
    assert_eq!(
        entry.endpoints[0].address,
        EndpointAddress::Ip("1.2.3.4".parse().unwrap())
    );
    assert_eq!(entry.endpoints[0].ports["http"], 81);
    assert_eq!(entry.endpoints[0].network, "far");
    assert_eq!(
        entry.endpoints[1].address,
        EndpointAddress::Unix("/run/db".into())
    );
    assert_eq!(
        entry.export_to,
        [ExportTo::Own, ExportTo::Namespace(Namespace::new("other"))]
    );
    assert_eq!(entry.selector, None);
    let allocated: Vec<_> = entry.allocated["*.a.com"]
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(allocated, ["240.240.0.1", "2001:2::1"]);
}

#[test]
fn labels_are_told_apart_without_being_kept() {
    let labelled = |labels: &str| {
        entry(&format!(
            "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {{name: e, labels: {{{labels}}}}}\n\
             spec: {{hosts: [a.com], resolution: DNS}}\n"
        ))
    };
    let [none, one, other] = ["", "team: a", "team: b"].map(labelled);
    assert_eq!(one.label_sum, labelled("team: a").label_sum);
    assert_ne!(one.label_sum, other.label_sum);
    assert_ne!(one.label_sum, none.label_sum);
    assert!(one.meta.labels.is_empty());
    for (value, opts_out) in [
        ("'false'", true),
        ("'False'", true),
        ("'true'", false),
        ("''", false),
    ] {
        let entry = labelled(&format!("networking.istio.io/enable-autoallocate-ip: {value}"));
        assert_eq!(entry.opts_out, opts_out, "{value}");
    }
}
