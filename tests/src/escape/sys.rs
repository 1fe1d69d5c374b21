//! The system calls that no safe wrapper offers in every shape that an escape needs: any family, any address, any
//! control message.
#![expect(unsafe_code, reason = "addresses and options of every shape go by pointer")]

use std::{
    io,
    os::fd::{AsFd, AsRawFd, FromRawFd as _, OwnedFd},
    time::Duration,
};

use io_uring::{IoUring, opcode, types};
use nix::{
    fcntl::{FcntlArg, OFlag},
    sys::{
        socket::sockopt,
        time::{TimeVal, TimeValLike as _},
    },
};

/// How long io_uring may take over a call. A connection that nobody answers takes minutes.
const RING_MILLISECONDS: u16 = 100;

/// A socket of any family, type and protocol.
pub(crate) fn socket(family: i32, kind: i32, protocol: i32) -> io::Result<OwnedFd> {
    // SAFETY: the call takes no pointers.
    let fd = check(unsafe { libc::socket(family, kind | libc::SOCK_CLOEXEC, protocol) })?;
    // SAFETY: the kernel has just made this descriptor for us alone.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Binds to an address as the kernel lays it out.
pub(crate) fn bind(fd: &impl AsFd, address: &[u8]) -> io::Result<()> {
    // SAFETY: the address lives through the call and has the length that is passed.
    check(unsafe { libc::bind(raw(fd), address.as_ptr().cast(), length(address)) }).map(|_| ())
}

/// Connects to an address as the kernel lays it out.
pub(crate) fn connect(fd: &impl AsFd, address: &[u8]) -> io::Result<()> {
    // SAFETY: as for `bind`.
    check(unsafe { libc::connect(raw(fd), address.as_ptr().cast(), length(address)) }).map(|_| ())
}

/// Sets an option to any value.
pub(crate) fn setsockopt(fd: &impl AsFd, level: i32, option: i32, value: &[u8]) -> io::Result<()> {
    // SAFETY: as for `bind`.
    check(unsafe { libc::setsockopt(raw(fd), level, option, value.as_ptr().cast(), length(value)) })
        .map(|_| ())
}

/// Sends to an address, or where the socket is connected to.
pub(crate) fn sendto(fd: &impl AsFd, data: &[u8], flags: i32, to: Option<&[u8]>) -> io::Result<()> {
    let (name, size) = to.map_or((std::ptr::null(), 0), |to| (to.as_ptr(), length(to)));
    // SAFETY: data and address live through the call and have the lengths that are passed.
    let sent = unsafe {
        libc::sendto(
            raw(fd),
            data.as_ptr().cast(),
            data.len(),
            flags,
            name.cast(),
            size,
        )
    };
    check_size(sent)
}

/// Moves bytes from a pipe.
pub(crate) fn splice(from: &impl AsFd, to: &impl AsFd, size: usize) -> io::Result<()> {
    let none = std::ptr::null_mut();
    // SAFETY: no offsets are passed.
    check_size(unsafe { libc::splice(raw(from), none, raw(to), none, size, 0) })
}

/// Moves bytes from a file.
pub(crate) fn sendfile(to: &impl AsFd, from: &impl AsFd, size: usize) -> io::Result<()> {
    // SAFETY: no offset is passed.
    check_size(unsafe { libc::sendfile(raw(to), raw(from), std::ptr::null_mut(), size) })
}

/// A file that is nowhere.
pub(crate) fn memory_file() -> io::Result<std::fs::File> {
    // SAFETY: the name is a string that lives through the call.
    let fd = check(unsafe { libc::memfd_create(c"escape".as_ptr(), libc::MFD_CLOEXEC) })?;
    own(fd).map(Into::into)
}

/// Takes a descriptor out of another process.
pub(crate) fn take_from(process: i32, number: i32) -> io::Result<OwnedFd> {
    // SAFETY: the calls take no pointers.
    let process = descriptor(unsafe { libc::syscall(libc::SYS_pidfd_open, process, 0) })?;
    // SAFETY: as above.
    descriptor(unsafe { libc::syscall(libc::SYS_pidfd_getfd, raw(&process), number, 0) })
}

fn descriptor(result: libc::c_long) -> io::Result<OwnedFd> {
    own(i32::try_from(result).map_err(io::Error::other)?)
}

/// Lets others connect.
pub(crate) fn listen(fd: &impl AsFd) -> io::Result<()> {
    // SAFETY: the call takes no pointers.
    check(unsafe { libc::listen(raw(fd), 1) }).map(|_| ())
}

/// A connection, and whom it is from.
pub(crate) fn accept(fd: &impl AsFd) -> io::Result<(OwnedFd, Vec<u8>)> {
    let (mut name, mut size) = ([0_u8; 128], 128);
    // SAFETY: the name has the size that is passed with it.
    let fd = check(unsafe { libc::accept(raw(fd), name.as_mut_ptr().cast(), &raw mut size) })?;
    Ok((own(fd)?, shortened(&name, size)))
}

/// A datagram, and whom it is from.
pub(crate) fn recvfrom(fd: &impl AsFd) -> io::Result<(Vec<u8>, Vec<u8>)> {
    let (mut data, mut name, mut size) = ([0_u8; 128], [0_u8; 128], 128);
    // SAFETY: data and name have the sizes that are passed with them.
    let received = unsafe {
        libc::recvfrom(
            raw(fd),
            data.as_mut_ptr().cast(),
            data.len(),
            0,
            name.as_mut_ptr().cast(),
            &raw mut size,
        )
    };
    check_size(received)?;
    let received = usize::try_from(received).map_err(io::Error::other)?;
    Ok((data[..received].to_vec(), shortened(&name, size)))
}

fn shortened(name: &[u8; 128], size: libc::socklen_t) -> Vec<u8> {
    let size = usize::try_from(size).unwrap_or(name.len());
    name[..size.min(name.len())].to_vec()
}

/// Has calls that wait for others fail after a while.
pub(crate) fn give_up_after(fd: &impl AsFd, time: Duration) -> io::Result<()> {
    let time = TimeVal::microseconds(i64::try_from(time.as_micros()).map_err(io::Error::other)?);
    nix::sys::socket::setsockopt(fd, sockopt::ReceiveTimeout, &time)?;
    Ok(())
}

/// Has no call on it wait.
pub(crate) fn never_wait(fd: &impl AsFd) -> io::Result<()> {
    nix::fcntl::fcntl(fd, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
    Ok(())
}

/// Ends one direction or both.
pub(crate) fn shutdown(fd: &impl AsFd, how: i32) -> io::Result<()> {
    // SAFETY: the call takes no pointers.
    check(unsafe { libc::shutdown(raw(fd), how) }).map(|_| ())
}

/// The port that a socket is bound to.
pub(crate) fn own_port(fd: &impl AsFd) -> io::Result<u16> {
    let (mut name, mut size) = ([0_u8; 128], 128);
    // SAFETY: the name has the size that is passed with it.
    check(unsafe { libc::getsockname(raw(fd), name.as_mut_ptr().cast(), &raw mut size) })?;
    Ok(u16::from_be_bytes([name[2], name[3]]))
}

/// Whether a socket is of that family.
pub(crate) fn is_ipv6(fd: &impl AsFd) -> io::Result<bool> {
    Ok(number(fd, libc::SO_DOMAIN)? == libc::AF_INET6)
}

/// Whether a socket is one for datagrams of UDP.
pub(crate) fn is_udp(fd: &impl AsFd) -> bool {
    let is = |option, expected| number(fd, option).is_ok_and(|value| value == expected);
    is(libc::SO_PROTOCOL, libc::IPPROTO_UDP) && is(libc::SO_TYPE, libc::SOCK_DGRAM)
}

fn number(fd: &impl AsFd, option: i32) -> io::Result<i32> {
    let (mut value, mut size) = (0_i32, length(&[0; 4]));
    // SAFETY: the value has the size that is passed with it.
    check(unsafe {
        libc::getsockopt(
            raw(fd),
            libc::SOL_SOCKET,
            option,
            (&raw mut value).cast(),
            &raw mut size,
        )
    })?;
    Ok(value)
}

/// Waits until a connection is made or has failed, for so many milliseconds at most.
pub(crate) fn wait_for_end(fd: &impl AsFd, milliseconds: u16) -> io::Result<()> {
    wait_for(raw(fd), libc::POLLOUT, milliseconds)
}

fn wait_until_readable(fd: &impl AsRawFd, milliseconds: u16) -> io::Result<()> {
    wait_for(fd.as_raw_fd(), libc::POLLIN, milliseconds)
}

fn wait_for(fd: i32, events: i16, milliseconds: u16) -> io::Result<()> {
    let mut waited = libc::pollfd {
        fd,
        events,
        revents: 0,
    };
    // SAFETY: one entry is passed, which lives through the call.
    check(unsafe { libc::poll(&raw mut waited, 1, milliseconds.into()) }).map(|_| ())
}

/// A message with its parts, which must outlive what [`Message::header`] gives.
pub(crate) struct Message {
    name: Vec<u8>,
    control: Vec<u64>,
    control_length: usize,
    part: libc::iovec,
    _data: Vec<u8>,
}

impl Message {
    /// With one control message `(level, type, value)`, if any. An empty name is none.
    pub(crate) fn new(data: &[u8], to: &[u8], control: Option<(i32, i32, &[u8])>) -> Self {
        let mut data = data.to_vec();
        let part = libc::iovec {
            iov_base: data.as_mut_ptr().cast(),
            iov_len: data.len(),
        };
        let mut bytes = Vec::new();
        if let Some((level, kind, value)) = control {
            bytes.extend((16 + value.len()).to_ne_bytes());
            bytes.extend(level.to_ne_bytes());
            bytes.extend(kind.to_ne_bytes());
            bytes.extend(value);
        }
        let control_length = bytes.len();
        bytes.resize(bytes.len().next_multiple_of(8), 0);
        let control = bytes
            .chunks_exact(8)
            .map(|word| u64::from_ne_bytes(word.try_into().expect("chunks of 8")))
            .collect();
        Self {
            name: to.to_vec(),
            control,
            control_length,
            part,
            _data: data,
        }
    }

    fn header(&mut self) -> libc::msghdr {
        // SAFETY: all zeroes is a `msghdr` without name, data and control messages.
        let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
        if !self.name.is_empty() {
            header.msg_name = self.name.as_mut_ptr().cast();
            header.msg_namelen = length(&self.name);
        }
        header.msg_iov = &raw mut self.part;
        header.msg_iovlen = 1;
        if self.control_length > 0 {
            header.msg_control = self.control.as_mut_ptr().cast();
            header.msg_controllen = self.control_length;
        }
        header
    }

    /// `sendmsg`.
    pub(crate) fn send(self, fd: &impl AsFd) -> io::Result<()> {
        self.send_with(fd, 0)
    }

    /// `sendmsg` with flags.
    pub(crate) fn send_with(mut self, fd: &impl AsFd, flags: i32) -> io::Result<()> {
        let header = self.header();
        // SAFETY: the header points into this message, which lives through the call.
        check_size(unsafe { libc::sendmsg(raw(fd), &raw const header, flags) })
    }

    /// `sendmmsg` of several at once: the errno of the first that is refused, even where others were sent.
    pub(crate) fn send_all(mut messages: Vec<Self>, fd: &impl AsFd) -> io::Result<()> {
        let mut headers: Vec<_> = messages
            .iter_mut()
            .map(|message| libc::mmsghdr {
                msg_hdr: message.header(),
                msg_len: 0,
            })
            .collect();
        let mut rest = headers.as_mut_slice();
        while !rest.is_empty() {
            let count = u32::try_from(rest.len()).expect("a handful");
            // SAFETY: each header points into its message, and all live through the call.
            let sent = check(unsafe { libc::sendmmsg(raw(fd), rest.as_mut_ptr(), count, 0) })?;
            rest = &mut rest[usize::try_from(sent).expect("a count")..];
        }
        Ok(())
    }

    /// `sendmsg` by that ring.
    pub(crate) fn send_by(mut self, ring: IoUring, fd: &impl AsFd) -> io::Result<()> {
        let header = self.header();
        let entry = opcode::SendMsg::new(types::Fd(raw(fd)), &raw const header).build();
        // SAFETY: header and message live until the ring has answered, or is gone.
        unsafe { answered(ring, &entry) }.map(|_| ())
    }

    /// `sendmsg` by that ring from the descriptor that it has registered.
    pub(crate) fn send_by_registered(mut self, ring: IoUring) -> io::Result<()> {
        let header = self.header();
        let entry = opcode::SendMsg::new(types::Fixed(0), &raw const header).build();
        // SAFETY: as above.
        unsafe { answered(ring, &entry) }.map(|_| ())
    }

    /// `sendmsg` by io_uring.
    pub(crate) fn send_by_ring(mut self, fd: &impl AsFd) -> io::Result<()> {
        let header = self.header();
        // SAFETY: header and message live until the ring has answered, for which this waits.
        unsafe { by_ring(&opcode::SendMsg::new(types::Fd(raw(fd)), &raw const header).build()) }
    }
}

/// A ring whose submissions a thread of the kernel takes.
pub(crate) fn polling_ring() -> io::Result<IoUring> {
    const IDLE_MILLISECONDS: u32 = 2000;
    IoUring::builder().setup_sqpoll(IDLE_MILLISECONDS).build(2)
}

/// A ring as any other.
pub(crate) fn plain_ring() -> io::Result<IoUring> {
    IoUring::new(2)
}

/// Has a ring keep a descriptor, which is its number 0.
pub(crate) fn register(ring: &IoUring, fd: &impl AsFd) -> io::Result<()> {
    ring.submitter().register_files(&[raw(fd)])
}

/// `connect` by io_uring.
pub(crate) fn connect_by_ring(fd: &impl AsFd, address: &[u8]) -> io::Result<()> {
    let entry = opcode::Connect::new(types::Fd(raw(fd)), address.as_ptr().cast(), length(address)).build();
    // SAFETY: the address lives until the ring has answered, for which this waits.
    unsafe { by_ring(&entry) }
}

/// `socket` by io_uring.
pub(crate) fn socket_by_ring(family: i32, kind: i32, protocol: i32) -> io::Result<OwnedFd> {
    // SAFETY: the entry points to nothing.
    let fd = unsafe { ring(&opcode::Socket::new(family, kind, protocol).build()) }?;
    // SAFETY: the kernel has just made this descriptor for us alone.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// # Safety
/// What the entry points to must live through the call.
unsafe fn by_ring(entry: &io_uring::squeue::Entry) -> io::Result<()> {
    // SAFETY: the caller's promise.
    unsafe { ring(entry) }.map(|_| ())
}

/// # Safety
/// What the entry points to must live through the call. What has no answer after a while is taken back with the ring,
/// which ends before the call does.
unsafe fn ring(entry: &io_uring::squeue::Entry) -> io::Result<i32> {
    // SAFETY: the caller's promise.
    unsafe { answered(IoUring::new(2)?, entry) }
}

/// # Safety
/// As for [`ring`].
unsafe fn answered(mut ring: IoUring, entry: &io_uring::squeue::Entry) -> io::Result<i32> {
    // SAFETY: the caller's promise.
    unsafe { ring.submission().push(entry) }.map_err(io::Error::other)?;
    ring.submit()?;
    wait_until_readable(&ring, RING_MILLISECONDS)?;
    let answer = ring
        .completion()
        .next()
        .map_or(-libc::EINPROGRESS, |entry| entry.result());
    if answer < 0 {
        Err(io::Error::from_raw_os_error(-answer))
    } else {
        Ok(answer)
    }
}

fn raw(fd: &impl AsFd) -> i32 {
    fd.as_fd().as_raw_fd()
}

fn length(bytes: &[u8]) -> libc::socklen_t {
    libc::socklen_t::try_from(bytes.len()).expect("an address or an option is short")
}

fn check(result: i32) -> io::Result<i32> {
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(result)
    }
}

fn check_size(result: isize) -> io::Result<()> {
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}

/// Takes a descriptor that was received.
pub(crate) fn own(fd: i32) -> io::Result<OwnedFd> {
    // SAFETY: the kernel has made it for the message that it came with, and nobody else has taken it from there.
    let owned = unsafe { OwnedFd::from_raw_fd(check(fd)?) };
    Ok(owned)
}
