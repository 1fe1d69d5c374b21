//! Real server programs: where they are, and how they are started in a cgroup.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
};

use anyhow::{Context as _, Result, ensure};
use enforcer_bpf_build::{find_file, library_path};
use enforcer_common::Transport;

use crate::{
    daemon::wait,
    fixture::{remove, tied},
};

/// Folders of programs, `PATH` or not.
const FOLDERS: [&str; 4] = ["/usr/sbin", "/usr/bin", "/usr/local/sbin", "/usr/local/bin"];

/// A program of the distribution that is there.
#[derive(Clone, Debug)]
pub struct Program {
    path: PathBuf,
    user: Option<&'static str>,
}

/// A program that runs, with all processes that it has started; they end with it.
pub struct Server {
    child: Child,
    /// Its own cgroup.
    cgroup: PathBuf,
    log: PathBuf,
}

impl Program {
    /// Looks for it; says so where it is not there.
    pub fn find(name: &str) -> Option<Self> {
        let found = FOLDERS
            .iter()
            .find_map(|folder| find_file(&format!("{folder}/{name}")));
        if found.is_none() {
            println!("SKIPPED: there is no {name}: `cargo xtask setup` brings it");
        }
        found.map(|path| Self { path, user: None })
    }

    /// PostgreSQL's programs, which lie in a folder for each version.
    pub fn of_postgresql(name: &str) -> Option<Self> {
        let versions = fs::read_dir("/usr/lib/postgresql")
            .into_iter()
            .flatten()
            .flatten();
        let found = versions.map(|version| version.path().join("bin").join(name));
        let found = found.filter(|path| path.is_file()).max();
        found
            .map(|path| Self { path, user: None })
            .or_else(|| Self::find(name))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A command that runs it here and now.
    pub fn command(&self) -> Command {
        let mut command = Command::new(&self.path);
        if let Some(libraries) = library_path(&self.path) {
            command.env("LD_LIBRARY_PATH", libraries);
        }
        command
    }

    /// The same, to be started as a user.
    #[must_use]
    pub fn of_user(self, user: &'static str) -> Self {
        Self {
            user: Some(user),
            ..self
        }
    }

    /// Starts it in a cgroup below `cgroup`, with what it says in the file `log`.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn start(&self, cgroup: &Path, log: &Path, arguments: &[&str]) -> Result<Server> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let cgroup = cgroup.join(format!("program-{}", NEXT.fetch_add(1, Ordering::Relaxed)));
        fs::create_dir(&cgroup).with_context(|| format!("creating {}", cgroup.display()))?;
        // A PID namespace, so that whatever it starts ends with it, also when this process is killed. The shell stays
        // its first process: the kernel forgets to end one that has changed its user or its capabilities.
        let mut command = tied("unshare");
        command
            .args(["--pid", "--fork", "--kill-child", "sh", "-c"])
            .arg("echo 0 > \"$0\" || exit; \"$@\" & wait $!")
            .arg(cgroup.join("cgroup.procs"));
        if let Some(user) = self.user {
            command.args(["setpriv", "--reuid", user, "--regid", user, "--clear-groups"]);
        }
        if let Some(libraries) = library_path(&self.path) {
            command.env("LD_LIBRARY_PATH", libraries);
        }
        let file = File::create(log).with_context(|| format!("creating {}", log.display()))?;
        let child = command
            .arg(&self.path)
            .args(arguments)
            .current_dir("/")
            .env("LC_ALL", "C")
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file)
            .spawn()
            .with_context(|| format!("starting {}", self.path.display()))?;
        Ok(Server {
            child,
            cgroup,
            log: log.to_owned(),
        })
    }
}

impl Server {
    /// Waits until a socket of this thread's network has this port: a listening one, or one for datagrams.
    ///
    /// # Errors
    /// If the program ends before; then with what it said.
    pub fn until_bound(&mut self, transport: Transport, port: u16) -> Result<()> {
        self.until(&format!("socket with port {port}"), || is_bound(transport, port))
    }

    /// Waits until something is so.
    ///
    /// # Errors
    /// If the program ends before; then with what it said.
    pub fn until(&mut self, what: &str, mut is_so: impl FnMut() -> Result<bool>) -> Result<()> {
        let child = &mut self.child;
        let waited = wait(what, || {
            let ended = child.try_wait()?;
            ensure!(ended.is_none(), "the server has ended");
            is_so()
        });
        waited.with_context(|| format!("the server says:\n{}", self.said()))
    }

    /// What it has said.
    pub fn said(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_else(|error| error.to_string())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Err(error) = self.child.kill().and_then(|()| self.child.wait().map(|_| ())) {
            eprintln!("the server {} is still there: {error}", self.child.id());
        }
        // Once its processes have let go of their ports, the next one can have them.
        if let Err(error) = remove(&self.cgroup) {
            eprintln!("{} is still there: {error}", self.cgroup.display());
        }
    }
}

/// Whether `/proc/net` has a socket with this local port.
fn is_bound(transport: Transport, port: u16) -> Result<bool> {
    let (name, state) = match transport {
        Transport::Tcp => ("tcp", "0A"),
        Transport::Udp => ("udp", "07"),
    };
    for file in [name.to_owned(), format!("{name}6")] {
        let text = fs::read_to_string(format!("/proc/thread-self/net/{file}")).unwrap_or_default();
        let mut sockets = text.lines().map(|line| line.split_whitespace());
        let is_it = sockets.any(|mut words| {
            let local = words.nth(1).and_then(|local| local.rsplit_once(':'));
            local.is_some_and(|(_, local)| local == format!("{port:04X}")) && words.nth(1) == Some(state)
        });
        if is_it {
            return Ok(true);
        }
    }
    Ok(false)
}
