//! Runs every fuzz target of `enforcer/core/fuzz` for a while, from the seeds of the corpus, or from the DNS messages of the
//! tests of `enforcer-common`.
//!
//! What a target finds, a crash or an input that takes over a second, fails the command; libFuzzer prints where it
//! has put the input. The compiler is the pinned one: `RUSTC_BOOTSTRAP` lets it take the sanitizer's flags.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
};

use anyhow::{Context, Result, ensure};

use crate::out::say;
use crate::{
    process::{run, workspace},
    setup,
};

/// Bytes of an input at most; longer seeds are cut. More would only repeat what a file can hold.
const MAX_LENGTH: u32 = 8192;
/// The target whose inputs are no documents.
const DNS: &str = "dns";
/// Seconds that one input may take.
const HANG: u32 = 1;

/// What `fuzz` is asked for.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// How long each target runs
    #[arg(long, default_value_t = 60)]
    seconds: u32,
    /// The targets to run; all of them if none is named
    targets: Vec<String>,
}

/// Builds the targets and runs one after the other.
pub(crate) fn run_targets(arguments: &Arguments) -> Result<ExitCode> {
    setup::run(&setup::Arguments {
        fuzz: true,
        ..setup::Arguments::default()
    })?;
    let known = targets()?;
    let unknown = arguments.targets.iter().find(|target| !known.contains(target));
    if let Some(unknown) = unknown {
        anyhow::bail!(
            "there is no fuzz target {unknown}: there are {}",
            known.join(", ")
        );
    }
    let asked = if arguments.targets.is_empty() {
        known
    } else {
        arguments.targets.clone()
    };
    let documents = documents();
    for target in &asked {
        say!("fuzz: {target} for {} s", arguments.seconds);
        let found = folder().join("corpus").join(target);
        fs::create_dir_all(&found).with_context(|| format!("creating {}", found.display()))?;
        let seeds = if target == DNS { &messages() } else { &documents };
        let mut command = Command::new(setup::fuzzer().context("cargo-fuzz was just installed")?);
        command
            .args(["fuzz", "run", "--fuzz-dir"])
            .arg(folder())
            .arg(target)
            .arg(found)
            .args(seeds)
            .arg("--")
            .arg(format!("-max_total_time={}", arguments.seconds))
            .arg(format!("-max_len={MAX_LENGTH}"))
            .arg(format!("-timeout={HANG}"))
            .arg("-print_final_stats=1")
            .env("RUSTC_BOOTSTRAP", "1")
            .current_dir(workspace());
        run(&mut command)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn folder() -> PathBuf {
    workspace().join("enforcer/core/fuzz")
}

/// The names of the targets, in order.
fn targets() -> Result<Vec<String>> {
    let folder = folder().join("fuzz_targets");
    let files = fs::read_dir(&folder).with_context(|| format!("reading {}", folder.display()))?;
    let mut targets = Vec::new();
    for file in files {
        let path = file?.path();
        if path.extension().is_some_and(|extension| extension == "rs") {
            targets.extend(path.file_stem().map(|name| name.to_string_lossy().into_owned()));
        }
    }
    targets.sort();
    ensure!(!targets.is_empty(), "{} holds no targets", folder.display());
    Ok(targets)
}

/// The folder of DNS messages, right and wrong.
fn messages() -> Vec<PathBuf> {
    vec![workspace().join("enforcer/common/tests/dns/messages")]
}

/// Folders of documents and configurations: the examples, the part of the corpus that is kept here, and the whole of it if it is handed over.
fn documents() -> Vec<PathBuf> {
    let kept = workspace().join("enforcer/core/tests/corpus");
    let whole = env::var_os("ISTIO_CORPUS").map(PathBuf::from);
    if whole.is_none() {
        say!("SKIPPED: the seeds of the whole corpus: ISTIO_CORPUS does not say where it is");
    }
    let corpora = whole.into_iter().chain([kept]);
    let folders = corpora.flat_map(|corpus: PathBuf| ["valid", "invalid"].map(|part| corpus.join(part)));
    let examples = workspace().join("deploy/examples");
    folders
        .chain([examples])
        .filter(|folder| Path::is_dir(folder))
        .collect()
}
