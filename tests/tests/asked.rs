//! A peer that was asked, because a rule allowed it, is no client: once the rule is gone, nothing of the workload may send
//! to it, whichever of its sockets got the answer.
#![expect(clippy::unwrap_used, reason = "that is how a test fails")]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::ErrorKind,
    net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket},
    os::fd::AsRawFd as _,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use enforcer::datapath::{Capacities, CgroupMount, Datapath, Options, of_process, raise_memlock};
use enforcer_common::{CgroupId, Mode, Settings, Transport};
use enforcer_core::{
    plan::{Applied, diff},
    policy::{Desired, DesiredPolicy},
    rule::{Rule, Rules, To},
};
use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, SockaddrIn, bind, setsockopt, socket, sockopt::ReusePort,
};
use tests::{
    fixture::{TestCgroup, need_root},
    servers::networks::in_two_networks,
};

const FROM: Ipv4Addr = Ipv4Addr::new(198, 18, 254, 1);
const PEER: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(198, 18, 254, 7)), 4000);
const PATIENCE: Duration = Duration::from_secs(10);

/// A workload with two cgroups below it, which may send to the peer.
struct Workload {
    home: PathBuf,
    root: TestCgroup,
    datapath: Datapath,
    id: CgroupId,
    applied: Applied,
    peer: UdpSocket,
}

impl Workload {
    fn join(&self, child: &str) -> Result<()> {
        fs::write(
            self.root
                .folder()
                .join("workload")
                .join(child)
                .join("cgroup.procs"),
            "0",
        )
        .with_context(|| format!("joining {child}"))
    }

    /// Allows the peer, or takes that away.
    fn allow(&mut self, is_allowed: bool) -> Result<()> {
        let rule = Rule {
            transport: Transport::Udp,
            port: PEER.port(),
            to: To::Address(PEER.ip()),
        };
        let own: Rules = is_allowed.then_some(rule).into_iter().collect();
        let desired = Desired {
            shared: BTreeMap::new(),
            policies: vec![DesiredPolicy {
                mode: Mode::Enforce,
                allows_udp: false,
                shares: None,
                own: Arc::new(own),
                workloads: BTreeSet::from([self.id]),
            }],
            own: BTreeMap::new(),
        };
        let plan = diff(&self.applied, &desired);
        self.datapath.carry_out(&plan.changes)?;
        self.applied = plan.after;
        Ok(())
    }

    /// Has the peer answer whoever has the port now, and says whether that one may send to it without a rule.
    fn may_go_on(&mut self, receiver: &UdpSocket) -> Result<bool> {
        let (_, asker) = self.peer.recv_from(&mut [0; 8])?;
        self.peer.send_to(b"answer", asker)?;
        receiver
            .recv_from(&mut [0; 8])
            .context("the answer does not come to the other socket")?;
        self.allow(false)?;
        match receiver.send_to(b"x", PEER) {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == ErrorKind::PermissionDenied => Ok(false),
            Err(error) => Err(error).context("sending"),
        }
    }
}

/// So that nobody is in a cgroup that is to be removed.
impl Drop for Workload {
    fn drop(&mut self) {
        if let Err(error) = fs::write(self.home.join("cgroup.procs"), "0") {
            eprintln!("going home: {error}");
        }
    }
}

fn check(claim: impl FnOnce(&mut Workload) -> Result<()> + Send) {
    /// This process has one cgroup at a time.
    static ALONE: Mutex<()> = Mutex::new(());
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    need_root().unwrap();
    in_two_networks(|networks| {
        raise_memlock();
        networks.add(FROM.into(), PEER.ip())?;
        let peer = networks.at_client(|| Ok(UdpSocket::bind(PEER)?))?;
        peer.set_read_timeout(Some(PATIENCE))?;
        let mount = CgroupMount::find()?;
        let home = mount.folder(of_process("self").context("there is no cgroup v2")?.as_ref());
        let root = TestCgroup::new()?;
        for child in ["workload/a", "workload/b"] {
            root.child(child)?;
        }
        let at = |path: &Path| mount.cgroup(&root.path().join(path))?.context("it was just made");
        let workload = at(Path::new("workload"))?;
        let settings = Settings {
            depth_min: workload.depth,
            depth_max: workload.depth,
            ..Settings::STRICT
        };
        let options = Options {
            capacities: Capacities::default(),
            debug: false,
        };
        let (mut datapath, _events) = Datapath::load(None, options, settings)?;
        datapath.attach(&at(Path::new(""))?)?;
        let mut workload = Workload {
            home,
            root,
            datapath,
            id: workload.id,
            applied: Applied::default(),
            peer,
        };
        workload.allow(true)?;
        claim(&mut workload)
    })
    .unwrap();
}

/// A socket whose port others may have too.
fn shared(port: Option<u16>) -> Result<UdpSocket> {
    let socket = socket(
        AddressFamily::Inet,
        SockType::Datagram,
        SockFlag::SOCK_CLOEXEC,
        None,
    )?;
    setsockopt(&socket, ReusePort, &true)?;
    if let Some(port) = port {
        let [a, b, c, d] = FROM.octets();
        bind(socket.as_raw_fd(), &SockaddrIn::new(a, b, c, d, port))?;
    }
    let socket = UdpSocket::from(socket);
    socket.set_read_timeout(Some(PATIENCE))?;
    Ok(socket)
}

#[test]
fn client_that_has_sent_first_is_answered_without_a_rule() {
    check(|workload| {
        workload.join("a")?;
        let server = shared(Some(5000))?;
        workload.peer.send_to(b"question", (FROM, 5000))?;
        server.recv_from(&mut [0; 8])?;
        workload.allow(false)?;
        server
            .send_to(b"answer", PEER)
            .context("a client is answered without a rule")?;
        Ok(())
    });
}

/// It is connected before it has a port.
#[test]
fn answer_to_a_closed_socket_makes_no_client_of_the_peer() {
    check(|workload| {
        workload.join("a")?;
        let asker = shared(None)?;
        asker.connect(PEER)?;
        let receiver = shared(Some(asker.local_addr()?.port()))?;
        asker.send(b"x")?;
        drop(asker);
        ensure!(!workload.may_go_on(&receiver)?, "it goes on without a rule");
        Ok(())
    });
}

#[test]
fn answer_to_another_cgroup_of_the_workload_makes_no_client_of_the_peer() {
    check(|workload| {
        workload.join("a")?;
        let asker = shared(Some(5000))?;
        asker.send_to(b"x", PEER)?;
        workload.join("b")?;
        let receiver = shared(Some(5000))?;
        drop(asker);
        ensure!(!workload.may_go_on(&receiver)?, "it goes on without a rule");
        Ok(())
    });
}
