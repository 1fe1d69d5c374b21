//! What a run needs: the programs that it measures beside, the enforcer and the bench target.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    io::{BufRead as _, BufReader},
    path::PathBuf,
    process::Stdio,
};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use crate::{
    apt, envoy,
    kubernetes::{self, Folder},
    out::say,
    process::{cargo, line, target_folder},
    programs::RIVALS,
    setup,
    unavailable::is_reason,
};

/// What the bench target is told.
pub(super) struct Built {
    /// The bench target's program.
    pub(super) bench: PathBuf,
    pub(super) environment: BTreeMap<&'static str, OsString>,
}

/// Brings what is missing, after saying so. What cannot be had is SKIPPED where it is measured. A quick run builds no
/// Kubernetes, which takes minutes.
pub(super) fn run(is_quick: bool) -> Result<Built> {
    setup::run(&setup::Arguments {
        to_build: true,
        ..setup::Arguments::default()
    })?;
    install_rivals()?;
    let mut environment = BTreeMap::new();
    match envoy::get() {
        Ok(envoy) => drop(environment.insert("ENFORCER_ENVOY", envoy.into_os_string())),
        Err(error) if is_reason(&error) => say!("SKIPPED: {error:#}"),
        Err(error) => return Err(error),
    }
    let folder = Folder::new(None)?;
    if !is_quick {
        match kubernetes::build(&folder) {
            Err(error) if is_reason(&error) => say!("SKIPPED: {error:#}"),
            other => other?,
        }
    }
    environment.insert("KUBEBUILDER_ASSETS", folder.programs().into_os_string());
    let bench = compile()?;
    let enforcer = target_folder().join("release/enforcer");
    environment.insert("ENFORCER_BINARY", enforcer.into_os_string());
    Ok(Built { bench, environment })
}

/// Installs what others than ourselves enforce by.
fn install_rivals() -> Result<()> {
    for rival in RIVALS.iter().filter(|rival| !rival.is_there()) {
        say!("bench: missing on this machine: {}: {}", rival.name, rival.why);
        if !apt::is_there() || apt::candidate(rival.package).is_none() {
            say!("SKIPPED: {} cannot be had here", rival.name);
            continue;
        }
        say!("bench: installing {} by apt", rival.package);
        apt::install(&[rival.package.to_owned()])?;
    }
    Ok(())
}

/// Builds the enforcer and the bench target, and finds the latter by what cargo says. Built one after the other, most of
/// what they share would be built twice: their features differ.
fn compile() -> Result<PathBuf> {
    let mut build = cargo();
    build.args([
        "build",
        "--release",
        "--package",
        "enforcer",
        "--package",
        "tests",
    ]);
    build.args([
        "--bin",
        "enforcer",
        "--bin",
        "enforcer-test",
        "--bench",
        "figures",
    ]);
    build.arg("--message-format=json-render-diagnostics");
    say!("$ {}", line(&build));
    let mut child = build.stdout(Stdio::piped()).spawn().context("starting cargo")?;
    let output = child.stdout.take().context("the output is piped")?;
    let mut program = None;
    for message in BufReader::new(output).lines() {
        let message: Value = serde_json::from_str(&message?).context("reading cargo's messages")?;
        let is_ours = message["target"]["name"] == "figures" && message["target"]["kind"][0] == "bench";
        if let Some(executable) = message["executable"].as_str().filter(|_| is_ours) {
            program = Some(PathBuf::from(executable));
        }
    }
    ensure!(child.wait()?.success(), "`{}` failed", line(&build));
    program.context("cargo names no program of the bench target")
}
