//! Somebody at the far end of the cable, who is no part of the workload: another process of the attempt, which begins
//! outside, goes to the outer network, and does its part when it is told to.

use std::{
    fs::File,
    io::{self, BufRead as _, BufReader, Write as _},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
};

use nix::sched::{CloneFlags, setns};

use super::{ARGUMENT, stage::Stage};

/// Names the variable with the outer network's file.
pub(super) const OUTER: &str = "ESCAPE_OUTER";

/// Ended when it is dropped.
pub(super) struct Peer {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Peer {
    /// Starts one that plays `role`; it waits in [`wait_outside`].
    pub(super) fn start(stage: &Stage, role: &str) -> io::Result<Self> {
        let mut child = Command::new("/proc/self/exe")
            .args([ARGUMENT, &stage.escape])
            .arg(&stage.cgroup)
            .arg(stage.port.to_string())
            .arg(role)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let (Some(input), Some(output)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(io::Error::other("pipes were asked for"));
        };
        Ok(Self {
            child,
            input,
            output: BufReader::new(output),
        })
    }

    /// Has it do its part.
    pub(super) fn go(&mut self) -> io::Result<()> {
        self.input.write_all(b"go\n")
    }

    /// What became of its part.
    pub(super) fn finish(mut self) -> io::Result<()> {
        let mut line = String::new();
        self.output.read_line(&mut line)?;
        super::answer(line.trim())
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        // An attempt without privileges may not end it: it ends by itself when its pipes are gone.
        if self.child.kill().is_ok()
            && let Err(error) = self.child.wait()
        {
            eprintln!("waiting for the process {}: {error}", self.child.id());
        }
    }
}

/// Takes a process that plays a part to the outer network, and waits until it is told to go.
pub(super) fn wait_outside() -> io::Result<()> {
    let network = std::env::var_os(OUTER).ok_or(io::ErrorKind::NotFound)?;
    setns(File::open(network)?, CloneFlags::CLONE_NEWNET)?;
    let mut line = String::new();
    io::stdin().lock().read_line(&mut line)?;
    if line == "go\n" {
        Ok(())
    } else {
        Err(io::ErrorKind::UnexpectedEof.into())
    }
}
