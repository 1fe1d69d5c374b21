//! The demo's DNS server and its database, real ones.

use std::{
    fs,
    io::{BufRead as _, BufReader, Write as _},
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};

use crate::{process::find, programs};

/// Where the DNS server listens.
pub(super) const RESOLVER: &str = "192.0.2.53";
/// The database's addresses.
pub(super) const DATABASE: [&str; 2] = ["192.0.2.10", "192.0.2.11"];
/// The database's name.
pub(super) const HOST: &str = "db.example.com";

/// The name of a web server, and its address.
pub(super) const WEB: &str = "api.example.com";
pub(super) const WEB_ADDRESS: &str = "192.0.2.20";

/// dnsmasq, with both names.
pub(super) struct Dns {
    server: Child,
    hosts: PathBuf,
}

impl Dns {
    pub(super) fn start(folder: &Path) -> Result<Self> {
        let hosts = folder.join("hosts");
        fs::write(&hosts, names(DATABASE[0]))?;
        let dnsmasq = find("dnsmasq").context("dnsmasq is not installed")?;
        let server = Command::new(dnsmasq)
            .args([
                "--keep-in-foreground",
                "--conf-file=/dev/null",
                "--no-resolv",
                "--no-hosts",
                "--user=root",
            ])
            .args([
                "--pid-file=",
                "--bind-interfaces",
                "--local=/example.com/",
                "--local-ttl=1",
                "--log-facility=-",
            ])
            .arg(format!("--listen-address={RESOLVER}"))
            .arg(format!("--addn-hosts={}", hosts.display()))
            .stderr(fs::File::create(folder.join("dnsmasq.log"))?)
            .spawn()
            .context("starting dnsmasq")?;
        Ok(Self { server, hosts })
    }

    /// Gives the name another address.
    pub(super) fn change(&self, address: &str) -> Result<()> {
        fs::write(&self.hosts, names(address))?;
        let pid = i32::try_from(self.server.id()).context("a process id is an int")?;
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGHUP)
            .context("telling dnsmasq to read its hosts again")
    }
}

fn names(database: &str) -> String {
    format!("{database} {HOST}\n{WEB_ADDRESS} {WEB}\n")
}

/// A web server with one page.
pub(super) fn start_web() -> Result<()> {
    let listener = TcpListener::bind((WEB_ADDRESS, 80)).context("listening for curl")?;
    std::thread::spawn(move || {
        for mut client in listener.incoming().map_while(Result::ok) {
            let mut request = BufReader::new(&client).lines().map_while(Result::ok);
            // To the empty line after the headers.
            while request.next().is_some_and(|line| !line.is_empty()) {}
            drop(request);
            let page = format!("hello from {WEB}\n");
            let length = page.len();
            // Who asks may be gone.
            write!(
                client,
                "HTTP/1.0 200 OK\r\nContent-Length: {length}\r\n\r\n{page}"
            )
            .ok();
        }
    });
    Ok(())
}

/// PostgreSQL, in a cluster of its own.
pub(super) fn start_database(folder: &Path) -> Result<Child> {
    let programs = programs::postgresql_folder().context("PostgreSQL's server is not installed")?;
    let data = folder.join("postgres");
    fs::create_dir(&data)?;
    let run_as_owner = |program: &str| {
        let mut command = Command::new("setpriv");
        command
            .args(["--reuid", "postgres", "--regid", "postgres", "--clear-groups"])
            .arg(programs.join(program));
        command.current_dir("/").env("LC_ALL", "C");
        command
    };
    let chown = Command::new("chown")
        .arg("postgres:")
        .arg(&data)
        .status()
        .context("starting chown")?;
    ensure!(chown.success(), "there is no user postgres");
    let log = || fs::File::create(folder.join("postgres.log"));
    let made = run_as_owner("initdb")
        .args([
            "--auth=trust",
            "--no-sync",
            "--no-instructions",
            "--username=demo",
            "--pgdata",
        ])
        .arg(&data)
        .stdout(log()?)
        .status()
        .context("starting initdb")?;
    ensure!(
        made.success(),
        "initdb failed ({made}), see {}",
        folder.join("postgres.log").display()
    );
    fs::write(data.join("pg_hba.conf"), "host all all 192.0.2.0/24 trust\n")?;
    let server = run_as_owner("postgres")
        .arg("-D")
        .arg(&data)
        .args(["-c", "unix_socket_directories=", "-c", "fsync=off", "-c"])
        .arg(format!("listen_addresses={}", DATABASE.join(",")))
        .stdout(Stdio::null())
        .stderr(log()?)
        .spawn()
        .context("starting postgres")?;
    wait_for("PostgreSQL", || {
        std::net::TcpStream::connect((DATABASE[1], 5432)).is_ok()
    })?;
    Ok(server)
}

/// Waits until `is_there`.
pub(super) fn wait_for(what: &str, mut is_there: impl FnMut() -> bool) -> Result<()> {
    let deadline = Instant::now() + Duration::from_secs(15);
    while !is_there() {
        ensure!(Instant::now() < deadline, "{what} is not ready after 15 s");
        std::thread::sleep(Duration::from_millis(10));
    }
    Ok(())
}
