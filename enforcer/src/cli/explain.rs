//! `enforcer explain`: the verdict on a destination and what led to it, from the configuration's files alone.

use std::{
    collections::BTreeSet,
    net::{IpAddr, SocketAddr},
    process::ExitCode,
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use enforcer_common::{CgroupId, Transport, Verdict};
use enforcer_core::{
    documents::Documents,
    explain::service_entry,
    model::{Destination, Host},
    registry::{Registry, Update},
};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::Explain;
use crate::{
    config::{Config, Matching},
    daemon::{name_settings, registry_settings},
    names,
    sources::files::{Content, read_all},
};

/// How long names may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// Where somebody wants to go.
enum Target {
    Address(IpAddr),
    Host(Host),
}

pub(super) fn run(arguments: &Explain) -> Result<ExitCode> {
    let (config, entry) = arguments.workload.find()?;
    let (target, port) = target(&arguments.destination)?;
    let settings = name_settings(&config, None);
    let servers = names::resolvers(&settings)?;
    let mut registry = registry(&config, &servers);
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
            "{}: the name has no address now, and every address needs one",
            arguments.destination
        );
    }
    let transport = if arguments.udp {
        Transport::Udp
    } else {
        Transport::Tcp
    };
    let mut is_allowed = true;
    for address in addresses {
        let destination = Destination::new(transport, address, port);
        let explanation = registry.explain_for(&entry.workload, destination);
        println!("{} -> {destination}: {explanation}", entry.workload);
        if let Some(suggestion) = &explanation.suggestion {
            println!("  to allow it: {suggestion}");
        }
        if explanation.verdict != Verdict::Allow {
            is_allowed = false;
            if arguments.entry {
                let host = match &target {
                    Target::Host(host) => Some(host.clone()),
                    Target::Address(address) => registry.names_of(*address).pop_first(),
                };
                println!(
                    "---\n{}",
                    service_entry(&entry.workload.namespace, host.as_ref(), destination).trim_end()
                );
            }
        }
    }
    let matching = if config.matching == Matching::Istio {
        "istio"
    } else {
        "declared"
    };
    println!("matching: {matching}");
    Ok(if is_allowed {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
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

/// The registry of the files, with every configured workload present.
fn registry(config: &Config, servers: &[SocketAddr]) -> Registry {
    let mut registry = Registry::new(registry_settings(config, servers));
    let mut documents = Documents::default();
    if config.kubernetes.is_some() {
        eprintln!("warning: only the registry's files are looked at, not the API server");
    }
    for change in config.registry.iter().flat_map(|path| read_all(path)) {
        let file = change.path.display().to_string();
        match change.content {
            Content::Text(text) => {
                documents
                    .set(&file, Some(&text))
                    .into_iter()
                    .for_each(|update| registry.apply(update));
            }
            Content::Gone => {}
            Content::Unreadable(reason) => documents.set_unreadable(&file, &reason),
        }
    }
    for problem in documents.problems() {
        eprintln!("warning: {problem}");
    }
    for (number, entry) in (1..).zip(&config.workloads) {
        registry.apply(Update::Workload(CgroupId(number), entry.workload.clone()));
    }
    registry
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
    let settled = tokio::time::timeout(PATIENCE, names::settled(&ask, &wanted));
    tokio::pin!(settled);
    let mut all = Vec::new();
    loop {
        tokio::select! {
            Some(update) = resolved.recv() => all.push(update),
            in_time = &mut settled => {
                if in_time.is_err() {
                    eprintln!("warning: not every name has resolved after {PATIENCE:?}");
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
