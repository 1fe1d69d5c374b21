//! What a sandbox's enforcer is told: its configuration, and the registry of what `--allow` names.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail};
use enforcer_core::documents::{Judgement, check};
use serde_json::json;

use super::{Place, Sandbox};
use crate::{
    config::Enforcement,
    sources::files::{Content, read_all},
};

/// The command's name in messages.
pub(super) const WORKLOAD: &str = "command";

/// Writes both into the place.
pub(super) fn write(sandbox: &Sandbox, place: &Place, registry: &[PathBuf]) -> Result<()> {
    let entries = sandbox.allowed.iter().enumerate().map(|(number, allowed)| {
        let name = format!("allow-{}", number + 1);
        allowed.entry(&name, &sandbox.namespace)
    });
    let entries: Vec<_> = entries.collect();
    fs::write(place.allowed(), entries.join("---\n")).context("writing what is allowed")?;
    let mut files = vec![place.allowed()];
    files.extend(registry.iter().cloned());
    // JSON is YAML.
    let text = serde_json::to_vec_pretty(&json!({
        "registry": {"files": files},
        "outboundTrafficPolicy": {"mode": "REGISTRY_ONLY"},
        "mode": match sandbox.enforcement {
            Enforcement::Enforce => "enforce",
            Enforcement::Audit => "audit",
        },
        "workloads": [{"namespace": sandbox.namespace, "name": WORKLOAD, "cgroup": place.command()}],
        "roots": [place.command()],
        "bpffs": place.bpffs(),
        "state": place.state(),
        "cgroupMount": place.mount,
    }))?;
    fs::write(place.config(), text).context("writing the enforcer's configuration")
}

/// The registry's files by their whole paths. Each has to be there and valid: what is not would only be noticed when it
/// is refused.
pub(super) fn registry(paths: &[PathBuf]) -> Result<Vec<PathBuf>> {
    let mut whole = Vec::new();
    for path in paths {
        let shown = path.display();
        let found = fs::canonicalize(path).with_context(|| format!("--registry {shown}"))?;
        for change in read_all(&found) {
            let file = change.path.display().to_string();
            match change.content {
                Content::Text(text) => judge(&file, &text)?,
                Content::Gone => {}
                Content::Unreadable(reason) => bail!("--registry {shown}: {file}: {reason}"),
            }
        }
        whole.push(found);
    }
    Ok(whole)
}

fn judge(file: &str, text: &str) -> Result<()> {
    for record in check(file, text) {
        if record.verdict != Judgement::Valid {
            let error = record.errors.first().map_or("it is not valid", String::as_str);
            bail!("--registry: {file}: {error}; `enforcer check {file}` says everything that is wrong");
        }
    }
    Ok(())
}

/// A path as the report names it.
pub(super) fn is_standard_output(path: &Path) -> bool {
    path == Path::new("-")
}
