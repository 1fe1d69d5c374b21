//! `NETLINK_SOCK_DIAG`: asks for the sockets of a network namespace, and ends them.

use std::{
    io,
    os::fd::{AsRawFd as _, OwnedFd},
};

use anyhow::{Context as _, Result, bail};
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, recv, sendto, socket,
};

use super::message::{
    Listed, NLM_F_ACK, NLM_F_DUMP, NLMSG_DONE, NLMSG_ERROR, Question, SOCK_DESTROY, SOCK_DIAG_BY_FAMILY,
    request, split,
};

/// A netlink socket. It stays in the network namespace of the thread that created it, whichever thread uses it.
pub(super) struct Diag {
    socket: OwnedFd,
    buffer: Vec<u8>,
}

/// Whether an answer has more parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    GoesOn,
    IsOver,
}

impl Diag {
    pub(super) fn open() -> Result<Self> {
        let protocol = SockProtocol::NetlinkSockDiag;
        let socket = socket(
            AddressFamily::Netlink,
            SockType::Raw,
            SockFlag::SOCK_CLOEXEC,
            protocol,
        )
        .context("opening a socket to list sockets")?;
        Ok(Self {
            socket,
            buffer: vec![0; 1 << 16],
        })
    }

    /// Requests all sockets that match a question. The answer has to be read to its end before the next question.
    pub(super) fn ask(&self, question: &Question<'_>) -> Result<()> {
        self.send(&request(SOCK_DIAG_BY_FAMILY, NLM_F_DUMP, question))
    }

    /// Reads one part of the answer.
    pub(super) fn read(&mut self, mut take: impl FnMut(&[u8])) -> Result<Answer> {
        let length = recv(self.socket.as_raw_fd(), &mut self.buffer, MsgFlags::empty())
            .context("reading the kernel's answer")?;
        let mut rest = &self.buffer[..length];
        while let Some((kind, body, next)) = split(rest) {
            match kind {
                NLMSG_DONE => return Ok(Answer::IsOver),
                NLMSG_ERROR => {
                    let Some((code, _)) = body.split_first_chunk() else {
                        bail!("the kernel's answer is incomplete")
                    };
                    return match i32::from_ne_bytes(*code) {
                        0 => Ok(Answer::IsOver),
                        code => Err(io::Error::from_raw_os_error(-code).into()),
                    };
                }
                SOCK_DIAG_BY_FAMILY => take(body),
                _ => {}
            }
            rest = next;
        }
        Ok(Answer::GoesOn)
    }

    /// Ends a socket: its process gets ECONNABORTED. False if the socket is already gone.
    pub(super) fn destroy(&mut self, socket: &Listed) -> Result<bool> {
        self.send(&request(SOCK_DESTROY, NLM_F_ACK, &socket.question()))?;
        let mut answer = Ok(Answer::GoesOn);
        while let Ok(Answer::GoesOn) = answer {
            answer = self.read(|_| ());
        }
        match answer {
            Ok(_) => Ok(true),
            Err(error) => match errno(&error) {
                Some(libc::ENOENT) => Ok(false),
                Some(libc::EOPNOTSUPP) => Err(error).context("the kernel lacks CONFIG_INET_DIAG_DESTROY"),
                _ => Err(error).context("ending a socket"),
            },
        }
    }

    fn send(&self, message: &[u8]) -> Result<()> {
        let kernel = NetlinkAddr::new(0, 0);
        sendto(self.socket.as_raw_fd(), message, &kernel, MsgFlags::empty()).context("asking the kernel")?;
        Ok(())
    }
}

fn errno(error: &anyhow::Error) -> Option<i32> {
    error
        .downcast_ref::<io::Error>()
        .and_then(io::Error::raw_os_error)
}
