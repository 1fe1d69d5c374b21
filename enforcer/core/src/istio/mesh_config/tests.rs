//! What a mesh's configuration may say, in a ConfigMap and by itself.

use super::*;
use crate::{
    istio::{
        Reading, read as read_value,
        testing::{check, object},
    },
    model::Labels,
};

fn bare(mesh: &str) -> String {
    format!("kind: MeshConfig\n{mesh}")
}

fn config_map(name: &str, mesh: &str) -> String {
    let mesh: String = mesh.lines().map(|line| format!("    {line}\n")).collect();
    format!(
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}, namespace: istio-system}}\ndata:\n  mesh: |-\n{mesh}"
    )
}

fn mesh(text: &str) -> MeshConfig {
    match object(text).0 {
        Object::MeshConfig(mesh) => (*mesh).clone(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn config_map_holds_the_configuration_as_text() {
    for name in ["istio", "istio-1-27"] {
        let mesh = mesh(&config_map(
            name,
            "outboundTrafficPolicy:\n  mode: REGISTRY_ONLY\nrootNamespace: mesh\ndefaultConfig: {concurrency: 2}\n",
        ));
        assert_eq!(mesh.meta.name, name);
        assert_eq!(mesh.mode, Some(OutboundMode::RegistryOnly));
        assert_eq!(mesh.root_namespace.as_str(), "mesh");
        assert_eq!(mesh.default_export_to, [ExportTo::Everyone]);
    }
}

#[test]
fn other_config_maps_are_skipped() {
    for text in [
        config_map("other", "a: b\n"),
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: istio-ca-root-cert}\ndata: {root: x}\n".to_owned(),
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: istio}\n".to_owned(),
    ] {
        let value = Document::embedded(&text, 1).parse().unwrap();
        assert_eq!(read_value(&value), Reading::Skipped, "{text}");
    }
}

#[test]
fn empty_policy_is_registry_only_and_none_is_the_default() {
    for (text, mode) in [
        ("", None),
        ("outboundTrafficPolicy: null", None),
        ("outboundTrafficPolicy: {}", Some(OutboundMode::RegistryOnly)),
        (
            "outbound_traffic_policy: {mode: ALLOW_ANY}",
            Some(OutboundMode::AllowAny),
        ),
        ("outboundTrafficPolicy: {mode: 1}", Some(OutboundMode::AllowAny)),
        (
            "outboundTrafficPolicy: {mode: ALLOW_ANY_DYNAMIC_DNS}",
            Some(OutboundMode::AllowAny),
        ),
    ] {
        assert_eq!(mesh(&bare(text)).mode, mode, "{text}");
    }
    assert_eq!(mesh(&bare("")), MeshConfig::default());
}

#[test]
fn empty_text_is_the_default() {
    let text = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: istio, namespace: istio-system}\ndata: {mesh: ''}\n";
    assert_eq!(mesh(text), MeshConfig::default());
}

#[test]
fn visibility_policies_need_all_their_rules_and_end_with_the_default() {
    let visibility = mesh(&bare(
        "serviceEntryVisibility:\n  applyToSidecars: true\n  defaultVisibility: NAMESPACE\n  policies:\n\
         \x20 - visibility: NONE\n    matchingRules:\n    - namespaceSelector: {matchLabels: {a: b}}\n\
         \x20   - namespaceSelector: {matchExpressions: [{key: c, operator: Exists}]}\n\
         \x20 - {visibility: 3, matchingRules: [{}]}\n",
    ))
    .visibility
    .unwrap();
    assert!(visibility.apply_to_sidecars);
    let expression = |key: &str, operator| LabelExpression {
        key: key.to_owned(),
        operator,
    };
    let selector = |expressions| LabelSelector {
        labels: Labels::new(),
        expressions,
    };
    assert_eq!(
        visibility.policies,
        [
            (
                selector(vec![
                    expression("a", LabelOperator::In(vec!["b".into()])),
                    expression("c", LabelOperator::Exists),
                ]),
                Visibility::None
            ),
            (
                selector(vec![expression("", LabelOperator::In(Vec::new()))]),
                Visibility::Public
            ),
            (LabelSelector::default(), Visibility::Namespace),
        ]
    );
}

#[test]
fn discovery_selectors_are_label_selectors() {
    let mesh = mesh(&bare(
        "discoverySelectors:\n- matchLabels: {env: prod}\n- matchExpressions: [{key: app, operator: NotIn, values: [x]}]\n",
    ));
    assert_eq!(mesh.discovery_selectors[0].labels["env"], "prod");
    assert_eq!(
        mesh.discovery_selectors[1].expressions[0].operator,
        LabelOperator::NotIn(vec!["x".into()])
    );
}

#[test]
fn what_cannot_be_meant_is_an_error() {
    let label = "only .,*, or a valid DNS 1123 label is allowed as exportTo entry";
    for (text, errors) in [
        ("defaultServiceExportTo: [a_b]", &[label][..]),
        (
            "rootNamespace: A",
            &["Invalid value: \"A\": must be the name of a namespace"],
        ),
        (
            "outboundTrafficPolicy: {mode: OPEN}",
            &[
                "Unsupported value: \"OPEN\": supported values: [\"REGISTRY_ONLY\", \"ALLOW_ANY\", \"ALLOW_ANY_DYNAMIC_DNS\"]",
            ],
        ),
        (
            "discoverySelectors: [{matchExpressions: [{key: a, operator: In}]}]",
            &["for 'in', 'notin' operators, values set can't be empty"],
        ),
        (
            "discoverySelectors: [{matchExpressions: [{key: a, operator: Exists, values: [b]}]}]",
            &["values set must be empty for exists and does not exist"],
        ),
        (
            "discoverySelectors: [{matchExpressions: [{key: a, operator: in, values: [b]}]}]",
            &["\"in\" is not a valid label selector operator"],
        ),
        (
            "outboundTrafficPolicy: ALLOW_ANY",
            &["must be of type object: \"string\""],
        ),
    ] {
        check(&bare(text), errors);
        check(&config_map("istio", text), errors);
    }
    check(&bare("defaultServiceExportTo: ['.', '~', ns]"), &[]);
}

#[test]
fn text_that_is_no_yaml_is_an_error() {
    let value = Document::embedded(&config_map("istio", "a: b\nc: [\n"), 1)
        .parse()
        .unwrap();
    let Reading::Invalid(invalid) = read_value(&value) else {
        panic!("it is no YAML")
    };
    assert_eq!(invalid.errors[0].field.to_string(), "data.mesh");
    assert!(
        invalid.errors[0].message.starts_with("line 2 of the text: "),
        "{}",
        invalid.errors[0]
    );
}

#[test]
fn what_every_proxy_dials_is_read_from_its_configuration_and_from_providers() {
    let text = "\
defaultConfig:
  discoveryAddress: istiod.istio-system.svc:15012
  statsdUdpAddress: statsd.example.com:8125
  tracing: {zipkin: {address: 'zipkin.istio-system:9411'}, sampling: 1, customTags: {address: {literal: {value: x}}}}
  envoyAccessLogService: {address: '[2001:db8::1]:15000'}
  envoyMetricsService: {address: 'unix:///run/metrics'}
ca: {address: '$(CA_ADDR)'}
extensionProviders:
- {name: otel, opentelemetry: {service: observability/otel.observability.svc.cluster.local, port: 4317}}
- {name: authz, envoyExtAuthzGrpc: {service: Authz.foo.svc.cluster.local, port: 9000}}
- {name: log, envoyFileAccessLog: {path: /dev/stdout}}
- {name: none, zipkin: {service: x}}
";
    let Object::MeshConfig(mesh) = object(&bare(text)).0 else {
        panic!("not a MeshConfig")
    };
    let dialled = mesh.dialled.iter();
    let dialled: Vec<_> = dialled
        .map(|it| format!("{:?} {} {}", it.transport, it.host, it.port))
        .collect();
    assert_eq!(
        dialled,
        [
            "Tcp 2001:db8::1 15000",
            "Tcp authz.foo.svc.cluster.local 9000",
            "Tcp istiod.istio-system.svc 15012",
            "Tcp otel.observability.svc.cluster.local 4317",
            "Udp statsd.example.com 8125",
            "Tcp zipkin.istio-system 9411",
        ]
    );
}
