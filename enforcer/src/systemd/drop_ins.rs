//! The drop-ins of the units that the configuration names, which systemd's generator writes at boot and at each
//! `daemon-reload`.
//!
//! A slice is there before the enforcer and stays when its last unit stops, so that the programs at it stay too. Until
//! enforcement is in force, systemd's own filter, the *gate*, lets nothing out of it.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use enforcer_core::model::Enforcement;

use crate::config::{Place, Placement, SliceName};

/// The unit that is started once enforcement is in force, and lifts the gates.
pub const IN_FORCE: &str = "enforcer-in-force.service";

/// Of slices. Sorts after what the system itself has for `user-.slice`, and before what `systemctl set-property` writes.
const OF_SLICE: &str = "10-enforcer.conf";

/// Of services. Sorts after the `override.conf` of `systemctl edit`: another slice written there would not be enforced.
const OF_SERVICE: &str = "zz-enforcer.conf";

/// Text by path, below the folder of the generator.
pub type DropIns = BTreeMap<PathBuf, String>;

/// What the configuration asks of systemd. Once enforcement was in force in this boot, no gate is needed: programs stay at
/// slices that are enforced, and a gate would cut off what runs in one that is new.
pub fn of(placements: &[Placement], was_in_force: bool) -> DropIns {
    let mut drop_ins = DropIns::new();
    let gated = if was_in_force {
        BTreeSet::new()
    } else {
        gated(placements)
    };
    for slice in kept(placements) {
        let text = of_slice(gated.contains(&slice));
        drop_ins.insert(path(slice.as_str(), OF_SLICE), text);
    }
    for Placement { place, mode } in placements {
        if let Place::Unit(unit) = place {
            drop_ins.insert(path(unit.as_str(), OF_SERVICE), of_unit(&unit.slice(), *mode));
        }
    }
    let slices: Vec<_> = kept(placements)
        .iter()
        .map(|slice| slice.as_str().to_owned())
        .collect();
    if !slices.is_empty() {
        let slices = slices.join(" ");
        let text = format!("{HEAD}[Unit]\nWants={slices}\nAfter={slices}\n");
        drop_ins.insert("enforcer.service.d/10-workloads.conf".into(), text);
    }
    drop_ins
}

/// The slices out of which nothing gets before enforcement is in force.
pub fn gated(placements: &[Placement]) -> BTreeSet<SliceName> {
    let enforced = placements.iter().filter(|it| it.mode == Enforcement::Enforce);
    enforced.filter_map(|it| it.place.slice()).collect()
}

/// The slices that stay. One that is off is not among them: nothing is at its cgroup.
pub fn kept(placements: &[Placement]) -> BTreeSet<SliceName> {
    let on = placements.iter().filter(|it| it.mode != Enforcement::Off);
    on.filter_map(|it| it.place.slice()).collect()
}

const HEAD: &str = "# Written by enforcer-generator from the enforcer's configuration.\n";

fn path(unit: &str, file: &str) -> PathBuf {
    Path::new(&format!("{unit}.d")).join(file)
}

fn of_slice(is_gated: bool) -> String {
    let mut text = format!("{HEAD}[Unit]\nStopWhenUnneeded=no\nRefuseManualStop=yes\n");
    if is_gated {
        text.push_str(
            "[Slice]\n# Until enforcement is in force; enforcer-in-force.service lifts it.\nIPAddressDeny=any\n\
             IPAddressAllow=localhost\n",
        );
    }
    text
}

fn of_unit(slice: &SliceName, mode: Enforcement) -> String {
    let mut text = HEAD.to_owned();
    if mode == Enforcement::Enforce {
        text.push_str("[Unit]\n");
        for key in ["Requires", "After"] {
            // A string takes whatever is written to it.
            writeln!(text, "{key}={IN_FORCE}").ok();
        }
    }
    text + &format!("[Service]\nSlice={}\n", slice.as_str())
}

/// Writes them below a folder.
///
/// # Errors
/// The first that cannot be written; the others are.
pub fn write(drop_ins: &DropIns, folder: &Path) -> Result<()> {
    let mut failed = Ok(());
    for (path, text) in drop_ins {
        let path = folder.join(path);
        let made = path.parent().map_or(Ok(()), fs::create_dir_all);
        let written = made
            .and_then(|()| fs::write(&path, text))
            .with_context(|| format!("writing {}", path.display()));
        failed = failed.and(written);
    }
    failed
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    fn drop_ins(text: &str) -> BTreeMap<String, String> {
        let config = Config::parse(text, Path::new("enforcer.yaml")).unwrap();
        let drop_ins = of(&config.placements(), false).into_iter();
        let without_comments = |text: &str| {
            let lines = text.lines().filter(|line| !line.starts_with('#'));
            lines.collect::<Vec<_>>().join("\n")
        };
        drop_ins
            .map(|(path, text)| (path.display().to_string(), without_comments(&text)))
            .collect()
    }

    fn expected<const N: usize>(files: [(&str, &str); N]) -> BTreeMap<String, String> {
        files
            .map(|(path, text)| (path.to_owned(), text.to_owned()))
            .into()
    }

    const KEPT: &str = "[Unit]\nStopWhenUnneeded=no\nRefuseManualStop=yes";
    const GATED: &str = "[Unit]\nStopWhenUnneeded=no\nRefuseManualStop=yes\n[Slice]\nIPAddressDeny=any\n\
                         IPAddressAllow=localhost";

    #[test]
    fn unit_waits_for_enforcement_and_comes_to_a_slice_that_stays_behind_a_gate() {
        let expected = expected([
            (r"enforcer-my\x2dapp.slice.d/10-enforcer.conf", GATED),
            (
                "enforcer.service.d/10-workloads.conf",
                "[Unit]\nWants=enforcer-my\\x2dapp.slice\nAfter=enforcer-my\\x2dapp.slice",
            ),
            (
                "my-app.service.d/zz-enforcer.conf",
                "[Unit]\nRequires=enforcer-in-force.service\nAfter=enforcer-in-force.service\n[Service]\n\
                 Slice=enforcer-my\\x2dapp.slice",
            ),
        ]);
        assert_eq!(
            drop_ins("workloads: [{namespace: a, unit: my-app.service}]"),
            expected
        );
    }

    #[test]
    fn slices_and_users_stay_behind_a_gate() {
        let text = "workloads: [{namespace: a, slice: x.slice}, {namespace: b, user: 1000}, {namespace: c, cgroup: /p}]";
        let expected = expected([
            (
                "enforcer.service.d/10-workloads.conf",
                "[Unit]\nWants=user-1000.slice x.slice\nAfter=user-1000.slice x.slice",
            ),
            ("user-1000.slice.d/10-enforcer.conf", GATED),
            ("x.slice.d/10-enforcer.conf", GATED),
        ]);
        assert_eq!(drop_ins(text), expected);
    }

    #[test]
    fn slice_that_is_added_once_enforcement_is_in_force_has_no_gate() {
        let config = Config::parse("workloads: [{namespace: a, slice: x.slice}]", Path::new("f")).unwrap();
        let drop_ins = of(&config.placements(), true);
        assert!(!drop_ins[Path::new("x.slice.d/10-enforcer.conf")].contains("IPAddressDeny"));
    }

    #[test]
    fn audit_closes_nothing_and_keeps_nothing_waiting() {
        let text = "mode: audit\nworkloads: [{namespace: a, unit: a.service}]";
        let files = drop_ins(text);
        assert_eq!(files["enforcer-a.slice.d/10-enforcer.conf"], KEPT);
        assert_eq!(
            files["a.service.d/zz-enforcer.conf"],
            "[Service]\nSlice=enforcer-a.slice"
        );
    }

    #[test]
    fn unit_that_is_off_only_leaves_the_slice_that_is_enforced() {
        let text = "workloads: [{namespace: a, unit: a.service, mode: off}]";
        let expected = expected([(
            "a.service.d/zz-enforcer.conf",
            "[Service]\nSlice=enforcer-a.slice",
        )]);
        assert_eq!(drop_ins(text), expected);
    }

    #[test]
    fn nothing_of_systemds_means_no_files() {
        assert!(drop_ins("workloads: [{namespace: a, cgroup: /p}]").is_empty());
        assert!(drop_ins("workloads: []").is_empty());
    }
}
