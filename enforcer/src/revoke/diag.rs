//! `NETLINK_SOCK_DIAG`: lists the sockets of this thread's network namespace, and ends them.
//!
//! The messages are those of `linux/inet_diag.h` and `linux/sock_diag.h`.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    os::fd::{AsRawFd as _, OwnedFd},
};

use anyhow::{Context as _, Result, bail};
use enforcer_common::{CgroupId, Transport};
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, recv, sendto, socket,
};

const SOCK_DIAG_BY_FAMILY: u16 = 20;
const SOCK_DESTROY: u16 = 21;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const NLM_F_REQUEST: u16 = 1;
const NLM_F_ACK: u16 = 4;
const NLM_F_DUMP: u16 = 0x300;
const INET_DIAG_CGROUP_ID: u16 = 21;

/// `TCP_LISTEN`, also as a bit of the states asked for.
pub(super) const LISTEN: u8 = 10;
/// Those in which a process can still send: ESTABLISHED, SYN_SENT and CLOSE_WAIT; and LISTEN, to tell what was accepted.
const TCP_STATES: u32 = 1 << 1 | 1 << 2 | 1 << 8 | 1 << LISTEN;
/// A connected UDP socket is "established" (1).
const UDP_STATES: u32 = 1 << 1;

const HEADER: usize = 16;
const SOCKET_ID: usize = 48;
const REQUEST: usize = 8 + SOCKET_ID;
/// `inet_diag_msg` up to its attributes.
const MESSAGE: usize = 4 + SOCKET_ID + 20;

/// A socket as the kernel lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Listed {
    pub(crate) transport: Transport,
    pub(crate) state: u8,
    pub(crate) local: SocketAddr,
    pub(crate) remote: SocketAddr,
    /// Where it was born.
    pub(crate) cgroup: CgroupId,
    family: u8,
    /// `inet_diag_sockid`, with the cookie that tells it from a later one.
    id: [u8; SOCKET_ID],
}

/// A connection to the kernel, in the network namespace of the thread that made it.
pub(super) struct Diag {
    socket: OwnedFd,
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
        Ok(Self { socket })
    }

    /// Every TCP and every connected UDP socket of the namespace.
    pub(super) fn list(&self) -> Result<Vec<Listed>> {
        let mut all = Vec::new();
        for transport in [Transport::Tcp, Transport::Udp] {
            let states = if transport == Transport::Tcp {
                TCP_STATES
            } else {
                UDP_STATES
            };
            for family in [libc::AF_INET, libc::AF_INET6] {
                let family = u8::try_from(family).expect("address families are small");
                let question = Question {
                    family,
                    transport,
                    states,
                    id: &[0; SOCKET_ID],
                };
                let request = request(SOCK_DIAG_BY_FAMILY, NLM_F_DUMP, &question);
                self.send(&request)?;
                self.receive(|kind, body| {
                    if kind == SOCK_DIAG_BY_FAMILY {
                        all.extend(listed(transport, body));
                    }
                })?;
            }
        }
        Ok(all)
    }

    /// Ends a socket: its process sees ECONNABORTED. False if it is gone already.
    pub(super) fn destroy(&self, socket: &Listed) -> Result<bool> {
        let Listed {
            family,
            transport,
            id,
            ..
        } = socket;
        let question = Question {
            family: *family,
            transport: *transport,
            states: u32::MAX,
            id,
        };
        let request = request(SOCK_DESTROY, NLM_F_ACK, &question);
        self.send(&request)?;
        match self.receive(|_, _| ()) {
            Ok(()) => Ok(true),
            Err(error) => match error
                .downcast_ref::<io::Error>()
                .and_then(io::Error::raw_os_error)
            {
                Some(libc::ENOENT) => Ok(false),
                _ => Err(error).context("ending a socket (CONFIG_INET_DIAG_DESTROY)"),
            },
        }
    }

    fn send(&self, message: &[u8]) -> Result<()> {
        let kernel = NetlinkAddr::new(0, 0);
        sendto(self.socket.as_raw_fd(), message, &kernel, MsgFlags::empty()).context("asking the kernel")?;
        Ok(())
    }

    /// Reads messages until the last of the answer.
    fn receive(&self, mut take: impl FnMut(u16, &[u8])) -> Result<()> {
        let mut buffer = vec![0; 1 << 16];
        loop {
            let length = recv(self.socket.as_raw_fd(), &mut buffer, MsgFlags::empty())
                .context("the kernel's answer")?;
            let mut rest = &buffer[..length];
            while let Some((kind, body, next)) = split(rest) {
                match kind {
                    NLMSG_DONE => return Ok(()),
                    NLMSG_ERROR => {
                        let Some((code, _)) = body.split_first_chunk() else {
                            bail!("half an answer of the kernel")
                        };
                        return match i32::from_ne_bytes(*code) {
                            0 => Ok(()),
                            code => Err(io::Error::from_raw_os_error(-code).into()),
                        };
                    }
                    _ => take(kind, body),
                }
                rest = next;
            }
        }
    }
}

/// A question about sockets, or about the one of this id.
struct Question<'a> {
    family: u8,
    transport: Transport,
    states: u32,
    id: &'a [u8; SOCKET_ID],
}

fn request(kind: u16, flags: u16, question: &Question<'_>) -> Vec<u8> {
    let length = u32::try_from(HEADER + REQUEST).expect("a request is short");
    let mut message = Vec::with_capacity(HEADER + REQUEST);
    message.extend(length.to_ne_bytes());
    message.extend(kind.to_ne_bytes());
    message.extend((NLM_F_REQUEST | flags).to_ne_bytes());
    // Sequence number and port, which one connection of one question at a time needs not.
    message.extend([0; 8]);
    message.extend([question.family, question.transport as u8, 0, 0]);
    message.extend(question.states.to_ne_bytes());
    message.extend(question.id);
    message
}

/// The first message: its type, its body, and what follows it.
fn split(bytes: &[u8]) -> Option<(u16, &[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk()?;
    let (kind, _) = rest.split_first_chunk()?;
    let length = usize::try_from(u32::from_ne_bytes(*length)).ok()?;
    let body = bytes.get(HEADER..length)?;
    let next = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
    Some((u16::from_ne_bytes(*kind), body, next))
}

fn listed(transport: Transport, body: &[u8]) -> Option<Listed> {
    let ([family, state, ..], _) = body.split_first_chunk::<4>()?;
    let id: [u8; SOCKET_ID] = body.get(4..4 + SOCKET_ID)?.try_into().ok()?;
    let address = |at: usize| -> Option<IpAddr> {
        if i32::from(*family) == libc::AF_INET {
            let octets: [u8; 4] = id[at..at + 4].try_into().ok()?;
            Some(IpAddr::from(octets))
        } else {
            let octets: [u8; 16] = id[at..at + 16].try_into().ok()?;
            Some(IpAddr::from(octets).to_canonical())
        }
    };
    let local = SocketAddr::new(address(4)?, u16::from_be_bytes([id[0], id[1]]));
    let remote = SocketAddr::new(address(20)?, u16::from_be_bytes([id[2], id[3]]));
    let cgroup = CgroupId(u64::from_ne_bytes(
        attribute(body.get(MESSAGE..)?, INET_DIAG_CGROUP_ID)?
            .try_into()
            .ok()?,
    ));
    Some(Listed {
        transport,
        state: *state,
        local,
        remote,
        cgroup,
        family: *family,
        id,
    })
}

/// The value of a `rtattr`.
fn attribute(mut bytes: &[u8], wanted: u16) -> Option<&[u8]> {
    loop {
        let (length, rest) = bytes.split_first_chunk()?;
        let (kind, _) = rest.split_first_chunk()?;
        let length = usize::from(u16::from_ne_bytes(*length));
        let value = bytes.get(4..length)?;
        if u16::from_ne_bytes(*kind) == wanted {
            return Some(value);
        }
        bytes = bytes.get(length.next_multiple_of(4)..)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_a_message_is_none() {
        let question = Question {
            family: 2,
            transport: Transport::Tcp,
            states: 0,
            id: &[0; SOCKET_ID],
        };
        let whole = request(SOCK_DIAG_BY_FAMILY, 0, &question);
        assert_eq!(
            split(&whole).map(|(kind, body, rest)| (kind, body.len(), rest.len())),
            Some((20, REQUEST, 0))
        );
        for length in 0..whole.len() {
            assert_eq!(split(&whole[..length]), None, "{length} bytes");
        }
        assert_eq!(attribute(&[8, 0, 21, 0, 1, 2], 21), None);
        assert_eq!(
            attribute(&[5, 0, 1, 0, 9, 0, 0, 0, 6, 0, 21, 0, 7, 7], 21),
            Some(&[7, 7][..])
        );
    }

    #[test]
    fn own_sockets_are_listed() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let all = Diag::open().unwrap().list().unwrap();
        let found = all
            .iter()
            .find(|socket| socket.local == client.local_addr().unwrap())
            .expect("it is listed");
        assert_eq!(
            (found.remote, found.transport),
            (listener.local_addr().unwrap(), Transport::Tcp)
        );
        assert!(
            all.iter()
                .any(|socket| socket.state == LISTEN && socket.local == listener.local_addr().unwrap())
        );
    }
}
