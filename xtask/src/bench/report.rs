//! Figures as tables: for a terminal, and for the document.

use figure::{Axis, Figure, Goal, Sense, Series, Spread, growth, ratios};

/// A table: the first row names the columns.
type Rows = Vec<Vec<String>>;

/// All figures, for a terminal.
pub(super) fn text(figures: &[Figure]) -> String {
    let parts: Vec<_> = figures.iter().map(figure_text).collect();
    parts.join("\n")
}

fn figure_text(figure: &Figure) -> String {
    let mut text = format!("{}: {}\n", figure.name, figure.title);
    if !figure.series.is_empty() {
        text += &aligned(&samples(figure));
    }
    for line in growths(figure).iter().chain(&figure.notes) {
        text += &format!("  {line}\n");
    }
    for goal in &figure.goals {
        text += &format!(
            "  goal: {}: {}, {}: {}\n",
            goal.text,
            number(goal.measured),
            limit(goal),
            outcome(goal)
        );
    }
    for why in &figure.skipped {
        text += &format!("  SKIPPED: {why}\n");
    }
    text
}

/// One figure, for the document.
pub(super) fn markdown(figure: &Figure) -> String {
    let mut parts = Vec::new();
    if !figure.series.is_empty() {
        parts.push(piped(&samples(figure)));
    }
    let lines = growths(figure);
    let lines = lines
        .iter()
        .chain(&figure.notes)
        .map(|line| format!("- {line}\n"));
    parts.push(lines.collect());
    if !figure.goals.is_empty() {
        parts.push(piped(&goals(figure)));
    }
    parts.push(
        figure
            .skipped
            .iter()
            .map(|why| format!("SKIPPED: {why}\n\n"))
            .collect(),
    );
    parts.retain(|part: &String| !part.is_empty());
    parts.join("\n").trim_end().to_owned() + "\n"
}

fn samples(figure: &Figure) -> Rows {
    let mut head = vec![
        "case".to_owned(),
        "subject".to_owned(),
        format!("{}: median [10 %, 90 %]", figure.unit),
    ];
    let beside = figure.beside.as_ref();
    head.extend(beside.map(|beside| format!("times {beside} [10 %, 90 %]")));
    let row = |series: &Series| {
        let mut row = vec![series.case.clone(), subject(series), spread(series.spread())];
        if beside.is_some() {
            let ratio = figure
                .beside(series)
                .map(|other| ratios(&series.samples, &other.samples));
            row.push(spread(ratio.and_then(|ratios| Spread::of(&ratios))));
        }
        row
    };
    std::iter::once(head)
        .chain(figure.series.iter().map(row))
        .collect()
}

fn goals(figure: &Figure) -> Rows {
    let head = ["goal", "measured", "limit", "outcome"]
        .map(str::to_owned)
        .to_vec();
    let row = |goal: &Goal| {
        vec![
            goal.text.clone(),
            number(goal.measured),
            limit(goal),
            outcome(goal),
        ]
    };
    std::iter::once(head)
        .chain(figure.goals.iter().map(row))
        .collect()
}

/// How each line of the figure grows, if it has places enough to say.
fn growths(figure: &Figure) -> Vec<String> {
    let line = |line: &Line<'_>| {
        let growth = growth(&line.points())?;
        let Line {
            case, subject, axis, ..
        } = line;
        Some(format!(
            "{case}, {subject}: grows by {axis} to the power of {:.2}",
            growth.slope
        ))
    };
    lines(figure).iter().filter_map(line).collect()
}

/// The series of one subject in one case, which differ by their place on the axis.
pub(super) struct Line<'a> {
    pub(super) case: &'a str,
    pub(super) subject: &'a str,
    pub(super) axis: &'a str,
    pub(super) series: Vec<(f64, &'a Series)>,
}

impl Line<'_> {
    /// The medians.
    pub(super) fn points(&self) -> Vec<(f64, f64)> {
        let median = |&(x, series): &(f64, &Series)| Some((x, series.spread()?.median));
        self.series.iter().filter_map(median).collect()
    }
}

/// Those with three places and more: through two, every line fits.
pub(super) fn lines(figure: &Figure) -> Vec<Line<'_>> {
    let mut lines: Vec<Line<'_>> = Vec::new();
    for series in &figure.series {
        let Some(Axis { name, value }) = &series.axis else {
            continue;
        };
        let own = lines
            .iter_mut()
            .find(|line| line.case == series.case && line.subject == series.subject && line.axis == name);
        match own {
            Some(line) => line.series.push((*value, series)),
            None => lines.push(Line {
                case: &series.case,
                subject: &series.subject,
                axis: name,
                series: vec![(*value, series)],
            }),
        }
    }
    for line in &mut lines {
        line.series.sort_by(|(a, _), (b, _)| a.total_cmp(b));
    }
    lines.retain(|line| line.series.len() > 2);
    lines
}

/// The subject, with its place on the axis.
pub(super) fn subject(series: &Series) -> String {
    match &series.axis {
        Some(Axis { name, value }) => format!("{}, {} {name}", series.subject, number(*value)),
        None => series.subject.clone(),
    }
}

fn limit(goal: &Goal) -> String {
    let sense = match goal.sense {
        Sense::AtMost => "at most",
        Sense::AtLeast => "at least",
    };
    format!("{sense} {}", number(goal.limit))
}

fn outcome(goal: &Goal) -> String {
    match goal.missed_by() {
        None => "met".to_owned(),
        Some(over) => format!("missed by {}", number(over)),
    }
}

fn spread(spread: Option<Spread>) -> String {
    spread.map_or_else(String::new, |Spread { low, median, high }| {
        format!("{} [{}, {}]", number(median), number(low), number(high))
    })
}

/// With four digits that count, and separated thousands.
pub(super) fn number(value: f64) -> String {
    let size = value.abs();
    if !size.is_finite() {
        return value.to_string();
    }
    let digits = match size {
        size if size >= 1000.0 => 0,
        size if size >= 100.0 => 1,
        size if size >= 10.0 => 2,
        _ => 3,
    };
    let text = format!("{value:.digits$}");
    let (whole, part) = text.split_once('.').unwrap_or((&text, ""));
    let part = part.trim_end_matches('0');
    let mut whole = whole.to_owned();
    let first = usize::from(whole.starts_with('-'));
    let mut at = whole.len();
    while at > first + 3 {
        at -= 3;
        whole.insert(at, ',');
    }
    if part.is_empty() {
        whole
    } else {
        format!("{whole}.{part}")
    }
}

fn aligned(rows: &Rows) -> String {
    let widths: Vec<_> = (0..rows[0].len())
        .map(|column| {
            rows.iter()
                .map(|row| row[column].chars().count())
                .max()
                .unwrap_or(0)
        })
        .collect();
    let line = |row: &Vec<String>| {
        let cells = row.iter().zip(&widths);
        let cells: Vec<_> = cells.map(|(cell, &width)| format!("{cell:<width$}")).collect();
        format!("  {}\n", cells.join("  ").trim_end())
    };
    rows.iter().map(line).collect()
}

fn piped(rows: &Rows) -> String {
    let line = |row: &Vec<String>| format!("| {} |\n", row.join(" | "));
    let rule = format!("|{}\n", "---|".repeat(rows[0].len()));
    line(&rows[0]) + &rule + &rows[1..].iter().map(line).collect::<String>()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figure() -> Figure {
        let mut figure = Figure::new("connect", "A connect", "us");
        figure.beside = Some("none".to_owned());
        figure.series = vec![
            Series::new("tcp", "none", vec![10.0, 20.0, 30.0]),
            Series::new("tcp", "ours", vec![11.0, 22.0, 33.0]).at("rules", 100_000.0),
        ];
        figure.goals = vec![Goal::at_most("within 1 %", 1.1, 1.01)];
        figure.skipped = vec!["Envoy: it is not there".to_owned()];
        figure
    }

    #[test]
    fn table_has_medians_ratios_goals_and_what_was_skipped() {
        assert_eq!(
            text(&[figure()]),
            "connect: A connect\n\
             \x20 case  subject              us: median [10 %, 90 %]  times none [10 %, 90 %]\n\
             \x20 tcp   none                 20 [12, 28]\n\
             \x20 tcp   ours, 100,000 rules  22 [13.2, 30.8]          1.1 [1.1, 1.1]\n\
             \x20 goal: within 1 %: 1.1, at most 1.01: missed by 0.09\n\
             \x20 SKIPPED: Envoy: it is not there\n"
        );
    }

    #[test]
    fn document_has_the_same_as_tables() {
        assert_eq!(
            markdown(&figure()),
            "| case | subject | us: median [10 %, 90 %] | times none [10 %, 90 %] |\n|---|---|---|---|\n\
             | tcp | none | 20 [12, 28] |  |\n| tcp | ours, 100,000 rules | 22 [13.2, 30.8] | 1.1 [1.1, 1.1] |\n\n\
             | goal | measured | limit | outcome |\n|---|---|---|---|\n\
             | within 1 % | 1.1 | at most 1.01 | missed by 0.09 |\n\n\
             SKIPPED: Envoy: it is not there\n"
        );
    }

    #[test]
    fn growth_is_told_from_three_places_on() {
        let mut figure = Figure::new("hooks", "", "ns");
        for rules in [1.0, 1e3, 1e6] {
            figure
                .series
                .push(Series::new("connect4", "ours", vec![85.0]).at("rules", rules));
        }
        assert_eq!(
            growths(&figure),
            ["connect4, ours: grows by rules to the power of 0.00"]
        );
        figure.series.pop();
        assert_eq!(growths(&figure), [] as [&str; 0]);
    }

    #[test]
    fn numbers_have_the_digits_that_count() {
        let shown = [0.0, 0.1234, 1.5, 12.345, 123.45, 1234.5, 1_234_567.0, -1234.0].map(number);
        assert_eq!(
            shown,
            [
                "0",
                "0.123",
                "1.5",
                "12.35",
                "123.5",
                "1,234",
                "1,234,567",
                "-1,234"
            ]
        );
    }
}
