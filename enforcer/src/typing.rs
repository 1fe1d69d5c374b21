//! Keeps a command from typing into the terminal that it shares with who has started it: what it types there, the
//! caller's shell would run, outside.
//!
//! A system call filter (`seccomp(2)`), which is inherited and cannot be taken off. It must never change anything else: whether
//! programs of others (setuid) take their rights is for who calls to say. Kernels from 6.2 on refuse the request
//! by themselves (`dev.tty.legacy_tiocsti`), unless they were told otherwise.

#![expect(
    unsafe_code,
    reason = "no crate sets a filter and leaves setuid programs their rights"
)]

use std::io;

use anyhow::{Context as _, Result, ensure};
use seccompiler::sock_filter;

/// Puts a byte into a terminal's input.
const TIOCSTI: u32 = 0x5412;
/// Of the console: pastes what is selected, among others.
const TIOCLINUX: u32 = 0x541c;

/// `AUDIT_ARCH_*` and the number of `ioctl`, also under a second table of numbers (x32).
#[cfg(target_arch = "x86_64")]
const NATIVE: (u32, [u32; 2]) = (0xc000_003e, [16, 0x4000_0202]);
/// The same of programs of 32 bits.
#[cfg(target_arch = "x86_64")]
const COMPATIBLE: (u32, u32) = (0x4000_0003, 54);
/// `AUDIT_ARCH_*` and the number of `ioctl`.
#[cfg(target_arch = "aarch64")]
const NATIVE: (u32, [u32; 2]) = (0xc000_00b7, [29, 29]);
/// The same of programs of 32 bits.
#[cfg(target_arch = "aarch64")]
const COMPATIBLE: (u32, u32) = (0x4000_0028, 54);

/// Places in `struct seccomp_data`; of the second argument the low half, of a little-endian machine.
const NUMBER: u32 = 0;
const ARCHITECTURE: u32 = 4;
const REQUEST: u32 = 24;

/// `SECCOMP_RET_*`.
const ALLOW: u32 = 0x7fff_0000;
const EPERM: u32 = 0x0005_0001;

/// From now on, for this process, which has one thread, and all that come from it.
///
/// # Errors
/// If the kernel has no such filters, or this process has neither CAP_SYS_ADMIN nor `no_new_privs`.
pub(crate) fn forbid() -> Result<()> {
    let program = libc::sock_fprog {
        len: u16::try_from(FILTER.len()).context("the filter is short")?,
        filter: FILTER.as_ptr().cast::<libc::sock_filter>().cast_mut(),
    };
    // SAFETY: the kernel copies the filter, and writes to none of it; the program and what it points to live until then.
    // Both types are C's `struct sock_filter`.
    let outcome = unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_SET_MODE_FILTER,
            0,
            &raw const program,
        )
    };
    let error = io::Error::last_os_error();
    ensure!(
        outcome == 0,
        "keeping the command from typing into the terminal: {error}"
    );
    Ok(())
}

static FILTER: [sock_filter; 13] = [
    load(ARCHITECTURE),
    if_equal(NATIVE.0, 0, 3),
    load(NUMBER),
    if_equal(NATIVE.1[0], 4, 0),
    if_equal(NATIVE.1[1], 3, 6),
    if_equal(COMPATIBLE.0, 0, 5),
    load(NUMBER),
    if_equal(COMPATIBLE.1, 0, 3),
    load(REQUEST),
    if_equal(TIOCSTI, 2, 0),
    if_equal(TIOCLINUX, 1, 0),
    give(ALLOW),
    give(EPERM),
];

/// `BPF_LD | BPF_W | BPF_ABS`.
const fn load(place: u32) -> sock_filter {
    instruction(0x20, (0, 0), place)
}

/// `BPF_JMP | BPF_JEQ | BPF_K`: how many instructions are skipped if it is that, and if not.
const fn if_equal(to: u32, then: u8, otherwise: u8) -> sock_filter {
    instruction(0x15, (then, otherwise), to)
}

/// `BPF_RET | BPF_K`.
const fn give(result: u32) -> sock_filter {
    instruction(0x06, (0, 0), result)
}

const fn instruction(code: u16, (jt, jf): (u8, u8), k: u32) -> sock_filter {
    sock_filter { code, jt, jf, k }
}
