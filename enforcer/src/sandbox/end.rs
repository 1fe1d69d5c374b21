//! How a contained command has ended.

use nix::sys::signal::Signal;

/// How a command has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Code(i32),
    Signal(Signal),
    /// What contained it has ended before it, and it was killed.
    Lost,
}

/// What contains the command has failed.
pub(crate) const FAILED: u8 = 125;

impl End {
    /// As a shell has it.
    pub(crate) fn code(self) -> i32 {
        match self {
            Self::Code(code) => code,
            Self::Signal(signal) => 128 + signal as i32,
            Self::Lost => FAILED.into(),
        }
    }
}
