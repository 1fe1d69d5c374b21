//! The Helm chart as `helm package` would write it, but the same each time.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, ensure};

use super::gzip;
use crate::{
    image::{NAME, Tar},
    out::say,
    tree::Tree,
};

/// Where the chart is.
const CHART: &str = "deploy/helm/enforcer";

/// Writes `enforcer-VERSION.tgz`.
///
/// # Errors
/// If there is no chart, or it is of another version than the workspace.
pub(super) fn write(tree: &Tree, out: &Path) -> Result<()> {
    let folder = tree.join(CHART);
    let mut files = BTreeMap::new();
    list(&folder, &folder, &mut files)?;
    let description = files
        .get("Chart.yaml")
        .with_context(|| format!("there is no Helm chart: {CHART}/Chart.yaml is missing"))?;
    let version = env!("CARGO_PKG_VERSION");
    let said =
        fs::read_to_string(description).with_context(|| format!("reading {}", description.display()))?;
    for key in ["version", "appVersion"] {
        let value = value(&said, key);
        ensure!(
            value == Some(version),
            "{CHART}/Chart.yaml: {key} is {}, and this is version {version}",
            value.unwrap_or("missing")
        );
    }
    let mut tar = Tar::default();
    for (name, file) in &files {
        let content = fs::read(file).with_context(|| format!("reading {}", file.display()))?;
        tar.add(&format!("{NAME}/{name}"), 0o644, &content)?;
    }
    let file = format!("{NAME}-{version}.tgz");
    fs::write(out.join(&file), gzip::compress(&tar.finish()?)?).with_context(|| format!("writing {file}"))?;
    say!("release: {file}: the Helm chart, {} files", files.len());
    Ok(())
}

/// All files below a folder, by their names in it. A folder that is not there has none.
fn list(root: &Path, folder: &Path, files: &mut BTreeMap<String, PathBuf>) -> Result<()> {
    if !folder.is_dir() {
        return Ok(());
    }
    for entry in fs::read_dir(folder).with_context(|| format!("reading {}", folder.display()))? {
        let path = entry?.path();
        if path.is_dir() {
            list(root, &path, files)?;
            continue;
        }
        let name = path.strip_prefix(root).expect("it was found below the folder");
        let name = name
            .to_str()
            .with_context(|| format!("{} is no text", name.display()))?;
        // What Helm itself reads and does not ship.
        if name != ".helmignore" {
            files.insert(name.to_owned(), path);
        }
    }
    Ok(())
}

/// Of a key at the left margin of a YAML document.
fn value<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    let value = text
        .lines()
        .find_map(|line| line.strip_prefix(key)?.strip_prefix(':'))?;
    Some(value.trim().trim_matches(['"', '\'']))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn version_is_read_with_and_without_quotes() {
        let chart = "apiVersion: v2\nversion: 1.2.3\nappVersion: \"1.2.4\"\n";
        assert_eq!(value(chart, "version"), Some("1.2.3"));
        assert_eq!(value(chart, "appVersion"), Some("1.2.4"));
        assert_eq!(value(chart, "icon"), None);
    }
}
