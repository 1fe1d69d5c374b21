//! Suggestions as text: YAML with comments, and JSON for scripts.

use serde_json::{Value, json};

use super::{Change, Entry, Note, Suggestions, change::LONGEST, comment::one_line};
use crate::yaml::written;

/// Writes a comment, whatever text it has.
fn comment(text: &mut String, line: &str) {
    let line = format!("# {}", one_line(line));
    text.push_str(line.trim_end());
    text.push('\n');
}

fn document(text: &mut String, document: &Value) {
    for line in written(document) {
        text.push_str(&line);
        text.push('\n');
    }
}

impl Suggestions {
    /// Every object that is ready to apply, as documents with comments that say why, and what else there is as comments.
    pub fn yaml(&self) -> String {
        let mut text = String::new();
        comment(&mut text, &self.summary());
        for entry in &self.entries {
            entry.write(&mut text);
        }
        for change in &self.changes {
            change.write(&mut text);
        }
        if !self.notes.is_empty() {
            text.push_str("---\n");
            comment(&mut text, "Not suggested:");
        }
        for note in &self.notes {
            comment(&mut text, &format!("- {note}"));
        }
        text
    }

    /// A List of every object that is ready to apply, with patches and what could not be suggested beside the items.
    pub fn json(&self) -> Value {
        let new = self.entries.iter().map(|entry| entry.document.clone());
        let whole = self.changes.iter().filter_map(|change| change.whole.clone());
        let used = self.entries.iter().map(|entry| (&entry.id, &entry.comments));
        let changed = self.changes.iter().map(|change| (&change.id, &change.comments));
        let comments = used.chain(changed).map(|(id, comments)| {
            json!({ "namespace": id.namespace.as_str(), "name": id.name, "comments": comments })
        });
        json!({
            "apiVersion": "v1",
            "kind": "List",
            "items": new.chain(whole).collect::<Vec<_>>(),
            "comments": comments.collect::<Vec<_>>(),
            "changes": self.changes.iter().map(Change::json).collect::<Vec<_>>(),
            "notes": self.notes.iter().map(Note::json).collect::<Vec<_>>(),
        })
    }

    fn summary(&self) -> String {
        let (entries, changes) = (self.entries.len(), self.changes.len());
        if entries + changes > 0 {
            let of = |number: usize, one: &str, more: &str| {
                format!("{number} {}", if number == 1 { one } else { more })
            };
            let entries = of(entries, "new ServiceEntry", "new ServiceEntries");
            return format!(
                "{entries} and {} of present ones.",
                of(changes, "change", "changes")
            );
        }
        if self.notes.is_empty() {
            "Nothing to suggest: the registry allows everything that was seen.".to_owned()
        } else {
            "Nothing to suggest.".to_owned()
        }
    }
}

impl Entry {
    fn write(&self, text: &mut String) {
        text.push_str("---\n");
        self.comments.iter().for_each(|line| comment(text, line));
        document(text, &self.document);
    }
}

impl Change {
    fn write(&self, text: &mut String) {
        text.push_str("---\n");
        comment(text, &format!("{}, changed:", self.id));
        self.difference().iter().for_each(|line| comment(text, line));
        self.comments.iter().for_each(|line| comment(text, line));
        match &self.whole {
            Some(whole) => document(text, whole),
            None if self.command().len() > LONGEST => {
                comment(text, "Its text is not among the files; `-o json` has the patch.");
            }
            None => {
                comment(text, "Its text is not among the files, so that this does it:");
                comment(text, &self.command());
            }
        }
    }

    fn json(&self) -> Value {
        json!({
            "kind": "ServiceEntry",
            "namespace": self.id.namespace.as_str(),
            "name": self.id.name,
            "patch": self.patch,
            "difference": self.difference(),
            "command": self.command(),
        })
    }
}

impl Note {
    fn json(&self) -> Value {
        json!({ "what": self.what, "reason": self.reason, "instead": self.instead })
    }
}

/// `frontend/web -> tcp db:5432: …; instead: …`
impl std::fmt::Display for Note {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.what, self.reason)?;
        match &self.instead {
            Some(instead) => write!(f, "; instead: {instead}"),
            None => Ok(()),
        }
    }
}
