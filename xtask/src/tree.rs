//! A checkout, and where cargo puts what it builds of it: this one, or one that is made to build a commit once more.
//!
//! What is built must not tell one from the other: folders' names are replaced in it, and what has a date has the
//! commit's.

use std::{
    env,
    ffi::OsString,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, ensure};

use crate::process::{answer, cargo, run, target_folder, workspace};

/// The variable by which tools are told what to take for now, in seconds since 1970.
const EPOCH: &str = "SOURCE_DATE_EPOCH";

/// The variable by which the enforcer is told which commit it is of, for its metrics.
const COMMIT: &str = "ENFORCER_COMMIT";

/// Sources, and the folder of what is built of them.
pub(crate) struct Tree {
    source: PathBuf,
    target: PathBuf,
}

impl Tree {
    /// The one that this program is built of.
    pub(crate) fn own() -> Self {
        Self {
            source: workspace().to_owned(),
            target: target_folder(),
        }
    }

    /// The last commit of this one in a folder that is not there yet.
    pub(crate) fn clone_to(folder: &Path) -> Result<Self> {
        let mut clone = Command::new("git");
        // No alternates and no links: as somebody else would have it.
        clone.args(["clone", "--quiet", "--no-local"]);
        run(clone.arg(workspace()).arg(folder))?;
        Ok(Self {
            source: folder.to_owned(),
            target: folder.join("target"),
        })
    }

    /// A file or folder of it.
    pub(crate) fn join(&self, path: &str) -> PathBuf {
        self.source.join(path)
    }

    /// Where cargo puts what it builds.
    pub(crate) fn target(&self) -> &Path {
        &self.target
    }

    /// A cargo that builds here.
    pub(crate) fn cargo(&self) -> Command {
        self.equip(cargo())
    }

    /// A program that cargo brings or that looks at what cargo has built here.
    pub(crate) fn command(&self, program: &Path) -> Command {
        self.equip(Command::new(program))
    }

    fn equip(&self, mut command: Command) -> Command {
        command
            .current_dir(&self.source)
            .env("CARGO_TARGET_DIR", &self.target);
        if let Some(epoch) = self.epoch() {
            command.env(EPOCH, epoch);
        }
        // With changes, it is of none.
        if let (Ok(()), Some(commit)) = (self.is_committed(), self.commit()) {
            command.env(COMMIT, commit);
        }
        command
    }

    /// When its commit was made, unless the environment names another time; neither is known of sources without git.
    pub(crate) fn epoch(&self) -> Option<String> {
        env::var(EPOCH)
            .ok()
            .or_else(|| self.git(&["log", "-1", "--format=%ct"]))
    }

    /// The commit.
    pub(crate) fn commit(&self) -> Option<String> {
        self.git(&["rev-parse", "HEAD"])
    }

    /// # Errors
    /// If files differ from the commit, or are not in it: what is built could not be built again.
    pub(crate) fn is_committed(&self) -> Result<()> {
        let changes = self
            .git(&["status", "--porcelain"])
            .context("git does not know this folder")?;
        ensure!(
            changes.is_empty(),
            "there are changes that are not committed, so that nobody could make the same (--allow-dirty makes it \
             all the same):\n{changes}"
        );
        Ok(())
    }

    fn git(&self, words: &[&str]) -> Option<String> {
        let said = answer(Command::new("git").args(words).current_dir(&self.source))?;
        Some(said.trim_end().to_owned())
    }

    /// Flags of the compiler, in cargo's encoding, by which folders have the same names wherever they are.
    pub(crate) fn flags(&self, others: &[&str]) -> OsString {
        let given = env::var("RUSTFLAGS").unwrap_or_default();
        let mut flags: Vec<OsString> = given.split_whitespace().map(OsString::from).collect();
        flags.extend(others.iter().map(OsString::from));
        // Of several that match, the compiler takes the last.
        let homes = [
            ("CARGO_HOME", ".cargo", "/cargo"),
            ("RUSTUP_HOME", ".rustup", "/rustup"),
        ];
        let homes = homes.map(|(variable, folder, name)| (home(variable, folder), name));
        let own = [(Some(self.source.clone()), "/enforcer")];
        let target = [(Some(self.target.clone()), "/enforcer/target")];
        for (folder, name) in homes.into_iter().chain(own).chain(target) {
            let Some(folder) = folder else { continue };
            let mut flag = OsString::from("--remap-path-prefix=");
            flag.push(folder);
            flag.push("=");
            flag.push(name);
            flags.push(flag);
        }
        flags.join("\u{1f}".as_ref())
    }
}

fn home(variable: &str, folder: &str) -> Option<PathBuf> {
    let own = env::var_os("HOME").map(|home| Path::new(&home).join(folder));
    env::var_os(variable).map(PathBuf::from).or(own)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folder_with_a_space_stays_one_flag_and_the_target_folder_is_looked_for_last() {
        let tree = Tree {
            source: "/home/a b/enforcer".into(),
            target: "/var/target".into(),
        };
        let flags = tree.flags(&["-Cstrip=symbols"]).into_string().unwrap();
        let flags: Vec<_> = flags.split('\u{1f}').collect();
        assert!(flags.contains(&"-Cstrip=symbols"), "{flags:?}");
        let last = &flags[flags.len() - 2..];
        assert_eq!(
            last,
            [
                "--remap-path-prefix=/home/a b/enforcer=/enforcer",
                "--remap-path-prefix=/var/target=/enforcer/target"
            ]
        );
    }
}
