//! Random sequences of socket calls against the boundary: whatever they are, nothing arrives where nothing may go, and
//! what plain calls send to the allowed destination does.
//!
//! ```text
//! run (cgroup, cable, seeds) -> executor (a process inside, one outside that lends it sockets)
//!   `-> frame (what is seen on the cable)     random (seed -> steps) -> calls (steps -> system calls)
//! ```
//!
//! A seed names a sequence. Which privileges its process has follows from it too: every third has none, what containerd
//! gives, or all. Where BPF LSM is absent, nothing is lent and no families are tried that only it closes.

mod calls;
mod executor;
mod frame;
mod names;
mod random;
mod run;
mod step;

use std::{ffi::OsString, fmt};

use anyhow::{Context as _, Result};

use crate::escape::Privileges;
pub use run::run;
use step::Sequence;

/// Argument with which a test binary is one of the generator's processes.
pub const ARGUMENT: &str = "generator";

/// Seeds that have failed once.
const KEPT: &str = include_str!("../generator.seeds");

/// What the kernel has decides what can be tried.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Features {
    has_lsm: bool,
}

/// One sequence, or the part of it whose steps have their bits set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Job {
    seed: u64,
    mask: u64,
}

/// What became of all sequences.
#[derive(Debug, Default)]
pub struct Report {
    /// How many were carried out.
    pub sequences: u64,
    /// How many that had failed once came before.
    pub kept: usize,
    /// Plain calls that arrived.
    pub plain: u64,
    /// How long it took.
    pub seconds: f64,
    /// Whether sockets were lent and all families tried.
    pub has_lsm: bool,
    /// The first that failed.
    pub failure: Option<Failure>,
}

/// A sequence that does what it may not, with the steps that it needs for that.
#[derive(Debug)]
pub struct Failure {
    job: Job,
    privileges: Privileges,
    sequence: Sequence,
    why: String,
}

impl Job {
    /// `SEED` or `SEED MASK`, the mask in hexadecimal.
    ///
    /// # Errors
    /// If it is neither.
    pub fn parse(line: &str) -> Result<Self> {
        let mut words = line.split_whitespace();
        let seed = words.next().context("a seed")?.parse().context("a seed")?;
        let mask = words
            .next()
            .map_or(Ok(u64::MAX), |word| u64::from_str_radix(word, 16));
        Ok(Self {
            seed,
            mask: mask.context("a mask in hexadecimal")?,
        })
    }

    /// Those in `tests/generator.seeds`.
    ///
    /// # Errors
    /// If a line is none.
    pub fn kept() -> Result<Vec<Self>> {
        let lines = KEPT.lines().filter(|line| !line.starts_with('#'));
        lines
            .filter(|line| !line.trim().is_empty())
            .map(Self::parse)
            .collect()
    }
}

impl Report {
    /// Sequences a second.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a rate for people, which is none where no time was taken"
    )]
    pub fn rate(&self) -> u64 {
        (self.sequences as f64 / self.seconds.max(1e-9)) as u64
    }
}

/// One of the generator's processes.
///
/// # Errors
/// If the arguments are none, or its pipes break.
pub fn main(arguments: impl Iterator<Item = OsString>) -> Result<()> {
    let words: Vec<_> = arguments
        .map(|word| word.to_string_lossy().into_owned())
        .collect();
    executor::main(&words)
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rate = self.rate();
        write!(
            f,
            "{} sequences in {:.1} s ({rate} a second), {} kept ones, {} plain calls arrived{}",
            self.sequences,
            self.seconds,
            self.kept,
            self.plain,
            if self.has_lsm {
                ""
            } else {
                ", nothing lent: no BPF LSM"
            }
        )?;
        match &self.failure {
            Some(failure) => write!(f, "\n{failure}"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Job { seed, mask } = self.job;
        writeln!(
            f,
            "sequence {seed} {mask:x} ({}): {}",
            self.privileges.word(),
            self.why
        )?;
        for step in &self.sequence.outside {
            writeln!(f, "  outside: {step:?}")?;
        }
        for step in &self.sequence.inside {
            writeln!(f, "  inside:  {step:?}")?;
        }
        write!(
            f,
            "again: ENFORCER_SEED=\"{seed} {mask:x}\" cargo test -p tests --test generator\n\
             keep it: add the line \"{seed} {mask:x}\" to tests/generator.seeds"
        )
    }
}
