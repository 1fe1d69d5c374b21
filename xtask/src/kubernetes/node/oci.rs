//! What containerd takes for runc: runc itself, after limits have been left out that the node cannot hold.
//!
//! Where version 1 of cgroups has a controller, the node's hierarchy of version 2 lacks it, and runc would refuse every
//! container with a limit of it.

use std::{
    ffi::OsString,
    fs,
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
};

use anyhow::{Context as _, Result};
use serde_json::Value;

/// The controllers that containers ask for, by the names that runc's configuration has for them as well.
const CONTROLLERS: [&str; 3] = ["cpu", "memory", "pids"];

/// What runc is asked for, as far as it matters here.
#[derive(Debug, PartialEq, Eq)]
enum Asked {
    /// A container, by a bundle.
    Container(PathBuf),
    /// Other limits.
    Limits,
    /// Something else.
    Else,
}

/// Runs runc with these arguments; returns only where that cannot be done, or need not.
pub(in crate::kubernetes) fn run(arguments: &[OsString]) -> Result<ExitCode> {
    let held =
        fs::read_to_string("/sys/fs/cgroup/cgroup.controllers").context("reading the node's controllers")?;
    let held: Vec<_> = held.split_whitespace().collect();
    let missing = CONTROLLERS.into_iter().filter(|name| !held.contains(name));
    let missing: Vec<_> = missing.collect();
    if !missing.is_empty() {
        match asked(arguments) {
            Asked::Container(bundle) => relax(&bundle.join("config.json"), &missing)?,
            Asked::Limits => return Ok(ExitCode::SUCCESS),
            Asked::Else => {}
        }
    }
    Err(Command::new("runc").args(arguments).exec()).context("starting runc")
}

fn asked(arguments: &[OsString]) -> Asked {
    let has = |words: &[&str]| {
        arguments
            .iter()
            .any(|argument| words.iter().any(|word| argument == word))
    };
    if has(&["create", "run"]) {
        let mut following = arguments
            .iter()
            .skip_while(|argument| *argument != "--bundle" && *argument != "-b");
        return Asked::Container(following.nth(1).map_or_else(|| ".".into(), PathBuf::from));
    }
    if has(&["update"]) {
        Asked::Limits
    } else {
        Asked::Else
    }
}

fn relax(file: &Path, missing: &[&str]) -> Result<()> {
    let text = fs::read_to_string(file).with_context(|| format!("reading {}", file.display()))?;
    let mut configuration = serde_json::from_str(&text).context("the bundle's configuration is JSON")?;
    leave_out(&mut configuration, missing);
    // Nobody may find half of it.
    let new = file.with_extension("new");
    fs::write(&new, configuration.to_string())
        .and_then(|()| fs::rename(&new, file))
        .with_context(|| format!("writing {}", file.display()))
}

fn leave_out(configuration: &mut Value, missing: &[&str]) {
    if let Some(resources) = configuration
        .pointer_mut("/linux/resources")
        .and_then(Value::as_object_mut)
    {
        for name in missing.iter().chain(&["unified"]) {
            resources.remove(*name);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn bundle_is_found_among_the_arguments() {
        let asked = |line: &str| asked(&line.split(' ').map(OsString::from).collect::<Vec<_>>());
        assert_eq!(
            asked("--root /r --log /l create --bundle /b --pid-file /p name"),
            Asked::Container("/b".into())
        );
        assert_eq!(asked("run -b /b name"), Asked::Container("/b".into()));
        assert_eq!(asked("create name"), Asked::Container(".".into()));
        assert_eq!(asked("update --resources - name"), Asked::Limits);
        assert_eq!(asked("--root /r start name"), Asked::Else);
    }

    #[test]
    fn limits_without_a_controller_are_left_out_and_others_stay() {
        let mut configuration = json!({ "linux": { "resources": {
            "cpu": { "shares": 2 }, "memory": { "limit": 1 }, "devices": [], "unified": { "memory.high": "1" },
        } } });
        leave_out(&mut configuration, &["memory", "pids"]);
        assert_eq!(
            configuration,
            json!({ "linux": { "resources": { "cpu": { "shares": 2 }, "devices": [] } } })
        );
        let mut without = json!({ "process": {} });
        leave_out(&mut without, &["cpu"]);
        assert_eq!(without, json!({ "process": {} }));
    }
}
