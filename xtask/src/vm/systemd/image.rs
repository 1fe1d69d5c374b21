//! The machine's disk, made once: from Debian's packages and the files beside this one.
//!
//! The folder in the cache bears the digest of all that the disk is made of, so that a changed recipe makes another.

use std::{
    fs::{self, File},
    io::{Seek as _, Write as _},
    path::{Path, PathBuf},
    time::Instant,
};

use anyhow::{Context, Result, ensure};
use sha2::{Digest as _, Sha256};

use super::folder::{Cache, Temporary};
use crate::{
    apt::{self, Archive, Source},
    out::say,
    process::{as_root, find, workspace},
    unavailable::{Unavailable, judge},
};

/// Whose packages.
const SUITE: &str = "trixie";
const SECURITY: &str = "trixie-security";
/// Of the machine, whatever this one's.
const ARCHITECTURE: &str = "amd64";

/// What a machine of its owner has, and what its workloads could ask to run something elsewhere.
const PACKAGES: &str = "systemd,systemd-sysv,systemd-resolved,libpam-systemd,dbus,dbus-user-session,polkitd,login,\
    sudo,cron,at,util-linux,kmod,udev,iproute2,procps,nftables,dnsmasq-base,openssh-server,initramfs-tools,\
    linux-image-cloud-amd64,podman,crun,netavark,aardvark-dns,uidmap,passt,docker.io,docker-cli,iptables";

/// What a build says where the archive does not have the release.
const WHAT: &str = "a machine of Debian 13";

/// A disk in the cache, and what boots it.
pub(super) struct Image {
    folder: PathBuf,
}

impl Image {
    /// From the cache, else made.
    ///
    /// # Errors
    /// [`Unavailable`] if the archives of this machine have no such packages.
    pub(super) fn get(cache: &Cache) -> Result<Self> {
        let recipe = Path::new("xtask/src/vm/systemd");
        let recipe = workspace().join(recipe);
        let name = digest(&recipe)?;
        let folder = cache.folder().join(&name);
        let image = Self { folder };
        if image.disk().is_file() {
            return Ok(image);
        }
        let sources = sources()?;
        let begin = Instant::now();
        say!(
            "vm-test: systemd: making {WHAT}, once, in {}",
            image.folder.display()
        );
        let building = Temporary::new(cache, "building")?;
        make(building.folder(), &recipe, &sources)?;
        fs::rename(building.folder(), &image.folder)
            .with_context(|| format!("writing {}", image.folder.display()))?;
        cache.keep_only(&name)?;
        say!("vm-test: systemd: made in {:.0} s", begin.elapsed().as_secs_f32());
        Ok(image)
    }

    pub(super) fn disk(&self) -> PathBuf {
        self.folder.join("disk")
    }

    pub(super) fn kernel(&self) -> PathBuf {
        self.folder.join("vmlinuz")
    }

    pub(super) fn initrd(&self) -> PathBuf {
        self.folder.join("initrd")
    }
}

/// # Errors
/// [`Unavailable`] if this machine has not, and cannot get, what makes the disk.
pub(super) fn check() -> Result<()> {
    if find("mmdebstrap").is_none() && apt::candidate("mmdebstrap").is_none() {
        return Err(Unavailable(WHAT, "apt has no mmdebstrap".to_owned()).into());
    }
    Ok(())
}

/// Lines of a `sources.list`, of the mirrors that this machine's own apt uses.
fn sources() -> Result<String> {
    let source = |archive, suite| {
        let found = Source::find(archive).map_err(|error| Unavailable(WHAT, format!("{error:#}")))?;
        Ok::<_, anyhow::Error>(found.line("deb", ARCHITECTURE, suite))
    };
    Ok(source(Archive::Main, SUITE)? + &source(Archive::Security, SECURITY)?)
}

fn make(folder: &Path, recipe: &Path, sources: &str) -> Result<()> {
    let mut input = tempfile::tempfile().context("making a file for the sources")?;
    input.write_all(sources.as_bytes())?;
    input.rewind()?;
    let errors = folder.join("errors");
    let status = as_root(recipe.join("image.sh"))
        .arg(folder)
        .arg(recipe.join("files"))
        .args([SUITE, PACKAGES])
        .env("LC_ALL", "C")
        .stdin(input)
        .stderr(File::create(&errors).context("making a file for what goes wrong")?)
        .status()
        .context("starting image.sh")?;
    let text = fs::read_to_string(&errors).unwrap_or_default();
    let last: Vec<_> = text.lines().rev().take(8).collect();
    let text = last.into_iter().rev().collect::<Vec<_>>().join("; ");
    if !status.success() {
        return Err(judge(WHAT, anyhow::anyhow!("image.sh ({status}): {text}")));
    }
    ensure!(folder.join("disk").is_file(), "image.sh made no disk: {text}");
    fs::remove_file(&errors).context("removing the messages")
}

/// Of everything that the disk is made from, by name and text.
fn digest(recipe: &Path) -> Result<String> {
    let mut files = vec![recipe.join("image.sh")];
    list(&recipe.join("files"), &mut files)?;
    files.sort();
    let mut digest = Sha256::new();
    for word in [SUITE, SECURITY, PACKAGES] {
        digest.update(word);
    }
    for file in files {
        let text = fs::read(&file).with_context(|| format!("reading {}", file.display()))?;
        let name = file.strip_prefix(recipe).unwrap_or(&file);
        digest.update(format!("{} {}\n", name.display(), text.len()));
        digest.update(text);
    }
    let digest = digest.finalize();
    Ok(digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect())
}

fn list(folder: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(folder).with_context(|| format!("reading {}", folder.display()))? {
        let path = entry?.path();
        if path.is_dir() {
            list(&path, files)?;
        } else {
            files.push(path);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recipe_with_another_text_or_name_is_another() {
        let folder = tempfile::tempdir().unwrap();
        let files = folder.path().join("files");
        fs::create_dir(&files).unwrap();
        fs::write(folder.path().join("image.sh"), "make").unwrap();
        fs::write(files.join("a"), "text").unwrap();
        let first = digest(folder.path()).unwrap();
        assert_eq!(first, digest(folder.path()).unwrap());
        fs::write(files.join("a"), "Text").unwrap();
        let second = digest(folder.path()).unwrap();
        fs::rename(files.join("a"), files.join("b")).unwrap();
        let third = digest(folder.path()).unwrap();
        assert!(first != second && second != third && third != first);
    }
}
