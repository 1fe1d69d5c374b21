//! Two networks, loaded programs, a workload that asks and another beside it, and a trusted resolver that says what the
//! test says.

use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, ensure};
use enforcer::datapath::{CgroupMount, Datapath, Events, Learning, Options};
use enforcer_common::{CgroupId, Settings};
use enforcer_core::{
    documents::Documents,
    model::{Labels, Namespace, Workload},
    plan::{Applied, diff},
    registry::{Registry, Update},
    settings,
};

use super::{
    asker::{Asker, Socket},
    message,
};
use crate::{
    fixture::TestCgroup,
    servers::networks::{CLIENT4, Networks, PATIENCE, SERVER4, UPSTREAM4},
};

/// Two servers may be asked; one alone is trusted.
const REGISTRY: &str = "
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: wild, namespace: shop}
spec:
  hosts: ['*.example.com']
  ports: [{number: 443, name: tls, protocol: TLS}]
  resolution: NONE
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: servers, namespace: shop}
spec:
  hosts: [servers.example.org]
  addresses: [198.18.8.53, 198.18.8.2]
  ports: [{number: 53, name: udp, protocol: UDP}]
  resolution: NONE
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: servers-tcp, namespace: shop}
spec:
  hosts: [servers-tcp.example.org]
  addresses: [198.18.8.53, 198.18.8.2]
  ports: [{number: 53, name: tcp, protocol: TCP}]
  resolution: NONE
";

/// The trusted resolver.
pub(super) const RESOLVER: SocketAddr = SocketAddr::new(IpAddr::V4(UPSTREAM4), 53);
/// A trusted resolver on the workloads' own machine, at which nobody of the machine listens.
pub(super) const LOCAL: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 5300);
/// A workload's share, of addresses and of questions that wait.
pub(super) const SHARE: u32 = 128;
/// Somebody else.
pub(super) const STRANGER: SocketAddr = SocketAddr::new(IpAddr::V4(CLIENT4), 53);
/// What is asked for.
pub(super) const HOST: &str = "a.example.com";

pub(super) struct Stage<'a> {
    pub(super) networks: &'a Networks,
    pub(super) asker: Asker,
    /// Another workload of the same policy.
    pub(super) other: Asker,
    datapath: Datapath,
    _events: Events,
    workload: CgroupId,
    number: u16,
    root: TestCgroup,
    program: PathBuf,
}

impl<'a> Stage<'a> {
    pub(super) fn new(program: &Path, networks: &'a Networks) -> Result<Self> {
        let root = TestCgroup::new()?;
        let mount = CgroupMount::find()?;
        let mut registry = Registry::new(settings::Settings::default());
        let mut documents = Documents::default();
        for update in documents.set("registry", Some(REGISTRY)) {
            registry.apply(update);
        }
        let problems: Vec<_> = documents.problems().iter().map(ToString::to_string).collect();
        ensure!(problems.is_empty(), "the registry: {}", problems.join("; "));
        let mut ids = Vec::new();
        let mut depth = 1;
        for name in ["asker", "other"] {
            root.child(name)?;
            let cgroup = mount
                .cgroup(&root.path().join(name))?
                .context("it was just made")?;
            (depth, _) = (cgroup.depth, ids.push(cgroup.id));
            let workload = Workload::new(Namespace::new("shop"), name, Labels::default());
            registry.apply(Update::Workload(cgroup.id, workload));
        }
        let settings = Settings {
            depth_min: depth,
            depth_max: depth,
            learned: SHARE,
            ..Settings::STRICT
        };
        let (mut datapath, events) = Datapath::load(None, Options::default(), settings)?;
        let learning = Learning {
            patterns: registry.patterns(),
            resolvers: BTreeSet::from([RESOLVER, LOCAL]),
            protected: BTreeSet::from(["169.254.0.0/16".parse()?, "127.0.0.0/8".parse()?]),
        };
        datapath.learn_more(&learning)?;
        datapath.carry_out(&diff(&Applied::default(), &registry.desired()).changes)?;
        datapath.learn_only(&learning)?;
        datapath.attach(&mount.cgroup(root.path())?.context("it was just made")?)?;
        let asker = Asker::start(program, &root.child("asker")?)?;
        let other = Asker::start(program, &root.child("other")?)?;
        Ok(Self {
            networks,
            asker,
            other,
            datapath,
            _events: events,
            workload: ids[0],
            number: 0,
            root,
            program: program.to_owned(),
        })
    }

    /// Another process of the asker's workload.
    pub(super) fn another_asker(&self) -> Result<Asker> {
        Asker::start(&self.program, &self.root.child("asker")?)
    }

    /// An address that no way has had before: begins a way.
    pub(super) fn fresh(&mut self) -> IpAddr {
        self.number += 1;
        let [high, low] = self.number.to_be_bytes();
        Ipv4Addr::new(203, 0, 113_u8.wrapping_add(high), low).into()
    }

    /// The address of this way.
    pub(super) fn address(&self) -> IpAddr {
        let [high, low] = self.number.to_be_bytes();
        Ipv4Addr::new(203, 0, 113_u8.wrapping_add(high), low).into()
    }

    /// A question of this way.
    pub(super) fn question(&self) -> Vec<u8> {
        message::question(self.number, HOST, 1)
    }

    /// Its answer, with this way's address.
    pub(super) fn answer(&self) -> Vec<u8> {
        let record = message::Record::address(HOST, self.address());
        message::answer(&self.question(), &[record], &[])
    }

    /// A socket in the clients' network that is bound there.
    pub(super) fn at(&self, server: SocketAddr) -> Result<UdpSocket> {
        let socket = self.networks.at_client(|| Ok(UdpSocket::bind(server)?))?;
        socket.set_read_timeout(Some(PATIENCE))?;
        Ok(socket)
    }

    /// Has the asker ask, and gives its socket with the server's that has the question.
    pub(super) fn ask(&mut self) -> Result<(Socket, UdpSocket)> {
        let server = self.at(RESOLVER)?;
        let question = self.question();
        let socket = self.asker.udp(RESOLVER, &question)?;
        let mut buffer = [0; 512];
        let (size, _) = server
            .recv_from(&mut buffer)
            .context("the question does not come")?;
        ensure!(buffer[..size] == question, "another question came");
        Ok((socket, server))
    }

    /// Has the asker ask further questions, which wait, by the socket that has asked.
    pub(super) fn ask_more(&mut self, socket: Socket, count: u32) -> Result<()> {
        for number in 0..count {
            let id = 0x8000 + u16::try_from(number)?;
            let question = message::question(id, "b.example.com", 1);
            self.asker.again(socket, RESOLVER, &question)?;
        }
        Ok(())
    }

    /// Has a server send to the asker's socket, and waits until it is there.
    pub(super) fn send(&mut self, server: &UdpSocket, socket: Socket, message: &[u8]) -> Result<()> {
        server.send_to(message, (SERVER4, socket.port))?;
        self.asker.receive(socket)
    }

    pub(super) fn is_learned(&mut self) -> Result<()> {
        let to = SocketAddr::new(self.address(), 443);
        ensure!(
            !self
                .datapath
                .given(self.workload, self.address())?
                .ever()
                .is_empty(),
            "nothing was learned"
        );
        ensure!(self.asker.connects(to)?, "what was learned is refused");
        ensure!(
            !self.asker.connects(SocketAddr::new(self.address(), 444))?,
            "another port is allowed"
        );
        ensure!(!self.other.connects(to)?, "another workload is allowed");
        Ok(())
    }

    pub(super) fn is_unlearned(&mut self) -> Result<()> {
        ensure!(
            self.datapath
                .given(self.workload, self.address())?
                .ever()
                .is_empty(),
            "it was learned"
        );
        ensure!(
            !self.asker.connects(SocketAddr::new(self.address(), 443))?,
            "it is allowed"
        );
        Ok(())
    }
}
