//! DNS messages (RFC 1035), as far as addresses are learned from them.
//!
//! ```text
//! header -> question (is it the one that was asked?) -> records (which addresses does it lead to?)
//! ```
//!
//! One parser for the kernel and the host. It goes byte by byte, in steps: a program of the kernel has no loop of its own
//! that the verifier would follow, and calls [`QuestionParser::step`] and [`RecordsParser::step`] by `bpf_loop`. Whatever is
//! not as it should be gives the whole message up: nothing is learned from the beginning of a message whose end is wrong.
//!
//! **Architecture Invariant:** what a resolver of the host rejects teaches nothing here
//! (`enforcer/common/tests/dns` holds it against another parser).

mod question;
mod records;
mod walk;

pub use question::QuestionParser;
pub use records::RecordsParser;

/// Bytes of a message's header.
pub const HEADER: u32 = 12;

/// Bytes of the longest message that is looked at.
pub const MESSAGE: usize = 4096;

/// Bytes of the longest name as it is sent, the root included (RFC 1035, 2.3.4).
pub const LONGEST: u32 = 255;

/// Addresses of one answer that are learned; one that has more is given up.
pub const ADDRESSES: u32 = 128;

/// Steps within which every message of ordinary shape is read.
pub const STEPS: u32 = 16_384;

/// A record with an IPv4 address.
pub const A: u16 = 1;
/// A record with an IPv6 address.
pub const AAAA: u16 = 28;
/// The class of all that is asked here.
pub const IN: u16 = 1;

/// The bytes of a message, or of what was asked.
pub trait Bytes {
    /// The byte at a place; any where there is none.
    fn byte(&self, at: u32) -> u8;
}

/// Where a name is written.
pub trait Name {
    /// Its byte at a place below [`LONGEST`], lower case; `is_length` tells a label's length from a character, which may be
    /// the same number.
    fn put(&mut self, at: u32, byte: u8, is_length: bool);
}

/// Where addresses are noted.
pub trait Addresses {
    /// Notes an address as number `index`, which is below [`ADDRESSES`].
    fn note(&mut self, index: u32, place: Place);
}

/// Where a message has an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Its first byte.
    pub at: u32,
    /// Whether it has 16 bytes and not 4.
    pub is_v6: bool,
    /// Its time to live in seconds.
    pub ttl: u32,
}

/// How far a parser is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// It has to go on.
    More,
    /// It is through.
    Done,
    /// It has given up.
    Failed(Failure),
}

/// Why a message teaches nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// It is no answer to what was asked.
    Unasked,
    /// It is malformed, or holds what the parser does not know.
    Malformed,
    /// It is cut short, or longer than what is looked at.
    Oversized,
    /// It is an answer, and says that there is nothing.
    Empty,
}

/// The header of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// The number that joins question and answer, as it is sent.
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

    /// Whether it is a question, one alone, and not a command (RFC 1035, 4.1.1: QR and OPCODE).
    #[inline(always)]
    pub const fn is_question(&self) -> bool {
        self.flags & 0xf800 == 0 && self.questions == 1
    }

    /// Why it is no answer that holds anything.
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

/// As names are compared (RFC 4343).
#[inline(always)]
const fn lower(byte: u8) -> u8 {
    if byte >= b'A' && byte <= b'Z' {
        byte + 32
    } else {
        byte
    }
}
