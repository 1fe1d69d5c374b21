//! DNS messages (RFC 1035), as far as needed to learn addresses.
//!
//! ```text
//! header -> question (is it the one that was asked?) -> records (which addresses does it lead to?)
//! ```
//!
//! The kernel and the host use the same parser. It works byte by byte, in steps: the verifier cannot follow a loop
//! over a message, so that a program calls [`QuestionParser::step`] and [`RecordsParser::step`] by `bpf_loop`. Any
//! error rejects the whole message: nothing is learned from the beginning of a message whose end is malformed.
//!
//! **Architecture Invariant:** nothing is learned from a message that a resolver on the host rejects
//! (`enforcer/common/tests/dns` compares this parser with another one).

mod question;
mod records;
mod walk;

pub use question::QuestionParser;
pub use records::RecordsParser;

/// Bytes of a message's header.
pub const HEADER: u32 = 12;

/// Bytes of the longest message that is parsed.
pub const MESSAGE: usize = 4096;

/// Bytes of the longest name as it is sent, the root included (RFC 1035, 2.3.4).
pub const LONGEST: u32 = 255;

/// The most addresses that are learned from one answer; an answer with more is rejected.
pub const ADDRESSES: u32 = 128;

/// The steps that suffice for every message of ordinary shape.
pub const STEPS: u32 = 16_384;

/// A record with an IPv4 address.
pub const A: u16 = 1;
/// A record with an IPv6 address.
pub const AAAA: u16 = 28;
/// The only class that is supported.
pub const IN: u16 = 1;

/// The bytes of a message or of a sent question.
pub trait Bytes {
    /// The byte at an offset; any value past the end.
    fn byte(&self, at: u32) -> u8;
}

/// A buffer for a name.
pub trait Name {
    /// Writes a byte of the name, in lower case, at an offset below [`LONGEST`]. `is_length` tells a label's length
    /// from a character, which may have the same number.
    fn put(&mut self, at: u32, byte: u8, is_length: bool);
}

/// A list for addresses.
pub trait Addresses {
    /// Records an address as number `index`, which is below [`ADDRESSES`].
    fn note(&mut self, index: u32, place: Place);
}

/// The location of an address in a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Offset of its first byte.
    pub at: u32,
    /// Whether it has 16 bytes, not 4.
    pub is_v6: bool,
    /// Its time to live in seconds.
    pub ttl: u32,
}

/// The state of a parser.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// It needs more steps.
    More,
    /// It is done.
    Done,
    /// It has failed.
    Failed(Failure),
}

/// Why nothing is learned from a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// It is not an answer to a question that was sent.
    Unasked,
    /// It is malformed, or contains something that the parser does not support.
    Malformed,
    /// It is truncated, or longer than the parser supports.
    Oversized,
    /// It is an answer without addresses.
    Empty,
}

/// The header of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// The number that links question and answer, in network byte order.
    pub id: [u8; 2],
    flags: u16,
    questions: u16,
    answers: u16,
    authorities: u16,
    additional: u16,
}

impl Header {
    /// From the first bytes of a message.
    #[inline(always)]
    pub const fn new(bytes: &[u8; HEADER as usize]) -> Self {
        Self {
            id: [bytes[0], bytes[1]],
            flags: number(bytes[2], bytes[3]),
            questions: number(bytes[4], bytes[5]),
            answers: number(bytes[6], bytes[7]),
            authorities: number(bytes[8], bytes[9]),
            additional: number(bytes[10], bytes[11]),
        }
    }

    /// Whether it is a single question, and not another operation (RFC 1035, 4.1.1: QR and OPCODE).
    #[inline(always)]
    pub const fn is_question(&self) -> bool {
        self.flags & 0xf800 == 0 && self.questions == 1
    }

    /// The reason why it is not an answer with records.
    #[inline(always)]
    pub const fn failure(&self) -> Option<Failure> {
        if self.flags & 0xf800 != 0x8000 {
            Some(Failure::Unasked)
        } else if self.questions != 1 {
            Some(Failure::Malformed)
        } else if self.flags & 0x0200 != 0 {
            Some(Failure::Oversized)
        } else if self.flags & 0x000f != 0 || self.answers == 0 {
            Some(Failure::Empty)
        } else {
            None
        }
    }
}

#[inline(always)]
const fn number(high: u8, low: u8) -> u16 {
    (high as u16) << 8 | low as u16
}

/// Lower case, for comparing names (RFC 4343).
#[inline(always)]
const fn lower(byte: u8) -> u8 {
    if byte >= b'A' && byte <= b'Z' {
        byte + 32
    } else {
        byte
    }
}
