//! The two processes that carry sequences out: one inside the enforced cgroup, and one outside that lends sockets to
//! it. Both make the same sequences from the same seeds, and nothing of them waits.
//!
//! `jobs on standard input: FIRST COUNT MASK` -> `what has to have arrived, in lines; "done"`

use std::{
    io::{self, BufRead as _, Write as _},
    os::{
        fd::{AsRawFd as _, OwnedFd},
        linux::net::SocketAddrExt as _,
        unix::net::{SocketAddr as UnixName, UnixDatagram},
    },
};

use anyhow::{Context as _, Result, bail};
use nix::sys::socket::{ControlMessage, ControlMessageOwned, MsgFlags, UnixAddr, recvmsg, sendmsg};

use super::{
    Features,
    calls::{self, Holder},
    frame, random,
    step::{SLOTS, Step},
};
use crate::escape::{Privileges, sys};

/// Which of the two.
pub(super) const INSIDE: &str = "inside";
pub(super) const OUTSIDE: &str = "outside";

/// `generator ROLE NAME CGROUP PRIVILEGES LSM`.
pub(super) fn main(words: &[String]) -> Result<()> {
    let [role, name, cgroup, privileges, lsm] = words else {
        bail!("usage: generator ROLE NAME CGROUP PRIVILEGES LSM");
    };
    let features = Features {
        has_lsm: lsm == "lsm",
    };
    let privileges = Privileges::from_word(privileges).context("no such privileges")?;
    let name = UnixName::from_abstract_name(name)?;
    if role == OUTSIDE {
        let hand = UnixDatagram::unbound()?;
        hand.connect_addr(&name)?;
        writeln!(io::stdout(), "ready")?;
        return jobs(|seed, mask| lend(&hand, seed, mask, features));
    }
    let hand = UnixDatagram::bind_addr(&name)?;
    std::fs::write(std::path::Path::new(cgroup).join("cgroup.procs"), "0").context("joining the cgroup")?;
    privileges.take()?;
    writeln!(io::stdout(), "ready")?;
    jobs(|seed, mask| carry_out(&hand, seed, mask, features))
}

/// Every job, and after it its last line.
fn jobs(mut sequence: impl FnMut(u64, u64) -> Result<Vec<String>>) -> Result<()> {
    for line in io::stdin().lock().lines() {
        let line = line?;
        let numbers: Vec<u64> = line.split(' ').map(str::parse).collect::<Result<_, _>>()?;
        let [first, stride, count, mask] = numbers.as_slice() else {
            bail!("a job has four numbers");
        };
        let mut told = Vec::new();
        for number in 0..*count {
            told.extend(sequence(first + number * stride, *mask)?);
        }
        told.push("done\n".to_owned());
        io::stdout().write_all(told.concat().as_bytes())?;
        io::stdout().flush()?;
    }
    Ok(())
}

/// Prepares sockets and hands them in, with the numbers of their slots.
fn lend(hand: &UnixDatagram, seed: u64, mask: u64, features: Features) -> Result<Vec<String>> {
    let sequence = random::sequence(seed, features).masked(mask);
    if sequence.outside.is_empty() {
        return Ok(Vec::new());
    }
    let mut holder = Holder::default();
    for (number, step) in sequence.outside.iter().enumerate() {
        // Other sockets hold nothing back.
        if let Step::Send { slot, .. } = step
            && !holder.get(*slot).is_some_and(sys::is_udp)
        {
            continue;
        }
        holder.take(step, &frame::token(seed, 100 + number));
    }
    let lent: Vec<_> = (0..SLOTS)
        .filter_map(|slot| Some((slot, holder.get(slot)?.as_raw_fd())))
        .collect();
    let mut numbers: Vec<u8> = lent.iter().map(|(slot, _)| *slot).collect();
    // A message is never empty.
    numbers.push(SLOTS);
    let fds: Vec<_> = lent.iter().map(|(_, fd)| *fd).collect();
    let rights = [ControlMessage::ScmRights(&fds)];
    let control = if fds.is_empty() { &[][..] } else { &rights };
    let data = [io::IoSlice::new(&numbers)];
    sendmsg::<UnixAddr>(hand.as_raw_fd(), &data, control, MsgFlags::empty(), None)?;
    Ok(Vec::new())
}

fn receive(hand: &UnixDatagram, holder: &mut Holder) -> Result<()> {
    let mut numbers = [0; SLOTS as usize + 1];
    let mut data = [io::IoSliceMut::new(&mut numbers)];
    let mut space = nix::cmsg_space!([i32; SLOTS as usize]);
    let message = recvmsg::<UnixAddr>(hand.as_raw_fd(), &mut data, Some(&mut space), MsgFlags::empty())?;
    let mut sockets: Vec<OwnedFd> = Vec::new();
    for control in message.cmsgs()? {
        if let ControlMessageOwned::ScmRights(fds) = control {
            for fd in fds {
                sockets.push(sys::own(fd)?);
            }
        }
    }
    for (slot, socket) in numbers.into_iter().zip(sockets) {
        holder.put(slot, Some(socket));
    }
    Ok(())
}

/// Carries the inside of a sequence out, and says what has to have come of its plain calls.
fn carry_out(hand: &UnixDatagram, seed: u64, mask: u64, features: Features) -> Result<Vec<String>> {
    let sequence = random::sequence(seed, features).masked(mask);
    let mut holder = Holder::default();
    if !sequence.outside.is_empty() {
        receive(hand, &mut holder)?;
    }
    let mut told = Vec::new();
    for (number, step) in sequence.inside.iter().enumerate() {
        let token = frame::token(seed, number);
        if let Step::Plain { is_v6, by } = step {
            told.push(match calls::plain(*is_v6, *by, &token) {
                Ok(calls::Sent::Token) => format!("token {seed} {}\n", String::from_utf8_lossy(&token)),
                Ok(calls::Sent::From(port)) => format!("from {seed} {port}\n"),
                Err(error) => format!("failed {seed} {by:?}: {error}\n"),
            });
        } else {
            holder.take(step, &token);
        }
    }
    Ok(told)
}
