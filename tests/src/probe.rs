//! A process that opens sockets on demand from inside a cgroup.
//!
//! It reads a line, `tcp 192.0.2.1:80` or `udp [2001:db8::1]:53`, opens such a socket, and answers with a line: `ok`
//! or the number of the errno. A TCP port without listener answers ECONNREFUSED, which only a call that was let
//! through can return.

mod made;

use std::{
    fs,
    io::{self, BufRead as _, BufReader, Read as _, Write as _},
    net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket},
    os::{fd::OwnedFd, unix::net::UnixDatagram},
    path::Path,
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    sync::mpsc,
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, anyhow, bail};
use enforcer_common::Transport;
use nix::{
    sched::{CloneFlags, setns, unshare},
    sys::resource::{Resource, getrlimit, setrlimit},
};

use crate::fixture::{all_addresses_local, loopback_up};

/// Argument with which a test binary becomes a probe.
pub const ARGUMENT: &str = "probe";

/// In place of a cgroup: the one that it is started in.
pub const HERE: &str = "-";

/// Argument with which a test binary becomes a server that accepts and says nothing.
pub const ACCEPT: &str = "accept";

/// Argument with which a test binary becomes a server that accepts one connection and listens no more.
pub const ACCEPT_ONE: &str = "accept-one";

/// A running probe.
pub struct Probe {
    child: Child,
    requests: ChildStdin,
    answers: BufReader<ChildStdout>,
}

/// How a socket that is kept came to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// Its process has accepted it from itself, and then connected it.
    Accepted,
    /// Its local port is one on which the process listens as well (`SO_REUSEPORT`).
    BesideListener,
    /// The process has left for a network namespace of its own.
    Left,
    /// Nobody is in the socket's network namespace any more.
    Orphaned,
    /// The same, and only a later thread, with files of its own, has the socket.
    OrphanedInThread,
    /// The socket's network namespace is that of a later thread with files of its own.
    InThread,
    /// It is one of as many as [`MANY`], and there are as many other sockets.
    Many,
    /// As many threads as [`NETWORKS`] have network namespaces of their own.
    AmongNetworks,
}

/// What [`How::AmongNetworks`] are.
pub const NETWORKS: usize = 300;

/// What [`How::Many`] are.
pub const MANY: usize = 9_000;

/// What became of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The programs let it through; whether anybody was there does not matter.
    Through,
    /// It failed at once with this errno, which nothing on the way gives.
    Refused(i32),
}

impl Probe {
    /// Starts one in a cgroup and in this thread's network namespace.
    ///
    /// # Errors
    /// If it cannot be started, or cannot join.
    pub fn start(program: &Path, cgroup: &Path) -> Result<Self> {
        Self::behind(Command::new(program).arg(ARGUMENT).arg(cgroup))
    }

    /// Starts one by a command that puts it where it belongs, with [`HERE`] for its cgroup.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn behind(command: &mut Command) -> Result<Self> {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("starting {}", command.get_program().display()))?;
        let requests = child.stdin.take().context("a pipe was asked for")?;
        let answers = BufReader::new(child.stdout.take().context("a pipe was asked for")?);
        let mut probe = Self {
            child,
            requests,
            answers,
        };
        let ready = probe.answer()?;
        if ready != "ready" {
            bail!("the probe says {ready:?}");
        }
        Ok(probe)
    }

    /// Has it connect, and keep the socket.
    ///
    /// # Errors
    /// If it does not get there.
    pub fn hold(&mut self, transport: Transport, address: SocketAddr) -> Result<()> {
        let word = if transport == Transport::Tcp {
            "hold-tcp"
        } else {
            "hold-udp"
        };
        writeln!(self.requests, "{word} {address}").context("the probe has ended")?;
        let answer = self.answer()?;
        if answer != "ok" {
            bail!("{address}: {}", io::Error::from_raw_os_error(answer.parse()?));
        }
        Ok(())
    }

    /// Has it keep sockets that came to be in another way than by [`Probe::hold`].
    ///
    /// # Errors
    /// If it does not get there.
    pub fn hold_so(&mut self, how: How, address: SocketAddr) -> Result<()> {
        writeln!(self.requests, "hold-so {how:?} {address}").context("the probe has ended")?;
        let answer = self.answer()?;
        if answer != "ok" {
            bail!("{how:?} {address}: {answer}");
        }
        Ok(())
    }

    /// What reading from the socket that it keeps comes to within this time: an errno; None if nothing does.
    ///
    /// # Errors
    /// If it keeps none.
    pub fn held_errno(&mut self, within: Duration) -> Result<Option<i32>> {
        writeln!(self.requests, "held {}", within.as_millis()).context("the probe has ended")?;
        let errno = self.answer()?.parse().context("an errno")?;
        Ok((errno != libc::EAGAIN).then_some(errno))
    }

    /// Has it make so many connections, and keep them.
    ///
    /// # Errors
    /// If one of them does not get there.
    pub fn hold_many(&mut self, count: usize, address: SocketAddr) -> Result<()> {
        writeln!(self.requests, "hold-many {count} {address}").context("the probe has ended")?;
        let answer = self.answer()?;
        if answer != "ok" {
            bail!("{count} to {address}: {answer}");
        }
        Ok(())
    }

    /// Waits until each of these connections was ended.
    ///
    /// # Errors
    /// If one was not within this time.
    pub fn await_ends(&mut self, within: Duration) -> Result<()> {
        writeln!(self.requests, "all-ended {}", within.as_millis()).context("the probe has ended")?;
        let errno: i32 = self.answer()?.parse().context("an errno")?;
        if errno != libc::ECONNABORTED {
            bail!(
                "a connection was not ended: {}",
                io::Error::from_raw_os_error(errno)
            );
        }
        Ok(())
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Has it open a socket. A datagram is sent twice: from an unconnected socket and from a connected one; both
    /// must come to the same.
    ///
    /// # Errors
    /// If the probe has ended, or the outcome is neither of the two.
    pub fn call(&mut self, transport: Transport, address: SocketAddr) -> Result<Outcome> {
        let word = if transport == Transport::Tcp { "tcp" } else { "udp" };
        writeln!(self.requests, "{word} {address}").context("the probe has ended")?;
        let outcomes: Vec<_> = self.answer()?.split(' ').map(outcome).collect::<Result<_>>()?;
        match outcomes.as_slice() {
            [first, rest @ ..] if rest.iter().all(|other| other == first) => Ok(*first),
            differ => bail!("{word} {address}: the same destination comes to {differ:?}"),
        }
    }

    /// Whether a socket is refused with EPERM, whatever else becomes of it: no packet needs to find its way. A
    /// datagram is sent twice, as by [`Probe::call`].
    ///
    /// # Errors
    /// If the probe has ended, or one of the two datagrams is refused and the other is not.
    pub fn is_refused(&mut self, transport: Transport, address: SocketAddr) -> Result<bool> {
        let word = if transport == Transport::Tcp { "tcp" } else { "udp" };
        writeln!(self.requests, "{word} {address}").context("the probe has ended")?;
        let answer = self.answer()?;
        let refusal = libc::EPERM.to_string();
        let refused = answer.split(' ').filter(|word| **word == refusal).count();
        match (refused, answer.split(' ').count()) {
            (0, _) => Ok(false),
            (refused, all) if refused == all => Ok(true),
            _ => bail!("{word} {address}: the same destination comes to {answer}"),
        }
    }

    fn answer(&mut self) -> Result<String> {
        let mut line = String::new();
        self.answers.read_line(&mut line).context("the probe has ended")?;
        Ok(line.trim_end().to_owned())
    }
}

impl Drop for Probe {
    fn drop(&mut self) {
        if let Err(error) = self.child.kill().and_then(|()| self.child.wait().map(|_| ())) {
            eprintln!("the probe {} is still there: {error}", self.child.id());
        }
    }
}

fn outcome(word: &str) -> Result<Outcome> {
    if word == "ok" {
        return Ok(Outcome::Through);
    }
    Ok(
        match word.parse().with_context(|| format!("the probe says {word:?}"))? {
            libc::ECONNREFUSED => Outcome::Through,
            errno @ (libc::EPERM | libc::EACCES | libc::EHOSTUNREACH) => Outcome::Refused(errno),
            other => bail!("a socket failed with {}", io::Error::from_raw_os_error(other)),
        },
    )
}

/// The probe's own main: joins the cgroup, then does as it is told until its input ends.
///
/// # Errors
/// If the cgroup cannot be joined or the pipes break.
pub fn main(cgroup: &Path) -> Result<()> {
    if cgroup != Path::new(HERE) {
        fs::write(cgroup.join("cgroup.procs"), "0")
            .with_context(|| format!("joining {}", cgroup.display()))?;
    }
    let mut out = io::stdout();
    writeln!(out, "ready")?;
    let mut held = None;
    let mut aside = Vec::new();
    let mut many = Vec::new();
    for line in io::stdin().lock().lines() {
        let line = line?;
        let (request, argument) = line.split_once(' ').context("a request has two words")?;
        let answers = match request {
            "tcp" => vec![word(TcpStream::connect(argument).map(|_| ()))],
            "udp" => {
                let address = argument.parse()?;
                vec![word(send(address)), word(connect_and_send(address))]
            }
            "hold-tcp" => vec![word(
                TcpStream::connect(argument).map(|socket| held = Some(Held::Tcp(socket))),
            )],
            "hold-udp" => vec![word(
                connected(argument.parse()?).map(|socket| held = Some(Held::Udp(socket))),
            )],
            "hold-so" => {
                let (how, address) = argument.split_once(' ').context("two words")?;
                let how = How::ALL.into_iter().find(|it| format!("{it:?}") == how);
                vec![
                    match stay(how.context("no such way")?, address.parse()?, &mut aside) {
                        Ok(socket) => {
                            held = Some(socket);
                            "ok".to_owned()
                        }
                        Err(error) => format!("{error:#}"),
                    },
                ]
            }
            "hold-many" => {
                let (count, to) = argument.split_once(' ').context("two words")?;
                // Those that have ended take room among the open files.
                many = Vec::new();
                let made = made::many(count.parse()?, to.parse()?);
                vec![made.map_or_else(
                    |error| format!("{error:#}"),
                    |made| {
                        many = made;
                        "ok".to_owned()
                    },
                )]
            }
            "all-ended" => {
                let patience = Duration::from_millis(argument.parse()?);
                vec![made::all_ended(&many, patience)?.to_string()]
            }
            _ => {
                let patience = Duration::from_millis(argument.parse()?);
                vec![word(held.as_mut().context("no socket is kept")?.read(patience))]
            }
        };
        writeln!(out, "{}", answers.join(" "))?;
    }
    Ok(())
}

impl How {
    const ALL: [Self; 8] = [
        Self::Accepted,
        Self::BesideListener,
        Self::Left,
        Self::Orphaned,
        Self::OrphanedInThread,
        Self::InThread,
        Self::Many,
        Self::AmongNetworks,
    ];
}

/// Connects so. What else has to stay open is put aside.
fn stay(how: How, to: SocketAddr, aside: &mut Vec<OwnedFd>) -> Result<Held> {
    match how {
        How::Accepted => made::accepted(to).map(Held::Tcp),
        How::BesideListener => made::beside_listener(to, aside).map(Held::Tcp),
        How::Left => {
            let socket = TcpStream::connect(to)?;
            unshare(CloneFlags::CLONE_NEWNET)?;
            Ok(Held::Tcp(socket))
        }
        How::Orphaned => {
            let thread = thread::spawn(move || in_new_network(to));
            let (socket, server, listener) =
                thread.join().map_err(|_| anyhow!("the thread has panicked"))??;
            aside.extend([server.into(), listener.into()]);
            Ok(Held::Tcp(socket))
        }
        How::OrphanedInThread => watch(move || {
            unshare(CloneFlags::CLONE_FILES)?;
            let former = fs::File::open("/proc/thread-self/ns/net")?;
            let connection = in_new_network(to)?;
            setns(&former, CloneFlags::CLONE_NEWNET)?;
            Ok(connection)
        }),
        How::InThread => watch(move || {
            unshare(CloneFlags::CLONE_FILES)?;
            in_new_network(to)
        }),
        How::Many => {
            raise_files()?;
            for _ in 1..MANY {
                aside.push(TcpStream::connect(to)?.into());
                aside.push(UnixDatagram::unbound()?.into());
            }
            Ok(Held::Tcp(TcpStream::connect(to)?))
        }
        How::AmongNetworks => {
            for _ in 0..NETWORKS {
                let (left, has_left) = mpsc::channel();
                thread::spawn(move || {
                    if left.send(unshare(CloneFlags::CLONE_NEWNET)).is_ok() {
                        loop {
                            thread::park();
                        }
                    }
                });
                has_left.recv()??;
            }
            Ok(Held::Tcp(TcpStream::connect(to)?))
        }
    }
}

/// Both ends of a connection in a network of this thread's own, and who has accepted it.
type Connection = (TcpStream, TcpStream, TcpListener);

fn in_new_network(to: SocketAddr) -> Result<Connection> {
    unshare(CloneFlags::CLONE_NEWNET)?;
    loopback_up()?;
    all_addresses_local()?;
    let listener = TcpListener::bind(to)?;
    let connection = TcpStream::connect(to)?;
    let (accepted, _) = listener.accept()?;
    Ok((connection, accepted, listener))
}

/// A connection that a thread makes and keeps for itself.
fn watch(make: impl FnOnce() -> Result<Connection> + Send + 'static) -> Result<Held> {
    let (made, is_made) = mpsc::channel();
    let (ended, end) = mpsc::channel();
    thread::spawn(move || {
        let outcome = make();
        let (mut socket, _server, _listener) = match outcome {
            Ok(connection) => connection,
            Err(error) => return made.send(Err(error)).is_ok(),
        };
        let is_awaited = made.send(Ok(())).is_ok();
        let read = socket.read(&mut [0]);
        let errno = read.err().and_then(|error| error.raw_os_error());
        is_awaited && ended.send(errno.unwrap_or_default()).is_ok()
    });
    is_made.recv()??;
    Ok(Held::Watched(end))
}

/// Lets this process have as many files as it may.
fn raise_files() -> Result<()> {
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE)?;
    Ok(setrlimit(Resource::RLIMIT_NOFILE, most, most)?)
}

/// The silent server's main.
///
/// # Errors
/// If the cgroup cannot be joined, or the address is taken.
pub fn accept(cgroup: &Path, address: &str) -> Result<()> {
    join(cgroup)?;
    raise_files()?;
    let listener = TcpListener::bind(address)?;
    let mut kept = Vec::new();
    loop {
        kept.push(listener.accept()?);
    }
}

/// The same of one that accepts one connection, and keeps it without listening any more.
///
/// # Errors
/// If the cgroup cannot be joined, or the address is taken.
pub fn accept_one(cgroup: &Path, address: &str) -> Result<()> {
    join(cgroup)?;
    let _accepted = TcpListener::bind(address)?.accept()?;
    loop {
        thread::park();
    }
}

fn join(cgroup: &Path) -> Result<()> {
    fs::write(cgroup.join("cgroup.procs"), "0").with_context(|| format!("joining {}", cgroup.display()))
}

fn send(to: SocketAddr) -> io::Result<()> {
    unbound(to)?.send_to(b"probe", to).map(|_| ())
}

fn connect_and_send(to: SocketAddr) -> io::Result<()> {
    connected(to)?.send(b"probe").map(|_| ())
}

fn connected(to: SocketAddr) -> io::Result<UdpSocket> {
    let socket = unbound(to)?;
    socket.connect(to)?;
    Ok(socket)
}

/// A socket that is kept.
enum Held {
    Tcp(TcpStream),
    Udp(UdpSocket),
    /// A thread has it, and says by which errno it has ended.
    Watched(mpsc::Receiver<i32>),
}

impl Held {
    fn read(&mut self, patience: Duration) -> io::Result<()> {
        match self {
            Self::Tcp(socket) => {
                socket.set_read_timeout(Some(patience))?;
                socket.read(&mut [0]).map(|_| ())
            }
            Self::Udp(socket) => {
                socket.set_read_timeout(Some(patience))?;
                socket.recv(&mut [0]).map(|_| ())
            }
            Self::Watched(end) => {
                let errno = end.recv_timeout(patience).unwrap_or(libc::EAGAIN);
                Err(io::Error::from_raw_os_error(errno))
            }
        }
    }
}

fn unbound(to: SocketAddr) -> io::Result<UdpSocket> {
    match to {
        SocketAddr::V4(_) => UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)),
        SocketAddr::V6(_) => UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 0)),
    }
}

fn word(result: io::Result<()>) -> String {
    match result {
        Ok(()) => "ok".to_owned(),
        Err(error) => error.raw_os_error().unwrap_or_default().to_string(),
    }
}
