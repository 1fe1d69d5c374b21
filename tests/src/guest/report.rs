//! What is told to the machine outside, in lines: `xtask/src/vm/report.rs` reads them.
//!
//! ```text
//! kernel <release>
//! check <name> <PASS, FAIL or SKIPPED> <text>
//! more <next line of that text>
//! figure <name> <number>
//! remark <what is to be said whatever the outcome>
//! end
//! ```

use std::{
    fs::File,
    io::Write as _,
    panic::{AssertUnwindSafe, catch_unwind},
};

use anyhow::{Context as _, Result, anyhow};
use nix::sys::termios::tcdrain;

/// What a check came to.
pub(super) enum Done {
    /// All of it holds; what was seen.
    Passed(String),
    /// This kernel cannot show it, and why.
    Skipped(String),
    /// All of it holds, and there is more to tell.
    Measured(Measured),
    /// It does not hold, and there is more to tell.
    Failed(Measured),
}

/// What a check tells beside its outcome.
#[derive(Default)]
pub(super) struct Measured {
    /// What was seen.
    pub(super) text: String,
    /// Names, of one word, and values.
    pub(super) figures: Vec<(String, u32)>,
    /// Lines to be said.
    pub(super) remarks: Vec<String>,
}

/// The serial line.
pub(super) struct Report {
    line: File,
}

impl Report {
    pub(super) fn open(device: &str, release: &str) -> Result<Self> {
        let line = File::options().write(true).open(device);
        let line = line.with_context(|| format!("opening {device}"))?;
        let mut report = Self { line };
        report.say(&format!("kernel {release}"))?;
        Ok(report)
    }

    /// Runs a check, tells what it came to, and says whether it did not fail; a panic fails the check and no other.
    pub(super) fn check(&mut self, name: &str, check: impl FnOnce() -> Result<Done>) -> Result<bool> {
        let done = catch_unwind(AssertUnwindSafe(check))
            .unwrap_or_else(|_| Err(anyhow!("it panicked; the console says where")));
        let of = |text| Measured {
            text,
            ..Measured::default()
        };
        let (word, done) = match done {
            Ok(Done::Passed(text)) => ("PASS", of(text)),
            Ok(Done::Skipped(why)) => ("SKIPPED", of(why)),
            Ok(Done::Measured(measured)) => ("PASS", measured),
            Ok(Done::Failed(measured)) => ("FAIL", measured),
            Err(error) => ("FAIL", of(format!("{error:#}"))),
        };
        let Measured {
            text,
            figures,
            remarks,
        } = done;
        self.say(&format!("check {name} {word} {}", text.replace('\n', "\nmore ")))?;
        figures
            .iter()
            .try_for_each(|(name, value)| self.say(&format!("figure {name} {value}")))?;
        remarks
            .iter()
            .try_for_each(|remark| self.say(&format!("remark {}", remark.replace('\n', " "))))?;
        Ok(word != "FAIL")
    }

    /// Says that nothing is missing.
    pub(super) fn end(mut self) -> Result<()> {
        self.say("end")?;
        // What still waits in the driver would be lost with the power.
        tcdrain(&self.line).context("sending the report")
    }

    fn say(&mut self, line: &str) -> Result<()> {
        writeln!(self.line, "{line}").context("writing the report")
    }
}
