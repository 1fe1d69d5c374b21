//! Sockets that are open when their destination is no longer allowed.
#![expect(clippy::unwrap_used, reason = "that is how a test fails")]

use std::{
    collections::BTreeSet,
    net::{TcpListener, TcpStream, UdpSocket},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use enforcer::{
    datapath::CgroupMount,
    proof,
    revoke::{self, Live},
};
use enforcer_common::Transport;
use tests::{
    daemon::{PATIENCE, Place},
    fault,
    fixture::{bpf::SocketMarks, in_own_network, need_root, tied},
    probe::{How, MANY},
};

const BINARY: &str = env!("CARGO_BIN_EXE_enforcer-test");

const CONFIG: &str = "
registry: {files: [registry/]}
workloads:
- {namespace: frontend, name: web, cgroup: $CGROUP/frontend}
dns: {servers: [192.0.2.53], minTtl: 1s, grace: 1s, timeout: 500ms}
";

const DB: &str = "192.0.2.10:5432";

fn entry(name: &str, address: &str) -> String {
    format!(
        "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {{name: {name}, namespace: frontend}}\nspec:\n  \
         hosts: [{name}.example.com]\n  addresses: [{address}]\n  resolution: NONE\n  \
         ports: [{{number: 5432, name: tcp, protocol: TCP}}, {{number: 5433, name: udp, protocol: UDP}}]\n"
    )
}

fn check(config: &str, claim: impl FnOnce(&mut Place) -> Result<()> + Send) {
    in_own_network(|| {
        need_root()?;
        let mut place = Place::with_bpffs(BINARY, config)?;
        place.write("db.yaml", &entry("db", "192.0.2.10"))?;
        place.write("other.yaml", &entry("other", "192.0.2.20"))?;
        place.cgroup.child("frontend")?;
        claim(&mut place)
    })
    .unwrap();
}

/// A server in this thread's network that accepts and says nothing.
fn serve(address: &str) -> Result<()> {
    let listener = TcpListener::bind(address)?;
    std::thread::spawn(move || listener.incoming().collect::<Vec<_>>());
    Ok(())
}

/// How long it takes until the kept socket is ended.
fn ended(place: &mut Place) -> Result<Duration> {
    let start = Instant::now();
    let errno = place
        .probe("frontend")?
        .held_errno(PATIENCE)?
        .context("the socket is still open")?;
    assert_eq!(errno, libc::ECONNABORTED);
    Ok(start.elapsed())
}

#[test]
fn connection_ends_within_a_second_of_its_entry() {
    check(CONFIG, |place| {
        serve(DB)?;
        let mut daemon = place.start(&["--ephemeral"])?;
        place.probe("frontend")?.hold(Transport::Tcp, DB.parse()?)?;
        place.remove("other.yaml")?;
        place.until("frontend", "192.0.2.20:5432", false)?;
        assert_eq!(
            place.probe("frontend")?.held_errno(Duration::from_millis(300))?,
            None,
            "another entry went"
        );
        place.remove("db.yaml")?;
        let took = ended(place)?;
        println!("ended after {took:?}");
        assert!(took < Duration::from_secs(1), "{took:?}");
        daemon.line(&["revoked frontend/web -> tcp 192.0.2.10:5432"])?;
        Ok(())
    });
}

#[test]
fn connected_datagram_socket_ends_too() {
    check(CONFIG, |place| {
        let server = "192.0.2.10:5433";
        let _server = UdpSocket::bind(server)?;
        let _daemon = place.start(&["--ephemeral"])?;
        place.probe("frontend")?.hold(Transport::Udp, server.parse()?)?;
        place.remove("db.yaml")?;
        ended(place)?;
        Ok(())
    });
}

#[test]
fn connection_that_is_older_than_enforcement_ends_if_it_is_not_allowed() {
    check(CONFIG, |place| {
        let stranger = "198.51.100.1:80";
        serve(stranger)?;
        serve(DB)?;
        place.probe("frontend")?.hold(Transport::Tcp, stranger.parse()?)?;
        place.probe("frontend/inner")?.hold(Transport::Tcp, DB.parse()?)?;
        let _daemon = place.start(&["--ephemeral"])?;
        ended(place)?;
        assert_eq!(
            place
                .probe("frontend/inner")?
                .held_errno(Duration::from_millis(300))?,
            None,
            "it is allowed"
        );
        Ok(())
    });
}

#[test]
fn connection_that_the_workload_accepted_stays() {
    check(CONFIG, |place| {
        // The client is outside every workload; its address is nobody's entry.
        let server = place.cgroup.child("frontend")?;
        let mut listening = tied(BINARY)
            .args(["accept", &server.display().to_string(), DB])
            .spawn()?;
        tests::daemon::wait("the server", || Ok(TcpStream::connect(DB).is_ok()))?;
        let client = TcpStream::connect(DB)?;
        let mut daemon = place.start(&["--ephemeral"])?;
        place.remove("db.yaml")?;
        place.until("frontend", DB, false)?;
        client.set_read_timeout(Some(Duration::from_millis(300)))?;
        let error = std::io::Read::read(&mut &client, &mut [0]).unwrap_err();
        assert_eq!(
            error.kind(),
            std::io::ErrorKind::WouldBlock,
            "the server's side was ended"
        );
        // Those that look whether the entry has gone are ended, if they are met while they are open.
        let accepted = client.local_addr()?.to_string();
        let is_ended = |line: &String| line.contains("revoked") && line.contains(&accepted);
        assert!(!daemon.lines().iter().any(is_ended));
        listening.kill()?;
        listening.wait()?;
        Ok(())
    });
}

#[test]
fn connection_that_the_workload_accepted_stays_though_nobody_listens_any_more() {
    check(CONFIG, |place| {
        serve("192.0.2.20:5432")?;
        let server = place.cgroup.child("frontend")?;
        let _daemon = place.start(&["--ephemeral"])?;
        let mut listening = tied(BINARY)
            .args(["accept-one", &server.display().to_string(), DB])
            .spawn()?;
        let mut client = None;
        tests::daemon::wait("the server", || {
            client = TcpStream::connect(DB).ok();
            Ok(client.is_some())
        })?;
        let client = client.context("it is connected")?;
        tests::daemon::wait("the end of listening", || Ok(TcpStream::connect(DB).is_err()))?;
        // One that the workload has made is ended by the same sweep.
        place
            .probe("frontend")?
            .hold(Transport::Tcp, "192.0.2.20:5432".parse()?)?;
        place.remove("db.yaml")?;
        place.remove("other.yaml")?;
        ended(place)?;
        client.set_read_timeout(Some(Duration::from_millis(300)))?;
        let error = std::io::Read::read(&mut &client, &mut [0]).unwrap_err();
        assert_eq!(
            error.kind(),
            std::io::ErrorKind::WouldBlock,
            "the server's side was ended"
        );
        listening.kill()?;
        listening.wait()?;
        Ok(())
    });
}

#[test]
fn address_that_left_the_dns_answer_ends_nothing() {
    check(CONFIG, |place| {
        serve(DB)?;
        place.resolve("192.0.2.10 named.example.com\n")?;
        place.remove("db.yaml")?;
        let named = entry("named", "192.0.2.10")
            .replace("  addresses: [192.0.2.10]\n", "")
            .replace("NONE", "DNS");
        let named = named.replace(", {number: 5433, name: udp, protocol: UDP}", "");
        place.write("named.yaml", &named)?;
        let _daemon = place.start(&["--ephemeral"])?;
        place.probe("frontend")?.hold(Transport::Tcp, DB.parse()?)?;
        place.resolve("192.0.2.11 named.example.com\n")?;
        place.until("frontend/second", DB, false)?;
        assert_eq!(
            place.probe("frontend")?.held_errno(Duration::from_millis(300))?,
            None
        );
        place.remove("named.yaml")?;
        ended(place)?;
        Ok(())
    });
}

#[test]
fn without_revocation_connections_live_on() {
    check(&format!("{CONFIG}revoke: false\n"), |place| {
        serve(DB)?;
        let _daemon = place.start(&["--ephemeral"])?;
        place.probe("frontend")?.hold(Transport::Tcp, DB.parse()?)?;
        place.remove("db.yaml")?;
        place.until("frontend/second", DB, false)?;
        assert_eq!(
            place.probe("frontend")?.held_errno(Duration::from_millis(500))?,
            None
        );
        Ok(())
    });
}

#[test]
fn address_that_left_the_dns_answer_before_a_restart_ends_nothing() {
    check(CONFIG, |place| {
        serve(DB)?;
        serve("192.0.2.20:5432")?;
        place.resolve("192.0.2.10 named.example.com\n")?;
        place.remove("db.yaml")?;
        let named = entry("named", "192.0.2.10")
            .replace("  addresses: [192.0.2.10]\n", "")
            .replace("NONE", "DNS");
        place.write(
            "named.yaml",
            &named.replace(", {number: 5433, name: udp, protocol: UDP}", ""),
        )?;
        let mut daemon = place.start(&[])?;
        place.probe("frontend")?.hold(Transport::Tcp, DB.parse()?)?;
        place
            .probe("frontend/other")?
            .hold(Transport::Tcp, "192.0.2.20:5432".parse()?)?;
        place.resolve("192.0.2.11 named.example.com\n")?;
        place.until("frontend/second", DB, false)?;
        let former = place.state().join("former.json");
        tests::daemon::wait("memory of former addresses", || {
            Ok(std::fs::read_to_string(&former).is_ok_and(|text| text.contains("192.0.2.10")))
        })?;
        daemon.end(nix::sys::signal::Signal::SIGKILL)?;
        // A rule goes while no daemon runs: the next start has to look for sockets.
        place.remove("other.yaml")?;
        let _daemon = place.start(&[])?;
        let other = place.probe("frontend/other")?.held_errno(PATIENCE)?;
        assert_eq!(other, Some(libc::ECONNABORTED), "its entry went");
        assert_eq!(
            place.probe("frontend")?.held_errno(Duration::from_millis(300))?,
            None,
            "its host is still allowed"
        );
        place.remove("named.yaml")?;
        ended(place)?;
        Ok(())
    });
}

#[test]
fn connection_of_what_is_no_workload_any_more_is_judged_as_that_of_the_one_above() {
    check(CONFIG, |place| {
        let inner = "- {namespace: backend, name: inner, cgroup: $CGROUP/frontend/inner}\n";
        let config = std::fs::read_to_string(place.config())?;
        place.configure(&config.replace("dns:", &format!("{inner}dns:")))?;
        let stranger = entry("stranger", "198.51.100.1").replace("namespace: frontend", "namespace: backend");
        place.write(
            "stranger.yaml",
            &stranger.replace("spec:\n", "spec:\n  exportTo: [.]\n"),
        )?;
        place.cgroup.child("frontend/inner")?;
        serve("198.51.100.1:5432")?;
        serve(DB)?;
        let mut daemon = place.start(&[])?;
        place
            .probe("frontend/inner")?
            .hold(Transport::Tcp, "198.51.100.1:5432".parse()?)?;
        place.probe("frontend")?.hold(Transport::Tcp, DB.parse()?)?;
        assert!(
            !place.reaches("frontend", "198.51.100.1:5432")?,
            "it is the inner one's alone"
        );
        daemon.end(nix::sys::signal::Signal::SIGKILL)?;
        place.configure(&config)?;
        let _daemon = place.start(&[])?;
        let inner = place.probe("frontend/inner")?.held_errno(PATIENCE)?;
        assert_eq!(inner, Some(libc::ECONNABORTED));
        assert_eq!(
            place.probe("frontend")?.held_errno(Duration::from_millis(300))?,
            None
        );
        Ok(())
    });
}

#[test]
fn taking_over_what_is_in_force_looks_for_no_sockets_but_a_cut_off_sweep_is_made_up_for() {
    check(CONFIG, |place| {
        serve(DB)?;
        let looks = "looking for sockets that are no longer allowed";
        let mut daemon = place.start(&["--log-level", "debug"])?;
        daemon.line(&[looks])?;
        place.probe("frontend")?.hold(Transport::Tcp, DB.parse()?)?;
        let mark = place.state().join("sweep");
        tests::daemon::wait("the end of the sweep", || Ok(!mark.exists()))?;
        // In the middle of a proof: what is left of the canary goes at the next start, and is nobody's loss.
        let canary = place.cgroup.folder().join("frontend").join(proof::CGROUP);
        tests::daemon::wait("the canary", || Ok(canary.exists()))?;
        daemon.end(nix::sys::signal::Signal::SIGKILL)?;

        let mut daemon = place.start(&["--log-level", "debug"])?;
        place.write("more.yaml", &entry("more", "192.0.2.30"))?;
        place.until("frontend/second", "192.0.2.30:5432", true)?;
        daemon.lines();
        assert!(
            daemon.seen.iter().all(|line| !line.contains(looks)),
            "{:#?}",
            daemon.seen
        );
        // The entry goes, and the enforcer is killed before it looks.
        daemon.end(nix::sys::signal::Signal::SIGKILL)?;
        let config = std::fs::read_to_string(place.config())?;
        place.configure(&format!("{config}revoke: false\n"))?;
        place.remove("db.yaml")?;
        let mut daemon = place.start(&[])?;
        assert!(!place.reaches("frontend/second", DB)?);
        daemon.end(nix::sys::signal::Signal::SIGKILL)?;
        assert_eq!(
            place.probe("frontend")?.held_errno(Duration::from_millis(300))?,
            None
        );
        std::fs::write(&mark, "")?;
        place.configure(&config)?;
        let _daemon = place.start(&[])?;
        ended(place)?;
        tests::daemon::wait("the end of the sweep", || Ok(!mark.exists()))
    });
}

#[test]
fn added_entry_looks_for_no_sockets_though_its_workload_shared_a_policy_with_others() {
    check(CONFIG, |place| {
        let config = std::fs::read_to_string(place.config())?;
        let other = "- {namespace: backend, name: api, cgroup: $CGROUP/backend}\n";
        place.configure(&config.replace("dns:", &format!("{other}dns:")))?;
        place.cgroup.child("backend")?;
        let looks = "looking for sockets that are no longer allowed";
        let mut daemon = place.start(&["--ephemeral", "--log-level", "debug"])?;
        daemon.line(&[looks])?;
        let of_one =
            |name: &str, address: &str| entry(name, address).replace("spec:\n", "spec:\n  exportTo: [.]\n");
        const ROUNDS: usize = 5;
        for _ in 0..ROUNDS {
            place.write("own.yaml", &of_one("own", "192.0.2.30"))?;
            place.until("frontend", "192.0.2.30:5432", true)?;
            place.remove("own.yaml")?;
            place.until("frontend", "192.0.2.30:5432", false)?;
            daemon.line(&[looks])?;
        }
        daemon.lines();
        let said = daemon.seen.iter().filter(|line| line.contains(looks)).count();
        assert_eq!(
            said,
            1 + ROUNDS,
            "one at the start, and one for each removal: {:#?}",
            daemon.seen
        );
        Ok(())
    });
}

#[test]
fn status_proves_nothing_while_sockets_of_a_workload_are_hidden_from_the_look_and_names_it() {
    check(CONFIG, |place| {
        serve(DB)?;
        place.under = fault::failing(BINARY, fault::SETNS, libc::EPERM);
        let mut daemon = place.start(&[])?;
        let hidden = |problem: &String| {
            problem.contains("connections of frontend/web that are no longer allowed may stay open")
        };
        let status = place.until_status("problem", |status| status.problems.iter().any(hidden))?;
        assert!(!status.proven, "{:?}", status.problems);
        daemon.line(&[
            "ERROR",
            "connections of frontend/web",
            "not all of its sockets can be listed",
        ])?;
        let text = String::from_utf8(place.command(&["status"]).output()?.stdout)?;
        assert!(text.starts_with("enforcement: NOT PROVEN"), "{text}");
        assert!(
            text.lines()
                .any(|line| line.contains("connections of frontend/web")),
            "{text}"
        );
        drop(daemon);
        place.under.clear();
        let _daemon = place.start(&[])?;
        place.until_status("proof", |status| status.proven)?;
        Ok(())
    });
}

/// `SocketState::OUTWARD`.
const OUTWARD: u32 = 2;

/// What a look at the workload's sockets finds without a daemon.
fn found(place: &Place, marks: Option<&SocketMarks>) -> Result<Vec<Live>> {
    let cgroup = CgroupMount::find()?.cgroup(&place.cgroup.path().join("frontend"))?;
    let at = revoke::Place {
        cgroup: cgroup.context("it is there")?.id,
        folder: place.cgroup.folder().join("frontend"),
    };
    Ok(revoke::sweep(
        &[at],
        &BTreeSet::new(),
        marks.map(SocketMarks::map),
    ))
}

#[test]
fn marked_socket_was_connected_whoever_listens_on_its_port() {
    check(CONFIG, |place| {
        serve(DB)?;
        let marks = SocketMarks::new()?;
        let probe = place.probe("frontend")?;
        probe.hold_so(How::BesideListener, DB.parse()?)?;
        let pid = probe.pid();
        assert_eq!(
            found(place, Some(&marks))?.len(),
            0,
            "nobody has seen how it came to be"
        );
        assert_eq!(found(place, None)?.len(), 0, "nobody has seen how it came to be");
        // The mark of something else, on the socket and on the one that listens.
        assert_eq!(marks.mark(pid, !OUTWARD)?, 2);
        assert_eq!(found(place, Some(&marks))?.len(), 0, "it was not let out");
        marks.mark(pid, OUTWARD)?;
        let live = found(place, Some(&marks))?;
        let remotes: Vec<_> = live.iter().map(Live::remote).collect();
        assert_eq!(
            remotes,
            [DB.parse()?],
            "it was let out, and the one that listens is no connection"
        );
        assert_eq!(revoke::end(&live), None);
        assert_eq!(
            place.probe("frontend")?.held_errno(PATIENCE)?,
            Some(libc::ECONNABORTED)
        );
        Ok(())
    });
}

/// A connection that is kept so ends when its entry goes.
fn ends_when_its_entry_goes(how: How) {
    check(CONFIG, |place| {
        serve(DB)?;
        let _daemon = place.start(&["--ephemeral"])?;
        place.probe("frontend")?.hold_so(how, DB.parse()?)?;
        place.remove("db.yaml")?;
        println!("{how:?}: ended after {:?}", ended(place)?);
        Ok(())
    });
}

#[test]
fn connection_of_a_process_that_has_left_its_network_ends() {
    ends_when_its_entry_goes(How::Left);
}

#[test]
fn connection_in_a_network_that_nobody_is_in_ends() {
    ends_when_its_entry_goes(How::Orphaned);
}

#[test]
fn connection_in_the_network_of_a_later_thread_ends() {
    ends_when_its_entry_goes(How::InThread);
}

/// What the kernel clones for an accepted socket does not make it one for ever.
#[test]
fn accepted_socket_that_is_connected_elsewhere_ends() {
    ends_when_its_entry_goes(How::Accepted);
}

#[test]
fn connection_from_a_port_that_its_process_listens_on_ends() {
    ends_when_its_entry_goes(How::BesideListener);
}

#[test]
fn connection_in_a_network_that_nobody_is_in_and_that_a_later_thread_has_alone_ends() {
    let release = nix::sys::utsname::uname()
        .unwrap()
        .release()
        .to_string_lossy()
        .into_owned();
    let mut numbers = release
        .split(['.', '-'])
        .map_while(|number| number.parse::<u32>().ok());
    if (numbers.next(), numbers.next()) < (Some(6), Some(9)) {
        println!("SKIPPED: Linux {release} has no PIDFD_THREAD, which came with 6.9");
        return;
    }
    ends_when_its_entry_goes(How::OrphanedInThread);
}

/// A connection of one workload ends within a second, whatever an older one holds `so` to each of `servers`.
fn ends_within_a_second_beside(so: How, servers: &'static [&'static str]) {
    check(CONFIG, |place| {
        let config = std::fs::read_to_string(place.config())?;
        let workload = |name| format!("- {{namespace: frontend, name: {name}, cgroup: $CGROUP/{name}}}\n");
        let others = workload("many") + &workload("beside");
        place.configure(&config.replace("dns:", &format!("{others}dns:")))?;
        let outside = place.cgroup.child("outside")?.display().to_string();
        let mut serving = Vec::new();
        for server in servers {
            serving.push(tied(BINARY).args(["accept", &outside, server]).spawn()?);
            tests::daemon::wait("the server", || Ok(TcpStream::connect(server).is_ok()))?;
        }
        serve("192.0.2.20:5432")?;
        place.write("db.yaml", &entry("db", "192.0.2.10, 192.0.2.11, 192.0.2.20"))?;
        place.remove("other.yaml")?;
        let mut daemon = place.start(&["--ephemeral"])?;
        for (at, server) in servers.iter().enumerate() {
            place.probe(&format!("many/{at}"))?.hold_so(so, server.parse()?)?;
        }
        // Both are looked at in one sweep, the older cgroup first.
        place
            .probe("beside")?
            .hold(Transport::Tcp, "192.0.2.20:5432".parse()?)?;
        place.remove("db.yaml")?;
        let start = Instant::now();
        let errno = place.probe("beside")?.held_errno(PATIENCE)?;
        let took = start.elapsed();
        assert_eq!(errno, Some(libc::ECONNABORTED));
        println!("beside {so:?} ended after {took:?}");
        assert!(took < Duration::from_secs(1), "{took:?}");
        let start = Instant::now();
        for at in 0..servers.len() {
            let last = place.probe(&format!("many/{at}"))?.held_errno(PATIENCE)?;
            assert_eq!(last, Some(libc::ECONNABORTED));
        }
        println!("and the last of {so:?} {:?} later", start.elapsed());
        daemon.line(&["revoked frontend/many -> tcp 192.0.2.10:5432"])?;
        daemon.lines();
        let complaints: Vec<_> = daemon.seen.iter().filter(|line| line.contains("ERROR")).collect();
        assert!(complaints.is_empty(), "{complaints:#?}");
        for mut server in serving {
            server.kill()?;
            server.wait()?;
        }
        Ok(())
    });
}

#[test]
fn connection_ends_within_a_second_beside_a_workload_with_very_many() {
    println!("of {MANY} each");
    ends_within_a_second_beside(How::Many, &[DB, "192.0.2.11:5432"]);
}

#[test]
fn connection_ends_within_a_second_beside_a_workload_with_very_many_networks() {
    ends_within_a_second_beside(How::AmongNetworks, &[DB]);
}
