//! Answers from which nothing is learned.

use std::{
    net::{IpAddr, Ipv4Addr},
    path::Path,
};

use anyhow::{Result, ensure};

use super::{
    honest::over_tcp,
    message::{self, Record},
    packet::{datagram, send_raw},
    stage::{HOST, LOCAL, RESOLVER, SHARE, STRANGER, Stage},
};
use crate::servers::networks::{SERVER4, UPSTREAM4};

type Way = fn(&mut Stage<'_>) -> Result<()>;

pub(super) const WAYS: [(&str, Way); 19] = [
    ("from another server", by_stranger),
    ("from another port of the resolver", by_port),
    ("to another socket's question", to_another_socket),
    ("with another number", by_number),
    ("with another name in the question", by_name),
    ("with another type in the question", by_type),
    ("to a socket that has not asked", unasked),
    ("a second time", twice),
    ("when as many questions as its share came after", beyond_share),
    ("with a number that was answered before", old),
    ("for another owner beside the right one", beside),
    ("in the additional section", additional),
    ("by a raw socket on the loopback device", by_raw_socket),
    (
        "from another workload that plays the resolver of this machine",
        by_another_workload,
    ),
    ("from the workload itself", by_itself),
    ("by a device of the workload's own", by_device),
    (
        "by TCP, within a message that is too long to look at",
        within_long,
    ),
    (
        "by TCP, within a record, at the beginning of a packet",
        within_record,
    ),
    ("by TCP, cut off where the packet ends", cut_off),
];

fn by_stranger(stage: &mut Stage<'_>) -> Result<()> {
    stage.fresh();
    let (socket, _server) = stage.ask()?;
    let stranger = stage.at(STRANGER)?;
    let answer = stage.answer();
    stage.send(&stranger, socket, &answer)
}

fn by_port(stage: &mut Stage<'_>) -> Result<()> {
    stage.fresh();
    let (socket, _server) = stage.ask()?;
    let other = stage.at((UPSTREAM4, 54).into())?;
    let answer = stage.answer();
    stage.send(&other, socket, &answer)
}

fn beyond_share(stage: &mut Stage<'_>) -> Result<()> {
    stage.fresh();
    let (socket, server) = stage.ask()?;
    stage.ask_more(socket, SHARE)?;
    let answer = stage.answer();
    stage.send(&server, socket, &answer)
}

fn to_another_socket(stage: &mut Stage<'_>) -> Result<()> {
    stage.fresh();
    let (_socket, server) = stage.ask()?;
    let another = message::question(0x7777, "b.example.com", 1);
    let other = stage.asker.udp(RESOLVER, &another)?;
    let answer = stage.answer();
    stage.send(&server, other, &answer)
}

fn by_number(stage: &mut Stage<'_>) -> Result<()> {
    stage.fresh();
    let (socket, server) = stage.ask()?;
    let mut answer = stage.answer();
    answer[0] ^= 0x40;
    stage.send(&server, socket, &answer)
}

fn by_name(stage: &mut Stage<'_>) -> Result<()> {
    let address = stage.fresh();
    let (socket, server) = stage.ask()?;
    let mut other = message::question(0, "b.example.com", 1);
    other[..2].copy_from_slice(&stage.question()[..2]);
    let answer = message::answer(&other, &[Record::address("b.example.com", address)], &[]);
    stage.send(&server, socket, &answer)
}

fn by_type(stage: &mut Stage<'_>) -> Result<()> {
    stage.fresh();
    let (socket, server) = stage.ask()?;
    let mut answer = stage.answer();
    let kind = stage.question().len() - 3;
    answer[kind] = 28;
    stage.send(&server, socket, &answer)
}

fn unasked(stage: &mut Stage<'_>) -> Result<()> {
    stage.fresh();
    let server = stage.at(RESOLVER)?;
    let socket = stage.asker.udp(RESOLVER, b"not a question")?;
    let answer = stage.answer();
    stage.send(&server, socket, &answer)
}

fn twice(stage: &mut Stage<'_>) -> Result<()> {
    stage.fresh();
    let (socket, server) = stage.ask()?;
    let right = Record::address(HOST, IpAddr::V4(Ipv4Addr::new(192, 0, 2, 200)));
    let right = message::answer(&stage.question(), &[right], &[]);
    stage.send(&server, socket, &right)?;
    let answer = stage.answer();
    stage.send(&server, socket, &answer)
}

fn old(stage: &mut Stage<'_>) -> Result<()> {
    stage.fresh();
    let (socket, server) = stage.ask()?;
    let right = Record::address(HOST, IpAddr::V4(Ipv4Addr::new(192, 0, 2, 201)));
    let right = message::answer(&stage.question(), &[right], &[]);
    stage.send(&server, socket, &right)?;
    let next = message::question(0x6666, HOST, 1);
    stage.asker.again(socket, RESOLVER, &next)?;
    let answer = stage.answer();
    stage.send(&server, socket, &answer)
}

fn beside(stage: &mut Stage<'_>) -> Result<()> {
    let address = stage.fresh();
    let (socket, server) = stage.ask()?;
    let records = [
        Record::address(HOST, IpAddr::V4(Ipv4Addr::new(192, 0, 2, 202))),
        Record::address("b.example.com", address),
    ];
    let answer = message::answer(&stage.question(), &records, &[]);
    stage.send(&server, socket, &answer)
}

fn additional(stage: &mut Stage<'_>) -> Result<()> {
    let address = stage.fresh();
    let (socket, server) = stage.ask()?;
    let right = Record::address(HOST, IpAddr::V4(Ipv4Addr::new(192, 0, 2, 203)));
    let answer = message::answer(&stage.question(), &[right], &[Record::address(HOST, address)]);
    stage.send(&server, socket, &answer)
}

/// What was asked by a cable is not answered by the loopback device.
fn by_raw_socket(stage: &mut Stage<'_>) -> Result<()> {
    stage.fresh();
    let (socket, _server) = stage.ask()?;
    let answer = stage.answer();
    send_raw(
        &datagram(RESOLVER, (SERVER4, socket.port).into(), &answer)?,
        SERVER4,
    )?;
    stage.asker.receive(socket)
}

fn by_another_workload(stage: &mut Stage<'_>) -> Result<()> {
    stage.fresh();
    let question = stage.question();
    let socket = stage.asker.udp(LOCAL, &question)?;
    let answer = stage.answer();
    let sent = stage
        .other
        .udp_from(LOCAL, (Ipv4Addr::LOCALHOST, socket.port).into(), &answer);
    ensure!(sent.is_err(), "it could answer");
    Ok(())
}

fn by_itself(stage: &mut Stage<'_>) -> Result<()> {
    stage.fresh();
    let question = stage.question();
    let socket = stage.asker.udp(LOCAL, &question)?;
    let answer = stage.answer();
    let sent = stage
        .asker
        .udp_from(LOCAL, (Ipv4Addr::LOCALHOST, socket.port).into(), &answer);
    ensure!(sent.is_err(), "it could answer");
    Ok(())
}

/// What is framed within a message is none of its own, wherever packets begin.
fn within_long(stage: &mut Stage<'_>) -> Result<()> {
    stage.fresh();
    let question = message::framed(&stage.question());
    let mut long = vec![0x80; 3000];
    long.extend(message::framed(&stage.answer()));
    long.extend([0x80; 100]);
    let long = message::framed(&long);
    let (first, second) = long.split_at(3002);
    over_tcp(stage, &[&question], &[first, second])
}

/// The same of a message that is read.
fn within_record(stage: &mut Stage<'_>) -> Result<()> {
    stage.fresh();
    let other = message::question(0x5555, "t.example.com", 16);
    let questions = [message::framed(&other), message::framed(&stage.question())].concat();
    let text = Record {
        owner: "t.example.com".into(),
        kind: 16,
        data: message::framed(&stage.answer()),
    };
    let data = text.data.len();
    let answer = message::framed(&message::answer(&other, &[text], &[]));
    let (first, second) = answer.split_at(answer.len() - data);
    over_tcp(stage, &[&questions], &[first, second])
}

/// What lies behind the end was never sent.
fn cut_off(stage: &mut Stage<'_>) -> Result<()> {
    stage.fresh();
    let question = message::framed(&stage.question());
    let answer = message::framed(&stage.answer());
    over_tcp(
        stage,
        &[&question],
        &[&answer[..10], &answer[10..answer.len() - 1]],
    )
}

/// It makes a device, and says by it what it likes: in a network of its own, which it needs no privilege to have.
fn by_device(stage: &mut Stage<'_>) -> Result<()> {
    if !Path::new("/dev/net/tun").exists() {
        return Ok(());
    }
    stage.fresh();
    let (question, answer) = (stage.question(), stage.answer());
    let mut asker = stage.another_asker()?;
    asker.tunnel((SERVER4.into(), RESOLVER), &question, &answer)?;
    ensure!(
        !asker.connects((stage.address(), 443).into())?,
        "it is allowed there"
    );
    Ok(())
}
