//! The question of an answer, compared with the question that was sent.

use super::{A, AAAA, Bytes, Failure, HEADER, IN, LONGEST, Name, Progress, lower, number};

/// Reads the question of a message.
#[derive(Clone, Copy, Debug)]
pub struct QuestionParser {
    at: u32,
    end: u32,
    /// Bytes left in the label.
    left: u32,
    /// Whether the name has ended.
    is_named: bool,
    /// Its type.
    kind: u16,
}

impl QuestionParser {
    /// For a message of `end` bytes, at most [`MESSAGE`](super::MESSAGE).
    #[inline(always)]
    pub const fn new(end: u32) -> Self {
        Self {
            at: HEADER,
            end,
            left: 0,
            is_named: false,
            kind: 0,
        }
    }

    /// Bytes of the name, the root included; valid once the parser is done.
    #[inline(always)]
    pub const fn length(&self) -> u32 {
        self.at - HEADER - 4
    }

    /// Where the records begin; valid once the parser is done.
    #[inline(always)]
    pub const fn records(&self) -> u32 {
        self.at
    }

    /// [`A`] or [`AAAA`]; valid once the parser is done.
    #[inline(always)]
    pub const fn kind(&self) -> u16 {
        self.kind
    }

    /// Reads the next byte. `asked` are the bytes behind the header of the question that was sent.
    #[inline(always)]
    pub fn step(&mut self, message: &impl Bytes, asked: &impl Bytes, name: &mut impl Name) -> Progress {
        let index = self.at - HEADER;
        if self.at >= self.end || index >= LONGEST + 4 {
            return Progress::Failed(Failure::Malformed);
        }
        if self.is_named {
            return self.fixed(message, asked);
        }
        if index >= LONGEST {
            return Progress::Failed(Failure::Malformed);
        }
        let byte = lower(message.byte(self.at));
        if byte != lower(asked.byte(index)) {
            return Progress::Failed(Failure::Unasked);
        }
        name.put(index, byte, self.left == 0);
        self.at += 1;
        if self.left > 0 {
            self.left -= 1;
            return if is_ordinary(byte) {
                Progress::More
            } else {
                Progress::Failed(Failure::Malformed)
            };
        }
        if byte > 63 {
            // The first name of a message has nothing to point to.
            return Progress::Failed(Failure::Malformed);
        }
        self.left = byte as u32;
        self.is_named = byte == 0;
        Progress::More
    }

    /// The type and the class.
    #[inline(always)]
    fn fixed(&mut self, message: &impl Bytes, asked: &impl Bytes) -> Progress {
        if self.at + 4 > self.end {
            return Progress::Failed(Failure::Malformed);
        }
        let (at, index) = (self.at, self.at - HEADER);
        let kind = number(message.byte(at), message.byte(at + 1));
        let class = number(message.byte(at + 2), message.byte(at + 3));
        let is_asked = kind == number(asked.byte(index), asked.byte(index + 1))
            && class == number(asked.byte(index + 2), asked.byte(index + 3));
        self.at += 4;
        self.kind = kind;
        if !is_asked {
            Progress::Failed(Failure::Unasked)
        } else if class != IN || (kind != A && kind != AAAA) {
            // Questions of other types or classes give no address.
            Progress::Failed(Failure::Empty)
        } else {
            Progress::Done
        }
    }
}

/// Whether a name may contain the byte. Bytes that other software could take for the end of a name or of a label are
/// rejected.
#[inline(always)]
const fn is_ordinary(byte: u8) -> bool {
    byte > b' ' && byte != b'.' && byte != b'\\' && byte != 0x7f
}
