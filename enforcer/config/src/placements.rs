//! Where enforcement has to be before anything runs there: what systemd is told at boot.
//!
//! This is read also from a configuration that is wrong, as far as it can be, so that a mistake in it opens nothing.

use std::path::{Path, PathBuf};

use enforcer_core::model::Enforcement as Mode;

use super::{
    config::Config,
    enums::Enforcement,
    error::ConfigErrors,
    place::{Place, found},
    unit_name::{ServiceName, SliceName},
    workloads::Roots,
};

/// A workload or root that systemd knows, and how far it is enforced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placement {
    /// Where it is.
    pub place: Place,
    /// How far it is enforced.
    pub mode: Mode,
}

impl Config {
    /// What is configured of systemd's: workloads in the order of the file, then roots.
    pub fn placements(&self) -> Vec<Placement> {
        let default = match self.enforcement {
            Enforcement::Enforce => Mode::Enforce,
            Enforcement::Audit => Mode::Audit,
        };
        let workloads = self.workloads.iter().filter(|entry| entry.place != Place::Cgroup);
        let workloads = workloads.map(|entry| Placement {
            place: entry.place.clone(),
            mode: entry.workload.enforcement.unwrap_or(default),
        });
        let roots = match &self.roots {
            Roots::EachWorkload => [].iter(),
            Roots::These(roots) => roots.iter(),
        };
        let roots = roots.filter_map(|root| {
            Some(Placement {
                place: Place::Slice(SliceName::of_path(root.as_str())?),
                mode: default,
            })
        });
        workloads.chain(roots).collect()
    }
}

/// What a configuration that is wrong may mean: the places of its list items, those with a mode of their own that refuses
/// nothing left out.
pub fn salvage(text: &str) -> Vec<Placement> {
    let lines: Vec<&str> = text.lines().map(without_comment).collect();
    let is_audit = |line: &&str| value(line, "mode") == Some("audit") && !line.starts_with([' ', '-']);
    if lines.iter().any(is_audit) {
        return Vec::new();
    }
    let mut items: Vec<Vec<&str>> = Vec::new();
    for line in lines {
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
    let places = places.filter_map(|line| place(line));
    places
        .map(|place| Placement {
            place,
            mode: Mode::Enforce,
        })
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

fn place(line: &str) -> Option<Place> {
    if let Some(unit) = value(line, "unit") {
        return ServiceName::parse(unit).ok().map(Place::Unit);
    }
    if let Some(slice) = value(line, "slice") {
        return SliceName::parse(slice).ok().map(Place::Slice);
    }
    if let Some(user) = value(line, "user") {
        return found(user).ok().map(|(uid, _)| Place::User(uid));
    }
    SliceName::of_path(value(line, "cgroup")?).map(Place::Slice)
}

/// The value of a key in a line, in a block or in braces.
fn value<'a>(line: &'a str, key: &str) -> Option<&'a str> {
    let is_key = |(at, _): &(usize, &str)| {
        let before = line[..*at].chars().next_back();
        before.is_none_or(|before| before.is_whitespace() || "{,-".contains(before))
    };
    let pattern = format!("{key}:");
    let (at, _) = line.match_indices(pattern.as_str()).find(is_key)?;
    let rest = line[at + pattern.len()..].trim_start();
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

    #[test]
    fn roots_are_among_them() {
        let text = "roots: [/a.slice, /plain]\nworkloads: [{namespace: a, slice: a-b.slice, mode: audit}]";
        let config = Config::parse(text, Path::new("f")).unwrap().placements();
        assert_eq!(slices(&config), ["a-b.slice", "a.slice"]);
        assert_eq!((config[0].mode, config[1].mode), (Mode::Audit, Mode::Enforce));
    }
}
