//! The one generated file that Debian's source lacks: the definitions that the API server serves about its types.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};

use super::{
    go::{Go, MODULE, succeed, tied},
    source::Tree,
};

/// The package that it belongs to, and its name without the ending.
const PACKAGE: &str = "pkg/generated/openapi";
const NAME: &str = "zz_generated.openapi";

/// The generator, which is part of the source.
const GENERATOR: &str = "vendor/k8s.io/kube-openapi/cmd/openapi-gen";

/// The first lines of what is generated.
const HEADER: &str = "vendor/k8s.io/code-generator/hack/boilerplate.go.txt";

/// How a package asks to be in it.
const MARK: &str = "+k8s:openapi-gen=";

/// Parts of the source with packages that may ask, and libraries of Kubernetes' own.
const PARTS: [&str; 3] = ["cmd", "pkg", "plugin"];
const LIBRARIES: &str = "vendor/k8s.io";

/// Libraries that only have examples.
const EXAMPLES: [&str; 4] = ["code-generator", "gengo", "kube-openapi", "sample-apiserver"];

/// Writes the file, unless it is there.
pub(super) fn generate(tree: &Tree, go: &Go, work: &Path) -> Result<()> {
    let target = tree.root.join(PACKAGE).join(format!("{NAME}.go"));
    if target.is_file() {
        return Ok(());
    }
    let generator = work.join("openapi-gen");
    go.build(&format!("{MODULE}/{GENERATOR}"), &generator, &[])?;
    let packages: Vec<_> = packages(&tree.root)?
        .into_iter()
        .map(|package| format!("{MODULE}/{package}"))
        .collect();
    let output = work.join("openapi");
    let mut generate = tied(&generator);
    generate
        .arg("--logtostderr")
        .args(["--input-dirs", &packages.join(",")])
        .args(["--output-package", &format!("{MODULE}/{PACKAGE}")])
        .args([
            "--output-file-base",
            NAME,
            "--go-header-file",
            HEADER,
            "--output-base",
        ])
        .arg(&output)
        .arg("--report-filename")
        .arg(work.join("openapi.report"))
        .current_dir(&tree.root);
    go.apply(&mut generate);
    succeed(&mut generate).context("generating the API's definitions")?;
    let generated = output.join(MODULE).join(PACKAGE).join(format!("{NAME}.go"));
    fs::rename(&generated, &target).with_context(|| format!("{} was not written", generated.display()))
}

/// The packages that ask, by their folders.
fn packages(root: &Path) -> Result<BTreeSet<String>> {
    let mut parts: Vec<PathBuf> = PARTS.iter().map(|part| root.join(part)).collect();
    for library in fs::read_dir(root.join(LIBRARIES)).context("reading the source's libraries")? {
        let library = library?;
        // These are links, which lead to other parts of the source.
        if !EXAMPLES.contains(&library.file_name().to_string_lossy().as_ref()) && library.path().is_dir() {
            parts.push(library.path());
        }
    }
    let mut found = BTreeSet::new();
    for part in parts {
        collect(&part, &mut found).with_context(|| format!("searching {}", part.display()))?;
    }
    let relative = found.iter().filter_map(|folder| folder.strip_prefix(root).ok());
    Ok(relative.map(|folder| folder.display().to_string()).collect())
}

/// Adds the folders of a part, its own links not followed, that have a file which asks.
fn collect(folder: &Path, found: &mut BTreeSet<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let (path, name) = (entry.path(), entry.file_name());
        let name = name.to_string_lossy();
        if entry.file_type()?.is_dir() {
            if name != "testdata" && !name.ends_with("_examples") {
                collect(&path, found)?;
            }
        } else if name.ends_with(".go") && !name.ends_with("_test.go") && !found.contains(folder) {
            let code = fs::read(&path)?;
            if code.windows(MARK.len()).any(|window| window == MARK.as_bytes()) {
                found.insert(folder.to_owned());
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn package_is_found_by_its_mark_also_behind_a_link() {
        let temporary = tempfile::tempdir().unwrap();
        let root = temporary.path();
        for (file, code) in [
            ("cmd/a/doc.go", "// +k8s:openapi-gen=true\npackage a"),
            ("cmd/a/testdata/doc.go", "// +k8s:openapi-gen=true\npackage a"),
            ("pkg/b/b_test.go", "// +k8s:openapi-gen=true\npackage b"),
            ("pkg/b/b.go", "package b"),
            (
                "staging/api/core/v1/types.go",
                "// +k8s:openapi-gen=true\npackage v1",
            ),
            (
                "vendor/k8s.io/gengo/doc.go",
                "// +k8s:openapi-gen=true\npackage gengo",
            ),
        ] {
            let path = root.join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, code).unwrap();
        }
        fs::create_dir(root.join("plugin")).unwrap();
        std::os::unix::fs::symlink("../../staging/api", root.join("vendor/k8s.io/api")).unwrap();
        let found = packages(root).unwrap();
        assert_eq!(Vec::from_iter(found), ["cmd/a", "vendor/k8s.io/api/core/v1"]);
    }
}
