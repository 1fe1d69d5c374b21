//! QEMU, and the shell on its machine by ssh.
//!
//! The disk in the cache is never written: what the machine writes goes with it.

use std::{
    fs::{self, File},
    io::{Read as _, Seek as _, Write as _},
    net::TcpListener,
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};

use super::{folder::Temporary, image::Image};
use crate::{
    interrupt::{pause, wait},
    out::complain,
    programs::QEMU,
};

/// A boot takes about a minute where nobody else wants the processors.
const BOOT: Duration = Duration::from_secs(600);
/// No script is to take as long.
const SCRIPT: Duration = Duration::from_secs(900);

/// What takes a script by its standard input.
const SHELL: &str = "bash -s";

/// A running machine; it ends with this process, however that ends.
pub(super) struct Machine {
    qemu: Child,
    folder: Temporary,
    port: u16,
}

/// What a script has printed, and how it ended.
#[derive(Debug)]
pub(super) struct Printed {
    pub(super) text: String,
    pub(super) errors: String,
    pub(super) code: Option<i32>,
}

impl Machine {
    pub(super) fn boot(image: &Image, folder: Temporary) -> Result<Self> {
        let key = key(&folder)?;
        // Free a moment ago; QEMU says so if it no longer is.
        let port = TcpListener::bind("127.0.0.1:0")
            .and_then(|listener| listener.local_addr())
            .context("looking for a free port")?
            .port();
        let words =
            format!("console=ttyS0 root=/dev/vda rw panic=-1 quiet systemd.show_status=0 machine.key={key}");
        let path = |name: &str| folder.folder().join(name).display().to_string();
        let mut qemu = Command::new("setpriv");
        // Killed itself, this process could not end it.
        qemu.args(["--pdeathsig", "KILL", "nice", "-n", "5", QEMU.name])
            // With a thread for each processor, one can run into code that the other is changing: a panic once in some
            // boots (int3 in code that netfilter had just switched on).
            .args([
                "-accel",
                "tcg,thread=single",
                "-cpu",
                "max",
                "-smp",
                "2",
                "-m",
                "2048",
            ])
            .args(["-nodefaults", "-nographic", "-snapshot"])
            .args(["-serial", &format!("file:{}", path("console"))])
            .arg("-kernel")
            .arg(image.kernel())
            .arg("-initrd")
            .arg(image.initrd())
            .args(["-append", &words, "-drive"])
            .arg(format!("file={},if=virtio,format=raw", image.disk().display()))
            .arg("-netdev")
            .arg(format!(
                "user,id=lan,restrict=on,hostfwd=tcp:127.0.0.1:{port}-:22"
            ))
            .args([
                "-device",
                "virtio-net-pci,netdev=lan",
                "-device",
                "virtio-rng-pci",
            ])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(path("errors")).context("making a file for QEMU's errors")?);
        let qemu = qemu.spawn().context("starting QEMU")?;
        let mut machine = Self { qemu, folder, port };
        machine.wait_for_shell(|_| true)?;
        Ok(machine)
    }

    /// Runs a script as root.
    ///
    /// # Errors
    /// If the machine does not answer; not if the script fails.
    pub(super) fn try_run(&self, script: &str) -> Result<Printed> {
        self.shell("root", (SHELL, script.as_bytes()), SCRIPT)
    }

    /// Runs a script as root, to its first command that fails.
    ///
    /// # Errors
    /// If it fails, with what it has printed.
    pub(super) fn run(&self, script: &str) -> Result<String> {
        self.try_run(&format!("set -eu\n{script}"))?.of(script)
    }

    /// Runs a script in a new session of another user.
    ///
    /// # Errors
    /// If it fails, with what it has printed.
    pub(super) fn run_as(&self, user: &str, script: &str) -> Result<String> {
        self.shell(user, (SHELL, script.as_bytes()), SCRIPT)?.of(script)
    }

    /// Unpacks a tar archive into a folder.
    pub(super) fn unpack(&self, archive: &[u8], folder: &str) -> Result<()> {
        let command = format!("mkdir -p {folder} && tar -C {folder} --no-same-owner -xf -");
        self.shell("root", (&command, archive), SCRIPT)?.of(&command)?;
        Ok(())
    }

    /// Boots it anew, and waits until everything that starts with it has started or failed.
    pub(super) fn reboot(&mut self) -> Result<()> {
        let boot = "cat /proc/sys/kernel/random/boot_id";
        let before = self.run(boot)?;
        self.try_run("sync; systemctl reboot")?;
        self.hang_up();
        self.wait_for_shell(|now| now != before)?;
        // It is degraded where something has failed, which some scenarios want.
        self.try_run("systemctl is-system-running --wait")?;
        Ok(())
    }

    /// The last of what its kernel has said.
    pub(super) fn console(&self) -> String {
        let text = fs::read(self.folder.folder().join("console")).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<_> = text.lines().collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }

    /// Until there is a shell on a boot that `is_it`.
    fn wait_for_shell(&mut self, is_it: impl Fn(&str) -> bool) -> Result<()> {
        let deadline = Instant::now() + BOOT;
        let question = "cat /proc/sys/kernel/random/boot_id";
        loop {
            if let Some(status) = self.qemu.try_wait().context("looking after QEMU")? {
                let errors = fs::read_to_string(self.folder.folder().join("errors")).unwrap_or_default();
                bail!("QEMU has ended ({status}): {}", errors.trim());
            }
            let answer = self.shell("root", (question, &[]), Duration::from_secs(60));
            if let Ok(Printed {
                text, code: Some(0), ..
            }) = answer
                && is_it(&text)
            {
                return Ok(());
            }
            self.hang_up();
            ensure!(
                Instant::now() < deadline,
                "no shell after {} s:\n{}",
                BOOT.as_secs(),
                self.console()
            );
            pause()?;
        }
    }

    fn shell(&self, user: &str, (command, input): (&str, &[u8]), patience: Duration) -> Result<Printed> {
        let file = || tempfile::tempfile().context("making a file for a script");
        let (mut script, mut text, mut errors) = (file()?, file()?, file()?);
        script.write_all(input)?;
        script.rewind()?;
        let mut ssh = self.ssh(user);
        ssh.arg(command)
            .stdin(script)
            .stdout(text.try_clone()?)
            .stderr(errors.try_clone()?);
        let mut child = ssh.spawn().context("starting ssh")?;
        let status = wait(&mut child, Instant::now() + patience)
            .with_context(|| format!("on the machine, as {user}: {command}"))?;
        Ok(Printed {
            text: read(&mut text)?,
            errors: read(&mut errors)?,
            code: status.code(),
        })
    }

    fn ssh(&self, user: &str) -> Command {
        let mut ssh = Command::new("ssh");
        ssh.args(["-q", "-F", "/dev/null", "-p", &self.port.to_string(), "-i"])
            .arg(self.folder.folder().join("key"));
        for option in [
            "BatchMode=yes",
            "StrictHostKeyChecking=no",
            "UserKnownHostsFile=/dev/null",
            "ConnectTimeout=30",
            "ServerAliveInterval=60",
        ] {
            ssh.args(["-o", option]);
        }
        // One connection for all of root's scripts. A user's session begins and ends with its script.
        if user == "root" {
            ssh.args(["-o", "ControlMaster=auto", "-o", "ControlPersist=yes", "-o"])
                .arg(format!("ControlPath={}", self.control().display()));
        }
        ssh.arg(format!("{user}@127.0.0.1"));
        ssh
    }

    fn control(&self) -> PathBuf {
        self.folder.folder().join("ssh")
    }

    /// Ends the connection of root's scripts, if there is one.
    fn hang_up(&self) {
        if self.control().exists() {
            let mut exit = self.ssh("root");
            exit.args(["-O", "exit"])
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null());
            // It ends with the machine in any case.
            exit.status().ok();
        }
    }
}

impl Printed {
    /// What it has printed.
    fn of(self, script: &str) -> Result<String> {
        ensure!(
            self.code == Some(0),
            "`{}` ended with {:?}:\n{}{}",
            script.trim(),
            self.code,
            self.text,
            self.errors
        );
        Ok(self.text)
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        self.hang_up();
        if let Err(error) = self.qemu.kill().and_then(|()| self.qemu.wait()) {
            complain!("the machine {} is still there: {error}", self.qemu.id());
        }
    }
}

fn read(file: &mut File) -> Result<String> {
    let mut bytes = Vec::new();
    file.rewind()?;
    file.read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Makes the key that the machine lets in, and returns its public half.
fn key(folder: &Temporary) -> Result<String> {
    let file = folder.folder().join("key");
    let status = Command::new("ssh-keygen")
        .args(["-q", "-t", "ed25519", "-N", "", "-C", "", "-f"])
        .arg(&file)
        .status()
        .context("starting ssh-keygen")?;
    ensure!(status.success(), "ssh-keygen: {status}");
    let public = fs::read_to_string(file.with_extension("pub")).context("reading the key")?;
    let key = public.split_whitespace().nth(1).context("a key has two words")?;
    Ok(key.to_owned())
}
