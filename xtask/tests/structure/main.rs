//! The imports of every crate go one way: no circle between modules, and no arrow against the layers that
//! ARCHITECTURE.md states.
//!
//! ```text
//! a crate's files -> source (modules and their names) -> arrows (who uses whom) -> circles
//!                                     ARCHITECTURE.md -> layers -----------------> breaches
//! ```
//!
//! Tests are left out: what only they use is no part of the crate.

mod arrows;
mod circles;
mod layers;
mod made_up;
mod source;

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use arrows::arrows;
use circles::circles;
use layers::{Layers, breaches};
use source::Crate;

#[test]
fn modules_of_a_crate_form_no_circle() {
    let mut wrong = Vec::new();
    for (name, modules) in crates() {
        wrong.extend(
            circles(&arrows(&modules))
                .iter()
                .map(|circle| format!("{name}: {circle}")),
        );
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn modules_keep_the_layers_that_the_architecture_states() {
    let text = fs::read_to_string(workspace().join("ARCHITECTURE.md")).unwrap();
    let stated = layers::read(&text).unwrap();
    let crates = crates();
    let mut wrong = Vec::new();
    for (name, modules) in &crates {
        match stated.get(name) {
            Some(layers) => wrong.extend(check(name, modules, layers)),
            None => wrong.push(format!("{name} has no row in ARCHITECTURE.md, \"Layers\"")),
        }
    }
    let unknown = stated.keys().filter(|name| !crates.contains_key(*name));
    wrong.extend(unknown.map(|name| format!("ARCHITECTURE.md has layers of {name}, which is no crate")));
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn files_that_the_architecture_names_are_there() {
    let text = fs::read_to_string(workspace().join("ARCHITECTURE.md")).unwrap();
    let named: Vec<&str> = text
        .split('`')
        .filter(|name| name.starts_with("enforcer") && name.ends_with(".rs"))
        .collect();
    assert!(named.len() > 9, "{named:?}");
    let missing = named.iter().filter(|name| !workspace().join(name).is_file());
    assert_eq!(missing.collect::<Vec<_>>(), [] as [&&str; 0]);
}

fn check(name: &str, modules: &Crate, layers: &Layers) -> Vec<String> {
    let breaches = breaches(modules, &arrows(modules), layers).into_iter();
    breaches.map(|breach| format!("{name}: {breach}")).collect()
}

/// Every crate of the workspace, by its folder.
fn crates() -> BTreeMap<String, Crate> {
    let manifest = fs::read_to_string(workspace().join("Cargo.toml")).expect("the workspace has a manifest");
    let members = manifest
        .split("members = [")
        .nth(1)
        .and_then(|rest| rest.split(']').next());
    let members = members
        .expect("the manifest lists the members")
        .split('"')
        .skip(1)
        .step_by(2);
    let crates: BTreeMap<String, Crate> = members
        .map(|member| {
            let folder = workspace().join(member).join("src");
            let read = |file: &str| fs::read_to_string(folder.join(file)).ok();
            let read = Crate::read(&read).unwrap_or_else(|error| panic!("{member}: {error}"));
            (member.to_owned(), read)
        })
        .collect();
    assert!(crates.contains_key("enforcer/core") && crates.contains_key("xtask"));
    crates
}

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}
