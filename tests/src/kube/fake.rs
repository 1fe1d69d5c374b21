//! A server that does as it is told: HTTP as far as kube's client needs it, and no more.

use std::{
    collections::BTreeMap,
    io::{self, BufRead as _, BufReader, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Mutex, PoisonError},
    thread,
};

use anyhow::Result;
use serde_json::{Value, json};

/// What a request is answered with.
#[derive(Clone, Debug)]
pub enum Reply {
    /// A status code and a body.
    Whole(u16, String),
    /// Lines of a watch, and what comes after the last.
    Watch(Vec<String>, Then),
    /// Nothing, for ever.
    Never,
}

/// What comes after the last line of a watch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    /// The proper end.
    End,
    /// The connection is cut.
    Cut,
    /// Silence.
    Hold,
}

/// A request without its host: path and query.
type Answer = dyn Fn(&str) -> Reply + Send + Sync;

/// A running server; it serves until the process ends.
pub struct Fake {
    address: SocketAddr,
    asked: Arc<Mutex<BTreeMap<String, usize>>>,
}

impl Fake {
    /// Starts one on a free port of the loopback.
    ///
    /// # Errors
    /// If there is no port.
    pub fn start(answer: impl Fn(&str) -> Reply + Send + Sync + 'static) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        let asked = Arc::new(Mutex::new(BTreeMap::new()));
        let answer: Arc<Answer> = Arc::new(answer);
        let log = asked.clone();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (answer, log) = (answer.clone(), log.clone());
                // A client that goes away in the middle is none of the test's business.
                thread::spawn(move || drop(serve(&stream, &*answer, &log)));
            }
        });
        Ok(Self { address, asked })
    }

    /// Its configuration for clients.
    pub fn kubeconfig(&self) -> String {
        let server = format!("http://{}", self.address);
        json!({
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "fake",
            "contexts": [{ "name": "fake", "context": { "cluster": "fake", "user": "fake" } }],
            "clusters": [{ "name": "fake", "cluster": { "server": server } }],
            "users": [{ "name": "fake", "user": {} }],
        })
        .to_string()
    }

    /// How often something with this in its path was asked for.
    pub fn asked(&self, part: &str) -> usize {
        let asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        asked
            .iter()
            .filter(|(path, _)| path.contains(part))
            .map(|(_, times)| times)
            .sum()
    }
}

impl Reply {
    /// A list.
    pub fn list(version: u64, next: &str, items: &[Value]) -> Self {
        let metadata = json!({ "resourceVersion": version.to_string(), "continue": next });
        Self::Whole(200, json!({ "metadata": metadata, "items": items }).to_string())
    }

    /// A refusal.
    pub fn status(code: u16) -> Self {
        Self::Whole(code, status(code).to_string())
    }
}

/// A status, as answers and as events of a watch have it.
fn status(code: u16) -> Value {
    json!({ "kind": "Status", "status": "Failure", "code": code, "message": format!("says {code}") })
}

fn serve(stream: &TcpStream, answer: &Answer, log: &Mutex<BTreeMap<String, usize>>) -> io::Result<()> {
    let mut reader = BufReader::new(stream);
    loop {
        let mut request = String::new();
        if reader.read_line(&mut request)? == 0 {
            return Ok(());
        }
        let mut header = String::new();
        while reader.read_line(&mut header)? > 0 && header != "\r\n" {
            header.clear();
        }
        let path = request.split(' ').nth(1).unwrap_or_default().to_owned();
        *log.lock()
            .unwrap_or_else(PoisonError::into_inner)
            .entry(path.clone())
            .or_default() += 1;
        let mut out = stream;
        match answer(&path) {
            Reply::Whole(code, body) => {
                let length = body.len();
                write!(
                    out,
                    "HTTP/1.1 {code} Told\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
                )?;
            }
            Reply::Watch(lines, then) => {
                write!(
                    out,
                    "HTTP/1.1 200 Told\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
                )?;
                for line in lines {
                    write!(out, "{:x}\r\n{line}\r\n", line.len())?;
                }
                out.flush()?;
                match then {
                    Then::End => write!(out, "0\r\n\r\n")?,
                    Then::Cut => return Ok(()),
                    Then::Hold => loop {
                        thread::park();
                    },
                }
            }
            Reply::Never => loop {
                thread::park();
            },
        }
        out.flush()?;
    }
}
