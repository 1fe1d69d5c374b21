//! The table: the columns that there is room for, and the lines that are seen.

use ratatui::{
    Frame,
    layout::{Alignment, Constraint, Rect},
    style::{Modifier, Style},
    text::{Line, Span},
    widgets::{Cell, Row, Table},
};

use super::style;
use crate::top::{
    column::Column,
    group::By,
    state::{Shown, State},
};

/// Where a text that does not fit is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cut {
    Start,
    End,
}

pub(super) fn draw(frame: &mut Frame<'_>, area: Rect, state: &mut State) {
    let columns = columns(area.width);
    // The first line is the head.
    state.show(usize::from(area.height.saturating_sub(1)));
    let cursor = state.cursor();
    let head = columns.iter().map(|(column, width)| head(*column, *width, state));
    let lines = state.seen().enumerate().map(|(at, shown)| {
        let cells = columns
            .iter()
            .map(|(column, width)| cell(shown, *column, *width, state));
        let line = Row::new(cells);
        match at == cursor {
            true => line.style(Modifier::REVERSED),
            false => line,
        }
    });
    let widths = columns.iter().map(|(_, width)| Constraint::Length(*width));
    let table = Table::new(lines, widths)
        .header(Row::new(head).style(Modifier::BOLD))
        .column_spacing(1);
    frame.render_widget(table, area);
}

/// The columns that this width has room for, with theirs. The destination has what the others leave.
fn columns(width: u16) -> Vec<(Column, u16)> {
    let fixed: &[(Column, u16)] = match width {
        ..50 => &[(Column::Verdict, 5), (Column::Rate, 7)],
        50..72 => &[(Column::Verdict, 12), (Column::Rate, 7), (Column::Total, 8)],
        72..100 => &[
            (Column::Namespace, 10),
            (Column::Workload, 12),
            (Column::Verdict, 7),
            (Column::Rate, 7),
            (Column::Total, 7),
            (Column::Last, 4),
        ],
        100..130 => &[
            (Column::Namespace, 14),
            (Column::Workload, 16),
            (Column::Verdict, 12),
            (Column::Rate, 8),
            (Column::Total, 9),
            (Column::Last, 4),
        ],
        _ => &[
            (Column::Namespace, 16),
            (Column::Workload, 20),
            (Column::Verdict, 12),
            (Column::Rate, 8),
            (Column::Total, 10),
            (Column::Last, 4),
            (Column::Object, 28),
        ],
    };
    let taken: u16 = fixed.iter().map(|(_, width)| width + 1).sum();
    let rest = (Column::Destination, width.saturating_sub(taken));
    Column::ALL
        .into_iter()
        .filter_map(|column| {
            std::iter::once(&rest)
                .chain(fixed)
                .find(|(other, _)| *other == column)
        })
        .copied()
        .collect()
}

/// A column's title; that of the order has an arrow.
fn head(column: Column, width: u16, state: &State) -> Cell<'static> {
    let mut text = column.title().to_owned();
    if column == state.wish.sort {
        text.push(if state.wish.is_reversed { '▲' } else { '▼' });
    }
    aligned(column, Span::raw(fit(text, width, Cut::End)))
}

fn cell(shown: Shown<'_>, column: Column, width: u16, state: &State) -> Cell<'static> {
    let (mut text, verdict) = match shown {
        Shown::Group(group) => (group.cell(column, state.now()), group.verdict()),
        Shown::Row(row) => (row.cell(column, state.now()), row.id.verdict),
    };
    let mut cut = Cut::End;
    if column == Column::Destination {
        cut = Cut::Start;
        let mark = match shown {
            Shown::Group(group) if state.wish.open.contains(&group.id) => "- ",
            Shown::Group(_) => "+ ",
            Shown::Row(_) if state.wish.by != By::Nothing => "  ",
            Shown::Row(_) => "",
        };
        let room = width.saturating_sub(u16::try_from(mark.len()).unwrap_or_default());
        text = format!("{mark}{}", fit(text, room, cut));
    }
    let style = match column {
        Column::Verdict => style(verdict, state.has_colour),
        _ => Style::new(),
    };
    aligned(column, Span::styled(fit(text, width, cut), style))
}

fn aligned(column: Column, span: Span<'static>) -> Cell<'static> {
    let alignment = match column.is_number() {
        true => Alignment::Right,
        false => Alignment::Left,
    };
    Cell::from(Line::from(span).alignment(alignment))
}

/// The text in this width; of one that does not fit, the part that says most. Ports are at the end of destinations.
fn fit(text: String, width: u16, cut: Cut) -> String {
    let width = usize::from(width);
    if Span::raw(&text).width() <= width {
        return text;
    }
    // The mark takes one.
    let room = width.saturating_sub(1);
    let fits = |part: &&str| Span::raw(*part).width() <= room;
    let starts = || text.char_indices().map(|(at, _)| at).chain([text.len()]);
    match cut {
        Cut::Start => {
            let part = starts().map(|at| &text[at..]).find(fits);
            format!("…{}", part.unwrap_or_default())
        }
        Cut::End => {
            let part = starts().map(|at| &text[..at]).take_while(fits).last();
            format!("{}…", part.unwrap_or_default())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_that_does_not_fit_is_cut_where_it_says_least() {
        let fit = |text: &str, width, cut| fit(text.to_owned(), width, cut);
        assert_eq!(fit("db:5432", 7, Cut::Start), "db:5432");
        assert_eq!(fit("db:5432", 6, Cut::Start), "…:5432");
        assert_eq!(fit("frontend", 6, Cut::End), "front…");
        // Wide characters take two columns each.
        assert_eq!(fit("データ", 4, Cut::End), "デ…");
        assert_eq!(fit("x", 0, Cut::End), "…");
    }

    #[test]
    fn columns_never_take_more_than_there_is() {
        for width in 20..300 {
            let columns = columns(width);
            let taken: u16 = columns.iter().map(|(_, width)| width + 1).sum();
            assert_eq!(taken - 1, width, "{columns:?}");
            let destination = columns.iter().find(|(column, _)| *column == Column::Destination);
            assert!(
                destination.is_some_and(|(_, room)| width < 40 || *room >= 22),
                "{columns:?}"
            );
        }
    }
}
