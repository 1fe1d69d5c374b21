//! The sockets of one network namespace with which a workload reaches out, listed bit by bit.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    net::IpAddr,
    os::fd::{AsRawFd as _, OwnedFd},
    sync::Arc,
    time::Instant,
};

use anyhow::{Context as _, Result};
use enforcer_common::{CgroupId, Transport};

use super::{
    diag::{Answer, Diag},
    message::{Entry, LISTEN, Listed, Question, SOCKET_ID, entry},
    network::Network,
};

/// Sockets that are held at most. What is more comes in the next round, so that it costs time and no memory.
const MOST: usize = 65_536;

/// All states of a TCP socket that is connected or about to be: ESTABLISHED to FIN_WAIT2, CLOSE_WAIT, LAST_ACK, CLOSING.
/// What waits to be sent or received is a flow as well.
const CONNECTED: u32 = 0b11_1110 | 1 << 8 | 1 << 9 | 1 << 11;
/// A connected UDP socket is "established" (1).
const ESTABLISHED: u32 = 1 << 1;

/// Whose sockets are wanted, and what tells how they came to be.
#[derive(Clone, Default)]
pub(super) struct Wanted {
    pub(super) cgroups: BTreeSet<CgroupId>,
    /// The socket storage in which the connect hooks mark what they let out.
    pub(super) marks: Option<Arc<OwnedFd>>,
}

/// A listing under way.
pub(super) struct Listing {
    diag: Diag,
    /// What is still to be asked; who listens comes first.
    questions: Vec<(Transport, u32, u8)>,
    /// What is being answered.
    asked: Option<(Transport, u32, u8)>,
    listening: BTreeSet<(u16, IpAddr)>,
    /// By cookie.
    found: BTreeMap<u64, Listed>,
    /// Cookies up to this one were in an earlier round.
    after: u64,
    is_cut: bool,
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

    /// Reads on until a time. `inodes` gets those of all sockets seen. True once the round is over.
    pub(super) fn advance(
        &mut self,
        wanted: &Wanted,
        inodes: &mut HashSet<u32>,
        until: Instant,
    ) -> Result<bool> {
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
        let marks = wanted.marks.as_ref().filter(|_| states == CONNECTED);
        let storage = marks.map(|marks| u32::try_from(marks.as_raw_fd()));
        self.diag.ask(&Question {
            family,
            transport,
            states,
            id: &[0; SOCKET_ID],
            storage: storage
                .transpose()
                .context("an open descriptor is not negative")?,
        })?;
        self.asked = Some(question);
        Ok(())
    }

    fn take(&mut self, entry: Entry, listens: bool, wanted: &Wanted) {
        let Entry {
            socket,
            cgroup,
            is_spent,
            is_outward,
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
            || !is_outward && self.is_accepted(&socket)
        {
            return;
        }
        self.found.insert(cookie, socket);
        if self.found.len() > MOST {
            self.found.pop_last();
            self.is_cut = true;
        }
    }

    /// Whether a socket without a mark counts as accepted: its local port is one that somebody listens on.
    fn is_accepted(&self, socket: &Listed) -> bool {
        let (port, address) = (socket.local().port(), socket.local().ip());
        let any = [IpAddr::from([0_u8; 4]), IpAddr::from([0_u8; 16])];
        let mut on = [address].into_iter().chain(any);
        socket.transport == Transport::Tcp && on.any(|on| self.listening.contains(&(port, on)))
    }

    /// What the round has found. True if there is more, for which another has begun.
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
