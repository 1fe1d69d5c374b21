//! What can be known where no enforcer runs: what is pinned, what the files say, and whether this kernel takes the
//! programs.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::DirEntryExt as _,
    path::{Path, PathBuf},
};

use enforcer_common::{Binding, CgroupId, Settings};
use enforcer_core::{documents::Documents, registry::Update};
use serde_json::{Value, json};

use super::{Files, Places, daemon::lines, journal};
use crate::{
    control::{Listing, NamedIn, described, held},
    datapath::{self, Capacities, CgroupMount, Datapath, Options},
    sources::files::{Content as Read, read_all},
    state,
};

/// Maps as small as they can be: only the programs are tried.
const SMALL: Capacities = Capacities {
    workloads: 64,
    policies: 64,
    exact: 64,
    prefixes: 64,
    ports: 64,
    hosts: 64,
};

/// A larger file is none of ours.
const LIMIT: u64 = 32 << 20;

/// Adds all of it.
pub(super) fn add(places: &Places, files: &mut Files) {
    add_maps(&places.bpffs, files);
    add_registry(places, files);
    add_known(places, files);
    try_programs(files);
    match journal::records() {
        Ok(records) => files.listing("log.jsonl", records),
        Err(why) => files.miss(
            "log.jsonl",
            format_args!(
                "the enforcer keeps its last records in memory, and {why:#}; `kubectl logs --previous` shows those of a \
                 pod that ended"
            ),
        ),
    }
    files.miss(
        "maps/pending.jsonl",
        "only an enforcer that runs knows what the maps should hold",
    );
    files.miss(
        "calls.jsonl, metrics.txt",
        "only an enforcer that runs tells them",
    );
}

fn add_maps(bpffs: &Path, files: &mut Files) {
    let generations = match datapath::pinned(bpffs) {
        Ok(generations) => generations,
        Err(error) => return files.miss("maps", format_args!("{error:#}")),
    };
    if generations.is_empty() {
        files.miss(
            "maps",
            format_args!("nothing is pinned below {}", bpffs.display()),
        );
    }
    let (mut summary, mut policies) = (Vec::new(), Listing::default());
    for generation in generations {
        let name = generation.name;
        match generation.held {
            Ok(applied) => {
                let paths = paths(&applied.workloads);
                let workload = |cgroup: CgroupId| match paths.get(&cgroup) {
                    Some(path) => format!("cgroup {path}"),
                    None => format!("cgroup {}", cgroup.0),
                };
                let (counts, listing) = held(
                    &applied,
                    NamedIn {
                        workload,
                        host: |_| None,
                    },
                );
                summary.push(json!({ "generation": name, "counts": counts }));
                policies.left_out += listing.left_out;
                for mut line in listing.lines {
                    line["generation"] = name.as_str().into();
                    policies.push(|| line);
                }
            }
            Err(error) => files.miss("maps", format_args!("{name}: {error:#}")),
        }
    }
    if !summary.is_empty() {
        files.json("maps/summary.json", json!({ "pinned": summary }));
        files.listing("maps/policies.jsonl", policies);
    }
}

/// The most cgroups that are looked at.
const CGROUPS: usize = 20_000;

/// The paths of cgroups, as far as they are found: a cgroup's number is that of its folder.
fn paths(wanted: &BTreeMap<CgroupId, Binding>) -> BTreeMap<CgroupId, String> {
    let mut found = BTreeMap::new();
    let Ok(mount) = CgroupMount::find() else {
        return found;
    };
    let mut left = vec![PathBuf::from("/")];
    for _ in 0..CGROUPS {
        let Some(path) = left.pop() else { break };
        for entry in fs::read_dir(mount.folder(&path)).into_iter().flatten().flatten() {
            if !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                continue;
            }
            let path = path.join(entry.file_name());
            let id = CgroupId(entry.ino());
            if wanted.contains_key(&id) {
                found.insert(id, path.display().to_string());
            }
            left.push(path);
        }
    }
    found
}

/// Adds the objects of the registry's files.
fn add_registry(places: &Places, files: &mut Files) {
    let Some(config) = &places.parsed else {
        return files.miss("registry", "no configuration says where it is");
    };
    let mut documents = Documents::default();
    let mut objects = Vec::new();
    for change in config.registry.iter().flat_map(|path| read_all(path)) {
        let file = change.path.display().to_string();
        match change.content {
            Read::Text(text) => objects.extend(documents.set(&file, Some(&text))),
            Read::Unreadable(why) => documents.set_unreadable(&file, &why),
            Read::Gone => files.miss("registry", format_args!("{file} is not there")),
        }
    }
    let mut listing = Listing::default();
    for update in &objects {
        if let Update::Apply(object) = update {
            let place = documents.place(&object.id());
            let place = place.map(|(file, line)| format!("{file}:{line}"));
            listing.push(|| described(object, place.as_deref().unwrap_or_default()));
        }
    }
    files.listing("registry/objects.jsonl", listing);
    files.text(
        "registry/rejected.txt",
        lines(documents.problems().iter().map(ToString::to_string)),
    );
    let warnings = documents.warnings();
    files.listing(
        "registry/warnings.jsonl",
        warnings
            .iter()
            .map(|warning| json!({ "warning": warning.to_string() }))
            .collect(),
    );
    if config.kubernetes.is_some() {
        files.miss(
            "registry",
            "the API server's objects: only an enforcer that runs has them",
        );
    }
}

/// Adds what an enforcer has written down: addresses of names, and what workloads were seen to reach.
fn add_known(places: &Places, files: &mut Files) {
    let path = state::names(&places.state);
    match read(&path).and_then(|text| Ok(serde_json::from_str::<BTreeMap<String, Value>>(&text)?)) {
        Ok(names) => {
            let row = |(host, addresses)| json!({ "host": host, "addresses": addresses, "source": "kept" });
            files.listing("names.jsonl", names.into_iter().map(row).collect());
        }
        Err(error) => files.miss("names.jsonl", format_args!("{}: {error:#}", path.display())),
    }
    let observed = places
        .parsed
        .as_ref()
        .and_then(|config| config.observe.file.as_ref());
    let Some(path) = observed else {
        return files.miss(
            "observations.jsonl",
            "the configuration names no file for them (observe.file)",
        );
    };
    match read(path) {
        Ok(text) => {
            let values = text.lines().filter_map(|line| serde_json::from_str(line).ok());
            files.listing("observations.jsonl", values.collect());
        }
        Err(error) => files.miss(
            "observations.jsonl",
            format_args!("{}: {error:#}", path.display()),
        ),
    }
}

fn read(path: &Path) -> anyhow::Result<String> {
    anyhow::ensure!(
        fs::metadata(path)?.len() <= LIMIT,
        "it is larger than {LIMIT} bytes"
    );
    Ok(fs::read_to_string(path)?)
}

/// Adds which programs this kernel takes, and why not the others. They are attached nowhere, and go at once.
fn try_programs(files: &mut Files) {
    let options = Options {
        capacities: SMALL,
        debug: false,
    };
    datapath::raise_memlock();
    match Datapath::load(None, options, Settings::STRICT) {
        Ok((datapath, _events)) => {
            let closures = datapath.closures().iter();
            let closures = closures.map(|closure| {
                json!({
                    "program": closure.program,
                    "purpose": closure.purpose.to_string(),
                    "absent": closure.absent,
                })
            });
            files.json(
                "programs-tried.json",
                json!({
                    "loads": true,
                    "features": format!("{:?}", datapath.features()),
                    "verifiedInstructions": datapath.verified_instructions().unwrap_or_default(),
                    "closures": closures.collect::<Vec<_>>(),
                }),
            );
        }
        Err(error) => files.json(
            "programs-tried.json",
            json!({ "loads": false, "why": format!("{error:#}") }),
        ),
    }
}
