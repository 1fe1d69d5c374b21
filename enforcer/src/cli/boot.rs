//! `enforcer boot`: enforces what was known when the machine ran last, from before the kubelet starts until the
//! enforcer's pod takes over.
//!
//! It is the daemon with what was kept in the place of the API server. Whatever is damaged or missing, pods that are not
//! known are refused.

use std::{collections::BTreeSet, fs, net::SocketAddr, path::Path};

use anyhow::{Context as _, Result};
use enforcer_core::pods::ROOTS;

use super::Boot;
use crate::{
    config::Config,
    daemon::Start,
    datapath::CgroupMount,
    heap,
    kept::{CONFIG, Known, NAMES},
    privileges,
    report::log::{self, LogFormat},
    state,
};

/// In the place of a configuration that is not there, or is wrong.
const DEFAULT: &str = "pods: {}\n";

pub(super) fn run(arguments: &Boot) -> Result<()> {
    let format = arguments.log_format.unwrap_or_else(LogFormat::of_reader);
    log::init(format, "info")?;
    heap::share_arena();
    let folder = &arguments.from;
    // What others may write to is not believed.
    state::own(folder)?;
    let file = folder.join(CONFIG);
    let (mut config, text) = Config::load_with_text(&file).or_else(|error| {
        tracing::error!(
            "{error}; unknown pods are refused, and others than those of the system's namespaces are unknown"
        );
        Config::parse(DEFAULT, &file).map(|config| (config, DEFAULT.to_owned()))
    })?;
    let Some(pods) = &config.pods else {
        tracing::info!("pods are not enforced, so that nothing is to be done before the kubelet starts");
        return Ok(());
    };
    let known = Known::read(folder).unwrap_or_else(|error| {
        tracing::error!("{error:#}: pods are refused until the enforcer's pod takes over, except where their namespace is off");
        Known::default()
    });
    let roots = pods.roots.iter().map(|root| Path::new(root.as_str()).to_owned());
    let roots: BTreeSet<_> = roots.chain(known.roots.iter().cloned()).collect();
    make_roots(&config, &roots)?;
    restore_names(&folder.join(NAMES), &config)?;
    confine(&mut config, &known.servers);
    privileges::drop_unneeded(&mut config)?;
    super::enforce(
        config,
        Start {
            config: (&file, &text),
            ephemeral: false,
            debug_programs: false,
            format,
            kept: None,
            boot: Some(&known),
        },
    )
}

/// Whom the registry and names come from: the node's own resolvers are none that pods may ask.
fn confine(config: &mut Config, servers: &[SocketAddr]) {
    config.kubernetes = None;
    config.registry.clear();
    config.dns.allow_resolvers &= !servers.is_empty();
    config.dns.servers = servers.to_vec();
    if let Some(pods) = &mut config.pods {
        pods.built_in.resolv_confs.clear();
        pods.built_in.asks_kubelet = false;
    }
}

/// Makes the kubelet's cgroups of pods, so that the programs run there before the kubelet does. It takes what is there,
/// as systemd does. If it is not known which it makes, those of both drivers are made.
fn make_roots(config: &Config, roots: &BTreeSet<std::path::PathBuf>) -> Result<()> {
    let mount = match &config.cgroup_mount {
        Some(path) => CgroupMount::at(path)?,
        None => CgroupMount::find()?,
    };
    let usual = || {
        ROOTS
            .iter()
            .map(Path::new)
            .filter(|root| root.components().count() == 2)
    };
    let roots: Vec<_> = if roots.is_empty() {
        usual().collect()
    } else {
        roots.iter().map(AsRef::as_ref).collect()
    };
    for root in roots {
        let folder = mount.path().join(root.strip_prefix("/").unwrap_or(root));
        fs::create_dir_all(&folder).with_context(|| format!("creating {}", folder.display()))?;
    }
    Ok(())
}

/// Addresses of hosts that were known, unless a run of this boot has left newer ones.
fn restore_names(kept: &Path, config: &Config) -> Result<()> {
    state::own(&config.state)?;
    let names = state::names(&config.state);
    if kept.exists() && !names.exists() {
        fs::copy(kept, &names).with_context(|| format!("writing {}", names.display()))?;
    }
    Ok(())
}
