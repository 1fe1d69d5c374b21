//! How something grows: medians with their 10th and 90th percentiles over the axis, both logarithmic, and the line that
//! fits them best. Subjects without a place on the axis lie level across it.

use figure::{Figure, Spread, growth};
use plotters::prelude::*;

use super::{Area, FONT, colour, of_case, text};
use crate::bench::report::{Line, lines, number};

/// Of a panel.
pub(super) const HEIGHT: u32 = 340;

pub(super) fn draw(panel: &Area<'_>, figure: &Figure, case: &str) -> Result<(), String> {
    let all = lines(figure);
    let own: Vec<_> = all.iter().filter(|line| line.case == case).collect();
    let series = of_case(figure, case);
    let values = series.iter().filter_map(|series| series.spread());
    let values: Vec<_> = values
        .flat_map(|spread| [spread.low, spread.high])
        .filter(|value| *value > 0.0)
        .collect();
    let places: Vec<_> = own
        .iter()
        .flat_map(|line| line.points())
        .map(|(x, _)| x)
        .filter(|x| *x > 0.0)
        .collect();
    let (least, most) = ends(&values);
    let (first, last) = ends(&places);
    let axis = own.first().map_or("", |line| line.axis);
    let mut chart = ChartBuilder::on(panel)
        .caption(case, (FONT, 15))
        .margin(8)
        .margin_right(24)
        .set_label_area_size(LabelAreaPosition::Left, 84)
        .set_label_area_size(LabelAreaPosition::Bottom, 44)
        .build_cartesian_2d((first..last).log_scale(), (least / 1.6..most * 1.6).log_scale())
        .map_err(text)?;
    chart
        .configure_mesh()
        .light_line_style(TRANSPARENT)
        .x_label_formatter(&|value| number(*value))
        .y_label_formatter(&|value| number(*value))
        .x_desc(axis)
        .y_desc(format!("{}, median and 10 to 90 %", figure.unit))
        .label_style((FONT, 13))
        .draw()
        .map_err(text)?;
    for (index, line) in own.iter().enumerate() {
        let colour = colour(index);
        let marks = marks(line);
        let bars = marks.iter().map(|(x, spread)| {
            ErrorBar::new_vertical(*x, spread.low, spread.median, spread.high, colour.filled(), 8)
        });
        chart.draw_series(bars).map_err(text)?;
        let fitted = growth(&line.points());
        let ends = fitted.map(|fitted| vec![(first, fitted.at(first)), (last, fitted.at(last))]);
        let slope = fitted.map_or(0.0, |fitted| fitted.slope);
        chart
            .draw_series(LineSeries::new(ends.unwrap_or_default(), colour.stroke_width(2)))
            .map_err(text)?
            .label(format!("{}: slope {slope:.2}", line.subject))
            .legend(move |(x, y)| PathElement::new(vec![(x, y), (x + 18, y)], colour.stroke_width(2)));
    }
    let level = series.iter().filter(|series| series.axis.is_none());
    for (index, series) in level.enumerate() {
        let colour = colour(own.len() + index);
        let Some(Spread { median, .. }) = series.spread() else {
            continue;
        };
        let points = vec![(first, median), (last, median)];
        chart
            .draw_series(LineSeries::new(points, colour.stroke_width(1)))
            .map_err(text)?
            .label(series.subject.clone())
            .legend(move |(x, y)| PathElement::new(vec![(x, y), (x + 18, y)], colour.stroke_width(1)));
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperLeft)
        .background_style(WHITE.mix(0.85))
        .border_style(BLACK.mix(0.3))
        .label_font((FONT, 13))
        .draw()
        .map_err(text)
}

fn marks(line: &Line<'_>) -> Vec<(f64, Spread)> {
    let spread = |(x, series): &(f64, &figure::Series)| Some((*x, series.spread()?));
    line.series.iter().filter_map(spread).collect()
}

/// The least and the greatest; a range that can be drawn where there is nothing.
fn ends(values: &[f64]) -> (f64, f64) {
    let least = values.iter().copied().fold(f64::INFINITY, f64::min);
    let most = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    if least < most {
        (least, most)
    } else if least == most {
        (least / 2.0, most * 2.0)
    } else {
        (1.0, 10.0)
    }
}
