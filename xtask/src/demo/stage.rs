//! Inside the namespaces: the network, the servers, the enforcer; then the script.

use std::{
    fs,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::mpsc,
    thread,
};

use anyhow::{Context, Result, bail, ensure};

use super::{
    script::{self, Scene},
    servers::{DATABASE, Dns, RESOLVER, WEB_ADDRESS, start_database, start_web},
};
use crate::out::say;

/// What the host's side hands over.
#[derive(clap::Args)]
pub(crate) struct Stage {
    enforcer: PathBuf,
    folder: PathBuf,
    cgroup: PathBuf,
    /// Where cgroup v2 is mounted.
    mount: PathBuf,
}

/// Runs the script; whatever is started here ends with this process, the first of its namespace.
pub(crate) fn run(stage: &Stage) -> Result<()> {
    network()?;
    name_service(&stage.folder)?;
    let dns = Dns::start(&stage.folder)?;
    say!(
        "demo: starting PostgreSQL at {} and {}, port 5432",
        DATABASE[0],
        DATABASE[1]
    );
    let _database = start_database(&stage.folder)?;
    start_web()?;
    let registry = stage.folder.join("registry");
    fs::create_dir(&registry)?;
    fs::write(registry.join("frontend.yaml"), script::service_entry("frontend"))?;
    for name in ["frontend", "default"] {
        let cgroup = stage
            .mount
            .join(stage.cgroup.strip_prefix("/").unwrap_or(&stage.cgroup))
            .join(name);
        fs::create_dir(&cgroup).with_context(|| format!("creating {}", cgroup.display()))?;
    }
    let config = stage.folder.join("enforcer.yaml");
    // Seen in this mount namespace alone, so that the pins go with it.
    let bpffs = stage.folder.join("bpffs");
    fs::create_dir(&bpffs)?;
    let none = None::<&str>;
    nix::mount::mount(
        Some("bpf"),
        &bpffs,
        Some("bpf"),
        nix::mount::MsFlags::empty(),
        none,
    )
    .context("mounting a bpffs")?;
    fs::write(&config, configuration(stage))?;
    let (daemon, log) = start_daemon(&stage.enforcer, &config)?;
    let mut scene = Scene {
        enforcer: stage.enforcer.clone(),
        config,
        registry,
        dns,
        log,
        daemon,
    };
    script::play(&mut scene)
}

/// Loopback alone, with the addresses of the example's servers.
fn network() -> Result<()> {
    ip(&["link", "set", "lo", "up"])?;
    for address in DATABASE.iter().chain([&RESOLVER, &WEB_ADDRESS]) {
        ip(&["address", "add", &format!("{address}/32"), "dev", "lo"])?;
    }
    Ok(())
}

fn ip(arguments: &[&str]) -> Result<()> {
    let status = Command::new("ip")
        .args(arguments)
        .status()
        .context("starting ip")?;
    ensure!(status.success(), "ip {} failed ({status})", arguments.join(" "));
    Ok(())
}

/// Makes programs ask the demo's DNS server, whatever this machine asks: seen in this mount namespace alone.
fn name_service(folder: &Path) -> Result<()> {
    let files = [
        (
            "/etc/resolv.conf",
            format!("nameserver {RESOLVER}\noptions timeout:1\n"),
        ),
        (
            "/etc/nsswitch.conf",
            "passwd: files\ngroup: files\nhosts: files dns\n".to_owned(),
        ),
    ];
    for (path, text) in files {
        let own = folder.join(path.rsplit('/').next().unwrap_or(path));
        fs::write(&own, text)?;
        let target = fs::canonicalize(path).with_context(|| format!("this machine has no {path}"))?;
        nix::mount::mount(
            Some(&own),
            &target,
            None::<&str>,
            nix::mount::MsFlags::MS_BIND,
            None::<&str>,
        )
        .with_context(|| format!("mounting another file over {path}"))?;
    }
    Ok(())
}

fn configuration(stage: &Stage) -> String {
    let Stage { cgroup, mount, .. } = stage;
    let (cgroup, folder) = (cgroup.display(), stage.folder.display());
    format!(
        "registry:\n  files: [registry/]\n\
         outboundTrafficPolicy:\n  mode: REGISTRY_ONLY\n\
         cgroupMount: {}\n\
         workloads:\n\
         - namespace: frontend\n  labels: {{app: web}}\n  cgroup: {cgroup}/frontend\n\
         - namespace: default\n  labels: {{app: shop}}\n  cgroup: {cgroup}/default\n\
         bpffs: {folder}/bpffs\nstate: {folder}/state\n\
         dns:\n  minTtl: 1s\n",
        mount.display()
    )
}

/// Starts the enforcer, and waits for the line that says that enforcement is in force.
fn start_daemon(enforcer: &Path, config: &Path) -> Result<(Child, mpsc::Receiver<String>)> {
    say!("$ enforcer run --config enforcer.yaml &");
    let mut daemon = Command::new(enforcer)
        .args(["run", "--config"])
        .arg(config)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context("starting the enforcer")?;
    let errors = daemon.stderr.take().context("standard error is piped")?;
    let (sink, log) = mpsc::channel();
    thread::spawn(move || {
        for line in BufReader::new(errors).lines().map_while(Result::ok) {
            if sink.send(line).is_err() {
                break;
            }
        }
    });
    let output = daemon.stdout.take().context("standard output is piped")?;
    match BufReader::new(output).lines().next() {
        Some(Ok(line)) => say!("{line}"),
        _ => bail!(
            "the enforcer has ended: {}",
            log.iter().collect::<Vec<_>>().join("\n")
        ),
    }
    Ok((daemon, log))
}
