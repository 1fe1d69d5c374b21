//! Lists the outgoing sockets of a workload in one network namespace, in small portions.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    os::fd::{AsRawFd as _, OwnedFd},
    sync::Arc,
    time::Instant,
};

use anyhow::{Context as _, Result};
use enforcer_common::{CgroupId, Transport};

use super::{
    diag::{Answer, Diag},
    inodes::Inodes,
    message::{Entry, LISTEN, Listed, Mark, Question, SOCKET_ID, entry},
    network::Network,
};

/// The most sockets that are held at once. Further ones are listed in the next round, which costs time but no
/// memory.
const MOST: usize = 65_536;

/// All states of a TCP socket that is connected or connecting: ESTABLISHED to FIN_WAIT2, CLOSE_WAIT, LAST_ACK,
/// CLOSING. Data that waits to be sent or received is a flow too.
const CONNECTED: u32 = 0b11_1110 | 1 << 8 | 1 << 9 | 1 << 11;
/// A connected UDP socket is "established" (1).
const ESTABLISHED: u32 = 1 << 1;

/// The cgroups whose sockets are wanted, and the marks that show how sockets were created.
#[derive(Clone, Default)]
pub(super) struct Wanted {
    pub(super) cgroups: BTreeSet<CgroupId>,
    /// The socket storage in which the connect hooks mark what they allow.
    pub(super) marks: Option<Arc<OwnedFd>>,
}

/// A listing under way.
pub(super) struct Listing {
    diag: Diag,
    /// Questions that are still to be sent; listening sockets come first.
    questions: Vec<(Transport, u32, u8)>,
    /// The question that is being answered.
    asked: Option<(Transport, u32, u8)>,
    listening: BTreeSet<(u16, IpAddr)>,
    /// By cookie.
    found: BTreeMap<u64, Listed>,
    /// Sockets with cookies up to this one were listed in an earlier round.
    after: u64,
    is_cut: bool,
    /// The most sockets that are held at once.
    most: usize,
}

impl Listing {
    pub(super) fn start(network: &Network) -> Result<Self> {
        let mut listing = Self {
            diag: network.within(Diag::open)?,
            questions: Vec::new(),
            asked: None,
            listening: BTreeSet::new(),
            found: BTreeMap::new(),
            after: 0,
            is_cut: false,
            most: MOST,
        };
        listing.begin();
        Ok(listing)
    }

    fn begin(&mut self) {
        let kinds = [
            (Transport::Udp, ESTABLISHED),
            (Transport::Tcp, CONNECTED),
            (Transport::Tcp, 1 << LISTEN),
        ];
        let families = [libc::AF_INET6, libc::AF_INET].map(|family| family.to_le_bytes()[0]);
        self.questions = kinds
            .into_iter()
            .flat_map(|(transport, states)| families.map(|family| (transport, states, family)))
            .collect();
        self.listening.clear();
    }

    /// Reads until a deadline. Adds the inodes of all sockets seen to `inodes`. True once the round is over.
    pub(super) fn advance(&mut self, wanted: &Wanted, inodes: &mut Inodes, until: Instant) -> Result<bool> {
        while Instant::now() < until {
            let Some(asked) = self.asked else {
                let Some(next) = self.questions.pop() else {
                    return Ok(true);
                };
                self.ask(next, wanted)?;
                continue;
            };
            let mut entries = Vec::new();
            let answer = self.diag.read(|body| entries.extend(entry(asked.0, body)))?;
            for entry in entries {
                inodes.insert(entry.inode);
                self.take(entry, asked.1 == 1 << LISTEN, wanted);
            }
            if answer == Answer::IsOver {
                self.asked = None;
            }
        }
        Ok(false)
    }

    fn ask(&mut self, question: (Transport, u32, u8), wanted: &Wanted) -> Result<()> {
        let (transport, states, family) = question;
        // The listener on a port may belong to any workload.
        let born_in: Vec<_> = wanted.cgroups.iter().copied().collect();
        let born_in = if states == 1 << LISTEN { &[][..] } else { &born_in };
        let marks = wanted.marks.as_ref().filter(|_| states != 1 << LISTEN);
        let storage = marks.map(|marks| u32::try_from(marks.as_raw_fd()));
        self.diag.ask(&Question {
            family,
            transport,
            states,
            id: &[0; SOCKET_ID],
            storage: storage
                .transpose()
                .context("an open descriptor is not negative")?,
            born_in,
        })?;
        self.asked = Some(question);
        Ok(())
    }

    fn take(&mut self, entry: Entry, listens: bool, wanted: &Wanted) {
        let Entry {
            socket,
            cgroup,
            is_spent,
            mark,
            ..
        } = entry;
        if listens {
            let local = socket.local();
            self.listening.insert((local.port(), local.ip()));
            return;
        }
        let cookie = socket.cookie();
        if !wanted.cgroups.contains(&cgroup)
            || is_spent
            || cookie <= self.after
            || !self.reaches_out(&socket, mark)
        {
            return;
        }
        self.found.insert(cookie, socket);
        if self.found.len() > self.most {
            self.found.pop_last();
            self.is_cut = true;
        }
    }

    /// Whether the workload initiated the socket's flow.
    fn reaches_out(&self, socket: &Listed, mark: Option<Mark>) -> bool {
        match mark {
            Some(Mark::Outward | Mark::Made) => true,
            Some(Mark::Answering | Mark::Accepted) => false,
            None => !self.is_accepted(socket),
        }
    }

    /// Whether a socket without a mark counts as accepted: a socket listens on its local port.
    fn is_accepted(&self, socket: &Listed) -> bool {
        let (port, address) = (socket.local().port(), socket.local().ip());
        let any = [IpAddr::from([0_u8; 4]), IpAddr::from([0_u8; 16])];
        let mut on = [address].into_iter().chain(any);
        socket.transport == Transport::Tcp && on.any(|on| self.listening.contains(&(port, on)))
    }

    /// Returns what the round has found. True if there is more, for which another round has begun.
    pub(super) fn end_round(&mut self) -> (Vec<Listed>, bool) {
        if let Some((last, _)) = self.found.last_key_value() {
            self.after = *last;
        }
        let is_cut = std::mem::take(&mut self.is_cut);
        if is_cut {
            self.begin();
        }
        let found = std::mem::take(&mut self.found);
        (found.into_values().collect(), is_cut)
    }
}

#[cfg(test)]
mod tests {
    use std::{
        net::{SocketAddr, TcpListener, TcpStream, UdpSocket},
        time::Duration,
    };

    use super::*;

    /// Where the sockets of this process are born.
    fn own_cgroup(known: SocketAddr) -> CgroupId {
        let mut diag = Diag::open().unwrap();
        let question = Question {
            family: libc::AF_INET.to_le_bytes()[0],
            transport: Transport::Tcp,
            states: CONNECTED,
            id: &[0; SOCKET_ID],
            storage: None,
            born_in: &[],
        };
        diag.ask(&question).unwrap();
        let mut own = None;
        let mut answer = Answer::GoesOn;
        while answer == Answer::GoesOn {
            let found = |body: &[u8]| {
                let entry = entry(Transport::Tcp, body).filter(|entry| entry.socket.local() == known);
                own = own.or(entry.map(|entry| entry.cgroup));
            };
            answer = diag.read(found).unwrap();
        }
        own.expect("it is listed")
    }

    /// What each round finds, with at most as many sockets in one.
    fn rounds(wanted: &Wanted, most: usize) -> Vec<Vec<Listed>> {
        let network = Network::open("/proc/self/ns/net".as_ref()).unwrap();
        let mut listing = Listing::start(&network).unwrap();
        listing.most = most;
        let mut rounds = Vec::new();
        loop {
            let until = || Instant::now() + Duration::from_millis(1);
            while !listing.advance(wanted, &mut Inodes::default(), until()).unwrap() {}
            let (found, is_cut) = listing.end_round();
            rounds.push(found);
            if !is_cut {
                return rounds;
            }
        }
    }

    #[test]
    fn connections_are_found_in_however_many_rounds_and_what_was_accepted_is_not() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let server = listener.local_addr().unwrap();
        let clients: Vec<_> = (0..10).map(|_| TcpStream::connect(server).unwrap()).collect();
        let _accepted: Vec<_> = (0..10).map(|_| listener.accept().unwrap()).collect();
        let datagrams = UdpSocket::bind("127.0.0.1:0").unwrap();
        datagrams.connect(server).unwrap();
        let mut expected: Vec<_> = clients
            .iter()
            .map(|client| client.local_addr().unwrap())
            .collect();
        let wanted = Wanted {
            cgroups: [own_cgroup(expected[0])].into(),
            marks: None,
        };
        expected.push(datagrams.local_addr().unwrap());
        expected.sort_unstable();
        for most in [1, 3, 10_000] {
            let rounds = rounds(&wanted, most);
            assert!(rounds.iter().all(|round| round.len() <= most), "{most} at most");
            let all = rounds.iter().flatten();
            // Those of tests that run at the same time are found as well.
            let mut own: Vec<_> = all
                .filter(|it| it.remote() == server)
                .map(Listed::local)
                .collect();
            own.sort_unstable();
            assert_eq!(own, expected, "{most} at most");
        }
        let nobody = Wanted::default();
        assert_eq!(rounds(&nobody, 1).concat(), []);
        // The kernel tells apart as many cgroups as it is asked about, wherever among them ours is.
        let own = *wanted.cgroups.first().unwrap();
        for others in [0, 1, 1022, 1023, 1024, 5000] {
            for with in [true, false] {
                let strange = (1..).map(|id| CgroupId(u64::MAX - id)).take(others);
                let below = (1..).map(CgroupId).take_while(|id| *id < own).take(1);
                let cgroups = strange.chain(below).chain(with.then_some(own)).collect();
                let found = rounds(&Wanted { cgroups, marks: None }, 10_000).concat();
                let ours = found.iter().filter(|it| it.remote() == server).count();
                assert_eq!(ours, if with { 11 } else { 0 }, "beside {others} others");
            }
        }
    }
}
