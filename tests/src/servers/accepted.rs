//! An accepted connection, used in every way: with enforcement each comes to what it comes to without.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, IoSlice, Read as _, Seek as _, Write as _},
    net::{Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream},
    os::{
        fd::{AsFd as _, OwnedFd},
        unix::net::UnixStream,
    },
    path::Path,
    process::Stdio,
};

use anyhow::{Context as _, Result};
use nix::{
    fcntl::{SpliceFFlags, splice},
    libc,
    sys::{
        sendfile::sendfile,
        socket::{setsockopt, sockopt},
    },
    unistd::pipe,
};

use super::{
    networks::{Networks, SERVER4, SERVER6},
    process::{self, Process, address, command, hand_over, say, take_over, word},
    sys,
};

/// A way to use a connection: itself, and whom it is with.
type Use = fn(&TcpStream, SocketAddr) -> io::Result<()>;

/// Where the processes of a run are.
#[derive(Clone, Copy, Debug)]
pub struct Cgroups<'a> {
    /// Who accepts.
    pub acceptor: &'a Path,
    /// Whom accepted connections are handed to.
    pub worker: &'a Path,
}

/// What each use came to: the word for its result, and what the client received.
pub type Results = BTreeMap<String, (String, Vec<u8>)>;

const ANSWER: &[u8] = b"an answer";

/// An address that nobody has registered: a range for documentation.
const STRANGER: &str = "192.0.2.1:80";
/// One of IPv6.
const STRANGER6: &str = "[2001:db8::1]:80";

/// Every use.
static USES: &[(&str, Use)] = &[
    ("write", |mut stream, _| stream.write_all(ANSWER)),
    ("send", |stream, _| sys::sendto(stream, ANSWER, 0, &[])),
    ("sendto its client", |stream, client| {
        sys::sendto(stream, ANSWER, 0, &sys::name(client))
    }),
    ("sendto its own address", |stream, _| {
        sys::sendto(stream, ANSWER, 0, &sys::name(stream.local_addr()?))
    }),
    ("sendto a stranger", |stream, _| {
        sys::sendto(stream, ANSWER, 0, &named(STRANGER)?)
    }),
    ("sendto a stranger, ipv6", |stream, _| {
        sys::sendto(stream, ANSWER, 0, &named(STRANGER6)?)
    }),
    ("sendto a name of no family", |stream, _| {
        sys::sendto(stream, ANSWER, 0, &[0; 16])
    }),
    ("sendto a name of nonsense", |stream, _| {
        sys::sendto(stream, ANSWER, 0, &[99; 128])
    }),
    ("sendto a name of one byte", |stream, _| {
        sys::sendto(stream, ANSWER, 0, &[2])
    }),
    ("sendto a name that is too long", |stream, _| {
        sys::sendto(stream, ANSWER, 0, &[2; 129])
    }),
    ("sendmsg", |stream, _| sys::sendmsg(stream, ANSWER, 0, &[])),
    ("sendmsg to its client", |stream, client| {
        sys::sendmsg(stream, ANSWER, 0, &sys::name(client))
    }),
    ("sendmsg to a stranger", |stream, _| {
        sys::sendmsg(stream, ANSWER, 0, &named(STRANGER)?)
    }),
    ("sendmmsg to its client", |stream, client| {
        sys::sendmmsg(stream, ANSWER, &sys::name(client))
    }),
    ("fast open to its client", |stream, client| {
        sys::sendto(stream, ANSWER, libc::MSG_FASTOPEN, &sys::name(client))
    }),
    ("fast open to a stranger", |stream, _| {
        sys::sendto(stream, ANSWER, libc::MSG_FASTOPEN, &named(STRANGER)?)
    }),
    ("fast open to nobody", |stream, _| {
        sys::sendto(stream, ANSWER, libc::MSG_FASTOPEN, &[])
    }),
    ("sendto its client in two pieces", |stream, client| {
        sys::sendto(stream, ANSWER, libc::MSG_MORE, &sys::name(client))?;
        sys::sendto(stream, ANSWER, 0, &sys::name(client))
    }),
    ("sendto its client, with zero copies", |stream, client| {
        setsockopt(
            stream,
            sockopt::Linger,
            &libc::linger {
                l_onoff: 0,
                l_linger: 0,
            },
        )?;
        sys::sendto(stream, ANSWER, libc::MSG_ZEROCOPY, &sys::name(client))
    }),
    ("out of band", |stream, client| {
        sys::sendto(stream, ANSWER, libc::MSG_OOB, &sys::name(client))
    }),
    ("connect to its client", |stream, client| {
        sys::connect(stream, &sys::name(client))
    }),
    ("connect to a stranger", |stream, _| {
        sys::connect(stream, &named(STRANGER)?)
    }),
    ("connect to nobody", |stream, _| sys::connect(stream, &[0; 16])),
    ("sendto its client after the end", |stream, client| {
        stream.shutdown(Shutdown::Write)?;
        sys::sendto(stream, ANSWER, libc::MSG_NOSIGNAL, &sys::name(client))
    }),
    ("writev", |mut stream, _| {
        stream
            .write_vectored(&[IoSlice::new(ANSWER), IoSlice::new(ANSWER)])
            .map(|_| ())
    }),
    ("with the options of servers", |stream, client| {
        stream.set_nodelay(true)?;
        setsockopt(stream, sockopt::KeepAlive, &true)?;
        setsockopt(stream, sockopt::TcpUserTimeout, &1000)?;
        setsockopt(stream, sockopt::SndBuf, &65536)?;
        sys::sendto(stream, ANSWER, 0, &sys::name(client))
    }),
    ("sendfile", |stream, _| {
        let mut file = tempfile()?;
        file.write_all(ANSWER)?;
        file.rewind()?;
        sendfile(stream, &file, None, ANSWER.len())?;
        Ok(())
    }),
    ("splice", |stream, _| {
        let (out, into) = pipe()?;
        File::from(into).write_all(ANSWER)?;
        splice(&out, None, stream, None, ANSWER.len(), SpliceFFlags::empty())?;
        Ok(())
    }),
    ("send by io_uring", |stream, _| sys::send_by_ring(stream, ANSWER)),
    ("write by io_uring", |stream, _| {
        sys::write_by_ring(stream, ANSWER)
    }),
    ("sendmsg by io_uring", |stream, _| {
        sys::sendmsg_by_ring(stream, ANSWER, &[])
    }),
    ("sendmsg to its client by io_uring", |stream, client| {
        sys::sendmsg_by_ring(stream, ANSWER, &sys::name(client))
    }),
];

/// Has a client ask for each use, of a connection of each family, by the process that accepts and by a worker.
///
/// # Errors
/// If a process cannot be started. What a use comes to is a result.
pub fn run(networks: &Networks, program: &Path, cgroups: Cgroups<'_>) -> Result<Results> {
    let mut results = Results::new();
    let any: SocketAddr = (Ipv6Addr::UNSPECIFIED, 0).into();
    for (family, listens, asked) in [
        ("ipv4", (SERVER4, 0).into(), SERVER4.into()),
        ("ipv6", (SERVER6, 0).into(), SERVER6.into()),
        ("ipv4 on an ipv6 socket", any, SERVER4.into()),
    ] {
        let listens: SocketAddr = listens;
        let worker = cgroups.worker.display().to_string();
        let words = ["accepted", &listens.to_string(), &worker];
        let mut server = Process::start(program, cgroups.acceptor, &words)?;
        let bound = address(Some(server.greeting.as_str()))?;
        for (name, _) in USES {
            for who in ["acceptor", WORKER] {
                let mut client = networks.connect(SocketAddr::new(asked, bound.port()))?;
                client.write_all(format!("{who} {name}\n").as_bytes())?;
                let outcome = server.line()?;
                let mut received = Vec::new();
                // A connection that is taken apart may end with an error, which is a result like another.
                if let Err(error) = client.read_to_end(&mut received) {
                    received.extend(word(&Err(error)).as_bytes());
                }
                results.insert(format!("{family}, {who}: {name}"), (outcome, received));
            }
        }
    }
    Ok(results)
}

/// What differs between two runs, a line each; of many no more than the first are told.
pub fn differences(without: &Results, with: &Results) -> Vec<String> {
    fn text(result: Option<&(String, Vec<u8>)>) -> String {
        result.map_or("nothing".to_owned(), |(word, received)| {
            format!("{word} ({} bytes received)", received.len())
        })
    }
    let differ = without
        .iter()
        .filter(|(name, result)| with.get(*name) != Some(*result));
    let mut lines: Vec<_> = differ
        .map(|(name, result)| {
            let (without, with) = (text(Some(result)), text(with.get(name)));
            format!("{name}: {without}, under enforcement {with}")
        })
        .collect();
    let more = lines.len().saturating_sub(TOLD);
    lines.truncate(TOLD);
    if more > 0 {
        lines.push(format!("and {more} more"));
    }
    lines
}

/// How many differences are told in full.
const TOLD: usize = 20;

const WORKER: &str = "worker";

/// The accepting server's main: `CGROUP ADDRESS WORKER-CGROUP`; as a worker it has a socket as its standard input.
pub(super) fn main(program: &Path, cgroup: &Path, words: &[String]) -> Result<()> {
    process::join(cgroup)?;
    let [listens, worker] = words else {
        return Ok(work()?);
    };
    let (here, there) = UnixStream::pair()?;
    let _worker = command(program, Path::new(worker), &["accepted"])
        .stdin(Stdio::from(OwnedFd::from(there)))
        .spawn()?;
    let listener = TcpListener::bind(address(Some(listens))?)?;
    say(&listener.local_addr()?.to_string())?;
    for stream in listener.incoming() {
        let stream = stream?;
        let request = request(&stream)?;
        let (who, name) = request.split_once(' ').context("a request has two words")?;
        if who == WORKER {
            hand_over(&here, &stream, name)?;
            drop(stream);
            // The worker has said what it came to.
            (&here).read_exact(&mut [0])?;
        } else {
            say(&word(&apply(&stream, name)))?;
        }
    }
    Ok(())
}

/// The worker's main.
fn work() -> io::Result<()> {
    let from = UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
    while let Some((socket, name)) = take_over(&from)? {
        say(&word(&apply(&TcpStream::from(socket), &name)))?;
        (&from).write_all(b".")?;
    }
    Ok(())
}

fn apply(stream: &TcpStream, name: &str) -> io::Result<()> {
    let (_, apply) = USES
        .iter()
        .find(|(other, _)| *other == name)
        .ok_or_else(|| io::Error::other("no such use"))?;
    apply(stream, stream.peer_addr()?)
}

/// The client's line; nothing follows it.
fn request(mut stream: &TcpStream) -> io::Result<String> {
    let mut line = Vec::new();
    while line.last() != Some(&b'\n') {
        let mut byte = [0];
        stream.read_exact(&mut byte)?;
        line.push(byte[0]);
    }
    Ok(String::from_utf8_lossy(&line).trim_end().to_owned())
}

fn named(text: &str) -> io::Result<Vec<u8>> {
    Ok(sys::name(text.parse().map_err(io::Error::other)?))
}

/// A file without a name, in memory: a kernel's only program has no other.
fn tempfile() -> io::Result<File> {
    let fd = nix::sys::memfd::memfd_create("answer", nix::sys::memfd::MFdFlags::empty())?;
    Ok(File::from(fd))
}
