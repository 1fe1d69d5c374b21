//! The kernels of the matrix, and where Debian has them.

use anyhow::{Result, bail};

use crate::apt::Archive;

/// A suite of Debian with a kernel of the matrix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Suite {
    /// Debian's name for it.
    pub(crate) name: &'static str,
    /// Which archive has it.
    pub(crate) archive: Archive,
    /// The series of kernels that is taken from it; None takes the newest.
    pub(crate) series: Option<&'static str>,
}

/// Oldest kernel first: the floor, what Debian's stable releases run, and what comes.
pub(crate) const SUITES: [Suite; 5] = [
    Suite::new("bullseye-security", Archive::Security, Some("5.10")),
    Suite::new("bookworm-security", Archive::Security, Some("6.1")),
    Suite::new("trixie-security", Archive::Security, Some("6.12")),
    Suite::new("trixie-backports", Archive::Main, Some("6.18")),
    Suite::new("forky", Archive::Main, None),
];

impl Suite {
    const fn new(name: &'static str, archive: Archive, series: Option<&'static str>) -> Self {
        Self {
            name,
            archive,
            series,
        }
    }

    /// How the table names it.
    pub(crate) fn title(&self) -> String {
        format!("{} ({})", self.series.unwrap_or("newest"), self.name)
    }

    /// The newest kernel of the series among packages' names.
    pub(crate) fn newest<'a>(&self, packages: impl Iterator<Item = &'a str>) -> Option<&'a str> {
        packages
            .filter_map(|package| {
                let release = package.strip_prefix("linux-image-")?;
                let version = release.strip_suffix("-cloud-amd64")?;
                let numbers = numbers(version);
                let wanted = self.series.map(self::numbers).unwrap_or_default();
                // A name without a patch level is a package that only depends on others.
                (numbers.len() > 2 && numbers.starts_with(&wanted)).then_some((numbers, package))
            })
            .max()
            .map(|(_, package)| package)
    }
}

/// The suites that are asked for: by series, by name, or `newest`. None asked for is all.
///
/// # Errors
/// If the matrix has no such suite.
pub(crate) fn choose(asked: &[String]) -> Result<Vec<Suite>> {
    if asked.is_empty() {
        return Ok(SUITES.to_vec());
    }
    let is_asked = |suite: &Suite, word: &str| word == suite.name || word == suite.series.unwrap_or("newest");
    if let Some(unknown) = asked
        .iter()
        .find(|word| !SUITES.iter().any(|suite| is_asked(suite, word)))
    {
        let known = SUITES.map(|suite| suite.title()).join(", ");
        bail!("there is no kernel {unknown} in the matrix: {known}");
    }
    let mut suites = SUITES.to_vec();
    suites.retain(|suite| asked.iter().any(|word| is_asked(suite, word)));
    Ok(suites)
}

/// The numbers in a version: `6.12.117+deb13` is 6, 12, 117, 13.
fn numbers(version: &str) -> Vec<u32> {
    version
        .split(|c: char| !c.is_ascii_digit())
        .filter_map(|number| number.parse().ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(series: Option<&'static str>, packages: &[&str], expected: Option<&str>) {
        let suite = Suite::new("suite", Archive::Main, series);
        assert_eq!(suite.newest(packages.iter().copied()), expected, "{series:?}");
    }

    #[test]
    fn newest_of_a_series_is_found_by_number() {
        let packages = [
            "linux-image-6.1.0-9-cloud-amd64",
            "linux-image-6.1.0-56-cloud-amd64",
            "linux-image-6.12.100+deb12-cloud-amd64",
            "linux-image-6.12.96+deb12-cloud-amd64",
            "linux-image-6.12-cloud-amd64",
            "linux-image-6.12.117+deb12-amd64",
            "linux-image-cloud-amd64",
        ];
        check(Some("6.1"), &packages, Some("linux-image-6.1.0-56-cloud-amd64"));
        check(
            Some("6.12"),
            &packages,
            Some("linux-image-6.12.100+deb12-cloud-amd64"),
        );
        check(None, &packages, Some("linux-image-6.12.100+deb12-cloud-amd64"));
        check(Some("6.18"), &packages, None);
    }

    #[test]
    fn kernels_are_asked_for_by_series_and_by_suite() {
        let names = |asked: &[&str]| {
            let asked: Vec<_> = asked.iter().map(ToString::to_string).collect();
            choose(&asked).map(|suites| suites.iter().map(|suite| suite.name).collect::<Vec<_>>())
        };
        assert_eq!(names(&[]).expect("all").len(), SUITES.len());
        assert_eq!(
            names(&["6.12", "bullseye-security"]).expect("both are there"),
            ["bullseye-security", "trixie-security"]
        );
        assert_eq!(names(&["newest"]).expect("it is there"), ["forky"]);
        let error = names(&["6.2"]).expect_err("it is not there").to_string();
        assert!(error.contains("6.12 (trixie-security)"), "{error}");
    }
}
