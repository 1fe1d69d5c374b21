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

/// A file of the registry, as it was when the sandbox was started. Its copy is what counts: the command may be able to write
/// to the file itself.
pub(super) struct Copy {
    suffix: &'static str,
    text: String,
}

/// Writes all of it into the place.
pub(super) fn write(sandbox: &Sandbox, place: &Place, registry: &[Copy]) -> Result<()> {
    let entries = sandbox.allowed.iter().enumerate().map(|(number, allowed)| {
        let mut entry = allowed.entry(&sandbox.namespace);
        entry.name = format!("allow-{}", number + 1);
        entry.text()
    });
    let entries: Vec<_> = entries.collect();
    let folder = place.registry();
    fs::create_dir(&folder).context("making the registry's folder")?;
    fs::write(folder.join("allow.yaml"), entries.join("---\n")).context("writing what is allowed")?;
    for (number, Copy { suffix, text }) in registry.iter().enumerate() {
        fs::write(folder.join(format!("{number:06}.{suffix}")), text).context("copying the registry")?;
    }
    let mode = match sandbox.enforcement {
        Enforcement::Enforce => "enforce",
        Enforcement::Audit => "audit",
    };
    // The workload's own mode: a Namespace of the registry may have a label for those that have none. JSON is YAML.
    let text = serde_json::to_vec_pretty(&json!({
        "registry": {"files": [folder]},
        "outboundTrafficPolicy": {"mode": "REGISTRY_ONLY"},
        "mode": mode,
        "workloads": [{
            "namespace": sandbox.namespace,
            "name": WORKLOAD,
            "cgroup": place.command(),
            "mode": mode,
        }],
        "roots": [place.command()],
        "bpffs": place.bpffs(),
        "state": place.state(),
        "cgroupMount": place.mount,
    }))?;
    fs::write(place.config(), text).context("writing the enforcer's configuration")
}

/// The registry's files. Each has to be there and valid: what is not would only be noticed when it is refused.
pub(super) fn registry(paths: &[PathBuf]) -> Result<Vec<Copy>> {
    let mut copies = Vec::new();
    for path in paths {
        let shown = path.display();
        let found = fs::canonicalize(path).with_context(|| format!("--registry {shown}"))?;
        for change in read_all(&found) {
            let file = change.path.display().to_string();
            match change.content {
                Content::Text(text) => {
                    judge(&file, &text)?;
                    let is_json = change.path.extension().is_some_and(|suffix| suffix == "json");
                    let suffix = if is_json { "json" } else { "yaml" };
                    let text = text.to_string();
                    copies.push(Copy { suffix, text });
                }
                Content::Gone => {}
                Content::Unreadable(reason) => bail!("--registry {shown}: {file}: {reason}"),
            }
        }
    }
    Ok(copies)
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
