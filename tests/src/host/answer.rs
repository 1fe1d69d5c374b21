//! An answer as a resolver sends it, read by the parser that the programs use.
//!
//! **Architecture Invariant:** which name counts is the parser's decision, not this module's.

use std::net::IpAddr;

use anyhow::{Result, bail, ensure};
use enforcer_common::dns::{
    A, AAAA, Addresses, Bytes, HEADER, Header, IN, LONGEST, Name, Place, Progress, QuestionParser,
    RecordsParser, STEPS,
};
use enforcer_core::{model::Host, pattern::text};

const CNAME: u16 = 5;

/// The name that was asked for, and the addresses that count for it.
pub(super) type Told = (Host, Vec<IpAddr>);

/// What an answer to the question for `name` says, that leads by each of `aliases` to the address.
///
/// # Errors
/// If it cannot be sent or read.
pub(super) fn read(name: &str, aliases: &[String], address: IpAddr) -> Result<Told> {
    let kind = if address.is_ipv4() { A } else { AAAA };
    let message = Message(write(name, aliases, address, kind)?);
    let end = u32::try_from(message.0.len())?;
    let header = Header::new(message.0.first_chunk().expect("a message has a header"));
    ensure!(header.failure().is_none(), "{:?}", header.failure());
    let (asked, mut written) = (
        Message(message.0[HEADER as usize..].to_vec()),
        Written(Vec::new()),
    );
    let mut question = QuestionParser::new(end);
    run(LONGEST + 8, || question.step(&message, &asked, &mut written))?;
    let mut found = Found(&message, Vec::new());
    let mut records = RecordsParser::new(&header, question.kind(), question.records(), end);
    run(STEPS, || records.step(&message, &mut found))?;
    match text(&written.0) {
        Some(name) => Ok((Host::new(&name), found.1)),
        None => bail!("{:02x?} is no name", written.0),
    }
}

fn run(steps: u32, mut step: impl FnMut() -> Progress) -> Result<()> {
    for _ in 0..steps {
        match step() {
            Progress::More => {}
            Progress::Done => return Ok(()),
            Progress::Failed(failure) => bail!("{failure:?}"),
        }
    }
    bail!("it takes too many steps")
}

fn write(name: &str, aliases: &[String], address: IpAddr, kind: u16) -> Result<Vec<u8>> {
    let answers = u16::try_from(1 + aliases.len())?;
    let mut bytes = vec![0, 7, 0x81, 0x80, 0, 1];
    bytes.extend(answers.to_be_bytes());
    bytes.extend([0; 4]);
    bytes.extend(wire(name)?);
    bytes.extend([kind.to_be_bytes(), IN.to_be_bytes()].concat());
    let mut owner = name;
    for alias in aliases {
        record(&mut bytes, (owner, CNAME), &wire(alias)?)?;
        owner = alias;
    }
    match address {
        IpAddr::V4(address) => record(&mut bytes, (owner, kind), &address.octets())?,
        IpAddr::V6(address) => record(&mut bytes, (owner, kind), &address.octets())?,
    }
    Ok(bytes)
}

fn record(bytes: &mut Vec<u8>, (owner, kind): (&str, u16), data: &[u8]) -> Result<()> {
    bytes.extend(wire(owner)?);
    bytes.extend([kind.to_be_bytes(), IN.to_be_bytes()].concat());
    bytes.extend(60_u32.to_be_bytes());
    bytes.extend(u16::try_from(data.len())?.to_be_bytes());
    bytes.extend(data);
    Ok(())
}

/// A name as it is sent.
fn wire(name: &str) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    for label in name.split('.').filter(|label| !label.is_empty()) {
        bytes.push(u8::try_from(label.len())?);
        bytes.extend(label.bytes());
    }
    bytes.push(0);
    Ok(bytes)
}

struct Message(Vec<u8>);

impl Bytes for Message {
    fn byte(&self, at: u32) -> u8 {
        self.0.get(at as usize).copied().unwrap_or_default()
    }
}

struct Written(Vec<u8>);

impl Name for Written {
    fn put(&mut self, at: u32, byte: u8, _: bool) {
        self.0.resize(at as usize, 0);
        self.0.push(byte);
    }
}

struct Found<'a>(&'a Message, Vec<IpAddr>);

impl Addresses for Found<'_> {
    fn note(&mut self, _: u32, place: Place) {
        let bytes = &self.0.0[place.at as usize..];
        self.1.push(if place.is_v6 {
            IpAddr::from(*bytes.first_chunk::<16>().expect("it lies within the message"))
        } else {
            IpAddr::from(*bytes.first_chunk::<4>().expect("it lies within the message"))
        });
    }
}
