//! Where enforcement has to be before anything runs there: what systemd is told at boot.

use enforcer_core::model::Enforcement as Mode;

use super::{config::Config, enums::Enforcement, place::Place, unit_name::SliceName, workloads::Roots};

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

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn roots_are_among_them() {
        let text = "roots: [/a.slice, /plain]\nworkloads: [{namespace: a, slice: a-b.slice, mode: audit}]";
        let config = Config::parse(text, Path::new("f")).unwrap().placements();
        let slices: Vec<_> = config.iter().filter_map(|it| it.place.slice()).collect();
        let slices: Vec<_> = slices.iter().map(SliceName::as_str).collect();
        assert_eq!(slices, ["a-b.slice", "a.slice"]);
        assert_eq!((config[0].mode, config[1].mode), (Mode::Audit, Mode::Enforce));
    }
}
