//! Workloads and the cgroups at which they are enforced.

use std::collections::BTreeMap;

use enforcer_core::model::{self, Labels, Namespace, Workload};

use super::{
    cgroup::CgroupPath,
    enums::PodMode,
    error::{ErrorKind, Findings},
    place::{self, Place, Placed},
    raw::{At, RawWorkload},
};

/// A workload and its cgroup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkloadConfig {
    /// How its cgroup is named.
    pub place: Place,
    /// Its cgroup.
    pub cgroup: CgroupPath,
    /// The workload of the cgroup.
    pub workload: Workload,
}

/// Where the programs are attached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Roots {
    /// At each workload's own cgroup.
    EachWorkload,
    /// At these, none within another; every configured workload is at or below one of them. Never empty.
    These(Vec<CgroupPath>),
}

/// The workloads, in the order of the file.
pub(super) fn workloads(raw: Vec<At<RawWorkload>>, findings: &mut Findings) -> Vec<(u64, WorkloadConfig)> {
    let mut cgroups = BTreeMap::new();
    let mut names = BTreeMap::new();
    let mut found = Vec::new();
    for At { line, value: raw } in raw {
        let placed = place::of_workload(&raw, line, findings);
        let labels = raw.labels.unwrap_or_default();
        let labels = findings.keep("workloads.labels", line, checked_labels(labels));
        let namespace = findings.read("workloads.namespace", &raw.namespace, |name| namespace(name));
        let name = match (&raw.name, &placed) {
            (Some(name), _) => findings.read("workloads.name", name, |name| named(name)),
            (None, Some(placed)) => Some(placed.name.clone()),
            (None, None) => None,
        };
        let (Some(labels), Some(namespace), Some(placed), Some(name)) = (labels, namespace, placed, name)
        else {
            continue;
        };
        let Placed {
            place,
            cgroup,
            line: cgroup_line,
            ..
        } = placed;
        let mut workload = Workload::new(namespace, &name, labels);
        workload.enforcement = raw.mode.map(enforcement);
        let title = workload.to_string();
        let line = line.unwrap_or_default();
        if let Some(other) = cgroups.insert(cgroup.clone(), format!("{title} (line {line})")) {
            let cgroup = cgroup.to_string();
            findings.add(cgroup_line, ErrorKind::SameCgroup { cgroup, other });
        } else if let Some(other) = names.insert(title.clone(), line) {
            findings.add(
                Some(line),
                ErrorKind::SameWorkload {
                    workload: title,
                    other,
                },
            );
        }
        found.push((
            line,
            WorkloadConfig {
                place,
                cgroup,
                workload,
            },
        ));
    }
    found
}

/// The roots; checks that every workload is at or below one of them.
pub(super) fn roots(
    raw: Option<At<Vec<At<String>>>>,
    workloads: &[(u64, WorkloadConfig)],
    findings: &mut Findings,
) -> Roots {
    let Some(raw) = raw else {
        return Roots::EachWorkload;
    };
    if raw.value.is_empty() {
        let problem =
            "an empty list would enforce nothing; remove the key to enforce each workload's own cgroup";
        findings.value("roots", raw.line, problem.to_owned());
    }
    let mut roots: Vec<CgroupPath> = Vec::new();
    let mut is_complete = true;
    for path in &raw.value {
        let Some((root, _)) = place::of_path("roots", path, findings) else {
            is_complete = false;
            continue;
        };
        match roots
            .iter()
            .find(|other| root.is_within(other) || other.is_within(&root))
        {
            Some(other) => {
                let problem = format!("{root} and {other} overlap; keep the outer one");
                findings.value("roots", path.line, problem);
            }
            None => roots.push(root),
        }
    }
    for (line, entry) in workloads {
        let WorkloadConfig {
            place,
            cgroup,
            workload,
        } = entry;
        if is_complete && !roots.is_empty() && !roots.iter().any(|root| cgroup.is_within(root)) {
            let problem =
                format!("{cgroup} of {workload} is below none of the roots, so nothing would enforce it");
            findings.value(place.key(), Some(*line), problem);
        }
    }
    Roots::These(roots)
}

/// A namespace is a DNS label (RFC 1123), as Kubernetes has it.
///
/// # Errors
/// That it is none, in one line.
pub fn namespace(name: &str) -> Result<Namespace, String> {
    let is_inner = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-';
    let is_label = (1..=63).contains(&name.len())
        && name.bytes().all(is_inner)
        && !name.starts_with('-')
        && !name.ends_with('-');
    if is_label {
        Ok(Namespace::new(name))
    } else {
        Err(format!(
            "{name:?} is not a namespace: lower-case letters, digits and inner hyphens, at most 63"
        ))
    }
}

fn enforcement(mode: PodMode) -> model::Enforcement {
    match mode {
        PodMode::Enforce => model::Enforcement::Enforce,
        PodMode::Audit => model::Enforcement::Audit,
        PodMode::Off => model::Enforcement::Off,
    }
}

fn named(name: &str) -> Result<String, String> {
    if name.is_empty() || name.contains(|c: char| c == '/' || c.is_whitespace() || c.is_control()) {
        Err(format!(
            "{name:?} is not a name: it must not be empty or contain spaces or slashes"
        ))
    } else {
        Ok(name.to_owned())
    }
}

/// Labels must be valid in Kubernetes, since no selector could match others.
///
/// # Errors
/// What is wrong with the first that is not, in one line.
pub fn checked_labels(labels: Labels) -> Result<Labels, String> {
    let is_word = |text: &str| {
        let is_edge = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
        text.len() <= 63
            && text
                .bytes()
                .all(|c| c.is_ascii_alphanumeric() || b"-_.".contains(&c))
            && is_edge(text.chars().next())
            && is_edge(text.chars().last())
    };
    for (key, value) in &labels {
        let name = key.rsplit_once('/').map_or(key.as_str(), |(_, name)| name);
        if !is_word(name) {
            return Err(format!("{key:?} is not a label key"));
        }
        if !(value.is_empty() || is_word(value)) {
            return Err(format!("{value:?} is not a value of the label {key:?}"));
        }
    }
    Ok(labels)
}
