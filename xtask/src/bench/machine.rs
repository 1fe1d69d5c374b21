//! The machine that was measured on.

use std::{fs, process::Command, thread};

use serde_json::{Value, json};

use crate::process::{answer, workspace};

pub(super) struct Machine {
    processor: String,
    cores: usize,
    kernel: String,
    mitigations: Vec<String>,
    load: String,
    date: String,
    commit: String,
}

impl Machine {
    /// Before anything is measured: the load average is that of others.
    pub(super) fn look() -> Self {
        Self {
            processor: processor(&read("/proc/cpuinfo")),
            cores: thread::available_parallelism().map_or(0, usize::from),
            kernel: read("/proc/sys/kernel/osrelease"),
            mitigations: mitigations(),
            load: read("/proc/loadavg")
                .split(' ')
                .take(3)
                .collect::<Vec<_>>()
                .join(" "),
            date: said(Command::new("date").args(["--utc", "+%Y-%m-%d %H:%M UTC"])),
            commit: commit(),
        }
    }

    /// In one line.
    pub(super) fn line(&self) -> String {
        let Self {
            processor,
            cores,
            kernel,
            load,
            ..
        } = self;
        format!("{processor}, {cores} processors, Linux {kernel}, load average {load}")
    }

    /// When, and of what.
    pub(super) fn stamp(&self) -> String {
        format!("{}, commit {}", self.date, self.commit)
    }

    /// As a list of the document.
    pub(super) fn markdown(&self) -> String {
        let mitigations = self.mitigations.join("; ");
        let rows = [
            ("processor", format!("{}, {} of them", self.processor, self.cores)),
            ("kernel", format!("Linux {}", self.kernel)),
            ("mitigations", mitigations),
            ("load average before", self.load.clone()),
            ("measured", self.stamp()),
        ];
        rows.map(|(name, value)| format!("- {name}: {value}\n")).concat()
    }

    pub(super) fn json(&self) -> Value {
        json!({
            "processor": self.processor,
            "cores": self.cores,
            "kernel": self.kernel,
            "mitigations": self.mitigations,
            "load": self.load,
            "date": self.date,
            "commit": self.commit,
        })
    }
}

/// The name of the model; not every architecture's kernel says one.
fn processor(cpuinfo: &str) -> String {
    let mut lines = cpuinfo.lines().filter_map(|line| line.split_once(':'));
    let model = lines.find(|(key, _)| key.trim() == "model name");
    model.map_or_else(
        || std::env::consts::ARCH.to_owned(),
        |(_, model)| model.trim().to_owned(),
    )
}

/// What the kernel does against each weakness that the processor has.
fn mitigations() -> Vec<String> {
    let folder = fs::read_dir("/sys/devices/system/cpu/vulnerabilities");
    let mut all: Vec<_> = folder
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| {
            (
                entry.file_name().display().to_string(),
                read(&entry.path().display().to_string()),
            )
        })
        .filter(|(_, state)| state != "Not affected")
        .map(|(name, state)| format!("{name}: {state}"))
        .collect();
    all.sort();
    all
}

fn commit() -> String {
    let git = |words: &[&str]| said(Command::new("git").args(words).current_dir(workspace()));
    let changes = git(&["status", "--porcelain", "--untracked-files=no"]);
    let commit = git(&["rev-parse", "--short", "HEAD"]);
    if changes.is_empty() {
        commit
    } else {
        format!("{commit} with changes")
    }
}

/// What a command prints; nothing where it cannot.
fn said(command: &mut Command) -> String {
    answer(command).unwrap_or_default().trim().to_owned()
}

fn read(file: &str) -> String {
    fs::read_to_string(file).unwrap_or_default().trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processor_is_called_by_its_model() {
        assert_eq!(
            processor("processor\t: 0\nmodel name\t: Fast One\nflags\t: a b\n"),
            "Fast One"
        );
        assert_eq!(processor("BogoMIPS : 50\n"), std::env::consts::ARCH);
    }
}
