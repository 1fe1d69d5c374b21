//! Where the report goes, and as whom it is written.

use std::{
    fs,
    io::Read as _,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    process::{Command, Stdio},
};

use nix::{
    sys::stat::Mode,
    unistd::{User, chown, mkfifo},
};
use serde_json::Value;
use tests::fixture::in_own_network;

use super::run::{sandbox, text};

#[test]
fn report_is_written_with_all_groups_of_the_caller() {
    in_own_network(|| {
        let member = Command::new("id").args(["-G", "postgres"]).output()?;
        let groups = text(&member.stdout);
        let own = User::from_name("postgres")?.map(|user| user.gid.to_string());
        let other = groups
            .split_whitespace()
            .find(|group| own.as_deref().is_some_and(|own| own != *group));
        let Some(group) = other else {
            println!("SKIPPED: this machine has no user postgres with a second group");
            return Ok(());
        };
        let folder = tempfile::tempdir()?;
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755))?;
        let report = folder.path().join("report.json");
        fs::write(&report, "")?;
        chown(&report, None, Some(group.parse::<u32>()?.into()))?;
        fs::set_permissions(&report, fs::Permissions::from_mode(0o660))?;
        let arguments = ["--user", "postgres", "--report", &report.display().to_string()];
        let output = sandbox(&arguments).args(["--", "true"]).output()?;
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
        let written: Value = serde_json::from_slice(&fs::read(&report)?)?;
        assert_eq!(written["exit"], 0);
        // The command had nothing of it.
        assert_eq!(fs::metadata(&report)?.uid(), 0);
        Ok(())
    })
    .unwrap();
}

#[test]
fn report_to_a_fifo_is_read_or_refused_and_never_waited_for() {
    in_own_network(|| {
        let folder = tempfile::tempdir()?;
        let fifo = folder.path().join("report");
        mkfifo(&fifo, Mode::from_bits_truncate(0o600))?;
        let path = fifo.display().to_string();
        let output = sandbox(&["--report", &path]).args(["--", "true"]).output()?;
        let error = text(&output.stderr);
        assert_eq!(output.status.code(), Some(125), "{error}");
        assert!(
            error.contains("nobody reads it: start the reader of a FIFO first"),
            "{error}"
        );
        assert_eq!(error.lines().count(), 1, "{error}");
        let mut reader = Command::new("cat").arg(&fifo).stdout(Stdio::piped()).spawn()?;
        // Opened for reading and writing it waits for nobody, and then the reader has it open, too, or will.
        let held = fs::OpenOptions::new().read(true).write(true).open(&fifo)?;
        let output = sandbox(&["--report", &path])
            .args(["--", "sh", "-c", "exit 3"])
            .output()?;
        assert_eq!(output.status.code(), Some(3), "{}", text(&output.stderr));
        drop(held);
        let mut read = String::new();
        reader.stdout.take().unwrap().read_to_string(&mut read)?;
        reader.wait()?;
        let written: Value = serde_json::from_str(&read)?;
        assert_eq!(written["exit"], 3);
        Ok(())
    })
    .unwrap();
}
