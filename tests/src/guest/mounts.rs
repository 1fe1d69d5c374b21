//! What a first process finds mounted by others elsewhere.

use std::{fs, path::Path};

use anyhow::{Context as _, Result};
use nix::{
    errno::Errno,
    mount::{MsFlags, mount},
};

const MOUNTS: [(&str, &str); 7] = [
    ("devtmpfs", "/dev"),
    ("proc", "/proc"),
    ("sysfs", "/sys"),
    ("securityfs", "/sys/kernel/security"),
    ("cgroup2", "/sys/fs/cgroup"),
    ("bpf", BPFFS),
    ("tmpfs", "/tmp"),
];

/// Where the bpffs is.
pub(super) const BPFFS: &str = "/sys/fs/bpf";

pub(super) fn make() -> Result<()> {
    for (kind, folder) in MOUNTS {
        fs::create_dir_all(Path::new(folder)).with_context(|| format!("creating {folder}"))?;
        match mount(Some(kind), folder, Some(kind), MsFlags::empty(), None::<&str>) {
            // Kernels may mount /dev themselves (CONFIG_DEVTMPFS_MOUNT).
            Ok(()) | Err(Errno::EBUSY) => {}
            Err(error) => return Err(error).with_context(|| format!("mounting {kind} at {folder}")),
        }
    }
    Ok(())
}
