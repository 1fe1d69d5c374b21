//! `enforcer explain`: the verdict on a destination and what led to it, from the configuration's files alone.

use std::{
    collections::BTreeSet,
    net::{IpAddr, SocketAddr},
    process::ExitCode,
    sync::Arc,
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use enforcer_common::{CgroupId, Transport, Verdict};
use enforcer_core::{
    documents::Documents,
    explain::service_entry,
    istio::{Object, Pod},
    model::{Destination, Host, Mode, Workload},
    plan::{Applied, diff},
    pods::Pods,
    policy::fit,
    registry::{Registry, Update},
};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::{Chosen, Explain, out};
use crate::{
    config::{Config, Matching},
    daemon::{ingest, settings},
    names,
    sources::{
        files::{Content, read_all},
        pods::of_node,
    },
};

/// How long names may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// Where somebody wants to go.
enum Target {
    Address(IpAddr),
    Host(Host),
}

pub(super) fn run(arguments: &Explain) -> Result<ExitCode> {
    let config = Config::load(&arguments.workload.config)?;
    let (target, port) = target(&arguments.destination)?;
    let settings = settings::of_names(&config, None);
    let servers = names::resolvers(&settings)?;
    let (mut registry, pods) = registry(&config, &servers)?;
    let others = pods.iter().filter(|pod| pod.is_here);
    let others: Vec<_> = others.map(|pod| pod.workload.clone()).collect();
    let pods = pods.into_iter().map(|pod| pod.workload).collect();
    let workload = chosen(&arguments.workload, &config, pods)?;
    let cgroup = number(&workload, &config);
    registry.apply(Update::Workload(cgroup, workload.clone()));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let mut wanted = (*registry.hosts()).clone();
    if let Target::Host(host) = &target {
        wanted.insert(host.clone());
    }
    let resolved = runtime.block_on(resolve(settings, servers, wanted))?;
    resolved.into_iter().for_each(|update| registry.apply(update));

    let addresses = match &target {
        Target::Address(address) => BTreeSet::from([*address]),
        Target::Host(host) => registry.addresses_of(host),
    };
    if addresses.is_empty() {
        bail!(
            "{}: the host has no known address, so no rule can be looked up",
            arguments.destination
        );
    }
    let transport = if arguments.udp {
        Transport::Udp
    } else {
        Transport::Tcp
    };
    // Beside an entry, which is YAML, everything else is a comment.
    let sign = if arguments.entry { "# " } else { "" };
    let say = |text: std::fmt::Arguments<'_>| out::line(format_args!("{sign}{text}"));
    let mut is_allowed = true;
    let mut mode = None;
    let given = BTreeSet::new();
    // The node's other pods take room in the maps, too; their names are not resolved for it.
    for (number, other) in (1..).zip(others.into_iter().filter(|other| *other != workload)) {
        registry.apply(Update::Workload(CgroupId(u64::MAX - number), other));
    }
    let held = held(&mut registry, &config);
    for address in addresses {
        let destination = Destination::new(transport, address, port);
        let explanation = registry.explain_given(cgroup, destination, &given);
        let explanation = explanation.as_held(&held, (cgroup, destination, &given));
        say(format_args!("{workload} -> {destination}: {explanation}"))?;
        mode = explanation.mode;
        if let Some(suggestion) = &explanation.suggestion {
            say(format_args!("  to allow it: {suggestion}"))?;
        }
        if explanation.verdict != Verdict::Allow {
            is_allowed = false;
            if arguments.entry {
                let host = match &target {
                    Target::Host(host) => Some(host.clone()),
                    Target::Address(address) => registry.names_of(*address).pop_first(),
                };
                let entry = service_entry(&workload.namespace, host.as_ref(), destination);
                out::lines(&format!("---\n{}", entry.trim_end()))?;
            }
        }
    }
    let matching = if config.matching == Matching::Istio {
        "istio"
    } else {
        "declared"
    };
    if let Some(mode) = mode {
        say(format_args!("mode: {}", word(mode)))?;
    }
    say(format_args!("matching: {matching}"))?;
    Ok(if is_allowed {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// The number of a workload among the configured ones; a pod comes after all of them.
fn number(workload: &Workload, config: &Config) -> CgroupId {
    let mut configured = (1..).zip(&config.workloads);
    let found = configured.find(|(_, entry)| entry.workload == *workload);
    CgroupId(found.map_or(u64::MAX, |(number, _)| number))
}

/// What the maps of this size would hold.
fn held(registry: &mut Registry, config: &Config) -> Applied {
    let (fitted, _) = fit((*registry.desired()).clone(), &config.capacities);
    diff(&Applied::default(), &fitted).after
}

fn word(mode: Mode) -> &'static str {
    match mode {
        Mode::Enforce => "enforce",
        Mode::Audit => "audit",
        Mode::Observe => "ALLOW_ANY",
        Mode::Off => "off",
    }
}

/// The one of the registry's pods that is meant, else the one of the configuration's workloads.
fn chosen(chosen: &Chosen, config: &Config, mut pods: Vec<Workload>) -> Result<Workload> {
    pods.retain(|pod| {
        let is_named = chosen.name.as_ref().is_none_or(|name| pod.name == *name);
        pod.namespace.as_str() == chosen.namespace && is_named
    });
    match pods.as_slice() {
        [] => Ok(chosen.find_in(config)?.workload),
        [pod] => Ok(pod.clone()),
        _ => {
            let names: Vec<_> = pods.iter().map(|pod| pod.name.as_str()).collect();
            let (namespace, names) = (&chosen.namespace, names.join(", "));
            bail!("namespace {namespace} has several pods: choose one by --name: {names}")
        }
    }
}

fn target(text: &str) -> Result<(Target, u16)> {
    if let Ok(address) = text.parse::<SocketAddr>() {
        return Ok((Target::Address(address.ip().to_canonical()), address.port()));
    }
    let (host, port) = text
        .rsplit_once(':')
        .with_context(|| format!("{text}: write HOST:PORT, IP:PORT or [IPv6]:PORT"))?;
    let port = port
        .parse()
        .with_context(|| format!("{text}: the port is a number up to 65535"))?;
    if host.is_empty() || host.contains([':', '[', ']', '/', '*']) {
        bail!("{text}: write HOST:PORT, IP:PORT or [IPv6]:PORT");
    }
    Ok((Target::Host(Host::new(host)), port))
}

/// A pod of the registry's files.
struct Found {
    /// What it is, or would be, on this node.
    workload: Workload,
    is_here: bool,
}

/// The registry of the files, with every configured workload present, and its pods.
fn registry(config: &Config, servers: &[SocketAddr]) -> Result<(Registry, Vec<Found>)> {
    let mut registry = Registry::new(settings::of_registry(config, servers));
    let files = config.pods.as_ref().map(|pods| &pods.built_in.resolv_confs);
    registry.set_of_node(files.map(|files| of_node(files)).unwrap_or_default());
    let settings = config.pods.as_ref().map(ingest::settings);
    let name = settings.as_ref().map(|settings| settings.node.clone());
    let mut node = settings.map(Pods::new);
    let mut objects = Vec::new();
    let mut documents = Documents::default();
    if config.kubernetes.is_some() {
        out::complain("warning: only the registry's files are read, not the API server");
    }
    for change in config.registry.iter().flat_map(|path| read_all(path)) {
        let file = change.path.display().to_string();
        match change.content {
            Content::Text(text) => {
                for update in documents.set(&file, Some(&text)) {
                    if let Some(node) = &mut node {
                        node.note(&update);
                    }
                    if let Update::Apply(Object::Pod(pod)) = &update {
                        objects.push(Arc::clone(pod));
                    }
                    registry.apply(update);
                }
            }
            Content::Gone => {}
            Content::Unreadable(reason) => documents.set_unreadable(&file, &reason),
        }
    }
    for problem in documents.problems() {
        out::complain(format_args!("warning: {problem}"));
    }
    for (number, entry) in (1..).zip(&config.workloads) {
        registry.apply(Update::Workload(CgroupId(number), entry.workload.clone()));
    }
    let found = |node: &Pods, pod: &Pod| Found {
        workload: node.workload(pod),
        is_here: name.as_ref() == Some(&pod.node),
    };
    let pods = node
        .iter()
        .flat_map(|node| objects.iter().map(|pod| found(node, pod)));
    Ok((registry, pods.collect()))
}

/// What the names stand for; those that do not answer in time are left out.
async fn resolve(
    settings: names::Settings,
    servers: Vec<SocketAddr>,
    wanted: BTreeSet<Host>,
) -> Result<Vec<Update>> {
    let (updates, mut resolved) = mpsc::channel(64);
    let (_hosts, hosts) = watch::channel(wanted.clone());
    let (ask, status) = mpsc::channel(1);
    let ports = names::Ports {
        hosts,
        updates,
        resolvers: watch::channel(servers).0,
        status,
    };
    let cancel = CancellationToken::new();
    let task = tokio::spawn(names::run(settings, ports, cancel.clone()));
    let settled = tokio::time::timeout(PATIENCE, names::wait_for_answers(&ask, &wanted));
    tokio::pin!(settled);
    let mut all = Vec::new();
    loop {
        tokio::select! {
            Some(update) = resolved.recv() => all.push(update),
            in_time = &mut settled => {
                if in_time.is_err() {
                    out::complain(format_args!("warning: not every name has resolved after {PATIENCE:?}"));
                }
                break;
            }
        }
    }
    while let Ok(update) = resolved.try_recv() {
        all.push(update);
    }
    cancel.cancel();
    task.await.context("resolving names")??;
    Ok(all)
}
