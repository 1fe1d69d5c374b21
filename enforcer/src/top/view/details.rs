//! All that is known of the selected line: why, and what would allow it, first.

use std::fmt::Write as _;

use jiff::Timestamp;
use ratatui::{
    Frame,
    layout::Rect,
    style::Modifier,
    text::{Line, Span},
    widgets::{Block, Borders, Paragraph, Wrap},
};

use super::style;
use crate::top::{
    group::{Group, VERDICTS},
    row::{Row, escaped},
    state::{Shown, State},
};

pub(super) fn draw(frame: &mut Frame<'_>, area: Rect, state: &State) {
    let (title, lines) = match state.selected() {
        Some(Shown::Row(row)) => of_row(row, state.has_colour),
        Some(Shown::Group(group)) => of_group(group, state.has_colour),
        None => (Line::default(), vec![Line::raw("nothing to show")]),
    };
    let block = Block::new().borders(Borders::TOP).title(title);
    let text = Paragraph::new(lines).wrap(Wrap { trim: true }).block(block);
    frame.render_widget(text, area);
}

fn of_row(row: &Row, has_colour: bool) -> (Line<'static>, Vec<Line<'static>>) {
    let seen = &row.seen;
    let verdict = Span::styled(seen.verdict.to_string(), style(seen.verdict, has_colour));
    let title = Line::from(vec![
        verdict,
        Span::raw(format!(" {} ", escaped(&seen.to_string()))),
    ]);
    let mut lines = Vec::new();
    let mut say = |name: &'static str, text: Option<&str>| {
        let Some(text) = text else { return };
        let name = Span::styled(format!("{name}: "), Modifier::BOLD);
        lines.push(Line::from(vec![name, Span::raw(escaped(text))]));
    };
    say("reason", seen.reason.as_deref());
    say("suggestion", seen.suggestion.as_deref());
    say("object", seen.object.as_deref());
    let mut addresses = String::new();
    for address in seen.addresses.iter().rev() {
        let comma = if addresses.is_empty() { "" } else { ", " };
        write!(addresses, "{comma}{address}").expect("a String takes everything");
    }
    say("addresses", (!addresses.is_empty()).then_some(&addresses));
    let times = format!("first {}, last {}", time(seen.first), time(seen.last));
    say("seen", Some(&times));
    let probe = "connect() of datagram sockets alone, which sends nothing";
    say("calls", seen.probe.then_some(probe));
    (title, lines)
}

fn of_group(group: &Group, has_colour: bool) -> (Line<'static>, Vec<Line<'static>>) {
    let count = group.rows.len();
    let title = Line::raw(format!("{}: {count} destinations ", escaped(&group.name())));
    let mut calls = vec![Span::styled("calls: ", Modifier::BOLD)];
    for (count, verdict) in group.calls.iter().zip(VERDICTS).rev() {
        calls.push(Span::styled(
            format!("{verdict} {count}  "),
            style(verdict, has_colour),
        ));
    }
    let last = Span::raw(time(group.last));
    let last = Line::from(vec![Span::styled("last: ", Modifier::BOLD), last]);
    (title, vec![Line::from(calls), last])
}

fn time(time: Timestamp) -> String {
    time.strftime("%Y-%m-%d %H:%M:%S UTC").to_string()
}
