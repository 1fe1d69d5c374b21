//! A DNS server of the test's own: dnsmasq, authoritative, on a loopback address that no other test has.

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    net::{Ipv4Addr, SocketAddr},
    process::{Child, Command, Stdio},
    sync::{
        atomic::{AtomicU8, Ordering},
        mpsc,
    },
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tempfile::NamedTempFile;

/// The longest that a test waits for anything before it fails.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

const PORT: u16 = 5300;

/// A running server; dropping it kills it, and so does the end of the test's thread, however it ends.
pub(crate) struct Dnsmasq {
    child: Child,
    address: SocketAddr,
    hosts: NamedTempFile,
    log: mpsc::Receiver<(Instant, String)>,
}

/// Whether tests that need dnsmasq can run; says so if they cannot.
pub(crate) fn is_installed() -> bool {
    let found = Command::new("dnsmasq").arg("--version").output().is_ok();
    if !found {
        println!("SKIPPED: no dnsmasq (cargo xtask setup installs it)");
    }
    found
}

/// A loopback address that no other test of this or another process uses.
pub(crate) fn loopback() -> Ipv4Addr {
    static NEXT: AtomicU8 = AtomicU8::new(1);
    let [.., high, low] = std::process::id().to_be_bytes();
    Ipv4Addr::new(127, 64 | (high & 63), low, NEXT.fetch_add(1, Ordering::Relaxed))
}

impl Dnsmasq {
    /// Serves `hosts` (lines of a hosts file) and what `options` say, for the domain `test`.
    pub(crate) fn start(hosts: &str, options: &[&str]) -> Self {
        Self::start_at(SocketAddr::from((loopback(), PORT)), hosts, options)
    }

    pub(crate) fn start_at(address: SocketAddr, hosts: &str, options: &[&str]) -> Self {
        let mut file = NamedTempFile::new().unwrap();
        file.write_all(hosts.as_bytes()).unwrap();
        // `setpriv` makes the kernel kill dnsmasq when the thread that started it ends.
        let mut child = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "dnsmasq", "--no-daemon"])
            .args([
                "--conf-file=/dev/null",
                "--no-resolv",
                "--no-hosts",
                "--bind-interfaces",
            ])
            .args(["--log-queries", "--log-facility=-", "--local=/test/"])
            .arg(format!("--addn-hosts={}", file.path().display()))
            .arg(format!("--listen-address={}", address.ip()))
            .arg(format!("--port={}", address.port()))
            .args(options)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("setpriv is part of util-linux");
        let stderr = child.stderr.take().unwrap();
        let (sender, log) = mpsc::channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                if sender.send((Instant::now(), line)).is_err() {
                    break;
                }
            }
        });
        let server = Self {
            child,
            address,
            hosts: file,
            log,
        };
        server.wait_for("read /");
        server
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Gives other hosts from now on.
    pub(crate) fn set_hosts(&self, hosts: &str) {
        fs::write(self.hosts.path(), hosts).unwrap();
        kill(Pid::from_raw(self.child.id().try_into().unwrap()), Signal::SIGHUP).unwrap();
        self.wait_for("read /");
    }

    /// When the next line of the log that holds `text` was written; lines before it are passed over.
    pub(crate) fn wait_for(&self, text: &str) -> Instant {
        let deadline = Instant::now() + PATIENCE;
        let mut passed = Vec::new();
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.log.recv_timeout(left) {
                Ok((at, line)) if line.contains(text) => return at,
                Ok((_, line)) => passed.push(line),
                Err(error) => panic!("dnsmasq never logged `{text}` ({error}):\n{}", passed.join("\n")),
            }
        }
    }

    /// How many lines of the log so far hold `text`; they are passed over, with all others.
    pub(crate) fn count(&self, text: &str) -> usize {
        self.log
            .try_iter()
            .filter(|(_, line)| line.contains(text))
            .count()
    }
}

impl Drop for Dnsmasq {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}
