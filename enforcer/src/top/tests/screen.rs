//! What is on the screen, by a terminal of memory.

use std::time::{Duration, Instant};

use ratatui::{Terminal, backend::TestBackend, crossterm::event::KeyCode, style::Color};

use super::{Case, THREE, seen};
use crate::top::draw;

/// The screen's lines.
fn screen(case: &mut Case, width: u16, height: u16) -> Vec<String> {
    drawn(case, width, height).1
}

/// A terminal, and the lines on it.
fn drawn(case: &mut Case, width: u16, height: u16) -> (Terminal<TestBackend>, Vec<String>) {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| draw(frame, &mut case.state)).unwrap();
    let cells = terminal.backend().buffer().content();
    let line = |cells: &[ratatui::buffer::Cell]| {
        let text: String = cells.iter().map(ratatui::buffer::Cell::symbol).collect();
        text.trim_end().to_owned()
    };
    let lines = match width {
        0 => Vec::new(),
        _ => cells.chunks(width.into()).map(line).collect(),
    };
    (terminal, lines)
}

fn live() -> Case {
    let mut case = Case::new(&THREE);
    case.answer(&[
        "shop/web a.example.com allow 103",
        "shop/web b.example.com deny 55",
        "pay/job c.example.com audit 75",
    ]);
    case
}

#[test]
fn usual_terminal_has_the_table_and_the_reason_and_suggestion_of_the_selected_line() {
    let lines = screen(&mut live(), 80, 24);
    assert_eq!(lines[0], " live   3 destinations  8.0/s  5.0/s refused");
    assert_eq!(lines[1], " by RATE/S");
    assert_eq!(
        lines[2..6],
        [
            "NAMESPACE  WORKLOAD     DESTINATION                 VERDICT RATE/S▼   TOTAL LAST",
            "shop       web          b.example.com:443/tcp       deny        5.0      55   2s",
            "shop       web          a.example.com:443/tcp       allow       3.0     103   2s",
            "pay        job          c.example.com:443/tcp       audit       0.0      75   2s",
        ]
    );
    let text = lines.join("\n");
    for part in [
        "deny shop/web -> tcp b.example.com:443 ───",
        "\nreason: no object has this host\n",
        "\nsuggestion: add a ServiceEntry for b.example.com\n",
        "\naddresses: 192.0.2.1\n",
        "seen: first 2027-01-15 07:00:00 UTC, last 2027-01-15 08:00:00 UTC\n",
        "\nq quit  ? help  / filter",
    ] {
        assert!(text.contains(part), "{part:?} is missing:\n{text}");
    }
}

#[test]
fn small_terminal_has_destinations_verdicts_rates_and_the_reason() {
    let lines = screen(&mut live(), 40, 10);
    assert_eq!(lines[0], " live   3 destinations  8.0/s  5.0/s ref");
    assert_eq!(
        lines[1..5],
        [
            "DESTINATION                VERD… RATE/S▼",
            "b.example.com:443/tcp      deny      5.0",
            "a.example.com:443/tcp      allow     3.0",
            "c.example.com:443/tcp      audit     0.0",
        ]
    );
    assert!(
        lines[6].starts_with("deny shop/web -> tcp b.example.com:443"),
        "{lines:#?}"
    );
    assert_eq!(lines[7], "reason: no object has this host");
    // The rest has the whole screen.
    let mut case = live();
    case.press(KeyCode::Enter);
    let text = screen(&mut case, 40, 10).join("\n");
    assert!(text.contains("suggestion: add a ServiceEntry for"), "{text}");
    assert!(text.contains("addresses: 192.0.2.1"), "{text}");
}

#[test]
fn no_size_makes_it_fail() {
    for keys in ["", "/x", "?", "g", "d"] {
        let mut case = live();
        case.typed(keys);
        for width in (0..12).chain([20, 39, 40, 53, 54, 75, 76, 80, 100, 130, 250]) {
            for height in (0..14).chain([18, 24, 60]) {
                assert_eq!(
                    screen(&mut case, width, height).len(),
                    if width == 0 { 0 } else { height.into() }
                );
            }
        }
        // One after the other, as when somebody pulls at a window.
        let mut terminal = Terminal::new(TestBackend::new(80, 24)).unwrap();
        for (width, height) in [(80, 24), (1, 1), (200, 60), (40, 10)] {
            terminal.backend_mut().resize(width, height);
            terminal.draw(|frame| draw(frame, &mut case.state)).unwrap();
        }
    }
}

#[test]
fn verdicts_have_colours_unless_none_are_wanted_and_always_their_words() {
    let mut case = live();
    let colours = |case: &mut Case| {
        let (terminal, lines) = drawn(case, 80, 24);
        let words = ["deny", "allow", "audit"];
        let found: Vec<_> = (3..6)
            .map(|line: u16| {
                assert!(
                    lines[usize::from(line)].contains(words[usize::from(line) - 3]),
                    "{lines:#?}"
                );
                terminal.backend().buffer()[(52, line)].fg
            })
            .collect();
        found
    };
    assert_eq!(colours(&mut case), [Color::Red, Color::Green, Color::Yellow]);
    case.state.has_colour = false;
    assert_eq!(colours(&mut case), [Color::Reset; 3]);
    let (terminal, _) = drawn(&mut case, 80, 24);
    let cells = terminal.backend().buffer().content();
    assert!(
        cells
            .iter()
            .all(|cell| cell.fg == Color::Reset && cell.bg == Color::Reset)
    );
}

#[test]
fn text_of_others_controls_neither_the_terminal_nor_the_lines() {
    let mut evil = seen("shop/web evil deny 1");
    evil.host = Some("a\u{1b}[2J\n\u{202e}.example.com".to_owned());
    evil.reason = Some("one\rtwo\u{9b}31m".to_owned());
    let mut case = Case::new(&[]);
    case.observed(vec![evil]);
    let text = screen(&mut case, 160, 24).join("\n");
    assert!(text.contains(r"a\x1b[2J\n\u{202e}.example.com:443/tcp"), "{text}");
    assert!(text.contains(r"reason: one\rtwo\u{9b}31m"), "{text}");
    assert!(!text.contains(['\u{1b}', '\r', '\u{9b}', '\u{202e}']));
    let plain = super::super::text(&case.state, None);
    assert_eq!(plain.lines().count(), 2, "{plain}");
    assert!(
        plain.contains(r"a\x1b[2J\n\u{202e}.example.com:443/tcp"),
        "{plain}"
    );
}

#[test]
fn head_says_that_nothing_answers_and_that_it_is_paused() {
    let mut case = live();
    case.state
        .fail("no enforcer answers at /run/x".to_owned(), case.at());
    case.seconds += 12;
    case.state.pass(case.at().time);
    case.state
        .fail("no enforcer answers at /run/x".to_owned(), case.at());
    let lines = screen(&mut case, 80, 24);
    assert!(
        lines[0].starts_with(" NO ENFORCER ANSWERS (12s), trying   3 destinations"),
        "{lines:#?}"
    );
    assert_eq!(lines[1], " no enforcer answers at /run/x");
    case.answer(&THREE);
    assert!(screen(&mut case, 80, 24)[0].starts_with(" live "));
    case.typed(" ");
    assert!(screen(&mut case, 80, 24)[0].starts_with(" PAUSED "));
}

#[test]
fn groups_help_and_filter_are_on_the_screen() {
    let mut case = live();
    case.typed("gg");
    let lines = screen(&mut case, 80, 24);
    assert_eq!(lines[1], " by RATE/S  grouped by workload");
    assert!(
        lines[3].contains(" + shop/web (2)   ") && lines[3].contains(" deny "),
        "{lines:#?}"
    );
    let text = lines.join("\n");
    assert!(
        text.contains("calls: deny 55  audit 0  unregistered 0  allow 103"),
        "{text}"
    );
    case.press(KeyCode::Enter);
    let lines = screen(&mut case, 80, 24);
    assert!(
        lines[3].contains(" - shop/web (2)") && lines[4].contains("   b.example.com:443/tcp"),
        "{lines:#?}"
    );
    case.typed("/shop");
    let lines = screen(&mut case, 80, 24);
    assert!(lines[1].ends_with("filter: shop"), "{lines:#?}");
    assert!(lines[23].starts_with("/shop_"), "{lines:#?}");
    case.press(KeyCode::Enter);
    case.typed("?");
    assert!(
        screen(&mut case, 80, 24)
            .join("\n")
            .contains("only what is refused")
    );
}

/// A draw makes text of the lines that are seen alone, and puts nothing in order: that an answer does once.
#[test]
#[expect(clippy::print_stderr, reason = "a figure for who reads what a test prints")]
fn twenty_thousand_destinations_are_drawn_by_the_lines_that_are_seen() {
    const MANY: u64 = 20_000;
    let observations = |more: u64| -> Vec<_> {
        let line = |at: u64| {
            format!(
                "ns{}/web h{at}.example.com deny {}",
                at % 40,
                at + more * (at % 7)
            )
        };
        (0..MANY).map(|at| seen(&line(at))).collect()
    };
    let mut case = Case::new(&[]);
    let mut longest = (Duration::ZERO, Duration::ZERO);
    for more in 1..4 {
        let observations = observations(more);
        let begin = Instant::now();
        case.observed(observations);
        longest.0 = longest.0.max(begin.elapsed());
        let arranged = case.state.arranged;
        let begin = Instant::now();
        let lines = screen(&mut case, 200, 50);
        longest.1 = longest.1.max(begin.elapsed());
        assert!(lines[0].contains("20000 destinations"), "{}", lines[0]);
        assert_eq!(case.state.seen().len(), 36, "more than the lines of the table");
        assert_eq!(case.state.arranged, arranged, "a draw puts lines in order");
    }
    eprintln!(
        "20,000 destinations: an answer {:?}, a draw {:?}",
        longest.0, longest.1
    );
}
