//! What Istio says of a Sidecar; `spec` is what stands after `spec:`.

use super::*;
use crate::{
    istio::{
        Bind, EgressHost, EgressNamespace,
        testing::{check, object},
    },
    model::{Host, Namespace, Protocol},
};

fn document(spec: &str) -> String {
    format!(
        "apiVersion: networking.istio.io/v1\nkind: Sidecar\nmetadata: {{name: s, namespace: bar}}\nspec: {{{spec}}}\n"
    )
}

fn errors(spec: &str, expected: &[&str]) {
    check(&document(spec), expected);
}

fn warnings(spec: &str, expected: &[&str]) {
    assert_eq!(object(&document(spec)).1, expected, "{spec}");
}

fn sidecar(spec: &str) -> Sidecar {
    match object(&document(spec)).0 {
        Object::Sidecar(sidecar) => (*sidecar).clone(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn empty_sidecar_is_refused() {
    let empty = "sidecar: empty configuration provided";
    errors("", &[empty]);
    errors("workloadSelector: {}", &[empty]);
    errors("egress: [], ingress: []", &[empty]);
    check(
        "apiVersion: networking.istio.io/v1\nkind: Sidecar\nmetadata: {name: s}\n",
        &[empty],
    );
}

#[test]
fn selector_is_judged_as_an_entrys() {
    errors(
        "workloadSelector: {labels: {'': a}}, egress: [{hosts: [x]}]",
        &["empty key is not supported in selector: \"=a\""],
    );
    warnings(
        "workloadSelector: {}, outboundTrafficPolicy: {}",
        &[
            "sidecar: workload selector specified without labels, will be applied to all services in namespace",
        ],
    );
}

#[test]
fn egress_hosts_are_a_namespace_and_a_name() {
    for (host, expected) in [
        ("*/*", &[][..]),
        ("./*", &[]),
        ("~/*", &[]),
        ("ns/a.com", &[]),
        ("ns/*.a.com", &[]),
        ("~ns/a.com", &[]),
        ("~/a.com", &[]),
        ("~*/a.com", &[]),
        ("a.com", &["host must be of form namespace/dnsName"]),
        (
            "/",
            &[
                "config namespace and dnsName in host entry cannot be empty",
                "short names (non FQDN) are not allowed",
                "empty domain name not allowed",
            ],
        ),
        (
            "/a.com",
            &["config namespace and dnsName in host entry cannot be empty"],
        ),
        ("ns/a", &["short names (non FQDN) are not allowed"]),
        ("n_s/a.com", &["invalid namespace value \"n_s\" in sidecar"]),
        ("~~/a.com", &["invalid namespace value \"~~\" in sidecar"]),
        ("ns/*a.com", &["partial wildcard \"*a.com\" not allowed"]),
        (
            "ns/a.com/b",
            &["domain name \"com/b\" invalid (label \"com/b\" invalid)"],
        ),
        (
            "ns/10.0.0.1",
            &["domain name \"0.0.1\" invalid (top level domain \"1\" cannot be all-numeric)"],
        ),
    ] {
        errors(&format!("egress: [{{hosts: ['{host}']}}]"), expected);
    }
    let none = "sidecar: egress listener must contain at least one host";
    errors("egress: [{hosts: []}]", &[none]);
    errors("egress: [{}]", &[none, "Required value"]);
    errors("egress: [null]", &["egress listener may not be null"]);
}

#[test]
fn hosts_that_others_cover_are_suspicious() {
    let all = "`*/*` host select all resources, no other hosts can be added";
    for (hosts, expected) in [
        ("a/x.com, a/y.com", &[][..]),
        ("a/x.com, a/x.com", &["duplicated egress host: a/x.com"]),
        ("a/*, a/x.com", &["duplicated egress host: a/x.com"]),
        ("a/x.com, a/*", &["duplicated egress host: a/*"]),
        ("./x.com, bar/x.com", &["duplicated egress host: bar/x.com"]),
        ("'*/*', a/x.com", &[all]),
        ("'*/*', ~a/x.com", &[]),
        ("'*/*', '*/x.com'", &["duplicated egress host: */x.com"]),
    ] {
        warnings(&format!("egress: [{{hosts: [{hosts}]}}]"), expected);
    }
}

#[test]
fn listener_without_port_is_the_last() {
    let last = "sidecar: the egress listener with empty port should be the last listener in the list";
    errors("egress: [{hosts: [a/*]}, {hosts: [b/*]}]", &[last]);
    errors(
        "egress: [{hosts: [a/*]}, {port: {number: 1, protocol: TCP}, hosts: [b/*]}]",
        &[last],
    );
    errors("egress: [{port: {number: 1}, hosts: [b/*]}, {hosts: [a/*]}]", &[]);
}

#[test]
fn egress_ports_are_unique_and_whole() {
    let listener = |port: &str| format!("egress: [{{port: {{{port}}}, hosts: [a/*]}}]");
    for (port, expected) in [
        ("number: 80, protocol: HTTP, name: http", &[][..]),
        ("number: 80", &[]),
        (
            "number: 65536",
            &["port number 65536 must be in the range 1..65535"],
        ),
        ("number: 80, protocol: http1", &["unsupported protocol: http1"]),
        ("number: 80, name: a_b", &["invalid port name: a_b"]),
        (
            "number: 80, targetPort: 1",
            &["targetPort has no impact on Sidecars"],
        ),
        (
            "",
            &["sidecar: ports with 0 value must have a unix domain socket bind address"],
        ),
    ] {
        errors(&listener(port), expected);
    }
    errors(
        "egress: [{port: {number: 1}, hosts: [a/*]}, {port: {number: 1}, hosts: [b/*]}]",
        &["sidecar: ports on IP bound listeners must be unique"],
    );
    errors(
        "egress: [{port: {number: 1}, bind: x, hosts: [a/*]}]",
        &["x is not a valid IP"],
    );
    errors("egress: [{port: {number: 1}, bind: '::1', hosts: [a/*]}]", &[]);
}

#[test]
fn sockets_stand_for_ports_of_number_0() {
    let listener = |bind: &str| format!("{{port: {{number: 0}}, bind: '{bind}', hosts: [a/*]}}");
    errors(&format!("egress: [{}]", listener("unix:///run/a")), &[]);
    errors(&format!("egress: [{}]", listener("unix://@a")), &[]);
    errors(
        &format!("egress: [{}]", listener("unix://a")),
        &["a is not an absolute path to a file"],
    );
    errors(
        &format!("egress: [{0}, {0}]", listener("unix:///run/a")),
        &["sidecar: unix domain socket values for listeners must be unique"],
    );
    for mode in ["IPTABLES", "1"] {
        errors(
            &format!(
                "egress: [{{port: {{number: 0}}, bind: 'unix:///a', captureMode: {mode}, hosts: [a/*]}}]"
            ),
            &["sidecar: captureMode must be DEFAULT/NONE for unix domain socket listeners"],
        );
    }
}

#[test]
fn ingress_is_judged_though_it_is_of_no_consequence() {
    let listener =
        |rest: &str| format!("ingress: [{{port: {{number: 80, protocol: http, name: h}}, {rest}}}]");
    for (rest, expected) in [
        ("defaultEndpoint: '127.0.0.1:80'", &[][..]),
        ("defaultEndpoint: '[::1]:80'", &[]),
        ("defaultEndpoint: ':80'", &[]),
        ("defaultEndpoint: 'unix:///run/a'", &[]),
        (
            "defaultEndpoint: 'unix:///'",
            &["/ is not an absolute path to a file"],
        ),
        (
            "defaultEndpoint: '1.1.1.1:80'",
            &[
                "sidecar: defaultEndpoint must be of form 127.0.0.1:<port>,0.0.0.0:<port>,[::1]:port,[::]:port,unix://filepath or unset",
            ],
        ),
        (
            "defaultEndpoint: '127.0.0.1:hi'",
            &["sidecar: defaultEndpoint port (hi) is not a number: parsing \"hi\": invalid syntax"],
        ),
        (
            "defaultEndpoint: '127.0.0.1:0'",
            &["port number 0 must be in the range 1..65535"],
        ),
        (
            "defaultEndpoint: x",
            &[
                "address x: missing port in address",
                "sidecar: defaultEndpoint port () is not a number: parsing \"\": invalid syntax",
            ],
        ),
        ("bind: x", &["x is not a valid IP"]),
        (
            "captureMode: ALL",
            &["Unsupported value: \"ALL\": supported values: [\"DEFAULT\", \"IPTABLES\", \"NONE\"]"],
        ),
    ] {
        errors(&listener(rest), expected);
    }
    errors("ingress: [null]", &["sidecar: ingress may not be null"]);
    errors(
        "ingress: [{}]",
        &[
            "Required value",
            "sidecar: port is required for ingress listeners",
        ],
    );
    errors(
        "ingress: [{port: {number: 1}}, {port: {number: 1}}]",
        &["sidecar: ports on IP bound listeners must be unique"],
    );
}

#[test]
fn ingress_tls_is_judged_by_its_mode() {
    let listener = |protocol: &str, tls: &str| {
        format!("ingress: [{{port: {{number: 443, protocol: {protocol}, name: h}}, tls: {{{tls}}}}}]")
    };
    let simple = "mode: SIMPLE, serverCertificate: c, privateKey: k";
    for (tls, expected) in [
        (simple, &[][..]),
        (
            "mode: MUTUAL, serverCertificate: c, privateKey: k, caCertificates: a",
            &[],
        ),
        (
            "mode: SIMPLE",
            &[
                "SIMPLE TLS requires a server certificate",
                "SIMPLE TLS requires a private key",
            ],
        ),
        (
            "mode: OPTIONAL_MUTUAL, serverCertificate: c, privateKey: k",
            &["MUTUAL TLS requires a client CA bundle"],
        ),
        (
            "mode: ISTIO_MUTUAL",
            &["configuration is invalid: cannot set mode to ISTIO_MUTUAL in sidecar ingress tls"],
        ),
        (
            "mode: SIMPLE, serverCertificate: c, privateKey: k, caCrl: x",
            &["CRL is not supported with SIMPLE TLS"],
        ),
        (
            "mode: SIMPLE, credentialName: x",
            &["sidecar: credentialName is not currently supported"],
        ),
        (
            "mode: SIMPLE, credentialNames: [x], subjectAltNames: [san], httpsRedirect: true",
            &[
                "sidecar: credentialNames is not currently supported",
                "sidecar: subjectAltNames is not supported in ingress tls",
                "sidecar: httpsRedirect is not supported",
            ],
        ),
    ] {
        errors(&listener("HTTPS", tls), expected);
    }
    errors(
        &listener("TCP", simple),
        &["server cannot have TLS settings for non HTTPS/TLS ports"],
    );
    let suites = format!("{simple}, cipherSuites: [nope, AES256-SHA, AES256-SHA, '-ALL']");
    warnings(
        &listener("TLS", &suites),
        &[
            "ignoring invalid cipher suites: [nope]",
            "ignoring duplicate cipher suites: [AES256-SHA]",
        ],
    );
    let old = format!("{simple}, minProtocolVersion: TLSV1_0");
    assert_eq!(object(&document(&listener("TLS", &old))).1.len(), 1);
}

#[test]
fn connection_pools_have_positive_numbers_and_whole_milliseconds() {
    let short = "duration must be greater than 1ms";
    for (pool, expected) in [
        (
            "http: {http1MaxPendingRequests: 1}, tcp: {connectTimeout: 10s}",
            &[][..],
        ),
        ("", &["connection pool must have at least one field"]),
        ("http: {maxRetries: -1}", &["max retries must be non-negative"]),
        (
            "tcp: {maxConnections: -1}",
            &["max connections must be non-negative"],
        ),
        ("tcp: {connectTimeout: 0s}", &[short]),
        ("tcp: {idleTimeout: 0s}", &[]),
        ("tcp: {idleTimeout: -1s}", &[short]),
        (
            "tcp: {connectTimeout: 1.0001s}",
            &["only durations to ms precision are supported"],
        ),
        (
            "tcp: {connectTimeout: 1}",
            &["must be of type string: \"integer\""],
        ),
        (
            "tcp: {connectTimeout: soon}",
            &["Invalid value: \"soon\": must be a valid duration greater than 1ms"],
        ),
        (
            "http: {useClientProtocol: true, h2UpgradePolicy: UPGRADE}",
            &["use client protocol must not be true when H2UpgradePolicy is UPGRADE"],
        ),
        (
            "http: {http2KeepAlive: {interval: 1s}}",
            &["http2 keepalive timeout is required"],
        ),
        ("tcp: {tcpKeepalive: {time: 1us}}", &[short]),
    ] {
        errors(&format!("inboundConnectionPool: {{{pool}}}"), expected);
        errors(
            &format!("ingress: [{{port: {{number: 80, protocol: http}}, connectionPool: {{{pool}}}}}]"),
            expected,
        );
    }
    warnings(
        "ingress: [{port: {number: 80, protocol: TCP, name: t}, connectionPool: {http: {maxRetries: 1}}}]",
        &[
            "sidecar: HTTP connection pool settings are configured for port 80 (\"t\") but its protocol is not HTTP (TCP); only TCP settings will apply",
        ],
    );
}

#[test]
fn policy_is_judged_and_empty_it_is_registry_only() {
    let mesh_only =
        "sidecar: ALLOW_ANY_DYNAMIC_DNS mode is only supported in MeshConfig, not in Sidecar resource";
    for (policy, expected) in [
        ("mode: 3", mesh_only),
        ("mode: ALLOW_ANY_DYNAMIC_DNS", mesh_only),
        (
            "egressProxy: {host: a.com, port: {number: 1}}",
            "sidecar: egress_proxy must be set only with ALLOW_ANY outbound_traffic_policy mode",
        ),
        (
            "mode: ALLOW_ANY, egressProxy: {host: a.com}",
            "sidecar: egress_proxy port must be non-nil",
        ),
        (
            "mode: ALLOW_ANY, egressProxy: {host: a.com, port: {}}",
            "port number 0 must be in the range 1..65535",
        ),
        (
            "mode: ALLOW_ANY, egressProxy: {host: a.com, subset: a_b, port: {number: 1}}",
            "subset name is invalid: a_b",
        ),
    ] {
        let unsupported = policy.contains("mode: 3") || policy.contains("DYNAMIC");
        let value = if policy.contains("DYNAMIC") {
            "\"ALLOW_ANY_DYNAMIC_DNS\""
        } else {
            "3"
        };
        let message =
            format!("Unsupported value: {value}: supported values: [\"REGISTRY_ONLY\", \"ALLOW_ANY\"]");
        let all = if unsupported {
            vec![message.as_str(), expected]
        } else {
            vec![expected]
        };
        errors(&format!("outboundTrafficPolicy: {{{policy}}}"), &all);
    }
    for (policy, mode) in [
        ("{}", OutboundMode::RegistryOnly),
        ("{mode: null}", OutboundMode::RegistryOnly),
        ("{mode: ALLOW_ANY}", OutboundMode::AllowAny),
        (
            "{mode: 1, egressProxy: {host: a.com, port: {number: 1}}}",
            OutboundMode::AllowAny,
        ),
    ] {
        assert_eq!(
            sidecar(&format!("outboundTrafficPolicy: {policy}")).mode,
            Some(mode)
        );
    }
    assert_eq!(
        sidecar("egress: [{hosts: ['*/*']}], outboundTrafficPolicy: null").mode,
        None
    );
}

#[test]
fn valid_sidecar_says_what_was_written() {
    let sidecar = sidecar(
        "workloadSelector: {labels: {app: web}}, \
         egress: [{port: {number: 80, protocol: http}, bind: 127.0.0.1, hosts: [./a.com]}, \
                  {port: {number: 81}, captureMode: 2, hosts: ['*/*']}, \
                  {hosts: [ns/*.A.com, ~/b.com, ~ns/c.com, ~./d.com]}]",
    );
    assert_eq!(sidecar.selector.unwrap()["app"], "web");
    let [bound, uncaptured, rest] = &sidecar.egress[..] else {
        panic!("{:?}", sidecar.egress)
    };
    assert_eq!(bound.port, Some((80, Protocol::Http)));
    assert_eq!(bound.bind, Bind::Local);
    assert_eq!(uncaptured.port, Some((81, Protocol::Auto)));
    assert_eq!(uncaptured.bind, Bind::Local);
    assert_eq!(rest.port, None);
    assert_eq!(rest.bind, Bind::Services);
    let host = |imports, namespace, host: &str| EgressHost {
        imports,
        namespace,
        host: Host::new(host),
    };
    let ns = || EgressNamespace::Named(Namespace::new("ns"));
    assert_eq!(
        rest.hosts,
        [
            host(true, ns(), "*.a.com"),
            host(false, EgressNamespace::Any, "b.com"),
            host(false, ns(), "c.com"),
            host(false, EgressNamespace::Own, "d.com"),
        ]
    );
}

#[test]
fn bind_says_where_a_listener_is() {
    let at = |address: &str| Bind::At(address.parse().unwrap());
    for (listener, bind) in [
        ("", Bind::Services),
        (", captureMode: IPTABLES", Bind::Services),
        (", captureMode: NONE", Bind::Local),
        (", bind: 0.0.0.0", Bind::Anywhere),
        (", bind: '::', captureMode: NONE", Bind::Anywhere),
        (", bind: 127.0.0.2", Bind::Local),
        (", bind: '::1'", Bind::Local),
        (", bind: 192.0.2.1", at("192.0.2.1")),
        (", bind: '2001:db8::1', captureMode: NONE", at("2001:db8::1")),
        (", bind: '::ffff:192.0.2.1'", at("192.0.2.1")),
    ] {
        let text = format!("egress: [{{port: {{number: 80, protocol: TCP}}, hosts: ['*/*']{listener}}}]");
        assert_eq!(sidecar(&text).egress[0].bind, bind, "{listener}");
    }
    let socket = "egress: [{port: {number: 0, protocol: TCP}, bind: 'unix:///run/s', hosts: ['*/*']}]";
    assert_eq!(sidecar(socket).egress[0].bind, Bind::Local);
}
