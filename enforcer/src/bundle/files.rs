//! The files of a bundle, before they are written: bounded, and one line stays one line.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::{
    control::Listing,
    report::escape::{self, Line},
};

/// The most bytes of one file, which is more than a listing has, and of all together.
const FILE: usize = 5 << 20;
const ALL: usize = 32 << 20;

/// What a file holds.
#[derive(Clone, Debug, PartialEq)]
pub enum Content {
    /// Text, whose newlines are ours.
    Text(String),
    /// One value.
    Json(Value),
    /// A value a line.
    Lines(Vec<Value>),
}

/// All files, and what is not there.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Files {
    files: BTreeMap<&'static str, Content>,
    missing: Vec<String>,
}

impl Files {
    /// Adds a text.
    pub fn text(&mut self, name: &'static str, text: impl Into<String>) {
        self.files.insert(name, Content::Text(text.into()));
    }

    /// Adds a value.
    pub fn json(&mut self, name: &'static str, value: Value) {
        self.files.insert(name, Content::Json(value));
    }

    /// Adds values, and how many more there are.
    pub fn listing(&mut self, name: &'static str, listing: Listing) {
        let mut lines = listing.lines;
        if listing.left_out > 0 {
            lines.push(json!({ "leftOut": listing.left_out }));
        }
        self.files.insert(name, Content::Lines(lines));
    }

    /// Removes a file; returns whether it was there.
    pub fn remove(&mut self, name: &str) -> bool {
        self.files.remove(name).is_some()
    }

    /// Notes what is not there, and why.
    pub fn miss(&mut self, what: &str, why: impl std::fmt::Display) {
        self.missing.push(format!("{what}: {why}"));
    }

    /// What is not there.
    pub fn missing(&self) -> &[String] {
        &self.missing
    }

    /// Every text in every file with the key that it stands below, if there is one; what is returned takes its place.
    pub fn map(&mut self, mut change: impl FnMut(Option<&str>, &str) -> String) {
        for content in self.files.values_mut() {
            match content {
                Content::Text(text) => *text = change(None, text),
                Content::Json(value) => walk(value, None, &mut change),
                Content::Lines(lines) => lines.iter_mut().for_each(|line| walk(line, None, &mut change)),
            }
        }
        for line in &mut self.missing {
            *line = change(None, line);
        }
    }

    /// Every value.
    pub fn values(&self) -> impl Iterator<Item = &Value> {
        self.files.values().flat_map(|content| match content {
            Content::Text(_) => [].iter(),
            Content::Json(value) => std::slice::from_ref(value).iter(),
            Content::Lines(lines) => lines.iter(),
        })
    }

    /// The bytes of every file, by name.
    pub fn render(&self) -> BTreeMap<&'static str, Vec<u8>> {
        let mut rendered = BTreeMap::new();
        let mut room = ALL;
        let mut missing = self.missing.clone();
        for (name, content) in &self.files {
            let text = render(content);
            if text.len() > room {
                missing.push(format!("{name}: the bundle would be larger than {ALL} bytes"));
                continue;
            }
            room -= text.len();
            rendered.insert(*name, text.into_bytes());
        }
        let missing = match missing.as_slice() {
            [] => "nothing is missing\n".to_owned(),
            lines => lines.iter().map(|line| format!("{}\n", Line(line))).collect(),
        };
        rendered.insert("missing.txt", missing.into_bytes());
        rendered
    }
}

fn walk(value: &mut Value, key: Option<&str>, change: &mut impl FnMut(Option<&str>, &str) -> String) {
    match value {
        Value::String(text) => *text = change(key, text),
        Value::Array(values) => values.iter_mut().for_each(|value| walk(value, key, change)),
        Value::Object(fields) => {
            for (key, value) in fields.iter_mut() {
                walk(value, Some(key), change);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

fn render(content: &Content) -> String {
    match content {
        Content::Text(text) => bounded(text.lines().map(|line| Line(line).to_string()), |left_out| {
            format!("... ({left_out} lines more)")
        }),
        Content::Lines(values) => {
            let lines = values.iter().map(|value| {
                let mut value = value.clone();
                escape::shorten(&mut value);
                escape::json(&value.to_string()).into_owned()
            });
            bounded(lines, |left_out| json!({ "leftOut": left_out }).to_string())
        }
        Content::Json(value) => {
            let mut value = value.clone();
            escape::shorten(&mut value);
            // What is left out of a list is counted where it was.
            for most in [10_000, 1000, 100, 10, 0] {
                let text = serde_json::to_string_pretty(&value).unwrap_or_default();
                if text.len() < FILE {
                    return format!("{}\n", escape::json(&text));
                }
                cut(&mut value, most);
            }
            String::from("{}\n")
        }
    }
}

/// As many lines as fit, and a last one about the others.
fn bounded(lines: impl Iterator<Item = String>, more: impl Fn(usize) -> String) -> String {
    let (mut text, mut left_out) = (String::new(), 0);
    for line in lines {
        if left_out > 0 || text.len() + line.len() >= FILE {
            left_out += 1;
        } else {
            text.push_str(&line);
            text.push('\n');
        }
    }
    if left_out > 0 {
        text.push_str(&more(left_out));
        text.push('\n');
    }
    text
}

fn cut(value: &mut Value, most: usize) {
    match value {
        Value::Array(values) => {
            let more = values.len().saturating_sub(most);
            values.truncate(most);
            if more > 0 {
                values.push(format!("... ({more} more)").into());
            }
            values.iter_mut().for_each(|value| cut(value, most));
        }
        Value::Object(fields) => fields.values_mut().for_each(|value| cut(value, most)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_bounded_and_lines_are_whole() {
        let mut files = Files::default();
        let long = "x".repeat(4000);
        files.text("a.txt", format!("{long}\n").repeat(3000));
        let listing: Listing = (0..3000).map(|_| json!({ "a": long })).collect();
        files.listing("b.jsonl", listing);
        files.json("c.json", json!({ "a": vec![long.clone(); 3000] }));
        let rendered = files.render();
        for (name, bytes) in &rendered {
            assert!(bytes.len() <= FILE + 100, "{name}: {}", bytes.len());
            assert!(bytes.ends_with(b"\n"), "{name}");
        }
        let lines = String::from_utf8(rendered["b.jsonl"].clone()).unwrap();
        let last: Value = serde_json::from_str(lines.lines().last().unwrap()).unwrap();
        let written = lines.lines().count() as u64 - 1;
        assert_eq!(last["leftOut"].as_u64().map(|left| left + written), Some(3000));
        let value: Value = serde_json::from_slice(&rendered["c.json"]).unwrap();
        assert_eq!(value["a"][1000], "... (2000 more)");
    }

    #[test]
    fn all_files_together_are_bounded_and_what_does_not_fit_is_named() {
        let names = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j"];
        let mut files = Files::default();
        for name in names {
            files.text(name, "y\n".repeat(FILE / 2 - 1));
        }
        let rendered = files.render();
        assert!(rendered.values().map(Vec::len).sum::<usize>() <= ALL + 1000);
        let missing = String::from_utf8(rendered["missing.txt"].clone()).unwrap();
        assert!(missing.contains("j: the bundle would be larger"), "{missing}");
    }

    #[test]
    fn foreign_text_begins_no_line() {
        let mut files = Files::default();
        files.json("a.json", json!({ "a": "x\u{1b}[31m\u{202e}" }));
        files.text("b.txt", "x\u{1b}[31m\n");
        for bytes in files.render().values() {
            assert!(!String::from_utf8_lossy(bytes).contains(['\u{1b}', '\u{202e}']));
        }
    }
}
