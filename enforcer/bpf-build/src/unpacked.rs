//! Programs that the tests run and that are not installed: `cargo xtask setup` unpacks their packages into a folder.

use std::{
    env,
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
};

use crate::toolchain_root;

/// The folder with the contents of the packages, as they lie below `/` where they are installed. `None` if the user
/// has no home.
///
/// Another release of the distribution has another one: its programs want other libraries.
pub fn unpacked_root() -> Option<PathBuf> {
    let text = fs::read_to_string("/etc/os-release").unwrap_or_default();
    Some(toolchain_root()?.join("servers").join(release(&text)))
}

/// The file at `path`, below `/` or where its package was unpacked.
pub fn find_file(path: &str) -> Option<PathBuf> {
    let unpacked = unpacked_root().map(|root| root.join(path.trim_start_matches('/')));
    std::iter::once(PathBuf::from(path))
        .chain(unpacked)
        .find(|path| path.is_file())
}

/// `LD_LIBRARY_PATH` with which a program finds the libraries that were unpacked with it; `None` for one that is
/// installed.
pub fn library_path(program: &Path) -> Option<OsString> {
    let root = unpacked_root().filter(|root| program.starts_with(root))?;
    let folders = ["usr/lib", "lib"].map(|folder| root.join(folder));
    let below = folders.iter().filter_map(|folder| folder.read_dir().ok());
    let below = below.flatten().flatten().map(|entry| entry.path());
    env::join_paths(below.filter(|path| path.is_dir()).chain(folders.clone())).ok()
}

/// `debian-12` of what `/etc/os-release` says.
fn release(text: &str) -> String {
    let field = |name| {
        let mut lines = text.lines();
        let value = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
        let value = value.unwrap_or("unknown").trim_matches('"').chars();
        value
            .map(|c| {
                if c.is_ascii_alphanumeric() || c == '.' {
                    c
                } else {
                    '_'
                }
            })
            .collect::<String>()
    };
    format!("{}-{}", field("ID"), field("VERSION_ID"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn release_is_one_word_whatever_the_file_says() {
        for (text, expected) in [
            (
                "PRETTY_NAME=\"Debian 12\"\nID=debian\nVERSION_ID=\"12\"\n",
                "debian-12",
            ),
            ("ID=ubuntu\nVERSION_ID=\"24.04\"\n", "ubuntu-24.04"),
            ("ID=debian\n", "debian-unknown"),
            ("ID=../x\nVERSION_ID=/\n", ".._x-_"),
        ] {
            assert_eq!(release(text), expected);
        }
    }
}
