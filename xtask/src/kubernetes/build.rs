//! Builds what the node and the API server are made of, once.
//!
//! ```text
//! archive (Debian's packages) -> programs, plugins
//!                             -> go, source -> openapi -> programs
//! ```
//!
//! What a build that was killed has finished is not done again.

use std::{fs, path::PathBuf, time::Instant};

use anyhow::{Context as _, Result};

use super::{
    archive::Release,
    folder::{COMPILED, Folder},
    go::{Go, MODULE},
    openapi, packages,
    source::Tree,
};
use crate::out::say;

/// What `kubernetes build` is asked for.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Where to keep it; `kubernetes` in the folder of this project's caches if none is given
    #[arg(long, value_name = "DIR")]
    cache: Option<PathBuf>,
}

/// Builds into the folder that is asked for.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let folder = Folder::new(arguments.cache.as_deref())?;
    build(&folder)?;
    say!("kubernetes: already built in {}", folder.path().display());
    Ok(())
}

/// Builds what is not there, and installs what it needs of this machine.
///
/// # Errors
/// Which [`super::exit_code`] tells apart: what cannot be had is another matter than what fails.
pub(crate) fn build(folder: &Folder) -> Result<()> {
    packages::install(&packages::RUNNING)?;
    if folder.is_complete() {
        return Ok(());
    }
    let _lock = folder.lock()?;
    if folder.is_complete() {
        return Ok(());
    }
    packages::install(&packages::BUILDING)?;
    folder.begin()?;
    say!("kubernetes: building from Debian's source, which takes 7 minutes of processor time");
    let begin = Instant::now();
    let go = Go::below(folder);
    let tree = fetch(folder, &go)?;
    compile(folder, &go, &tree)?;
    folder.finish()?;
    say!("kubernetes: built in {} s", begin.elapsed().as_secs());
    Ok(())
}

/// All that comes over the network.
fn fetch(folder: &Folder, go: &Go) -> Result<Tree> {
    let release = Release::open(folder)?;
    if folder.lacks_packages() {
        release.programs(folder)?;
    }
    if !go.is_there() {
        go.fetch(&release)?;
    }
    match Tree::find(go) {
        Some(tree) => Ok(tree),
        None => Tree::fetch(&release, folder, go),
    }
}

fn compile(folder: &Folder, go: &Go, tree: &Tree) -> Result<()> {
    say!(
        "kubernetes: generating the definitions of the API of {}",
        tree.version
    );
    openapi::generate(tree, go, &folder.work())?;
    for program in COMPILED.into_iter().filter(|program| folder.lacks(program)) {
        let begin = Instant::now();
        let staging = folder.work().join(program);
        go.build(
            &format!("{MODULE}/cmd/{program}"),
            &staging,
            &flags(&tree.version)?,
        )?;
        fs::rename(&staging, folder.program(program)).with_context(|| format!("keeping {program}"))?;
        say!(
            "kubernetes: compiled {program} in {} s",
            begin.elapsed().as_secs()
        );
    }
    Ok(())
}

/// Without what speaks to clouds and to Docker, for which the kubelet would wait; without symbols; with its version,
/// which the source gets from git elsewhere.
fn flags(version: &str) -> Result<Vec<String>> {
    let mut numbers = version.split('.');
    let mut number = || numbers.next().with_context(|| format!("{version} is no version"));
    let (major, minor) = (number()?, number()?);
    let mut linker = String::from("-s -w");
    for package in ["component-base/version", "client-go/pkg/version"] {
        for (name, value) in [
            ("Version", format!("v{version}").as_str()),
            ("Major", major),
            ("Minor", minor),
        ] {
            linker.push_str(&format!(" -X {MODULE}/vendor/k8s.io/{package}.git{name}={value}"));
        }
    }
    Ok(["-tags", "providerless,dockerless", "-ldflags", &linker]
        .map(str::to_owned)
        .into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_know_their_version() {
        let flags = flags("1.20.2").unwrap().join(" ");
        for expected in [
            "component-base/version.gitVersion=v1.20.2",
            "client-go/pkg/version.gitMajor=1",
            "client-go/pkg/version.gitMinor=20",
        ] {
            assert!(flags.contains(expected), "{flags}");
        }
        assert!(super::flags("1").is_err());
    }
}
