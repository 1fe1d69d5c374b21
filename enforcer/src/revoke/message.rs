//! The messages of `linux/netlink.h`, `linux/sock_diag.h` and `linux/inet_diag.h`, as far as revocation uses them.

use std::net::{IpAddr, SocketAddr};

use enforcer_common::{Address, CgroupId, SocketState, Transport};

pub(super) const SOCK_DIAG_BY_FAMILY: u16 = 20;
pub(super) const SOCK_DESTROY: u16 = 21;
pub(super) const NLMSG_ERROR: u16 = 2;
pub(super) const NLMSG_DONE: u16 = 3;
pub(super) const NLM_F_ACK: u16 = 4;
pub(super) const NLM_F_DUMP: u16 = 0x300;
const NLM_F_REQUEST: u16 = 1;
const NLA_F_NESTED: u16 = 1 << 15;
const NLA_TYPE_MASK: u16 = !(3 << 14);
const INET_DIAG_REQ_BYTECODE: u16 = 1;
const INET_DIAG_BC_JMP: u8 = 1;
const INET_DIAG_BC_CGROUP_COND: u8 = 13;
/// A jump's length has 16 bits.
const FILTERED: usize = 1024;
const INET_DIAG_REQ_SK_BPF_STORAGES: u16 = 2;
const SK_DIAG_BPF_STORAGE_REQ_MAP_FD: u16 = 1;
const INET_DIAG_SK_BPF_STORAGES: u16 = 20;
const SK_DIAG_BPF_STORAGE: u16 = 1;
const SK_DIAG_BPF_STORAGE_MAP_VALUE: u16 = 3;
const INET_DIAG_CGROUP_ID: u16 = 21;

/// `TCP_FIN_WAIT2`.
const FIN_WAIT2: u8 = 5;
/// `TCP_LISTEN`, also as a bit of the states asked for.
pub(super) const LISTEN: u8 = 10;

const HEADER: usize = 16;
pub(super) const SOCKET_ID: usize = 48;
const REQUEST: usize = 8 + SOCKET_ID;
/// `inet_diag_msg` up to its attributes.
const MESSAGE: usize = 4 + SOCKET_ID + 20;
/// `idiag_inode` is its last field.
const INODE: usize = MESSAGE - 4;

/// A question about sockets, or about the one of this id.
pub(super) struct Question<'a> {
    pub(super) family: u8,
    pub(super) transport: Transport,
    pub(super) states: u32,
    pub(super) id: &'a [u8; SOCKET_ID],
    /// Descriptor of the socket storage whose values are requested too.
    pub(super) storage: Option<u32>,
    /// Only sockets created in one of these cgroups, unless the list is empty or very long.
    pub(super) born_in: &'a [CgroupId],
}

/// What the kernel needs to find a socket to end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Listed {
    pub(crate) transport: Transport,
    family: u8,
    /// `inet_diag_sockid`, with the cookie that tells it from a later one.
    id: [u8; SOCKET_ID],
    /// Where its `connect()` was to go, if the programs have recorded that.
    to: Option<SocketAddr>,
}

/// The other fields of a listed socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) socket: Listed,
    /// The cgroup in which it was created.
    pub(super) cgroup: CgroupId,
    /// 0 if no process has it open any more, or yet.
    pub(super) inode: u32,
    /// Everything was sent, and no process is left to read or send.
    pub(super) is_spent: bool,
    /// What the programs have recorded, if anything.
    pub(super) mark: Option<Mark>,
}

/// What the programs have recorded about a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mark {
    /// Its connection was allowed.
    Outward,
    /// It was allowed to connect to a peer that had sent to it.
    Answering,
    /// `socket()` has created it: it was not accepted.
    Made,
    /// The kernel has created it for a client of a listening socket, whose marks it has.
    Accepted,
}

impl Mark {
    /// From the state of a socket with this cookie.
    fn of(flags: u32, origin: u32, cookie: u64) -> Option<Self> {
        let is_own = cookie & u64::from(u32::MAX) == u64::from(origin);
        if origin != 0 && !is_own {
            Some(Self::Accepted)
        } else if flags & SocketState::OUTWARD != 0 {
            Some(Self::Outward)
        } else if flags & SocketState::ANSWERING != 0 {
            Some(Self::Answering)
        } else {
            (origin != 0).then_some(Self::Made)
        }
    }
}

impl Listed {
    pub(crate) fn local(&self) -> SocketAddr {
        self.address(4, [self.id[0], self.id[1]])
    }

    pub(crate) fn remote(&self) -> SocketAddr {
        self.address(20, [self.id[2], self.id[3]])
    }

    /// The destination for which it was allowed: the one that its process has named, which a program of somebody else
    /// may have replaced by another since; else its peer's address. Connections to loopback are not recorded: what is
    /// recorded for such a socket is from before.
    pub(crate) fn destination(&self) -> SocketAddr {
        let peer = self.remote();
        self.to
            .filter(|_| !peer.ip().to_canonical().is_loopback())
            .unwrap_or(peer)
    }

    /// Increases from one socket of a network namespace to the next.
    pub(super) fn cookie(&self) -> u64 {
        let half = |at: usize| {
            let bytes = [self.id[at], self.id[at + 1], self.id[at + 2], self.id[at + 3]];
            u64::from(u32::from_ne_bytes(bytes))
        };
        half(40) | half(44) << 32
    }

    pub(super) fn question(&self) -> Question<'_> {
        Question {
            family: self.family,
            transport: self.transport,
            states: u32::MAX,
            id: &self.id,
            storage: None,
            born_in: &[],
        }
    }

    fn address(&self, at: usize, port: [u8; 2]) -> SocketAddr {
        let address = if i32::from(self.family) == libc::AF_INET {
            let octets = self.id[at..at + 4].first_chunk::<4>();
            IpAddr::from(*octets.expect("four bytes were taken"))
        } else {
            let octets = self.id[at..at + 16].first_chunk::<16>();
            IpAddr::from(*octets.expect("sixteen bytes were taken")).to_canonical()
        };
        SocketAddr::new(address, u16::from_be_bytes(port))
    }
}

pub(super) fn request(kind: u16, flags: u16, question: &Question<'_>) -> Vec<u8> {
    let storage = question.storage.map(|map| {
        let map = attribute(SK_DIAG_BPF_STORAGE_REQ_MAP_FD, &map.to_ne_bytes());
        attribute(INET_DIAG_REQ_SK_BPF_STORAGES | NLA_F_NESTED, &map)
    });
    let mut attributes = storage.unwrap_or_default();
    if (1..=FILTERED).contains(&question.born_in.len()) {
        attributes.extend(attribute(INET_DIAG_REQ_BYTECODE, &filter(question.born_in)));
    }
    let length = u32::try_from(HEADER + REQUEST + attributes.len()).expect("a request is short");
    let mut message = Vec::with_capacity(HEADER + REQUEST + attributes.len());
    message.extend(length.to_ne_bytes());
    message.extend(kind.to_ne_bytes());
    message.extend((NLM_F_REQUEST | flags).to_ne_bytes());
    // Sequence number and port, which one connection of one question at a time needs not.
    message.extend([0; 8]);
    message.extend([question.family, question.transport as u8, 0, 0]);
    message.extend(question.states.to_ne_bytes());
    message.extend(question.id);
    message.extend(attributes);
    message
}

/// A program that lets through what was born in one of these cgroups: for each a comparison, and a jump to the end
/// where it holds; past the end after the last.
fn filter(cgroups: &[CgroupId]) -> Vec<u8> {
    const COMPARISON: u8 = 12;
    const JUMP: u8 = 4;
    let length = cgroups.len() * usize::from(COMPARISON + JUMP) - usize::from(JUMP);
    let mut program = Vec::with_capacity(length);
    for cgroup in cgroups {
        program.extend([INET_DIAG_BC_CGROUP_COND, COMPARISON]);
        program.extend(u16::from(COMPARISON + JUMP).to_ne_bytes());
        program.extend(cgroup.0.to_ne_bytes());
        let left = u16::try_from(length - program.len()).expect("they are not that many");
        if left > 0 {
            program.extend([INET_DIAG_BC_JMP, JUMP]);
            program.extend(left.to_ne_bytes());
        }
    }
    program
}

/// An attribute of whole words.
fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    let length = u16::try_from(4 + value.len()).expect("an attribute is short");
    [&length.to_ne_bytes(), &kind.to_ne_bytes(), value].concat()
}

/// The first message: its type, its body, and what follows it.
pub(super) fn split(bytes: &[u8]) -> Option<(u16, &[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk()?;
    let (kind, _) = rest.split_first_chunk()?;
    let length = usize::try_from(u32::from_ne_bytes(*length)).ok()?;
    let body = bytes.get(HEADER..length)?;
    let next = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
    Some((u16::from_ne_bytes(*kind), body, next))
}

/// None for anything but a full socket: one that is being accepted, or that is only waiting for its end.
pub(super) fn entry(transport: Transport, body: &[u8]) -> Option<Entry> {
    let ([family, state, ..], _) = body.split_first_chunk::<4>()?;
    let id = body.get(4..4 + SOCKET_ID)?.try_into().ok()?;
    let inode = u32::from_ne_bytes(*body.get(INODE..)?.first_chunk()?);
    let attributes = body.get(MESSAGE..)?;
    let cgroup = u64::from_ne_bytes(*value(attributes, INET_DIAG_CGROUP_ID)?.first_chunk()?);
    let marks = value(attributes, INET_DIAG_SK_BPF_STORAGES)
        .and_then(|storages| value(storages, SK_DIAG_BPF_STORAGE))
        .and_then(|storage| value(storage, SK_DIAG_BPF_STORAGE_MAP_VALUE));
    let noted = marks.and_then(|marks| {
        let (flags, rest) = marks.split_first_chunk()?;
        let (origin, rest) = rest.split_first_chunk()?;
        Some((u32::from_ne_bytes(*flags), u32::from_ne_bytes(*origin), rest))
    });
    let mut socket = Listed {
        transport,
        family: *family,
        id,
        to: None,
    };
    let mark = noted.and_then(|(flags, origin, _)| Mark::of(flags, origin, socket.cookie()));
    if mark == Some(Mark::Outward) {
        socket.to = noted.and_then(|(_, _, rest)| destination(rest));
    }
    Some(Entry {
        cgroup: CgroupId(cgroup),
        inode,
        is_spent: *state == FIN_WAIT2 && inode == 0,
        mark,
        socket,
    })
}

/// [`SocketState::to`] and its port.
fn destination(state: &[u8]) -> Option<SocketAddr> {
    let (high, rest) = state.split_first_chunk()?;
    let (low, rest) = rest.split_first_chunk()?;
    let port = u16::from_be_bytes(*rest.first_chunk()?);
    let Address(octets) = Address::from_halves([u64::from_ne_bytes(*high), u64::from_ne_bytes(*low)]);
    (port != 0).then(|| SocketAddr::new(IpAddr::from(octets).to_canonical(), port))
}

/// The value of an attribute among others.
fn value(mut bytes: &[u8], wanted: u16) -> Option<&[u8]> {
    loop {
        let (length, rest) = bytes.split_first_chunk()?;
        let (kind, _) = rest.split_first_chunk()?;
        let length = usize::from(u16::from_ne_bytes(*length));
        let value = bytes.get(4..length)?;
        if u16::from_ne_bytes(*kind) & NLA_TYPE_MASK == wanted {
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
            storage: None,
            born_in: &[],
        };
        let whole = request(SOCK_DIAG_BY_FAMILY, 0, &question);
        assert_eq!(
            split(&whole).map(|(kind, body, rest)| (kind, body.len(), rest.len())),
            Some((20, REQUEST, 0))
        );
        for length in 0..whole.len() {
            assert_eq!(split(&whole[..length]), None, "{length} bytes");
        }
        assert_eq!(value(&[8, 0, 21, 0, 1, 2], 21), None);
        assert_eq!(
            value(&[5, 0, 1, 0, 9, 0, 0, 0, 6, 0, 21, 0, 7, 7], 21),
            Some(&[7, 7][..])
        );
    }

    #[test]
    fn accepted_sockets_are_told_from_connected_ones_by_whose_cookie_they_have() {
        let cookie = 7 << 32 | 12;
        let outward = SocketState::OUTWARD;
        for (flags, origin, mark) in [
            (0, 0, None),
            (SocketState::LOCAL, 0, None),
            (0, 12, Some(Mark::Made)),
            (outward, 0, Some(Mark::Outward)),
            (outward, 12, Some(Mark::Outward)),
            (SocketState::ANSWERING, 0, Some(Mark::Answering)),
            (0, 11, Some(Mark::Accepted)),
            // One that had connected before it listened.
            (outward, 11, Some(Mark::Accepted)),
        ] {
            assert_eq!(Mark::of(flags, origin, cookie), mark, "{flags} {origin}");
        }
    }

    #[test]
    fn no_answer_makes_it_panic() {
        // A socket with its cgroup and a storage, cut anywhere, and with every length that an attribute may claim.
        let mut body = vec![0; MESSAGE];
        body[0] = 2;
        body.extend(attribute(INET_DIAG_CGROUP_ID, &7_u64.to_ne_bytes()));
        let service: SocketAddr = "10.96.0.77:80".parse().unwrap();
        let mut state = vec![2, 0, 0, 0, 0, 0, 0, 0];
        let halves = Address::from_v4([10, 96, 0, 77]).halves();
        state.extend(halves.into_iter().flat_map(u64::to_ne_bytes));
        state.extend([0, 80]);
        // What only the programs read.
        state.resize(size_of::<SocketState>(), 0);
        let state = attribute(SK_DIAG_BPF_STORAGE_MAP_VALUE, &state);
        let storage = attribute(SK_DIAG_BPF_STORAGE | NLA_F_NESTED, &state);
        body.extend(attribute(INET_DIAG_SK_BPF_STORAGES | NLA_F_NESTED, &storage));
        let whole = entry(Transport::Tcp, &body).unwrap();
        assert_eq!((whole.mark, whole.cgroup), (Some(Mark::Outward), CgroupId(7)));
        assert_eq!(whole.socket.destination(), service);
        for length in 0..body.len() {
            let cut = entry(Transport::Tcp, &body[..length]);
            assert!(cut.is_none_or(|cut| cut.mark.is_none()), "{length} bytes");
        }
        for at in MESSAGE..body.len() {
            for byte in 0..=255 {
                let mut other = body.clone();
                other[at] = byte;
                entry(Transport::Tcp, &other);
            }
        }
    }
}
