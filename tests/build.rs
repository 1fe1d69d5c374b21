//! Lists the files of the conformance table for the binary to hold: `[(name, text)]`.

use std::{env, fmt::Write as _, fs, path::PathBuf};

use anyhow::{Context, Result};

fn main() -> Result<()> {
    let folder = |name| {
        env::var_os(name)
            .map(PathBuf::from)
            .with_context(|| format!("cargo has not set {name}"))
    };
    let cases = folder("CARGO_MANIFEST_DIR")?.join("cases");
    println!("cargo::rerun-if-changed={}", cases.display());
    let mut files: Vec<_> = fs::read_dir(&cases)
        .with_context(|| format!("reading {}", cases.display()))?
        .map(|entry| Ok(entry?.path()))
        .collect::<Result<_>>()?;
    files.retain(|file| file.extension().is_some_and(|extension| extension == "yaml"));
    files.sort();
    let mut list = String::from("&[\n");
    for file in files {
        let name = file.file_stem().unwrap_or_default().to_string_lossy();
        writeln!(
            list,
            "    ({name:?}, include_str!({:?})),",
            file.to_string_lossy()
        )?;
    }
    list.push_str("]\n");
    fs::write(folder("OUT_DIR")?.join("cases.rs"), list).context("writing the list of cases")
}
