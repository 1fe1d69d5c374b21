//! A sandbox in a terminal of its own.

use std::{
    fs::File,
    io::{Read as _, Write as _},
    process::{Child, Command},
};

use anyhow::{Result, bail};
use nix::pty::openpty;
use tests::{daemon::wait, fixture::in_own_network};

use super::run::{Made, OTHER, Server, sandbox, text};

/// What is typed into and read from.
struct Terminal {
    screen: File,
    seen: Vec<u8>,
}

impl Terminal {
    /// A terminal in which a command is the first of a session, as a shell would be.
    fn with(mut command: Command) -> Result<(Self, Child)> {
        let pty = openpty(None, None)?;
        let line = File::from(pty.slave);
        let child = command
            .stdin(line.try_clone()?)
            .stdout(line.try_clone()?)
            .stderr(line)
            .spawn()?;
        // The last copies of the line are the command's.
        drop(command);
        let screen = File::from(pty.master);
        Ok((
            Self {
                screen,
                seen: Vec::new(),
            },
            child,
        ))
    }

    /// Waits until this is on the screen.
    fn shows(&mut self, what: &str) -> Result<()> {
        while !text(&self.seen).contains(what) {
            let mut buffer = [0; 1024];
            let Ok(read) = self.screen.read(&mut buffer) else {
                bail!("{what:?} was not shown, but {:?}", text(&self.seen));
            };
            self.seen.extend(&buffer[..read]);
        }
        Ok(())
    }

    fn types(&mut self, what: &[u8]) -> Result<()> {
        Ok(self.screen.write_all(what)?)
    }
}

/// In a session that has its terminal.
fn session(arguments: &[&str]) -> Command {
    let sandbox = sandbox(arguments);
    let mut command = Command::new("setsid");
    command
        .arg("--ctty")
        .arg("--wait")
        .arg(sandbox.get_program())
        .args(sandbox.get_args());
    for (name, _) in sandbox.get_envs() {
        command.env_remove(name);
    }
    command
}

#[test]
fn what_is_typed_is_the_commands() {
    in_own_network(|| {
        let script = "trap 'echo caught; exit 7' INT; test -t 0 && tty && echo ready; read line; echo got $line; \
                      while :; do sleep 1; done";
        let (mut terminal, mut child) = Terminal::with(session(&["--", "bash", "-c", script]))?;
        terminal.shows("ready")?;
        assert!(text(&terminal.seen).contains("/dev/pts/"));
        terminal.types(b"hello\n")?;
        terminal.shows("got hello")?;
        terminal.types(b"\x03")?;
        terminal.shows("caught")?;
        assert_eq!(child.wait()?.code(), Some(7), "{}", text(&terminal.seen));
        Ok(())
    })
    .unwrap();
}

#[test]
fn command_cannot_type_into_the_terminal() {
    if Command::new("python3").arg("--version").output().is_err() {
        println!("SKIPPED: this machine has no python3, which makes the call");
        return;
    }
    in_own_network(|| {
        // Kernels that refuse it by themselves say EIO.
        let script = "import fcntl, termios\n\
                      for request in termios.TIOCSTI, 0x541c:\n\
                      \x20   try: fcntl.ioctl(0, request, b'x')\n\
                      \x20   except OSError as error: print('errno', error.errno)\n\
                      print(len(fcntl.ioctl(0, termios.TIOCGWINSZ, b'0' * 8)), 'bytes')";
        let (mut terminal, mut child) = Terminal::with(session(&["--", "python3", "-c", script]))?;
        terminal.shows("errno 1\r\nerrno 1\r\n8 bytes")?;
        assert_eq!(child.wait()?.code(), Some(0), "{}", text(&terminal.seen));
        Ok(())
    })
    .unwrap();
}

#[test]
fn shell_in_a_sandbox_controls_its_jobs() {
    in_own_network(|| {
        let shell = ["--", "bash", "--norc", "--noprofile", "-i"];
        let (mut terminal, mut child) = Terminal::with(session(&shell))?;
        terminal.types(b"echo re''ady\n")?;
        terminal.shows("ready")?;
        terminal.types(b"sh -c 'echo be''gun; exec sed -u s/^x/y/'\n")?;
        terminal.shows("begun")?;
        terminal.types(b"x1\n")?;
        terminal.shows("y1")?;
        terminal.types(b"\x1a")?;
        terminal.shows("Stopped")?;
        terminal.types(b"fg\n")?;
        terminal.types(b"x2\n")?;
        terminal.shows("y2")?;
        terminal.types(b"\x04")?;
        terminal.types(b"exit 9\n")?;
        assert_eq!(child.wait()?.code(), Some(9), "{}", text(&terminal.seen));
        Ok(())
    })
    .unwrap();
}

#[test]
fn command_that_outlives_its_terminal_stays_contained() {
    in_own_network(|| {
        let server = Server::at(OTHER)?;
        let script = "trap '' HUP; echo ready $PPID.; exec >/dev/null 2>&1 </dev/null; \
                      for i in {1..300}; do (exec 3<>/dev/tcp/192.0.2.11/443); done";
        let (mut terminal, mut child) = Terminal::with(session(&["--", "bash", "-c", script]))?;
        terminal.shows(".\r\n")?;
        let seen = text(&terminal.seen);
        let pid = seen
            .trim()
            .trim_start_matches("ready ")
            .trim_end_matches('.')
            .parse()?;
        let made = Made::by(pid)?;
        drop(terminal);
        child.wait()?;
        wait("end of the command", || Ok(made.processes() == 0))?;
        made.await_end()?;
        assert_eq!(server.accepted(), 0);
        Ok(())
    })
    .unwrap();
}
