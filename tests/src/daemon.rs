//! The enforcer as its users run it, with a configuration, a registry and a DNS server of its own.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    fs,
    io::{BufRead as _, BufReader},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use enforcer::control::{Observed, Status, ask_observed};
use enforcer_common::Transport;
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tempfile::TempDir;

use crate::{
    fixture::{Bpffs, TestCgroup, folder, tied},
    probe::{Outcome, Probe},
};

/// A place to run enforcers in: a folder with a configuration and a registry, and a cgroup.
pub struct Place {
    // Dropped in this order: processes before the cgroups that they are in.
    probes: BTreeMap<PathBuf, Probe>,
    dns: Option<Child>,
    binary: PathBuf,
    /// The program that is run as the enforcer.
    pub enforcer: PathBuf,
    /// Variables of the enforcer's environment, beside its parent's.
    pub environment: BTreeMap<String, String>,
    /// A command with its arguments that enforcers are started by: what follows them is the enforcer's.
    pub under: Vec<String>,
    /// The workloads' parent.
    pub cgroup: TestCgroup,
    bpffs: Option<Bpffs>,
    /// Configuration, registry, state, pins.
    pub folder: TempDir,
}

/// A running enforcer.
pub struct Daemon {
    child: Child,
    log: mpsc::Receiver<String>,
    announcement: mpsc::Receiver<String>,
    /// Every line of the log that was looked at.
    pub seen: Vec<String>,
    /// The line that says that enforcement is in force.
    pub announced: String,
}

/// Where the DNS server of a place listens.
pub const RESOLVER: &str = "192.0.2.53";

/// How long anything may take that has to happen.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// How often it is looked whether it has.
const GLANCE: Duration = Duration::from_millis(2);

impl Place {
    /// With the configuration `config`, in which `$CGROUP` stands for the cgroup.
    ///
    /// # Errors
    /// If the machine does not let it.
    pub fn new(binary: &str, config: &str) -> Result<Self> {
        let folder = folder("enforcer-test-")?;
        let cgroup = TestCgroup::new()?;
        fs::create_dir(folder.path().join("registry"))?;
        let place = Self {
            folder,
            cgroup,
            binary: binary.into(),
            enforcer: binary.into(),
            environment: BTreeMap::new(),
            under: Vec::new(),
            dns: None,
            probes: BTreeMap::new(),
            bpffs: None,
        };
        place.configure(config)?;
        Ok(place)
    }

    /// With a bpffs of its own, so that an enforcer leaves to the next one what is in force.
    ///
    /// # Errors
    /// If the machine does not let it.
    pub fn with_bpffs(binary: &str, config: &str) -> Result<Self> {
        let mut place = Self::new(binary, config)?;
        place.bpffs = Some(Bpffs::mount(place.bpffs())?);
        place.configure(config)?;
        Ok(place)
    }

    /// Where its bpffs is mounted.
    pub fn bpffs(&self) -> PathBuf {
        self.folder.path().join("bpffs")
    }

    /// Where an enforcer keeps what the next one is to know.
    pub fn state(&self) -> PathBuf {
        self.folder.path().join("state")
    }

    /// Writes another configuration.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn configure(&self, config: &str) -> Result<()> {
        let cgroup = self.cgroup.path().display().to_string();
        let mut text = config.replace("$CGROUP", &cgroup);
        // Enforcers of other tests must not find its state, nor its control socket.
        if !text.contains("\nstate:") {
            text.push_str(&format!("\nstate: {}\n", self.state().display()));
        }
        if self.bpffs.is_some() && !text.contains("\nbpffs:") {
            text.push_str(&format!("\nbpffs: {}\n", self.bpffs().display()));
        }
        Ok(fs::write(self.config(), text)?)
    }

    /// The configuration file.
    pub fn config(&self) -> PathBuf {
        self.folder.path().join("enforcer.yaml")
    }

    /// Replaces a file of the registry, as careful programs do it.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn write(&self, file: &str, text: &str) -> Result<()> {
        let path = self.folder.path().join("registry").join(file);
        let other = path.with_extension("new");
        fs::write(&other, text)?;
        Ok(fs::rename(other, path)?)
    }

    /// Removes a file of the registry.
    ///
    /// # Errors
    /// If it is not there.
    pub fn remove(&self, file: &str) -> Result<()> {
        Ok(fs::remove_file(self.folder.path().join("registry").join(file))?)
    }

    /// Starts a DNS server that knows `hosts`, lines of a hosts file, or has it know these from now on.
    ///
    /// # Errors
    /// If dnsmasq is not installed or does not start.
    pub fn resolve(&mut self, hosts: &str) -> Result<()> {
        let file = self.folder.path().join("hosts");
        fs::write(&file, hosts)?;
        if let Some(dns) = &self.dns {
            return signal(dns, Signal::SIGHUP);
        }
        let file = format!("--addn-hosts={}", file.display());
        self.serve_names(&["--local=/example.com/", "--local-ttl=1", &file])
    }

    /// Starts a DNS server that knows what these arguments of dnsmasq's say.
    ///
    /// # Errors
    /// If dnsmasq is not installed or does not start.
    pub fn serve_names(&mut self, arguments: &[&str]) -> Result<()> {
        let program = ["/usr/sbin/dnsmasq", "/usr/local/sbin/dnsmasq", "/usr/bin/dnsmasq"];
        let program = program
            .iter()
            .find(|path| Path::new(path).exists())
            .context("dnsmasq is not installed")?;
        let dns = tied(program)
            .args([
                "--keep-in-foreground",
                "--conf-file=/dev/null",
                "--no-resolv",
                "--no-hosts",
                "--user=root",
                "--pid-file=",
                "--bind-interfaces",
            ])
            .arg(format!("--listen-address={RESOLVER}"))
            .args(arguments)
            .spawn()
            .context("starting dnsmasq")?;
        self.dns = Some(dns);
        wait("the DNS server", || {
            Ok(std::net::TcpStream::connect((RESOLVER, 53)).is_ok())
        })
    }

    /// Ends the DNS server.
    ///
    /// # Errors
    /// If it cannot be ended.
    pub fn stop_resolving(&mut self) -> Result<()> {
        self.dns.take().map_or(Ok(()), |mut dns| {
            dns.kill()?;
            dns.wait()?;
            Ok(())
        })
    }

    /// `enforcer` with these arguments, and its configuration after them.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut words = self
            .under
            .iter()
            .map(OsString::from)
            .chain([self.enforcer.clone().into()]);
        let mut command = tied(words.next().unwrap_or_default());
        command
            .args(words)
            .args(arguments)
            .arg("--config")
            .arg(self.config());
        command.envs(&self.environment);
        command
    }

    /// Starts an enforcer, and waits until enforcement is in force.
    ///
    /// # Errors
    /// If it ends before.
    pub fn start(&self, arguments: &[&str]) -> Result<Daemon> {
        let mut daemon = self.launch(arguments)?;
        daemon.await_announcement()?;
        Ok(daemon)
    }

    /// Starts an enforcer, and waits for nothing.
    ///
    /// # Errors
    /// If there is no such program.
    pub fn launch(&self, arguments: &[&str]) -> Result<Daemon> {
        let mut words = vec!["run"];
        words.extend(arguments);
        let mut child = self
            .command(&words)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        let errors = child.stderr.take().context("standard error is piped")?;
        let (sink, log) = mpsc::channel();
        thread::spawn(move || {
            for line in BufReader::new(errors).lines().map_while(Result::ok) {
                if sink.send(line).is_err() {
                    break;
                }
            }
        });
        let output = child.stdout.take().context("standard output is piped")?;
        let (sink, announcement) = mpsc::channel();
        thread::spawn(move || {
            let mut line = String::new();
            let read = BufReader::new(output).read_line(&mut line);
            // Nobody waits for it any more if this fails.
            drop(read.map(|_| sink.send(line)));
        });
        Ok(Daemon {
            child,
            log,
            announcement,
            seen: Vec::new(),
            announced: String::new(),
        })
    }

    /// What `enforcer status` says, and its exit code.
    ///
    /// # Errors
    /// If it cannot be run, or says nothing that could be read.
    pub fn status(&self) -> Result<(Option<i32>, Status)> {
        let output = self.command(&["status", "-o", "json"]).output()?;
        let status = serde_json::from_slice(&output.stdout)
            .with_context(|| String::from_utf8_lossy(&output.stderr).into_owned())?;
        Ok((output.status.code(), status))
    }

    /// What workloads were seen to reach, as the control socket says.
    ///
    /// # Errors
    /// If no enforcer answers.
    pub fn observed(&self) -> Result<Observed> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        runtime.block_on(ask_observed(&self.state()))
    }

    /// Waits until `enforcer status` says something.
    ///
    /// # Errors
    /// If it does not come to that.
    pub fn until_status(&self, what: &str, mut is_so: impl FnMut(&Status) -> bool) -> Result<Status> {
        let mut last = Status::default();
        let waited = wait(what, || {
            last = self.status()?.1;
            Ok(is_so(&last))
        });
        waited.with_context(|| format!("the last status is {last:#?}"))?;
        Ok(last)
    }

    /// What `enforcer run` says where it must not start.
    ///
    /// # Errors
    /// If it starts.
    pub fn refusal(&self, arguments: &[&str]) -> Result<String> {
        match self.start(arguments) {
            Ok(_) => bail!("the enforcer has started"),
            Err(error) => Ok(error.to_string()),
        }
    }

    /// A socket from the cgroup at `path` below the place's.
    ///
    /// # Errors
    /// If the probe cannot be started.
    pub fn call(&mut self, path: &str, transport: Transport, to: &str) -> Result<Outcome> {
        let to: SocketAddr = to.parse().with_context(|| format!("address {to}"))?;
        self.probe(path)?.call(transport, to)
    }

    /// The process in the cgroup at `path` below the place's.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn probe(&mut self, path: &str) -> Result<&mut Probe> {
        let folder = self.cgroup.child(path)?;
        Ok(match self.probes.entry(folder) {
            std::collections::btree_map::Entry::Occupied(entry) => entry.into_mut(),
            std::collections::btree_map::Entry::Vacant(entry) => {
                let probe = Probe::start(&self.binary, entry.key())?;
                entry.insert(probe)
            }
        })
    }

    /// Whether a TCP socket from there gets through.
    ///
    /// # Errors
    /// If the probe cannot be started.
    pub fn reaches(&mut self, path: &str, to: &str) -> Result<bool> {
        Ok(self.call(path, Transport::Tcp, to)? == Outcome::Through)
    }

    /// Waits until a TCP socket from there gets through, or does not, and says how long that took.
    ///
    /// # Errors
    /// If it does not come to that.
    pub fn until(&mut self, path: &str, to: &str, reaches: bool) -> Result<Duration> {
        let start = Instant::now();
        let what = format!("{path} -> {to} {}", if reaches { "through" } else { "refused" });
        wait(&what, || Ok(self.reaches(path, to)? == reaches))?;
        Ok(start.elapsed())
    }

    /// Ends the processes at and below a cgroup below the place's, and removes that.
    ///
    /// # Errors
    /// If it cannot be removed.
    pub fn remove_cgroup(&mut self, path: &str) -> Result<()> {
        let folder = self.cgroup.folder().join(path);
        self.probes.retain(|of, _| !of.starts_with(&folder));
        crate::fixture::remove(&folder).with_context(|| format!("removing {}", folder.display()))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Err(error) = self.stop_resolving() {
            eprintln!("the DNS server is still there: {error}");
        }
    }
}

impl Daemon {
    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits until enforcement is in force.
    ///
    /// # Errors
    /// If it ends before.
    pub fn await_announcement(&mut self) -> Result<()> {
        self.announced = self.announcement.recv().unwrap_or_default();
        if !self.announced.contains("enforcement is in force") {
            let status = self.child.wait()?;
            bail!(
                "the enforcer has ended ({status}): {}",
                self.log.iter().collect::<Vec<_>>().join("\n")
            );
        }
        Ok(())
    }

    /// Whether it has said already that enforcement is in force.
    pub fn has_announced(&mut self) -> bool {
        self.announced.extend(self.announcement.try_recv());
        !self.announced.is_empty()
    }

    /// Sends a signal, and waits for the end.
    ///
    /// # Errors
    /// If it does not end.
    pub fn end(&mut self, by: Signal) -> Result<(ExitStatus, Duration)> {
        let start = Instant::now();
        signal(&self.child, by)?;
        wait("the enforcer's end", || Ok(self.child.try_wait()?.is_some()))?;
        Ok((self.child.wait()?, start.elapsed()))
    }

    /// Sends a signal.
    ///
    /// # Errors
    /// If it is gone.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        self::signal(&self.child, signal)
    }

    /// Stops it, as a machine under load would.
    ///
    /// # Errors
    /// If it is gone.
    pub fn hold(&self) -> Result<()> {
        signal(&self.child, Signal::SIGSTOP)
    }

    /// Lets it go on.
    ///
    /// # Errors
    /// If it is gone.
    pub fn go_on(&self) -> Result<()> {
        signal(&self.child, Signal::SIGCONT)
    }

    /// Waits for a line of the log that has all of these words.
    ///
    /// # Errors
    /// If none comes.
    pub fn line(&mut self, words: &[&str]) -> Result<String> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let rest = deadline.saturating_duration_since(Instant::now());
            let Ok(line) = self.log.recv_timeout(rest) else {
                bail!("no line has {words:?} among:\n{}", self.seen.join("\n"));
            };
            self.seen.push(line.clone());
            if words.iter().all(|word| line.contains(word)) {
                return Ok(line);
            }
        }
    }

    /// The lines that have come since.
    pub fn lines(&mut self) -> Vec<String> {
        let lines: Vec<_> = self.log.try_iter().collect();
        self.seen.extend(lines.iter().cloned());
        lines
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if let Err(error) = self.child.kill().and_then(|()| self.child.wait().map(|_| ())) {
            eprintln!("the enforcer {} is still there: {error}", self.child.id());
        }
    }
}

fn signal(child: &Child, signal: Signal) -> Result<()> {
    let pid = i32::try_from(child.id()).context("a process id is an int")?;
    kill(Pid::from_raw(pid), signal).context("sending a signal")
}

/// Waits until something is so.
///
/// # Errors
/// If it is not so after [`PATIENCE`].
pub fn wait(what: &str, is_so: impl FnMut() -> Result<bool>) -> Result<()> {
    wait_within(PATIENCE, what, is_so)
}

/// Waits until something is so, where many may fail in one run.
///
/// # Errors
/// If it is not so after `patience`.
pub fn wait_within(patience: Duration, what: &str, mut is_so: impl FnMut() -> Result<bool>) -> Result<()> {
    let deadline = Instant::now() + patience;
    while !is_so()? {
        ensure!(
            Instant::now() < deadline,
            "after {patience:?} there is still no {what}"
        );
        thread::park_timeout(GLANCE);
    }
    Ok(())
}
