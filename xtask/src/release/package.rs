//! The Debian package, by cargo-deb. What is in it and where is in `enforcer/Cargo.toml`; here is what has to be made first.
//!
//! ```text
//! binary (this machine's) -> completions, manual pages ──┐
//! deploy/systemd, deploy/examples -> with other paths ───┴> a folder laid out as cargo's target folder -> cargo-deb
//! ```

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, ensure};

use super::{copy, gzip};
use crate::{
    arch::Arch,
    image::NAME,
    out::say,
    process::{line, run},
    setup,
    tree::Tree,
};

/// Where an owner puts the program by hand, and where a package has to.
const LOCAL: &str = "/usr/local/sbin/";
const PACKAGED: &str = "/usr/sbin/";

/// The units of a machine without Kubernetes.
const UNITS: [&str; 2] = ["enforcer.service", "enforcer-in-force.service"];

/// Shells for which packages have a place, and what a file is called there.
const SHELLS: [(&str, &str); 3] = [
    ("bash", "enforcer"),
    ("zsh", "_enforcer"),
    ("fish", "enforcer.fish"),
];

/// What a package is made of.
pub(crate) struct Sources<'a> {
    pub(crate) tree: &'a Tree,
    /// The binary that runs here, and tells what its command line is.
    pub(crate) own: &'a Path,
    /// The binary that is packaged.
    pub(crate) binary: &'a Path,
}

/// Writes `enforcer_VERSION-1_ARCH.deb`, and returns where it is.
pub(crate) fn write(sources: &Sources<'_>, arch: Arch, out: &Path) -> Result<PathBuf> {
    let tree = sources.tree;
    let target = tempfile::tempdir().context("making a folder")?;
    let built = target.path().join(arch.target()).join("release");
    copy(sources.binary, &built.join(NAME))?;
    stage(sources, &built.join("package"))?;
    let program =
        setup::packager().context("cargo-deb is not installed: run `cargo xtask setup --release`")?;
    let file = out.join(format!(
        "{NAME}_{}-1_{}.deb",
        env!("CARGO_PKG_VERSION"),
        arch.name()
    ));
    let mut package = tree.command(&program);
    package
        .args(["deb", "--quiet", "--package", NAME, "--target", arch.target()])
        // The binary is built, and without symbols.
        .args(["--no-build", "--no-strip", "--locked", "--output"])
        .arg(&file)
        .env("CARGO_TARGET_DIR", target.path());
    run(&mut package)?;
    say!("release: {}", file.display());
    Ok(file)
}

/// Makes what is in no checkout.
fn stage(sources: &Sources<'_>, folder: &Path) -> Result<()> {
    let deploy = sources.tree.join("deploy");
    for unit in UNITS {
        let text = read(&deploy.join("systemd").join(unit))?;
        ensure!(text.contains(LOCAL), "{unit} does not name {LOCAL}");
        save(folder, unit, &text.replace(LOCAL, PACKAGED))?;
    }
    let example = read(&deploy.join("examples/enforcer.yaml"))?;
    save(folder, "enforcer.yaml", &inert(&example)?)?;
    // A machine whose daemon is damaged does not open: the generator is a file of its own.
    copy(sources.binary, &folder.join("enforcer-generator"))?;
    for (shell, name) in SHELLS {
        let said = say_of(Command::new(sources.own).args(["completions", shell]))?;
        save(folder, &format!("{shell}/{name}"), &said)?;
    }
    say_of(
        Command::new(sources.own)
            .args(["man", "--out"])
            .arg(folder.join("man")),
    )?;
    for page in fs::read_dir(folder.join("man")).context("listing the manual pages")? {
        compressed(&page?.path(), &folder.join("man"))?;
    }
    compressed(&sources.tree.join("CHANGELOG.md"), folder)?;
    fs::rename(folder.join("CHANGELOG.md.gz"), folder.join("changelog.gz")).context("naming the changelog")
}

/// Compresses a file into a folder, as Debian's policy wants it.
fn compressed(file: &Path, folder: &Path) -> Result<()> {
    let name = file.file_name().context("a file has a name")?;
    let bytes = fs::read(file).with_context(|| format!("reading {}", file.display()))?;
    let to = folder.join(name).with_added_extension("gz");
    fs::write(&to, gzip::compress(&bytes)?).with_context(|| format!("writing {}", to.display()))
}

/// The example as a package may install it: with what is there to be filled in, and nothing that takes effect on a
/// machine whose owner has written nothing.
fn inert(example: &str) -> Result<String> {
    let schema = replace_once(
        example,
        "$schema=../config.schema.json",
        "$schema=/usr/share/enforcer/config.schema.json",
    )?;
    let text = replace_once(&schema, "\n#mode: enforce\n", "\nmode: audit\n")?;
    let mut inert = String::new();
    let mut is_workload = false;
    for line in text.lines() {
        if line == "workloads:" {
            is_workload = true;
            inert.push_str("workloads: []\n");
        } else if line.is_empty() {
            is_workload = false;
        }
        if is_workload {
            inert.push('#');
        }
        inert.push_str(line);
        inert.push('\n');
    }
    ensure!(
        inert.contains("\nworkloads: []\n#workloads:\n#  - "),
        "the example has no workloads"
    );
    Ok(inert)
}

/// # Errors
/// If the text is not there exactly once: it has been changed, and what is made of it is not what is meant.
fn replace_once(text: &str, from: &str, to: &str) -> Result<String> {
    let found = text.matches(from).count();
    ensure!(
        found == 1,
        "the example has {:?} {found} times and not once",
        from.trim()
    );
    Ok(text.replace(from, to))
}

fn read(file: &Path) -> Result<String> {
    fs::read_to_string(file).with_context(|| format!("reading {}", file.display()))
}

fn save(folder: &Path, name: &str, text: &str) -> Result<()> {
    let file = folder.join(name);
    let parent = file.parent().expect("it is in the folder");
    fs::create_dir_all(parent).with_context(|| format!("making {}", parent.display()))?;
    fs::write(&file, text).with_context(|| format!("writing {}", file.display()))
}

fn say_of(command: &mut Command) -> Result<String> {
    let output = command
        .output()
        .with_context(|| format!("starting {}", command.get_program().display()))?;
    ensure!(
        output.status.success(),
        "`{}` failed: {}",
        line(command),
        String::from_utf8_lossy(&output.stderr).trim()
    );
    String::from_utf8(output.stdout).context("the program writes no text")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::workspace;

    #[test]
    fn packaged_example_enforces_nothing_and_names_the_packaged_schema() {
        let example = read(&workspace().join("deploy/examples/enforcer.yaml")).unwrap();
        let inert = inert(&example).unwrap();
        let in_force: Vec<_> = inert
            .lines()
            .filter(|line| !line.is_empty() && !line.trim_start().starts_with('#'))
            .collect();
        assert!(in_force.contains(&"mode: audit"), "{in_force:?}");
        assert!(in_force.contains(&"workloads: []"), "{in_force:?}");
        for key in ["unit:", "slice:", "user:", "cgroup:", "roots:", "pods:"] {
            let is_set = in_force.iter().any(|line| line.trim_start().starts_with(key));
            assert!(!is_set, "{key} is set: {in_force:?}");
        }
        assert!(inert.contains("$schema=/usr/share/enforcer/config.schema.json"));
        assert_eq!(inert.lines().count(), example.lines().count() + 1);
    }

    #[test]
    fn example_that_has_changed_is_not_packaged_half() {
        assert!(super::inert("mode: enforce\nworkloads:\n").is_err());
    }
}
