//! A process in a cgroup that asks for names which it has never asked for before, all the time, and at once uses the
//! addresses that it is given.
//!
//! Each second is a round, of which it says one line: [`Round`].

use std::{
    ffi::OsString,
    fs,
    io::{BufRead as _, BufReader, ErrorKind, Write as _},
    net::{Ipv4Addr, SocketAddr, UdpSocket},
    path::Path,
    process::{Child, ChildStdout, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};

use super::message;

/// First argument of the process.
pub const ARGUMENT: &str = "ask-names";

/// Names of each kind in a round.
pub const NAMES: u32 = 200;

/// What the name server has to be told (dnsmasq): a name below each of the domains is an address.
pub const DOMAINS: [&str; 2] = [
    "--synth-domain=unknown.example.net,10.0.0.0/9,n-",
    "--synth-domain=wild.example.com,10.128.0.0/9,n-",
];

/// The wildcard that has to be registered, for UDP on [`PORT`].
pub const WILDCARD: &str = "*.wild.example.com";

/// Where it connects to.
pub const PORT: u16 = 4433;

/// An address that has to be registered by itself, for the same port.
pub const DECLARED: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 10);

const ROUND: Duration = Duration::from_secs(1);

/// How long an answer may take, and how often it is asked for, as the C library has it.
const PATIENCE: Duration = Duration::from_secs(5);
const ATTEMPTS: u32 = 3;

/// What became of a round. Times are those of one `connect` of a datagram socket, which sends nothing.
#[derive(Clone, Debug, Default)]
pub struct Round {
    /// Names that were asked for and answered.
    pub answered: u32,
    /// Questions that had to be asked again.
    pub again: u32,
    /// Addresses of the wildcard's names that were refused, and others that were not.
    pub wrong: u32,
    /// Medians: to a declared address, to one just learned for the wildcard, to one of a name that nobody registered.
    pub medians: [Duration; 3],
    /// That to a loopback address, which no name decides: what the machine takes for such a call at the time.
    pub loopback: Duration,
}

/// The process, seen from the test.
pub struct Load {
    child: Child,
    lines: BufReader<ChildStdout>,
}

impl Load {
    /// Starts it in a cgroup, to ask this server.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn start(program: &Path, cgroup: &Path, server: SocketAddr) -> Result<Self> {
        let mut child = Command::new(program)
            .arg(ARGUMENT)
            .arg(cgroup)
            .arg(server.to_string())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .context("starting who asks")?;
        let lines = BufReader::new(child.stdout.take().context("a pipe was asked for")?);
        Ok(Self { child, lines })
    }

    /// The next round, once it is over.
    ///
    /// # Errors
    /// If the process has ended.
    pub fn round(&mut self) -> Result<Round> {
        let mut line = String::new();
        self.lines.read_line(&mut line).context("hearing who asks")?;
        let numbers: Vec<u64> = line
            .split_whitespace()
            .map(str::parse)
            .collect::<Result<_, _>>()
            .with_context(|| format!("who asks says {line:?}"))?;
        let [answered, again, wrong, declared, learned, unknown, loopback] = numbers[..] else {
            bail!("who asks has ended: {line:?}");
        };
        Ok(Round {
            answered: answered.try_into()?,
            again: again.try_into()?,
            wrong: wrong.try_into()?,
            medians: [declared, learned, unknown].map(Duration::from_nanos),
            loopback: Duration::from_nanos(loopback),
        })
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        if let Err(error) = self.child.kill().and_then(|()| self.child.wait().map(drop)) {
            eprintln!("the process {} is still there: {error}", self.child.id());
        }
    }
}

/// The process's own main: `CGROUP SERVER`. It goes on until nobody reads what it says.
///
/// # Errors
/// If it cannot join the cgroup, or is not answered.
pub fn main(mut arguments: impl Iterator<Item = OsString>) -> Result<()> {
    let mut next = || {
        let word = arguments.next().context("usage: ask-names CGROUP SERVER")?;
        anyhow::Ok(word.to_string_lossy().into_owned())
    };
    let cgroup = next()?;
    let server: SocketAddr = next()?.parse()?;
    fs::write(Path::new(&cgroup).join("cgroup.procs"), "0").with_context(|| format!("joining {cgroup}"))?;
    let mut out = std::io::stdout();
    let begin = Instant::now();
    for round in 0.. {
        let end = begin + ROUND * (round + 1);
        let line = ask_all(server, round * NAMES, end)?;
        if writeln!(out, "{line}").is_err() {
            break;
        }
    }
    Ok(())
}

/// Asks for the names from number `first` on, evenly until `end`.
fn ask_all(server: SocketAddr, first: u32, end: Instant) -> Result<String> {
    let (mut answered, mut again, mut wrong) = (0, 0, 0);
    let mut took: [Vec<Duration>; 4] = Default::default();
    for left in (0..NAMES).rev() {
        let number = first + NAMES - 1 - left;
        let unknown = Ipv4Addr::from_bits(Ipv4Addr::new(10, 0, 0, 1).to_bits() + number);
        let wild = Ipv4Addr::from_bits(Ipv4Addr::new(10, 128, 0, 1).to_bits() + number);
        for (address, domain) in [(unknown, "unknown.example.net"), (wild, "wild.example.com")] {
            again += ask(server, address, domain)?;
            answered += 1;
        }
        for (kind, address, is_allowed) in [
            (0, DECLARED, true),
            (1, wild, true),
            (2, unknown, false),
            (3, Ipv4Addr::LOCALHOST, true),
        ] {
            let (time, was_allowed) = connect(address)?;
            took[kind].push(time);
            wrong += u32::from(was_allowed != is_allowed);
        }
        let due = end - ROUND * left / NAMES;
        thread::park_timeout(due.saturating_duration_since(Instant::now()));
    }
    let medians = took.map(|mut times| {
        times.sort_unstable();
        times[times.len() / 2].as_nanos().to_string()
    });
    Ok(format!("{answered} {again} {wrong} {}", medians.join(" ")))
}

/// Asks for the name of an address, and returns how often it had to ask again.
fn ask(server: SocketAddr, address: Ipv4Addr, domain: &str) -> Result<u32> {
    let [a, b, c, d] = address.octets();
    let host = format!("n-{a}-{b}-{c}-{d}.{domain}");
    let question = message::question(u16::from_be_bytes([c, d]), &host, 1);
    for attempt in 0..ATTEMPTS {
        // A new socket each time, as the C library does.
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
        socket.set_read_timeout(Some(PATIENCE))?;
        socket.connect(server).context("connecting to the name server")?;
        socket.send(&question).context("asking")?;
        let mut answer = [0; 512];
        match socket.recv(&mut answer) {
            Ok(size) => {
                let answer = &answer[..size];
                ensure!(
                    answer.ends_with(&address.octets()),
                    "{host} is answered with {answer:02x?}"
                );
                return Ok(attempt);
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => return Err(error).with_context(|| format!("the answer for {host}")),
        }
    }
    bail!("no answer for {host}")
}

/// How long the call took, and whether it was allowed.
fn connect(to: Ipv4Addr) -> Result<(Duration, bool)> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    let start = Instant::now();
    let outcome = socket.connect((to, PORT));
    let took = start.elapsed();
    match outcome {
        Ok(()) => Ok((took, true)),
        Err(error) if error.raw_os_error() == Some(libc::EPERM) => Ok((took, false)),
        Err(error) => Err(error).with_context(|| format!("connecting to {to}")),
    }
}
