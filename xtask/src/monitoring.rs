//! What `deploy/monitoring` holds for programs, made of what is written there for people.
//!
//! ```text
//! dashboard.yaml -> dashboard.json        what Grafana imports
//! rules.yaml     -> prometheusrule.yaml   what the Prometheus operator takes
//! ```

mod dashboard;

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};

use crate::{out::say, process::workspace};
use dashboard::Dashboard;

/// Says whose the object is, as the other manifests do.
const RULE: &str = "\
# Made of rules.yaml by `cargo xtask monitoring`.
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  name: enforcer
  namespace: enforcer-system
  labels:
    app.kubernetes.io/name: enforcer
spec:
";

/// Writes what is made.
pub(crate) fn write() -> Result<()> {
    for (file, text) in made()? {
        fs::write(&file, text).with_context(|| format!("writing {}", file.display()))?;
        say!("{}", file.display());
    }
    Ok(())
}

/// Each file that is made, and what is to be in it.
fn made() -> Result<[(PathBuf, String); 2]> {
    let folder = workspace().join("deploy/monitoring");
    let dashboard: Dashboard =
        serde_yaml::from_str(&read(&folder.join("dashboard.yaml"))?).context("reading dashboard.yaml")?;
    let dashboard = serde_json::to_string_pretty(&dashboard.grafana())? + "\n";
    Ok([
        (folder.join("dashboard.json"), dashboard),
        (
            folder.join("prometheusrule.yaml"),
            rule(&read(&folder.join("rules.yaml"))?),
        ),
    ])
}

/// The rules within their object, without the lines about the file that they are from.
fn rule(rules: &str) -> String {
    let lines = rules
        .lines()
        .skip_while(|line| line.starts_with('#'))
        .map(|line| {
            if line.is_empty() {
                "\n".to_owned()
            } else {
                format!("  {line}\n")
            }
        });
    RULE.to_owned() + &lines.collect::<String>()
}

fn read(file: &Path) -> Result<String> {
    fs::read_to_string(file).with_context(|| format!("reading {}", file.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_made_is_what_is_kept() {
        for (file, text) in made().unwrap() {
            let kept = read(&file).unwrap();
            assert!(
                kept == text,
                "{} differs: run `cargo xtask monitoring`",
                file.display()
            );
        }
    }

    #[test]
    fn rules_are_the_same_in_their_object() {
        let rules = read(&workspace().join("deploy/monitoring/rules.yaml")).unwrap();
        let object: serde_json::Value = serde_yaml::from_str(&rule(&rules)).unwrap();
        let rules: serde_json::Value = serde_yaml::from_str(&rules).unwrap();
        assert_eq!(object["spec"], rules);
    }
}
