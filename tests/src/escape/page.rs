//! The table of every escape in `docs/BOUNDARY.md`, as the suite's runs show it.
//!
//! What leads nowhere on this machine even without enforcement keeps the line that another machine has written.

use std::{collections::BTreeMap, fmt::Write as _};

use super::{Privileges, Report, Row};

const BEGIN: &str = "<!-- Written by the suite: BLESS=1 cargo test -p tests --test bypass -->\n";
const END: &str = "<!-- The end of what is written by the suite -->\n";
const HEAD: &str = "| escape | closed by | unprivileged | containerd | root |\n|---|---|---|---|---|\n";
/// With these privileges it leads out without enforcement.
const YES: &str = "yes";
const NO: &str = "no";
/// Nobody could show it so far.
const UNKNOWN: &str = "not to be had";

/// The page with its table written anew; `reports` are in the order of [`Privileges::ALL`]. None if the page has no
/// place for it.
pub fn page(old: &str, reports: [&Report; 3]) -> Option<String> {
    let (before, rest) = old.split_once(BEGIN)?;
    let (table, after) = rest.split_once(END)?;
    let known = known(table);
    let mut page = format!("{before}{BEGIN}{HEAD}");
    let [nobody, containerd, root] = reports.map(|report| &report.rows);
    for ((nobody, containerd), root) in nobody.iter().zip(containerd).zip(root) {
        let cells = cells([nobody, containerd, root], known.get(root.escape).copied());
        writeln!(page, "| {} | {} | {cells} |", root.escape, root.closer).ok()?;
    }
    Some(format!("{page}{END}{after}"))
}

fn cells(rows: [&Row; 3], known: Option<&str>) -> String {
    if rows.iter().any(|row| row.is_possible) {
        return rows.map(|row| if row.is_possible { YES } else { NO }).join(" | ");
    }
    let unknown = Privileges::ALL.map(|_| UNKNOWN).join(" | ");
    known.map_or(unknown, str::to_owned)
}

/// Each escape's last cells, by its name.
fn known(table: &str) -> BTreeMap<&str, &str> {
    let lines = table.lines().filter_map(|line| {
        let line = line.strip_prefix("| ")?.strip_suffix(" |")?;
        let (escape, rest) = line.split_once(" | ")?;
        let (_, cells) = rest.split_once(" | ")?;
        Some((escape, cells))
    });
    lines.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::escape::Outcome;

    fn report(escapes: &[(&'static str, bool)]) -> Report {
        let rows = escapes.iter().map(|(escape, is_possible)| Row {
            escape,
            closer: "rules".into(),
            closed_by: None,
            is_left_open: false,
            is_possible: *is_possible,
            leads_out: false,
            outcome: Outcome::Dropped,
        });
        Report {
            rows: rows.collect(),
            closures: Vec::new(),
        }
    }

    #[test]
    fn what_this_machine_cannot_show_is_kept() {
        let old = format!(
            "text\n{BEGIN}{HEAD}| rds | rules | no | yes | yes |\n| gone | x | no | no | no |\n{END}more\n"
        );
        let none = report(&[("raw", false), ("rds", false), ("new", false)]);
        let root = report(&[("raw", true), ("rds", false), ("new", false)]);
        let lines = "| raw | rules | no | no | yes |\n| rds | rules | no | yes | yes |\n\
                     | new | rules | not to be had | not to be had | not to be had |\n";
        let new = format!("text\n{BEGIN}{HEAD}{lines}{END}more\n");
        assert_eq!(page(&old, [&none, &none, &root]), Some(new));
        assert_eq!(page("no place", [&none, &none, &root]), None);
    }
}
