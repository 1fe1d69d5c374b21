//! The state over several answers, and what is on the screen.

mod screen;

use std::{
    net::Ipv4Addr,
    time::{Duration, Instant},
};

use enforcer_core::observed::{Carrier, Observation, Seen};
use jiff::{SignedDuration, Timestamp};
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use super::{
    column::Column,
    keys::Next,
    state::{Moment, Shown, State},
};
use crate::control::Observed;

/// When the tests begin.
fn start() -> Timestamp {
    Timestamp::from_second(1_800_000_000).expect("a time")
}

/// `namespace/workload host verdict count`
fn seen(line: &str) -> Observation {
    let words: Vec<_> = line.split(' ').collect();
    let (namespace, workload) = words[0].split_once('/').unwrap();
    let verdict = match words[2] {
        "allow" => Seen::Allow,
        "unregistered" => Seen::Unregistered,
        "audit" => Seen::Audit,
        "deny" => Seen::Deny,
        other => panic!("no verdict: {other}"),
    };
    let is_refused = verdict == Seen::Deny;
    Observation {
        namespace: namespace.to_owned(),
        workload: workload.to_owned(),
        host: Some(words[1].to_owned()),
        addresses: vec![Ipv4Addr::new(192, 0, 2, 1).into()],
        port: 443,
        transport: Carrier::Tcp,
        verdict,
        probe: false,
        object: (!is_refused).then(|| "ServiceEntry shop/api".to_owned()),
        reason: is_refused.then(|| "no object has this host".to_owned()),
        suggestion: is_refused.then(|| format!("add a ServiceEntry for {}", words[1])),
        first: start() - SignedDuration::from_hours(1),
        last: start(),
        count: words[3].parse().unwrap(),
    }
}

/// A state, the time of its last answer, and what was answered.
struct Case {
    state: State,
    start: Instant,
    seconds: u64,
}

impl Case {
    fn new(lines: &[&str]) -> Self {
        let mut case = Self {
            state: State::new(Column::Rate, true, start()),
            start: Instant::now(),
            seconds: 0,
        };
        case.answer(lines);
        case
    }

    fn at(&self) -> Moment {
        Moment {
            instant: self.start + Duration::from_secs(self.seconds),
            time: start() + SignedDuration::from_secs(i64::try_from(self.seconds).unwrap()),
        }
    }

    /// An answer, a second after the last one.
    fn answer(&mut self, lines: &[&str]) {
        self.observed(lines.iter().copied().map(seen).collect());
    }

    fn observed(&mut self, observations: Vec<Observation>) {
        self.seconds += 1;
        let answer = Observed {
            observations,
            dropped: 0,
        };
        self.state.update(answer, self.at());
    }

    fn press(&mut self, code: KeyCode) -> Next {
        self.state.key(KeyEvent::new(code, KeyModifiers::NONE))
    }

    /// Presses the keys of these characters.
    fn typed(&mut self, keys: &str) {
        for key in keys.chars() {
            assert_eq!(self.press(KeyCode::Char(key)), Next::Draw, "{key}");
        }
    }

    /// The names of the lines, from the top: hosts, and groups with a mark.
    fn lines(&self) -> Vec<String> {
        let name = |shown| match shown {
            Shown::Row(row) => row.id.to.clone(),
            Shown::Group(group) => format!("+{}", group.name()),
        };
        self.state.all().map(name).collect()
    }

    fn selected(&self) -> Option<String> {
        self.state.selected().map(|shown| match shown {
            Shown::Row(row) => row.id.to.clone(),
            Shown::Group(group) => format!("+{}", group.name()),
        })
    }

    fn rates(&self) -> Vec<Option<f64>> {
        let rate = |shown| match shown {
            Shown::Row(row) => row.rate,
            Shown::Group(group) => group.rate,
        };
        self.state.all().map(rate).collect()
    }
}

const THREE: [&str; 3] = [
    "shop/web a.example.com allow 100",
    "shop/web b.example.com deny 50",
    "pay/job c.example.com audit 75",
];

#[test]
fn rate_is_unknown_at_first_and_then_the_difference_by_time() {
    let mut case = Case::new(&THREE);
    assert_eq!(case.rates(), [None, None, None]);
    case.answer(&[
        "shop/web a.example.com allow 110",
        "shop/web b.example.com deny 80",
        "pay/job c.example.com audit 75",
    ]);
    assert_eq!(case.lines(), ["b.example.com", "a.example.com", "c.example.com"]);
    assert_eq!(case.rates(), [Some(30.0), Some(10.0), Some(0.0)]);
}

#[test]
fn new_destination_has_a_rate_at_once_unless_it_was_seen_before_the_last_answer() {
    let mut case = Case::new(&[]);
    let mut new = seen("shop/web new.example.com deny 7");
    new.first = case.at().time;
    case.observed(vec![new, seen("shop/web kept.example.com deny 1000")]);
    assert_eq!(case.lines(), ["new.example.com", "kept.example.com"]);
    assert_eq!(case.rates(), [Some(7.0), None]);
}

#[test]
fn every_column_sorts_and_reverses() {
    let mut case = Case::new(&THREE);
    case.answer(&[
        "shop/web a.example.com allow 100",
        "shop/web b.example.com deny 59",
        "pay/job c.example.com audit 76",
    ]);
    let mut check = |key: &str, expected: [&str; 3]| {
        case.typed(key);
        let expected = expected.map(|host| format!("{host}.example.com"));
        assert_eq!(case.lines(), expected, "{key}");
    };
    check("b", ["b", "c", "a"]);
    check("br", ["a", "c", "b"]);
    check("t", ["a", "c", "b"]);
    check("v", ["c", "b", "a"]);
    check("h", ["a", "b", "c"]);
    check("hr", ["c", "b", "a"]);
    check("n", ["c", "a", "b"]);
    check("w", ["c", "a", "b"]);
    // No object comes first.
    check("o", ["b", "a", "c"]);
    // Equal in this column, so by total; the columns beside each other are reached from one to the next.
    check("l", ["a", "c", "b"]);
    check("<", ["a", "c", "b"]);
    check("<", ["b", "c", "a"]);
    check("<<<<", ["c", "a", "b"]);
    check("<", ["b", "a", "c"]);
    check(">", ["c", "a", "b"]);
}

#[test]
fn what_is_equal_keeps_its_order_whatever_the_answer_s_is() {
    let mut lines = THREE.map(|line| line.replace("100", "9").replace("50", "9").replace("75", "9"));
    let mut case = Case::new(&lines.each_ref().map(String::as_str));
    let order = case.lines();
    for _ in 0..3 {
        lines.rotate_left(1);
        case.answer(&lines.each_ref().map(String::as_str));
        assert_eq!(case.lines(), order);
    }
}

#[test]
fn selection_stays_on_its_destination_when_the_order_changes() {
    let mut case = Case::new(&THREE);
    // Nobody has selected anything: it is what comes first.
    assert_eq!(case.selected().as_deref(), Some("a.example.com"));
    case.press(KeyCode::Down);
    assert_eq!(case.selected().as_deref(), Some("c.example.com"));
    case.answer(&[
        "shop/web a.example.com allow 101",
        "shop/web b.example.com deny 60",
        "pay/job c.example.com audit 95",
    ]);
    assert_eq!(case.lines()[0], "c.example.com");
    assert_eq!(case.selected().as_deref(), Some("c.example.com"));
    case.typed("r");
    assert_eq!(case.lines()[2], "c.example.com");
    assert_eq!(case.selected().as_deref(), Some("c.example.com"));
    // Where it is gone, the line in its place, or the last one, is selected.
    case.answer(&THREE[..2]);
    assert_eq!(case.selected(), case.lines().last().cloned());
    case.answer(&[]);
    assert_eq!(case.selected(), None);
    case.press(KeyCode::Down);
    case.press(KeyCode::Enter);
    case.answer(&THREE);
    assert!(case.selected().is_some());
}

#[test]
fn keys_move_by_lines_and_pages_to_both_ends() {
    let lines: Vec<_> = (0..100)
        .map(|at| format!("shop/web {at:03}.example.com allow 1"))
        .collect();
    let lines: Vec<_> = lines.iter().map(String::as_str).collect();
    let mut case = Case::new(&lines);
    case.typed("h");
    case.state.show(10);
    let mut check = |code, expected: &str, cursor| {
        case.press(code);
        case.state.show(10);
        assert_eq!(
            case.selected().unwrap(),
            format!("{expected}.example.com"),
            "{code}"
        );
        assert_eq!(
            (case.state.cursor(), case.state.seen().len()),
            (cursor, 10),
            "{code}"
        );
    };
    check(KeyCode::Up, "000", 0);
    check(KeyCode::Down, "001", 1);
    check(KeyCode::PageDown, "010", 9);
    check(KeyCode::PageDown, "019", 9);
    check(KeyCode::Up, "018", 8);
    check(KeyCode::End, "099", 9);
    check(KeyCode::Down, "099", 9);
    check(KeyCode::PageUp, "090", 0);
    check(KeyCode::Home, "000", 0);
    // A terminal that becomes smaller still shows it.
    case.press(KeyCode::End);
    case.state.show(3);
    assert_eq!((case.state.cursor(), case.state.seen().len()), (2, 3));
    case.state.show(0);
    assert_eq!(case.state.seen().len(), 0);
}

#[test]
fn filter_has_lines_with_all_words_and_is_taken_away_by_escape() {
    let mut case = Case::new(&THREE);
    let mut check = |keys: &str, expected: &[&str]| {
        case.typed(keys);
        assert_eq!(case.lines(), expected, "{keys}");
    };
    check("/", &["a.example.com", "c.example.com", "b.example.com"]);
    check("Shop", &["a.example.com", "b.example.com"]);
    check(" DENY", &["b.example.com"]);
    check(" q", &[]);
    case.press(KeyCode::Backspace);
    assert_eq!(case.lines(), ["b.example.com"]);
    // It stays while it is not typed any more, and after the next answer.
    case.press(KeyCode::Enter);
    case.answer(&THREE);
    assert_eq!(case.lines(), ["b.example.com"]);
    case.typed("/");
    case.press(KeyCode::Esc);
    assert_eq!(case.lines().len(), 3);
    assert_eq!(case.press(KeyCode::Esc), Next::Quit);
}

#[test]
fn refused_only_leaves_what_is_refused_or_would_be() {
    let mut case = Case::new(&THREE);
    case.typed("d");
    assert_eq!(case.lines(), ["c.example.com", "b.example.com"]);
    case.typed("d");
    assert_eq!(case.lines().len(), 3);
}

#[test]
fn groups_have_sums_and_open_and_close() {
    let mut case = Case::new(&THREE);
    case.answer(&[
        "shop/web a.example.com allow 103",
        "shop/web b.example.com deny 55",
        "pay/job c.example.com audit 80",
    ]);
    case.typed("g");
    assert_eq!(case.lines(), ["+shop", "+pay"]);
    assert_eq!(case.rates(), [Some(8.0), Some(5.0)]);
    case.press(KeyCode::Enter);
    assert_eq!(case.lines(), ["+shop", "b.example.com", "a.example.com", "+pay"]);
    // By refusals: 80 of pay and 55 of shop.
    case.typed("v");
    assert_eq!(case.lines(), ["+pay", "+shop", "b.example.com", "a.example.com"]);
    assert_eq!(case.selected().as_deref(), Some("+shop"));
    case.press(KeyCode::Enter);
    assert_eq!(case.lines(), ["+pay", "+shop"]);
    case.typed("g");
    assert_eq!(case.lines(), ["+pay/job", "+shop/web"]);
    case.typed("g");
    assert_eq!(case.lines().len(), 3);
}

#[test]
fn nothing_changes_while_it_is_paused() {
    let mut case = Case::new(&THREE);
    case.typed(" ");
    assert!(case.state.is_paused());
    case.answer(&["pay/job new.example.com deny 1"]);
    assert_eq!(case.lines().len(), 3);
    case.typed(" ");
    case.answer(&["pay/job new.example.com deny 1"]);
    assert_eq!(case.lines(), ["new.example.com"]);
}

#[test]
fn q_escape_and_control_c_quit_and_q_is_typed_into_a_filter() {
    let quits = |keys: &[KeyCode]| {
        let mut case = Case::new(&THREE);
        let next: Vec<_> = keys.iter().map(|key| case.press(*key)).collect();
        next.last() == Some(&Next::Quit)
    };
    let of = KeyCode::Char;
    assert!(quits(&[of('q')]) && quits(&[KeyCode::Esc]));
    assert!(quits(&[of('?'), of('q')]) && quits(&[KeyCode::Enter, of('q')]));
    assert!(!quits(&[of('?'), KeyCode::Esc]) && !quits(&[KeyCode::Enter, KeyCode::Esc]));
    assert!(!quits(&[of('/'), of('q')]) && !quits(&[of('/'), KeyCode::Esc]));
    let interrupt = KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL);
    for first in ['/', '?', 'd'] {
        let mut case = Case::new(&THREE);
        case.press(of(first));
        assert_eq!(case.state.key(interrupt), Next::Quit);
    }
}

#[test]
fn text_has_whole_cells_in_order_up_to_a_limit() {
    let mut case = Case::new(&THREE);
    case.answer(&[
        "shop/web a.example.com allow 103",
        "shop/web b.example.com deny 55",
        "pay/job c.example.com audit 75",
    ]);
    assert_eq!(
        super::text(&case.state, Some(2)),
        "\
NAMESPACE  WORKLOAD  DESTINATION            VERDICT  RATE/S  TOTAL  LAST  OBJECT
shop       web       b.example.com:443/tcp  deny        5.0     55    2s  -
shop       web       a.example.com:443/tcp  allow       3.0    103    2s  ServiceEntry shop/api
"
    );
    assert_eq!(super::text(&case.state, None).lines().count(), 4);
}
