//! A server that this binary itself is: a process in a cgroup, and what it says.

use std::{
    io::{self, BufRead as _, BufReader, IoSlice, IoSliceMut, Write as _},
    net::SocketAddr,
    os::{
        fd::{AsFd, AsRawFd as _, OwnedFd},
        unix::net::UnixStream,
    },
    path::Path,
    process::{Child, ChildStdout, Command, Stdio},
};

use anyhow::{Context as _, Result, bail};
use nix::sys::{
    prctl::set_pdeathsig,
    signal::Signal,
    socket::{ControlMessage, ControlMessageOwned, MsgFlags, UnixAddr, recvmsg, sendmsg},
};

use super::sys;
use crate::probe::HERE;

/// Argument with which a test binary becomes a server.
pub const ARGUMENT: &str = "serve";

/// A running server.
pub(super) struct Process {
    child: Child,
    lines: BufReader<ChildStdout>,
    /// What it said first.
    pub(super) greeting: String,
}

impl Process {
    /// Starts `program` as a server in a cgroup and in this thread's network, and waits for its first line.
    pub(super) fn start(program: &Path, cgroup: &Path, words: &[&str]) -> Result<Self> {
        let mut child = command(program, cgroup, words)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("starting {}", program.display()))?;
        let lines = BufReader::new(child.stdout.take().context("a pipe was asked for")?);
        let mut process = Self {
            child,
            lines,
            greeting: String::new(),
        };
        process.greeting = process.line().with_context(|| words.join(" "))?;
        Ok(process)
    }

    /// The next line that it says.
    pub(super) fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        if self
            .lines
            .read_line(&mut line)
            .context("reading from the server")?
            == 0
        {
            bail!("the server has ended");
        }
        Ok(line.trim_end().to_owned())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Err(error) = self.child.kill().and_then(|()| self.child.wait().map(|_| ())) {
            eprintln!("the server {} is still there: {error}", self.child.id());
        }
    }
}

/// This program as a server in another cgroup; it ends with the thread that starts it.
pub(super) fn command(program: &Path, cgroup: &Path, words: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.args([ARGUMENT, words[0]]).arg(cgroup).args(&words[1..]);
    command
}

/// What each server does first. With [`HERE`] it stays in its parent's cgroup.
pub(super) fn join(cgroup: &Path) -> Result<()> {
    set_pdeathsig(Signal::SIGKILL).context("tying this process to its parent")?;
    if cgroup == Path::new(HERE) {
        return Ok(());
    }
    std::fs::write(cgroup.join("cgroup.procs"), "0").with_context(|| format!("joining {}", cgroup.display()))
}

/// Tells the test something.
pub(super) fn say(line: &str) -> io::Result<()> {
    writeln!(io::stdout(), "{line}")
}

/// Hands a socket to another process, with a word.
pub(super) fn hand_over(to: &UnixStream, socket: &impl AsFd, word: &str) -> io::Result<()> {
    let (data, fds) = ([IoSlice::new(word.as_bytes())], [socket.as_fd().as_raw_fd()]);
    let rights = [ControlMessage::ScmRights(&fds)];
    sendmsg::<UnixAddr>(to.as_raw_fd(), &data, &rights, MsgFlags::empty(), None)?;
    Ok(())
}

/// What [`hand_over`] has sent; None at the end.
pub(super) fn take_over(from: &impl AsFd) -> io::Result<Option<(OwnedFd, String)>> {
    let mut word = vec![0; 4096];
    let mut data = [IoSliceMut::new(&mut word)];
    let mut space = nix::cmsg_space!([i32; 1]);
    let flags = MsgFlags::MSG_CMSG_CLOEXEC;
    let message = recvmsg::<UnixAddr>(from.as_fd().as_raw_fd(), &mut data, Some(&mut space), flags)?;
    let size = message.bytes;
    let fd = message.cmsgs()?.find_map(|control| match control {
        ControlMessageOwned::ScmRights(fds) => fds.first().copied(),
        _ => None,
    });
    let Some(fd) = fd else { return Ok(None) };
    let socket = sys::own(fd);
    Ok(Some((
        socket,
        String::from_utf8_lossy(&word[..size]).into_owned(),
    )))
}

/// A result as one word.
pub(super) fn word(result: &io::Result<()>) -> String {
    match result {
        Ok(()) => "ok".to_owned(),
        Err(error) => error.raw_os_error().map_or_else(
            || error.to_string(),
            |errno| nix::errno::Errno::from_raw(errno).to_string(),
        ),
    }
}

/// The address that a word names.
pub(super) fn address(word: Option<&str>) -> Result<SocketAddr> {
    word.context("no address is named")?.parse().context("an address")
}
