//! Kubernetes' source: what has to be changed before it compiles and runs here.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, ensure};

use super::{
    WHAT,
    archive::Release,
    folder::{Folder, remove},
    go::Go,
};
use crate::unavailable::Unavailable;

/// The kubelet's code for cgroup v2.
const CGROUPS: &str = "vendor/github.com/opencontainers/runc/libcontainer/cgroups/fs2/fs2.go";

/// Controllers whose limits that code sets, with the names of the functions.
const LIMITS: [(&str, &str); 5] = [
    ("pids", "setPids"),
    ("memory", "setMemory"),
    ("io", "setIo"),
    ("cpu", "setCpu"),
    ("cpuset", "setCpuset"),
];

/// The library that newer compilers need another version of than the source's own.
const REFLECT: &str = "github.com/modern-go/reflect2";

/// Where the version is noted, which the source itself does not have.
const VERSION: &str = "VERSION.debian";

/// The source below the compiler's folder, ready to be compiled.
pub(super) struct Tree {
    pub(super) root: PathBuf,
    /// Such as 1.20.2.
    pub(super) version: String,
}

impl Tree {
    /// Where an earlier build has left it.
    pub(super) fn find(go: &Go) -> Option<Self> {
        let root = go.source();
        let version = fs::read_to_string(root.join(VERSION)).ok()?;
        Some(Self { root, version })
    }

    /// Fetches it.
    pub(super) fn fetch(release: &Release, folder: &Folder, go: &Go) -> Result<Self> {
        let staging = folder.work().join("source");
        remove(&staging)?;
        let version = release.source(&staging)?;
        if !staging.join("cmd/kube-apiserver").is_dir() {
            return Err(Unavailable(WHAT, format!("the source of {version} holds no server")).into());
        }
        replace_reflect(&staging, &go.library(REFLECT))?;
        let cgroups = staging.join(CGROUPS);
        let code = fs::read_to_string(&cgroups).with_context(|| format!("reading {CGROUPS}"))?;
        fs::write(&cgroups, without_missing_controllers(&code)?)
            .with_context(|| format!("writing {CGROUPS}"))?;
        fs::write(staging.join(VERSION), &version)?;
        let root = go.source();
        let parent = root
            .parent()
            .context("the source lies below the compiler's folder")?;
        fs::create_dir_all(parent).with_context(|| format!("creating {}", parent.display()))?;
        fs::rename(&staging, &root).with_context(|| format!("creating {}", root.display()))?;
        Ok(Self { root, version })
    }
}

/// The source's own copy crashes if it is compiled with Go 1.18 or newer.
fn replace_reflect(tree: &Path, with: &Path) -> Result<()> {
    let copy = tree.join("vendor").join(REFLECT);
    remove(&copy)?;
    fs::create_dir(&copy).with_context(|| format!("creating {}", copy.display()))?;
    for file in fs::read_dir(with).with_context(|| format!("reading {}", with.display()))? {
        let file = file?;
        if file.file_type()?.is_file() {
            fs::copy(file.path(), copy.join(file.file_name()))?;
        }
    }
    Ok(())
}

/// Sets no limit whose controller is not in the hierarchy of cgroup v2: where version 1 holds the controllers, the
/// kubelet would start no pod.
fn without_missing_controllers(code: &str) -> Result<String> {
    let mut code = code.to_owned();
    for (controller, function) in LIMITS {
        let call = format!("if err := {function}(m.dirPath, container.Cgroups); err != nil {{");
        ensure!(
            code.matches(&call).count() == 1,
            "{CGROUPS} is not as expected: it does not call {function} once"
        );
        let guarded =
            format!("if _, isHere := m.controllers[\"{controller}\"]; !isHere {{\n\t}} else {call}");
        code = code.replace(&call, &guarded);
    }
    Ok(code)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limit_is_set_where_its_controller_is() {
        let call = |function: &str| {
            format!(
                "\tif err := {function}(m.dirPath, container.Cgroups); err != nil {{\n\t\treturn err\n\t}}\n"
            )
        };
        let code: String = LIMITS.iter().map(|(_, function)| call(function)).collect();
        let changed = without_missing_controllers(&code).unwrap();
        assert!(changed.starts_with(
            "\tif _, isHere := m.controllers[\"pids\"]; !isHere {\n\t} else if err := setPids(m.dirPath, \
             container.Cgroups); err != nil {\n\t\treturn err\n\t}\n"
        ));
        assert_eq!(changed.matches("isHere :=").count(), LIMITS.len());
        let error = without_missing_controllers(&call("setPids")).unwrap_err();
        assert!(error.to_string().contains("setMemory"), "{error}");
    }
}
