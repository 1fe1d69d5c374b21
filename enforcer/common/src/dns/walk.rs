//! Follows a name within a message, with its pointers (RFC 1035, 4.1.4), and compares it with another name.

use super::{Bytes, HEADER, LONGEST, lower, number};

/// The two bits that make two bytes a pointer.
const POINTER: u8 = 0xc0;

/// Follows a name.
#[derive(Clone, Copy, Debug)]
pub(super) struct Walk {
    at: u32,
    /// Offset behind the name, once a pointer was followed.
    after: u32,
    /// Pointers must lead to before this offset: each leads further back than the one before, so that the walk ends.
    lowest: u32,
    /// Where the part begins that contained the pointer; the part it leads to has to end before that.
    limit: u32,
    /// Number of pointers followed.
    hops: u32,
    /// Length so far in bytes, without pointers.
    length: u32,
    /// Bytes left in the label.
    left: u32,
    /// Offset in the other name, as long as both are equal.
    other: u32,
    is_same: bool,
}

/// The state of a walk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stride {
    More,
    End {
        /// Offset of what follows the name.
        after: u32,
        /// Whether the names are equal.
        is_same: bool,
        /// Whether the name is known to have no labels.
        is_root: bool,
    },
    Malformed,
}

impl Walk {
    /// Starts at the name at `at`; `other` is a name that was followed before.
    #[inline(always)]
    pub(super) const fn new(at: u32, other: u32) -> Self {
        Self {
            at,
            after: 0,
            lowest: at,
            limit: u32::MAX,
            hops: 0,
            length: 0,
            left: 0,
            other,
            is_same: true,
        }
    }

    /// Starts at the name at `at`, without comparing it.
    #[inline(always)]
    pub(super) const fn alone(at: u32) -> Self {
        let mut walk = Self::new(at, at);
        walk.is_same = false;
        walk
    }

    /// Reads the next byte of a message of `end` bytes.
    #[inline(always)]
    pub(super) fn step(&mut self, message: &impl Bytes, end: u32) -> Stride {
        if self.at >= end || self.at >= self.limit {
            return Stride::Malformed;
        }
        let byte = message.byte(self.at);
        if self.left > 0 {
            self.compare(lower(byte), message);
            self.at += 1;
            self.left -= 1;
            return Stride::More;
        }
        if byte & POINTER == POINTER {
            return self.jump(byte, message, end);
        }
        if byte & POINTER != 0 {
            return Stride::Malformed;
        }
        if self.is_same {
            if self.hops == 1 && self.at == self.other {
                // The rest was followed before, and lies entirely before this name. After a second pointer it need
                // not.
                return Stride::End {
                    after: self.after,
                    is_same: true,
                    is_root: false,
                };
            }
            let other = message.byte(self.other);
            if other & POINTER == POINTER {
                // It was followed before, so that it has an end.
                self.other = u32::from(number(other & !POINTER, message.byte(self.other + 1)));
                return Stride::More;
            }
        }
        self.compare(byte, message);
        self.length += 1 + byte as u32;
        if self.length > LONGEST {
            return Stride::Malformed;
        }
        self.at += 1;
        self.left = byte as u32;
        if byte != 0 {
            return Stride::More;
        }
        Stride::End {
            after: if self.hops == 0 { self.at } else { self.after },
            is_same: self.is_same,
            is_root: self.length == 1,
        }
    }

    #[inline(always)]
    fn jump(&mut self, byte: u8, message: &impl Bytes, end: u32) -> Stride {
        if self.at + 1 >= end {
            return Stride::Malformed;
        }
        let to = u32::from(number(byte & !POINTER, message.byte(self.at + 1)));
        if to >= self.lowest || to < HEADER {
            return Stride::Malformed;
        }
        if self.hops == 0 {
            self.after = self.at + 2;
        }
        self.hops += 1;
        self.limit = self.lowest;
        self.lowest = to;
        self.at = to;
        Stride::More
    }

    #[inline(always)]
    fn compare(&mut self, byte: u8, message: &impl Bytes) {
        if self.is_same {
            self.is_same = lower(message.byte(self.other)) == byte;
            self.other += 1;
        }
    }
}
