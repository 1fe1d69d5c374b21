//! Helm, for tests of the chart.

use std::{env, path::PathBuf};

use enforcer_bpf_build::toolchain_root;

/// This machine's Helm, else the one that `cargo xtask helm` keeps. None, after a line that says so, where there is none.
pub fn helm() -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let kept = toolchain_root().map(|root| root.with_file_name("helm"));
    let mut folders = env::split_paths(&path).chain(kept);
    let helm = folders.find_map(|folder| Some(folder.join("helm")).filter(|file| file.is_file()));
    if helm.is_none() {
        println!("SKIPPED: no Helm: run `cargo xtask helm`");
    }
    helm
}
