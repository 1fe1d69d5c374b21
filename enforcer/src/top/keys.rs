//! What keys do.

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

use super::{
    column::Column,
    state::{Screen, Shown, State},
};

/// What comes after a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// The screen is drawn again.
    Draw,
    /// The command ends.
    Quit,
}

/// The keys, for people.
pub(super) const HELP: [(&str, &str); 14] = [
    ("q Esc ctrl-C", "quit"),
    ("up down PgUp PgDn Home End", "select a line"),
    ("Enter", "all of its details; of a group, its destinations"),
    ("/", "filter: words that a line has to have; Esc: none"),
    ("d", "only what is refused, or audit would refuse"),
    ("g", "group by namespace, by workload, not at all"),
    ("space", "pause, and go on"),
    ("< >", "sort by the column beside"),
    ("r", "reverse the order"),
    ("b t", "sort by rate (busiest), by total"),
    ("v", "sort by verdict (most refused)"),
    ("n w h", "sort by namespace, workload, destination"),
    ("l o", "sort by last, by object"),
    ("?", "this help"),
];

impl State {
    /// Does what a key asks for.
    pub(crate) fn key(&mut self, key: KeyEvent) -> Next {
        if key.kind == KeyEventKind::Release {
            return Next::Draw;
        }
        if key.modifiers.contains(KeyModifiers::CONTROL) {
            return match key.code {
                KeyCode::Char('c') => Next::Quit,
                _ => Next::Draw,
            };
        }
        match (self.screen, key.code) {
            (Screen::Typing, code) => self.typed(code),
            (_, KeyCode::Char('q')) | (Screen::Table, KeyCode::Esc) => return Next::Quit,
            (Screen::Details | Screen::Help, KeyCode::Esc | KeyCode::Enter) => self.screen = Screen::Table,
            (Screen::Help, KeyCode::Char('?')) => self.screen = Screen::Table,
            (_, code) => self.pressed(code),
        }
        Next::Draw
    }

    /// A key while the filter is typed.
    fn typed(&mut self, code: KeyCode) {
        match code {
            KeyCode::Enter => self.screen = Screen::Table,
            KeyCode::Esc => {
                self.screen = Screen::Table;
                self.wish.filter.clear();
            }
            KeyCode::Backspace => {
                self.wish.filter.pop();
            }
            KeyCode::Char(character) => self.wish.filter.push(character),
            code => return self.moved(code),
        }
        self.arrange();
    }

    fn pressed(&mut self, code: KeyCode) {
        let KeyCode::Char(character) = code else {
            return self.moved(code);
        };
        match character {
            '?' => self.screen = Screen::Help,
            '/' => self.screen = Screen::Typing,
            ' ' => self.pause(),
            'd' => self.wish.is_refused_only = !self.wish.is_refused_only,
            'g' => self.wish.by = self.wish.by.next(),
            'r' => self.wish.is_reversed = !self.wish.is_reversed,
            '<' => self.sort(self.wish.sort.beside(-1)),
            '>' => self.sort(self.wish.sort.beside(1)),
            'n' => self.sort(Column::Namespace),
            'w' => self.sort(Column::Workload),
            'h' => self.sort(Column::Destination),
            'v' => self.sort(Column::Verdict),
            'b' => self.sort(Column::Rate),
            't' => self.sort(Column::Total),
            'l' => self.sort(Column::Last),
            'o' => self.sort(Column::Object),
            _ => return,
        }
        self.arrange();
    }

    fn sort(&mut self, column: Column) {
        self.wish.sort = column;
        self.wish.is_reversed = false;
    }

    fn moved(&mut self, code: KeyCode) {
        match code {
            KeyCode::Up => self.step(-1),
            KeyCode::Down => self.step(1),
            KeyCode::PageUp => self.step(-self.page()),
            KeyCode::PageDown => self.step(self.page()),
            KeyCode::Home => self.choose(0),
            KeyCode::End => self.choose(usize::MAX),
            KeyCode::Enter => self.enter(),
            _ => {}
        }
    }

    /// Opens or closes the selected group, or shows the selected destination alone.
    fn enter(&mut self) {
        match self.selected() {
            Some(Shown::Group(group)) => {
                let id = group.id.clone();
                self.step(0);
                if !self.wish.open.remove(&id) {
                    self.wish.open.insert(id);
                }
                self.arrange();
            }
            Some(Shown::Row(_)) => {
                self.step(0);
                self.screen = Screen::Details;
            }
            None => {}
        }
    }
}
