//! Escapes foreign text on its way to a log, a terminal or an object of the API server.
//!
//! Names of processes, documents, files and pods, and server replies, can contain anything: newlines that would
//! begin a new line, terminal escape sequences, or marks that change the direction of text. All output passes
//! through here once, as whole lines that mix our text and foreign text, so that no place can omit it.

use std::{
    borrow::Cow,
    fmt::{self, Write},
};

use serde_json::Value;

/// The most bytes of one line, or of one text in JSON; only the number of the further bytes is given.
pub const LIMIT: usize = 8 << 10;

/// One line without its newline, whatever it contains.
#[derive(Clone, Copy, Debug)]
pub struct Line<T>(pub T);

impl<T: fmt::Display> fmt::Display for Line<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut escaper = Escaper {
            out: f,
            room: LIMIT,
            cut: 0,
        };
        write!(escaper, "{}", self.0)?;
        match escaper.cut {
            0 => Ok(()),
            cut => write!(escaper.out, "... ({cut} bytes more)"),
        }
    }
}

/// Whether a character is shown by its number: C0 and C1 controls, DEL, separators of lines and paragraphs, and marks of
/// direction.
fn is_hazard(character: char) -> bool {
    character.is_control()
        || matches!(
            character,
            '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
        )
}

/// Writes at most this many bytes, and escapes hazards.
struct Escaper<'a, 'b> {
    out: &'a mut fmt::Formatter<'b>,
    room: usize,
    /// Bytes that were left out.
    cut: usize,
}

impl fmt::Write for Escaper<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let mut rest = text;
        while !rest.is_empty() {
            if self.cut > 0 {
                self.cut += rest.len();
                return Ok(());
            }
            let plain = rest.find(is_hazard).unwrap_or(rest.len());
            let end = rest.floor_char_boundary(plain.min(self.room));
            self.out.write_str(&rest[..end])?;
            self.room -= end;
            if end < plain {
                self.cut = rest.len() - end;
                return Ok(());
            }
            rest = &rest[end..];
            let mut after = rest.chars();
            if let Some(hazard) = after.next() {
                let shown = match hazard {
                    '\n' | '\r' | '\t' => hazard.escape_default().to_string(),
                    short if short.is_ascii() => format!("\\x{:02x}", u32::from(short)),
                    long => long.escape_unicode().to_string(),
                };
                if shown.len() > self.room {
                    self.cut = rest.len();
                    return Ok(());
                }
                self.out.write_str(&shown)?;
                self.room -= shown.len();
                rest = after.as_str();
            }
        }
        Ok(())
    }
}

/// JSON with the same meaning, in which all hazards are escaped. Its own newlines stay.
pub fn json(text: &str) -> Cow<'_, str> {
    let is_hazard = |character: char| character != '\n' && is_hazard(character);
    if !text.contains(is_hazard) {
        return Cow::Borrowed(text);
    }
    let mut escaped = String::with_capacity(text.len() + 16);
    for character in text.chars() {
        if is_hazard(character) {
            // Hazards occur only within strings, and all are below U+10000.
            write!(escaped, "\\u{:04x}", u32::from(character)).expect("a String takes everything");
        } else {
            escaped.push(character);
        }
    }
    Cow::Owned(escaped)
}

/// Cuts every text in it to [`LIMIT`].
pub fn shorten(value: &mut Value) {
    match value {
        Value::String(text) if text.len() > LIMIT => {
            let end = text.floor_char_boundary(LIMIT);
            let cut = text.len() - end;
            text.truncate(end);
            write!(text, "... ({cut} bytes more)").expect("a String takes everything");
        }
        Value::Array(values) => values.iter_mut().for_each(shorten),
        Value::Object(fields) => fields.values_mut().for_each(shorten),
        _ => {}
    }
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Any text, with hazards more often than chance has it.
    pub(in crate::report) fn any_text() -> impl Strategy<Value = String> {
        let hazards = "[\u{0}-\u{1f}\u{7f}-\u{9f}\u{61c}\u{200e}\u{200f}\u{2028}-\u{202e}\u{2066}-\u{2069}]";
        let parts = prop_oneof![
            any::<String>(),
            hazards,
            "\\PC{0,9}",
            Just("\u{1b}[31m\r\n".to_owned())
        ];
        prop::collection::vec(parts, 0..8).prop_map(|parts| parts.concat())
    }

    proptest! {
        #[test]
        fn line_is_one_line_without_hazards_and_says_the_same(text in any_text()) {
            let shown = Line(&text).to_string();
            prop_assert!(!shown.contains(is_hazard), "{shown:?}");
            prop_assert!(!shown.bytes().any(|byte| byte < 0x20));
            let is_plain = !text.contains(is_hazard);
            prop_assert_eq!(is_plain, shown == text);
        }

        #[test]
        fn json_keeps_its_meaning_and_holds_no_hazard(text in any_text()) {
            let plain = serde_json::to_string(&text).unwrap();
            let escaped = json(&plain);
            prop_assert!(!escaped.contains(is_hazard), "{escaped:?}");
            prop_assert_eq!(serde_json::from_str::<String>(&escaped).unwrap(), text);
        }

        #[test]
        fn line_is_bounded(text in any_text(), times in 0_usize..4096) {
            let shown = Line(text.repeat(times)).to_string();
            // And how much was cut.
            prop_assert!(shown.len() <= LIMIT + 50, "{}", shown.len());
        }
    }

    #[test]
    fn hazards_are_shown_by_their_numbers() {
        let text = "a\nb\t\u{1b}[1m\u{7f}\u{9b}\u{2028}\u{202e}é \\n";
        assert_eq!(
            Line(text).to_string(),
            r"a\nb\t\x1b[1m\x7f\u{9b}\u{2028}\u{202e}é \n"
        );
    }

    #[test]
    fn what_is_cut_is_counted() {
        let mut value = serde_json::json!({ "a": ["b".repeat(LIMIT + 7)], "c": 1 });
        shorten(&mut value);
        let expected = format!("{}... (7 bytes more)", "b".repeat(LIMIT));
        assert_eq!(value, serde_json::json!({ "a": [expected], "c": 1 }));
        assert_eq!(Line("b".repeat(LIMIT + 7)).to_string(), expected);
    }
}
