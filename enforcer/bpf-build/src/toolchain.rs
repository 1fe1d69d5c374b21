//! Which toolchain this machine has.

use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
};

use crate::linker::find_linker;

/// The target that the programs are built for.
pub const TARGET: &str = "bpfel-unknown-none";

/// Environment variable with which packagers point at a prebuilt object.
pub const OBJECT_VARIABLE: &str = "ENFORCER_BPF_OBJECT";

/// What the BPF programs are built with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Toolchain {
    /// Nothing to build: the object is there.
    Prebuilt(PathBuf),
    /// A compiler and `bpf-linker`.
    Build {
        /// The compiler.
        compiler: Compiler,
        /// Path of `bpf-linker`.
        linker: PathBuf,
    },
}

/// A compiler that can build for the BPF target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compiler {
    /// A rustup nightly with `rust-src`, which builds `core` itself.
    Nightly,
    /// The distribution's own compiler in `/usr/bin` with a prebuilt `core`, as Debian packages it.
    Distribution,
}

/// Why there is no toolchain.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Missing {
    /// `ENFORCER_BPF_OBJECT` does not name a file.
    #[error("{OBJECT_VARIABLE} is {}, which is not a file", .0.display())]
    Object(PathBuf),
    /// No compiler for the BPF target.
    #[error(
        "no compiler for the BPF programs (neither a rustup nightly with rust-src nor the distribution's for {TARGET}): \
         run `cargo xtask setup`"
    )]
    Compiler,
    /// A compiler, but no linker.
    #[error("bpf-linker is neither in PATH nor in the toolchain folder: run `cargo xtask setup`")]
    Linker,
}

impl Toolchain {
    /// Looks for a prebuilt object, then for a rustup nightly with `rust-src`, then for the distribution's compiler.
    ///
    /// # Errors
    /// [`Missing`] says what is not there, in one line that says how to mend it.
    pub fn detect() -> Result<Self, Missing> {
        if let Some(object) = env::var_os(OBJECT_VARIABLE).filter(|value| !value.is_empty()) {
            return prebuilt(object.into());
        }
        let compiler = Compiler::detect().ok_or(Missing::Compiler)?;
        let linker = find_linker().ok_or(Missing::Linker)?;
        Ok(Self::Build { compiler, linker })
    }
}

impl Compiler {
    /// The first compiler that has what it needs.
    pub fn detect() -> Option<Self> {
        [Self::Nightly, Self::Distribution]
            .into_iter()
            .find(|compiler| compiler.is_complete())
    }

    /// Where it keeps its own sources and libraries.
    pub(crate) fn sysroot(self) -> Option<PathBuf> {
        let mut rustc = match self {
            Self::Nightly => {
                let mut rustup = Command::new("rustup");
                rustup.args(["run", "nightly", "rustc"]);
                rustup
            }
            Self::Distribution => Command::new("/usr/bin/rustc"),
        };
        answer(rustc.args(["--print", "sysroot"])).map(PathBuf::from)
    }

    /// A nightly without `rust-src` and a distribution's compiler without `core` for the BPF target do not count.
    fn is_complete(self) -> bool {
        match self {
            Self::Nightly => {
                let sources = |sysroot: PathBuf| sysroot.join("lib/rustlib/src/rust/library").is_dir();
                self.sysroot().is_some_and(sources)
            }
            Self::Distribution => {
                let ask = |query: &[&str]| answer(Command::new("/usr/bin/rustc").args(query));
                let folder = ask(&["--print", "target-libdir", "--target", TARGET]);
                folder.is_some_and(|folder| holds_core(Path::new(&folder)))
                    && ask(&["--version"]).is_some_and(|version| is_new_enough(&version))
                    && Path::new("/usr/bin/cargo").is_file()
            }
        }
    }
}

fn prebuilt(object: PathBuf) -> Result<Toolchain, Missing> {
    // The compiler resolves a relative path against another folder than the one it was typed in.
    match object.canonicalize() {
        Ok(object) if object.is_file() => Ok(Toolchain::Prebuilt(object)),
        Ok(_) | Err(_) => Err(Missing::Object(object)),
    }
}

/// The line that `command` prints, or `None` where it cannot be run or fails: the machine does not have it.
fn answer(command: &mut Command) -> Option<String> {
    // A question about what is installed must not make rustup install it.
    let output = command
        .env("RUSTUP_AUTO_INSTALL", "0")
        .env_remove("RUSTUP_TOOLCHAIN")
        .output()
        .ok()?;
    let line = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| line.trim_end().to_owned())
}

/// Whether `rustc 1.96.0 (...)` can build this workspace.
fn is_new_enough(version: &str) -> bool {
    let numbers =
        |version: &str| -> Vec<u32> { version.split('.').map_while(|part| part.parse().ok()).collect() };
    let version = version.split(' ').nth(1).unwrap_or_default();
    numbers(version) >= numbers(env!("CARGO_PKG_RUST_VERSION"))
}

fn holds_core(folder: &Path) -> bool {
    let Ok(entries) = folder.read_dir() else {
        return false;
    };
    entries.flatten().any(|entry| {
        let name = entry.file_name();
        name.to_string_lossy().starts_with("libcore-") && name.to_string_lossy().ends_with(".rlib")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn compiler_older_than_the_workspace_does_not_count() {
        for (version, expected) in [
            (
                "rustc 1.96.0 (ac68faa20 2026-05-25) (built from a source tarball)",
                true,
            ),
            ("rustc 1.100.0-beta.1 (0 2027-01-01)", true),
            ("rustc 1.85.0 (4d91de4e4 2025-02-17)", false),
            ("", false),
        ] {
            assert_eq!(is_new_enough(version), expected, "{version:?}");
        }
    }

    #[test]
    fn variable_that_names_no_file_is_a_mistake_and_not_a_missing_toolchain() {
        let object = PathBuf::from("/nowhere/enforcer.o");
        assert_eq!(prebuilt(object.clone()), Err(Missing::Object(object)));
    }
}
