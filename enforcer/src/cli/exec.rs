//! `enforcer exec`: a command inside a workload's cgroup.
//!
//! The command takes this process's place, so that its exit code and the signal that ends it are its own. What keeps it
//! from starting has the codes that `env` and `timeout` have.

use std::{
    ffi::{CString, OsStr, OsString},
    fs, io,
    os::unix::process::CommandExt as _,
    path::Path,
    process::{Command, ExitCode},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use nix::{
    sys::prctl::set_no_new_privs,
    unistd::{Uid, User, initgroups, setgid, setuid},
};

use super::{Chosen, Exec, out};
use crate::{
    config::{Config, Place, WorkloadConfig},
    datapath::{CgroupMount, is_enforced},
    typing,
};

/// Nothing was started: it would not be enforced, or the workload's cgroup cannot be joined.
const REFUSED: u8 = 125;
/// The command is there and cannot be started.
const CANNOT_START: u8 = 126;
/// There is no such command.
const NOT_FOUND: u8 = 127;

/// Replaces this process by the command, so that it returns only if that fails.
pub(super) fn run(arguments: &Exec) -> Result<ExitCode> {
    match enter(arguments) {
        Ok(None) => Ok(execute(&arguments.command, arguments.user.as_deref())),
        Ok(Some(slice)) => {
            let error = in_scope(&slice, arguments);
            out::complain(format_args!("error: systemd-run cannot be started: {error}"));
            Ok(REFUSED.into())
        }
        Err(error) => {
            out::complain(format_args!("error: {error:#}"));
            Ok(REFUSED.into())
        }
    }
}

/// Replaces this process by a command, as a user if one is named.
pub(super) fn execute(command: &[OsString], user: Option<&str>) -> ExitCode {
    let Some((program, parameters)) = command.split_first() else {
        return CANNOT_START.into();
    };
    let mut command = Command::new(program);
    command.args(parameters);
    if let Err(error) = user.map_or(Ok(()), |user| become_user(user, &mut command)) {
        out::complain(format_args!("error: {error:#}"));
        return CANNOT_START.into();
    }
    not_started(program, &command.exec())
}

/// Says why a program cannot be started, and returns the exit code that does.
pub(super) fn not_started(program: &OsStr, error: &io::Error) -> ExitCode {
    out::complain(format_args!(
        "error: {} cannot be started: {error}",
        program.display()
    ));
    match error.kind() {
        io::ErrorKind::NotFound => NOT_FOUND.into(),
        _ => CANNOT_START.into(),
    }
}

/// Becomes a user, with all of her groups, whose environment the command gets. Not by the command's own `uid`: that takes
/// the groups away again. The terminal is root's, whose shell would run what she types there.
fn become_user(name: &str, command: &mut Command) -> Result<()> {
    typing::forbid().or_else(|_| {
        // In a container without CAP_SYS_ADMIN the kernel wants more: setuid programs take no rights then.
        set_no_new_privs()?;
        typing::forbid()
    })?;
    let user = user(name)?;
    let groups = CString::new(user.name.as_str()).context("the user's name")?;
    initgroups(&groups, user.gid).with_context(|| format!("taking the groups of {name}"))?;
    setgid(user.gid).with_context(|| format!("taking the group of {name}"))?;
    setuid(user.uid).with_context(|| format!("becoming {name}"))?;
    command.env("HOME", &user.dir).env("SHELL", &user.shell);
    command.env("USER", &user.name).env("LOGNAME", &user.name);
    Ok(())
}

pub(super) fn user(name: &str) -> Result<User> {
    let found = match name.parse() {
        Ok(uid) => User::from_uid(Uid::from_raw(uid)),
        Err(_) => User::from_name(name),
    };
    found
        .with_context(|| format!("looking up {name}"))?
        .with_context(|| format!("there is no user {name} in /etc/passwd"))
}

/// Where systemd says that it runs the machine.
const SYSTEMD: &str = "/run/systemd/system";

/// Has systemd make a scope in a slice, in which this command, in the same process, executes the other: a slice in which
/// units are takes no process itself.
fn in_scope(slice: &str, arguments: &Exec) -> anyhow::Error {
    let program = match std::env::current_exe() {
        Ok(program) => program,
        Err(error) => return error.into(),
    };
    let mut command = Command::new("systemd-run");
    command.args(["--scope", "--quiet", "--collect", "--slice", slice, "--"]);
    command.arg(program).arg("execute");
    if let Some(user) = &arguments.user {
        command.arg("--user").arg(user);
    }
    command.arg("--").args(&arguments.command);
    command.exec().into()
}

/// The workload's entry.
fn entry(arguments: &Exec) -> Result<(Config, WorkloadConfig)> {
    if let Some(namespace) = &arguments.namespace {
        let chosen = Chosen {
            config: arguments.config.clone(),
            namespace: namespace.clone(),
            name: arguments.name.clone(),
        };
        return chosen.find();
    }
    let name = arguments
        .user
        .as_deref()
        .context("neither a namespace nor a user is named")?;
    let uid = user(name)?.uid.as_raw();
    let config = Config::load(&arguments.config)?;
    let found = config
        .workloads
        .iter()
        .find(|entry| entry.place == Place::User(uid));
    let found = found.cloned();
    let entry = found.with_context(|| format!("no workload is configured by `user: {name}`"))?;
    Ok((config, entry))
}

/// Puts this process into the workload's cgroup, once that is enforced, or returns the slice in which systemd has to make
/// a scope.
fn enter(arguments: &Exec) -> Result<Option<String>> {
    let (config, entry) = entry(arguments)?;
    let mount = match &config.cgroup_mount {
        Some(path) => CgroupMount::at(path)?,
        None => CgroupMount::find()?,
    };
    let cgroup = entry.cgroup.as_str();
    let folder = mount.folder(Path::new(cgroup));
    let made = mount.make(Path::new(cgroup));
    made.with_context(|| format!("creating the cgroup {}", folder.display()))?;
    if !arguments.allow_unenforced {
        let is_enforced = wait_for_enforcement(&folder).with_context(|| {
            format!("the command was not started, since it is not known whether {cgroup} is enforced")
        })?;
        if !is_enforced {
            bail!(
                "{cgroup} is not enforced, so the command was not started: start `enforcer run`, or use \
                 --allow-unenforced to run the command without enforcement until then"
            );
        }
    }
    if let Some(slice) = entry.place.slice().filter(|_| Path::new(SYSTEMD).is_dir()) {
        return Ok(Some(slice.as_str().to_owned()));
    }
    fs::write(folder.join("cgroup.procs"), "0")
        .with_context(|| format!("joining the cgroup {}", folder.display()))?;
    Ok(None)
}

/// How long a running enforcer may take to find a cgroup that has just been made.
const PATIENCE: Duration = Duration::from_secs(2);

/// How often it is looked whether it has.
const GLANCE: Duration = Duration::from_millis(5);

fn wait_for_enforcement(folder: &Path) -> Result<bool> {
    let start = Instant::now();
    loop {
        if is_enforced(folder)? {
            return Ok(true);
        }
        if start.elapsed() >= PATIENCE {
            return Ok(false);
        }
        std::thread::sleep(GLANCE);
    }
}
