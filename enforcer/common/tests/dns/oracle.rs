//! What a resolver of the host makes of a message: hickory reads it, and its answers are gone through in their order.

use std::net::IpAddr;

use enforcer_common::dns::{ADDRESSES, Failure, HEADER, LONGEST, MESSAGE, STEPS};
use hickory_proto::{
    op::{Message, MessageType, OpCode, ResponseCode},
    rr::{DNSClass, Name, RData, Record, RecordType},
};

use crate::driver::{self, Learned};

/// What an answer says.
pub(crate) struct Answer {
    pub(crate) learned: Learned,
    /// Whether it has the shape of what name servers send.
    is_ordinary: bool,
}

/// Holds the parser against the oracle, for a message that answers its own question.
///
/// # Panics
/// If they do not agree.
pub(crate) fn check(message: &[u8]) {
    let asked = message.get(HEADER as usize..).unwrap_or_default();
    let asked = &asked[..asked.len().min(512)];
    match (driver::learn(message, asked), read(message)) {
        (Ok(learned), Some(answer)) => assert_eq!(learned, answer.learned, "{message:02x?}"),
        (Ok(learned), None) => {
            let opaque = opaque(message);
            assert!(
                opaque.as_deref() != Some(message),
                "what is no answer teaches {learned:?}: {message:02x?}"
            );
            // What the oracle rejects is the data of a type that is not needed. Where a name runs through what was
            // overwritten, both read another message, of which the same holds.
            if let Some(Ok(other)) = opaque.as_deref().map(|bytes| driver::learn(bytes, asked)) {
                let answer = opaque.as_deref().and_then(read);
                let answer = answer.unwrap_or_else(|| panic!("{other:?} of no answer: {message:02x?}"));
                assert_eq!(other, answer.learned, "{message:02x?}");
            }
        }
        (Err(failure), Some(answer)) if answer.is_ordinary => {
            let learned = answer.learned;
            assert!(
                learned.addresses.is_empty() && failure == Failure::Empty,
                "{failure:?}, but it says {learned:?}: {message:02x?}"
            );
        }
        (Err(_), _) => {}
    }
}

/// The same message with an unknown type in place of each whose data the parser skips, so that the oracle skips it too.
fn opaque(message: &[u8]) -> Option<Vec<u8>> {
    let mut bytes = message.to_vec();
    let number = |at: usize| {
        Some(usize::from(u16::from_be_bytes(
            *message.get(at..)?.first_chunk()?,
        )))
    };
    let records = number(6)? + number(8)? + number(10)?;
    let mut at = behind(message, HEADER as usize)? + 4;
    for _ in 0..records {
        at = behind(message, at)?;
        let kind = number(at)?;
        if !READ.contains(&kind) {
            bytes[at..at + 2].copy_from_slice(&UNKNOWN.to_be_bytes());
        }
        at += 10 + number(at + 8)?;
    }
    Some(bytes)
}

/// Types whose data the parser reads: A, NS, CNAME, AAAA, DNAME, OPT, RRSIG.
const READ: [usize; 7] = [1, 2, 5, 28, 39, 41, 46];

/// A type that nobody knows (RFC 6895, 3.1).
const UNKNOWN: u16 = 0xff00;

/// The place behind a name.
fn behind(message: &[u8], mut at: usize) -> Option<usize> {
    loop {
        match usize::from(*message.get(at)?) {
            0 => return Some(at + 1),
            0xc0.. => return Some(at + 2),
            length => at += 1 + length,
        }
    }
}

/// Reads a message; nothing if it is malformed, or no answer for addresses.
pub(crate) fn read(bytes: &[u8]) -> Option<Answer> {
    let message = Message::from_vec(bytes).ok()?;
    let [query] = &message.queries[..] else {
        return None;
    };
    let metadata = &message.metadata;
    let is_answer = metadata.message_type == MessageType::Response
        && metadata.op_code == OpCode::Query
        && !metadata.truncation
        && metadata.response_code == ResponseCode::NoError
        && query.query_class() == DNSClass::IN
        && matches!(query.query_type(), RecordType::A | RecordType::AAAA);
    if !is_answer {
        return None;
    }
    let addresses = follow(query.name(), query.query_type(), &message.answers);
    let name = wire(query.name());
    let is_ordinary = is_ordinary(bytes, &message, &name) && addresses.len() <= ADDRESSES as usize;
    Some(Answer {
        learned: Learned { name, addresses },
        is_ordinary,
    })
}

/// Follows the chain of CNAMEs in the order in which the records stand.
fn follow(name: &Name, kind: RecordType, answers: &[Record]) -> Vec<(IpAddr, u32)> {
    let mut target = name;
    let mut addresses = Vec::new();
    for record in answers {
        if record.name != *target || record.dns_class != DNSClass::IN {
            continue;
        }
        match &record.data {
            RData::A(address) if kind == RecordType::A => {
                addresses.push((IpAddr::V4(address.0), record.ttl));
            }
            RData::AAAA(address) if kind == RecordType::AAAA => {
                addresses.push((IpAddr::V6(address.0), record.ttl));
            }
            RData::CNAME(name) => target = &name.0,
            _ => {}
        }
    }
    addresses
}

/// Whether the parser has to understand it.
fn is_ordinary(bytes: &[u8], message: &Message, name: &[u8]) -> bool {
    let sections = [&message.answers, &message.authorities, &message.additionals];
    let records = sections.map(Vec::len).iter().sum::<usize>();
    let is_known = |record: &Record| {
        let is_read = READ.contains(&usize::from(u16::from(record.record_type())));
        record.dns_class == DNSClass::IN
            && match record.data {
                RData::A(_)
                | RData::AAAA(_)
                | RData::CNAME(_)
                | RData::NS(_)
                | RData::SOA(_)
                | RData::TXT(_) => true,
                // It leaves the data of some types unread that the parser reads.
                RData::Unknown { .. } => !is_read,
                _ => false,
            }
    };
    // Options that it cannot read hickory leaves out.
    let has_options = message.edns.is_some();
    // Pointers may lead anywhere but into the header.
    let leads_to_header = bytes
        .windows(2)
        .any(|pair| pair[0] == 0xc0 && u32::from(pair[1]) < HEADER);
    let question = bytes.get(HEADER as usize..HEADER as usize + name.len());
    // The question stands in full, and of what host names are made of.
    let is_plain = question.is_some_and(|question| question.eq_ignore_ascii_case(name))
        && labels(name).flatten().all(|byte| is_plain(*byte));
    is_plain
        && bytes.len() <= MESSAGE
        && records * (2 * LONGEST as usize) + bytes.len() < STEPS as usize
        && sections.iter().all(|section| section.iter().all(is_known))
        && !has_options
        && !leads_to_header
}

fn is_plain(byte: u8) -> bool {
    byte.is_ascii_graphic() && byte != b'.' && byte != b'\\'
}

/// The labels of a name as it is sent.
fn labels(name: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = name;
    std::iter::from_fn(move || {
        let (length, more) = rest.split_first()?;
        let (label, more) = more.split_at(usize::from(*length));
        rest = more;
        Some(label)
    })
}

/// A name as it is sent, lower case.
fn wire(name: &Name) -> Vec<u8> {
    let mut bytes = Vec::new();
    for label in name.iter() {
        bytes.push(u8::try_from(label.len()).expect("a label has at most 63 bytes"));
        bytes.extend(label.to_ascii_lowercase());
    }
    bytes.push(0);
    bytes
}
