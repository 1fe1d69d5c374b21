//! The layers that ARCHITECTURE.md states: a module uses only what is in a lower one.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    arrows::Arrow,
    circles::{ROOT, siblings},
    source::Crate,
};

/// The modules of a crate, lowest first; those of one layer do not use each other.
pub(crate) type Layers = Vec<Vec<String>>;

/// The table below the heading "Layers": for each crate its layers.
pub(crate) fn read(text: &str) -> Result<BTreeMap<String, Layers>, String> {
    let (_, section) = text
        .split_once("\n## Layers\n")
        .ok_or("ARCHITECTURE.md has no section \"Layers\"")?;
    let section = section.split("\n## ").next().unwrap_or_default();
    let rows = section.lines().filter(|line| line.starts_with("| `"));
    let mut crates = BTreeMap::new();
    for row in rows {
        let [_, name, layers, _] = row.split('|').map(str::trim).collect::<Vec<_>>()[..] else {
            return Err(format!("not two cells: {row}"));
        };
        let layers = layers.split(" < ").map(|layer| {
            let names = layer.split_whitespace().map(|name| name.trim_matches('`'));
            names.map(str::to_owned).collect()
        });
        if crates
            .insert(name.trim_matches('`').to_owned(), layers.collect())
            .is_some()
        {
            return Err(format!("{name} twice"));
        }
    }
    Ok(crates)
}

/// What of a crate is not as its layers say.
pub(crate) fn breaches(modules: &Crate, arrows: &BTreeSet<Arrow>, layers: &Layers) -> BTreeSet<String> {
    let mut breaches = BTreeSet::new();
    let mut heights: BTreeMap<&str, usize> = BTreeMap::new();
    for (height, name) in layers
        .iter()
        .enumerate()
        .flat_map(|(at, names)| names.iter().map(move |name| (at, name)))
    {
        if heights.insert(name, height).is_some() {
            breaches.insert(format!("{name} is in two layers"));
        }
        if !modules.has_child(&[], name) {
            breaches.insert(format!("{name} has a layer and is no module"));
        }
    }
    let tops = modules.modules.keys().filter_map(|path| path.first());
    let homeless = tops.filter(|name| !heights.contains_key(name.as_str()));
    breaches.extend(homeless.map(|name| format!("{name} has no layer")));
    // The root is above all.
    heights.insert(ROOT, layers.len());
    for arrow in arrows {
        let Some((_, sibling)) = siblings(arrow).filter(|(within, _)| within.is_empty()) else {
            continue;
        };
        let (from, to) = &sibling;
        let height = |name: &String| heights.get(name.as_str());
        if let (Some(above), Some(below)) = (height(from), height(to))
            && above <= below
        {
            let (from_file, by) = (arrow.from.join("::"), &arrow.by);
            breaches.insert(format!(
                "{from} is not above {to}, and uses it: {from_file} has {by}"
            ));
        }
    }
    breaches
}
