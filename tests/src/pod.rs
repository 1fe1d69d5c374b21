//! What runs in pods whose image has the test binary and nothing else.
//!
//! | command | does | says |
//! |---|---|---|
//! | `sleep` | nothing | nothing |
//! | `serve ADDRESS PORT...` | answers every connection and datagram with the pod's name | nothing |
//! | `ask tcp TO`, `ask udp TO` | asks such a server | an [`Answer`] |
//! | `resolve NAME` | asks the pod's resolver | IPv4 addresses |
//! | `attached FOLDER` | asks the kernel about each cgroup below a folder | those at which the enforcer's programs are |

use std::{
    ffi::OsString,
    fmt, fs,
    io::{self, Read as _, Write as _},
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket},
    path::Path,
    str::FromStr,
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, anyhow, bail};
use enforcer::datapath::is_attached;

use crate::naming::message::question;

/// First argument of all of them.
pub const ARGUMENT: &str = "pod";

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(2);

/// What became of a question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The server with this name has answered.
    From(String),
    /// The kernel has refused it with EPERM, as the enforcer does.
    Refused,
    /// It has failed otherwise, with this errno: nobody listens, or there is no way.
    Failed(i32),
    /// Nothing has come.
    Silence,
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::From(server) => write!(f, "answered {server}"),
            Self::Refused => f.write_str("refused"),
            Self::Failed(errno) => write!(f, "failed {errno}"),
            Self::Silence => f.write_str("silence"),
        }
    }
}

impl FromStr for Answer {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        // A server without a name is one that has closed the connection.
        let text = text.trim_end_matches('\n');
        Ok(match text.split_once(' ') {
            Some(("answered", server)) => Self::From(server.to_owned()),
            Some(("failed", errno)) => Self::Failed(errno.parse()?),
            None if text == "refused" => Self::Refused,
            None if text == "silence" => Self::Silence,
            _ => bail!("{text:?} is no answer"),
        })
    }
}

impl From<io::Error> for Answer {
    fn from(error: io::Error) -> Self {
        match error.raw_os_error() {
            Some(libc::EPERM) => Self::Refused,
            Some(libc::EAGAIN) | None => Self::Silence,
            Some(errno) => Self::Failed(errno),
        }
    }
}

/// A pod's main.
///
/// # Errors
/// If it is not told what to do, or its port is taken.
pub fn main(arguments: impl Iterator<Item = OsString>) -> Result<()> {
    let words: Vec<_> = arguments
        .map(|word| word.to_string_lossy().into_owned())
        .collect();
    let words: Vec<_> = words.iter().map(String::as_str).collect();
    let mut out = io::stdout();
    match words.as_slice() {
        ["sleep"] => loop {
            thread::park();
        },
        ["serve", address, ports @ ..] => serve(address.parse()?, ports),
        ["ask", transport, to] => {
            let to = to.parse()?;
            let answer = if *transport == "tcp" {
                ask_tcp(to)
            } else {
                ask_udp(to)
            };
            Ok(writeln!(out, "{}", answer.unwrap_or_else(Answer::from))?)
        }
        ["resolve", name] => {
            for address in resolve(name)? {
                writeln!(out, "{address}")?;
            }
            Ok(())
        }
        ["attached", folder] => list_attached(Path::new(folder)),
        _ => bail!("no such command: {words:?}"),
    }
}

fn serve(address: IpAddr, ports: &[&str]) -> Result<()> {
    let name = fs::read_to_string("/proc/sys/kernel/hostname")?;
    let name = name.trim();
    thread::scope(|scope| {
        for port in ports {
            let port = port.parse()?;
            let datagrams = UdpSocket::bind((address, port))?;
            let listener = TcpListener::bind((address, port))?;
            scope.spawn(move || answer_datagrams(&datagrams, name));
            scope.spawn(move || answer_connections(&listener, name));
        }
        Ok(())
    })
}

fn answer_datagrams(socket: &UdpSocket, name: &str) -> io::Result<()> {
    loop {
        let (_, from) = socket.recv_from(&mut [0; 64])?;
        // Who asks may be gone.
        socket.send_to(name.as_bytes(), from).ok();
    }
}

fn answer_connections(listener: &TcpListener, name: &str) -> io::Result<()> {
    loop {
        let (mut connection, _) = listener.accept()?;
        connection.write_all(name.as_bytes()).ok();
    }
}

pub(crate) fn ask_tcp(to: SocketAddr) -> io::Result<Answer> {
    let mut connection = TcpStream::connect_timeout(&to, PATIENCE)?;
    connection.set_read_timeout(Some(PATIENCE))?;
    let mut name = String::new();
    connection.read_to_string(&mut name)?;
    Ok(Answer::From(name))
}

fn ask_udp(to: SocketAddr) -> io::Result<Answer> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.connect(to)?;
    socket.send(b"who?")?;
    let mut name = [0; 256];
    let length = socket.recv(&mut name)?;
    Ok(Answer::From(
        String::from_utf8_lossy(&name[..length]).into_owned(),
    ))
}

/// The addresses that the first server in `/etc/resolv.conf` has for a name: no search list, no C library.
fn resolve(name: &str) -> Result<Vec<Ipv4Addr>> {
    let file = fs::read_to_string("/etc/resolv.conf")?;
    let mut servers = file.lines().filter_map(|line| line.strip_prefix("nameserver "));
    let server: IpAddr = servers.next().context("a nameserver")?.trim().parse()?;
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.connect((server, 53))?;
    let asked = question(7, name, 1);
    socket.send(&asked)?;
    let mut message = [0; 1500];
    let length = socket.recv(&mut message)?;
    addresses(&message[..length], asked.len()).ok_or_else(|| anyhow!("the answer is cut off"))
}

/// The IPv4 addresses in an answer whose question ends at `at`.
fn addresses(message: &[u8], mut at: usize) -> Option<Vec<Ipv4Addr>> {
    let number = |at: usize| {
        Some(usize::from(u16::from_be_bytes([
            *message.get(at)?,
            *message.get(at + 1)?,
        ])))
    };
    let mut found = Vec::new();
    for _ in 0..number(6)? {
        // The owner: labels, up to the root or a pointer.
        loop {
            match usize::from(*message.get(at)?) {
                0 => break at += 1,
                192.. => break at += 2,
                length => at += 1 + length,
            }
        }
        let (kind, length) = (number(at)?, number(at + 8)?);
        at += 10;
        let data: Result<[u8; 4], _> = message.get(at..at + length)?.try_into();
        found.extend(data.ok().filter(|_| kind == 1).map(Ipv4Addr::from));
        at += length;
    }
    Some(found)
}

fn list_attached(folder: &Path) -> Result<()> {
    if is_attached(folder)? {
        writeln!(io::stdout(), "{}", folder.display())?;
    }
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            list_attached(&entry.path())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::naming::message::{Record, answer};

    #[test]
    fn addresses_are_found_behind_aliases() {
        let asked = question(7, "www.example.com", 1);
        let alias = Record::alias("www.example.com", "db.example.com");
        let address = Record::address("db.example.com", "192.0.2.7".parse().unwrap());
        let message = answer(&asked, &[alias, address], &[]);
        assert_eq!(
            addresses(&message, asked.len()).unwrap(),
            [Ipv4Addr::new(192, 0, 2, 7)]
        );
        assert_eq!(addresses(&message[..message.len() - 1], asked.len()), None);
    }

    #[test]
    fn answers_are_read_as_they_are_written() {
        for answer in [
            Answer::From("one".to_owned()),
            Answer::From(String::new()),
            Answer::Refused,
            Answer::Failed(111),
            Answer::Silence,
        ] {
            assert_eq!(format!("{answer}\n").parse::<Answer>().unwrap(), answer);
        }
    }
}
