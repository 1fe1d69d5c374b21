//! Where `bpf-linker` is found.

use std::{
    env,
    path::{Path, PathBuf},
};

/// Name of the program that links the BPF programs.
pub const LINKER: &str = "bpf-linker";

/// The folder into which `cargo xtask setup` installs developer tools, as `cargo install --root` lays it out:
/// `$ENFORCER_CACHE/toolchain`, else below the user's cache folder. `None` if the user has no home.
pub fn toolchain_root() -> Option<PathBuf> {
    let folder = |name| {
        env::var_os(name)
            .filter(|value| !value.is_empty())
            .map(PathBuf::from)
    };
    folder("ENFORCER_CACHE")
        .or_else(|| folder("XDG_CACHE_HOME").map(|cache| cache.join("enforcer")))
        .or_else(|| folder("HOME").map(|home| home.join(".cache/enforcer")))
        .map(|cache| cache.join("toolchain"))
}

/// The linker in `$PATH`, else the one that setup installed.
pub fn find_linker() -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let installed = toolchain_root().map(|root| root.join("bin"));
    first_program(env::split_paths(&path).chain(installed))
}

fn first_program(folders: impl Iterator<Item = PathBuf>) -> Option<PathBuf> {
    folders
        .map(|folder| folder.join(LINKER))
        .find(|program| is_program(program))
}

fn is_program(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    path.metadata()
        .is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0)
}
