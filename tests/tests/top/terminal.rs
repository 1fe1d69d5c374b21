//! A terminal with a program in it: keys go in, and its screen is read.

use std::{
    fs::File,
    io::{Read as _, Write as _},
    os::fd::OwnedFd,
    process::{Child, Command, ExitStatus},
    sync::{Arc, Mutex, PoisonError},
    thread,
};

use anyhow::{Context as _, Result, ensure};
use nix::{
    pty::{Winsize, openpty},
    sys::{
        signal::{Signal, kill},
        termios::{LocalFlags, Termios, tcgetattr},
    },
    unistd::{Pid, ttyname},
};
use tests::daemon::wait;

/// A terminal, and what runs in it.
pub(crate) struct Terminal {
    child: Child,
    keys: File,
    /// The program's end, open so that the terminal stays.
    end: OwnedFd,
    /// Its settings before the program.
    before: Termios,
    screen: Arc<Mutex<vt100::Parser>>,
}

impl Terminal {
    /// Starts the command in a terminal of so many lines and columns.
    ///
    /// # Errors
    /// If the machine does not let it.
    pub(crate) fn start(command: Command, (lines, columns): (u16, u16)) -> Result<Self> {
        let size = Winsize {
            ws_row: lines,
            ws_col: columns,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        let pty = openpty(Some(&size), None).context("opening a terminal")?;
        let before = tcgetattr(&pty.slave)?;
        let open = || pty.slave.try_clone();
        // It has to be the session's own, or nobody would tell it of another size.
        let child = Command::new("setsid")
            .arg("--ctty")
            .arg(command.get_program())
            .args(command.get_args())
            .env("TERM", "xterm-256color")
            .env_remove("NO_COLOR")
            .stdin(open()?)
            .stdout(open()?)
            .stderr(open()?)
            .spawn()
            .context("starting setsid")?;
        let screen = Arc::new(Mutex::new(vt100::Parser::new(lines, columns, 0)));
        let keys = File::from(pty.master);
        let mut output = keys.try_clone()?;
        let parser = Arc::clone(&screen);
        thread::spawn(move || {
            let mut bytes = [0; 4096];
            // It fails once the terminal is gone.
            while let Ok(read @ 1..) = output.read(&mut bytes) {
                parser
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .process(&bytes[..read]);
            }
        });
        Ok(Self {
            child,
            keys,
            end: pty.slave,
            before,
            screen,
        })
    }

    fn parser(&self) -> std::sync::MutexGuard<'_, vt100::Parser> {
        self.screen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until the screen is so, and says what is on it.
    ///
    /// # Errors
    /// If it does not come to that.
    pub(crate) fn until(&mut self, what: &str, is_so: impl Fn(&str) -> bool) -> Result<String> {
        let mut text = String::new();
        let waited = wait(what, || {
            text = self.parser().screen().contents();
            if let Some(status) = self.child.try_wait()? {
                ensure!(is_so(&text), "it has ended: {status}");
            }
            Ok(is_so(&text))
        });
        waited.with_context(|| format!("the screen is\n{text}"))?;
        Ok(text)
    }

    /// Types.
    ///
    /// # Errors
    /// If the terminal is gone.
    pub(crate) fn press(&mut self, keys: &str) -> Result<()> {
        Ok(self.keys.write_all(keys.as_bytes())?)
    }

    /// Makes it so many lines and columns.
    ///
    /// # Errors
    /// If `stty` cannot.
    pub(crate) fn resize(&mut self, (lines, columns): (u16, u16)) -> Result<()> {
        self.parser().screen_mut().set_size(lines, columns);
        let status = Command::new("stty")
            .arg("-F")
            .arg(ttyname(&self.end)?)
            .args(["rows", &lines.to_string(), "cols", &columns.to_string()])
            .status()?;
        ensure!(status.success(), "stty: {status}");
        Ok(())
    }

    /// Sends the program a signal.
    ///
    /// # Errors
    /// If it is gone.
    pub(crate) fn signal(&self, signal: Signal) -> Result<()> {
        let pid = i32::try_from(self.child.id()).context("a process id is an int")?;
        Ok(kill(Pid::from_raw(pid), signal)?)
    }

    /// Waits for the program's end, after which the terminal has to be as it was before.
    ///
    /// # Errors
    /// If it does not end, or leaves the terminal in another state.
    pub(crate) fn end(mut self) -> Result<ExitStatus> {
        wait("the end of the program", || Ok(self.child.try_wait()?.is_some()))?;
        wait("the screen from before, and a cursor", || {
            let parser = self.parser();
            let screen = parser.screen();
            Ok(!screen.alternate_screen() && !screen.hide_cursor())
        })?;
        let after = tcgetattr(&self.end)?;
        ensure!(after == self.before, "the terminal's settings are {after:?}");
        ensure!(after.local_flags.contains(LocalFlags::ECHO | LocalFlags::ICANON));
        Ok(self.child.wait()?)
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        if let Err(error) = self.child.kill().and_then(|()| self.child.wait().map(|_| ())) {
            eprintln!("the program {} is still there: {error}", self.child.id());
        }
    }
}
