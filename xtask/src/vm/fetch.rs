//! Brings a suite's kernel onto this machine.
//!
//! `cache -> kernel`, or `apt with a state of its own -> packages -> kernel -> cache`. Nothing is installed, and the
//! machine's own apt does not see any of it.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result};
use enforcer_bpf_build::toolchain_root;

use super::{modules, suite::Suite};
use crate::{
    apt::{Private, Source},
    out::say,
};

/// The machines' architecture, whatever this machine's.
const ARCHITECTURE: &str = "amd64";

/// How long a kernel is used before the archive is asked for a newer one.
const FRESH: Duration = Duration::from_secs(7 * 24 * 3600);

/// Names below a kernel's folder.
const IMAGE: &str = "vmlinuz";
const MODULES: &str = "modules";
/// Which modules were wanted when it was fetched.
const WANTED: &str = "wanted";

/// A kernel on this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Kernel {
    /// What is booted.
    pub(crate) image: PathBuf,
    /// Its modules that the tests need, in the order in which they can be loaded.
    pub(crate) modules: Vec<PathBuf>,
}

/// The suite's kernel: from the cache while it is fresh, else from the archive.
///
/// # Errors
/// Says why it cannot be had.
pub(crate) fn kernel(suite: &Suite) -> Result<Kernel> {
    let folder = toolchain_root()
        .context("neither HOME nor ENFORCER_CACHE is set: no place to keep kernels")?
        .join("kernels")
        .join(suite.title().replace(['(', ')'], "").replace(' ', "-"));
    let cached = cached(&folder)?;
    let cached = match cached {
        Some((kernel, age)) if age < FRESH => return Ok(kernel),
        stale => stale,
    };
    match (fetch(suite, &folder), cached) {
        (Ok(kernel), _) => Ok(kernel),
        // An archive that is away for a day takes no kernel out of the matrix.
        (Err(error), Some((kernel, age))) => {
            let days = age.as_secs() / (24 * 3600);
            say!(
                "vm-test: {}: using the kernel of {days} days ago: {error:#}",
                suite.title()
            );
            Ok(kernel)
        }
        (Err(error), None) => Err(error),
    }
}

fn cached(folder: &Path) -> Result<Option<(Kernel, Duration)>> {
    let image = folder.join(IMAGE);
    let modules = folder.join(MODULES);
    if !image.is_file() || !modules.is_dir() {
        return Ok(None);
    }
    let wanted = fs::read_to_string(folder.join(WANTED)).unwrap_or_default();
    if wanted != modules::WANTED.join(" ") {
        return Ok(None);
    }
    let written = image.metadata()?.modified()?;
    let mut files: Vec<_> = fs::read_dir(&modules)?
        .map(|entry| Ok(entry?.path()))
        .collect::<Result<_>>()?;
    files.sort();
    let kernel = Kernel {
        image,
        modules: files,
    };
    // A clock that was set back makes it new.
    Ok(Some((kernel, written.elapsed().unwrap_or_default())))
}

fn fetch(suite: &Suite, folder: &Path) -> Result<Kernel> {
    let source = Source::find(suite.archive)?.line("deb", ARCHITECTURE, suite.name);
    let apt = Private::new(&source, ARCHITECTURE, &std::env::temp_dir())?;
    say!("vm-test: {}: asking the archive", suite.title());
    apt.run("apt-get", &["--quiet", "--error-on=any", "update"])?;
    let found = apt.run("apt-cache", &["search", "--names-only", "^linux-image-"])?;
    let names = found.lines().filter_map(|line| line.split(' ').next());
    let image = suite
        .newest(names)
        .with_context(|| format!("the suite has no kernel {}", suite.series.unwrap_or_default()))?;
    // Newer packages have the kernel itself, and its modules, in others that they depend on.
    let depends = apt.run(
        "apt-cache",
        &["depends", "--recurse", "--important", "--no-suggests", image],
    )?;
    let is_part = |line: &&str| line.starts_with("linux-binary-") || line.starts_with("linux-modules-");
    let packages = depends.lines().filter(|line| *line == image || is_part(line));
    let mut download = vec!["--quiet", "download"];
    download.extend(packages);
    say!("vm-test: {}: fetching {image}", suite.title());
    apt.run("apt-get", &download)?;
    let unpacked = apt.unpack()?;
    let image = find_kernel(&unpacked)?.context("the packages hold no vmlinuz")?;
    // The image comes last: it is what makes the cache fresh.
    let modules = folder.join(MODULES);
    if modules.exists() {
        fs::remove_dir_all(&modules).with_context(|| format!("removing {}", modules.display()))?;
    }
    modules::collect(&unpacked, &modules)?;
    let wanted = folder.join(WANTED);
    fs::write(&wanted, modules::WANTED.join(" ")).with_context(|| format!("writing {}", wanted.display()))?;
    let (new, kept) = (folder.join("vmlinuz.new"), folder.join(IMAGE));
    fs::copy(&image, &new).with_context(|| format!("writing {}", new.display()))?;
    fs::rename(&new, &kept).with_context(|| format!("writing {}", kept.display()))?;
    let (kernel, _) = cached(folder)?.context("the cache does not keep what is written to it")?;
    Ok(kernel)
}

fn find_kernel(folder: &Path) -> Result<Option<PathBuf>> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let path = entry.path();
        if entry.file_type()?.is_dir() {
            if let Some(kernel) = find_kernel(&path)? {
                return Ok(Some(kernel));
            }
        } else if entry.file_name().to_string_lossy().starts_with("vmlinuz") {
            return Ok(Some(path));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernel_is_found_wherever_a_package_has_it() {
        for path in [
            "boot/vmlinuz-6.1.0-56-cloud-amd64",
            "usr/lib/modules/7.2.12/vmlinuz",
        ] {
            let folder = tempfile::tempdir().expect("a folder");
            let kernel = folder.path().join(path);
            fs::create_dir_all(kernel.parent().expect("it has one")).expect("a folder");
            fs::write(&kernel, "").expect("a file");
            fs::write(folder.path().join("config-6.1.0"), "").expect("a file");
            assert_eq!(find_kernel(folder.path()).expect("readable"), Some(kernel));
        }
        let empty = tempfile::tempdir().expect("a folder");
        assert_eq!(find_kernel(empty.path()).expect("readable"), None);
    }
}
