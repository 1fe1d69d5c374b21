//! Circles among the modules that lie beside each other, each taken with all that is within it.
//!
//! What a module and those within it use of each other is left out: they are one. The crate's root is beside its
//! modules, since it is what users of the crate see.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use crate::{arrows::Arrow, source::ModulePath};

/// What the crate's root is called beside its modules.
pub(crate) const ROOT: &str = "(root)";

/// An arrow between two modules that lie within the same one.
pub(crate) type Sibling = (String, String);

/// Modules of which each leads to each.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Circle {
    /// The module in which they lie; empty for the crate.
    pub(crate) within: String,
    /// The arrows among them, with the first path that makes each.
    pub(crate) arrows: BTreeMap<Sibling, String>,
}

impl Circle {
    pub(crate) fn modules(&self) -> BTreeSet<&str> {
        self.arrows.keys().map(|(from, _)| from.as_str()).collect()
    }
}

impl fmt::Display for Circle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a circle in `{}`: {:?}", self.within, self.modules())?;
        for ((from, to), by) in &self.arrows {
            write!(f, "\n    {from} -> {to}: {by}")?;
        }
        Ok(())
    }
}

/// The circles of a crate.
pub(crate) fn circles(arrows: &BTreeSet<Arrow>) -> Vec<Circle> {
    let mut levels: BTreeMap<String, BTreeMap<Sibling, String>> = BTreeMap::new();
    for arrow in arrows {
        if let Some((within, sibling)) = siblings(arrow) {
            let by = || format!("{} has {}", arrow.from.join("::"), arrow.by);
            levels
                .entry(within)
                .or_default()
                .entry(sibling)
                .or_insert_with(by);
        }
    }
    let mut circles = Vec::new();
    for (within, arrows) in levels {
        let mut left: BTreeSet<&str> = arrows.keys().map(|(from, _)| from.as_str()).collect();
        while let Some(first) = left.pop_first() {
            let ahead = reached(first, &arrows);
            let modules: BTreeSet<&str> = ahead
                .into_iter()
                .filter(|module| reached(module, &arrows).contains(first))
                .collect();
            left.retain(|module| !modules.contains(module));
            if !modules.is_empty() {
                let is_within =
                    |(from, to): &Sibling| modules.contains(from.as_str()) && modules.contains(to.as_str());
                let arrows = arrows.iter().filter(|(arrow, _)| is_within(arrow));
                circles.push(Circle {
                    within: within.clone(),
                    arrows: arrows.map(|(arrow, by)| (arrow.clone(), by.clone())).collect(),
                });
            }
        }
    }
    circles
}

/// Where the two ends of an arrow part: the module in which both lie, and the modules there that have them. None if
/// one end lies within the other.
pub(crate) fn siblings(arrow: &Arrow) -> Option<(String, Sibling)> {
    let shared = arrow
        .from
        .iter()
        .zip(&arrow.to)
        .take_while(|(a, b)| a == b)
        .count();
    let part = |path: &ModulePath| match path.get(shared) {
        Some(name) => Some(name.clone()),
        None => (shared == 0).then(|| ROOT.to_owned()),
    };
    let sibling = (part(&arrow.from)?, part(&arrow.to)?);
    Some((arrow.from[..shared].join("::"), sibling))
}

/// What `from` leads to, by one arrow or more.
fn reached<'a>(from: &str, arrows: &'a BTreeMap<Sibling, String>) -> BTreeSet<&'a str> {
    let mut reached = BTreeSet::new();
    let mut open = vec![from];
    while let Some(at) = open.pop() {
        for (_, to) in arrows.keys().filter(|(from, _)| from == at) {
            if reached.insert(to.as_str()) {
                open.push(to);
            }
        }
    }
    reached
}
