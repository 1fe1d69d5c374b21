//! The kernel that the checks run on.

use std::path::PathBuf;

use anyhow::{Context as _, Result, bail};

/// The kernel that this runs on.
pub(super) struct Kernel {
    version: (u32, u32),
    /// This binary, which is also the probe.
    pub(super) program: PathBuf,
}

impl Kernel {
    pub(super) fn new(release: &str) -> Result<Self> {
        let mut numbers = release
            .split(|c: char| !c.is_ascii_digit())
            .map(str::parse::<u32>);
        let (Some(Ok(major)), Some(Ok(minor))) = (numbers.next(), numbers.next()) else {
            bail!("the kernel's release is {release:?}");
        };
        Ok(Self {
            version: (major, minor),
            program: std::env::current_exe().context("finding this program's own path")?,
        })
    }

    pub(super) fn is_before(&self, major: u32, minor: u32) -> bool {
        self.version < (major, minor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn release_of_a_distributions_kernel_has_a_version() {
        for (release, version) in [
            ("5.10.0-46-cloud-amd64", (5, 10)),
            ("6.12.117+deb13-cloud-amd64", (6, 12)),
            ("7.2.12", (7, 2)),
            ("7.3-rc1", (7, 3)),
        ] {
            assert_eq!(Kernel::new(release).expect(release).version, version, "{release}");
        }
        assert!(Kernel::new("linux").is_err());
    }
}
