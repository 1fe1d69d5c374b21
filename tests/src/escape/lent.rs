//! Sockets that were made outside: a socket's programs are those of the cgroup in which it was made.

use std::{
    io::{self, IoSlice, IoSliceMut},
    os::fd::{AsFd as _, AsRawFd as _, OwnedFd},
    os::unix::net::UnixStream,
};

use nix::sys::socket::{ControlMessage, ControlMessageOwned, MsgFlags, UnixAddr, recvmsg, sendmsg};

use super::{
    Begins, ClosedBy, Escape, escape, kinds, packet,
    stage::{self, Stage},
    sys, tcp, udp,
};

const CONNECT: ClosedBy = ClosedBy::Call("lsm_connect");
const SENDMSG: ClosedBy = ClosedBy::Call("lsm_sendmsg");

pub(super) static ESCAPES: &[Escape] = &[
    outside("tcp socket by SCM_RIGHTS", CONNECT, |stage| {
        passed(stage, tcp::tcp, |stage, socket| {
            tcp::attempt(socket, &stage.refused4())
        })
    }),
    outside("tcp socket by SCM_RIGHTS, ipv6", CONNECT, |stage| {
        passed(stage, tcp::tcp6, |stage, socket| {
            tcp::attempt(socket, &stage.refused6())
        })
    }),
    outside("tcp socket by SCM_RIGHTS, fast open", SENDMSG, |stage| {
        passed(stage, tcp::non_blocking, |stage, socket| {
            let to = stage.refused4();
            tcp::in_progress(sys::sendto(socket, &stage.token(), libc::MSG_FASTOPEN, Some(&to)))
        })
    }),
    outside("udp socket by SCM_RIGHTS", SENDMSG, |stage| {
        passed(stage, udp::udp, |stage, socket| {
            udp::send(stage, socket, &stage.refused4())
        })
    }),
    outside("udp socket by SCM_RIGHTS, ipv6", SENDMSG, |stage| {
        passed(stage, udp::udp6, |stage, socket| {
            udp::send(stage, socket, &stage.refused6())
        })
    }),
    outside("udp socket by SCM_RIGHTS, connected inside", CONNECT, |stage| {
        passed(stage, udp::udp, |stage, socket| {
            sys::connect(socket, &stage.refused4())?;
            sys::sendto(socket, &stage.token(), 0, None)
        })
    }),
    outside("tcp socket by inheritance", CONNECT, |stage| {
        inherited(stage, tcp::tcp, |stage, socket| {
            tcp::attempt(socket, &stage.refused4())
        })
    }),
    outside("udp socket by inheritance", SENDMSG, |stage| {
        inherited(stage, udp::udp, |stage, socket| {
            udp::send(stage, socket, &stage.refused4())
        })
    }),
    outside("tcp socket of a task that is moved in", CONNECT, |stage| {
        let socket = tcp::tcp()?;
        stage.join()?;
        tcp::attempt(&socket, &stage.refused4())
    }),
    outside("udp socket of a task that is moved in", SENDMSG, |stage| {
        let socket = udp::udp()?;
        stage.join()?;
        udp::send(stage, &socket, &stage.refused4())
    }),
    outside("raw socket of a task that is moved in", SENDMSG, |stage| {
        let socket = sys::socket(libc::AF_INET, libc::SOCK_RAW, libc::IPPROTO_UDP)?;
        stage.join()?;
        sys::sendto(&socket, &kinds::datagram(stage), 0, Some(&kinds::to4()))
    }),
    outside("packet socket of a task that is moved in", SENDMSG, |stage| {
        let socket = sys::socket(libc::AF_PACKET, libc::SOCK_RAW, 0)?;
        stage.join()?;
        packet::send_frame(stage, &socket)
    }),
    outside("udp socket that was connected outside", SENDMSG, |stage| {
        let socket = udp::udp()?;
        sys::connect(&socket, &stage.refused4())?;
        stage.join()?;
        sys::sendto(&socket, &stage.token(), 0, None)
    }),
    outside("udp socket that was connected outside, ipv6", SENDMSG, |stage| {
        let socket = udp::udp6()?;
        sys::connect(&socket, &stage.refused6())?;
        stage.join()?;
        sys::sendto(&socket, &stage.token(), 0, None)
    }),
    outside(
        "udp socket that was connected outside, written to",
        SENDMSG,
        |stage| {
            let socket = udp::udp()?;
            sys::connect(&socket, &stage.refused4())?;
            stage.join()?;
            nix::unistd::write(&socket, &stage.token())?;
            Ok(())
        },
    ),
    outside("udp-lite socket of a task that is moved in", SENDMSG, |stage| {
        let socket = sys::socket(libc::AF_INET, libc::SOCK_DGRAM, kinds::IPPROTO_UDPLITE)?;
        stage.join()?;
        udp::send(stage, &socket, &stage.refused4())
    }),
    outside(
        "udp socket that was connected outside to an allowed one",
        ClosedBy::Allowed,
        |stage| {
            let socket = udp::udp()?;
            sys::connect(&socket, &stage::allowed4())?;
            stage.join()?;
            sys::sendto(&socket, &stage.token(), 0, None)
        },
    ),
    outside(
        "udp socket that was connected outside, sendto elsewhere",
        SENDMSG,
        |stage| {
            let socket = udp::udp()?;
            sys::connect(&socket, &stage::allowed4())?;
            stage.join()?;
            udp::send(stage, &socket, &stage.refused4())
        },
    ),
];

const fn outside(name: &'static str, closed_by: ClosedBy, attempt: fn(&Stage) -> io::Result<()>) -> Escape {
    Escape {
        begins: Begins::Outside,
        ..escape(name, closed_by, attempt)
    }
}

/// The first process makes the socket and stays outside; the second joins and receives it.
fn passed(
    stage: &Stage,
    make: fn() -> io::Result<OwnedFd>,
    attempt: fn(&Stage, &OwnedFd) -> io::Result<()>,
) -> io::Result<()> {
    if stage.role.is_empty() {
        let (here, there) = UnixStream::pair()?;
        let socket = make()?;
        let (data, fds) = ([IoSlice::new(b"x")], [socket.as_raw_fd()]);
        let rights = [ControlMessage::ScmRights(&fds)];
        sendmsg::<UnixAddr>(here.as_raw_fd(), &data, &rights, MsgFlags::empty(), None)?;
        drop(socket);
        return stage.spawn("receiver", there.into());
    }
    stage.join()?;
    attempt(stage, &receive()?)
}

fn receive() -> io::Result<OwnedFd> {
    let mut byte = [0];
    let mut data = [IoSliceMut::new(&mut byte)];
    let mut space = nix::cmsg_space!([i32; 1]);
    let input = io::stdin();
    let message = recvmsg::<UnixAddr>(
        input.as_fd().as_raw_fd(),
        &mut data,
        Some(&mut space),
        MsgFlags::empty(),
    )?;
    for control in message.cmsgs()? {
        if let ControlMessageOwned::ScmRights(fds) = control
            && let Some(fd) = fds.first()
        {
            return sys::own(*fd);
        }
    }
    Err(io::Error::other("no socket was passed"))
}

/// The first process makes the socket and stays outside; the second has it as its standard input, and joins.
fn inherited(
    stage: &Stage,
    make: fn() -> io::Result<OwnedFd>,
    attempt: fn(&Stage, &OwnedFd) -> io::Result<()>,
) -> io::Result<()> {
    if stage.role.is_empty() {
        return stage.spawn("heir", make()?);
    }
    stage.join()?;
    attempt(stage, &io::stdin().as_fd().try_clone_to_owned()?)
}
