//! Questions to a name server, one after the other.

use std::{
    net::{Ipv4Addr, SocketAddr, UdpSocket},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};

use super::{Block, FROM, TO};
use crate::naming::message;

/// The name server, which is trusted.
pub(super) const SERVER: SocketAddr = SocketAddr::new(TO.ip(), 53);

/// Questions in a block.
pub(super) const QUESTIONS: u32 = 200;

/// What questions are answered with.
#[derive(Clone, Copy)]
pub(super) enum With {
    /// An address that no answer has had before.
    Fresh,
    /// Always the same address.
    Known,
    /// None.
    Nothing,
}

impl With {
    const ALL: [Self; 3] = [Self::Fresh, Self::Known, Self::Nothing];

    /// The name that is asked for; its wildcard is registered.
    fn host(self) -> &'static str {
        match self {
            Self::Fresh => "fresh.example.com",
            Self::Known => "known.example.com",
            Self::Nothing => "nothing.example.com",
        }
    }
}

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// Who answers.
pub(super) struct Server;

impl Server {
    /// Answers in this thread's network until the process ends.
    pub(super) fn start() -> Result<Self> {
        let socket = UdpSocket::bind(SERVER).context("binding the name server")?;
        thread::spawn(move || answer(&socket));
        Ok(Self)
    }

    /// Connects from the cgroup that this process is in. A block is over when all its questions are answered.
    #[expect(clippy::unused_self, reason = "it shows that somebody answers")]
    pub(super) fn block(&self, with: With) -> Result<Block<'_>> {
        let socket = UdpSocket::bind((FROM, 0)).context("binding")?;
        socket.connect(SERVER).context("connecting")?;
        socket.set_read_timeout(Some(PATIENCE))?;
        let mut id = 0_u16;
        Ok(Box::new(move || {
            let start = Instant::now();
            for _ in 0..QUESTIONS {
                id = id.wrapping_add(1);
                let mut buffer = [0; 512];
                socket
                    .send(&message::question(id, with.host(), 1))
                    .context("asking")?;
                let size = socket.recv(&mut buffer).context("no answer")?;
                ensure!(
                    size > 2 && buffer[..2] == id.to_be_bytes(),
                    "another question is answered"
                );
            }
            Ok(start.elapsed().as_secs_f64())
        }))
    }
}

/// Ends where nothing can be received or sent, or is understood; the one who asks notices.
fn answer(socket: &UdpSocket) {
    let mut buffer = [0; 512];
    let mut number = 0x0b00_0000_u32;
    while let Ok((size, from)) = socket.recv_from(&mut buffer) {
        let question = &buffer[..size];
        let is_asked = |with: &With| *question == message::question(id(question), with.host(), 1);
        let Some(with) = With::ALL.into_iter().find(is_asked) else {
            return;
        };
        number += u32::from(matches!(with, With::Fresh));
        let address = match with {
            With::Fresh => Some(Ipv4Addr::from_bits(number)),
            With::Known => Some(Ipv4Addr::new(10, 0, 0, 1)),
            With::Nothing => None,
        };
        if socket
            .send_to(&message::plain_answer(question, address), from)
            .is_err()
        {
            return;
        }
    }
}

fn id(question: &[u8]) -> u16 {
    question.first_chunk().map_or(0, |id| u16::from_be_bytes(*id))
}
