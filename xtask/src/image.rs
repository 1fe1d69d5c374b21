//! Writes the container image: `FROM scratch` with one static binary, as `deploy/Dockerfile` builds it, without Docker.
//!
//! ```text
//! setup -> binary (cargo, musl) -> archive (layer, configuration, manifest, index)
//! ```
//!
//! Nothing in an image depends on when, where or by whom it was written: the same binary has the same digest.

mod archive;
mod binary;

use std::{
    env, fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::out::say;
use crate::{arch::Arch, process::target_folder, setup};

pub(crate) use archive::{Image, Tar};
pub(crate) use binary::{TESTS, build, build_in, build_tests};

/// What the manifests in `deploy/` call it.
pub(crate) const NAME: &str = "enforcer";

/// The name by which the binary is kubectl's plugin.
const PLUGIN: &str = "kubectl-enforcer";

/// What `image` is asked for.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// The architecture it runs on; this machine's own if none is given
    #[arg(long, value_enum, default_value_t = Arch::own())]
    arch: Arch,
    /// The archive's file; enforcer-VERSION-ARCH.tar in cargo's target folder if none is given
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
}

/// Builds the binary and writes the archive.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let written = write(arguments.arch, arguments.output.as_deref())?;
    say!(
        "image: {} for {}, {:.1} MB, {}",
        written.reference,
        arguments.arch.name(),
        written.megabytes,
        written.digest
    );
    say!("image: {}", written.file.display());
    Ok(())
}

/// An archive that is there.
pub(crate) struct Written {
    /// Where.
    pub(crate) file: PathBuf,
    /// As manifests name the image.
    pub(crate) reference: String,
    /// As registries know it.
    pub(crate) digest: String,
    megabytes: f64,
}

/// Builds the binary for `arch` and writes the archive to `output`.
pub(crate) fn write(arch: Arch, output: Option<&Path>) -> Result<Written> {
    setup::run(&setup::Arguments {
        image: Some(arch),
        to_build: true,
        ..Default::default()
    })?;
    let binary = build(arch, NAME)?;
    let file = match output {
        Some(file) => file.to_owned(),
        None => target_folder().join(file_name(arch)),
    };
    pack(arch, &binary, file)
}

/// What the archive is called.
pub(crate) fn file_name(arch: Arch) -> String {
    format!("{NAME}-{}-{}.tar", env!("CARGO_PKG_VERSION"), arch.name())
}

/// Writes the archive of a binary that is built.
pub(crate) fn pack(arch: Arch, binary: &Path, file: PathBuf) -> Result<Written> {
    let binary = fs::read(binary).with_context(|| format!("reading {}", binary.display()))?;
    let mut layer = Tar::default();
    layer.add(NAME, 0o755, &binary)?;
    // The test of the chart runs it by that name.
    layer.add_link(PLUGIN, Path::new(NAME))?;
    let image = Image {
        name: NAME,
        // The workspace has one version, and one licence.
        version: env!("CARGO_PKG_VERSION"),
        arch: arch.name(),
        labels: labels(),
        entry_point: &[format!("/{NAME}")],
        environment: &[],
        layer,
        created_by: format!("COPY {NAME} /{NAME}"),
    };
    let reference = image.reference();
    let archive = image.archive()?;
    fs::write(&file, &archive.bytes).with_context(|| format!("writing {}", file.display()))?;
    Ok(Written {
        file,
        reference,
        digest: archive.digest,
        megabytes: binary.len() as f64 / 1e6,
    })
}

fn labels() -> Value {
    json!({
        "org.opencontainers.image.title": NAME,
        "org.opencontainers.image.description": "Enforces Istio's REGISTRY_ONLY outside the pod.",
        "org.opencontainers.image.version": env!("CARGO_PKG_VERSION"),
        "org.opencontainers.image.licenses": env!("CARGO_PKG_LICENSE"),
    })
}
