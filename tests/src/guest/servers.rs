//! Servers in an enforced cgroup: those that this binary is. On kernels with BPF LSM and on those without, what they
//! answer arrives, and an accepted connection comes to what it comes to without enforcement.

use std::{net::SocketAddr, time::Duration};

use anyhow::{Result, ensure};
use enforcer_common::Transport;

use super::{
    kernel::Kernel,
    report::{Done, Measured},
};
use crate::{
    escape::{self, Manner},
    fixture::TestCgroup,
    probe::{Outcome, Probe},
    servers::{
        accepted::{self, Cgroups, differences},
        networks::{CLIENT4, CLIENT6, Networks, SERVER4, SERVER6, in_two_networks},
        quic,
        udp::SHAPES,
    },
};

/// One request of each kind.
const ONCE: Duration = Duration::ZERO;

/// A port of the clients' from which nothing comes.
const UNREGISTERED: u16 = 9;

/// Servers of datagrams are served by nobody's registration, and reach nobody else.
pub(super) fn datagrams(kernel: &Kernel) -> Result<Done> {
    in_two_networks(|networks| {
        let outside = TestCgroup::new()?;
        let without = unanswered(kernel, networks, &outside)?;
        ensure!(without.is_empty(), "without enforcement: {}", without.join("\n"));
        let root = TestCgroup::new()?;
        root.child("workload")?;
        let _datapath = escape::enforce(&root, Manner::default())?;
        let mut wrong = unanswered(kernel, networks, &root)?;
        wrong.extend(reached(kernel, &root)?);
        let servers = SHAPES.len() + 2;
        let measured = Measured {
            text: if wrong.is_empty() {
                format!("{servers} servers answer")
            } else {
                wrong.join("\n")
            },
            figures: vec![(
                "servers-refused".into(),
                u32::try_from(wrong.len()).unwrap_or(u32::MAX),
            )],
            remarks: Vec::new(),
        };
        Ok(if wrong.is_empty() {
            Done::Measured(measured)
        } else {
            Done::Failed(measured)
        })
    })
}

/// The servers in `workload` below `root` whose clients are not answered, and why.
fn unanswered(kernel: &Kernel, networks: &Networks, root: &TestCgroup) -> Result<Vec<String>> {
    let cgroup = root.child("workload")?;
    let mut failed = Vec::new();
    for shape in SHAPES {
        let tally = shape.run(networks, (&kernel.program, &cgroup), ONCE)?;
        if !tally.is_whole() {
            failed.push(tally.to_string());
        }
    }
    for host in [SERVER4.into(), SERVER6.into()] {
        let tally = quic::run(networks, (&kernel.program, &cgroup), host, ONCE)?;
        if !tally.is_whole() {
            failed.push(format!("QUIC: {tally}"));
        }
    }
    Ok(failed)
}

/// What the workload must not reach and does.
fn reached(kernel: &Kernel, root: &TestCgroup) -> Result<Vec<String>> {
    let mut probe = Probe::start(&kernel.program, &root.child("workload")?)?;
    let mut reached = Vec::new();
    for client in [
        SocketAddr::from((CLIENT4, UNREGISTERED)),
        (CLIENT6, UNREGISTERED).into(),
    ] {
        for transport in [Transport::Tcp, Transport::Udp] {
            let outcome = probe.call(transport, client)?;
            if outcome != Outcome::Refused(libc::EPERM) {
                reached.push(format!("{transport:?} to {client} is {outcome:?}"));
            }
        }
    }
    Ok(reached)
}

/// An accepted connection is used in every way, by who accepts it and by workers.
pub(super) fn accepted(kernel: &Kernel) -> Result<Done> {
    in_two_networks(|networks| {
        let (here, there) = (TestCgroup::new()?, TestCgroup::new()?);
        let run = |acceptor, worker| {
            let cgroups = Cgroups { acceptor, worker };
            accepted::run(networks, &kernel.program, cgroups)
        };
        let without = run(here.folder(), there.folder())?;
        let root = TestCgroup::new()?;
        let (workload, nested) = (root.child("workload")?, root.child("workload/nested")?);
        let unknown = root.child("unknown")?;
        let _datapath = escape::enforce(&root, Manner::default())?;
        let mut wrong = Vec::new();
        for (acceptor, worker, what) in [
            (workload.as_path(), workload.as_path(), "in the same workload"),
            (&workload, &nested, "in a cgroup below its workload"),
            (&workload, &unknown, "in a cgroup that is no workload's"),
            (here.folder(), &workload, "of an acceptor outside"),
        ] {
            let differ = differences(&without, &run(acceptor, worker)?);
            wrong.extend(differ.into_iter().map(|line| format!("worker {what}: {line}")));
        }
        ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
        Ok(Done::Passed(format!(
            "{} uses as without enforcement",
            without.len()
        )))
    })
}
