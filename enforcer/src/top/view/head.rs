//! The lines above and below: whether it is live, the sums, what is shown, and the keys.

use ratatui::{
    Frame,
    layout::Rect,
    style::{Color, Modifier, Style},
    text::{Line, Span},
    widgets::Paragraph,
};

use crate::top::{
    group::By,
    row::{ago, escaped, rate},
    state::{Screen, State},
};

/// The most important comes first, since a narrow terminal shows no more.
pub(super) fn draw(frame: &mut Frame<'_>, area: Rect, state: &State) {
    let (destinations, calls, refused) = state.sums();
    let (calls, refused) = (rate(Some(calls)), rate(Some(refused)));
    let mut first = vec![standing(state)];
    first.push(Span::raw(format!(
        "  {destinations} destinations  {calls}/s  {refused}/s refused"
    )));
    if state.dropped() > 0 {
        first.push(Span::raw(format!("  {} calls not kept", state.dropped())));
    }
    let second = match state.away() {
        Some(away) => Line::raw(format!(" {}", escaped(&away.why))),
        None => Line::raw(format!(" {}", shown(state))),
    };
    frame.render_widget(Paragraph::new(vec![Line::from(first), second]), area);
}

/// Whether what is shown is how it is.
fn standing(state: &State) -> Span<'static> {
    let (text, colour) = match state.away() {
        Some(away) => {
            let since = ago(away.since, state.now());
            (format!(" NO ENFORCER ANSWERS ({since}), trying "), Color::Red)
        }
        None if state.is_paused() => (" PAUSED ".to_owned(), Color::Yellow),
        None => (" live ".to_owned(), Color::Green),
    };
    let style = Style::new().add_modifier(Modifier::BOLD | Modifier::REVERSED);
    Span::styled(text, if state.has_colour { style.fg(colour) } else { style })
}

/// What is shown, and in which order.
fn shown(state: &State) -> String {
    let wish = &state.wish;
    let order = if wish.is_reversed { ", reversed" } else { "" };
    let mut text = format!("by {}{order}", wish.sort.title());
    match wish.by {
        By::Nothing => {}
        By::Namespace => text += "  grouped by namespace",
        By::Workload => text += "  grouped by workload",
    }
    if wish.is_refused_only {
        text += "  refused only";
    }
    if !wish.filter.is_empty() {
        text += &format!("  filter: {}", escaped(&wish.filter));
    }
    text
}

/// What is typed, or the keys.
pub(super) fn foot(frame: &mut Frame<'_>, area: Rect, state: &State) {
    let text = match state.screen {
        Screen::Typing => format!("/{}_  (Enter: keep, Esc: none)", escaped(&state.wish.filter)),
        Screen::Table => {
            "q quit  ? help  / filter  d refused  g group  < > sort  r reverse  space pause".to_owned()
        }
        Screen::Details | Screen::Help => "Esc back  q quit".to_owned(),
    };
    frame.render_widget(Paragraph::new(text), area);
}
