//! A virtual machine with one kernel and one program.
//!
//! Emulated throughout: where virtual machines are themselves virtual, `/dev/kvm` can be there and hang.

use std::{
    fs,
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
    sync::mpsc::{RecvTimeoutError, channel},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};

use super::{Arguments, report::Report};
use crate::out::complain;
use crate::programs::QEMU;

/// How long a machine may take; on an idle one it is a tenth of that.
const PATIENCE: Duration = Duration::from_secs(900);
/// And for so many sequences one second more.
const SEQUENCES_PER_SECOND: u64 = 20;

/// Lines of the console that are shown when something failed.
const CONSOLE_LINES: usize = 40;

/// Boots `kernel` with the archive `initrd`, has it try what is asked for, and reads what it reports until it powers off.
///
/// # Errors
/// If QEMU cannot be started. Whatever goes wrong inside is in the report.
pub(crate) fn run(kernel: &Path, initrd: &Path, arguments: &Arguments) -> Result<Report> {
    let folder = tempfile::Builder::new().prefix("enforcer-vm-").tempdir()?;
    let console = folder.path().join("console");
    let begin = Instant::now();
    let machine = Machine::start(kernel, initrd, (&console, &arguments.words()))?;
    let mut report =
        machine.report(PATIENCE + Duration::from_secs(arguments.sequences / SEQUENCES_PER_SECOND))?;
    report.took = begin.elapsed();
    if report.has_failed() {
        report.console = last_lines(&console);
    }
    Ok(report)
}

struct Machine(Child);

impl Machine {
    fn start(kernel: &Path, initrd: &Path, (console, words): (&Path, &str)) -> Result<Self> {
        let line = format!("console=ttyS0 panic=-1 quiet {words}");
        let mut console_file = std::ffi::OsString::from("file:");
        console_file.push(console);
        let mut qemu = Command::new(QEMU.name);
        qemu.args(["-accel", "tcg,thread=multi", "-smp", "2", "-m", "1024"])
            .args(["-nodefaults", "-nographic", "-no-reboot", "-serial"])
            .arg(console_file)
            .args(["-serial", "stdio", "-kernel"])
            .arg(kernel)
            .arg("-initrd")
            .arg(initrd)
            .args(["-append", &line])
            .stdin(Stdio::null())
            .stdout(Stdio::piped());
        qemu.spawn()
            .map(Self)
            .with_context(|| format!("starting {}", QEMU.name))
    }

    fn report(mut self, patience: Duration) -> Result<Report> {
        let output = self.0.stdout.take().context("the output is piped")?;
        let (sink, lines) = channel();
        // Ends with the machine, whose output it reads.
        thread::spawn(move || {
            for line in BufReader::new(output).split(b'\n').map_while(Result::ok) {
                if sink.send(line).is_err() {
                    break;
                }
            }
        });
        let deadline = Instant::now() + patience;
        let mut report = Report::default();
        loop {
            match lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(line) => report.read(&String::from_utf8_lossy(&line)),
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => {
                    report.give_up(&format!("not done after {} s", patience.as_secs()));
                    self.0.kill().context("ending the machine")?;
                    break;
                }
            }
        }
        let status = self.0.wait().context("waiting for the machine")?;
        report.finish(&format!("the machine ended early ({status})"));
        Ok(report)
    }
}

impl Drop for Machine {
    /// No machine outlives an error of ours. One that has ended is not there to be killed.
    fn drop(&mut self) {
        if matches!(self.0.try_wait(), Ok(None))
            && let Err(error) = self.0.kill().and_then(|()| self.0.wait().map(|_| ()))
        {
            complain!("the machine {} is still there: {error}", self.0.id());
        }
    }
}

fn last_lines(console: &Path) -> Vec<String> {
    let text = fs::read(console).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<_> = text.lines().map(|line| line.trim_end().to_owned()).collect();
    lines[lines.len().saturating_sub(CONSOLE_LINES)..].to_vec()
}
