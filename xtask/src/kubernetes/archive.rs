//! The release of Debian that everything comes from, whatever this machine runs: the last with all of Kubernetes'
//! source.
//!
//! Nothing of it is installed. Installed, etcd and containerd would be services of this machine, and the compiler one
//! more that nobody else asked for.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, ensure};

use super::{
    WHAT,
    folder::{Folder, PLUGINS, UNPACKED, remove},
};
use crate::{
    apt::{Archive, Private, Source},
    out::say,
    process::{answer, is_program},
    unavailable::{Unavailable, judge},
};

/// The release.
const SUITE: &str = "bookworm";

/// Where kubectl is from: overlays with components take its newer kustomize, which the source's own is not.
const CLIENT_SUITE: &str = "trixie";

/// kubectl.
const CLIENT: [&str; 1] = ["kubectl"];

/// What brings the programs that are only unpacked, and the plugins.
const PACKAGES: [&str; 5] = [
    "etcd-server",
    "containerd",
    "runc",
    "containernetworking-plugins",
    "busybox-static",
];

/// What the source is compiled with: the compiler, and a library in the place of the source's own copy.
const COMPILER: [&str; 3] = [
    "golang-1.19-go",
    "golang-1.19-src",
    "golang-github-modern-go-reflect2-dev",
];

/// The source package.
const SOURCE: &str = "kubernetes";

/// Where packages of Debian have programs.
const PLACES: [&str; 4] = ["usr/bin", "usr/sbin", "bin", "sbin"];

/// The release's archive, with its lists read.
pub(super) struct Release(Private);

impl Release {
    /// Its state goes with what is needed for building alone, also where the build is killed.
    pub(super) fn open(folder: &Folder) -> Result<Self> {
        let source = Source::find(Archive::Main).map_err(|error| Unavailable(WHAT, format!("{error:#}")))?;
        let architecture = answer(Command::new("dpkg").arg("--print-architecture"))
            .context("asking dpkg for this machine's architecture")?;
        let suites = [("deb", SUITE), ("deb-src", SUITE), ("deb", CLIENT_SUITE)];
        let lines = suites.map(|(kind, suite)| source.line(kind, architecture.trim(), suite));
        let apt = Private::new(&lines.concat(), architecture.trim(), &folder.work())?;
        say!("kubernetes: reading the package lists of {SUITE} and {CLIENT_SUITE}");
        apt.run("apt-get", &["--quiet", "--error-on=any", "update"])
            .map_err(|error| judge(WHAT, error))?;
        Ok(Self(apt))
    }

    /// Puts Debian's programs and plugins where they belong.
    pub(super) fn programs(&self, folder: &Folder) -> Result<()> {
        let unpacked = folder.work().join("packages");
        remove(&unpacked)?;
        self.unpack(&PACKAGES, SUITE, &unpacked)?;
        self.unpack(&CLIENT, CLIENT_SUITE, &unpacked)?;
        let staging = folder.work().join("staging");
        let programs = UNPACKED
            .iter()
            .map(|name| (*name, PLACES.as_slice(), folder.program(name)));
        let plugins = PLUGINS
            .iter()
            .map(|name| (*name, ["usr/lib/cni"].as_slice(), folder.plugins().join(name)));
        for (name, places, target) in programs.chain(plugins) {
            let mut candidates = places.iter().map(|place| unpacked.join(place).join(name));
            let program = candidates
                .find(|path| is_program(path))
                .with_context(|| format!("the packages hold no {name}"))?;
            fs::copy(&program, &staging).with_context(|| format!("copying {name}"))?;
            fs::rename(&staging, &target).with_context(|| format!("writing {}", target.display()))?;
        }
        Ok(())
    }

    /// Unpacks the compiler, with its library, into a folder that is not there yet.
    pub(super) fn compiler(&self, into: &Path) -> Result<()> {
        let staging = into.with_extension("new");
        remove(&staging)?;
        self.unpack(&COMPILER, SUITE, &staging)?;
        fs::rename(&staging, into).with_context(|| format!("creating {}", into.display()))
    }

    /// Unpacks the source, with Debian's changes, into a folder that is not there yet, and says which version it is.
    pub(super) fn source(&self, into: &Path) -> Result<String> {
        self.0
            .run("apt-get", &["--quiet", "source", "--download-only", SOURCE])
            .map_err(|error| judge(WHAT, error))?;
        let files = fs::read_dir(self.0.downloads())?.map(|entry| Ok(entry?.path()));
        let files: Vec<PathBuf> = files.collect::<Result<_>>()?;
        let description = files
            .iter()
            .find(|path| path.extension().is_some_and(|extension| extension == "dsc"))
            .context("apt has fetched no .dsc file of the source")?;
        let text = fs::read_to_string(description).context("reading the source's .dsc file")?;
        let version =
            version(&text).with_context(|| format!("{} names no version", description.display()))?;
        // apt has checked it.
        let output = Command::new("dpkg-source")
            .args(["--no-check", "--extract"])
            .args([description.as_path(), into])
            .output()
            .context("starting dpkg-source")?;
        let errors = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "dpkg-source: {}", errors.trim());
        Ok(version.to_owned())
    }

    fn unpack(&self, packages: &[&str], suite: &str, into: &Path) -> Result<()> {
        // What an earlier call has fetched is unpacked already.
        for old in fs::read_dir(self.0.downloads())? {
            fs::remove_file(old?.path())?;
        }
        say!("kubernetes: fetching {}", packages.join(" "));
        let named: Vec<_> = packages.iter().map(|name| format!("{name}/{suite}")).collect();
        let named = named.iter().map(String::as_str);
        let download: Vec<_> = ["--quiet", "download"].into_iter().chain(named).collect();
        self.0
            .run("apt-get", &download)
            .map_err(|error| judge(WHAT, error))?;
        self.0.unpack_into(into)
    }
}

/// The upstream version in a description: Debian went back from 1.20.5 to `1.20.5+really1.20.2`.
fn version(description: &str) -> Option<&str> {
    let version = description
        .lines()
        .find_map(|line| line.strip_prefix("Version: "))?;
    let upstream = version.rsplit_once('-').map_or(version, |(upstream, _)| upstream);
    Some(
        upstream
            .rsplit_once("really")
            .map_or(upstream, |(_, really)| really),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn version_is_what_the_source_really_is() {
        for (text, expected) in [
            ("Version: 1.20.5+really1.20.2-1.1+deb12u1\n", Some("1.20.2")),
            ("Format: 3.0\nVersion: 1.32.3-1\n", Some("1.32.3")),
            ("Format: 3.0\n", None),
        ] {
            assert_eq!(version(text), expected, "{text}");
        }
    }
}
