//! What the mesh's configuration tells every proxy to dial: istiod, and where telemetry, access logs and questions of
//! authorization go (`ProxyConfig` and `MeshConfig.extensionProviders`).

use serde_json::Value;

use super::field;
use crate::{
    istio::{
        node::{Findings, Node},
        object::Dialled,
    },
    model::Transport,
};

/// Fields of `defaultConfig` with an address, by both of their names.
const ADDRESSES: [[&str; 2]; 3] = [
    ["discoveryAddress", "discovery_address"],
    ["zipkinAddress", "zipkin_address"],
    ["envoyMetricsServiceAddress", "envoy_metrics_service_address"],
];

/// The tracers of `defaultConfig.tracing`, each with an `address`; other fields of it are no tracers.
const TRACERS: [[&str; 2]; 4] = [
    ["zipkin", "zipkin"],
    ["lightstep", "lightstep"],
    ["datadog", "datadog"],
    ["openCensusAgent", "open_census_agent"],
];

/// Fields of `defaultConfig` with an `address`.
const SERVICES: [[&str; 2]; 2] = [
    ["envoyMetricsService", "envoy_metrics_service"],
    ["envoyAccessLogService", "envoy_access_log_service"],
];

pub(super) fn read(mesh: &Node<'_>, found: &mut Findings) -> Vec<Dialled> {
    let mut dialled = Vec::new();
    let proxy = field(mesh, "defaultConfig", "default_config");
    for [name, other] in ADDRESSES {
        add(&field(&proxy, name, other), Transport::Tcp, &mut dialled, found);
    }
    for [name, other] in SERVICES {
        let address = field(&proxy, name, other).get("address");
        add(&address, Transport::Tcp, &mut dialled, found);
    }
    let statsd = field(&proxy, "statsdUdpAddress", "statsd_udp_address");
    add(&statsd, Transport::Udp, &mut dialled, found);
    let tracing = proxy.get("tracing");
    for [name, other] in TRACERS {
        let address = field(&tracing, name, other).get("address");
        add(&address, Transport::Tcp, &mut dialled, found);
    }
    add(
        &mesh.get("ca").get("address"),
        Transport::Tcp,
        &mut dialled,
        found,
    );
    for provider in field(mesh, "extensionProviders", "extension_providers").list(found) {
        let kinds = provider
            .value()
            .as_object()
            .into_iter()
            .flat_map(|of| of.values());
        dialled.extend(kinds.filter_map(of_provider));
    }
    dialled.sort();
    dialled.dedup();
    dialled
}

/// `service` is `[<namespace>/]<host>`.
fn of_provider(provider: &Value) -> Option<Dialled> {
    let service = provider.get("service")?.as_str()?;
    let port = u16::try_from(provider.get("port")?.as_u64()?).ok()?;
    let host = service.rsplit('/').next().unwrap_or(service);
    (port != 0 && !host.is_empty()).then(|| Dialled {
        host: host.to_ascii_lowercase(),
        port,
        transport: Transport::Tcp,
    })
}

/// A `host:port`. Anything else, such as a Unix socket or a variable of the proxy, is not dialled by its address.
fn add(at: &Node<'_>, transport: Transport, dialled: &mut Vec<Dialled>, found: &mut Findings) {
    let text = at.text(found);
    let parts = text.rsplit_once(':');
    let parts = parts.and_then(|(host, port)| Some((host, port.parse::<u16>().ok()?)));
    if let Some((host, port)) = parts
        && port != 0
        && !host.is_empty()
        && !host.contains(['/', '$'])
    {
        let host = host.trim_start_matches('[').trim_end_matches(']');
        dialled.push(Dialled {
            host: host.to_ascii_lowercase(),
            port,
            transport,
        });
    }
}
