//! The records of an answer: the addresses to which its question leads.

use super::{
    A, AAAA, ADDRESSES, Addresses, Bytes, Failure, HEADER, Header, IN, Place, Progress, number,
    walk::{Stride, Walk},
};

const NS: u16 = 2;
const CNAME: u16 = 5;
const DNAME: u16 = 39;
const OPT: u16 = 41;
const RRSIG: u16 = 46;

/// The option that gives the client's network for an answer (RFC 7871).
const SUBNET: u16 = 8;

/// Bytes of a signature before its signer's name (RFC 4034, 3.1).
const SIGNATURE: u32 = 18;

/// Bytes of a record between its owner's name and its data: type, class, TTL, length.
const FIXED: u32 = 10;

/// Reads the records of a message. In the first section, the answers, it records the addresses of the name that was
/// asked for or of the end of its CNAME chain, in the order of the records. In the other sections it checks only the
/// format. The data of types that lead to no address, such as SOA, NSEC and TXT, is skipped in every section.
#[derive(Clone, Copy, Debug)]
pub struct RecordsParser {
    end: u32,
    /// Answers left.
    answers: u32,
    /// Records left in the second section.
    authorities: u32,
    /// Records left in the last section.
    additional: u32,
    /// The type of addresses that was asked for.
    kind: u16,
    part: Part,
    walk: Walk,
    /// Offset of the name whose addresses count.
    target: u32,
    /// Whether the record belongs to that name.
    is_targets: bool,
    /// Whether the record belongs to the root.
    is_roots: bool,
    /// Offset of the end of the record's data.
    data_end: u32,
    /// Number of addresses recorded.
    found: u32,
    /// Whether the single EDNS record was seen.
    has_options: bool,
    at: u32,
}

/// The part that is being read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    /// The owner's name of the record.
    Owner,
    /// The fixed fields behind that name.
    Fixed,
    /// Data that is a name.
    Name,
    /// Data that consists of EDNS options.
    Options,
}

impl RecordsParser {
    /// For a message of `end` bytes, at most [`MESSAGE`](super::MESSAGE), whose records begin at `at`; `kind` is the
    /// question's type, and the header has no [`failure`](Header::failure).
    #[inline(always)]
    pub const fn new(header: &Header, kind: u16, at: u32, end: u32) -> Self {
        Self {
            end,
            answers: header.answers as u32,
            authorities: header.authorities as u32,
            additional: header.additional as u32,
            kind,
            part: Part::Owner,
            walk: Walk::new(at, HEADER),
            target: HEADER,
            is_targets: false,
            is_roots: false,
            data_end: 0,
            found: 0,
            has_options: false,
            at,
        }
    }

    /// Number of addresses recorded.
    #[inline(always)]
    pub const fn found(&self) -> u32 {
        self.found
    }

    /// Reads the next byte, or the next few bytes that belong together.
    #[inline(always)]
    pub fn step(&mut self, message: &impl Bytes, addresses: &mut impl Addresses) -> Progress {
        match self.part {
            Part::Owner | Part::Name => self.name(message),
            Part::Fixed => self.fixed(message, addresses),
            Part::Options => self.option(message),
        }
    }

    #[inline(always)]
    fn name(&mut self, message: &impl Bytes) -> Progress {
        let (after, is_same, is_root) = match self.walk.step(message, self.end) {
            Stride::More => return Progress::More,
            Stride::Malformed => return Progress::Failed(Failure::Malformed),
            Stride::End {
                after,
                is_same,
                is_root,
            } => (after, is_same, is_root),
        };
        if self.part == Part::Owner {
            self.is_targets = is_same;
            self.is_roots = is_root;
            self.at = after;
            self.part = Part::Fixed;
            return Progress::More;
        }
        if after != self.data_end {
            return Progress::Failed(Failure::Malformed);
        }
        self.next()
    }

    #[inline(always)]
    fn fixed(&mut self, message: &impl Bytes, addresses: &mut impl Addresses) -> Progress {
        let at = self.at;
        if at + FIXED > self.end {
            return Progress::Failed(Failure::Malformed);
        }
        let kind = number(message.byte(at), message.byte(at + 1));
        let class = number(message.byte(at + 2), message.byte(at + 3));
        let ttl = (number(message.byte(at + 4), message.byte(at + 5)) as u32) << 16
            | number(message.byte(at + 6), message.byte(at + 7)) as u32;
        let length = number(message.byte(at + 8), message.byte(at + 9)) as u32;
        let data = at + FIXED;
        self.data_end = data + length;
        if self.data_end > self.end || (class != IN && kind != OPT) {
            return Progress::Failed(Failure::Malformed);
        }
        let is_answer = self.answers > 0;
        match kind {
            A | AAAA => {
                if length != if kind == A { 4 } else { 16 } {
                    return Progress::Failed(Failure::Malformed);
                }
                if is_answer && self.is_targets && kind == self.kind {
                    if self.found >= ADDRESSES {
                        return Progress::Failed(Failure::Oversized);
                    }
                    let place = Place {
                        at: data,
                        is_v6: kind == AAAA,
                        ttl,
                    };
                    addresses.note(self.found, place);
                    self.found += 1;
                }
                self.next()
            }
            CNAME | DNAME | NS => {
                if kind == CNAME && is_answer && self.is_targets {
                    self.target = data;
                }
                self.walk = Walk::alone(data);
                self.part = Part::Name;
                Progress::More
            }
            // Signatures beside the addresses are not verified here.
            RRSIG if length <= SIGNATURE => Progress::Failed(Failure::Malformed),
            OPT if self.has_room_for_options() => {
                if ttl >> 24 != 0 {
                    // The upper bits of the header's response code (RFC 6891, 6.1.3).
                    return Progress::Failed(Failure::Empty);
                }
                self.has_options = true;
                self.at = data;
                self.part = Part::Options;
                Progress::More
            }
            // Data of other types is not read: its length alone says where the next record begins (RFC 3597, 3).
            _ if kind != OPT && length > 0 => self.next(),
            _ => Progress::Failed(Failure::Malformed),
        }
    }

    /// Whether the record may be the EDNS record (RFC 6891, 6.1.1).
    #[inline(always)]
    const fn has_room_for_options(&self) -> bool {
        self.answers == 0 && self.authorities == 0 && self.is_roots && !self.has_options
    }

    /// One option: its code, its length and its data (RFC 6891, 6.1.2).
    #[inline(always)]
    fn option(&mut self, message: &impl Bytes) -> Progress {
        if self.at == self.data_end {
            return self.next();
        }
        if self.at + 4 > self.data_end {
            return Progress::Failed(Failure::Malformed);
        }
        let code = number(message.byte(self.at), message.byte(self.at + 1));
        let length = number(message.byte(self.at + 2), message.byte(self.at + 3)) as u32;
        let data = self.at + 4;
        self.at = data + length;
        if self.at > self.data_end || (code == SUBNET && !is_subnet(message, data, length)) {
            return Progress::Failed(Failure::Malformed);
        }
        Progress::More
    }

    /// Goes on to the next record, if there is one.
    #[inline(always)]
    fn next(&mut self) -> Progress {
        if self.answers > 0 {
            self.answers -= 1;
            if self.answers == 0 && self.found == 0 {
                return Progress::Failed(Failure::Empty);
            }
        } else if self.authorities > 0 {
            self.authorities -= 1;
        } else {
            self.additional = self.additional.saturating_sub(1);
        }
        if self.answers == 0 && self.authorities == 0 && self.additional == 0 {
            return Progress::Done;
        }
        self.walk = Walk::new(self.data_end, self.target);
        self.part = Part::Owner;
        Progress::More
    }
}

/// Whether data is a network: its family, the length of its prefix, and as many bytes as the prefix needs (RFC 7871,
/// 6).
#[inline(always)]
fn is_subnet(message: &impl Bytes, at: u32, length: u32) -> bool {
    let longest = match number(message.byte(at), message.byte(at + 1)) {
        1 => 4,
        2 => 16,
        _ => return false,
    };
    let bytes = (message.byte(at + 2) as u32).div_ceil(8);
    bytes <= longest && 4 + bytes <= length
}
