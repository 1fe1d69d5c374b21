//! An app: it connects to each address in turn before it does anything else, and writes down how each call ended.

use std::{
    collections::BTreeSet,
    error::Error,
    fs::OpenOptions,
    io::{self, Read as _, Write as _},
    net::{SocketAddr, TcpStream, ToSocketAddrs as _, UdpSocket},
    thread,
    time::Duration,
};

/// How long a call may take, unless it is said.
const PATIENCE: Duration = Duration::from_secs(5);

/// Between two rounds of calls.
const PAUSE: Duration = Duration::from_millis(20);

struct Options<'a> {
    repeats: bool,
    patience: Duration,
    file: &'a str,
    name: &'a str,
    addresses: &'a [&'a str],
}

/// Calls each `IP:PORT`, `HOST:PORT` or `udp/IP:PORT` once, or until it is ended.
pub(crate) fn run(words: &[&str]) -> Result<(), Box<dyn Error>> {
    let options = read(words)?;
    let mut noted = BTreeSet::new();
    loop {
        for address in options.addresses {
            let outcome = match call(address, options.patience) {
                Ok(()) => "reached".to_owned(),
                Err(error) => error.raw_os_error().map_or_else(
                    || format!("{:?}", error.kind()),
                    |number| format!("errno-{number}"),
                ),
            };
            // Only what is new: an app that repeats would fill the disk.
            if noted.insert((address, outcome.clone())) {
                note(&options, address, &outcome)?;
            }
        }
        if !options.repeats {
            return Ok(());
        }
        thread::sleep(PAUSE);
    }
}

fn read<'a>(mut words: &'a [&'a str]) -> Result<Options<'a>, Box<dyn Error>> {
    let (mut repeats, mut patience) = (false, PATIENCE);
    loop {
        words = match words {
            ["--until-ended", rest @ ..] => {
                repeats = true;
                rest
            }
            ["--within", milliseconds, rest @ ..] => {
                patience = Duration::from_millis(milliseconds.parse()?);
                rest
            }
            [file, name, addresses @ ..] => {
                return Ok(Options {
                    repeats,
                    patience,
                    file,
                    name,
                    addresses,
                });
            }
            _ => return Err("a file, a name and addresses are needed".into()),
        }
    }
}

fn note(options: &Options<'_>, address: &str, outcome: &str) -> io::Result<()> {
    let line = format!("{} {address} {outcome}\n", options.name);
    if options.file == "-" {
        return io::stdout().write_all(line.as_bytes());
    }
    OpenOptions::new()
        .create(true)
        .append(true)
        .open(options.file)?
        .write_all(line.as_bytes())
}

fn call(address: &str, patience: Duration) -> io::Result<()> {
    let mut answer = [0; 3];
    if let Some(address) = address.strip_prefix("udp/") {
        let socket = UdpSocket::bind(("0.0.0.0", 0))?;
        socket.set_read_timeout(Some(patience))?;
        socket.send_to(b"call", address)?;
        return socket.recv_from(&mut answer).map(|_| ());
    }
    // An address is not looked up: nothing comes before the first call.
    let address: SocketAddr = match address.parse() {
        Ok(address) => address,
        Err(_) => address.to_socket_addrs()?.next().ok_or(io::ErrorKind::NotFound)?,
    };
    let mut stream = TcpStream::connect_timeout(&address, patience)?;
    stream.set_read_timeout(Some(patience))?;
    stream.read_exact(&mut answer)
}
