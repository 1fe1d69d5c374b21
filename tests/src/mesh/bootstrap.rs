//! What istiod would tell an Envoy, as a file (istio `pilot/pkg/networking/core`): a listener for each service, which
//! `virtualOutbound` hands a redirected connection to, and a cluster for what stands behind it.

use std::net::{IpAddr, SocketAddr};

use serde_json::{Value, json};

/// What Envoy connects to for a service.
#[derive(Clone, Debug)]
pub enum Upstream {
    /// Endpoints that a file in the configuration's folder names, as long as it runs.
    Endpoints(String),
    /// An endpoint.
    Static(SocketAddr),
    /// What a name resolves to, at a port.
    Name(String, u16),
    /// Where the application has sent the connection.
    Original,
    /// Nothing.
    BlackHole,
}

/// The configuration of one Envoy.
#[derive(Clone, Debug)]
pub struct Bootstrap {
    listeners: Vec<Value>,
    clusters: Vec<Value>,
}

impl Bootstrap {
    /// Of a router: it listens where it is told to, and takes no redirected connections.
    pub fn router() -> Self {
        Self {
            listeners: Vec::new(),
            clusters: Vec::new(),
        }
    }

    /// Of a sidecar, with what it makes of a destination that no listener has.
    pub fn sidecar(unknown: &Upstream, is_transparent: bool) -> Self {
        let mut sidecar = Self::router();
        let mut outbound = listener("virtualOutbound", "0.0.0.0:15001", "unknown");
        outbound["use_original_dst"] = true.into();
        let mut inbound = listener("virtualInbound", "0.0.0.0:15006", "InboundPassthroughCluster");
        inbound["listener_filters"] = json!([{
            "name": "envoy.filters.listener.original_dst",
            "typed_config": { "@type": format!("{TYPES}.filters.listener.original_dst.v3.OriginalDst") },
        }]);
        inbound["transparent"] = is_transparent.into();
        sidecar.listeners = vec![outbound, inbound];
        let mut passed_on = cluster("InboundPassthroughCluster", &Upstream::Original);
        let source = json!({ "address": "127.0.0.6", "port_value": 0 });
        passed_on["upstream_bind_config"] = json!({ "source_address": source });
        sidecar.clusters = vec![cluster("unknown", unknown), passed_on];
        sidecar
    }

    /// Adds a service at an address, which `virtualOutbound` hands over to.
    #[must_use]
    pub fn redirected(mut self, name: &str, at: &str, upstream: &Upstream) -> Self {
        let mut listener = listener(at, at, name);
        listener["bind_to_port"] = false.into();
        self.listeners.push(listener);
        self.clusters.push(cluster(name, upstream));
        self
    }

    /// Adds a service at an address at which it listens.
    #[must_use]
    pub fn listening(mut self, name: &str, at: &str, upstream: &Upstream) -> Self {
        self.listeners.push(listener(at, at, name));
        self.clusters.push(cluster(name, upstream));
        self
    }

    /// The file.
    pub fn text(&self) -> String {
        json!({
            "node": { "id": "mesh", "cluster": "mesh" },
            "admin": { "address": address("127.0.0.1:15000") },
            "static_resources": { "listeners": self.listeners, "clusters": self.clusters },
        })
        .to_string()
    }
}

/// Of Envoy's extensions.
const TYPES: &str = "type.googleapis.com/envoy.extensions";

/// Where the configuration's folder is in a pod.
pub(super) const FOLDER: &str = "/etc/mesh";

fn address(at: &str) -> Value {
    let at: SocketAddr = at.parse().expect("addresses of tests are addresses");
    json!({ "socket_address": { "address": at.ip(), "port_value": at.port() } })
}

fn listener(name: &str, at: &str, cluster: &str) -> Value {
    let proxy = json!({
        "@type": format!("{TYPES}.filters.network.tcp_proxy.v3.TcpProxy"),
        "stat_prefix": cluster,
        "cluster": cluster,
        // One attempt: what is refused once is seen.
        "max_connect_attempts": 1,
    });
    let filter = json!({ "name": "envoy.filters.network.tcp_proxy", "typed_config": proxy });
    json!({ "name": name, "address": address(at), "filter_chains": [{ "filters": [filter] }] })
}

fn cluster(name: &str, upstream: &Upstream) -> Value {
    let mut cluster = json!({ "name": name, "connect_timeout": "5s" });
    match upstream {
        Upstream::Endpoints(file) => {
            cluster["type"] = "EDS".into();
            let path = json!({ "path": format!("{FOLDER}/{file}"), "watched_directory": { "path": FOLDER } });
            cluster["eds_cluster_config"] = json!({
                "service_name": name,
                "eds_config": { "resource_api_version": "V3", "path_config_source": path },
            });
        }
        Upstream::Static(to) => {
            cluster["type"] = "STATIC".into();
            cluster["load_assignment"] = assignment(name, &[*to]);
        }
        Upstream::Name(host, port) => {
            cluster["type"] = "STRICT_DNS".into();
            cluster["dns_lookup_family"] = "V4_ONLY".into();
            // Not what `search` in resolv.conf adds.
            cluster["typed_dns_resolver_config"] = json!({
                "name": "envoy.network.dns_resolver.cares",
                "typed_config": {
                    "@type": format!("{TYPES}.network.dns_resolver.cares.v3.CaresDnsResolverConfig"),
                    "dns_resolver_options": { "no_default_search_domain": true },
                },
            });
            cluster["load_assignment"] = endpoints(name, &[(host.clone(), *port)]);
        }
        Upstream::Original => {
            cluster["type"] = "ORIGINAL_DST".into();
            cluster["lb_policy"] = "CLUSTER_PROVIDED".into();
        }
        Upstream::BlackHole => cluster["type"] = "STATIC".into(),
    }
    cluster
}

/// Endpoints of a cluster.
pub(super) fn assignment(cluster: &str, to: &[SocketAddr]) -> Value {
    let to: Vec<_> = to
        .iter()
        .map(|to| (IpAddr::to_string(&to.ip()), to.port()))
        .collect();
    endpoints(cluster, &to)
}

fn endpoints(cluster: &str, to: &[(String, u16)]) -> Value {
    let endpoint = |(host, port): &(String, u16)| {
        let address = json!({ "address": host, "port_value": port });
        json!({ "endpoint": { "address": { "socket_address": address } } })
    };
    let endpoints: Vec<_> = to.iter().map(endpoint).collect();
    json!({ "cluster_name": cluster, "endpoints": [{ "lb_endpoints": endpoints }] })
}
