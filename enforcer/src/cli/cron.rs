//! Whether a user may have commands run outside of her sessions, where her workload is not enforced.

use std::{fs, path::Path};

use nix::unistd::{Uid, User};

use crate::config::{Config, Place};

/// A service that runs commands for users, with what says who may use it.
struct Service {
    name: &'static str,
    /// Where it is installed, by distribution.
    programs: &'static [&'static str],
    /// The units, by distribution.
    unit: &'static str,
    allow: &'static str,
    deny: &'static str,
    /// Whether everybody may where neither file exists.
    is_open: bool,
}

const SERVICES: [Service; 2] = [
    Service {
        name: "cron",
        programs: &["usr/sbin/cron", "usr/sbin/crond"],
        unit: "cron.service (or crond.service)",
        allow: "etc/cron.allow",
        deny: "etc/cron.deny",
        is_open: true,
    },
    Service {
        name: "at",
        programs: &["usr/sbin/atd"],
        unit: "atd.service",
        allow: "etc/at.allow",
        deny: "etc/at.deny",
        is_open: false,
    },
];

/// Folders of users' tables, by distribution.
const TABLES: [&str; 3] = ["var/spool/cron/crontabs", "var/spool/cron/tabs", "var/spool/cron"];

/// What runs commands for users who are workloads.
pub(super) fn of_users(config: &Config) -> Vec<String> {
    let users = config.workloads.iter().filter_map(|entry| match entry.place {
        Place::User(uid) => User::from_uid(Uid::from_raw(uid)).ok().flatten(),
        _ => None,
    });
    users
        .flat_map(|user| warnings(Path::new("/"), &user.name))
        .collect()
}

/// What of the machine below `root` runs commands for the user.
fn warnings(root: &Path, user: &str) -> Vec<String> {
    let has_table = TABLES.iter().any(|folder| root.join(folder).join(user).is_file());
    let services = SERVICES.iter().filter(|service| {
        let is_there = service.programs.iter().any(|program| root.join(program).exists());
        is_there && (service.admits(root, user) || (service.name == "cron" && has_table))
    });
    services
        .map(|service| {
            let Service { name, unit, deny, .. } = service;
            let table = if *name == "cron" && has_table { ", and has a crontab" } else { "" };
            format!(
                "user {user} may use {name}{table}: its jobs run in {unit}, and not in the user's slice, so that nothing \
                 enforces them; write {user} into /{deny} and remove the jobs that there are, or name that service by \
                 `unit:`, too"
            )
        })
        .collect()
}

impl Service {
    fn admits(&self, root: &Path, user: &str) -> bool {
        let is_in = |file: &str| {
            let text = fs::read_to_string(root.join(file)).ok()?;
            Some(text.lines().any(|line| line.trim() == user))
        };
        match (is_in(self.allow), is_in(self.deny)) {
            (Some(is_allowed), _) => is_allowed,
            (None, Some(is_denied)) => !is_denied,
            (None, None) => self.is_open || user == "root",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of which services users are warned, on a machine with these files.
    fn warned(files: &[(&str, &str)]) -> Vec<&'static str> {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let warnings = warnings(root.path(), "alice");
        let mut names = vec![];
        for name in ["cron", "at"] {
            if warnings
                .iter()
                .any(|warning| warning.starts_with(&format!("user alice may use {name}")))
            {
                names.push(name);
            }
        }
        assert_eq!(names.len(), warnings.len(), "{warnings:?}");
        names
    }

    const CRON: (&str, &str) = ("usr/sbin/cron", "");
    const ATD: (&str, &str) = ("usr/sbin/atd", "");

    #[test]
    fn who_may_use_a_service_is_as_its_files_say() {
        assert!(warned(&[]).is_empty(), "neither is installed");
        assert_eq!(warned(&[CRON, ATD]), ["cron"], "at is closed without its files");
        assert_eq!(warned(&[CRON, ATD, ("etc/at.deny", "bob\n")]), ["cron", "at"]);
        assert!(warned(&[CRON, ("etc/cron.deny", "bob\nalice\n")]).is_empty());
        assert!(warned(&[CRON, ("etc/cron.allow", "bob\n"), ("etc/cron.deny", "")]).is_empty());
        assert_eq!(
            warned(&[CRON, ("etc/cron.allow", "alice\n"), ("etc/cron.deny", "alice")]),
            ["cron"]
        );
    }

    #[test]
    fn jobs_that_are_there_run_also_of_who_may_make_none() {
        let denied = ("etc/cron.deny", "alice\n");
        assert_eq!(
            warned(&[CRON, denied, ("var/spool/cron/crontabs/alice", "")]),
            ["cron"]
        );
    }
}
