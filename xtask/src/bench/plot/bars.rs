//! How subjects compare: a bar to each median, with a line from the 10th to the 90th percentile.

use figure::{Figure, Series, Spread};
use plotters::prelude::*;

use super::{Area, FONT, colour, of_case, text};
use crate::bench::report::{number, subject};

/// Of one bar.
const BAR: u32 = 24;
/// Of what is around them.
const AROUND: u32 = 96;
/// Of the subjects' names, and of a letter of theirs.
const NAMES: u32 = 190;
const LETTER: usize = 7;

/// Of a panel.
pub(super) fn height(series: &[&Series]) -> u32 {
    AROUND + BAR * u32::try_from(series.len()).unwrap_or(1)
}

pub(super) fn draw(panel: &Area<'_>, figure: &Figure, case: &str) -> Result<(), String> {
    let series = of_case(figure, case);
    let spreads: Vec<_> = series.iter().filter_map(|series| series.spread()).collect();
    let most = spreads
        .iter()
        .map(|spread| spread.high)
        .fold(f64::MIN_POSITIVE, f64::max);
    let count = series.len();
    // What is first stands on top.
    let row = |index: usize| (count - 1 - index) as f64;
    let names = |place: &f64| {
        let index = (0..count).find(|&index| (row(index) - place).abs() < 0.01);
        index.map_or_else(String::new, |index| subject(series[index]))
    };
    let longest = series
        .iter()
        .map(|series| subject(series).len())
        .max()
        .unwrap_or(0);
    let width = u32::try_from(longest * LETTER).unwrap_or(NAMES).max(NAMES);
    let mut chart = ChartBuilder::on(panel)
        .caption(case, (FONT, 15))
        .margin(8)
        .set_label_area_size(LabelAreaPosition::Left, width)
        .set_label_area_size(LabelAreaPosition::Bottom, 44)
        .build_cartesian_2d(0.0..most * 1.12, -0.6..count as f64 - 0.4)
        .map_err(text)?;
    chart
        .configure_mesh()
        .disable_y_mesh()
        .light_line_style(TRANSPARENT)
        .y_labels(count * 2)
        .y_label_formatter(&names)
        .x_label_formatter(&|value| number(*value))
        .x_desc(format!("{}, median and 10 to 90 %", figure.unit))
        .label_style((FONT, 13))
        .draw()
        .map_err(text)?;
    for (index, Spread { low, median, high }) in spreads.into_iter().enumerate() {
        let (y, colour) = (row(index), colour(index));
        let bar = Rectangle::new([(0.0, y - 0.32), (median, y + 0.32)], colour.mix(0.55).filled());
        let line = PathElement::new(vec![(low, y), (high, y)], BLACK.stroke_width(2));
        chart.draw_series([bar]).map_err(text)?;
        chart.draw_series([line]).map_err(text)?;
    }
    Ok(())
}
