//! A value as YAML that people write: no quotes where none are needed, lists under their key.
//!
//! Whatever a text holds, no character of it can begin a line or be taken for something else than text.

use serde_json::Value;

/// The lines of a document.
pub(crate) fn written(value: &Value) -> Vec<String> {
    match value {
        Value::Object(fields) if !fields.is_empty() => fields
            .iter()
            .flat_map(|(key, value)| field(&text(key), value))
            .collect(),
        Value::Array(items) if !items.is_empty() => items.iter().flat_map(item).collect(),
        scalar => vec![one(scalar)],
    }
}

fn field(key: &str, value: &Value) -> Vec<String> {
    let inner = written(value);
    match value {
        Value::Object(fields) if !fields.is_empty() => headed(key, inner, "  "),
        Value::Array(items) if !items.is_empty() => headed(key, inner, ""),
        scalar => vec![format!("{key}: {}", one(scalar))],
    }
}

fn headed(key: &str, inner: Vec<String>, indent: &str) -> Vec<String> {
    let inner = inner.into_iter().map(|line| format!("{indent}{line}"));
    [format!("{key}:")].into_iter().chain(inner).collect()
}

fn item(value: &Value) -> Vec<String> {
    let inner = written(value).into_iter().enumerate();
    inner
        .map(|(number, line)| format!("{}{line}", if number == 0 { "- " } else { "  " }))
        .collect()
}

fn one(value: &Value) -> String {
    match value {
        Value::String(value) => text(value),
        // `null`, `true`, numbers, `{}` and `[]` are the same as in JSON.
        other => other.to_string(),
    }
}

/// Words that YAML, in one version or another, does not take for text.
const WORDS: [&str; 10] = ["true", "false", "null", "yes", "no", "on", "off", "y", "n", "nan"];

fn text(text: &str) -> String {
    let begins = text.starts_with(|first: char| first.is_ascii_alphabetic());
    let is_plain = |it: char| it.is_ascii_alphanumeric() || matches!(it, '.' | '-' | '_' | '/');
    let is_word = WORDS.iter().any(|word| text.eq_ignore_ascii_case(word));
    if begins && text.chars().all(is_plain) && !is_word {
        return text.to_owned();
    }
    let quoted: String = text.chars().map(escaped).collect();
    format!("\"{quoted}\"")
}

/// A character between double quotes (YAML 1.2, 5.7).
fn escaped(character: char) -> String {
    match u32::from(character) {
        0x22 | 0x5c => format!("\\{character}"),
        0x20..=0x7e => character.to_string(),
        short @ ..=0xffff => format!("\\u{short:04x}"),
        long => format!("\\U{long:08x}"),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::yaml::split;

    fn reread(value: &Value) -> Value {
        let text = written(value).join("\n");
        let documents = split(&text);
        assert_eq!(documents.len(), 1, "{text}");
        documents[0]
            .parse()
            .unwrap_or_else(|error| panic!("{error}: {text}"))
    }

    #[test]
    fn lists_stand_under_their_key_and_plain_text_has_no_quotes() {
        let value = json!({"spec": {"hosts": ["db.example.com", "*.example.com"], "ports": [{"number": 1, "name": "a"}]}});
        assert_eq!(
            written(&value).join("\n"),
            "spec:\n  hosts:\n  - db.example.com\n  - \"*.example.com\"\n  ports:\n  - number: 1\n    name: a"
        );
    }

    #[test]
    fn text_stays_text() {
        for text in [
            "",
            "no",
            "~",
            "1e3",
            "0x1",
            "a: b",
            "- a",
            "#",
            "\n---\na: b",
            "\u{2028}",
            "\u{1f600}",
            "a #b",
            ".nan",
        ] {
            let value = json!({"a": [text], text: {"b": text}});
            assert_eq!(reread(&value), value, "{text:?}");
        }
    }

    fn value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            ".{0,8}".prop_map(Value::from),
            any::<i32>().prop_map(Value::from),
            any::<bool>().prop_map(Value::from),
            Just(Value::Null),
        ];
        leaf.prop_recursive(3, 24, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map(".{0,6}", inner, 0..4)
                    .prop_map(|fields| fields.into_iter().collect()),
            ]
        })
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_again(inner in value()) {
            let value = json!({ "a": inner });
            prop_assert_eq!(reread(&value), value);
        }
    }
}
