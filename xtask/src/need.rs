//! What a machine can lack, and what it is for.

use crate::{arch::Arch, programs::Program};

/// Something that this machine does not have.
#[derive(Clone, Copy)]
pub(crate) enum Need {
    /// A compiler for the BPF programs.
    Compiler,
    /// bpf-linker.
    Linker,
    /// cargo-deny.
    Deny,
    /// cargo-fuzz.
    Fuzz,
    /// cargo-deb.
    Packager,
    /// cargo-cyclonedx.
    Bill,
    /// The standard library for static binaries.
    Target(Arch),
    /// A program of the distribution.
    Program(&'static Program),
    /// A server that tests can do without.
    Server(&'static Program),
}

impl Need {
    /// What is missing.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Compiler => "a compiler for BPF",
            Self::Linker => "bpf-linker",
            Self::Deny => "cargo-deny",
            Self::Fuzz => "cargo-fuzz",
            Self::Packager => "cargo-deb",
            Self::Bill => "cargo-cyclonedx",
            Self::Target(arch) => arch.target(),
            Self::Program(program) | Self::Server(program) => program.name,
        }
    }

    /// What it is for.
    pub(crate) fn why(&self) -> &'static str {
        match self {
            Self::Compiler => "builds the programs that run in the kernel",
            Self::Linker => "links the programs that run in the kernel",
            Self::Deny => "checks licences and sources of the dependencies",
            Self::Fuzz => "runs the fuzz targets",
            Self::Packager => "makes the Debian package",
            Self::Bill => "writes the bill of materials",
            Self::Target(_) => "the target of the image's static binary",
            Self::Program(program) | Self::Server(program) => program.why,
        }
    }
}
