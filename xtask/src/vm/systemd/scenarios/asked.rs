//! Where runs what a user asks somebody else to run: the table "Who asks somebody else" of docs/BOUNDARY.md.

use anyhow::{Result, ensure};

use crate::vm::systemd::stage::Stage;

/// What is asked, and in what the process runs that answers.
const ASKED: [(&str, &str); 11] = [
    ("sudo", "/user.slice/user-1000.slice/session-"),
    ("sudo-login", "/user.slice/user-1000.slice/session-"),
    ("sudo-su", "/user.slice/user-1000.slice/session-"),
    ("user-unit", "/user.slice/user-1000.slice/user@1000.service/"),
    ("user-scope", "/user.slice/user-1000.slice/user@1000.service/"),
    ("user-slice", "/user.slice/user-1000.slice/user@1000.service/"),
    ("cron", "/system.slice/cron.service"),
    ("at", "/system.slice/atd.service"),
    ("dbus", "/system.slice/systemd-hostnamed.service"),
    ("sudo-systemd-run", "/system.slice/run-"),
    ("sudo-run0", "/user.slice/user-0.slice/session-"),
];

/// Everything is where the page says.
pub(super) fn asked(stage: &mut Stage) -> Result<String> {
    stage.run("echo 'alice ALL=(ALL) NOPASSWD: ALL' > /etc/sudoers.d/alice; systemctl start cron atd")?;
    let said = stage.run_as("alice", include_str!("../asked.sh"));
    stage.run("rm /etc/sudoers.d/alice; rm -f /var/spool/cron/crontabs/alice")?;
    let said = said?;
    for (what, expected) in ASKED {
        let line = said
            .lines()
            .find_map(|line| line.strip_prefix(what)?.strip_prefix(' '));
        let cgroup = line.map(|line| line.trim_start_matches("0::"));
        ensure!(
            cgroup.is_some_and(|cgroup| cgroup.starts_with(expected)),
            "{what} runs in {cgroup:?}, not in {expected}"
        );
    }
    for what in ["systemd-run", "run0", "start-unit"] {
        ensure!(
            said.lines().any(|line| line == format!("{what} refused")),
            "{what} was not refused:\n{said}"
        );
    }
    Ok(format!(
        "{} are where docs/BOUNDARY.md says, 3 are refused",
        ASKED.len()
    ))
}
