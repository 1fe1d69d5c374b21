//! Names against a real DNS server: dnsmasq, authoritative for `test`, knowing nobody else.

#![allow(
    clippy::unwrap_used,
    reason = "clippy knows test functions, not what they share"
)]

#[path = "names/dnsmasq.rs"]
mod dnsmasq;
#[path = "names/running.rs"]
mod running;

use std::{
    fs,
    net::{SocketAddr, UdpSocket},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

use dnsmasq::{Dnsmasq, PATIENCE, is_installed, loopback};
use running::{Running, addresses, quick};

/// What the server does after a good answer.
enum Trouble {
    /// It gives no addresses.
    Forgets,
    /// It is gone.
    Dies,
    /// It answers with this code (RFC 1035, 4.1.1).
    Says(u8),
}

/// A server that answers each question with one code and nothing else, until it is dropped.
struct Refusing {
    ends: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Refusing {
    fn start(code: u8, address: SocketAddr) -> Self {
        let socket = UdpSocket::bind(address).unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
        let ends = Arc::new(AtomicBool::new(false));
        let end = Arc::clone(&ends);
        let thread = std::thread::spawn(move || {
            let mut message = [0; 512];
            while !end.load(Ordering::Relaxed) {
                if let Ok((length, client)) = socket.recv_from(&mut message) {
                    message[2] |= 0x80;
                    message[3] = code;
                    socket.send_to(&message[..length], client).unwrap();
                }
            }
        });
        Self {
            ends,
            thread: Some(thread),
        }
    }
}

impl Drop for Refusing {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn host_has_the_addresses_of_both_families() {
    if !is_installed() {
        return;
    }
    let server = Dnsmasq::start("192.0.2.1 db.test\n192.0.2.2 db.test\n2001:db8::1 db.test\n", &[]);
    let mut running = Running::start(quick(&[server.address()]), &["db.test"]);
    running
        .resolved("db.test", &["192.0.2.1", "192.0.2.2", "2001:db8::1"])
        .await;
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn host_of_one_family_is_no_failure() {
    if !is_installed() {
        return;
    }
    let server = Dnsmasq::start("192.0.2.1 db.test\n2001:db8::1 six.test\n", &[]);
    let mut running = Running::start(quick(&[server.address()]), &["db.test", "six.test"]);
    let mut updates = [running.update().await, running.update().await];
    updates.sort();
    assert_eq!(updates[0].1, addresses(&["192.0.2.1"]));
    assert_eq!(updates[1].1, addresses(&["2001:db8::1"]));
    // The second question for a family comes after the first answer.
    server.wait_for("query[AAAA] db.test");
    server.wait_for("query[AAAA] db.test");
    assert!(running.status().await.iter().all(|host| host.failing.is_none()));
    assert_eq!(running.log(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn alias_leads_to_addresses() {
    if !is_installed() {
        return;
    }
    let server = Dnsmasq::start(
        "192.0.2.1 c.test\n",
        &["--cname=a.test,b.test", "--cname=b.test,c.test"],
    );
    let mut running = Running::start(quick(&[server.address()]), &["a.test"]);
    running.resolved("a.test", &["192.0.2.1"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn changed_answer_is_added_and_the_old_one_leaves_after_its_grace() {
    if !is_installed() {
        return;
    }
    let server = Dnsmasq::start("192.0.2.1 db.test\n", &[]);
    let mut running = Running::start(quick(&[server.address()]), &["db.test"]);
    running.resolved("db.test", &["192.0.2.1"]).await;
    server.set_hosts("192.0.2.2 db.test\n");
    assert_eq!(running.update().await.1, addresses(&["192.0.2.1", "192.0.2.2"]));
    let added = std::time::Instant::now();
    assert_eq!(running.update().await.1, addresses(&["192.0.2.2"]));
    let grace = Duration::from_millis(400);
    assert!(
        added.elapsed() > grace * 3 / 4,
        "the grace is {grace:?}, not {:?}",
        added.elapsed()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn no_trouble_of_the_server_takes_an_address_away() {
    if !is_installed() {
        return;
    }
    let text = ["--txt-record=db.test,nothing"];
    for (trouble, options, error) in [
        (Trouble::Forgets, &[][..], "no such name (NXDOMAIN)"),
        (Trouble::Forgets, &text[..], "no addresses (NODATA)"),
        (Trouble::Dies, &[][..], "no answer in time"),
        (Trouble::Says(2), &[][..], "server failure (SERVFAIL)"),
        (Trouble::Says(5), &[][..], "refused (REFUSED)"),
        (Trouble::Says(4), &[][..], "the server says: "),
    ] {
        let good = "192.0.2.1 db.test\n2001:db8::1 db.test\n";
        let both = ["192.0.2.1", "2001:db8::1"];
        let server = Dnsmasq::start(good, options);
        let address = server.address();
        let mut running = Running::start(quick(&[address]), &["db.test"]);
        running.resolved("db.test", &both).await;
        let mut other = None;
        let server = match trouble {
            Trouble::Forgets => {
                server.set_hosts("");
                Some(server)
            }
            Trouble::Dies => {
                drop(server);
                None
            }
            Trouble::Says(code) => {
                drop(server);
                other = Some(Refusing::start(code, address));
                None
            }
        };
        let line = running.logged("does not resolve").await;
        assert!(line.contains("WARN") && line.contains("db.test"), "{line}");
        assert!(line.contains(&format!("(resolver {address})")), "{line}");
        // Four failures are past every grace here, and only the first is in the log.
        let status = running.failed(4).await;
        assert_eq!(status.addresses, addresses(&both), "{error}");
        assert!(status.leaving.is_empty() && status.age.is_some(), "{status:?}");
        let told = status.failing.expect("it fails").error;
        assert!(told.starts_with(error), "expected `{error}`, not `{told}`");
        assert_eq!(running.log(), Vec::<String>::new(), "{error}");

        drop(other);
        let _server = match server {
            Some(server) => {
                server.set_hosts(good);
                server
            }
            None => Dnsmasq::start_at(address, good, options),
        };
        let line = running.logged("resolves again").await;
        assert!(line.contains("INFO") && line.contains("db.test"), "{line}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn host_that_never_resolves_has_no_addresses_and_says_why() {
    if !is_installed() {
        return;
    }
    let server = Dnsmasq::start("192.0.2.1 db.test\n", &[]);
    let mut running = Running::start(quick(&[server.address()]), &["db.test", "nowhere.test", "a..b"]);
    let first = running.logged("no address of it is known").await;
    let second = running.logged("no address of it is known").await;
    let both = format!("{first}{second}");
    assert!(
        both.contains("nowhere.test") && both.contains("NXDOMAIN"),
        "{both}"
    );
    assert!(
        both.contains("a..b") && both.contains("not a name that DNS can ask for"),
        "{both}"
    );
    running.resolved("db.test", &["192.0.2.1"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ttl_says_when_to_ask_again_but_not_below_the_floor() {
    if !is_installed() {
        return;
    }
    for (ttl, floor, expected) in [(2, 100, 2000), (0, 1000, 1000), (1, 1500, 1500)] {
        let server = Dnsmasq::start("192.0.2.1 db.test\n", &[&format!("--local-ttl={ttl}")]);
        let mut settings = quick(&[server.address()]);
        settings.pacing.floor = Duration::from_millis(floor);
        let _running = Running::start(settings, &["db.test"]);
        let times = [0; 3].map(|_| server.wait_for("query[A] db.test"));
        for pair in times.windows(2) {
            let pause = pair[1] - pair[0];
            let (least, most) = (expected * 8 / 10, expected + 3000);
            assert!(
                pause >= Duration::from_millis(least) && pause <= Duration::from_millis(most),
                "TTL {ttl} s, floor {floor} ms: asked again after {pause:?}"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn hundred_and_twenty_addresses_of_one_name_come_over_tcp() {
    if !is_installed() {
        return;
    }
    let lines: String = (1..=120).map(|n| format!("192.0.2.{n} many.test\n")).collect();
    let server = Dnsmasq::start(&lines, &["--local-ttl=300"]);
    let mut running = Running::start(quick(&[server.address()]), &["many.test"]);
    let (_, resolved) = running.update().await;
    assert_eq!(resolved.len(), 120);
    let asked = server.count("query[A] many.test");
    assert_eq!(
        asked, 2,
        "once over UDP, whose answer is truncated, and once over TCP"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn next_server_is_asked_if_the_first_is_dead_or_does_not_know() {
    if !is_installed() {
        return;
    }
    let server = Dnsmasq::start("192.0.2.1 db.test\n2001:db8::1 db.test\n", &[]);
    let both = ["192.0.2.1", "2001:db8::1"];
    let silent = UdpSocket::bind((loopback(), 5300)).unwrap();
    let mut impatient = quick(&[silent.local_addr().unwrap(), server.address()]);
    impatient.timeout = PATIENCE * 10;
    let mut running = Running::start(impatient, &["db.test"]);
    running.resolved("db.test", &both).await;
    for code in [2, 5] {
        let bad = SocketAddr::from((loopback(), 5300));
        let _refusing = Refusing::start(code, bad);
        let mut patient = quick(&[bad, server.address()]);
        patient.patience = PATIENCE * 10;
        let mut running = Running::start(patient, &["db.test"]);
        running.resolved("db.test", &both).await;
        assert_eq!(running.log(), Vec::<String>::new(), "code {code}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn many_hosts_are_resolved_with_few_questions_at_a_time() {
    if !is_installed() {
        return;
    }
    let lines: String = (0..200).map(|n| format!("192.0.2.{n} h{n}.test\n")).collect();
    let server = Dnsmasq::start(&lines, &["--local-ttl=300"]);
    let mut settings = quick(&[server.address()]);
    settings.in_flight = 3;
    let names: Vec<_> = (0..200).map(|n| format!("h{n}.test")).collect();
    let names: Vec<_> = names.iter().map(String::as_str).collect();
    let mut running = Running::start(settings, &names);
    let mut resolved = std::collections::BTreeSet::new();
    while resolved.len() < 200 {
        resolved.insert(running.update().await.0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn hosts_come_and_go_while_it_runs() {
    if !is_installed() {
        return;
    }
    let server = Dnsmasq::start("192.0.2.1 a.test\n192.0.2.2 b.test\n", &[]);
    let mut running = Running::start(quick(&[server.address()]), &[]);
    running.want(&["a.test"]);
    running.resolved("a.test", &["192.0.2.1"]).await;
    running.want(&["b.test"]);
    running.resolved("b.test", &["192.0.2.2"]).await;
    let status = running.status().await;
    assert_eq!(status.len(), 1);
    assert_eq!(status[0].host.as_str(), "b.test");
}

#[tokio::test(flavor = "multi_thread")]
async fn changed_system_resolvers_are_followed_and_the_hosts_file_adds_to_them() {
    if !is_installed() {
        return;
    }
    if !nix::unistd::geteuid().is_root() {
        println!("SKIPPED: only root may listen on port 53, and resolv.conf knows no other");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let (resolv_conf, hosts) = (folder.path().join("resolv.conf"), folder.path().join("hosts"));
    let [first, second] = [loopback(), loopback()].map(|ip| SocketAddr::from((ip, 53)));
    let gone = Dnsmasq::start_at(first, "192.0.2.1 db.test\n", &[]);
    let _stays = Dnsmasq::start_at(second, "192.0.2.2 db.test\n192.0.2.3 db.lan\n", &[]);
    fs::write(&resolv_conf, format!("search lan\nnameserver {}\n", first.ip())).unwrap();
    fs::write(&hosts, "192.0.2.9 db.test\n127.0.0.1 db.test\n").unwrap();
    let mut settings = quick(&[]);
    settings.resolv_conf = resolv_conf.clone();
    settings.hosts_file = Some(hosts.clone());
    // What fails is not asked for again while the test runs, unless somebody else can be asked. So a server that is
    // only slow must not have failed.
    settings.timeout = PATIENCE / 8;
    settings.pacing.first_retry = PATIENCE * 10;
    settings.pacing.last_retry = PATIENCE * 10;
    let mut running = Running::start(settings, &["db.test"]);
    running.resolved("db.test", &["192.0.2.1", "192.0.2.9"]).await;
    assert_eq!(*running.resolvers.borrow_and_update(), [first]);

    drop(gone);
    running.logged("does not resolve").await;
    let new = folder.path().join("new");
    fs::write(&new, format!("nameserver {}\n", second.ip())).unwrap();
    fs::rename(&new, &resolv_conf).unwrap();
    tokio::time::timeout(PATIENCE, running.resolvers.changed())
        .await
        .unwrap()
        .unwrap();
    assert_eq!(*running.resolvers.borrow_and_update(), [second]);
    running.resolved("db.test", &["192.0.2.2", "192.0.2.9"]).await;

    fs::write(&resolv_conf, "").unwrap();
    running.logged("the previous DNS servers are used").await;
    fs::remove_file(&hosts).unwrap();
    running.resolved("db.test", &["192.0.2.2"]).await;
    assert_eq!(*running.resolvers.borrow(), [second]);
}

/// Where it went does not answer, and would not be asked again while the test runs.
#[tokio::test(flavor = "multi_thread")]
async fn question_on_its_way_to_a_former_resolver_is_asked_of_the_new_one() {
    if !is_installed() || !nix::unistd::geteuid().is_root() {
        println!("SKIPPED: takes dnsmasq, and root to listen on port 53");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let resolv_conf = folder.path().join("resolv.conf");
    let [first, second] = [loopback(), loopback()].map(|ip| SocketAddr::from((ip, 53)));
    let silent = UdpSocket::bind(first).unwrap();
    silent.set_read_timeout(Some(PATIENCE)).unwrap();
    let _answers = Dnsmasq::start_at(second, "192.0.2.2 db.test\n", &[]);
    fs::write(&resolv_conf, format!("nameserver {}\n", first.ip())).unwrap();
    let mut settings = quick(&[]);
    settings.resolv_conf = resolv_conf.clone();
    settings.timeout = PATIENCE / 8;
    settings.pacing.first_retry = PATIENCE * 10;
    settings.pacing.last_retry = PATIENCE * 10;
    let mut running = Running::start(settings, &["db.test"]);
    silent.recv(&mut [0; 512]).expect("it asks");
    let new = folder.path().join("new");
    fs::write(&new, format!("nameserver {}\n", second.ip())).unwrap();
    fs::rename(&new, &resolv_conf).unwrap();
    running.resolved("db.test", &["192.0.2.2"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn silent_server_does_not_hold_up_the_end() {
    let silent = UdpSocket::bind((loopback(), 5300)).unwrap();
    silent.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut settings = quick(&[silent.local_addr().unwrap()]);
    settings.timeout = PATIENCE * 10;
    let running = Running::start(settings, &["db.test"]);
    silent.recv(&mut [0; 512]).expect("it asks");
    running.stop().await.unwrap();
}
