//! DNS messages, put together by hand so that they can be wrong.

use std::net::{IpAddr, Ipv4Addr};

/// One record of an answer.
#[derive(Clone, Debug)]
pub struct Record {
    /// Whose it is, as a text.
    pub owner: String,
    /// Its type.
    pub kind: u16,
    /// Its data.
    pub data: Vec<u8>,
}

impl Record {
    /// An address.
    pub fn address(owner: &str, address: IpAddr) -> Self {
        let (kind, data) = match address {
            IpAddr::V4(v4) => (1, v4.octets().to_vec()),
            IpAddr::V6(v6) => (28, v6.octets().to_vec()),
        };
        Self {
            owner: owner.into(),
            kind,
            data,
        }
    }

    /// Another name for a name.
    pub fn alias(owner: &str, of: &str) -> Self {
        Self {
            owner: owner.into(),
            kind: 5,
            data: name(of),
        }
    }
}

/// A name as it is sent.
pub fn name(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    for label in text.split('.').filter(|label| !label.is_empty()) {
        bytes.push(u8::try_from(label.len()).expect("a label is short"));
        bytes.extend(label.bytes());
    }
    bytes.push(0);
    bytes
}

/// A question with recursion, for a type of records.
pub fn question(id: u16, host: &str, kind: u16) -> Vec<u8> {
    let mut bytes = id.to_be_bytes().to_vec();
    bytes.extend([1, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
    bytes.extend(name(host));
    bytes.extend(kind.to_be_bytes());
    bytes.extend([0, 1]);
    bytes
}

/// An answer to a question, with its records and others in the additional section; each lives a minute.
pub fn answer(question: &[u8], answers: &[Record], additional: &[Record]) -> Vec<u8> {
    let mut bytes = question.to_vec();
    bytes[2..4].copy_from_slice(&[0x81, 0x80]);
    let count = |records: &[Record]| u16::try_from(records.len()).unwrap_or(u16::MAX).to_be_bytes();
    bytes[6..8].copy_from_slice(&count(answers));
    bytes[10..12].copy_from_slice(&count(additional));
    for record in answers.iter().chain(additional) {
        bytes.extend(name(&record.owner));
        bytes.extend(record.kind.to_be_bytes());
        bytes.extend([0, 1, 0, 0, 0, 60]);
        bytes.extend(u16::try_from(record.data.len()).unwrap_or(u16::MAX).to_be_bytes());
        bytes.extend(&record.data);
    }
    bytes
}

/// The answer of an ordinary server, which writes a pointer to the question in the place of the record's owner.
pub fn plain_answer(question: &[u8], address: Option<Ipv4Addr>) -> Vec<u8> {
    let mut bytes = answer(question, &[], &[]);
    if let Some(address) = address {
        bytes[7] = 1;
        bytes.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4]);
        bytes.extend(address.octets());
    }
    bytes
}

/// As it is sent over TCP.
pub fn framed(message: &[u8]) -> Vec<u8> {
    let length = u16::try_from(message.len()).unwrap_or(u16::MAX);
    [&length.to_be_bytes(), message].concat()
}
