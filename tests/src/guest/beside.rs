//! Two enforcers in one kernel, each with all of its programs: neither lets out what the other keeps in, and neither
//! keeps in what the other, or nobody, lets out.

use std::{
    fs, io,
    os::fd::{AsRawFd as _, OwnedFd},
    path::Path,
};

use anyhow::{Context as _, Result, ensure};
use enforcer::datapath::CgroupMount;
use enforcer_core::settings::Matching;
use nix::{
    errno::Errno,
    sys::socket::{AddressFamily, SockFlag, SockType, SockaddrIn, connect, socket},
};

use super::{kernel::Kernel, report::Done};
use crate::{
    beside::{PORT, Pair, REGISTERED, WORKLOAD},
    daemon::wait,
    escape::{self, Manner, Neighbour, Outcome},
    fixture::in_own_network,
};

/// All of it. Before 6.1 there are no programs that run for every task.
pub(super) fn beside(kernel: &Kernel) -> Result<Done> {
    let mut rows = 0;
    in_own_network(|| {
        let mut pair = Pair::new(&kernel.program)?;
        for matching in [Matching::Declared, Matching::Istio] {
            rows += pair.every_row(matching)?;
        }
        rows += pair.opposites()?;
        if !kernel.is_before(6, 1) {
            for socket in Origin::ALL {
                from(socket, &pair).with_context(|| format!("a socket from {socket:?}"))?;
            }
            alone(pair)?;
        }
        Ok(())
    })?;
    let mut escapes = 0;
    for neighbour in [Neighbour::Earlier, Neighbour::Later] {
        escapes += closed(kernel, neighbour)?;
    }
    Ok(Done::Passed(format!(
        "{rows} rows, {escapes} escapes beside a neighbour"
    )))
}

/// Where a socket is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Origin {
    Outside,
    First,
    Second,
}

impl Origin {
    const ALL: [Self; 3] = [Self::Outside, Self::First, Self::Second];
}

/// Makes sockets in one place, and uses them in each. A socket has the programs of the cgroup in which it was made;
/// they know no other tasks than those of their own enforcer's workloads, and refuse the others as unknown ones.
fn from(origin: Origin, pair: &Pair) -> Result<()> {
    for user in Origin::ALL {
        for (number, address) in REGISTERED.into_iter().enumerate() {
            let outcome = by(pair, origin, user, address)?;
            let is_registered = match user {
                Origin::Outside => true,
                Origin::First => number == 0,
                Origin::Second => number == 1,
            };
            let is_at_home = origin == user || origin == Origin::Outside;
            let expected = if is_registered && is_at_home {
                // Nobody listens.
                Errno::ECONNREFUSED
            } else {
                Errno::EPERM
            };
            ensure!(
                outcome == expected,
                "used {user:?} for {address}: {outcome}, not {expected}"
            );
        }
        // Of a kind that is refused to whoever is enforced, and to nobody else.
        let packet = in_cgroup(&folder(pair, user)?, || Ok(packet()))?;
        let expected = if user == Origin::Outside {
            None
        } else {
            Some(Errno::EPERM)
        };
        ensure!(packet == expected, "a packet socket made {user:?}: {packet:?}");
    }
    Ok(())
}

/// What becomes of a connect from `user` by a socket from `origin`.
fn by(pair: &Pair, origin: Origin, user: Origin, address: &str) -> Result<Errno> {
    let socket = in_cgroup(&folder(pair, origin)?, stream)?;
    in_cgroup(&folder(pair, user)?, || call(&socket, address))
}

/// Once the second enforcer has ended, its former workloads are free, and those of the first are not.
fn alone(pair: Pair) -> Result<()> {
    let (first, second) = (folder(&pair, Origin::First)?, folder(&pair, Origin::Second)?);
    let Pair {
        first: left,
        second: ended,
    } = pair;
    let ended = ended.end();
    // The kernel detaches some time after the last descriptor is closed.
    wait("the end of the second enforcer's programs", || {
        in_cgroup(&second, || Ok(packet().is_none()))
    })?;
    for address in REGISTERED {
        wait("a connect that nobody judges", || {
            let outcome = in_cgroup(&second, || call(&stream()?, address))?;
            Ok(outcome == Errno::ECONNREFUSED)
        })?;
    }
    ensure!(in_cgroup(&first, || Ok(packet()))? == Some(Errno::EPERM));
    let refused = in_cgroup(&first, || call(&stream()?, REGISTERED[1]))?;
    ensure!(refused == Errno::EPERM, "of the first: {refused}");
    drop((left, ended));
    Ok(())
}

/// What BPF LSM closes is closed beside a neighbour that allows its own workloads everything; what has to work works.
fn closed(kernel: &Kernel, neighbour: Neighbour) -> Result<usize> {
    let manner = Manner {
        only: Some(escape::is_for_lsm),
        neighbour: Some(neighbour),
        ..Manner::default()
    };
    let report = escape::run(&kernel.program, manner)?;
    let mut wrong = Vec::new();
    for row in &report.rows {
        match &row.outcome {
            Outcome::Refused(_) | Outcome::Dropped | Outcome::Works | Outcome::Unavailable(_) => {}
            Outcome::Open(_) if kernel.is_before(6, 1) => {}
            Outcome::Open(why) | Outcome::Wrong(why) => wrong.push(format!("{}: {why}", row.escape)),
        }
    }
    ensure!(wrong.is_empty(), "{neighbour:?}: {}", wrong.join("\n"));
    Ok(report.count(Outcome::is_closed))
}

fn folder(pair: &Pair, of: Origin) -> Result<std::path::PathBuf> {
    match of {
        Origin::Outside => Ok(CgroupMount::find()?.path().to_owned()),
        Origin::First => pair.first.workload(WORKLOAD),
        Origin::Second => pair.second.workload(WORKLOAD),
    }
}

/// Does something as a process of a cgroup, and goes back to the hierarchy's root.
fn in_cgroup<T>(folder: &Path, work: impl FnOnce() -> Result<T>) -> Result<T> {
    let home = CgroupMount::find()?.path().join("cgroup.procs");
    fs::write(folder.join("cgroup.procs"), "0").with_context(|| format!("joining {}", folder.display()))?;
    let done = work();
    fs::write(&home, "0").context("leaving the cgroup")?;
    done
}

fn stream() -> Result<OwnedFd> {
    let kind = (AddressFamily::Inet, SockType::Stream);
    socket(kind.0, kind.1, SockFlag::SOCK_CLOEXEC, None).context("making a socket")
}

/// Why a packet socket cannot be made, if it cannot.
fn packet() -> Option<Errno> {
    socket(AddressFamily::Packet, SockType::Raw, SockFlag::SOCK_CLOEXEC, None).err()
}

/// The errno of a connect to where nobody listens.
fn call(socket: &OwnedFd, address: &str) -> Result<Errno> {
    let address: std::net::Ipv4Addr = address.parse().map_err(io::Error::other)?;
    let [a, b, c, d] = address.octets();
    let outcome = connect(socket.as_raw_fd(), &SockaddrIn::new(a, b, c, d, PORT));
    outcome.err().context("somebody listens")
}
