//! The table as text: whole cells, for scripts.

use super::{
    column::Column,
    state::{Shown, State},
};

/// The first lines of the table, below its head. Cells are separated by two spaces at least, and the last is the object.
pub(crate) fn text(state: &State, limit: Option<usize>) -> String {
    let head = Column::ALL.map(|column| column.title().to_owned());
    let lines = state.all().take(limit.unwrap_or(usize::MAX)).map(|shown| {
        Column::ALL.map(|column| match shown {
            Shown::Group(group) => group.cell(column, state.now()),
            Shown::Row(row) => row.cell(column, state.now()),
        })
    });
    let lines: Vec<_> = std::iter::once(head).chain(lines).collect();
    let mut widths = [0; Column::ALL.len()];
    for line in &lines {
        for (width, cell) in widths.iter_mut().zip(line) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut text = String::new();
    for line in &lines {
        let mut whole = String::new();
        for ((column, width), cell) in Column::ALL.into_iter().zip(widths).zip(line) {
            whole += &match column.is_number() {
                true => format!("{cell:>width$}  "),
                false => format!("{cell:<width$}  "),
            };
        }
        text += whole.trim_end();
        text.push('\n');
    }
    text
}
