//! A process in a cgroup that sends and receives what it is told to, a line at a time.
//!
//! | line | does | says |
//! |---|---|---|
//! | `udp TO HEX` | sends from a new socket, which stays | its port, or `error N` |
//! | `udp-from FROM TO HEX` | the same from an address of its own choice | the same |
//! | `again N TO HEX` | sends from the Nth socket | the same |
//! | `receive N` | waits for a datagram at the Nth socket | its bytes, or `nothing` |
//! | `tcp TO HEX...` | connects, sends the pieces in packets of their own, reads until the end | the bytes, or `error N` |
//! | `tunnel FROM TO HEX HEX` | in namespaces of its own, asks by a device that it has made and answers itself there | `read`, or `error N` |
//! | `connect TO` | connects | `through`, or `error N` |

use std::{
    fmt::Write as _,
    fs, io,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{IpAddr, SocketAddr, TcpStream, UdpSocket},
    os::fd::AsRawFd as _,
    path::Path,
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    time::Duration,
};

use anyhow::{Context as _, Result, bail, ensure};
use nix::sched::{CloneFlags, unshare};

use super::packet::datagram;
use crate::fixture::{add_address, device_up};

/// First argument of the process.
pub const ARGUMENT: &str = "asker";

/// How long it waits for what is sure to come.
const PATIENCE: Duration = Duration::from_secs(5);

/// The process, seen from the test.
pub(super) struct Asker {
    child: Child,
    requests: ChildStdin,
    answers: BufReader<ChildStdout>,
    sockets: usize,
}

/// A socket of the process.
#[derive(Clone, Copy, Debug)]
pub(super) struct Socket {
    number: usize,
    pub(super) port: u16,
}

impl Asker {
    pub(super) fn start(program: &Path, cgroup: &Path) -> Result<Self> {
        let mut child = Command::new(program)
            .arg(ARGUMENT)
            .arg(cgroup)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("starting an asker")?;
        let requests = child.stdin.take().context("a pipe was asked for")?;
        let answers = BufReader::new(child.stdout.take().context("a pipe was asked for")?);
        Ok(Self {
            child,
            requests,
            answers,
            sockets: 0,
        })
    }

    pub(super) fn udp(&mut self, to: SocketAddr, message: &[u8]) -> Result<Socket> {
        self.socket(&format!("udp {to} {}", hex(message)))
    }

    /// The socket, or why it could not send.
    pub(super) fn udp_from(&mut self, from: SocketAddr, to: SocketAddr, message: &[u8]) -> Result<Socket> {
        self.socket(&format!("udp-from {from} {to} {}", hex(message)))
    }

    pub(super) fn again(&mut self, socket: Socket, to: SocketAddr, message: &[u8]) -> Result<()> {
        let said = self.say(&format!("again {} {to} {}", socket.number, hex(message)))?;
        ensure!(!said.starts_with("error"), "sending again: {said}");
        Ok(())
    }

    fn socket(&mut self, line: &str) -> Result<Socket> {
        let said = self.say(line)?;
        let Ok(port) = said.parse() else {
            bail!("{said}");
        };
        self.sockets += 1;
        Ok(Socket {
            number: self.sockets - 1,
            port,
        })
    }

    /// Waits until a datagram is there.
    pub(super) fn receive(&mut self, socket: Socket) -> Result<()> {
        let said = self.say(&format!("receive {}", socket.number))?;
        ensure!(said != "nothing", "no datagram came");
        Ok(())
    }

    /// What came back, until the server has closed.
    pub(super) fn tcp(&mut self, to: SocketAddr, pieces: &[&[u8]]) -> Result<()> {
        let pieces: Vec<_> = pieces.iter().map(|piece| hex(piece)).collect();
        let said = self.say(&format!("tcp {to} {}", pieces.join(" ")))?;
        ensure!(
            !said.starts_with("error") && !said.is_empty(),
            "over TCP: {said:?}"
        );
        Ok(())
    }

    /// Moves it to namespaces of its own, where it asks and answers itself by a device that it has made.
    pub(super) fn tunnel(
        &mut self,
        (from, to): (IpAddr, SocketAddr),
        question: &[u8],
        answer: &[u8],
    ) -> Result<()> {
        let said = self.say(&format!("tunnel {from} {to} {} {}", hex(question), hex(answer)))?;
        ensure!(said == "read", "in a network of its own: {said}");
        Ok(())
    }

    pub(super) fn connects(&mut self, to: SocketAddr) -> Result<bool> {
        match self.say(&format!("connect {to}"))?.as_str() {
            "through" => Ok(true),
            refused if refused == format!("error {}", libc::EPERM) => Ok(false),
            other => bail!("connecting to {to}: {other}"),
        }
    }

    fn say(&mut self, line: &str) -> Result<String> {
        writeln!(self.requests, "{line}").context("speaking to the asker")?;
        let mut said = String::new();
        self.answers.read_line(&mut said).context("hearing the asker")?;
        ensure!(said.ends_with('\n'), "the asker has ended");
        Ok(said.trim_end().to_owned())
    }
}

impl Drop for Asker {
    fn drop(&mut self) {
        // It may have ended already.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// The process itself.
pub(super) fn main(cgroup: &Path) -> Result<()> {
    fs::write(cgroup.join("cgroup.procs"), "0").context("joining the cgroup")?;
    let mut sockets = Vec::new();
    for line in io::stdin().lines() {
        let line = line?;
        let words: Vec<_> = line.split(' ').collect();
        let said = answer(&words, &mut sockets).unwrap_or_else(|error| {
            let errno = error
                .downcast_ref::<io::Error>()
                .and_then(io::Error::raw_os_error);
            errno.map_or_else(|| format!("error {error:#}"), |errno| format!("error {errno}"))
        });
        println!("{said}");
    }
    Ok(())
}

fn answer(words: &[&str], sockets: &mut Vec<UdpSocket>) -> Result<String> {
    match *words {
        ["udp", to, message] => {
            let any = if to.starts_with('[') {
                "[::]:0"
            } else {
                "0.0.0.0:0"
            };
            send(any, to, message, sockets)
        }
        ["udp-from", from, to, message] => send(from, to, message, sockets),
        ["again", number, to, message] => {
            let socket = sockets.get(number.parse::<usize>()?).context("no such socket")?;
            socket.send_to(&bytes(message)?, to)?;
            Ok(socket.local_addr()?.port().to_string())
        }
        ["receive", number] => {
            let socket = sockets.get(number.parse::<usize>()?).context("no such socket")?;
            let mut buffer = vec![0; 65_536];
            Ok(match socket.recv(&mut buffer) {
                Ok(size) => hex(&buffer[..size]),
                Err(_) => "nothing".into(),
            })
        }
        ["tcp", to, ref pieces @ ..] => {
            let mut stream = TcpStream::connect(to)?;
            stream.set_nodelay(true)?;
            stream.set_read_timeout(Some(PATIENCE))?;
            for piece in pieces {
                stream.write_all(&bytes(piece)?)?;
            }
            let mut got = Vec::new();
            stream.read_to_end(&mut got)?;
            Ok(hex(&got))
        }
        ["tunnel", from, to, question, answer] => {
            tunnel((from.parse()?, to.parse()?), &bytes(question)?, &bytes(answer)?)?;
            Ok("read".into())
        }
        ["connect", to] => {
            let socket = TcpStream::connect_timeout(&to.parse()?, PATIENCE);
            match socket.map_err(|error| error.raw_os_error()) {
                Err(Some(errno)) if errno == libc::EPERM => Ok(format!("error {errno}")),
                _ => Ok("through".into()),
            }
        }
        _ => bail!("what is {words:?}?"),
    }
}

fn send(from: &str, to: &str, message: &str, sockets: &mut Vec<UdpSocket>) -> Result<String> {
    let socket = UdpSocket::bind(from)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.send_to(&bytes(message)?, to)?;
    let port = socket.local_addr()?.port().to_string();
    sockets.push(socket);
    Ok(port)
}

fn tunnel((from, to): (IpAddr, SocketAddr), question: &[u8], answer: &[u8]) -> Result<()> {
    unshare(CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNET)?;
    let mut device = fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open("/dev/net/tun")?;
    let mut request = [0_u8; 40];
    request[..4].copy_from_slice(b"mine");
    // IFF_TUN and IFF_NO_PI.
    request[16..18].copy_from_slice(&0x1001_u16.to_ne_bytes());
    const TUNSETIFF: libc::Ioctl = 0x4004_54ca;
    #[expect(unsafe_code, reason = "the call has no other form")]
    // SAFETY: the call reads and writes a `struct ifreq`.
    if unsafe { libc::ioctl(device.as_raw_fd(), TUNSETIFF, request.as_mut_ptr()) } < 0 {
        return Err(io::Error::last_os_error().into());
    }
    add_address("mine", from)?;
    device_up("mine")?;
    let socket = UdpSocket::bind((from, 0))?;
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.send_to(question, to)?;
    let port = socket.local_addr()?.port();
    let mut packet = vec![0; 2048];
    // The kernel speaks first, of IPv6.
    loop {
        let size = device.read(&mut packet)?;
        if packet[..size].ends_with(question) {
            break;
        }
    }
    device.write_all(&datagram(to, (from, port).into(), answer)?)?;
    ensure!(socket.recv(&mut packet)? == answer.len(), "something else came");
    Ok(())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("a text takes all");
        text
    })
}

fn bytes(hex: &str) -> Result<Vec<u8>> {
    let digits = hex.as_bytes().chunks(2);
    digits
        .map(|pair| Ok(u8::from_str_radix(str::from_utf8(pair)?, 16)?))
        .collect()
}
