//! Answers from which an address is learned.

use std::{
    io::{Read as _, Write as _},
    net::TcpListener,
    os::fd::AsRawFd as _,
};

use anyhow::{Context as _, Result};
use nix::sys::socket::{Shutdown, shutdown};

use super::{
    message::{self, Record},
    stage::{HOST, RESOLVER, SHARE, Stage},
};
use crate::servers::networks::PATIENCE;

type Way = fn(&mut Stage<'_>) -> Result<()>;

pub(super) const WAYS: [(&str, Way); 9] = [
    ("by UDP", by_udp),
    (
        "as the oldest of the questions that its share holds",
        within_share,
    ),
    ("behind a chain of other names", by_alias),
    ("beside records of other types", beside_others),
    ("by TCP", by_tcp),
    ("by TCP, the length in a packet of its own", by_halves),
    ("by TCP, the second of two questions in one packet", by_two),
    ("by TCP, the answer in two packets", by_parts),
    (
        "by TCP, behind a message that is too long to look at",
        behind_long,
    ),
];

fn by_udp(stage: &mut Stage<'_>) -> Result<()> {
    stage.fresh();
    let (socket, server) = stage.ask()?;
    let answer = stage.answer();
    stage.send(&server, socket, &answer)
}

fn within_share(stage: &mut Stage<'_>) -> Result<()> {
    stage.fresh();
    let (socket, server) = stage.ask()?;
    stage.ask_more(socket, SHARE - 1)?;
    let answer = stage.answer();
    stage.send(&server, socket, &answer)
}

fn by_alias(stage: &mut Stage<'_>) -> Result<()> {
    let address = stage.fresh();
    let (socket, server) = stage.ask()?;
    let records = [
        Record::alias(HOST, "b.example.net"),
        Record::alias("b.example.net", "C.example.org"),
        Record::address("c.example.org", address),
    ];
    let answer = message::answer(&stage.question(), &records, &[]);
    stage.send(&server, socket, &answer)
}

fn beside_others(stage: &mut Stage<'_>) -> Result<()> {
    let address = stage.fresh();
    let (socket, server) = stage.ask()?;
    let other = |kind: u16, data: &[u8]| Record {
        owner: HOST.into(),
        kind,
        data: data.into(),
    };
    let (text, service) = (other(16, b"\x03abc"), other(65, &[0, 1, 0]));
    let records = [text, Record::address(HOST, address)];
    let answer = message::answer(&stage.question(), &records, &[service]);
    stage.send(&server, socket, &answer)
}

fn by_tcp(stage: &mut Stage<'_>) -> Result<()> {
    stage.fresh();
    let question = message::framed(&stage.question());
    over_tcp(stage, &[&question], &[&message::framed(&stage.answer())])
}

fn by_halves(stage: &mut Stage<'_>) -> Result<()> {
    stage.fresh();
    let question = message::framed(&stage.question());
    let (length, rest) = question.split_at(2);
    over_tcp(stage, &[length, rest], &[&message::framed(&stage.answer())])
}

fn by_two(stage: &mut Stage<'_>) -> Result<()> {
    stage.fresh();
    let other = message::question(0xffff, HOST, 28);
    let questions = [message::framed(&other), message::framed(&stage.question())].concat();
    let nothing = message::answer(&other, &[], &[]);
    let answers = [message::framed(&nothing), message::framed(&stage.answer())].concat();
    over_tcp(stage, &[&questions], &[&answers])
}

fn by_parts(stage: &mut Stage<'_>) -> Result<()> {
    stage.fresh();
    let question = message::framed(&stage.question());
    let answer = message::framed(&stage.answer());
    let (first, second) = answer.split_at(answer.len() / 2);
    over_tcp(stage, &[&question], &[first, second])
}

fn behind_long(stage: &mut Stage<'_>) -> Result<()> {
    stage.fresh();
    let question = message::framed(&stage.question());
    let long = message::framed(&[0x80; 5000]);
    let answer = message::framed(&stage.answer());
    let (first, rest) = long.split_at(3000);
    over_tcp(stage, &[&question], &[first, &[rest, &answer].concat()])
}

pub(super) fn over_tcp(stage: &mut Stage<'_>, questions: &[&[u8]], answers: &[&[u8]]) -> Result<()> {
    let listener = stage.networks.at_client(|| Ok(TcpListener::bind(RESOLVER)?))?;
    let ending = listener.try_clone()?;
    let wanted: usize = questions.iter().map(|piece| piece.len()).sum();
    std::thread::scope(|scope| {
        let server = scope.spawn(move || -> Result<()> {
            let (mut stream, _) = listener.accept()?;
            stream.set_nodelay(true)?;
            stream.set_read_timeout(Some(PATIENCE))?;
            stream.read_exact(&mut vec![0; wanted])?;
            for piece in answers {
                stream.write_all(piece)?;
                until_acknowledged(&stream)?;
            }
            Ok(())
        });
        let asked = stage.asker.tcp(RESOLVER, questions);
        if asked.is_err() {
            // The server may wait for somebody still.
            shutdown(ending.as_raw_fd(), Shutdown::Both)?;
        }
        asked?;
        server
            .join()
            .map_err(|_| anyhow::anyhow!("the server panicked"))?
            .context("the server")
    })
}

/// Waits until the other side has what was sent, so that the next goes in a packet of its own.
fn until_acknowledged(stream: &std::net::TcpStream) -> Result<()> {
    loop {
        let mut left = 0;
        #[expect(unsafe_code, reason = "the call has no other form")]
        // SAFETY: the call writes one integer.
        let result = unsafe { libc::ioctl(stream.as_raw_fd(), libc::TIOCOUTQ, &raw mut left) };
        if result < 0 {
            return Err(std::io::Error::last_os_error().into());
        }
        if left == 0 {
            return Ok(());
        }
        std::thread::yield_now();
    }
}
