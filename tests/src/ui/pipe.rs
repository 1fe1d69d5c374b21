//! Chromium's debugging pipe: JSON messages, each ended by a NUL, in both directions.
//!
//! It needs no port and no library: those that there are carry the whole protocol as generated code, of which ten methods
//! are used here.

use std::{
    io::{BufRead as _, BufReader, Read, Write},
    process::{Child, ChildStdin, Command, Stdio},
    sync::mpsc,
    thread,
    time::Instant,
};

use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};

use crate::daemon::PATIENCE;

/// A browser's end of it; the browser ends with it.
pub(super) struct Pipe {
    child: Child,
    input: ChildStdin,
    messages: mpsc::Receiver<Value>,
    next: u64,
    /// What the browser has told without being asked.
    pub(super) events: Vec<Value>,
}

/// Descriptors 3 and 4 are what the browser reads and writes. What it says beside that is kept in its home.
const PLUMBING: &str = "exec \"$@\" 3<&0 4>&1 </dev/null >\"$HOME/said\" 2>&1";

impl Pipe {
    /// Starts the browser: a program with its arguments.
    ///
    /// # Errors
    /// If it cannot be started.
    pub(super) fn start(command: &mut Command, browser: &[&str]) -> Result<Self> {
        let mut child = command
            .args(["sh", "-c", PLUMBING, "sh"])
            .args(browser)
            .arg("--remote-debugging-pipe")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("starting the browser")?;
        let input = child.stdin.take().context("standard input is piped")?;
        let output = child.stdout.take().context("standard output is piped")?;
        let (sink, messages) = mpsc::channel();
        thread::spawn(move || read(output, &sink));
        Ok(Self {
            child,
            input,
            messages,
            next: 0,
            events: Vec::new(),
        })
    }

    /// Asks for something, of a page if a session names it.
    ///
    /// # Errors
    /// What the browser says against it, or that it says nothing.
    pub(super) fn call(&mut self, session: Option<&str>, method: &str, parameters: &Value) -> Result<Value> {
        self.next += 1;
        let id = self.next;
        let mut message = json!({"id": id, "method": method, "params": parameters});
        if let Some(session) = session {
            message["sessionId"] = session.into();
        }
        let mut text = message.to_string().into_bytes();
        text.push(0);
        self.input.write_all(&text).context("asking the browser")?;
        let deadline = Instant::now() + PATIENCE;
        loop {
            let rest = deadline.saturating_duration_since(Instant::now());
            let message = self.messages.recv_timeout(rest);
            let mut message = message.with_context(|| format!("the browser does not answer {method}"))?;
            if message["id"] != id {
                self.events.push(message);
                continue;
            }
            if let Some(error) = message.get("error") {
                bail!("{method}: {error}");
            }
            return Ok(message["result"].take());
        }
    }

    /// Takes what the browser has told so far.
    pub(super) fn gather(&mut self) -> &[Value] {
        self.events.extend(self.messages.try_iter());
        &self.events
    }
}

fn read(output: impl Read, sink: &mpsc::Sender<Value>) {
    for message in BufReader::new(output).split(0).map_while(std::result::Result::ok) {
        let message = serde_json::from_slice(&message).unwrap_or(Value::Null);
        if sink.send(message).is_err() {
            break;
        }
    }
}

impl Drop for Pipe {
    fn drop(&mut self) {
        if let Err(error) = self.child.kill().and_then(|()| self.child.wait().map(|_| ())) {
            eprintln!("the browser {} is still there: {error}", self.child.id());
        }
    }
}
