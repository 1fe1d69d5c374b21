//! A workload without privileges that does as much harm as it can: refusals without end, to ever other addresses and
//! ports, by every call that is judged, under names with control characters; cgroups below its own that come and go;
//! and sockets that do.

use std::{
    ffi::{CString, OsString},
    fs, io,
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
};

use anyhow::{Context as _, Result, bail};
use nix::{
    errno::Errno,
    sys::{
        prctl,
        socket::{AddressFamily, SockFlag, SockType, SockaddrIn, connect, socket},
    },
    unistd::{Gid, Uid, chown, setgid, setuid},
};
use std::os::fd::AsRawFd as _;

/// Argument with which a test binary becomes one.
pub const ARGUMENT: &str = "hostile";

/// `nobody`.
const USER: u32 = 65534;

/// Cgroups that are there at one time below its own.
const CGROUPS: usize = 64;

/// Sockets that it keeps open at one time.
const SOCKETS: usize = 500;

/// Processes of a hostile workload, ended with it.
pub struct Hostile(Vec<Child>);

impl Hostile {
    /// Starts that many in a cgroup, which is theirs to change as a delegated one would be.
    ///
    /// # Errors
    /// If one cannot be started.
    pub fn start(program: &Path, cgroup: &Path, processes: u32) -> Result<Self> {
        chown(cgroup, Some(Uid::from_raw(USER)), Some(Gid::from_raw(USER))).context("delegating a cgroup")?;
        let mut all = Self(Vec::new());
        for number in 0..processes {
            // What it harms by is what it calls, and not how much of the processors it takes.
            let child = Command::new("nice")
                .args(["-n", "10"])
                .arg(program)
                .arg(ARGUMENT)
                .arg(cgroup)
                .arg(number.to_string())
                // It ends with its input: the kernel forgets who is to die with its parent when the user changes.
                .stdin(Stdio::piped())
                .spawn()
                .context("starting a hostile process")?;
            all.0.push(child);
        }
        Ok(all)
    }

    /// Whether all of them are still at it.
    ///
    /// # Errors
    /// If one has ended.
    pub fn is_there(&mut self) -> Result<()> {
        for child in &mut self.0 {
            if let Some(status) = child.try_wait()? {
                bail!("a hostile process has ended ({status})");
            }
        }
        Ok(())
    }
}

impl Drop for Hostile {
    fn drop(&mut self) {
        for child in &mut self.0 {
            if let Err(error) = child.kill().and_then(|()| child.wait().map(drop)) {
                eprintln!("the hostile process {} is still there: {error}", child.id());
            }
        }
    }
}

/// The process's own main: `CGROUP NUMBER`. It goes on until its input ends.
///
/// # Errors
/// If it cannot begin.
pub fn main(mut arguments: impl Iterator<Item = OsString>) -> Result<()> {
    let mut next = || arguments.next().context("usage: hostile CGROUP NUMBER");
    let cgroup = PathBuf::from(next()?);
    let number: usize = next()?.to_string_lossy().parse().context("a number")?;
    fs::write(cgroup.join("cgroup.procs"), "0").with_context(|| format!("joining {}", cgroup.display()))?;
    setgid(Gid::from_raw(USER))?;
    setuid(Uid::from_raw(USER))?;
    let below = cgroup.join(format!("own-{number}"));
    let works: [Box<dyn Fn(usize) -> Result<()> + Send>; 4] = [
        Box::new(connections),
        Box::new(datagrams()?),
        Box::new(move |round| cgroups(&below, round)),
        Box::new(sockets()?),
    ];
    for work in works {
        thread::spawn(move || {
            for round in number * 1_000_000.. {
                if let Err(error) = work(round) {
                    eprintln!("the hostile process cannot go on: {error:#}");
                    std::process::exit(1);
                }
            }
        });
    }
    io::copy(&mut io::stdin(), &mut io::sink()).context("waiting for the end")?;
    Ok(())
}

/// Nobody's entry: never the same twice within an hour.
fn destination(round: usize) -> SocketAddr {
    let [.., second, third, fourth] = (round / 60_000).to_be_bytes();
    let port = u16::try_from(1 + round % 60_000).unwrap_or(1);
    SocketAddr::from((Ipv4Addr::new(198, second | 128, third, fourth), port))
}

/// What a terminal and a reader of lines would take for something else.
fn rename(round: usize) -> Result<()> {
    let name = ["a\nWARN denied", "\x1b[2J\x1b[H", "b\rINFO", "\u{7f}\x08\x07\x01"][round % 4];
    Ok(prctl::set_name(&CString::new(name)?)?)
}

/// A connection that is refused, by a socket of its own.
fn connections(round: usize) -> Result<()> {
    if round.is_multiple_of(100) {
        rename(round / 100)?;
    }
    let SocketAddr::V4(to) = destination(round) else {
        return Ok(());
    };
    let stream = socket(
        AddressFamily::Inet,
        SockType::Stream,
        SockFlag::SOCK_NONBLOCK,
        None,
    )?;
    match connect(stream.as_raw_fd(), &SockaddrIn::from(to)) {
        Err(Errno::EPERM) => Ok(()),
        other => bail!("a connection to {to} was not refused: {other:?}"),
    }
}

/// Datagrams that are refused, all by one socket: nothing makes more refusals in the same time.
fn datagrams() -> Result<impl Fn(usize) -> Result<()>> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    Ok(move |round| match socket.send_to(b"x", destination(round)) {
        Err(error) if error.raw_os_error() == Some(libc::EPERM) => Ok(()),
        other => bail!("a datagram was not refused: {other:?}"),
    })
}

/// A cgroup that comes, and one that goes.
fn cgroups(below: &Path, round: usize) -> Result<()> {
    let folder = below.join((round % CGROUPS).to_string());
    match fs::remove_dir(&folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(error).context("removing a cgroup");
        }
        _ => {}
    }
    fs::create_dir_all(&folder).with_context(|| format!("creating {}", folder.display()))
}

/// Sockets of all states that are listed: listening, connected and accepted.
fn sockets() -> Result<impl Fn(usize) -> Result<()>> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let kept = std::sync::Mutex::new(std::collections::VecDeque::new());
    Ok(move |_| {
        let client = TcpStream::connect(listener.local_addr()?)?;
        let (server, _) = listener.accept()?;
        let datagrams = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
        datagrams.connect(listener.local_addr()?)?;
        let mut kept = kept.lock().map_err(|_| anyhow::anyhow!("a thread has ended"))?;
        kept.push_back((client, server, datagrams));
        if kept.len() > SOCKETS / 3 {
            kept.pop_front();
        }
        Ok(())
    })
}
