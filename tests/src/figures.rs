//! The figures that `cargo xtask bench` publishes, each with what it is measured beside.
//!
//! ```text
//! bench target `figures` -> main -> MEASUREMENTS -> one module each -> Figure (a file for each)
//! ```
//!
//! What a machine lacks is told in the figure itself, as `skipped`: by the table of measurements where it is all of it,
//! by a module where it is one subject of several.

mod arguments;
mod change;
mod change_api;
mod hooks;
mod load;
mod memory;
mod revoke;
pub mod rivals;
mod setting;
mod start;
mod watched;
mod world;

use std::{fs, time::Instant};

use anyhow::{Context as _, Result, bail};
use figure::Figure;

use arguments::Arguments;
pub use setting::{Need, Setting, Size};

/// A way to measure, and the figures that come of it.
pub struct Measurement {
    /// What `--only` names, and what the names of its figures begin with.
    pub name: &'static str,
    /// For people, and for the document where nothing could be measured.
    pub title: &'static str,
    /// Without which nothing of it can be measured.
    pub needs: &'static [Need],
    /// Takes all samples.
    pub take: fn(&Setting) -> Result<Vec<Figure>>,
}

/// All of them, in the order in which they are taken.
pub const MEASUREMENTS: &[Measurement] = &[
    hooks::HOOKS,
    rivals::CONNECT,
    rivals::BULK,
    change::FILES,
    change_api::API,
    start::START,
    memory::MEMORY,
    load::LOAD,
    revoke::REVOKE,
    watched::WATCHED,
];

impl Measurement {
    /// Takes it; where something is missing, a figure says what.
    ///
    /// # Errors
    /// If something that is there does not work.
    pub fn run(&self, setting: &Setting) -> Result<Vec<Figure>> {
        for need in self.needs {
            if let Some(why) = need.missing()? {
                let mut figure = Figure::new(self.name, self.title, "");
                figure.skipped.push(why);
                return Ok(vec![figure]);
            }
        }
        (self.take)(setting)
    }
}

/// The main of the bench target: `[--only NAME]... [--size full|quick|tiny] --out DIR`. One that fails does not keep the
/// others from being taken.
///
/// # Errors
/// If it is told otherwise, or one has failed.
pub fn main(program: &str, words: impl Iterator<Item = String>) -> Result<()> {
    let Arguments { only, size, out } = Arguments::parse(words)?;
    let known = || MEASUREMENTS.iter().map(|measurement| measurement.name);
    if let Some(unknown) = only.iter().find(|name| !known().any(|known| known == **name)) {
        bail!(
            "there is no {unknown}: there are {}",
            known().collect::<Vec<_>>().join(", ")
        );
    }
    fs::create_dir_all(&out).with_context(|| format!("creating {}", out.display()))?;
    let setting = Setting::new(size, program);
    let is_asked =
        |measurement: &&Measurement| only.is_empty() || only.iter().any(|name| name == measurement.name);
    let asked: Vec<_> = MEASUREMENTS.iter().filter(is_asked).collect();
    let mut failed = Vec::new();
    for (number, measurement) in asked.iter().enumerate() {
        println!(
            "{}: {} ({} of {})",
            measurement.name,
            measurement.title,
            number + 1,
            asked.len()
        );
        let begin = Instant::now();
        match measurement.run(&setting) {
            Ok(figures) => {
                for figure in figures {
                    figure
                        .skipped
                        .iter()
                        .for_each(|why| println!("SKIPPED: {}: {why}", figure.name));
                    figure
                        .write(&out)
                        .with_context(|| format!("writing {}", figure.name))?;
                }
                println!("{}: {:.0} s", measurement.name, begin.elapsed().as_secs_f32());
            }
            Err(error) => {
                println!("FAILED: {}: {error:#}", measurement.name);
                failed.push(measurement.name);
            }
        }
    }
    if !failed.is_empty() {
        bail!("not measured: {}", failed.join(", "));
    }
    Ok(())
}
