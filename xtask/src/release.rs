//! `cargo xtask release`: makes all that is published of a commit.
//!
//! ```text
//! tree -> binary (image::build_in) -> {image, package} -> sums -> signature
//!   |-> {chart, manifests, bom} ------------------------> sums
//! twice: two clones -> sums of each -> compared
//! ```
//!
//! **Architecture Invariant:** no file says when, where or by whom it was made: two makings of a commit, with the same
//! tools, are the same bytes. The signature alone differs, and is not among the sums.

mod bom;
mod chart;
mod gzip;
mod manifests;
pub(crate) mod package;
mod signature;
mod sums;
mod twice;

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::ExitCode,
    time::Instant,
};

use anyhow::{Context, Result, ensure};

use crate::{
    arch::Arch,
    image::{self, NAME, build_in},
    out::say,
    process::target_folder,
    setup,
    tree::Tree,
};

/// What `release` is asked for.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Where the files go; release-files in cargo's target folder if none is given
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// The architectures
    #[arg(long, value_enum, value_delimiter = ',', default_values = ["amd64", "arm64"])]
    arch: Vec<Arch>,
    /// The private key (ECDSA on P-256, PEM) that signs the sums, also named by ENFORCER_SIGNING_KEY; without one they
    /// are not signed, and that is said
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    /// Make it twice, in two clones of the commit, and fail unless every file is the same; nothing is kept or signed
    #[arg(long, conflicts_with_all = ["out", "key", "allow_dirty"])]
    verify: bool,
    /// Leave out the optimizations, to try this out; what is made is not what is released
    #[arg(long)]
    quick: bool,
    /// Go on where files differ from the commit
    #[arg(long)]
    allow_dirty: bool,
}

/// What the files are made of, and where they go.
struct Release<'a> {
    tree: &'a Tree,
    arch: &'a [Arch],
    is_quick: bool,
    out: &'a Path,
}

/// Makes the files, once or twice.
pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode> {
    let tree = Tree::own();
    if !arguments.allow_dirty {
        tree.is_committed()?;
    }
    // Before anything is built for half an hour.
    let named = env::var_os(signature::VARIABLE).map(PathBuf::from);
    let key = arguments.key.clone().or(named);
    let key = key.as_deref().map(signature::Key::read).transpose()?;
    prepare(&arguments.arch)?;
    if arguments.verify {
        return twice::run(&arguments.arch, arguments.quick);
    }
    let out = match &arguments.out {
        Some(out) => std::path::absolute(out)?,
        None => target_folder().join("release-files"),
    };
    Release {
        tree: &tree,
        arch: &arguments.arch,
        is_quick: arguments.quick,
        out: &out,
    }
    .make()?;
    match key {
        Some(key) => key.sign(&out)?,
        None => say!(
            "SKIPPED: release: the signature: neither --key nor {} names a key",
            signature::VARIABLE
        ),
    }
    say!("release: {}", out.display());
    Ok(ExitCode::SUCCESS)
}

/// Installs what all of it needs.
fn prepare(architectures: &[Arch]) -> Result<()> {
    for arch in architectures.iter().copied().chain([Arch::own()]) {
        setup::run(&setup::Arguments {
            image: Some(arch),
            release: true,
            to_build: true,
            ..Default::default()
        })?;
    }
    Ok(())
}

impl Release<'_> {
    /// Makes all files, and their sums.
    fn make(&self) -> Result<()> {
        let begin = Instant::now();
        let commit = self.tree.commit().context("git does not know this folder")?;
        say!("release: {NAME} {} of commit {commit}", env!("CARGO_PKG_VERSION"));
        empty(self.out)?;
        // What fails soon comes before what takes long.
        chart::write(self.tree, self.out)?;
        manifests::write(self.tree, self.out)?;
        bom::write(self.arch, self.out)?;
        let own = self.build(Arch::own())?;
        for &arch in self.arch {
            let binary = self.build(arch)?;
            let name = format!("{NAME}-{}-linux-{}", env!("CARGO_PKG_VERSION"), arch.name());
            copy(&binary, &self.out.join(name))?;
            let archive = self.out.join(image::file_name(arch));
            let image = image::pack(arch, &binary, archive)?;
            say!(
                "release: image {} for {}: {}",
                image.reference,
                arch.name(),
                image.digest
            );
            let sources = package::Sources {
                tree: self.tree,
                own: &own,
                binary: &binary,
            };
            package::write(&sources, arch, self.out)?;
        }
        let sums = sums::write(self.out)?;
        say!("{sums}release: made in {:.0} s", begin.elapsed().as_secs_f32());
        Ok(())
    }

    fn build(&self, arch: Arch) -> Result<PathBuf> {
        build_in(self.tree, arch, NAME, self.is_quick)
    }
}

/// An empty folder. One that is there has to be an earlier release's.
fn empty(folder: &Path) -> Result<()> {
    if folder.exists() {
        let is_ours = folder.join(sums::FILE).is_file() || fs::read_dir(folder)?.next().is_none();
        ensure!(
            is_ours,
            "{} is neither empty nor has it the files of a release: choose another folder",
            folder.display()
        );
        fs::remove_dir_all(folder).with_context(|| format!("removing {}", folder.display()))?;
    }
    fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))
}

/// Copies a file, with its rights.
fn copy(from: &Path, to: &Path) -> Result<()> {
    if let Some(folder) = to.parent() {
        fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))?;
    }
    fs::copy(from, to).with_context(|| format!("copying {} to {}", from.display(), to.display()))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folder_with_files_of_others_is_not_emptied() {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("out");
        empty(&out).unwrap();
        empty(&out).unwrap();
        fs::write(out.join("letter"), "").unwrap();
        assert!(empty(&out).is_err());
        fs::write(out.join(sums::FILE), "").unwrap();
        empty(&out).unwrap();
        assert!(!out.join("letter").exists());
    }
}
