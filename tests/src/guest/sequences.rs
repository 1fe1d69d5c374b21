//! Random sequences of calls; the kernel's command line says how many.

use anyhow::{Context as _, Result};

use super::{
    kernel::Kernel,
    report::{Done, Measured},
};
use crate::generator::{self, Job};

/// The word of the command line.
const WORD: &str = "enforcer.sequences=";

/// Nothing of a sequence arrives where nothing may go. None are tried where none are asked for.
pub(super) fn sequences(kernel: &Kernel) -> Result<Done> {
    let asked = super::asked(WORD)?;
    let count = asked
        .as_deref()
        .unwrap_or("0")
        .parse()
        .context("a number of sequences")?;
    if count == 0 {
        return Ok(Done::Skipped("no sequences are asked for".into()));
    }
    let report = generator::run(&kernel.program, &Job::kept()?, 1, count)?;
    println!("{report}");
    let figure = |name: &str, value: u64| (name.to_owned(), u32::try_from(value).unwrap_or(u32::MAX));
    let measured = Measured {
        text: report.to_string(),
        figures: vec![
            figure("sequences", report.sequences),
            figure("sequences-a-second", report.rate()),
            figure("plain-calls", report.plain),
        ],
        remarks: Vec::new(),
    };
    Ok(if report.failure.is_none() {
        Done::Measured(measured)
    } else {
        Done::Failed(measured)
    })
}
