//! Measures what is published, on this machine: `docs/BENCHMARKS.md` says how.
//!
//! ```text
//! programs (what it is measured beside) -> build -> the bench target, as root -> figures, a file for each
//!   figures + machine -> Run -> table, bench.json, plots, document
//! ```

mod build;
mod document;
mod machine;
mod plot;
mod report;

use std::{
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
    time::Instant,
};

use anyhow::{Context as _, Result};
use figure::Figure;
use serde_json::json;

use crate::{
    out::say,
    process::{as_root_with_environment, status, target_folder, workspace},
};
use machine::Machine;

/// What `bench` is asked for.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// All of it in under 3 minutes, with wider intervals
    #[arg(long)]
    quick: bool,
    /// Only this measurement; can be given repeatedly
    #[arg(long, value_name = "NAME")]
    only: Vec<String>,
    /// Leave docs/BENCHMARKS.md as it is
    #[arg(long)]
    keep_document: bool,
}

/// What was measured, and on what.
struct Run {
    size: &'static str,
    machine: Machine,
    figures: Vec<Figure>,
}

/// Sets up, measures and reports; a failure only if something could not be measured that could be set up.
pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode> {
    let built = build::run(arguments.quick)?;
    let folder = target_folder().join("bench");
    let files = folder.join("figures");
    empty(&files)?;
    let begin = Instant::now();
    let machine = Machine::look();
    say!("bench: {}", machine.line());
    let size = if arguments.quick { "quick" } else { "full" };
    let mut bench = as_root_with_environment(&built.bench);
    bench.envs(&built.environment).current_dir(workspace());
    for name in &arguments.only {
        bench.args(["--only", name]);
    }
    bench.args(["--size", size, "--out"]).arg(&files);
    let is_complete = status(&mut bench)?.success();
    let run = Run {
        size,
        machine,
        figures: read(&files)?,
    };
    say!("\n{}", report::text(&run.figures));
    run.write(&folder)?;
    if !arguments.keep_document {
        document::renew(&run)?;
    }
    say!(
        "bench: {} figures in {:.0} s",
        run.figures.len(),
        begin.elapsed().as_secs_f32()
    );
    if !is_complete {
        say!("bench: FAILED: see above what could not be measured");
        return Ok(ExitCode::FAILURE);
    }
    Ok(ExitCode::SUCCESS)
}

impl Run {
    /// Every sample, and the plots.
    fn write(&self, folder: &Path) -> Result<()> {
        let file = folder.join("bench.json");
        let all = json!({ "size": self.size, "machine": self.machine.json(), "figures": self.figures });
        fs::write(&file, all.to_string()).with_context(|| format!("writing {}", file.display()))?;
        say!("bench: every sample: {}", file.display());
        for figure in &self.figures {
            if let Some(plot) = plot::svg(figure)? {
                let file = folder.join(&figure.name).with_added_extension("svg");
                fs::write(&file, plot).with_context(|| format!("writing {}", file.display()))?;
                say!("bench: plot: {}", file.display());
            }
        }
        Ok(())
    }
}

/// A folder without the figures of an earlier run.
fn empty(folder: &Path) -> Result<()> {
    if folder.exists() {
        fs::remove_dir_all(folder).with_context(|| format!("removing {}", folder.display()))?;
    }
    fs::create_dir_all(folder).with_context(|| format!("creating {}", folder.display()))
}

/// All figures of a folder, by name.
fn read(folder: &Path) -> Result<Vec<Figure>> {
    let entries = fs::read_dir(folder).with_context(|| format!("reading {}", folder.display()))?;
    let mut files: Vec<PathBuf> = entries.map(|entry| Ok(entry?.path())).collect::<Result<_>>()?;
    files.sort();
    let read = |file: &PathBuf| Figure::read(file).with_context(|| format!("reading {}", file.display()));
    files.iter().map(read).collect()
}
