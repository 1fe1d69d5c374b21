//! This machine's own archives of Debian: where they are, and by which keys they are believed.
//!
//! Read from apt, so that a mirror that this machine uses is used here too.

use std::{collections::BTreeSet, fs, path::Path, process::Command};

use anyhow::{Context, Result, bail};

use crate::{apt, process::answer};

/// Keys of Debian's archives, where sources name none of their own.
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// Which of Debian's archives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Archive {
    /// Releases and backports.
    Main,
    /// Security updates.
    Security,
}

/// An archive as this machine's sources name it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Source {
    uri: String,
    keyrings: BTreeSet<String>,
}

impl Archive {
    /// The label that the archive's index carries, whatever its address.
    fn label(self) -> &'static str {
        match self {
            Self::Main => "Debian",
            Self::Security => "Debian-Security",
        }
    }
}

impl Source {
    /// # Errors
    /// Says why this machine knows no such archive.
    pub(crate) fn find(archive: Archive) -> Result<Self> {
        if !apt::is_there() {
            bail!("it comes from Debian's archives by apt, which this system does not have");
        }
        let label = archive.label();
        let mut found = among(&targets()?, label);
        if found.is_none() {
            // Nothing is listed before the first update.
            apt::update()?;
            found = among(&targets()?, label);
        }
        let Some((uri, entry)) = found else {
            bail!("this machine's apt has no archive with the label {label}");
        };
        let file = entry.rsplit_once(':').map_or(entry.as_str(), |(file, _)| file);
        let text = fs::read_to_string(file).with_context(|| format!("reading {file}"))?;
        let mut keyrings = signed_by(&text);
        if keyrings.is_empty() && Path::new(KEYRING).is_file() {
            keyrings.insert(KEYRING.to_owned());
        }
        Ok(Self { uri, keyrings })
    }

    /// The line of a `sources.list` for one suite, of packages (`deb`) or of their sources (`deb-src`). Without keyrings
    /// apt believes those that it trusts anyway.
    pub(crate) fn line(&self, kind: &str, architecture: &str, suite: &str) -> String {
        let keyrings: Vec<_> = self.keyrings.iter().map(String::as_str).collect();
        let options = match keyrings.join(",") {
            none if none.is_empty() => String::new(),
            keyrings => format!(" signed-by={keyrings}"),
        };
        format!(
            "{kind} [arch={architecture}{options}] {} {suite} main\n",
            self.uri
        )
    }
}

/// `label|address|file:place` of every index that apt knows.
fn targets() -> Result<String> {
    answer(Command::new("apt-get").args([
        "indextargets",
        "--format",
        "$(LABEL)|$(REPO_URI)|$(SOURCESENTRY)",
        "Created-By: Packages",
    ]))
    .context("asking apt for its archives")
}

fn among(targets: &str, label: &str) -> Option<(String, String)> {
    targets.lines().find_map(|line| {
        let mut fields = line.splitn(3, '|');
        let is_it = fields.next()? == label;
        let (uri, entry) = (fields.next()?, fields.next()?);
        is_it.then(|| (uri.to_owned(), entry.to_owned()))
    })
}

/// The files of keys that a file of sources names, in either of its two formats.
fn signed_by(sources: &str) -> BTreeSet<String> {
    let lines = sources.lines().filter(|line| !line.trim_start().starts_with('#'));
    let values = lines.filter_map(|line| {
        if let Some((_, value)) = line.split_once("signed-by=") {
            return value.split([' ', ']']).next();
        }
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("signed-by").then_some(value)
    });
    let files = values.flat_map(|value| value.split([',', ' ']));
    files
        .filter(|file| file.starts_with('/'))
        .map(str::to_owned)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn archive_is_found_by_its_label_and_not_by_its_address() {
        let targets = "Debian|http://mirror.test/debian/|/etc/apt/sources.list:1\n\
                       Debian-Security|http://mirror.test/updates/|/etc/apt/a.sources:2\n";
        let found = among(targets, "Debian-Security").expect("it is listed");
        assert_eq!(found.0, "http://mirror.test/updates/");
        assert_eq!(found.1, "/etc/apt/a.sources:2");
        assert_eq!(among(targets, "Ubuntu"), None);
    }

    #[test]
    fn keyrings_are_read_from_both_formats() {
        let both = "deb [arch=amd64 signed-by=/k/a.gpg,/k/b.gpg] http://mirror.test s main\n\
                    # deb [signed-by=/k/not.gpg] http://mirror.test s main\n\
                    Types: deb\nSigned-By: /k/c.gpg\n";
        assert_eq!(
            Vec::from_iter(signed_by(both)),
            ["/k/a.gpg", "/k/b.gpg", "/k/c.gpg"]
        );
        assert!(
            signed_by("Signed-By:\n -----BEGIN PGP PUBLIC KEY BLOCK-----\n").is_empty(),
            "a key in the file itself is no file"
        );
    }

    #[test]
    fn source_without_keyrings_leaves_the_keys_to_apt() {
        let mut source = Source {
            uri: "http://mirror.test/debian/".into(),
            keyrings: BTreeSet::new(),
        };
        assert_eq!(
            source.line("deb", "amd64", "forky"),
            "deb [arch=amd64] http://mirror.test/debian/ forky main\n"
        );
        source.keyrings.insert("/k/a.gpg".into());
        assert_eq!(
            source.line("deb", "amd64", "forky"),
            "deb [arch=amd64 signed-by=/k/a.gpg] http://mirror.test/debian/ forky main\n"
        );
    }
}
