//! The calls that answers are sent by, with names of every shape, and by io_uring.
#![expect(unsafe_code, reason = "names of every shape go by pointer")]

use std::{
    io,
    net::SocketAddr,
    os::fd::{AsFd, AsRawFd as _, FromRawFd as _, OwnedFd},
};

use io_uring::{IoUring, opcode, squeue, types};
use nix::sys::socket::{SockaddrLike as _, SockaddrStorage};

/// The bytes of a name: `struct sockaddr_in` or `struct sockaddr_in6`.
pub(super) fn name(address: SocketAddr) -> Vec<u8> {
    let name = SockaddrStorage::from(address);
    let length = usize::try_from(name.len()).expect("an address is short");
    // SAFETY: the address has that many bytes from its pointer on, and lives through the copy.
    unsafe { std::slice::from_raw_parts(name.as_ptr().cast::<u8>(), length) }.to_vec()
}

/// Takes a descriptor that came with a message.
pub(super) fn own(fd: i32) -> OwnedFd {
    // SAFETY: the kernel has made it for that message, and nobody else has taken it from there.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

/// `connect()`.
pub(super) fn connect(fd: &impl AsFd, name: &[u8]) -> io::Result<()> {
    // SAFETY: the name lives through the call and has the length that is passed.
    let result = unsafe { libc::connect(raw(fd), name.as_ptr().cast(), length(name)) };
    check(i64::from(result))
}

/// `sendto()`; no name is none.
pub(super) fn sendto(fd: &impl AsFd, data: &[u8], flags: i32, name: &[u8]) -> io::Result<()> {
    let pointer = pointer(name);
    // SAFETY: data and name live through the call and have the lengths that are passed.
    let sent = unsafe {
        libc::sendto(
            raw(fd),
            data.as_ptr().cast(),
            data.len(),
            flags,
            pointer.cast(),
            length(name),
        )
    };
    check(i64::try_from(sent).expect("64 bits"))
}

/// A message of one part, and what its header points to.
struct Message<'a> {
    header: libc::msghdr,
    _part: Box<libc::iovec>,
    _of: &'a [u8],
}

impl<'a> Message<'a> {
    fn new(data: &'a [u8], name: &'a [u8]) -> Self {
        let mut part = Box::new(libc::iovec {
            iov_base: data.as_ptr().cast_mut().cast(),
            iov_len: data.len(),
        });
        // SAFETY: all zeroes is a `msghdr` without name, data and control messages.
        let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
        header.msg_name = pointer(name).cast_mut().cast();
        header.msg_namelen = length(name);
        header.msg_iov = &raw mut *part;
        header.msg_iovlen = 1;
        Self {
            header,
            _part: part,
            _of: data,
        }
    }
}

/// `sendmsg()`; no name is none.
pub(super) fn sendmsg(fd: &impl AsFd, data: &[u8], flags: i32, name: &[u8]) -> io::Result<()> {
    let message = Message::new(data, name);
    // SAFETY: the header and what it points to live through the call; the kernel only reads them.
    let sent = unsafe { libc::sendmsg(raw(fd), &raw const message.header, flags) };
    check(i64::try_from(sent).expect("64 bits"))
}

/// `sendmmsg()` of the same twice.
pub(super) fn sendmmsg(fd: &impl AsFd, data: &[u8], name: &[u8]) -> io::Result<()> {
    let messages = [Message::new(data, name), Message::new(data, name)];
    let mut headers = messages.each_ref().map(|message| libc::mmsghdr {
        msg_hdr: message.header,
        msg_len: 0,
    });
    // SAFETY: as for `sendmsg`; the array has as many headers as is said.
    let sent = unsafe { libc::sendmmsg(raw(fd), headers.as_mut_ptr(), 2, 0) };
    check(i64::from(sent))
}

/// `send()` by io_uring.
pub(super) fn send_by_ring(fd: &impl AsFd, data: &[u8]) -> io::Result<()> {
    let size = u32::try_from(data.len()).map_err(io::Error::other)?;
    let entry = opcode::Send::new(types::Fd(raw(fd)), data.as_ptr(), size).build();
    // SAFETY: the data lives until the ring has answered, for which this waits.
    unsafe { by_ring(&entry) }
}

/// `write()` by io_uring.
pub(super) fn write_by_ring(fd: &impl AsFd, data: &[u8]) -> io::Result<()> {
    let size = u32::try_from(data.len()).map_err(io::Error::other)?;
    let entry = opcode::Write::new(types::Fd(raw(fd)), data.as_ptr(), size).build();
    // SAFETY: as for `send_by_ring`.
    unsafe { by_ring(&entry) }
}

/// `sendmsg()` by io_uring; no name is none.
pub(super) fn sendmsg_by_ring(fd: &impl AsFd, data: &[u8], name: &[u8]) -> io::Result<()> {
    let message = Message::new(data, name);
    let entry = opcode::SendMsg::new(types::Fd(raw(fd)), &raw const message.header).build();
    // SAFETY: as for `send_by_ring`.
    unsafe { by_ring(&entry) }
}

/// # Safety
/// What the entry points to must live through the call.
unsafe fn by_ring(entry: &squeue::Entry) -> io::Result<()> {
    let mut ring = IoUring::new(2)?;
    // SAFETY: the caller's promise; this waits for the answer.
    unsafe { ring.submission().push(entry) }.map_err(io::Error::other)?;
    ring.submit_and_wait(1)?;
    let answer = ring.completion().next();
    let result = answer.map_or(-libc::EIO, |entry| entry.result());
    if result < 0 {
        return Err(io::Error::from_raw_os_error(-result));
    }
    Ok(())
}

fn pointer(name: &[u8]) -> *const u8 {
    if name.is_empty() {
        std::ptr::null()
    } else {
        name.as_ptr()
    }
}

fn raw(fd: &impl AsFd) -> i32 {
    fd.as_fd().as_raw_fd()
}

fn length(bytes: &[u8]) -> libc::socklen_t {
    libc::socklen_t::try_from(bytes.len()).expect("a name is short")
}

fn check(result: i64) -> io::Result<()> {
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}
