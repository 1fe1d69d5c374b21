//! The images that the nodes are given: the enforcer's, and that of the tests' pods, so that nothing is pulled.

use std::{
    env, fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use serde_json::json;
use tempfile::NamedTempFile;

use crate::{
    arch::Arch,
    image::{self, Image, TESTS, Tar, build_tests},
    setup,
};

/// Archives that are there.
pub(super) struct Archives {
    enforcer: PathBuf,
    file: NamedTempFile,
    pods: String,
}

impl Archives {
    /// Builds both. The enforcer's may be there before, as for the other tests.
    pub(super) fn write() -> Result<Self> {
        setup::run(&setup::Arguments::default())?;
        let enforcer = match env::var_os("ENFORCER_IMAGE") {
            Some(file) => file.into(),
            None => image::write(Arch::own(), None)?.file,
        };
        let binary = build_tests(target())?;
        let binary = fs::read(&binary).with_context(|| format!("reading {}", binary.display()))?;
        let mut layer = Tar::default();
        layer.add(TESTS, 0o755, &binary)?;
        let image = Image {
            name: TESTS,
            version: env!("CARGO_PKG_VERSION"),
            arch: Arch::own().name(),
            labels: json!({}),
            entry_point: &[format!("/{TESTS}")],
            environment: &[],
            layer,
            created_by: format!("COPY {TESTS} /{TESTS}"),
        };
        let pods = image.reference();
        let file = tempfile::Builder::new()
            .prefix("enforcer-kind-")
            .suffix(".tar")
            .tempfile()?;
        fs::write(&file, image.archive()?.bytes).context("writing the image of the tests")?;
        Ok(Self { enforcer, file, pods })
    }

    pub(super) fn files(&self) -> [&Path; 2] {
        [&self.enforcer, self.file.path()]
    }

    /// As manifests of pods name the tests' image.
    pub(super) fn pods(&self) -> &str {
        &self.pods
    }
}

/// What this machine's own compiler builds for, whose C library can be linked in.
fn target() -> &'static str {
    match Arch::own() {
        Arch::Amd64 => "x86_64-unknown-linux-gnu",
        Arch::Arm64 => "aarch64-unknown-linux-gnu",
    }
}
