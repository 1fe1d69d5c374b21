//! System calls that copy another process's socket and return its network namespace.
#![expect(unsafe_code, reason = "no crate wraps them")]

use std::{
    io,
    os::fd::{AsFd, AsRawFd as _, FromRawFd as _, OwnedFd},
};

/// `PIDFD_THREAD`, since 6.9: a thread that is not the first of its process.
const PIDFD_THREAD: u32 = libc::O_EXCL.unsigned_abs();
/// `SIOCGSKNS` of `linux/sockios.h`.
const SIOCGSKNS: libc::Ioctl = 0x894C;
/// `KCMP_FILES` of `linux/kcmp.h`.
const KCMP_FILES: libc::c_long = 2;

/// A process, or with `is_thread` one of its later threads.
pub(super) fn open_pid(pid: u32, is_thread: bool) -> io::Result<OwnedFd> {
    let flags = if is_thread { PIDFD_THREAD } else { 0 };
    // SAFETY: the call takes two integers.
    owned(unsafe { libc::syscall(libc::SYS_pidfd_open, pid, flags) })
}

/// A copy of a process's descriptor.
pub(super) fn copy(process: impl AsFd, descriptor: u32) -> io::Result<OwnedFd> {
    let process = process.as_fd().as_raw_fd();
    // SAFETY: the call takes three integers, of which the first is an open descriptor.
    owned(unsafe { libc::syscall(libc::SYS_pidfd_getfd, process, descriptor, 0) })
}

/// The network namespace of a socket.
pub(super) fn network(socket: impl AsFd) -> io::Result<OwnedFd> {
    // SAFETY: this request has no argument.
    let network = unsafe { libc::ioctl(socket.as_fd().as_raw_fd(), SIOCGSKNS) };
    owned(network.into())
}

/// Whether two threads share one file table.
pub(super) fn share_files(one: u32, other: u32) -> io::Result<bool> {
    // SAFETY: the call takes integers alone.
    let order = unsafe { libc::syscall(libc::SYS_kcmp, one, other, KCMP_FILES, 0, 0) };
    if order < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(order == 0)
    }
}

fn owned(result: libc::c_long) -> io::Result<OwnedFd> {
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    let descriptor = i32::try_from(result).expect("a descriptor is an int");
    // SAFETY: the kernel has just made this descriptor for us alone.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
}
