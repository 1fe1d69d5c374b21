//! An API server with its etcd on loopback, and nothing else of a cluster.
//!
//! No controllers run: no ServiceAccounts or EndpointSlices appear, and a namespace that is deleted stays.

use std::{
    fs::{self, File},
    net::{Ipv4Addr, TcpListener},
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};

use super::{
    certificates::{Certificates, kubeconfig_beside},
    control_plane::ControlPlane,
    folder::{Folder, remove},
    lifetime,
    running::{Running, last_lines},
};
use crate::out::say;

/// What `kubernetes api` is asked for.
#[derive(clap::Subcommand)]
pub(crate) enum Action {
    /// Start one, wait until it is ready, and say where its kubeconfig is
    Up(Up),
    /// End it, and remove its data
    Down {
        /// The folder that it was started with
        dir: PathBuf,
    },
}

/// What is to be started.
#[derive(clap::Args)]
pub(crate) struct Up {
    /// A folder of its own, for its files
    dir: PathBuf,
    /// Where it listens; a free port if none is given
    #[arg(long)]
    port: Option<u16>,
    /// When it ends by itself, if nobody ends it
    #[arg(long, value_name = "TIME", default_value = lifetime::DEFAULT, value_parser = lifetime::parse)]
    ttl: Duration,
    /// Where `kubernetes build` has put the programs
    #[arg(long, value_name = "DIR")]
    cache: Option<PathBuf>,
}

/// In the order in which they end.
const PROGRAMS: [&str; 2] = ["kube-apiserver", "etcd"];

/// How long it may take until it is ready.
const PATIENCE: Duration = Duration::from_secs(300);

/// Does it.
pub(crate) fn run(action: &Action) -> Result<()> {
    match action {
        Action::Up(asked) => up(asked),
        Action::Down { dir } => {
            let instance = Instance(std::path::absolute(dir)?);
            if !instance.0.is_dir() {
                return Ok(());
            }
            let _lock = instance.lock()?;
            instance.down()
        }
    }
}

fn up(asked: &Up) -> Result<()> {
    let folder = Folder::new(asked.cache.as_deref())?;
    folder.expect_complete()?;
    let begin = Instant::now();
    fs::create_dir_all(&asked.dir).with_context(|| format!("creating {}", asked.dir.display()))?;
    let instance = Instance(fs::canonicalize(&asked.dir)?);
    let _lock = instance.lock()?;
    let is_up = instance.kubeconfig().is_file() && instance.noted(PROGRAMS[0]).is_some();
    ensure!(!is_up, "{} is up already", instance.0.display());
    // What a command has left that was killed.
    instance.down()?;
    if let Err(error) = instance.start(&folder, asked) {
        instance.down()?;
        return Err(error);
    }
    say!("api: ready in {:.1} s", begin.elapsed().as_secs_f32());
    say!("api: kubeconfig: {}", instance.kubeconfig().display());
    Ok(())
}

/// The folder of one.
struct Instance(PathBuf);

impl Instance {
    fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    fn kubeconfig(&self) -> PathBuf {
        self.file("kubeconfig")
    }

    fn noted(&self, program: &str) -> Option<Running> {
        Running::noted(&self.file(&format!("{program}.pid")))
    }

    /// One command at a time.
    fn lock(&self) -> Result<File> {
        let file = File::open(&self.0).with_context(|| format!("opening {}", self.0.display()))?;
        file.lock().context("waiting for another command")?;
        Ok(file)
    }

    fn start(&self, folder: &Folder, asked: &Up) -> Result<()> {
        let certificates = Certificates::at(self.file("certificates"));
        let [free, clients, members] = free_ports()?;
        let port = asked.port.unwrap_or(free);
        let place = ControlPlane {
            address: Ipv4Addr::LOCALHOST,
            port,
            etcd: [clients, members],
            data: self.file("etcd").display().to_string(),
            certificates: &certificates,
        };
        TcpListener::bind((Ipv4Addr::LOCALHOST, port)).with_context(|| format!("port {port} is not free"))?;
        certificates.make(&place.server())?;
        // Without controllers nothing makes the accounts that it would ask for.
        let alone = "--disable-admission-plugins=ServiceAccount".to_owned();
        let apiserver = [place.apiserver(), vec![alone]].concat();
        for (program, arguments) in [("etcd", place.etcd()), ("kube-apiserver", apiserver)] {
            self.spawn(&folder.program(program), &arguments, asked.ttl)?;
        }
        self.wait_until_ready(folder, &certificates)?;
        let config = kubeconfig_beside("certificates/", "admin", &place.server());
        fs::write(self.kubeconfig(), config).context("writing the kubeconfig")
    }

    /// Starts what ends by itself after a while.
    fn spawn(&self, program: &Path, arguments: &[String], ttl: Duration) -> Result<()> {
        let name = program.file_name().unwrap_or_default().to_string_lossy();
        let log = File::create(self.file(&format!("{name}.log")))?;
        let child = Command::new("timeout")
            .arg("--kill-after=5")
            .arg(ttl.as_secs().to_string())
            .arg(program)
            .args(arguments)
            .current_dir(&self.0)
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("starting {name}"))?;
        Running::note(&self.file(&format!("{name}.pid")), child.id())
    }

    fn wait_until_ready(&self, folder: &Folder, certificates: &Certificates) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        while !is_ready(&folder.program("kubectl"), &certificates.file("admin.kubeconfig"))? {
            for program in PROGRAMS {
                if self.noted(program).is_none() {
                    bail!(
                        "{program} has ended: {}",
                        last_lines(&self.file(&format!("{program}.log")))
                    );
                }
            }
            ensure!(
                Instant::now() < deadline,
                "not ready after {} s",
                PATIENCE.as_secs()
            );
            thread::sleep(Duration::from_millis(100));
        }
        Ok(())
    }

    fn down(&self) -> Result<()> {
        for program in PROGRAMS {
            if let Some(running) = self.noted(program) {
                running.end_group()?;
            }
        }
        for file in ["kubeconfig", "kube-apiserver.pid", "etcd.pid"] {
            let path = self.file(file);
            if path.exists() {
                fs::remove_file(&path).with_context(|| format!("removing {}", path.display()))?;
            }
        }
        remove(&self.file("etcd"))?;
        remove(&self.file("certificates"))
    }
}

/// Whether the API server says that it is ready.
pub(super) fn is_ready(kubectl: &Path, kubeconfig: &Path) -> Result<bool> {
    let status = Command::new(kubectl)
        .arg("--kubeconfig")
        .arg(kubeconfig)
        .args(["get", "--raw=/readyz", "--request-timeout=5s"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .context("starting kubectl")?;
    Ok(status.success())
}

/// Ports of loopback on which nobody listens at this moment.
fn free_ports() -> Result<[u16; 3]> {
    let listen = || TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("finding a free port");
    // All are held until the last is found, so that none is found twice.
    let listeners = [listen()?, listen()?, listen()?];
    let mut ports = [0; 3];
    for (port, listener) in ports.iter_mut().zip(&listeners) {
        *port = listener.local_addr()?.port();
    }
    Ok(ports)
}
