//! The machine with its apps, and what they have reached.
//!
//! Every app calls a refused address, then a registered one. The servers note each accept, the apps how each call
//! ended: what counts as an escape is an accept, whatever the app was told.

use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};

use super::{
    machine::{Machine, Printed},
    readme,
};
use crate::process::workspace;

/// Where the checkout is, in which the page's commands are typed.
const CHECKOUT: &str = "/root/enforcer";
/// The Debian package.
pub(super) const PACKAGE: &str = "/root/enforcer.deb";
/// Of the refused server.
const BAD: &str = "198.51.100.20:";
/// Of the registered one.
const GOOD: &str = "198.51.100.10:";
/// Where an app calls that nobody enforces.
const OTHER: &str = ":9009";

/// Services that are enforced, whose start ends when they have called.
pub(super) const SERVICES: &str =
    r"app.service worker@1.service worker@2.service tool@a\x2db.service front.service";

pub(super) struct Stage {
    machine: Machine,
    total: Tally,
    is_enforced: bool,
}

/// What the apps have called and reached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    /// Accepts of the refused server.
    pub(super) escaped: usize,
    /// Accepts of the registered server.
    pub(super) accepted: usize,
    /// Calls of the refused server, as the apps have them.
    pub(super) tried: usize,
    /// Calls of the registered server that did not reach it.
    pub(super) refused: usize,
    /// Accepts from the app that nobody enforces.
    pub(super) others: usize,
}

impl Stage {
    pub(super) fn new(machine: Machine) -> Result<Self> {
        machine.try_run("systemctl is-system-running --wait")?;
        Ok(Self {
            machine,
            total: Tally::default(),
            is_enforced: false,
        })
    }

    /// Brings the checkout, the package and the apps' program, and starts the servers.
    pub(super) fn equip(&self, [enforcer, machine, package]: &[PathBuf; 3]) -> Result<()> {
        let mut tar = tar::Builder::new(Vec::new());
        tar.append_dir_all("deploy", workspace().join("deploy"))?;
        let built = Path::new("target/x86_64-unknown-linux-musl/release/enforcer");
        tar.append_path_with_name(enforcer, built)?;
        self.machine.unpack(&tar.into_inner()?, CHECKOUT)?;
        let mut tar = tar::Builder::new(Vec::new());
        tar.append_path_with_name(machine, "machine")?;
        self.machine.unpack(&tar.into_inner()?, "/usr/local/bin")?;
        let mut tar = tar::Builder::new(Vec::new());
        let name = Path::new(PACKAGE).file_name().expect("a file has a name");
        tar.append_path_with_name(package, name)?;
        self.machine.unpack(&tar.into_inner()?, "/root")?;
        self.run(include_str!("equip.sh"))?;
        Ok(())
    }

    pub(super) fn run(&self, script: &str) -> Result<String> {
        self.machine.run(script)
    }

    pub(super) fn try_run(&self, script: &str) -> Result<Printed> {
        self.machine.try_run(script)
    }

    pub(super) fn run_as(&self, user: &str, script: &str) -> Result<String> {
        self.machine.run_as(user, script)
    }

    /// Types the commands below a heading of deploy/README.md into the machine, in the checkout.
    pub(super) fn type_in(&self, heading: &str) -> Result<String> {
        let commands = readme::commands(heading)?;
        self.run(&format!("cd {CHECKOUT}\n{commands}"))
    }

    /// Writes a file.
    pub(super) fn write(&self, file: &str, text: &str) -> Result<()> {
        self.run(&format!(
            "cat > {file} <<'end of the file'\n{text}\nend of the file"
        ))?;
        Ok(())
    }

    /// Starts the services anew so many times, and counts.
    pub(super) fn restart(&mut self, rounds: usize) -> Result<Tally> {
        self.forget()?;
        // So many starts are too many for systemd otherwise.
        self.run(&format!(
            "for i in $(seq {rounds}); do systemctl reset-failed; systemctl restart '{}'; done",
            SERVICES.replace(' ', "' '")
        ))?;
        self.tally()
    }

    /// The counts since [`Self::forget`] or the boot.
    pub(super) fn tally(&mut self) -> Result<Tally> {
        let accepts = self.run("cat /run/accepts")?;
        let calls = self.run("cat /run/calls")?;
        let tally = count(&accepts, &calls);
        if self.is_enforced {
            self.total.escaped += tally.escaped;
            self.total.accepted += tally.accepted;
            self.total.tried += tally.tried;
        }
        Ok(tally)
    }

    /// The counts, if nothing has escaped and each of the apps with these names has tried to and was served.
    ///
    /// # Errors
    /// Otherwise.
    pub(super) fn enforced(&mut self, apps: &[&str]) -> Result<Tally> {
        let calls = self.run("cat /run/calls")?;
        for app in apps {
            let lines = || {
                calls
                    .lines()
                    .filter_map(|line| line.strip_prefix(app)?.strip_prefix(' '))
            };
            let was_tried = lines().any(|call| call.starts_with(BAD));
            let was_served = lines().any(|call| call.starts_with(GOOD) && call.ends_with(" reached"));
            ensure!(
                was_tried && was_served,
                "{app} has not called, or was not served:\n{calls}"
            );
        }
        self.tally()?.holds_and_serves()
    }

    /// From here on accepts of the refused server are escapes, or no longer.
    pub(super) fn expect(&mut self, is_enforced: bool) {
        self.is_enforced = is_enforced;
    }

    pub(super) fn forget(&self) -> Result<()> {
        self.run(": > /run/accepts; : > /run/calls")?;
        Ok(())
    }

    pub(super) fn reboot(&mut self) -> Result<()> {
        self.machine.reboot()
    }

    /// For whoever has to find out why something failed.
    pub(super) fn circumstances(&self) -> Result<String> {
        let printed = self.try_run(include_str!("circumstances.sh"))?;
        Ok(printed.text + &self.machine.console())
    }

    /// The figures of all scenarios.
    pub(super) fn totals(&self) -> String {
        let Tally {
            escaped,
            accepted,
            tried,
            ..
        } = self.total;
        format!(
            "{tried} calls of a refused server, {escaped} accepts there; {accepted} accepts at the registered one"
        )
    }

    /// Saves a copy of a file of the machine's and puts another text there; [`Self::restore`] brings it back.
    pub(super) fn spoil(&self, file: &str, text: &str) -> Result<()> {
        self.run(&format!("cp -p {file} /root/kept"))?;
        self.write("/root/spoilt", text)?;
        // The file may be the program that runs: it is replaced and not written.
        self.run(&format!(
            "chmod --reference={file} /root/spoilt; mv /root/spoilt {file}"
        ))?;
        Ok(())
    }

    pub(super) fn restore(&self, file: &str) -> Result<()> {
        self.run(&format!("mv /root/kept {file}"))?;
        Ok(())
    }
}

impl Tally {
    /// Nothing has escaped, and there was something that could have.
    ///
    /// # Errors
    /// Otherwise.
    pub(super) fn holds(self) -> Result<Self> {
        ensure!(
            self.escaped == 0,
            "{} accepts of {} calls at the refused server",
            self.escaped,
            self.tried
        );
        ensure!(self.tried > 0, "no app has called");
        Ok(self)
    }

    /// The same, and every call of the registered server has reached it.
    ///
    /// # Errors
    /// Otherwise.
    pub(super) fn holds_and_serves(self) -> Result<Self> {
        self.holds()?;
        ensure!(
            self.refused == 0,
            "{} calls of the registered server did not reach it",
            self.refused
        );
        ensure!(self.accepted > 0, "nothing has reached the registered server");
        Ok(self)
    }
}

impl std::fmt::Display for Tally {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            escaped,
            accepted,
            tried,
            ..
        } = self;
        write!(
            f,
            "{escaped} accepts at the refused server, {accepted} at the registered one ({tried} apps)"
        )
    }
}

fn count(accepts: &str, calls: &str) -> Tally {
    let mut tally = Tally::default();
    for server in accepts.lines().filter_map(|line| line.split(' ').nth(1)) {
        if server.ends_with(OTHER) {
            tally.others += 1;
        } else if server.starts_with(BAD) {
            tally.escaped += 1;
        } else {
            tally.accepted += 1;
        }
    }
    for line in calls.lines().filter(|line| !line.contains(&format!("{OTHER} "))) {
        if line.contains(BAD) {
            tally.tried += 1;
        } else if line.contains(GOOD) && !line.ends_with(" reached") {
            tally.refused += 1;
        }
    }
    tally
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepts_and_calls_are_counted_by_server() {
        let accepts = "tcp 198.51.100.20:9000 from 198.51.100.1:5\ntcp 198.51.100.10:9000 from 198.51.100.1:6\n\
                       tcp 198.51.100.20:9009 from 198.51.100.1:7\n";
        let calls = "app 198.51.100.20:9000 errno-1\napp 198.51.100.10:9000 reached\n\
                     front 198.51.100.10:9003 TimedOut\nother 198.51.100.20:9009 reached\n";
        let expected = Tally {
            escaped: 1,
            accepted: 1,
            tried: 1,
            refused: 1,
            others: 1,
        };
        let tally = count(accepts, calls);
        assert_eq!(tally, expected);
        assert!(tally.holds().is_err());
        assert!(Tally::default().holds().is_err());
    }
}
