use std::os::unix::fs::symlink;

use proptest::prelude::*;

use super::*;

const SMALL: Limits = Limits {
    folders: 12,
    files: 8,
    bytes: 100,
    names: 16,
};

/// Files with a byte each, by paths; folders end with `/`, links have `->`.
fn tree(entries: &[&str]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for entry in entries {
        if let Some((from, to)) = entry.split_once("->") {
            symlink(folder.path().join(to), folder.path().join(from)).unwrap();
            continue;
        }
        let path = folder.path().join(entry);
        let parent = if entry.ends_with('/') {
            Some(path.as_path())
        } else {
            path.parent()
        };
        fs::create_dir_all(parent.unwrap()).unwrap();
        if !entry.ends_with('/') {
            fs::write(path, "#").unwrap();
        }
    }
    folder
}

/// What is found below `registry`, by name; with `!` what is unreadable.
fn found(folder: &tempfile::TempDir, limits: Limits) -> Vec<String> {
    let root = folder.path().join("registry");
    let walk = walk_within(std::slice::from_ref(&root), limits);
    assert!(walk.places.len() <= limits.folders);
    let name = |path: &PathBuf| path.strip_prefix(&root).unwrap().display().to_string();
    let found = walk.found.iter().map(|(path, found)| match found {
        Found::File(_) => name(path),
        _ => format!("!{}", name(path)),
    });
    found.collect()
}

#[test]
fn link_to_too_much_is_left_out_alone_and_as_a_whole() {
    let files: Vec<_> = (0..20).map(|number| format!("big/{number}/a.yaml")).collect();
    let mut entries: Vec<_> = files.iter().map(String::as_str).collect();
    entries.extend([
        "registry/a.yaml",
        "registry/team/z.yaml",
        "registry/team/link->big",
    ]);
    assert_eq!(
        found(&tree(&entries), SMALL),
        ["a.yaml", "!team/link", "team/z.yaml"]
    );
}

#[test]
fn folder_that_holds_too_much_is_left_out_alone() {
    let files: Vec<_> = (0..20)
        .map(|number| format!("registry/many/{number}.yaml"))
        .collect();
    let mut entries: Vec<_> = files.iter().map(String::as_str).collect();
    entries.extend(["registry/a.yaml", "registry/z/z.yaml"]);
    assert_eq!(found(&tree(&entries), SMALL), ["a.yaml", "!many", "z/z.yaml"]);
}

#[test]
fn registry_that_holds_too_much_by_itself_is_left_out() {
    let files: Vec<_> = (0..20).map(|number| format!("registry/{number}.yaml")).collect();
    let entries: Vec<_> = files.iter().map(String::as_str).collect();
    assert_eq!(found(&tree(&entries), SMALL), ["!"]);
}

#[test]
fn names_that_are_no_files_to_read_count_too() {
    let files: Vec<_> = (0..40)
        .map(|number| format!("registry/many/{number}.txt"))
        .collect();
    let mut entries: Vec<_> = files.iter().map(String::as_str).collect();
    entries.push("registry/z.yaml");
    assert_eq!(found(&tree(&entries), SMALL), ["!many", "z.yaml"]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn what_is_taken_is_within_the_limits_and_what_is_not_is_below_what_is_reported(
        files in prop::collection::btree_set("registry(/[a-d]){0,3}/[a-h]\\.yaml", 0..40),
        links in prop::collection::btree_map("registry/[k-m]", "(registry/[a-d]|other|registry)", 0..3),
    ) {
        let others: Vec<_> = (0..9).map(|number| format!("other/{number}/a.yaml")).collect();
        let links: Vec<_> = links.iter().map(|(from, to)| format!("{from}->{to}")).collect();
        let mut entries = vec!["registry/"];
        entries.extend(files.iter().chain(&others).chain(&links).map(String::as_str));
        let folder = tree(&entries);
        let found = found(&folder, SMALL);
        let taken = found.iter().filter(|name| !name.starts_with('!')).count();
        prop_assert!(taken <= SMALL.files);
        let all_fit = files.len() + others.len() <= SMALL.files;
        for file in &files {
            let name = file.strip_prefix("registry/").unwrap();
            let is_below = |left: &String| {
                left.strip_prefix('!').is_some_and(|left| Path::new(name).starts_with(left))
            };
            // A folder is read once, by whichever way comes first.
            let is_taken = found.iter().any(|found| found == name || found.ends_with(name.rsplit('/').next().unwrap()));
            prop_assert!(is_taken || found.iter().any(is_below), "{name} in {found:?}");
            prop_assert!(!all_fit || is_taken);
        }
    }
}
