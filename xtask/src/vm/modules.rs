//! The modules of a kernel that the tests need: Debian's kernels have the devices and protocols of a test in modules.
//!
//! A package that is only unpacked has no list of what depends on what (`depmod` writes it), so that each module is
//! asked itself.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, ensure};

/// The cable between two networks; what lists and ends sockets; the protocols that lead out once somebody has them
/// loaded; and address translation as nodes do it. What a kernel has not, or has built in, is no module of it.
pub(crate) const WANTED: [&str; 33] = [
    "veth",
    "inet_diag",
    "tcp_diag",
    "udp_diag",
    "sctp",
    "dccp_ipv4",
    "vsock",
    "rds",
    "rds_tcp",
    "tipc",
    "rxrpc",
    "smc",
    "kcm",
    "l2tp_ip",
    "l2tp_ip6",
    "pppoe",
    "qrtr",
    "phonet",
    "can",
    "can_raw",
    "ax25",
    "bluetooth",
    "nfc",
    "x25",
    "llc2",
    "ieee802154_socket",
    "mctp",
    "appletalk",
    "nf_tables",
    "nft_chain_nat",
    "nft_nat",
    "nft_masq",
    "nft_redir",
];

/// Takes what is wanted from the unpacked packages to `folder`, named so that they sort in the order of loading.
///
/// # Errors
/// If a module cannot be read or written.
pub(crate) fn collect(unpacked: &Path, folder: &Path) -> Result<()> {
    let mut modules = BTreeMap::new();
    find(unpacked, &mut modules)?;
    let mut taken = Vec::new();
    for name in WANTED {
        take(name, &modules, &mut taken)?;
    }
    fs::create_dir_all(folder).with_context(|| format!("creating {}", folder.display()))?;
    for (number, (name, content)) in taken.iter().enumerate() {
        let path = folder.join(format!("{number:02}-{name}.ko"));
        fs::write(&path, content).with_context(|| format!("writing {}", path.display()))?;
    }
    Ok(())
}

/// A module behind those that it depends on.
fn take(name: &str, modules: &BTreeMap<String, PathBuf>, taken: &mut Vec<(String, Vec<u8>)>) -> Result<()> {
    let Some(path) = modules.get(name) else {
        return Ok(());
    };
    if taken.iter().any(|(other, _)| other == name) {
        return Ok(());
    }
    let content = content(path)?;
    for needed in depends(&content) {
        take(&needed, modules, taken)?;
    }
    taken.push((name.to_owned(), content));
    Ok(())
}

fn find(folder: &Path, modules: &mut BTreeMap<String, PathBuf>) -> Result<()> {
    for entry in fs::read_dir(folder).with_context(|| format!("reading {}", folder.display()))? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            find(&entry.path(), modules)?;
        } else if let Some(name) = module(&entry.file_name().to_string_lossy()) {
            modules.insert(name, entry.path());
        }
    }
    Ok(())
}

/// The name under which others depend on what is in such a file.
fn module(file: &str) -> Option<String> {
    let (name, rest) = file.split_once(".ko")?;
    matches!(rest, "" | ".xz" | ".zst" | ".gz").then(|| name.replace('-', "_"))
}

fn content(path: &Path) -> Result<Vec<u8>> {
    // Unpacks what its name says that it is packed with.
    let output = Command::new("/usr/lib/apt/apt-helper")
        .arg("cat-file")
        .arg(path)
        .output()
        .context("starting apt-helper")?;
    ensure!(
        output.status.success(),
        "unpacking {}: {}",
        path.display(),
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Ok(output.stdout)
}

/// What the module says of itself, in its section `.modinfo`: `depends=a,b` between zeroes.
fn depends(module: &[u8]) -> Vec<String> {
    let mut lines = module.split(|byte| *byte == 0);
    let names = lines.find_map(|line| line.strip_prefix(b"depends="));
    String::from_utf8_lossy(names.unwrap_or_default())
        .split(',')
        .filter(|name| !name.is_empty())
        .map(|name| name.replace('-', "_"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modules_are_known_by_their_files() {
        for (file, name) in [
            ("veth.ko", Some("veth")),
            ("nf-log.ko.xz", Some("nf_log")),
            ("vmlinuz", None),
            ("modules.kobjects", None),
        ] {
            assert_eq!(module(file).as_deref(), name, "{file}");
        }
    }

    #[test]
    fn module_says_what_it_depends_on() {
        assert_eq!(
            depends(b"\x7fELF\0license=GPL\0depends=libcrc32c,udp-tunnel\0name=sctp\0"),
            ["libcrc32c", "udp_tunnel"]
        );
        assert!(depends(b"name=veth\0depends=\0").is_empty());
    }
}
