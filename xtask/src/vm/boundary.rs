//! `docs/BOUNDARY.md` against what the machines show: its table says how many escapes each kernel closes.

use std::{fs, path::Path};

use anyhow::{Context, Result};

use super::{
    report::{Check, Report, Verdict},
    suite::Suite,
};

/// Columns of the page's table, behind the kernel's.
const COLUMNS: [&str; 3] = ["ways-closed", "ways-open", "ways-not-to-be-had"];

/// Adds the check to a kernel's report. A kernel that was not asked for escapes has none to compare.
///
/// # Errors
/// If the page cannot be read.
pub(crate) fn check(suite: &Suite, report: &mut Report) -> Result<()> {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/BOUNDARY.md");
    let text = fs::read_to_string(&page).with_context(|| format!("reading {}", page.display()))?;
    report.checks.extend(compare(&text, suite, report));
    Ok(())
}

fn compare(page: &str, suite: &Suite, report: &Report) -> Option<Check> {
    let seen = COLUMNS
        .iter()
        .map(|name| report.figures.iter().find(|(figure, _)| figure == name))
        .map(|figure| figure.map(|(_, value)| *value))
        .collect::<Option<Vec<_>>>()?;
    let mut numbers = report.release.splitn(3, '.');
    let kernel = format!("{}.{}", numbers.next()?, numbers.next()?);
    let written = row(page, &kernel);
    if suite.series.is_none() && written.is_none() {
        // Newer than the page.
        return None;
    }
    let (verdict, text) = if written.as_ref() == Some(&seen) {
        (Verdict::Pass, String::new())
    } else {
        let text =
            format!("docs/BOUNDARY.md has {written:?} for {kernel} where {seen:?} were seen ({COLUMNS:?})");
        (Verdict::Fail, text)
    };
    Some(Check {
        name: "page".to_owned(),
        verdict,
        text,
    })
}

/// The numbers of the row `| kernel | 1 | 2 | 3 | ... |`.
fn row(page: &str, kernel: &str) -> Option<Vec<u64>> {
    page.lines().find_map(|line| {
        let mut cells = line.split('|').map(str::trim).skip(1);
        if cells.next()? != kernel {
            return None;
        }
        cells.take(COLUMNS.len()).map(|cell| cell.parse().ok()).collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vm::suite::SUITES;

    const PAGE: &str =
        "| kernel | closed | open | none | what |\n|---|---|---|---|---|\n| 5.10 | 70 | 20 | 6 | x |\n";

    fn verdict(figures: &[(&str, u64)]) -> Option<Verdict> {
        let mut report = Report::default();
        report.read("kernel 5.10.0-46-cloud-amd64");
        for (name, value) in figures {
            report.read(&format!("figure {name} {value}"));
        }
        compare(PAGE, &SUITES[0], &report).map(|check| check.verdict)
    }

    #[test]
    fn page_has_to_say_what_was_seen() {
        let seen = |open| {
            verdict(&[
                ("ways-closed", 70),
                ("ways-open", open),
                ("ways-not-to-be-had", 6),
            ])
        };
        assert_eq!(seen(20), Some(Verdict::Pass));
        assert_eq!(seen(21), Some(Verdict::Fail));
        assert_eq!(verdict(&[("connect4", 9)]), None);
    }

    #[test]
    fn kernel_without_a_row_is_none_that_agrees() {
        assert_eq!(row(PAGE, "6.1"), None);
    }
}
