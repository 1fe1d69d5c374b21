//! The matrix as it is printed: a row for each check, a column for each kernel.

use std::fmt::{self, Write as _};

use anyhow::Error;

use super::{
    report::{Report, Verdict},
    suite::Suite,
};

/// What each suite came to.
pub(crate) struct Table(pub(crate) Vec<Column>);

/// One suite's kernel.
pub(crate) struct Column {
    /// The suite.
    pub(crate) suite: Suite,
    /// Its report; the error says why there is no kernel.
    pub(crate) outcome: Result<Report, Error>,
}

impl Table {
    /// Whether any kernel failed. A kernel that could not be had has not failed.
    pub(crate) fn has_failed(&self) -> bool {
        let mut reports = self.0.iter().filter_map(|column| column.outcome.as_ref().ok());
        reports.any(Report::has_failed)
    }

    fn reports(&self) -> Vec<(&Suite, &Report)> {
        let outcomes = self.0.iter();
        outcomes
            .filter_map(|column| Some((&column.suite, column.outcome.as_ref().ok()?)))
            .collect()
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let reports = self.reports();
        let mut rows = vec![
            row("", &reports, |_, report| Some(report.release.clone())),
            row("from", &reports, |suite, _| Some(suite.name.to_owned())),
        ];
        for name in names(&reports, |report| report.checks.iter().map(|check| &check.name)) {
            rows.push(row(&name, &reports, |_, report| {
                let check = report.checks.iter().find(|check| check.name == name)?;
                Some(check.verdict.word().to_owned())
            }));
        }
        for name in names(&reports, |report| report.figures.iter().map(|(name, _)| name)) {
            let label = format!("  {name}");
            rows.push(row(&label, &reports, |_, report| {
                let figure = report.figures.iter().find(|(figure, _)| *figure == name)?;
                Some(figure.1.to_string())
            }));
        }
        rows.push(row("seconds", &reports, |_, report| {
            Some(format!("{:.1}", report.took.as_secs_f32()))
        }));
        if !reports.is_empty() {
            f.write_str(&aligned(&rows))?;
        }
        self.0.iter().try_for_each(|column| column.remarks(f))
    }
}

impl Column {
    /// What does not fit a cell.
    fn remarks(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let title = self.suite.title();
        let report = match &self.outcome {
            Err(why) => return writeln!(f, "SKIPPED: kernel {title}: {why:#}"),
            Ok(report) => report,
        };
        for check in &report.checks {
            let text = check.text.replace('\n', "\n    ");
            match check.verdict {
                Verdict::Pass => {}
                Verdict::Skipped => writeln!(f, "SKIPPED: kernel {title}: {}: {text}", check.name)?,
                Verdict::Fail => writeln!(f, "FAIL: kernel {title}: {}: {text}", check.name)?,
            }
        }
        for remark in &report.remarks {
            writeln!(f, "kernel {title}: {remark}")?;
        }
        if let Some(why) = &report.cut {
            writeln!(f, "FAIL: kernel {title}: {why}")?;
        }
        if !report.console.is_empty() {
            writeln!(f, "  the console's last lines:")?;
        }
        report
            .console
            .iter()
            .try_for_each(|line| writeln!(f, "    {line}"))
    }
}

/// The names that any report has, in their order.
fn names<'a, I: Iterator<Item = &'a String>>(
    reports: &[(&'a Suite, &'a Report)],
    of: impl Fn(&'a Report) -> I,
) -> Vec<String> {
    let mut names = Vec::new();
    for name in reports.iter().flat_map(|(_, report)| of(report)) {
        if !names.contains(name) {
            names.push(name.clone());
        }
    }
    names
}

fn row(
    label: &str,
    reports: &[(&Suite, &Report)],
    cell: impl Fn(&Suite, &Report) -> Option<String>,
) -> Vec<String> {
    let cells = reports
        .iter()
        .map(|(suite, report)| cell(suite, report).unwrap_or_else(|| "-".to_owned()));
    std::iter::once(label.to_owned()).chain(cells).collect()
}

fn aligned(rows: &[Vec<String>]) -> String {
    let columns = rows.first().map_or(0, Vec::len);
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max();
    let widths: Vec<_> = (0..columns).map(|column| width(column).unwrap_or(0)).collect();
    let mut text = String::new();
    for row in rows {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            write!(line, "{cell:width$}  ").expect("a string takes all that is written");
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use anyhow::anyhow;

    use super::*;
    use crate::vm::suite::SUITES;

    fn column(suite: Suite, lines: &str) -> Column {
        let mut report = Report::default();
        lines.lines().for_each(|line| report.read(line));
        report.finish("ended early");
        Column {
            suite,
            outcome: Ok(report),
        }
    }

    #[test]
    fn table_has_a_row_for_each_check_and_says_why() {
        let table = Table(vec![
            column(
                SUITES[0],
                "kernel 5.10.0\ncheck load PASS fine\ncheck rows FAIL bad\nmore worse\nend",
            ),
            column(
                SUITES[1],
                "kernel 6.1.0\ncheck load PASS fine\ncheck cost SKIPPED old\nfigure a 12\nremark OPEN: b\nend",
            ),
            Column {
                suite: SUITES[2],
                outcome: Err(anyhow!("gone")),
            },
        ]);
        assert_eq!(
            table.to_string(),
            "         5.10.0             6.1.0
from     bullseye-security  bookworm-security
load     PASS               PASS
rows     FAIL               -
cost     -                  SKIPPED
  a      -                  12
seconds  0.0                0.0
FAIL: kernel 5.10 (bullseye-security): rows: bad
    worse
SKIPPED: kernel 6.1 (bookworm-security): cost: old
kernel 6.1 (bookworm-security): OPEN: b
SKIPPED: kernel 6.12 (trixie-security): gone
"
        );
        assert!(table.has_failed());
    }

    #[test]
    fn kernels_that_cannot_be_had_are_no_failure_and_are_seen() {
        let table = Table(vec![Column {
            suite: SUITES[1],
            outcome: Err(anyhow!("the archive is away")),
        }]);
        assert!(!table.has_failed());
        assert_eq!(
            table.to_string(),
            "SKIPPED: kernel 6.1 (bookworm-security): the archive is away\n"
        );
    }
}
