//! What a configuration that is wrong may mean, so that a mistake in it opens nothing.
//!
//! Most mistakes leave YAML, of which each workload is read by itself. Where it is none, its lines are.

use std::path::{Path, PathBuf};

use enforcer_core::model::Enforcement as Mode;
use serde_json::Value;

use super::{
    config::Config,
    error::ConfigErrors,
    place::{Place, found},
    placements::Placement,
    unit_name::{ServiceName, SliceName},
};

/// The places of workloads and roots, those with a mode that refuses nothing left out.
fn salvage(text: &str) -> Vec<Placement> {
    let places = match serde_yaml::from_str::<Value>(text) {
        Ok(document) if document.is_object() => of_document(&document),
        _ => of_lines(text),
    };
    let enforced = |place| Placement {
        place,
        mode: Mode::Enforce,
    };
    places.into_iter().map(enforced).collect()
}

fn of_document(document: &Value) -> Vec<Place> {
    let is_refused = |value: &Value, default: bool| match value["mode"].as_str() {
        // YAML 1.1 reads `off` as false.
        _ if value["mode"] == Value::Bool(false) => false,
        Some("off" | "audit") => false,
        Some("enforce") => true,
        _ => default,
    };
    let default = is_refused(document, true);
    let list = |key: &str| document[key].as_array().cloned().unwrap_or_default();
    let workloads = list("workloads");
    let workloads = workloads.iter().filter(|item| is_refused(item, default));
    let workloads = workloads.filter_map(|item| {
        let text = |key: &str| match &item[key] {
            Value::String(text) => Some(text.clone()),
            Value::Number(number) => Some(number.to_string()),
            _ => None,
        };
        place(text)
    });
    let roots = list("roots");
    let roots = roots.iter().filter(|_| default).filter_map(Value::as_str);
    let roots = roots.filter_map(|root| SliceName::of_path(root).map(Place::Slice));
    workloads.chain(roots).collect()
}

/// The place that an item's keys name.
fn place(value: impl Fn(&str) -> Option<String>) -> Option<Place> {
    if let Some(unit) = value("unit") {
        return ServiceName::parse(&unit).ok().map(Place::Unit);
    }
    if let Some(slice) = value("slice") {
        return SliceName::parse(&slice).ok().map(Place::Slice);
    }
    if let Some(user) = value("user") {
        return found(&user).ok().map(|(uid, _)| Place::User(uid));
    }
    SliceName::of_path(&value("cgroup")?).map(Place::Slice)
}

fn of_lines(text: &str) -> Vec<Place> {
    let lines: Vec<String> = text.lines().map(without_comment).map(without_labels).collect();
    let is_audit = |line: &String| line.starts_with("mode:") && value(line, "mode") == Some("audit");
    if lines.iter().any(is_audit) {
        return Vec::new();
    }
    let mut items: Vec<Vec<&str>> = Vec::new();
    for line in &lines {
        if line.trim_start().starts_with('-') || !line.starts_with(' ') {
            items.push(Vec::new());
        }
        // Items in braces stand side by side, too.
        for part in line.split_inclusive('}') {
            let item = items.last_mut();
            item.into_iter().for_each(|item| item.push(part));
            if part.ends_with('}') {
                items.push(Vec::new());
            }
        }
    }
    let is_refused = |item: &&Vec<&str>| {
        let mode = item.iter().find_map(|line| value(line, "mode"));
        !matches!(mode, Some("off" | "audit"))
    };
    let places = items.iter().filter(is_refused).flat_map(|item| item.iter());
    places.flat_map(|line| of_line(line)).collect()
}

/// An item's own braces are its labels, whose keys mean nothing here.
fn without_labels(line: &str) -> String {
    let labels = line.split_once("labels:");
    let braces = labels.and_then(|(before, rest)| Some((before, rest.trim_start().strip_prefix('{')?)));
    match braces.and_then(|(before, rest)| Some((before, rest.split_once('}')?.1))) {
        Some((before, after)) => format!("{before}{after}"),
        None => line.to_owned(),
    }
}

/// The place that a line's keys name, else every slice whose path is in it, such as roots.
fn of_line(line: &str) -> Vec<Place> {
    let named = place(|key| value(line, key).map(str::to_owned));
    if let Some(named) = named {
        return vec![named];
    }
    let words = line.split([' ', ',', '[', ']', '{', '}', '"', '\'']);
    words
        .filter_map(|word| SliceName::of_path(word).map(Place::Slice))
        .collect()
}

/// What is configured in a file, read by [`salvage`] if it is wrong, and what is wrong with it.
///
/// # Errors
/// If it cannot be read at all.
pub fn placements(file: &Path) -> std::io::Result<(Vec<Placement>, Option<ConfigErrors>)> {
    let bytes = std::fs::read(file)?;
    let text = String::from_utf8_lossy(&bytes);
    Ok(match Config::load(file) {
        Ok(config) => (config.placements(), None),
        Err(errors) => (salvage(&text), Some(errors)),
    })
}

/// The folder of the state that a configuration names which is wrong elsewhere.
pub fn salvage_state(text: &str) -> Option<PathBuf> {
    let mut lines = text.lines().map(without_comment);
    let state = lines.find_map(|line| value(line, "state").filter(|_| line.starts_with("state")))?;
    Some(state.into())
}

fn without_comment(line: &str) -> &str {
    let is_comment = |(at, _): &(usize, &str)| *at == 0 || line[..*at].ends_with(char::is_whitespace);
    let comment = line.match_indices('#').find(is_comment);
    comment.map_or(line, |(at, _)| &line[..at])
}

/// The value of a key in a line, in a block or in braces.
fn value<'a>(line: &'a str, key: &str) -> Option<&'a str> {
    let is_key = |(at, _): &(usize, &str)| {
        let before = line[..*at].chars().next_back();
        before.is_none_or(|before| before.is_whitespace() || "{,-\"'".contains(before))
    };
    let rest = line.match_indices(key).filter(is_key).find_map(|(at, _)| {
        let rest = line[at + key.len()..].trim_start_matches(['"', '\'']);
        rest.trim_start().strip_prefix(':')
    });
    let rest = rest?.trim_start();
    let end = rest.find([',', '}', ' ', '\t']).unwrap_or(rest.len());
    let value = rest[..end].trim_matches(['"', '\'']);
    (!value.is_empty()).then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slices(placements: &[Placement]) -> Vec<String> {
        let slices = placements.iter().filter_map(|it| it.place.slice());
        slices.map(|slice| slice.as_str().to_owned()).collect()
    }

    const TEXT: &str = "
mode: enforce
workloads:
- namespace: a
  unit: app.service   # the app
- namespace: b
  # slice: not.slice
  slice: \"jobs.slice\"
- {namespace: c, user: 1000}
- {namespace: d, cgroup: /x.slice, labels: {a: b}}
- namespace: e
  unit: resolver.service
  mode: off
- namespace: f
  cgroup: /plain
";

    #[test]
    fn wrong_configuration_is_read_as_far_as_it_can_be() {
        let right = Config::parse(TEXT, Path::new("f")).unwrap().placements();
        let enforced: Vec<_> = right.into_iter().filter(|it| it.mode == Mode::Enforce).collect();
        let expected = ["enforcer-app.slice", "jobs.slice", "user-1000.slice", "x.slice"];
        assert_eq!(slices(&enforced), expected);
        for mistake in ["nonsense: [", "dns: {timeout: x}", "\t- {{", "workloads: 5"] {
            let text = format!("{TEXT}{mistake}\n");
            assert!(Config::parse(&text, Path::new("f")).is_err());
            assert_eq!(salvage(&text), enforced, "{mistake}");
        }
    }

    #[test]
    fn wrong_configuration_that_only_audits_closes_nothing() {
        let text = TEXT.replace("mode: enforce", "mode: audit");
        assert!(salvage(&format!("{text}nonsense: [")).is_empty());
    }

    /// Ways to write a workload or root, each with what has to be closed.
    const SPELLINGS: [(&str, &[&str]); 9] = [
        (
            "workloads: [{namespace: a, slice: a.slice, mode: audit}, {namespace: b, slice: b.slice}]",
            &["b.slice"],
        ),
        (
            "roots: [/frontend.slice, '/b.slice']",
            &["frontend.slice", "b.slice"],
        ),
        ("roots:\n- /frontend.slice", &["frontend.slice"]),
        (
            "workloads: [{namespace: a, labels: {mode: audit}, slice: a.slice}]",
            &["a.slice"],
        ),
        (
            "workloads:\n- namespace: a\n  labels:\n    app: x\n  slice: a.slice",
            &["a.slice"],
        ),
        (
            r#"{"workloads": [{"namespace": "a", "slice": "a.slice"}]}"#,
            &["a.slice"],
        ),
        (
            "roots: [/a.slice]\nworkloads: [{namespace: a, cgroup: /a.slice/x}]",
            &["a.slice"],
        ),
        (
            "workloads: [{namespace: a, labels: {app: ssh}, mode: off, unit: ssh.service}]",
            &[],
        ),
        (
            "workloads: [{namespace: a, user: 1000, mode: enforce}]",
            &["user-1000.slice"],
        ),
    ];

    #[test]
    fn each_spelling_is_understood_beside_a_mistake() {
        for (text, expected) in SPELLINGS {
            let unknown_key = match text.strip_suffix('}').filter(|_| text.starts_with('{')) {
                Some(json) => format!("{json}, \"nonsense\": 1}}"),
                None => format!("{text}\nnonsense: 1\n"),
            };
            assert!(
                Config::parse(&unknown_key, Path::new("f")).is_err(),
                "{unknown_key}"
            );
            assert_eq!(slices(&salvage(&unknown_key)), expected, "{unknown_key}");
            let no_yaml = format!("{text}\nnonsense: [\n");
            let closed = slices(&salvage(&no_yaml));
            assert!(
                expected.iter().all(|slice| closed.iter().any(|it| it == slice)),
                "{no_yaml}"
            );
        }
    }
}
