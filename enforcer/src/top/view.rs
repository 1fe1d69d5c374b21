//! Draws the state into a frame of any size. Only the lines that are seen are made into text.

mod details;
mod head;
mod table;

use ratatui::{
    Frame,
    layout::{Constraint, Layout, Rect},
    style::{Color, Modifier, Style},
    text::{Line, Span},
    widgets::Paragraph,
};

use enforcer_core::observed::Seen;

use super::{
    keys::HELP,
    state::{Screen, State},
};

/// Draws everything.
pub(crate) fn draw(frame: &mut Frame<'_>, state: &mut State) {
    let area = frame.area();
    if area.is_empty() {
        return;
    }
    let [head, body, foot] = Layout::vertical([
        Constraint::Length(if area.height < 12 { 1 } else { 2 }),
        Constraint::Fill(1),
        Constraint::Length(u16::from(area.height > 5)),
    ])
    .areas(area);
    head::draw(frame, head, state);
    head::foot(frame, foot, state);
    match state.screen {
        Screen::Table | Screen::Typing => browse(frame, body, state),
        Screen::Details => details::draw(frame, body, state),
        Screen::Help => help(frame, body),
    }
}

/// The table, and what there is room for of the selected line's details below it.
fn browse(frame: &mut Frame<'_>, area: Rect, state: &mut State) {
    let below = match area.height {
        ..7 => 0,
        7..16 => 3,
        tall => (tall / 3).min(10),
    };
    let [top, bottom] = Layout::vertical([Constraint::Fill(1), Constraint::Length(below)]).areas(area);
    table::draw(frame, top, state);
    if below > 0 {
        details::draw(frame, bottom, state);
    }
}

fn help(frame: &mut Frame<'_>, area: Rect) {
    let line = |(keys, what): &(&'static str, &'static str)| {
        let keys = Span::styled(format!(" {keys:<13} "), Modifier::BOLD);
        Line::from(vec![keys, Span::raw(*what)])
    };
    let lines: Vec<_> = HELP.iter().map(line).collect();
    frame.render_widget(Paragraph::new(lines), area);
}

/// The colour of a verdict, which always has its word beside it.
fn style(verdict: Seen, has_colour: bool) -> Style {
    if !has_colour {
        return Style::new();
    }
    Style::new().fg(match verdict {
        Seen::Allow => Color::Green,
        Seen::Unregistered | Seen::Audit => Color::Yellow,
        Seen::Deny => Color::Red,
    })
}
