//! The network namespaces of sockets that a workload's threads have open and that are in no list.
//!
//! ```text
//! /proc/<thread>/fd -> inodes that no list had -> pidfd_getfd -> SIOCGSKNS -> a namespace that is to be listed
//! ```
//!
//! **Architecture Invariant:** a copied descriptor of a socket is not closed here. The workload may have closed its
//! own meanwhile, and the last close waits as long as the workload has asked for (`SO_LINGER`).

use std::{
    collections::{BTreeSet, VecDeque},
    fs::{self, ReadDir},
    io,
    os::fd::OwnedFd,
    path::PathBuf,
    sync::Barrier,
    thread,
    time::Instant,
};

use nix::sched::{CloneFlags, unshare};

use super::{
    inodes::Inodes,
    network::{Network, NetworkId},
    subtree::there,
    sys,
};

/// The most sockets that are open here at a time.
const MOST_AT_ONCE: usize = 64;

/// A look at the open files of threads.
#[derive(Default)]
pub(super) struct Held {
    threads: VecDeque<u32>,
    table: Option<Table>,
    /// The number of sockets whose namespace could not be found, and the first reason.
    pub(super) hidden: u64,
    pub(super) why: Option<io::Error>,
}

/// The open files of one thread.
struct Table {
    process: OwnedFd,
    entries: ReadDir,
}

impl Held {
    pub(super) fn by(threads: impl IntoIterator<Item = u32>) -> Self {
        Self {
            threads: threads.into_iter().collect(),
            ..Self::default()
        }
    }

    /// Continues until a deadline. Returns namespaces that are not in `known`, and whether the look is done.
    pub(super) fn advance(
        &mut self,
        inodes: &Inodes,
        known: &BTreeSet<NetworkId>,
        until: Instant,
    ) -> (Vec<Network>, bool) {
        let mut networks: Vec<Network> = Vec::new();
        let mut sockets = Vec::new();
        let mut is_over = false;
        while Instant::now() < until && sockets.len() < MOST_AT_ONCE && !is_over {
            let Some(table) = &mut self.table else {
                match self.threads.pop_front().map(Table::open) {
                    Some(Ok(table)) => self.table = table,
                    Some(Err(error)) => self.miss(error),
                    None => is_over = true,
                }
                continue;
            };
            match table.next(inodes) {
                Some(Ok(Some(socket))) => {
                    match sys::network(&socket).and_then(Network::try_from) {
                        Ok(network) => {
                            let is_seen = networks.iter().any(|seen| seen.id == network.id);
                            if !is_seen && !known.contains(&network.id) {
                                networks.push(network);
                            }
                        }
                        Err(error) => self.miss(error),
                    }
                    sockets.push(socket);
                }
                Some(Ok(None)) => {}
                Some(Err(error)) => self.miss(error),
                None => self.table = None,
            }
        }
        let_go(sockets);
        (networks, is_over)
    }

    fn miss(&mut self, error: io::Error) {
        self.hidden += 1;
        self.why.get_or_insert(error);
    }
}

impl Table {
    /// None for a thread that is gone, or that shares its file table with the first thread of its process.
    fn open(thread: u32) -> io::Result<Option<Self>> {
        let Some(status) = there(fs::read_to_string(format!("/proc/{thread}/status")))? else {
            return Ok(None);
        };
        let process = status.lines().find_map(|line| line.strip_prefix("Tgid:"));
        let process = process.and_then(|process| process.trim().parse::<u32>().ok());
        let is_later = process != Some(thread);
        // A kernel without kcmp(2) cannot compare: file tables of their own are rare among threads.
        if let Some(process) = process.filter(|_| is_later)
            && sys::share_files(thread, process).unwrap_or(true)
        {
            return Ok(None);
        }
        let Some(entries) = there(fs::read_dir(format!("/proc/{thread}/fd")))? else {
            return Ok(None);
        };
        let process = there(sys::open_pid(thread, is_later))?;
        Ok(process.map(|process| Self { process, entries }))
    }

    /// Copies the descriptor of the next file if it is a socket whose inode is not in `inodes`; None at the end.
    fn next(&mut self, inodes: &Inodes) -> Option<io::Result<Option<OwnedFd>>> {
        let path = match self.entries.next()? {
            Ok(entry) => entry.path(),
            Err(error) => return there::<()>(Err(error)).err().map(Err),
        };
        if is_listed(&path, inodes) {
            return Some(Ok(None));
        }
        let name = path.file_name().and_then(|name| name.to_str());
        let descriptor = name.and_then(|name| name.parse().ok())?;
        Some(match sys::copy(&self.process, descriptor) {
            // It was closed meanwhile.
            Err(error) if error.raw_os_error() == Some(libc::EBADF) => Ok(None),
            copy => there(copy),
        })
    }
}

/// Whether a file is no socket, or one that a list had.
fn is_listed(path: &PathBuf, inodes: &Inodes) -> bool {
    let target = fs::read_link(path).unwrap_or_default();
    let inode = target.to_str().and_then(|target| {
        let inode = target.strip_prefix("socket:[")?.strip_suffix(']')?;
        inode.parse::<u64>().ok()
    });
    inode.is_none_or(|inode| u32::try_from(inode).is_ok_and(|inode| inodes.contains(inode)))
}

/// Closes sockets without waiting for `SO_LINGER`: a thread with a copy of all descriptors ends, which closes them
/// without waiting (`PF_EXITING` in `inet_release`).
fn let_go(sockets: Vec<OwnedFd>) {
    if sockets.is_empty() {
        return;
    }
    let steps = Barrier::new(2);
    thread::scope(|scope| {
        let copies = scope.spawn(|| {
            let copied = unshare(CloneFlags::CLONE_FILES);
            steps.wait();
            steps.wait();
            copied
        });
        steps.wait();
        drop(sockets);
        steps.wait();
        match copies.join() {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::debug!("sockets were closed at once: {error}"),
            Err(panic) => std::panic::resume_unwind(panic),
        }
    });
}

#[cfg(test)]
mod tests {
    use std::{
        io::Write as _,
        net::{TcpListener, TcpStream},
        time::Duration,
    };

    use nix::sys::socket::{setsockopt, sockopt};

    use super::*;

    /// A connection with more to send than its peer takes, whose last `close` waits for that.
    fn lingering() -> (TcpStream, TcpListener) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut socket = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let linger = libc::linger {
            l_onoff: 1,
            l_linger: 3,
        };
        setsockopt(&socket, sockopt::Linger, &linger).unwrap();
        socket.set_nonblocking(true).unwrap();
        while socket.write(&[0; 65_536]).is_ok() {}
        (socket, listener)
    }

    #[test]
    fn giving_a_socket_back_waits_for_nothing() {
        let took = |end: fn(OwnedFd)| {
            let (socket, _listener) = lingering();
            let start = Instant::now();
            end(socket.into());
            start.elapsed()
        };
        let (closed, given_back) = (took(drop), took(|socket| let_go(vec![socket])));
        assert!(closed > Duration::from_secs(2), "it does not linger: {closed:?}");
        assert!(given_back < Duration::from_secs(1), "{given_back:?}");
    }

    #[test]
    fn namespace_of_an_unlisted_socket_is_found_unless_it_is_known() {
        let _socket = TcpListener::bind("127.0.0.1:0").unwrap();
        let own = Network::id("/proc/self/ns/net".as_ref()).unwrap();
        let search = |inodes: &Inodes, known: &BTreeSet<NetworkId>| {
            let mut held = Held::by([std::process::id()]);
            let mut found = BTreeSet::new();
            loop {
                let until = Instant::now() + Duration::from_millis(20);
                let (networks, is_over) = held.advance(inodes, known, until);
                found.extend(networks.into_iter().map(|network| network.id));
                if is_over {
                    return found;
                }
            }
        };
        assert!(search(&Inodes::default(), &BTreeSet::new()).contains(&own));
        assert!(!search(&Inodes::default(), &[own].into()).contains(&own));
    }
}
