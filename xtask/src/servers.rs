//! The server programs, and clients of theirs, that the tests run: unpacked into the toolchain folder, and not installed.
//!
//! Installing their packages would start them, now or when the machine boots, and give the machine users and settings
//! that nobody asked for.

use std::{fs, path::Path, process::Command};

use anyhow::{Context as _, Result, ensure};
use enforcer_bpf_build::{find_file, unpacked_root};

use crate::{
    apt,
    programs::{Program, find_anywhere},
};

const WHY: &str = "a server that the tests run; unpacked, not installed";

/// What the tests can do without: they say SKIPPED.
pub(crate) static SERVERS: [Program; 11] = [
    server("nginx", "nginx"),
    Program {
        is_there: |_| find_file("/usr/lib/nginx/modules/ngx_stream_module.so").is_some(),
        ..server("nginx's stream module", "libnginx-mod-stream")
    },
    server("sshd", "openssh-server"),
    server("unbound", "unbound"),
    server("chronyd", "chrony"),
    server("memcached", "memcached"),
    server("in.tftpd", "tftpd-hpa"),
    server("rsyslogd", "rsyslog"),
    Program {
        why: "a DNS client that the tests run; unpacked, not installed",
        ..server("dig", "bind9-dnsutils")
    },
    Program {
        why: "scrapes the enforcer in the tests of alerts and dashboard; unpacked, not installed",
        ..server("prometheus", "prometheus")
    },
    Program {
        why: "a browser without a screen, in which the tests look at the page, 100 MB; unpacked, not installed",
        is_there: |_| BROWSERS.iter().any(|path| find_file(path).is_some()),
        ..server("Chromium", "chromium-headless-shell")
    },
];

/// Where the tests look for one.
const BROWSERS: [&str; 4] = [
    "/usr/lib/chromium/chromium-headless-shell",
    "/usr/lib/chromium/chromium",
    "/usr/bin/google-chrome",
    "/usr/bin/chromium-browser",
];

const fn server(name: &'static str, package: &'static str) -> Program {
    Program {
        name,
        package,
        why: WHY,
        is_there: find_anywhere,
    }
}

/// The packages of all that are not installed: what is unpacked is replaced as a whole.
pub(crate) fn packages() -> Vec<String> {
    let packages = SERVERS.iter().map(|server| server.package.to_owned());
    packages
        .filter(|package| !apt::is_installed(package) && apt::candidate(package).is_some())
        .collect()
}

/// Fetches `packages` and what they need that is not installed, and unpacks them in the place of what was there.
///
/// # Errors
/// If apt cannot fetch them.
pub(crate) fn unpack(packages: &[String]) -> Result<()> {
    let root = unpacked_root().context("there is no folder for them: HOME is not set")?;
    let parent = root.parent().context("the folder lies in the toolchain folder")?;
    fs::create_dir_all(parent).with_context(|| format!("creating {}", parent.display()))?;
    let staging = tempfile::Builder::new().prefix("unpack-").tempdir_in(parent)?;
    let (archives, files) = (staging.path().join("archives"), staging.path().join("files"));
    fs::create_dir_all(archives.join("partial"))?;
    fs::create_dir(&files)?;
    apt::download(&archives, packages)?;
    for archive in fs::read_dir(&archives)? {
        let archive = archive?.path();
        if archive.extension().is_some_and(|extension| extension == "deb") {
            extract(&archive, &files)?;
        }
    }
    if root.exists() {
        fs::remove_dir_all(&root).with_context(|| format!("removing {}", root.display()))?;
    }
    fs::rename(&files, &root).with_context(|| format!("creating {}", root.display()))
}

fn extract(archive: &Path, into: &Path) -> Result<()> {
    let status = Command::new("dpkg-deb")
        .arg("--extract")
        .args([archive, into])
        .status()
        .context("starting dpkg-deb")?;
    ensure!(status.success(), "dpkg-deb cannot unpack {}", archive.display());
    Ok(())
}
