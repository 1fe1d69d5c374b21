//! A process that opens sockets on demand from inside a cgroup.
//!
//! It reads a line, `tcp 192.0.2.1:80` or `udp [2001:db8::1]:53`, opens such a socket, and answers with a line: `ok`
//! or the number of the errno. A TCP port without listener answers ECONNREFUSED, which only a call that was let
//! through can return.

use std::{
    fs,
    io::{self, BufRead as _, BufReader, Read as _, Write as _},
    net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket},
    path::Path,
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use enforcer_common::Transport;

/// Argument with which a test binary becomes a probe.
pub const ARGUMENT: &str = "probe";

/// In place of a cgroup: the one that it is started in.
pub const HERE: &str = "-";

/// Argument with which a test binary becomes a server that accepts and says nothing.
pub const ACCEPT: &str = "accept";

/// A running probe.
pub struct Probe {
    child: Child,
    requests: ChildStdin,
    answers: BufReader<ChildStdout>,
}

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

    /// What reading from the socket that it keeps comes to within this time: an errno; None if nothing does.
    ///
    /// # Errors
    /// If it keeps none.
    pub fn held_errno(&mut self, within: Duration) -> Result<Option<i32>> {
        writeln!(self.requests, "held {}", within.as_millis()).context("the probe has ended")?;
        let errno = self.answer()?.parse().context("an errno")?;
        Ok((errno != libc::EAGAIN).then_some(errno))
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
            _ => {
                let patience = Duration::from_millis(argument.parse()?);
                vec![word(held.as_mut().context("no socket is kept")?.read(patience))]
            }
        };
        writeln!(out, "{}", answers.join(" "))?;
    }
    Ok(())
}

/// The silent server's main.
///
/// # Errors
/// If the cgroup cannot be joined, or the address is taken.
pub fn accept(cgroup: &Path, address: &str) -> Result<()> {
    fs::write(cgroup.join("cgroup.procs"), "0").with_context(|| format!("joining {}", cgroup.display()))?;
    let listener = TcpListener::bind(address)?;
    let mut kept = Vec::new();
    loop {
        kept.push(listener.accept()?);
    }
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
