//! Ordinary servers under REGISTRY_ONLY serve clients that nobody has registered, and are refused nothing.
//!
//! `ENFORCER_SERVERS_SECONDS` says how long clients ask each of them.
#![expect(clippy::unwrap_used, reason = "that is how a test fails")]

use std::{
    fs,
    io::{Read as _, Write as _},
    net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket},
    os::unix::fs::{PermissionsExt as _, chown},
    path::Path,
    process::{Command, Stdio},
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use anyhow::{Context as _, Result, bail, ensure};
use enforcer_bpf_build::find_file;
use enforcer_common::Transport;
use nix::mount::{MsFlags, mount};
use tests::{
    fixture::TestCgroup,
    servers::{
        accepted::{self, Cgroups, differences},
        dns,
        networks::{CLIENT4, Networks, PATIENCE, SERVER4, SERVER6, UPSTREAM4, in_two_networks},
        program::{Program, Server},
        quic,
        site::{Site, enforced},
        traffic::{Tally, duration},
        udp,
    },
};

const BINARY: &str = env!("CARGO_BIN_EXE_enforcer-test");

/// Of a DNS server that servers ask.
const UPSTREAM: &str = "
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: upstream, namespace: shop}
spec:
  hosts: [upstream.example.com]
  addresses: [198.18.8.53]
  ports: [{number: 5353, name: udp, protocol: UDP}, {number: 5354, name: tcp, protocol: TCP}]
  resolution: NONE
";

const HOST: (&str, Ipv4Addr) = ("www.example.com", Ipv4Addr::new(203, 0, 113, 80));
const UPSTREAM_HOST: (&str, Ipv4Addr) = ("far.example.org", Ipv4Addr::new(203, 0, 113, 81));

/// Runs `claim` with nothing registered but a server that servers ask.
fn check(claim: impl FnOnce(&mut Site<'_>) -> Result<()> + Send) {
    check_with((UPSTREAM, ""), claim);
}

fn check_with(more: (&str, &str), claim: impl FnOnce(&mut Site<'_>) -> Result<()> + Send) {
    enforced(BINARY, more, claim).unwrap();
}

fn at(port: u16) -> SocketAddr {
    (SERVER4, port).into()
}

fn at6(port: u16) -> SocketAddr {
    (SERVER6, port).into()
}

/// One request over HTTP, on a connection of its own.
fn fetch(networks: &Networks, from: SocketAddr) -> Result<()> {
    let mut stream = networks.connect(from)?;
    stream.write_all(b"GET / HTTP/1.0\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    ensure!(
        answer.starts_with("HTTP/1.1 200") && answer.ends_with("a page\n"),
        "{answer:?}"
    );
    Ok(())
}

/// One datagram and the one that answers it.
fn exchange(networks: &Networks, to: SocketAddr, question: &[u8]) -> Result<Vec<u8>> {
    let socket = networks.datagrams(to)?;
    socket.send(question).context("asking")?;
    let mut answer = [0; 2048];
    let size = socket.recv(&mut answer).context("no answer")?;
    Ok(answer[..size].to_vec())
}

#[test]
fn nginx_serves_http() {
    check(|site| {
        let Some(nginx) = Program::find("nginx") else {
            return Ok(());
        };
        let mut server = start_nginx(site, &nginx, "http", |folder| {
            format!(
                "http {{ access_log off; client_body_temp_path {folder}; proxy_temp_path {folder}; \
                 fastcgi_temp_path {folder}; uwsgi_temp_path {folder}; scgi_temp_path {folder};\n\
                 server {{ listen 8080 reuseport; listen [::]:8080; root {folder}; }} }}"
            )
        })?;
        site.write("index.html", "a page\n")?;
        server.until_bound(Transport::Tcp, 8080)?;
        let time = duration()? / 2;
        let tally = Tally::of(time, || fetch(site.networks, at(8080)));
        let tally = tally.and(Tally::of(time, || fetch(site.networks, at6(8080))));
        site.judge(&tally)
    });
}

fn start_nginx(
    site: &Site<'_>,
    nginx: &Program,
    what: &str,
    block: impl Fn(String) -> String,
) -> Result<Server> {
    let folder = site.folder().display().to_string();
    let module = find_file("/usr/lib/nginx/modules/ngx_stream_module.so").filter(|_| what == "stream");
    let module = module.map_or(String::new(), |path| format!("load_module {};\n", path.display()));
    let text = format!(
        "{module}daemon off; user root; worker_processes 2; pid {folder}/nginx.pid; error_log stderr;\n\
         events {{ worker_connections 512; }}\n{}\n",
        block(folder.clone())
    );
    let config = site.write("nginx.conf", text)?;
    site.start(nginx, &["-c", &config, "-e", "stderr", "-p", &folder])
}

#[test]
fn nginx_answers_datagrams_itself_and_hands_them_to_a_registered_server() {
    check(|site| {
        let Some(nginx) = Program::find("nginx") else {
            return Ok(());
        };
        if find_file("/usr/lib/nginx/modules/ngx_stream_module.so").is_none() {
            println!("SKIPPED: there is no stream module of nginx: `cargo xtask setup` brings it");
            return Ok(());
        }
        let mut server = start_nginx(site, &nginx, "stream", |_| {
            "stream {\n\
             server { listen 7001 udp reuseport; return \"for $remote_addr\"; }\n\
             server { listen 7002 udp; proxy_pass 198.18.8.53:5353; proxy_responses 1; }\n}"
                .to_owned()
        })?;
        server.until_bound(Transport::Udp, 7001)?;
        server.until_bound(Transport::Udp, 7002)?;
        let time = duration()? / 2;
        let tally = Tally::of(time, || {
            let answer = exchange(site.networks, at(7001), b"who am I")?;
            ensure!(answer == format!("for {CLIENT4}").as_bytes(), "{answer:?}");
            Ok(())
        });
        let tally = tally.and(with_upstream(site.networks, || {
            Tally::of(time, || {
                let answer = exchange(site.networks, at(7002), b"who is there")?;
                ensure!(answer == b"who is there", "{answer:?}");
                Ok(())
            })
        })?);
        site.judge(&tally)
    });
}

/// Runs `work` while a server at the registered address echoes datagrams.
fn with_upstream(networks: &Networks, work: impl FnOnce() -> Tally) -> Result<Tally> {
    let socket = networks.at_client(|| {
        let socket = UdpSocket::bind((UPSTREAM4, 5353))?;
        socket.set_read_timeout(Some(Duration::from_millis(50)))?;
        Ok(socket)
    })?;
    let is_over = AtomicBool::new(false);
    Ok(std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut datagram = [0; 2048];
            while !is_over.load(Ordering::Relaxed) {
                if let Ok((size, from)) = socket.recv_from(&mut datagram)
                    && let Err(error) = socket.send_to(&datagram[..size], from)
                {
                    println!("the registered server cannot answer: {error}");
                }
            }
        });
        let tally = work();
        is_over.store(true, Ordering::Relaxed);
        tally
    }))
}

#[test]
fn postgresql_serves_queries() {
    check(|site| {
        let (Some(initdb), Some(postgres)) = (
            Program::of_postgresql("initdb"),
            Program::of_postgresql("postgres"),
        ) else {
            return Ok(());
        };
        let Some(psql) = Program::find("psql") else {
            return Ok(());
        };
        let user = nix::unistd::User::from_name("postgres")?.context("there is no user postgres")?;
        let folder = tempfile::tempdir()?;
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o700))?;
        chown(folder.path(), Some(user.uid.as_raw()), Some(user.gid.as_raw()))?;
        let data = folder.path().join("data").display().to_string();
        let made = Command::new("setpriv")
            .args(["--reuid", "postgres", "--regid", "postgres", "--clear-groups"])
            .arg(initdb.path())
            .args([
                "--auth=trust",
                "--no-sync",
                "--no-instructions",
                "--username=shop",
                "--pgdata",
                &data,
            ])
            .current_dir("/")
            .env("LC_ALL", "C")
            .stdout(Stdio::null())
            .status()?;
        ensure!(made.success(), "initdb: {made}");
        fs::write(
            Path::new(&data).join("pg_hba.conf"),
            "host all all 198.18.8.0/24 trust\n",
        )?;
        let arguments = [
            "-D",
            &data,
            "-c",
            "unix_socket_directories=",
            "-c",
            "fsync=off",
            "-c",
            "listen_addresses=198.18.8.1",
        ];
        let mut server = site.start(&postgres.of_user("postgres"), &arguments)?;
        server.until_bound(Transport::Tcp, 5432)?;
        server.until("connections", || Ok(query(site, &psql).is_ok()))?;
        let tally = Tally::of(duration()?, || query(site, &psql));
        site.judge(&tally)
    });
}

fn query(site: &Site<'_>, psql: &Program) -> Result<()> {
    let output = site.networks.at_client(|| {
        let mut command = psql.command();
        command.args([
            "-h",
            "198.18.8.1",
            "-U",
            "shop",
            "-d",
            "postgres",
            "-X",
            "-A",
            "-t",
        ]);
        // Some thousand rows, so that the answer takes many segments.
        command.args([
            "-c",
            "select count(*) from generate_series(1, 10) a; select generate_series(1, 5000)",
        ]);
        Ok(command.output()?)
    })?;
    let text = String::from_utf8_lossy(&output.stdout);
    ensure!(
        output.status.success() && text.starts_with("10\n1\n") && text.ends_with("5000\n"),
        "psql: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}

/// dnsmasq that knows a host, and asks a registered server for others.
fn start_dnsmasq(site: &Site<'_>, dnsmasq: &Program, more: &[&str]) -> Result<Server> {
    let record = format!("--address=/{}/{}", HOST.0, HOST.1);
    let mut arguments = vec![
        "--keep-in-foreground",
        "--conf-file=/dev/null",
        "--no-resolv",
        "--no-hosts",
        "--user=root",
        "--pid-file=",
        "--port=5300",
        "--cache-size=0",
        &record,
    ];
    arguments.extend(more);
    let mut server = site.start(dnsmasq, &arguments)?;
    server.until_bound(Transport::Udp, 5300)?;
    server.until_bound(Transport::Tcp, 5300)?;
    Ok(server)
}

#[test]
fn dnsmasq_answers_by_udp_and_tcp() {
    check(|site| {
        let Some(dnsmasq) = Program::find("dnsmasq") else {
            return Ok(());
        };
        let mut tally = Tally::default();
        for binding in ["--bind-interfaces", "--bind-dynamic", "--interface=server"] {
            let _server = start_dnsmasq(site, &dnsmasq, &[binding])?;
            tally = tally.and(ask_dns(site.networks, 5300, duration()? / 3));
        }
        site.judge(&tally)
    });
}

/// Asks over both families and transports.
fn ask_dns(networks: &Networks, port: u16, time: Duration) -> Tally {
    Tally::of(time, || {
        dns::ask(networks, at(port), HOST).context("ipv4")?;
        dns::ask(networks, at6(port), HOST).context("ipv6")?;
        dns::ask_by_tcp(networks, at(port), HOST)
    })
}

#[test]
fn dnsmasq_forwards_to_a_registered_server() {
    check(|site| {
        let Some(dnsmasq) = Program::find("dnsmasq") else {
            return Ok(());
        };
        // The server that is asked is outside, and not enforced.
        let outside = TestCgroup::new()?;
        let record = format!("--address=/{}/{}", UPSTREAM_HOST.0, UPSTREAM_HOST.1);
        let log = site.folder().join("upstream.log");
        let mut upstream = site.networks.here_at_client(|| {
            let arguments = [
                "--keep-in-foreground",
                "--conf-file=/dev/null",
                "--no-resolv",
                "--no-hosts",
                "--user=root",
                "--pid-file=",
                "--port=5353",
                "--bind-interfaces",
                "--listen-address=198.18.8.53",
                &record,
            ];
            dnsmasq.start(outside.folder(), &log, &arguments)
        })?;
        upstream.until("upstream", || {
            Ok(dns::ask(site.networks, (UPSTREAM4, 5353).into(), UPSTREAM_HOST).is_ok())
        })?;
        let _server = start_dnsmasq(
            site,
            &dnsmasq,
            &["--bind-interfaces", "--server=198.18.8.53#5353"],
        )?;
        let tally = Tally::of(duration()?, || dns::ask(site.networks, at(5300), UPSTREAM_HOST));
        site.judge(&tally)
    });
}

#[test]
fn unbound_answers_by_udp_and_tcp() {
    check(|site| {
        let Some(unbound) = Program::find("unbound") else {
            return Ok(());
        };
        let mut tally = Tally::default();
        for automatic in ["yes", "no"] {
            let interfaces = if automatic == "yes" {
                "interface-automatic: yes\n interface: 0.0.0.0\n interface: ::0"
            } else {
                "interface: 198.18.8.1\n interface: fd78::1"
            };
            let config = format!(
                "server:\n {interfaces}\n port: 5301\n username: \"\"\n chroot: \"\"\n pidfile: \"\"\n \
                 directory: \"/\"\n use-syslog: no\n do-daemonize: no\n num-threads: 2\n so-reuseport: yes\n \
                 access-control: 0.0.0.0/0 allow\n access-control: ::/0 allow\n \
                 local-data: \"{} A {}\"\nremote-control:\n control-enable: no\n",
                HOST.0, HOST.1
            );
            let config = site.write("unbound.conf", config)?;
            let mut server = site.start(&unbound, &["-d", "-p", "-c", &config])?;
            server.until_bound(Transport::Udp, 5301)?;
            server.until_bound(Transport::Tcp, 5301)?;
            tally = tally.and(ask_dns(site.networks, 5301, duration()? / 2));
        }
        site.judge(&tally)
    });
}

#[test]
fn ssh_server_serves_sessions() {
    check(|site| {
        let (Some(sshd), Some(ssh), Some(keygen)) = (
            Program::find("sshd"),
            Program::find("ssh"),
            Program::find("ssh-keygen"),
        ) else {
            return Ok(());
        };
        let folder = site.folder().display().to_string();
        for key in ["host", "client"] {
            let file = format!("{folder}/{key}");
            let made = keygen
                .command()
                .args(["-q", "-t", "ed25519", "-N", "", "-f", &file])
                .status()?;
            ensure!(made.success(), "ssh-keygen: {made}");
        }
        prepare_for_sshd(site)?;
        let session = find_file("/usr/lib/openssh/sshd-session");
        let session = session.map_or(String::new(), |path| {
            format!("SshdSessionPath {}\n", path.display())
        });
        let config = format!(
            "Port 2222\nHostKey {folder}/host\nAuthorizedKeysFile {folder}/client.pub\nPermitRootLogin yes\n\
             StrictModes no\nPidFile none\nUsePAM no\nUseDNS yes\nMaxStartups 100\n{session}"
        );
        let config = site.write("sshd_config", config)?;
        let mut server = site.start(&sshd, &["-D", "-e", "-f", &config])?;
        server.until_bound(Transport::Tcp, 2222)?;
        let tally = Tally::of(duration()?, || log_in(site, &ssh));
        site.judge(&tally)
            .with_context(|| format!("sshd says:\n{}", server.said()))
    });
}

/// What sshd has to find: its folder below `/run`, and a user. Both are seen in this test's mounts alone.
fn prepare_for_sshd(site: &Site<'_>) -> Result<()> {
    mount(
        Some("tmpfs"),
        "/run",
        Some("tmpfs"),
        MsFlags::empty(),
        None::<&str>,
    )
    .context("mounting /run")?;
    fs::create_dir("/run/sshd")?;
    let mut users = fs::read_to_string("/etc/passwd")?;
    if !users.lines().any(|line| line.starts_with("sshd:")) {
        users.push_str("sshd:x:65533:65534::/run/sshd:/usr/sbin/nologin\n");
        let users = site.write("passwd", users)?;
        fs::set_permissions(&users, fs::Permissions::from_mode(0o644))?;
        mount(
            Some(users.as_str()),
            "/etc/passwd",
            None::<&str>,
            MsFlags::MS_BIND,
            None::<&str>,
        )
        .context("showing sshd a user")?;
    }
    Ok(())
}

fn log_in(site: &Site<'_>, ssh: &Program) -> Result<()> {
    let key = site.folder().join("client");
    let output = site.networks.at_client(|| {
        let mut command = ssh.command();
        command.args([
            "-F",
            "/dev/null",
            "-p",
            "2222",
            "-o",
            "StrictHostKeyChecking=no",
            "-o",
            "LogLevel=ERROR",
        ]);
        command.args([
            "-o",
            "UserKnownHostsFile=/dev/null",
            "-o",
            "ConnectTimeout=5",
            "-o",
            "BatchMode=yes",
            "-i",
        ]);
        command.arg(&key).args(["root@198.18.8.1", "cat"]);
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        child
            .stdin
            .take()
            .context("it is piped")?
            .write_all(b"there and back")?;
        Ok(child.wait_with_output()?)
    })?;
    ensure!(
        output.stdout == b"there and back",
        "ssh: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}

#[test]
fn time_server_answers() {
    check(|site| {
        let Some(chronyd) = Program::find("chronyd") else {
            return Ok(());
        };
        let folder = site.folder().display();
        let config = format!(
            "local stratum 5\nallow all\nport 1123\ncmdport 0\nbindcmdaddress /\npidfile {folder}/chronyd.pid\n\
             driftfile {folder}/drift\n"
        );
        let config = site.write("chrony.conf", config)?;
        // -x: the machine's clock is left alone.
        let mut server = site.start(&chronyd, &["-d", "-x", "-u", "root", "-f", &config])?;
        server.until_bound(Transport::Udp, 1123)?;
        // Version 4, mode 3: a client's.
        let mut question = [0; 48];
        question[0] = 0x23;
        let ask = |to| -> Result<()> {
            let answer = exchange(site.networks, to, &question)?;
            ensure!(
                answer.len() == 48 && answer[0] & 7 == 4 && answer[1] == 5,
                "{answer:?}"
            );
            Ok(())
        };
        let tally = Tally::of(duration()?, || {
            ask(at(1123)).context("ipv4")?;
            ask(at6(1123)).context("ipv6")
        });
        site.judge(&tally)
    });
}

#[test]
fn memcached_answers_by_udp() {
    check(|site| {
        let Some(memcached) = Program::find("memcached") else {
            return Ok(());
        };
        let arguments = [
            "-u",
            "root",
            "-U",
            "11311",
            "-p",
            "11311",
            "-l",
            "198.18.8.1",
            "-t",
            "2",
        ];
        let mut server = site.start(&memcached, &arguments)?;
        server.until_bound(Transport::Udp, 11311)?;
        server.until_bound(Transport::Tcp, 11311)?;
        // Request 1, datagram 0 of 1.
        let frame = |text: &str| [&[0, 1, 0, 0, 0, 1, 0, 0], text.as_bytes()].concat();
        let tally = Tally::of(duration()?, || {
            let stored = exchange(site.networks, at(11311), &frame("set key 0 0 5\r\nvalue\r\n"))?;
            ensure!(
                stored.ends_with(b"STORED\r\n"),
                "{}",
                String::from_utf8_lossy(&stored)
            );
            let got = exchange(site.networks, at(11311), &frame("get key\r\n"))?;
            ensure!(
                got.ends_with(b"value\r\nEND\r\n"),
                "{}",
                String::from_utf8_lossy(&got)
            );
            Ok(())
        });
        site.judge(&tally)
    });
}

#[test]
fn rsyslog_takes_datagrams_and_streams() {
    check(|site| {
        let Some(rsyslogd) = Program::find("rsyslogd") else {
            return Ok(());
        };
        let module = |name: &str| find_file(&format!("/usr/lib/{ARCHITECTURE}-linux-gnu/rsyslog/{name}.so"));
        let (Some(udp), Some(tcp)) = (module("imudp"), module("imtcp")) else {
            bail!("rsyslog's modules are not where rsyslogd is");
        };
        let modules = udp
            .parent()
            .context("a file is in a folder")?
            .display()
            .to_string();
        let folder = site.folder().display();
        let config = format!(
            "global(workDirectory=\"{folder}\")\nmodule(load=\"{}\")\nmodule(load=\"{}\")\n\
             input(type=\"imudp\" port=\"5514\")\ninput(type=\"imtcp\" port=\"5514\")\n\
             action(type=\"omfile\" file=\"{folder}/messages\")\n",
            udp.display(),
            tcp.display()
        );
        let config = site.write("rsyslog.conf", config)?;
        let pid = format!("{folder}/rsyslogd.pid");
        let mut server = site.start(&rsyslogd, &["-n", "-f", &config, "-i", &pid, "-M", &modules])?;
        server.until_bound(Transport::Udp, 5514)?;
        server.until_bound(Transport::Tcp, 5514)?;
        let messages = site.folder().join("messages");
        let mut sent = 0;
        let tally = Tally::of(duration()?, || {
            sent += 1;
            let (datagram, stream) = (
                format!("message {sent} by datagram."),
                format!("message {sent} by stream."),
            );
            site.networks
                .datagrams(at(5514))?
                .send(format!("<13>{datagram}").as_bytes())?;
            site.networks
                .connect(at(5514))?
                .write_all(format!("<13>{stream}\n").as_bytes())?;
            server.until("message in the file", || {
                let text = fs::read_to_string(&messages).unwrap_or_default();
                Ok(text.contains(&datagram) && text.contains(&stream))
            })
        });
        site.judge(&tally)
    });
}

/// As Debian's folders have it.
const ARCHITECTURE: &str = std::env::consts::ARCH;

/// Fetches a file as TFTP clients do: the server answers from a port of its own choice.
fn fetch_by_tftp(networks: &Networks) -> Result<()> {
    let socket = networks.at_client(|| {
        let socket = UdpSocket::bind((CLIENT4, 0))?;
        socket.set_read_timeout(Some(PATIENCE))?;
        Ok(socket)
    })?;
    socket.send_to(b"\x00\x01file\x00octet\x00", at(6969))?;
    let mut data = [0; 1024];
    let (size, from) = socket.recv_from(&mut data).context("no answer")?;
    ensure!(data[..size] == *b"\x00\x03\x00\x01a file", "{:?}", &data[..size]);
    ensure!(from.port() != 6969, "the server answers from its own port");
    socket.send_to(b"\x00\x04\x00\x01", from)?;
    Ok(())
}

fn start_tftpd(site: &Site<'_>, tftpd: &Program) -> Result<Server> {
    let served = site.folder().join("served");
    fs::create_dir(&served)?;
    fs::write(served.join("file"), "a file")?;
    for path in [site.folder(), &served] {
        fs::set_permissions(path, fs::Permissions::from_mode(0o755))?;
    }
    let served = served.display().to_string();
    let arguments = [
        "--foreground",
        "--address",
        "198.18.8.1:6969",
        "--user",
        "root",
        "--secure",
        &served,
    ];
    let mut server = site.start(tftpd, &arguments)?;
    server.until_bound(Transport::Udp, 6969)?;
    Ok(server)
}

/// Its answer comes from a socket that has received nothing, to an address that nobody has registered.
#[test]
fn tftp_server_answers_from_a_new_port_where_udp_is_let_through_and_nowhere_else() {
    check(|site| {
        let Some(tftpd) = Program::find("in.tftpd") else {
            return Ok(());
        };
        let _server = start_tftpd(site, &tftpd)?;
        assert!(fetch_by_tftp(site.networks).is_err());
        let refused = site.refusals()?;
        assert!(
            refused.len() == 1 && refused[0].contains("shop/server in.tftpd["),
            "{refused:#?}"
        );
        Ok(())
    });
    check_with((UPSTREAM, "udp: allow\n"), |site| {
        let Some(tftpd) = Program::find("in.tftpd") else {
            return Ok(());
        };
        let _server = start_tftpd(site, &tftpd)?;
        let tally = Tally::of(duration()?, || fetch_by_tftp(site.networks));
        println!("{tally}");
        assert!(tally.is_whole(), "{tally}");
        Ok(())
    });
}

#[test]
fn datagram_server_answers_in_every_shape() {
    check(|site| {
        let mut tally = Tally::default();
        let mut failed = Vec::new();
        for shape in udp::SHAPES {
            let time = duration()? / 20;
            let one = shape.run(site.networks, (Path::new(BINARY), &site.cgroup()), time)?;
            if !one.is_whole() {
                failed.push(format!("{}: {one}", shape.name));
            }
            tally = tally.and(one);
        }
        println!("{} shapes, {} of which fail", udp::SHAPES.len(), failed.len());
        site.judge(&tally).with_context(|| failed.join("\n"))
    });
}

#[test]
fn quic_server_answers_clients_that_move() {
    check(|site| {
        let (binary, cgroup) = (Path::new(BINARY), site.cgroup());
        let mut tally = Tally::default();
        for host in [IpAddr::from(SERVER4), SERVER6.into()] {
            let time = duration()? / 2;
            tally = tally.and(quic::run(site.networks, (binary, &cgroup), host, time)?);
        }
        site.judge(&tally)
    });
}

/// Who accepts and who answers, in which cgroups.
#[test]
fn accepted_connection_is_used_in_every_way_as_without_enforcement() {
    let binary = Path::new(BINARY);
    let without = in_two_networks(|networks| {
        let (here, there) = (TestCgroup::new()?, TestCgroup::new()?);
        let cgroups = Cgroups {
            acceptor: here.folder(),
            worker: there.folder(),
        };
        accepted::run(networks, binary, cgroups)
    })
    .unwrap();
    check(|site| {
        let outside = TestCgroup::new()?;
        let (server, other) = (site.cgroup(), site.other_cgroup());
        for (acceptor, worker, what) in [
            (
                server.as_path(),
                server.as_path(),
                "a worker in the same workload",
            ),
            (&server, &other, "a worker in another workload"),
            (outside.folder(), &server, "a worker of an acceptor outside"),
        ] {
            let with = accepted::run(site.networks, binary, Cgroups { acceptor, worker })?;
            let differ = differences(&without, &with);
            println!("{what}: {} uses, {} differ", with.len(), differ.len());
            ensure!(differ.is_empty(), "{what}:\n{}", differ.join("\n"));
        }
        let refused = site.refusals()?;
        ensure!(refused.is_empty(), "{}", refused.join("\n"));
        Ok(())
    });
}
