//! A namespace with servers of every kind that an application reaches through its proxy, and what istiod would tell the
//! proxy of them.

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use super::{Bootstrap, Capture, Follower, Stage, Start, Upstream};
use crate::{
    cluster::{Cluster as _, parts},
    pod::Answer,
};

/// A Service, of which the proxy dials the endpoints.
pub const CART: &str = "10.96.70.1:80";
/// Of an entry whose endpoint listens on another port.
pub const PAYMENTS: &str = "203.0.113.7:80";
/// Of an entry that has a name alone, and whose servers listen on another port than they are called at.
pub const DB: &str = "198.51.100.20:5432";
/// Of an entry: what the proxy makes of it leads to [`UNREGISTERED`].
pub const MISUSED: &str = "203.0.113.8:80";
/// What nobody has registered.
pub const UNREGISTERED: &str = "203.0.113.99:8080";
/// An address that istiod has given to an entry that has a name alone, for applications whose questions it answers.
pub const AUTOMATIC: &str = "240.240.0.5:5432";
/// That entry's name, and where it really is.
pub const AUTOMATIC_NAME: &str = "automatic.example.com";

/// On which port the application serves, and the kubelet asks it.
const OWN_PORT: u16 = 8000;

const OBJECTS: &str = include_str!("shop.yaml");

/// What stands in a pod's Envoy for istiod's agent: it answers for entries with an address of istiod's, and passes all
/// other questions on.
const AGENT: &str = "/machine/usr/sbin/dnsmasq --keep-in-foreground --conf-file=/dev/null --no-resolv --no-hosts --user=root \
--pid-file= --bind-interfaces --listen-address=127.0.0.1 --port=15053 --server=10.96.0.10 \
--address=/automatic.example.com/240.240.0.5 &";

/// A call that the application makes, and who has to answer it: the begin of its name.
#[derive(Clone, Debug)]
pub struct Call {
    /// What it calls.
    pub what: &'static str,
    /// Where that is.
    pub to: String,
    /// Who answers.
    pub server: String,
}

impl Call {
    /// Whether the right server has answered.
    pub fn is_answered(&self, answer: &Answer) -> bool {
        matches!(answer, Answer::From(server) if server.starts_with(&self.server))
    }
}

/// Makes the objects and the servers.
///
/// # Errors
/// If one does not come up.
pub fn open(stage: &Stage<'_>) -> Result<()> {
    stage.resolve(&[
        ("db.example.com", "198.51.100.20"),
        (AUTOMATIC_NAME, "198.51.100.21"),
    ])?;
    stage.node.kubectl_with(OBJECTS, &["apply", "-f", "-"])?;
    let status = json!({ "status": { "addresses": [{ "value": "240.240.0.5", "host": AUTOMATIC_NAME }] } });
    let patch = [
        "-n",
        "shop",
        "patch",
        "serviceentry",
        "automatic",
        "--subresource=status",
        "--type=merge",
    ];
    stage
        .node
        .kubectl(&[patch.as_slice(), &["-p", &status.to_string()]].concat())?;
    let serve = |pod: &str, ports: &str| {
        stage
            .kit
            .plain(pod, "main", &format!("exec $TEST pod serve 0.0.0.0 {ports}"))
    };
    let mut cart = serve("shop/cart", "8080 9999")?;
    // It serves on until it is killed.
    cart["spec"]["terminationGracePeriodSeconds"] = 5.into();
    let cart = json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": { "namespace": "shop", "name": "cart" },
        "spec": {
            "replicas": 3,
            "selector": { "matchLabels": { "app": "cart" } },
            "strategy": { "rollingUpdate": { "maxUnavailable": 0, "maxSurge": 2 } },
            "template": { "metadata": { "labels": { "app": "cart" } }, "spec": cart["spec"] },
        },
    });
    stage.make(&[
        cart,
        serve("shop/store", "9090")?,
        serve("shop/stranger", "8080")?,
    ])?;
    rolled_out(stage)
}

/// Waits until all pods of `cart` are replaced.
///
/// # Errors
/// If they do not come up.
pub fn rolled_out(stage: &Stage<'_>) -> Result<()> {
    let status = [
        "-n",
        "shop",
        "rollout",
        "status",
        "deployment/cart",
        "--timeout=120s",
    ];
    stage.node.kubectl(&status).map(drop)
}

/// What istiod tells proxies of the endpoints of `cart`.
pub fn follower(stage: &Stage<'_>) -> Follower {
    Follower {
        namespace: "shop".to_owned(),
        name: "cart".to_owned(),
        folder: stage.kit.folder().to_owned(),
    }
}

/// The calls that have to be answered.
///
/// # Errors
/// If a server has no address.
pub fn calls(stage: &Stage<'_>) -> Result<[Call; 4]> {
    let call = |what, to: String, server: &str| Call {
        what,
        to,
        server: server.to_owned(),
    };
    let outside = stage.outside()?;
    let store = format!("{}:9090", stage.address("shop/store")?);
    Ok([
        call("a ClusterIP Service", CART.to_owned(), "cart-"),
        call("a headless Service", store, "store"),
        call("an entry with targetPort", PAYMENTS.to_owned(), &outside),
        call("an entry by name", DB.to_owned(), &outside),
    ])
}

/// A proxy that knows what istiod would tell it, but lets everything else pass, and has one destination wrong.
fn sidecar(stage: &Stage<'_>, capture: Capture) -> Result<Bootstrap> {
    let store = format!("{}:9090", stage.address("shop/store")?);
    let by_name = |name: &str| Upstream::Name(name.to_owned(), 8080);
    Ok(
        Bootstrap::sidecar(&Upstream::Original, capture == Capture::Tproxy)
            .redirected("cart", CART, &cart())
            .redirected("store", &store, &Upstream::Original)
            .redirected(
                "payments",
                PAYMENTS,
                &Upstream::Static("198.51.100.7:8080".parse()?),
            )
            // Where an entry has no address, istiod has all addresses on its port lead to it.
            .redirected("db", "0.0.0.0:5432", &by_name("db.example.com"))
            .redirected("automatic", AUTOMATIC, &by_name(AUTOMATIC_NAME))
            .redirected("misused", MISUSED, &Upstream::Static(UNREGISTERED.parse()?)),
    )
}

fn cart() -> Upstream {
    Upstream::Endpoints("cart.json".to_owned())
}

/// Starts an application with a sidecar.
///
/// # Errors
/// If it does not become ready.
pub fn application(stage: &Stage<'_>, pod: &str, capture: Capture) -> Result<()> {
    stage.make(&[sketch(stage, pod, capture)?])
}

/// An application with a sidecar. It calls in its first instruction, serves what the kubelet asks, and calls once
/// more when it is ended, of which it leaves a file.
///
/// # Errors
/// If the configuration of its proxy cannot be written.
pub fn sketch(stage: &Stage<'_>, pod: &str, capture: Capture) -> Result<Value> {
    ensure!(
        !follower(stage).write_once(stage.node)?.is_empty(),
        "cart has no endpoints"
    );
    let (_, name) = parts(pod)?;
    let script = format!("$TEST pod ask tcp {CART}; exec $TEST pod serve 0.0.0.0 {OWN_PORT}");
    let start = Start {
        pod,
        capture: Some(capture),
        application: Some(&script),
        agent: if capture == Capture::Names { AGENT } else { "" },
    };
    let mut injected = stage.kit.injected(start, &sidecar(stage, capture)?)?;
    let app = &mut injected["spec"]["containers"][1];
    app["readinessProbe"] = json!({ "tcpSocket": { "port": OWN_PORT }, "periodSeconds": 1 });
    let last = format!("$TEST pod ask tcp {CART} >/out/{name}.last");
    app["lifecycle"] = json!({ "preStop": { "exec": { "command": ["sh", "-c", last] } } });
    Ok(injected)
}

/// Starts a gateway that leads to `cart` on port 8080, and says where it is.
///
/// # Errors
/// If it does not become ready.
pub fn gateway(stage: &Stage<'_>, pod: &str) -> Result<String> {
    let start = Start {
        pod,
        capture: None,
        application: None,
        agent: "",
    };
    let router = Bootstrap::router().listening("cart", "0.0.0.0:8080", &cart());
    stage.make(&[stage.kit.injected(start, &router)?])?;
    Ok(format!("{}:8080", stage.address(pod)?))
}

/// A pod of `cart`.
///
/// # Errors
/// If there is none.
pub fn endpoint(stage: &Stage<'_>) -> Result<std::net::IpAddr> {
    let endpoints = follower(stage).write_once(stage.node)?;
    Ok(endpoints.first().context("cart has no endpoints")?.ip())
}
