//! Plots of figures, a panel for each case: how something grows, or how subjects compare.

mod bars;
mod growth;

use std::{collections::BTreeSet, fmt::Display};

use anyhow::{Result, anyhow};
use figure::{Figure, Series, ratios};
use plotters::{coord::Shift, prelude::*};

use super::report::lines;

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

const WIDTH: u32 = 860;
/// Of the figure's title.
const HEAD: u32 = 36;
const FONT: &str = "sans-serif";

/// Told apart also by those who do not see all colours (Okabe and Ito).
const COLOURS: [RGBColor; 7] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(86, 180, 233),
    RGBColor(230, 159, 0),
    RGBColor(90, 90, 90),
];

/// With more cases, nobody compares panels.
const PANELS: usize = 12;

/// The figure's plot; none without samples.
pub(super) fn svg(figure: &Figure) -> Result<Option<String>> {
    let compared = compared(figure);
    let figure = compared.as_ref().unwrap_or(figure);
    let cases = cases(figure);
    if cases.is_empty() {
        return Ok(None);
    }
    let does_grow = !lines(figure).is_empty();
    let heights: Vec<u32> = cases
        .iter()
        .map(|case| {
            if does_grow {
                growth::HEIGHT
            } else {
                bars::height(&of_case(figure, case))
            }
        })
        .collect();
    let mut text = String::new();
    let size = (WIDTH, HEAD + heights.iter().sum::<u32>());
    draw(
        figure,
        &cases,
        (&heights, does_grow),
        SVGBackend::with_string(&mut text, size),
    )
    .map_err(|error| anyhow!("plotting {}: {error}", figure.name))?;
    Ok(Some(text))
}

fn draw<'a>(
    figure: &Figure,
    cases: &[&str],
    (heights, does_grow): (&[u32], bool),
    backend: SVGBackend<'a>,
) -> Result<(), String> {
    let area = backend.into_drawing_area();
    area.fill(&WHITE).map_err(text)?;
    let (head, mut rest) = area.split_vertically(HEAD);
    head.draw(&Text::new(figure.title.clone(), (12, 10), (FONT, 18)))
        .map_err(text)?;
    for (case, &height) in cases.iter().zip(heights) {
        let (panel, below) = rest.split_vertically(height);
        if does_grow {
            growth::draw(&panel, figure, case)?;
        } else {
            bars::draw(&panel, figure, case)?;
        }
        rest = below;
    }
    area.present().map_err(text)
}

/// What each case is in terms of what stands beside it, as one panel: for figures with many cases.
fn compared(figure: &Figure) -> Option<Figure> {
    let beside = figure.beside.as_ref()?;
    if cases(figure).len() <= PANELS || !lines(figure).is_empty() {
        return None;
    }
    let unit = format!("times {beside}");
    let mut compared = Figure::new(&figure.name, &figure.title, &unit);
    for series in figure.series.iter().filter(|series| series.subject != *beside) {
        if let Some(other) = figure.beside(series) {
            let ratios = ratios(&series.samples, &other.samples);
            compared.series.push(Series::new(&unit, &series.case, ratios));
        }
    }
    Some(compared)
}

/// The cases, in the order of the figure.
fn cases(figure: &Figure) -> Vec<&str> {
    let mut seen = BTreeSet::new();
    let with_samples = figure.series.iter().filter(|series| !series.samples.is_empty());
    with_samples
        .map(|series| series.case.as_str())
        .filter(|case| seen.insert(*case))
        .collect()
}

fn of_case<'a>(figure: &'a Figure, case: &str) -> Vec<&'a Series> {
    let own = figure
        .series
        .iter()
        .filter(|series| series.case == case && !series.samples.is_empty());
    own.collect()
}

fn colour(index: usize) -> RGBColor {
    COLOURS[index % COLOURS.len()]
}

fn text(error: impl Display) -> String {
    error.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comparison_and_growth_are_plotted_with_what_they_need_to_be_read() {
        let mut figure = Figure::new("connect", "How long a connect takes", "us");
        assert_eq!(svg(&figure).unwrap(), None);
        for subject in ["none", "ours"] {
            figure.series.push(Series::new("TCP", subject, vec![20.0, 21.0]));
        }
        let bars = svg(&figure).unwrap().unwrap();
        for needed in ["How long a connect takes", "TCP", "none", "ours", "us"] {
            assert!(bars.contains(needed), "{needed}: {bars}");
        }
        for rules in [1.0, 1e3, 1e6] {
            figure
                .series
                .push(Series::new("TCP", "ours", vec![rules]).at("rules", rules));
        }
        let growth = svg(&figure).unwrap().unwrap();
        for needed in ["rules", "ours: slope 1.00", "none", "us"] {
            assert!(growth.contains(needed), "{needed}: {growth}");
        }
    }
    #[test]
    fn many_cases_are_one_panel_of_what_they_are_beside_another() {
        let mut figure = Figure::new("hooks", "What a verdict takes", "ns");
        figure.beside = Some("the least".to_owned());
        for case in 0..=PANELS {
            for (subject, sample) in [("ours", 3.0), ("the least", 2.0)] {
                let case = format!("case {case}");
                figure.series.push(Series::new(&case, subject, vec![sample]));
            }
        }
        let compared = compared(&figure).unwrap();
        assert_eq!(compared.series.len(), PANELS + 1);
        assert_eq!(compared.series[3].samples, [1.5]);
        let plot = svg(&figure).unwrap().unwrap();
        assert!(
            plot.contains("times the least") && plot.contains("case 12"),
            "{plot}"
        );
    }
}
