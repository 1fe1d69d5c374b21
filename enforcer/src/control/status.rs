//! How everything stands, as it is told. Scripts rely on the names of the fields.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Everything that an operator asks.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    /// Whether enforcement is proven: nothing is in [`Status::problems`].
    pub proven: bool,
    /// Whether everything is enforced that is where it should be: nothing but [`Status::misplaced`] is in
    /// [`Status::problems`].
    #[serde(default)]
    pub in_force: bool,
    /// Why it is not, one sentence each, without its end.
    pub problems: Vec<String>,
    /// The enforcer's version.
    pub version: String,
    /// Its process.
    pub pid: u32,
    /// Seconds since it was started.
    pub uptime_seconds: f64,
    /// `enforce` or `audit`, as configured; workloads of `allow_any` are let through in either.
    pub mode: String,
    /// Workloads, `namespace/name`, that may reach everything because their outboundTrafficPolicy is ALLOW_ANY.
    #[serde(default)]
    pub allow_any: Vec<String>,
    /// Seconds since the last round of the self-proof; None before the first.
    pub proof_age_seconds: Option<f64>,
    /// The cgroups below which everything is enforced.
    pub roots: Vec<Root>,
    /// What is closed beyond rules.
    pub closures: Vec<Hardening>,
    /// What is in each map, of how much.
    pub usage: Vec<Usage>,
    /// Where the registry and the workloads come from.
    pub sources: Vec<Source>,
    /// Objects of the API server that have changed and are not applied yet.
    pub backlog: usize,
    /// The configuration that is in force.
    #[serde(default)]
    pub configuration: Configuration,
    /// The file of what workloads were seen to reach (`observe.file`); None if there is none.
    #[serde(default)]
    pub observed_file: Option<ObservedFile>,
    /// Units that run outside their slices, and pods outside the kubelet's cgroup, where nothing enforces them.
    #[serde(default)]
    pub misplaced: Vec<String>,
    /// Documents that are wrong now.
    pub rejected: Vec<String>,
    /// What is suspicious about files and about the registry as a whole.
    #[serde(default)]
    pub warnings: Vec<String>,
    /// How many there are: the first of them are in [`Status::warnings`].
    #[serde(default)]
    pub warnings_in_all: usize,
    /// How many of them are about objects that conflict with each other.
    #[serde(default)]
    pub conflicts: usize,
    /// Objects of the registry, by kind.
    #[serde(default)]
    pub objects: BTreeMap<String, usize>,
    /// Flows whose workload is not looked for.
    #[serde(default)]
    pub unjudged: Unjudged,
    /// Hosts that are resolved.
    pub names: Names,
    /// What is learned of names from the answers that workloads receive.
    #[serde(default)]
    pub learning: Learning,
    /// Flows that were decided and not logged, since the maps were made.
    pub events_lost: u64,
    /// Of which workloads events were left out of the log, and how many since the start.
    #[serde(default, rename = "eventsUntold")]
    pub events_suppressed: Vec<Suppressed>,
    /// What had lapsed since the start; the newest last.
    pub lapses: Vec<Drift>,
}

/// Flows whose workload is not looked for, since the maps were made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Unjudged {
    /// Those to a loopback address.
    pub loopback: u64,
    /// Those of sockets of a kind that is opted in.
    pub opted_in: u64,
}

/// The configuration that is in force.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Configuration {
    /// Its file.
    pub file: String,
    /// Whether the file holds something else by now.
    pub has_changed: bool,
    /// How often the file was read again since the start.
    pub attempts: u64,
    /// Why what was read last is not in force; None if it is.
    pub refused: Option<String>,
}

/// The file of what workloads were seen to reach.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ObservedFile {
    /// Where it is.
    pub path: String,
    /// Why it could not be written the last time, or read at the start; None if it could.
    pub error: Option<String>,
    /// For how many seconds that has been so.
    pub failing_seconds: Option<f64>,
}

/// A cgroup below which everything is enforced.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Root {
    /// From the cgroup mount on.
    pub path: String,
    /// Whether the cgroup is there.
    pub is_there: bool,
    /// Whether it has to be: it is one of the configuration's `roots`, and not a workload's cgroup.
    #[serde(default)]
    pub is_required: bool,
    /// The programs that the kernel runs there.
    pub programs: Vec<Program>,
    /// Those that it does not run although it should.
    pub absent: Vec<String>,
    /// What the canary found; None before it has tried.
    pub canary: Option<Canary>,
}

/// A program that runs.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Program {
    /// Its name.
    pub name: String,
    /// The kernel's identifier, as `bpftool prog` has it.
    pub id: u32,
}

/// What the canary found.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Canary {
    /// Seconds since it tried.
    pub age_seconds: f64,
    /// What was not as it should be; empty if a reserved address was refused and an allowed one was not.
    pub failures: Vec<String>,
}

/// What is closed beyond rules.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Hardening {
    /// The program.
    pub program: String,
    /// What it is for: `refuses …`, or `lets …`.
    pub purpose: String,
    /// Why it does not run; None if it does.
    pub absent: Option<String>,
}

/// What is in a map.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Usage {
    /// As the configuration's `capacities` calls it.
    pub name: String,
    /// Entries in it.
    pub used: usize,
    /// Entries that fit.
    pub capacity: usize,
    /// Entries that there would have to be; more than fit are left out, and refused.
    pub needed: usize,
}

/// Where something comes from.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Source {
    /// `files`, `cgroups`, `names`, or a kind of the API server.
    pub name: String,
    /// How many things it knows of.
    pub objects: usize,
    /// Seconds since it was last looked at; None if it never was.
    pub age_seconds: Option<f64>,
    /// What is wrong with it.
    pub problem: Option<String>,
    /// Whether it is followed.
    #[serde(default)]
    pub up: bool,
    /// Objects whose present version is invalid.
    #[serde(default)]
    pub rejected: usize,
}

/// Hosts that are resolved.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Names {
    /// How many are wanted.
    pub hosts: usize,
    /// Those that fail now.
    pub failing: Vec<FailingName>,
    /// How old the oldest answer is that addresses are allowed by; None if there is none.
    #[serde(default)]
    pub oldest_seconds: Option<f64>,
}

/// A host that does not resolve.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FailingName {
    /// Its name.
    pub host: String,
    /// The last error.
    pub error: String,
    /// For how long.
    pub seconds: f64,
    /// Addresses that stay allowed from the last good answer.
    pub kept: usize,
    /// How old that is; None if there never was one.
    pub age_seconds: Option<f64>,
}

/// What is learned of names. What is counted, is since the maps were made.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Learning {
    /// Why nothing is; None if something is.
    pub absent: Option<String>,
    /// Addresses that workloads were given for hosts that rules name; expired ones count until others take their places.
    pub addresses: u64,
    /// Workloads that were given some.
    pub workloads: usize,
    /// Answers that were believed.
    pub answers: u64,
    /// Answers that nobody had asked for.
    pub unasked: u64,
    /// Answers that are malformed, or hold what is not known.
    pub malformed: u64,
    /// Answers that are cut short, or longer than what is looked at.
    pub oversized: u64,
    /// Addresses that are protected.
    pub protected: u64,
    /// Addresses and questions that the maps had no room for.
    pub unlearned: u64,
    /// Addresses that made room for others of the same workload before they had expired.
    pub displaced: u64,
}

/// What was left out of the log.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Suppressed {
    /// `namespace/name`, all unknown workloads, or the cgroup of one that is gone.
    pub workload: String,
    /// Events that were beyond its share.
    pub events: u64,
}

/// Something in the kernel that was not as it was put there.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Drift {
    /// What was wrong.
    pub what: String,
    /// Seconds since it was noticed.
    pub age_seconds: f64,
    /// Why it could not be restored; None if it was.
    pub stays: Option<String>,
}

/// A proof that is older than this many seconds is none: rounds come every few seconds.
const STALE: f64 = 30.0;

impl Status {
    /// Judges: fills in [`Status::proven`], and puts what follows from the rest before the problems that are there.
    pub fn judge(&mut self) {
        let mut problems = Vec::new();
        match self.proof_age_seconds {
            None => problems.push("nothing was proven yet".to_owned()),
            Some(age) if age > STALE => problems.push(format!("the last self-proof is {age:.0} s old")),
            Some(_) => {}
        }
        let is_any_there = self.roots.iter().any(|root| root.is_there);
        if !is_any_there {
            problems.push("none of the cgroups to be enforced exists".to_owned());
        }
        let is_missing = |root: &&Root| is_any_there && root.is_required && !root.is_there;
        for root in self.roots.iter().filter(is_missing) {
            problems.push(format!(
                "the cgroup {} does not exist: nothing is enforced below it until it is created; if it is not needed, \
                 remove it from `roots`",
                root.path
            ));
        }
        for root in self.roots.iter().filter(|root| root.is_there) {
            problems.extend(root.problems());
        }
        problems.append(&mut self.problems);
        self.in_force = problems.is_empty();
        problems.extend(self.misplaced.iter().cloned());
        self.proven = problems.is_empty();
        self.problems = problems;
    }
}

impl Root {
    /// Whether it is there, and shown to be enforced.
    pub fn is_proven(&self) -> bool {
        self.is_there && self.problems().is_empty()
    }

    fn problems(&self) -> Vec<String> {
        let path = &self.path;
        if self.programs.is_empty() {
            return vec![format!("no program is known to run at {path}")];
        }
        let absent = self
            .absent
            .iter()
            .map(|name| format!("{name} does not run at {path}"));
        let canary = match &self.canary {
            None => vec![format!("the canary has not tried at {path} yet")],
            Some(canary) => {
                let failures = canary.failures.iter();
                failures
                    .map(|failure| format!("canary at {path}: {failure}"))
                    .collect()
            }
        };
        absent.chain(canary).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proven() -> Status {
        let root = Root {
            path: "/a.slice".to_owned(),
            is_there: true,
            programs: vec![Program::default()],
            canary: Some(Canary::default()),
            ..Root::default()
        };
        Status {
            roots: vec![root],
            proof_age_seconds: Some(1.0),
            ..Status::default()
        }
    }

    fn check(change: impl FnOnce(&mut Status), problem: Option<&str>) {
        let mut status = proven();
        change(&mut status);
        status.judge();
        assert_eq!(status.proven, problem.is_none(), "{:?}", status.problems);
        assert_eq!(status.problems.first().map(String::as_str), problem);
    }

    #[test]
    fn only_what_was_shown_a_moment_ago_is_proven() {
        check(|_| {}, None);
        check(
            |status| status.proof_age_seconds = None,
            Some("nothing was proven yet"),
        );
        check(
            |status| status.proof_age_seconds = Some(31.0),
            Some("the last self-proof is 31 s old"),
        );
        check(
            |status| status.roots[0].absent.push("connect4".to_owned()),
            Some("connect4 does not run at /a.slice"),
        );
        check(
            |status| status.roots[0].programs.clear(),
            Some("no program is known to run at /a.slice"),
        );
        check(
            |status| status.roots[0].canary = None,
            Some("the canary has not tried at /a.slice yet"),
        );
        check(
            |status| {
                status.roots[0]
                    .canary
                    .as_mut()
                    .unwrap()
                    .failures
                    .push("it got through".to_owned());
            },
            Some("canary at /a.slice: it got through"),
        );
        check(
            |status| status.problems.push("a map is full".to_owned()),
            Some("a map is full"),
        );
        check(
            |status| {
                status.misplaced.push("a.service runs elsewhere".to_owned());
                status.judge();
                assert!(status.in_force, "what is in its place is enforced");
                status.problems.clear();
            },
            Some("a.service runs elsewhere"),
        );
    }

    #[test]
    fn workloads_may_come_later_but_configured_roots_must_be_there_and_one_cgroup_at_least() {
        check(
            |status| {
                status.roots.push(Root::default());
            },
            None,
        );
        check(
            |status| status.roots[0].is_there = false,
            Some("none of the cgroups to be enforced exists"),
        );
        check(
            |status| {
                status.roots.push(Root {
                    path: "/b.slice".to_owned(),
                    is_required: true,
                    ..Root::default()
                });
            },
            Some(
                "the cgroup /b.slice does not exist: nothing is enforced below it until it is created; if it is not \
                 needed, remove it from `roots`",
            ),
        );
    }
}
