//! Time and randomness for the names: the caller passes in both, so that the same inputs give the same decisions.
//! Never reads a clock and never draws a random number.

use std::time::Duration;

/// A point on a clock that only goes forward, counted from a start that the caller chose.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Moment(Duration);

impl Moment {
    /// The earliest moment there is.
    pub const START: Self = Self(Duration::ZERO);

    /// The moment `elapsed` after the start.
    pub const fn new(elapsed: Duration) -> Self {
        Self(elapsed)
    }

    /// The moment `pause` later; the end of time if that overflows.
    pub fn after(self, pause: Duration) -> Self {
        Self(self.0.saturating_add(pause))
    }

    /// How long ago `earlier` was; zero if it is later.
    pub fn since(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }

    /// How long after the start it is.
    pub fn since_start(self) -> Duration {
        self.0
    }
}

/// One random draw: a share of a whole, from none to nearly all, in 65,536 steps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Jitter(u16);

impl Jitter {
    /// The share `draw / 65536`.
    pub const fn new(draw: u16) -> Self {
        Self(draw)
    }

    /// That share of `whole`.
    pub(super) fn of(self, whole: Duration) -> Duration {
        whole.saturating_mul(u32::from(self.0)) / (u32::from(u16::MAX) + 1)
    }
}
