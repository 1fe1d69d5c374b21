//! Programs of others at `connect` and `sendmsg` that translate a Service's address to a pod's, as network plugins
//! have them: in which order they run with the enforcer's, and so which address is judged.
//!
//! Every test has a cgroup for the stand-in of the hierarchy's root, and below it the enforcer's root.
#![expect(clippy::unwrap_used, reason = "that is how a test fails")]

use std::{
    net::{SocketAddr, TcpListener, UdpSocket},
    path::Path,
    time::Duration,
};

use anyhow::{Context as _, Result};
use enforcer_common::Transport;
use nix::sys::signal::Signal;
use tests::{
    daemon::{PATIENCE, Place, wait},
    fixture::{
        add_address, in_own_network, need_root,
        translator::{Manner, Translator},
    },
    probe::Outcome,
};

const BINARY: &str = env!("CARGO_BIN_EXE_enforcer-test");

const CONFIG: &str = "
registry: {files: [registry/]}
workloads:
- {namespace: frontend, name: web, cgroup: $CGROUP/frontend}
dns: {servers: [127.0.0.77], timeout: 100ms}
# What is asked while its rule goes would be ended.
revoke: false
";

/// The Service and the pod behind it, of each family. Clients dial a port that the pod does not have.
const SERVICES: [&str; 2] = ["10.96.0.77:80", "[fd00:96::77]:80"];
const PODS: [&str; 2] = ["10.244.0.9:8080", "[fd00:244::9]:8080"];

/// Addresses that are registered with these, that nobody translates, and where nobody listens.
const NO_SERVICE: &str = "10.96.0.78:80";
const NO_POD: &str = "10.244.0.10:8080";

const SERVICE: &str = "
apiVersion: v1
kind: Service
metadata: {name: api, namespace: frontend}
spec:
  clusterIP: 10.96.0.77
  clusterIPs: [10.96.0.77, 10.96.0.78, 'fd00:96::77']
  ports: [{port: 80, name: tcp}, {port: 80, name: udp, protocol: UDP}]
";

const POD: &str = "
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: streams, namespace: frontend}
spec:
  hosts: [streams.example.com]
  addresses: [10.244.0.0/16, 'fd00:244::/64']
  resolution: NONE
  ports: [{number: 8080, name: tcp, protocol: TCP}]
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: datagrams, namespace: frontend}
spec:
  hosts: [datagrams.example.com]
  addresses: [10.244.0.0/16, 'fd00:244::/64']
  resolution: NONE
  ports: [{number: 8080, name: udp, protocol: UDP}]
";

/// Another destination, which has nothing to do with the Service.
const OTHER: &str = "
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: other, namespace: frontend}
spec:
  hosts: [other.example.com]
  addresses: [192.0.2.20]
  resolution: NONE
  ports: [{number: 5432, name: tcp, protocol: TCP}]
";

/// What the enforcer's programs see of a call to the Service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Seen {
    Service,
    Pod,
}

/// A place with the pod's sockets in its network.
struct Stage {
    place: Place,
    streams: Vec<TcpListener>,
    datagrams: Vec<UdpSocket>,
}

impl Stage {
    fn run(claim: impl FnOnce(&mut Self) -> Result<()> + Send) {
        in_own_network(|| {
            need_root()?;
            let place = Place::with_bpffs(BINARY, CONFIG)?;
            place.cgroup.child("frontend/container")?;
            let (mut streams, mut datagrams) = (Vec::new(), Vec::new());
            for pod in PODS {
                let pod: SocketAddr = pod.parse()?;
                // Otherwise no socket can be bound to it, although every address is local.
                if pod.is_ipv6() {
                    add_address("lo", pod.ip())?;
                }
                let stream = TcpListener::bind(pod)?;
                stream.set_nonblocking(true)?;
                streams.push(stream);
                let datagram = UdpSocket::bind(pod)?;
                datagram.set_read_timeout(Some(PATIENCE))?;
                datagrams.push(datagram);
            }
            claim(&mut Self {
                place,
                streams,
                datagrams,
            })
        })
        .unwrap();
    }

    /// Attaches the programs of the plugin to a cgroup at or below the place's.
    fn translate(&self, at: &str, manner: Manner) -> Result<Vec<Translator>> {
        let folder = self.place.cgroup.folder().join(at);
        let pairs = SERVICES.into_iter().zip(PODS);
        pairs
            .map(|(service, pod)| {
                Translator::attach(Path::new(&folder), manner, service.parse()?, pod.parse()?)
            })
            .collect()
    }

    /// Has the workload call an address; of each family and transport alike.
    fn call(&mut self, to: [&str; 2]) -> Result<Outcome> {
        let mut outcomes = Vec::new();
        for to in to {
            let to: SocketAddr = to.parse()?;
            let probe = self.place.probe("frontend/container")?;
            outcomes.push(probe.call(Transport::Tcp, to)?);
            outcomes.push(probe.call(Transport::Udp, to)?);
        }
        assert!(outcomes.windows(2).all(|two| two[0] == two[1]), "{outcomes:?}");
        Ok(outcomes[0])
    }

    /// Waits until everything that the workload has sent by two datagrams and one stream of each family is at the pod.
    fn has_arrived(&self) -> Result<()> {
        for (stream, datagram) in self.streams.iter().zip(&self.datagrams) {
            wait("the stream at the pod", || Ok(stream.accept().is_ok()))?;
            for _ in 0..2 {
                datagram
                    .recv(&mut [0; 16])
                    .context("waiting for the datagram at the pod")?;
            }
        }
        Ok(())
    }

    /// What the enforcer that runs sees: the Service is registered first, the pod then.
    fn seen(&mut self) -> Result<Seen> {
        self.place.write("pods.yaml", POD)?;
        self.place.until("frontend/container", NO_POD, true)?;
        self.forget()?;
        let by_pod = self.call(SERVICES)?;
        if by_pod == Outcome::Through {
            self.has_arrived()?;
        }
        self.place.remove("pods.yaml")?;
        self.place.until("frontend/container", NO_POD, false)?;
        self.place.write("service.yaml", SERVICE)?;
        self.place.until("frontend/container", NO_SERVICE, true)?;
        let by_service = self.call(SERVICES)?;
        if by_service == Outcome::Through {
            self.has_arrived()?;
        }
        assert_eq!(self.call(PODS)?, Outcome::Refused(libc::EPERM));
        self.place.remove("service.yaml")?;
        self.place.until("frontend/container", NO_SERVICE, false)?;
        let refused = Outcome::Refused(libc::EPERM);
        match (by_service, by_pod) {
            (Outcome::Through, other) if other == refused => Ok(Seen::Service),
            (other, Outcome::Through) if other == refused => Ok(Seen::Pod),
            both => anyhow::bail!("registered are the Service, the pod: {both:?}"),
        }
    }

    /// Takes what has arrived at the pod off its sockets.
    fn forget(&self) -> Result<()> {
        for stream in &self.streams {
            while stream.accept().is_ok() {}
        }
        for datagram in &self.datagrams {
            datagram.set_nonblocking(true)?;
            while datagram.recv(&mut [0; 16]).is_ok() {}
            datagram.set_nonblocking(false)?;
        }
        Ok(())
    }
}

#[test]
fn program_above_translates_what_ours_has_judged() {
    for manner in [Manner::Link, Manner::Multi] {
        for is_first in [true, false] {
            Stage::run(|stage| {
                let early = if is_first {
                    stage.translate("", manner)?
                } else {
                    Vec::new()
                };
                let _daemon = stage.place.start(&["--ephemeral"])?;
                let _late = if is_first {
                    early
                } else {
                    stage.translate("", manner)?
                };
                assert_eq!(stage.seen()?, Seen::Service, "{manner:?}, first: {is_first}");
                stage.place.until_status("proof", |status| status.proven)?;
                Ok(())
            });
        }
    }
}

#[test]
fn programs_at_one_cgroup_run_in_the_order_in_which_they_were_attached() {
    for manner in [Manner::Link, Manner::Multi] {
        Stage::run(|stage| {
            let _theirs = stage.translate("frontend", manner)?;
            let _daemon = stage.place.start(&["--ephemeral"])?;
            assert_eq!(stage.seen()?, Seen::Pod, "{manner:?}");
            Ok(())
        });
        Stage::run(|stage| {
            let mut daemon = stage.place.start(&[])?;
            let _theirs = stage.translate("frontend", manner)?;
            assert_eq!(stage.seen()?, Seen::Service, "{manner:?}");
            // Its programs are replaced where they are.
            daemon.end(Signal::SIGTERM)?;
            let _daemon = stage.place.start(&[])?;
            assert_eq!(
                stage.seen()?,
                Seen::Service,
                "{manner:?}, after another start of the enforcer"
            );
            Ok(())
        });
    }
}

#[test]
fn program_below_translates_before_ours_judges() {
    for manner in [Manner::Link, Manner::Multi] {
        Stage::run(|stage| {
            let _daemon = stage.place.start(&["--ephemeral"])?;
            let _theirs = stage.translate("frontend/container", manner)?;
            assert_eq!(stage.seen()?, Seen::Pod, "{manner:?}");
            Ok(())
        });
    }
}

#[test]
fn program_above_that_asks_for_it_translates_before_ours_judges() {
    Stage::run(|stage| {
        let _daemon = stage.place.start(&["--ephemeral"])?;
        match stage.translate("", Manner::Preorder) {
            Ok(_theirs) => assert_eq!(stage.seen()?, Seen::Pod),
            Err(error) => {
                let errno = error.downcast_ref().and_then(std::io::Error::raw_os_error);
                assert_eq!(errno, Some(libc::EINVAL), "{error:#}");
                println!("SKIPPED: this kernel has no BPF_F_PREORDER (6.15)");
            }
        }
        Ok(())
    });
}

#[test]
fn program_above_that_is_to_be_alone_keeps_ours_away_and_is_told_of() {
    Stage::run(|stage| {
        let _theirs = stage.translate("", Manner::Alone)?;
        let refusal = stage.place.refusal(&["--ephemeral"])?;
        for words in ["not enforcing at", "/frontend", "BPF_F_ALLOW_MULTI"] {
            assert!(refusal.contains(words), "{words:?} is missing in {refusal}");
        }
        Ok(())
    });
}

#[test]
fn program_above_that_may_be_overridden_is() {
    Stage::run(|stage| {
        let _theirs = stage.translate("", Manner::Override)?;
        stage.place.write("service.yaml", SERVICE)?;
        let _daemon = stage.place.start(&["--ephemeral"])?;
        assert_eq!(stage.call(SERVICES)?, Outcome::Through);
        assert!(stage.streams[0].accept().is_err(), "it was translated");
        Ok(())
    });
}

#[test]
fn connection_by_way_of_a_service_stays_until_the_service_is_refused() {
    Stage::run(|stage| {
        stage
            .place
            .configure(&CONFIG.replace("revoke: false", "revoke: true"))?;
        let _theirs = stage.translate("", Manner::Link)?;
        stage.place.write("service.yaml", SERVICE)?;
        stage.place.write("other.yaml", OTHER)?;
        let mut daemon = stage.place.start(&["--ephemeral"])?;
        let service: SocketAddr = SERVICES[0].parse()?;
        stage.place.probe("frontend")?.hold(Transport::Tcp, service)?;
        stage.place.remove("other.yaml")?;
        stage.place.until("frontend", "192.0.2.20:5432", false)?;
        let held = stage
            .place
            .probe("frontend")?
            .held_errno(Duration::from_millis(500))?;
        assert_eq!(held, None, "another entry went: {:?}", daemon.lines());
        stage.place.remove("service.yaml")?;
        let held = stage.place.probe("frontend")?.held_errno(PATIENCE)?;
        assert_eq!(held, Some(libc::ECONNABORTED));
        daemon.line(&["revoked frontend/web"])?;
        Ok(())
    });
}

#[test]
fn connected_datagram_socket_by_way_of_a_service_is_judged_by_its_pod_when_rules_go() {
    Stage::run(|stage| {
        stage
            .place
            .configure(&CONFIG.replace("revoke: false", "revoke: true"))?;
        let _theirs = stage.translate("", Manner::Link)?;
        stage.place.write("service.yaml", SERVICE)?;
        stage.place.write("other.yaml", OTHER)?;
        let mut daemon = stage.place.start(&["--ephemeral"])?;
        let service: SocketAddr = SERVICES[0].parse()?;
        stage.place.probe("frontend")?.hold(Transport::Udp, service)?;
        stage.place.remove("other.yaml")?;
        daemon.line(&["revoked frontend/web", "udp 10.244.0.9:8080"])?;
        // It may connect again.
        stage.place.probe("frontend")?.hold(Transport::Udp, service)?;
        Ok(())
    });
}
