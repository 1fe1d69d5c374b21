//! A real kube-apiserver with its etcd.

use std::{
    env,
    fs::{self, File},
    io::{self, Read as _, Write as _},
    net::TcpStream,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{Mutex, OnceLock, PoisonError, mpsc},
    thread,
};

use anyhow::{Context as _, Result, bail, ensure};
use enforcer_bpf_build::toolchain_root;
use nix::{
    mount::{MsFlags, mount},
    sched::{CloneFlags, setns, unshare},
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::json;
use tempfile::TempDir;

use super::Api;
use crate::{
    daemon::wait,
    fixture::{all_addresses_local, folder, loopback_up, need_root, tied},
};

/// Where the API server listens, in the server's own network.
const ADDRESS: &str = "127.0.0.1:6443";
const ETCD: &str = "127.0.0.1:2379";
const ADMIN_TOKEN: &str = "admin";

/// Set where the programs were made ready, so that a test without them is a failure and no skip.
const REQUIRED: &str = "REAL_KUBERNETES_REQUIRED";

/// Says that a test is skipped for want of a part of Kubernetes.
///
/// # Errors
/// If it has to be there.
pub(crate) fn missing(what: &str) -> Result<()> {
    ensure!(
        env::var_os(REQUIRED).is_none(),
        "{REQUIRED} is set, and there is no {what}"
    );
    println!("SKIPPED: no {what}: run `cargo xtask test --kubernetes`");
    Ok(())
}

/// A running API server.
pub struct Server {
    programs: PathBuf,
    folder: TempDir,
    etcd: Child,
    server: Option<Child>,
    spawner: Spawner,
}

/// Has the server's thread start a program: programs end with the thread that has started them.
type Spawner = mpsc::Sender<(Command, mpsc::Sender<io::Result<Child>>)>;

/// The one server of this process, and its network.
struct Shared {
    server: Mutex<Server>,
    network: File,
}

/// Runs `work` beside a real API server, in its network and one test after the other. Without the programs it says so
/// and returns.
///
/// # Errors
/// What `work` returns; or if the server does not start.
pub fn with_server(work: impl FnOnce(&mut Server) -> Result<()> + Send) -> Result<()> {
    static SHARED: OnceLock<Result<Shared, String>> = OnceLock::new();
    need_root()?;
    let Some(programs) = programs() else {
        missing("API server")?;
        return Ok(());
    };
    let crds = crds()?;
    let shared = SHARED.get_or_init(|| share(programs).map_err(|error| format!("{error:#}")));
    let shared = shared.as_ref().map_err(|error| anyhow::anyhow!("{error}"))?;
    // A test that has failed leaves a server that the next one may use.
    let mut server = shared.server.lock().unwrap_or_else(PoisonError::into_inner);
    let server: &mut Server = &mut server;
    thread::scope(|scope| {
        let thread = scope.spawn(|| {
            setns(&shared.network, CloneFlags::CLONE_NEWNET).context("entering the server's network")?;
            unshare(CloneFlags::CLONE_NEWNS).context("making a namespace of mounts")?;
            let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
            mount(None::<&str>, "/", None::<&str>, private, None::<&str>)?;
            server.start()?;
            server.admin()?.define(&crds)?;
            work(server)
        });
        match thread.join() {
            Ok(result) => result,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}

/// Starts the server in a thread that lives as long as this process: its programs end with it.
fn share(programs: PathBuf) -> Result<Shared> {
    let (sink, shared) = mpsc::channel();
    let (spawner, wanted) = mpsc::channel::<(Command, mpsc::Sender<io::Result<Child>>)>();
    thread::spawn(move || {
        let start = || -> Result<Shared> {
            unshare(CloneFlags::CLONE_NEWNET).context("making a network")?;
            loopback_up()?;
            all_addresses_local()?;
            Ok(Shared {
                server: Mutex::new(Server::new(programs, spawner)?),
                network: File::open("/proc/thread-self/ns/net")?,
            })
        };
        drop(sink.send(start()));
        for (mut command, answer) in wanted {
            drop(answer.send(command.spawn()));
        }
    });
    shared.recv().context("the server's thread has ended")?
}

impl Server {
    fn new(programs: PathBuf, spawner: Spawner) -> Result<Self> {
        let folder = folder("enforcer-kube-")?;
        let at = |name: &str| folder.path().join(name);
        // The pair that signs the tokens of ServiceAccounts.
        let pair = rcgen::KeyPair::generate()?;
        fs::write(at("sa.key"), pair.serialize_pem())?;
        fs::write(at("sa.pub"), pair.public_key_pem())?;
        fs::write(
            at("tokens.csv"),
            format!("{ADMIN_TOKEN},admin,admin,\"system:masters\"\n"),
        )?;
        let etcd = tied(programs.join("etcd"))
            .arg("--data-dir")
            .arg(at("etcd"))
            .arg("--unsafe-no-fsync")
            .args(["--listen-client-urls", &format!("http://{ETCD}")])
            .args(["--advertise-client-urls", &format!("http://{ETCD}")])
            .args(["--listen-peer-urls", "http://127.0.0.1:2380"])
            .stdout(Stdio::null())
            .stderr(File::create(at("etcd.log"))?)
            .spawn()
            .context("starting etcd")?;
        Ok(Self {
            programs,
            folder,
            etcd,
            server: None,
            spawner,
        })
    }

    /// Starts the API server if it does not run, and waits until it is ready.
    ///
    /// # Errors
    /// If it ends or does not become ready.
    pub fn start(&mut self) -> Result<()> {
        if self.server.is_none() {
            let at = |name: &str| self.folder.path().join(name);
            let mut server = tied(self.programs.join("kube-apiserver"));
            server
                .arg(format!("--etcd-servers=http://{ETCD}"))
                .args([
                    "--bind-address=127.0.0.1",
                    "--advertise-address=127.0.0.1",
                    "--secure-port=6443",
                ])
                .arg(format!("--cert-dir={}", at("certificates").display()))
                .arg(format!("--token-auth-file={}", at("tokens.csv").display()))
                .arg(format!("--service-account-key-file={}", at("sa.pub").display()))
                .arg(format!(
                    "--service-account-signing-key-file={}",
                    at("sa.key").display()
                ))
                .args(["--service-account-issuer=https://kubernetes.default.svc"])
                .args([
                    "--service-cluster-ip-range=10.96.0.0/16",
                    "--authorization-mode=RBAC",
                ])
                .args([
                    "--disable-admission-plugins=ServiceAccount",
                    "--allow-privileged=true",
                ])
                .stdout(Stdio::null())
                .stderr(File::create(at("kube-apiserver.log"))?);
            let (answer, child) = mpsc::channel();
            self.spawner
                .send((server, answer))
                .context("the server's thread has ended")?;
            self.server = Some(child.recv()?.context("starting kube-apiserver")?);
        }
        let admin = self.admin()?;
        wait("API server that is ready", || {
            if let Some(status) = self.server.as_mut().map_or(Ok(None), Child::try_wait)? {
                let log = fs::read_to_string(self.folder.path().join("kube-apiserver.log"))?;
                let last: Vec<_> = log.lines().rev().take(5).collect();
                bail!("kube-apiserver has ended ({status}): {}", last.join("\n"));
            }
            Ok(admin.is_ready())
        })
    }

    /// Ends the API server at once; its data stays.
    ///
    /// # Errors
    /// If it cannot be ended.
    pub fn stop(&mut self) -> Result<()> {
        if let Some(mut server) = self.server.take() {
            server.kill()?;
            server.wait()?;
        }
        Ok(())
    }

    /// Has the API server hang, with its connections open, or go on.
    ///
    /// # Errors
    /// If it does not run.
    pub fn hold(&self, hold: bool) -> Result<()> {
        let server = self.server.as_ref().context("it does not run")?;
        let signal = if hold { Signal::SIGSTOP } else { Signal::SIGCONT };
        Ok(kill(Pid::from_raw(i32::try_from(server.id())?), signal)?)
    }

    /// An administrator's connection.
    ///
    /// # Errors
    /// If no client can be made.
    pub fn admin(&self) -> Result<Api> {
        Api::new(&self.kubeconfig("admin", &json!({ "token": ADMIN_TOKEN }))?)
    }

    /// The file of a user with these credentials.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn kubeconfig(&self, user: &str, credentials: &serde_json::Value) -> Result<PathBuf> {
        let file = self.folder.path().join(format!("{user}.kubeconfig"));
        // The server makes its certificate itself when it first starts.
        let cluster = json!({ "server": format!("https://{ADDRESS}"), "insecure-skip-tls-verify": true });
        let config = json!({
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "test",
            "contexts": [{ "name": "test", "context": { "cluster": "test", "user": user } }],
            "clusters": [{ "name": "test", "cluster": cluster }],
            "users": [{ "name": user, "user": credentials }],
        });
        fs::write(&file, config.to_string())?;
        Ok(file)
    }

    /// The `kubectl` beside the server, as an administrator.
    ///
    /// # Errors
    /// If there is none.
    pub fn kubectl(&self) -> Result<Command> {
        let program = self.programs.join("kubectl");
        ensure!(program.is_file(), "no kubectl beside {}", program.display());
        let kubeconfig = self.kubeconfig("admin", &json!({ "token": ADMIN_TOKEN }))?;
        let mut command = tied(program);
        command.arg("--kubeconfig").arg(kubeconfig);
        Ok(command)
    }

    /// A file below the server's folder.
    pub fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Has etcd forget all that was before now.
    ///
    /// # Errors
    /// If it does not answer.
    pub fn compact(&self) -> Result<()> {
        let header = etcd("/v3/kv/range", "{\"key\":\"AA==\"}")?;
        let revision = header["header"]["revision"]
            .as_str()
            .context("etcd tells no revision")?;
        let request = format!("{{\"revision\":{revision},\"physical\":true}}");
        etcd("/v3/kv/compaction", &request).map(drop)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        for child in self.server.iter_mut().chain([&mut self.etcd]) {
            if let Err(error) = child.kill().and_then(|()| child.wait().map(drop)) {
                eprintln!("a server {} is still there: {error}", child.id());
            }
        }
    }
}

/// Asks etcd's gateway.
fn etcd(path: &str, body: &str) -> Result<serde_json::Value> {
    let mut stream = TcpStream::connect(ETCD)?;
    let length = body.len();
    write!(
        stream,
        "POST {path} HTTP/1.0\r\nHost: etcd\r\nContent-Length: {length}\r\n\r\n{body}"
    )?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").context("etcd's answer is cut")?;
    ensure!(head.contains(" 200 "), "etcd says {answer}");
    Ok(serde_json::from_str(body)?)
}

/// Whether there are the programs of a real API server.
pub fn is_there() -> bool {
    programs().is_some()
}

/// The folder of the programs.
fn programs() -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let folders = env::var_os("KUBEBUILDER_ASSETS")
        .map(PathBuf::from)
        .into_iter()
        .chain(env::split_paths(&path))
        .chain(built());
    let has = |folder: &Path| {
        ["etcd", "kube-apiserver"]
            .iter()
            .all(|name| folder.join(name).is_file())
    };
    folders.into_iter().find(|folder| has(folder))
}

/// Where `cargo xtask kubernetes build` puts programs.
pub fn built() -> Option<PathBuf> {
    Some(toolchain_root()?.with_file_name("kubernetes").join("bin"))
}

/// The definitions that the repository ships.
fn crds() -> Result<String> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/crds/istio-crds.yaml");
    fs::read_to_string(&file).with_context(|| format!("reading {}", file.display()))
}
