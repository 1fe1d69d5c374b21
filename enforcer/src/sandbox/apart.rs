//! A user namespace of the command's own, in which every user and group is the same as outside.
//!
//! ```text
//! contain -> unshare -> waits ---------------------------.-> becomes the command
//!        `-> mapping (still outside) -> uid_map, gid_map -'
//! ```
//!
//! The user's other processes are then strangers to those of the command: whoever is in another user namespace than a
//! process needs CAP_SYS_PTRACE over it (`cap_ptrace_access_check`) to trace it, to take its open files, or to go by its
//! `/proc/PID/root` to the files as they are outside. It must give the command no privilege: in the namespace it is as much
//! an ordinary user as outside, and mounts, networking and everything else belong to the namespace of the machine.

use std::{
    fs,
    io::{self, Read as _, Write as _},
    process::{Child, Command, Stdio},
};

use anyhow::{Context as _, Result, ensure};
use landlock::{Ruleset, RulesetAttr as _, RulesetStatus, Scope};
use nix::sched::{CloneFlags, unshare};

use super::PART;

/// The process that writes the maps of this one, from outside.
pub(super) struct Mapping(Child);

/// Starts it, and has this process, which has one thread, enter the namespace when it says so.
///
/// # Errors
/// If it cannot be started.
pub(super) fn begin() -> Result<Mapping> {
    let mut mapping = Command::new("/proc/self/exe");
    mapping.args([PART, "mapping", "--of", &std::process::id().to_string()]);
    mapping.env_clear().stdin(Stdio::piped()).stdout(Stdio::null());
    let mapping = mapping.spawn().context("starting what maps users")?;
    Ok(Mapping(mapping))
}

impl Mapping {
    /// Enters the namespace. Where the kernel has none to give, this is told, and the command goes on without.
    ///
    /// # Errors
    /// If users and groups would not be the same there.
    pub(super) fn enter(mut self) -> Result<()> {
        let entered = unshare(CloneFlags::CLONE_NEWUSER);
        let mut sign = self.0.stdin.take().context("its input is a pipe")?;
        let line: &[u8] = if entered.is_ok() { b"map\n" } else { b"" };
        let told = sign.write_all(line);
        drop(sign);
        let ended = self.0.wait().context("waiting for what maps users")?;
        match entered {
            Ok(()) => {
                told.context("telling what maps users")?;
                ensure!(ended.success(), "users and groups are not mapped");
            }
            Err(error) => {
                let line = format!(
                    "enforcer sandbox: other processes of the command's user lead out of the sandbox, as the kernel makes no \
                     user namespace ({}); see user.max_user_namespaces\n",
                    error.desc()
                );
                io::stderr().write_all(line.as_bytes()).ok();
            }
        }
        Ok(())
    }
}

/// Keeps signals of this process, which has `no_new_privs`, and of all that come from it among themselves: some programs
/// run what they find when they get one, as the user's systemd, Node and Java do, or leave their memory in a file. Where the
/// kernel cannot (before 6.12, or without Landlock), this is told, and the command goes on without.
///
/// # Errors
/// If the kernel can, and does not.
pub(super) fn keep_signals() -> Result<()> {
    let rules = Ruleset::default().scope(Scope::Signal)?.create()?;
    let kept = rules.restrict_self().context("keeping signals inside")?;
    if kept.ruleset != RulesetStatus::FullyEnforced {
        io::stderr()
            .write_all(
                b"enforcer sandbox: the command can send signals to other processes of its user, as the kernel has no Landlock \
                  that keeps them inside (6.12): some run commands when they get one\n",
            )
            .ok();
    }
    Ok(())
}

/// Maps every user and group of this process's namespace to itself in that of a process, once told to.
///
/// # Errors
/// If the kernel refuses.
pub(crate) fn map(of: u32) -> Result<()> {
    let mut told = Vec::new();
    io::stdin().read_to_end(&mut told).context("waiting")?;
    if told.is_empty() {
        return Ok(());
    }
    for file in ["uid_map", "gid_map"] {
        let own =
            fs::read_to_string(format!("/proc/self/{file}")).with_context(|| format!("reading {file}"))?;
        let same = same(&own).with_context(|| format!("{file} is not understood: {own:?}"))?;
        fs::write(format!("/proc/{of}/{file}"), same).with_context(|| format!("writing {file}"))?;
    }
    Ok(())
}

/// Lines of `inside outside count`: what is inside, to itself.
fn same(own: &str) -> Option<String> {
    let lines = own.lines().map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let [inside, _, count] = fields[..] else {
            return None;
        };
        Some(format!("{inside} {inside} {count}\n"))
    });
    lines.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everybody_who_is_inside_is_the_same_one_further_inside() {
        let all = "         0          0 4294967295\n";
        assert_eq!(same(all).as_deref(), Some("0 0 4294967295\n"));
        let container = "0 100000 1000\n1000 5000 1\n";
        assert_eq!(same(container).as_deref(), Some("0 0 1000\n1000 1000 1\n"));
        assert_eq!(same("0 0\n"), None);
    }
}
