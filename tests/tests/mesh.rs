//! Pods with a real Envoy on a real node, redirected as Istio's are: what the application and the proxy reach under
//! `enforce`, and what neither does.

use std::{env, fs, sync::mpsc, thread};

use anyhow::{Context as _, Result, bail, ensure};
use tests::{
    cluster::Cluster as _,
    daemon::wait,
    fixture::need_root,
    mesh::{
        Capture, Kit, Stage, Tally, envoy, load,
        shop::{self, AUTOMATIC, AUTOMATIC_NAME, CART, MISUSED, UNREGISTERED},
    },
    node::Node,
    pod::Answer,
};

const BINARY: &str = env!("CARGO_BIN_EXE_enforcer-test");

/// The configuration of `overlays/enforce`, with proxies or without.
const CONFIG: &str = "registry: {kubernetes: {}}\nmode: enforce\npods: {proxies: PROXIES}\n";

/// How long endpoints are replaced under load, in seconds.
const SECONDS: &str = "ENFORCER_MESH_SECONDS";

/// An application with a sidecar, and its containers.
const POD: &str = "shop/app";
const APP: &str = "shop/app/app";
const PROXY: &str = "shop/app/istio-proxy";

#[test]
fn pods_with_a_proxy_reach_what_is_registered_and_nothing_else() {
    need_root().unwrap();
    let seconds: u64 = env::var(SECONDS).map_or(60, |seconds| seconds.parse().unwrap());
    let Some(node) = Node::start_for(&format!("{}m", 20 + seconds / 60)).unwrap() else {
        return;
    };
    let Some(envoy) = envoy().unwrap() else {
        return;
    };
    let kit = Kit::new(envoy, BINARY).unwrap();
    if let Err(error) = everything(&node, kit, seconds) {
        let told = node.exec(&["sh", "-c", include_str!("mesh/tell.sh")]);
        panic!("{error:#}\n{}", told.unwrap_or_else(|error| format!("{error:#}")));
    }
}

/// One node for all: each step finds what the one before it has left.
fn everything(node: &Node, kit: Kit, seconds: u64) -> Result<()> {
    let stage = Stage::begin(node, kit, BINARY)?;
    shop::open(&stage)?;
    shop::application(&stage, POD, Capture::Redirect)?;
    without_the_enforcer_all_is_reached(&stage)?;
    stage.install()?;
    proxies_are_refused_what_no_setting_allows_them(&stage)?;
    stage.configure("with-proxies", &CONFIG.replace("PROXIES", "endpoints"))?;
    what_is_registered_is_reached(&stage, POD)?;
    what_is_not_registered_is_refused(&stage)?;
    container_that_is_called_a_proxy_reaches_no_more(&stage)?;
    gateway_reaches_its_backend(&stage)?;
    application_calls_from_its_first_instruction_to_its_last(&stage)?;
    probes_pass_the_proxy(&stage, POD)?;
    endpoints_that_are_replaced_are_never_refused(&stage, seconds)?;
    names_that_the_agent_answers_are_reached(&stage)?;
    tproxy_is_refused(&stage)?;
    native_sidecar_is_a_proxy(node)
}

/// The control: what is refused later, is refused by the enforcer.
fn without_the_enforcer_all_is_reached(stage: &Stage<'_>) -> Result<()> {
    what_is_registered_is_reached(stage, POD)?;
    let outside = Answer::From(stage.outside()?);
    let stranger = format!("{}:8080", stage.address("shop/stranger")?);
    for (container, to, server) in [
        (APP, UNREGISTERED, &outside),
        (PROXY, UNREGISTERED, &outside),
        (APP, MISUSED, &outside),
        (PROXY, &stranger, &Answer::From("stranger".to_owned())),
    ] {
        let answer = stage.ask(container, to)?;
        ensure!(answer == *server, "{to} from {container}: {answer}");
    }
    for cluster in ["cart", "store", "payments", "db", "misused", "unknown"] {
        let calls = stage.counter(POD, &format!("cluster.{cluster}.upstream_cx_total"))?;
        ensure!(calls > 0, "{cluster} is not reached by the proxy");
    }
    Ok(())
}

/// With `proxies: none`, the application may reach what is registered, and its proxy not what stands behind it.
fn proxies_are_refused_what_no_setting_allows_them(stage: &Stage<'_>) -> Result<()> {
    stage.configure("without-proxies", &CONFIG.replace("PROXIES", "none"))?;
    for call in shop::calls(stage)? {
        let answer = stage.ask(APP, &call.to)?;
        // What is behind a headless Service is what is declared.
        let is_reached = call.what == "a headless Service";
        ensure!(
            call.is_answered(&answer) == is_reached,
            "{}, {}: {answer}",
            call.what,
            call.to
        );
        ensure!(
            answer != Answer::Refused,
            "{} is refused to the application itself",
            call.to
        );
    }
    Ok(())
}

fn what_is_registered_is_reached(stage: &Stage<'_>, pod: &str) -> Result<()> {
    for call in shop::calls(stage)? {
        let answer = stage.ask(&format!("{pod}/app"), &call.to)?;
        ensure!(
            call.is_answered(&answer),
            "{} of {pod}, {}: {answer}",
            call.what,
            call.to
        );
    }
    Ok(())
}

/// By the application; by the proxy, which lets it pass; around the proxy, as its user.
fn what_is_not_registered_is_refused(stage: &Stage<'_>) -> Result<()> {
    let stranger = format!("{}:8080", stage.address("shop/stranger")?);
    let other_port = format!("{}:9999", shop::endpoint(stage)?);
    for container in [APP, PROXY] {
        for to in [UNREGISTERED, &stranger, &other_port] {
            let answer = stage.ask(container, to)?;
            ensure!(answer == Answer::Refused, "{to} from {container}: {answer}");
        }
    }
    let fails = || stage.counter(POD, "cluster.misused.upstream_cx_connect_fail");
    let before = fails()?;
    let answer = stage.ask(APP, MISUSED)?;
    ensure!(
        !matches!(&answer, Answer::From(server) if !server.is_empty()),
        "through the proxy: {answer}"
    );
    ensure!(fails()? == before + 1, "the proxy has not tried it");
    wait("word of the proxy's refusal", || {
        Ok(!stage.refusals(POD, "203.0.113.99")?.is_empty())
    })
}

/// A shell, with no Envoy and no redirection.
fn container_that_is_called_a_proxy_reaches_no_more(stage: &Stage<'_>) -> Result<()> {
    let sleep = "exec sleep 86400";
    let called = stage.kit.plain("shop/called", "istio-proxy", sleep)?;
    let other = stage.kit.plain("shop/other", "main", sleep)?;
    stage.make(&[called, other])?;
    let endpoint = shop::endpoint(stage)?;
    let [to_endpoint, other_port] = [8080, 9999].map(|port| format!("{endpoint}:{port}"));
    let stranger = format!("{}:8080", stage.address("shop/stranger")?);
    for to in [UNREGISTERED, &stranger, &other_port, "198.51.100.9:8080"] {
        let answer = stage.ask("shop/called/istio-proxy", to)?;
        ensure!(answer == Answer::Refused, "{to}: {answer}");
    }
    // It is all that the name brings.
    let answer = stage.ask("shop/called/istio-proxy", &to_endpoint)?;
    ensure!(
        matches!(&answer, Answer::From(server) if server.starts_with("cart-")),
        "{to_endpoint}: {answer}"
    );
    let answer = stage.ask("shop/other/main", &to_endpoint)?;
    ensure!(
        answer == Answer::Refused,
        "{to_endpoint} from a pod without a proxy: {answer}"
    );
    Ok(())
}

fn gateway_reaches_its_backend(stage: &Stage<'_>) -> Result<()> {
    let gateway = shop::gateway(stage, "shop/gateway")?;
    let answer = stage.node.exec(&[BINARY, "pod", "ask", "tcp", &gateway])?;
    ensure!(answer.starts_with("answered cart-"), "the gateway: {answer}");
    let answer = stage.ask("shop/gateway/istio-proxy", UNREGISTERED)?;
    ensure!(
        answer == Answer::Refused,
        "{UNREGISTERED} from the gateway: {answer}"
    );
    Ok(())
}

/// The proxy is started first, and ends last.
fn application_calls_from_its_first_instruction_to_its_last(stage: &Stage<'_>) -> Result<()> {
    shop::application(stage, "shop/brief", Capture::Redirect)?;
    let first = stage
        .node
        .kubectl(&["-n", "shop", "logs", "brief", "-c", "app"])?;
    ensure!(first.starts_with("answered cart-"), "its first call: {first}");
    stage
        .node
        .kubectl(&["-n", "shop", "delete", "pod", "brief", "--timeout=60s"])?;
    let last = fs::read_to_string(stage.kit.folder().join("brief.last")).context("its last call")?;
    ensure!(last.starts_with("answered cart-"), "its last call: {last}");
    Ok(())
}

/// The kubelet's probe comes in by the proxy, which passes it on from 127.0.0.6.
fn probes_pass_the_proxy(stage: &Stage<'_>, pod: &str) -> Result<()> {
    let probes = || stage.counter(pod, "cluster.InboundPassthroughCluster.upstream_cx_total");
    let before = probes()?;
    wait("probe by the proxy", || Ok(probes()? > before))?;
    let (_, name) = tests::cluster::parts(pod)?;
    let ready = [
        "-n",
        "shop",
        "wait",
        "--for=condition=Ready",
        "--timeout=1s",
        "pod",
        name,
    ];
    stage.node.kubectl(&ready).map(drop)
}

/// Its sockets take an option by which they can send from any address and to any host (`IP_TRANSPARENT`).
fn tproxy_is_refused(stage: &Stage<'_>) -> Result<()> {
    let pod = "shop/tproxy";
    stage.apply(&[shop::sketch(stage, pod, Capture::Tproxy)?])?;
    wait("refusal of the option", || {
        let refused = stage.refusals(pod, "::")?;
        Ok(refused
            .iter()
            .any(|line| line.contains("socket option 19 of level 0")))
    })?;
    let delete = [
        "-n",
        "shop",
        "delete",
        "pod",
        "tproxy",
        "--grace-period=0",
        "--force",
        "--wait=false",
    ];
    stage.node.kubectl(&delete).map(drop)
}

/// An application whose questions the agent answers is given an address of istiod's.
fn names_that_the_agent_answers_are_reached(stage: &Stage<'_>) -> Result<()> {
    shop::application(stage, "shop/names", Capture::Names)?;
    what_is_registered_is_reached(stage, "shop/names")?;
    let app = "shop/names/app";
    let address = stage.test(app, &["pod", "resolve", AUTOMATIC_NAME])?;
    ensure!(
        AUTOMATIC.split(':').next() == Some(address.trim()),
        "{AUTOMATIC_NAME} is at {address}"
    );
    let answer = stage.ask(app, AUTOMATIC)?;
    ensure!(answer == Answer::From(stage.outside()?), "{AUTOMATIC}: {answer}");
    let answer = stage.ask(app, "240.240.0.6:5432")?;
    ensure!(answer == Answer::Refused, "an address of nobody: {answer}");
    Ok(())
}

fn native_sidecar_is_a_proxy(node: &Node) -> Result<()> {
    let minor = node.minor()?;
    if minor < 29 {
        println!("SKIPPED: a native sidecar as proxy: Kubernetes 1.{minor} has none");
        return Ok(());
    }
    bail!("a node of 1.{minor} knows native sidecars, and there is no step for them")
}

/// Pods of a Service are replaced without pause, while an application calls it through its proxy, which learns of each
/// change when Istio's would.
fn endpoints_that_are_replaced_are_never_refused(stage: &Stage<'_>, seconds: u64) -> Result<()> {
    let refused = || stage.refusals(POD, "10.244.");
    let fails = || stage.counter(POD, "cluster.cart.upstream_cx_connect_fail");
    let (told, failed) = (refused()?.len(), fails()?);
    let (over, is_over) = mpsc::channel();
    let follower = shop::follower(stage);
    let (tally, rolls, changes) = thread::scope(|scope| {
        let following = scope.spawn(move || follower.follow(stage.node, &is_over));
        let time = seconds.to_string();
        let loading = scope.spawn(move || stage.long_test(APP, &[load::ARGUMENT, CART, &time]));
        let mut rolls = 0;
        while !loading.is_finished() && !following.is_finished() {
            stage
                .node
                .kubectl(&["-n", "shop", "rollout", "restart", "deployment/cart"])?;
            shop::rolled_out(stage)?;
            rolls += 1;
        }
        let tally = loading.join().expect("it returns its errors")?;
        drop::<mpsc::Sender<()>>(over);
        let changes = following.join().expect("it returns its errors")?;
        anyhow::Ok((serde_json::from_str::<Tally>(&tally)?, rolls, changes))
    })?;
    println!("mesh: {tally}, in {seconds} s with {rolls} rollouts and {changes} changes of the endpoints");
    let refused = refused()?.split_off(told);
    println!(
        "mesh: {} refusals by the enforcer, {} calls of Envoy failed",
        refused.len(),
        fails()? - failed
    );
    ensure!(refused.is_empty(), "the proxy is refused endpoints: {refused:#?}");
    ensure!(
        fails()? == failed,
        "the proxy could not connect {} times",
        fails()? - failed
    );
    ensure!(tally.failed.is_empty(), "calls have failed: {tally}");
    ensure!(
        tally.answered.len() > 3 && rolls > 0,
        "nothing was replaced: {tally}"
    );
    Ok(())
}
