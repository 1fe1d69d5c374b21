//! A kernel that refuses: a command runs under a seccomp filter that answers chosen commands of `bpf(2)`, or `setns(2)`,
//! with an errno, as kernels do that are short of memory, locked down, or whose bpffs takes nothing more.
#![expect(unsafe_code, reason = "a filter goes to the kernel by address")]

use std::{ffi::OsString, io, os::unix::process::CommandExt as _, process::Command};

use anyhow::{Context as _, Result};
use nix::sys::prctl;

/// Argument with which a test binary runs a command under a filter: `COMMAND ERRNO PROGRAM...`.
pub const ARGUMENT: &str = "faulty";

/// `BPF_MAP_CREATE` of `linux/bpf.h`.
pub const MAP_CREATE: u32 = 0;
/// `BPF_MAP_UPDATE_ELEM`.
pub const MAP_UPDATE: u32 = 2;
/// `BPF_MAP_DELETE_ELEM`.
pub const MAP_DELETE: u32 = 3;
/// `BPF_OBJ_PIN`.
pub const PIN: u32 = 6;
/// Every command.
pub const ALL: u32 = u32::MAX;
/// No command of `bpf(2)` but the system call `setns(2)`.
pub const SETNS: u32 = u32::MAX - 1;

/// What an enforcer is to be started by so that `bpf(2)` fails.
pub fn failing(binary: &str, command: u32, errno: i32) -> Vec<String> {
    [
        binary.to_owned(),
        ARGUMENT.to_owned(),
        command.to_string(),
        errno.to_string(),
    ]
    .into()
}

/// Becomes the program under the filter.
///
/// # Errors
/// If an argument is missing, or the kernel takes no filter.
pub fn main(mut arguments: impl Iterator<Item = OsString>) -> Result<()> {
    let mut number = || -> Result<String> {
        let word = arguments.next().context("an argument is missing")?;
        word.into_string().ok().context("a number")
    };
    let (command, errno) = (number()?.parse()?, number()?.parse()?);
    let program = arguments.next().context("no program is named")?;
    filter(command, errno).context("setting the filter")?;
    Err(Command::new(program).args(arguments).exec().into())
}

fn filter(command: u32, errno: u32) -> io::Result<()> {
    let bpf = u32::try_from(libc::SYS_bpf).map_err(io::Error::other)?;
    let statement = |code: u32, k| libc::sock_filter {
        code: u16::try_from(code).unwrap_or(u16::MAX),
        jt: 0,
        jf: 0,
        k,
    };
    let load = |offset| statement(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, offset);
    let unless = |k, skipped| libc::sock_filter {
        jf: skipped,
        ..statement(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, k)
    };
    let answer = |k| statement(libc::BPF_RET | libc::BPF_K, k);
    let refuse = answer(libc::SECCOMP_RET_ERRNO | errno);
    // `struct seccomp_data`: the call's number is first, and its first argument, little-endian, at 16.
    let setns = u32::try_from(libc::SYS_setns).map_err(io::Error::other)?;
    let mut filter = match command {
        ALL => vec![load(0), unless(bpf, 1)],
        SETNS => vec![load(0), unless(setns, 1)],
        command => vec![load(0), unless(bpf, 3), load(16), unless(command, 1)],
    };
    filter.extend([refuse, answer(libc::SECCOMP_RET_ALLOW)]);
    prctl::set_no_new_privs()?;
    let program = libc::sock_fprog {
        len: u16::try_from(filter.len()).map_err(io::Error::other)?,
        filter: filter.as_mut_ptr(),
    };
    // SAFETY: the kernel copies the filter, which lives through the call.
    let set = unsafe {
        libc::prctl(
            libc::PR_SET_SECCOMP,
            libc::SECCOMP_MODE_FILTER,
            &raw const program,
        )
    };
    if set == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}
