//! Every metric: its name, what it is, its labels, and what it means. `docs/metrics.md` is made of this.
//!
//! It must never list a metric with a label whose values somebody outside can choose without a bound.

/// What kind of numbers a metric has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// It only grows; its samples end in `_total`.
    Counter,
    /// It goes up and down.
    Gauge,
    /// It is 1, and its labels say something; its sample ends in `_info`.
    Info,
    /// How often something took how long.
    Histogram,
}

impl Kind {
    /// What samples' names have behind the metric's.
    pub(super) const fn suffix(self) -> &'static str {
        match self {
            Self::Counter => "_total",
            Self::Info => "_info",
            Self::Gauge | Self::Histogram => "",
        }
    }

    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Info => "info",
            Self::Histogram => "histogram",
        }
    }
}

/// A metric.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Metric {
    /// Without the suffix of its samples.
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    pub(crate) labels: &'static [&'static str],
    /// What it is, as a sentence.
    pub(crate) help: &'static str,
}

const fn counter(name: &'static str, labels: &'static [&'static str], help: &'static str) -> Metric {
    let kind = Kind::Counter;
    Metric {
        name,
        kind,
        labels,
        help,
    }
}

const fn gauge(name: &'static str, labels: &'static [&'static str], help: &'static str) -> Metric {
    let kind = Kind::Gauge;
    Metric {
        name,
        kind,
        labels,
        help,
    }
}

pub(crate) const BUILD: Metric = Metric {
    name: "enforcer_build",
    kind: Kind::Info,
    labels: &["version", "commit", "kernel"],
    help: "The version that runs, the commit that it is built of (empty if it was not told), and the kernel that it runs on.",
};
pub(crate) const PROVEN: Metric = gauge(
    "enforcer_proven",
    &[],
    "Whether enforcement is proven: every root has its programs, and what has to be refused there was refused a moment ago.",
);
pub(crate) const IN_FORCE: Metric = gauge(
    "enforcer_in_force",
    &[],
    "Whether everything is enforced that is where it should be; unlike enforcer_proven, it stays 1 while something runs where nothing enforces it.",
);
pub(crate) const PROOF_AGE: Metric = gauge(
    "enforcer_proof_age_seconds",
    &[],
    "Time since the last round of the self-proof, which comes every 3 s; absent before the first.",
);
pub(crate) const PROOFS: Metric = counter(
    "enforcer_proofs",
    &["result"],
    "Rounds of the self-proof since the start: proven or failed.",
);
pub(crate) const LAPSES: Metric = counter(
    "enforcer_lapses",
    &[],
    "Programs, pins and entries of maps that somebody had removed or changed, since the start.",
);
pub(crate) const VERDICTS: Metric = counter(
    "enforcer_verdicts",
    &["namespace", "workload", "verdict", "reason"],
    "Verdicts, counted by the kernel itself, so that none is missing. They go on over a restart.",
);
pub(crate) const FLOWS_LOST: Metric = counter(
    "enforcer_flows_lost",
    &[],
    "Flows that were decided and of which nobody was told, because the ring buffer of events was full.",
);
pub(crate) const SUPPRESSED: Metric = counter(
    "enforcer_events_suppressed",
    &["namespace", "workload"],
    "Events that were left out of the log because they were beyond the workload's share, since the start.",
);
pub(crate) const MAP_ENTRIES: Metric = gauge(
    "enforcer_map_entries",
    &["map"],
    "Entries in a map of the kernel, which has the name that `capacities` of the configuration gives it.",
);
pub(crate) const MAP_CAPACITY: Metric = gauge("enforcer_map_capacity", &["map"], "Entries that fit the map.");
pub(crate) const MAP_NEEDED: Metric = gauge(
    "enforcer_map_needed",
    &["map"],
    "Entries that there would have to be. What is beyond the capacity is left out, and refused.",
);
pub(crate) const OBJECTS: Metric = gauge(
    "enforcer_registry_objects",
    &["kind"],
    "Objects that the registry is made of, by kind.",
);
pub(crate) const REJECTED: Metric = gauge(
    "enforcer_registry_rejected_objects",
    &[],
    "Objects whose present version is invalid; their last valid version is in force.",
);
pub(crate) const WARNINGS: Metric = gauge(
    "enforcer_registry_warnings",
    &[],
    "Warnings of `enforcer status`: objects that allow nothing, or not what they seem to.",
);
pub(crate) const CONFLICTS: Metric = gauge(
    "enforcer_registry_conflicts",
    &[],
    "Those of the warnings that are about objects which conflict with each other.",
);
pub(crate) const RESOLUTIONS: Metric = counter(
    "enforcer_resolutions",
    &["outcome"],
    "Questions to resolvers for the addresses of registered hosts, since the start.",
);
pub(crate) const RESOLVING: Metric = gauge(
    "enforcer_resolving_hosts",
    &[],
    "Hosts whose addresses the enforcer keeps resolved.",
);
pub(crate) const FAILING: Metric = gauge(
    "enforcer_failing_hosts",
    &[],
    "Hosts that do not resolve now. Addresses that they had stay allowed.",
);
pub(crate) const OLDEST_ANSWER: Metric = gauge(
    "enforcer_oldest_answer_age_seconds",
    &[],
    "Age of the oldest answer that addresses are allowed by; 0 where there is none.",
);
pub(crate) const LEARNED: Metric = gauge(
    "enforcer_learned_addresses",
    &[],
    "Addresses that workloads were given for registered hosts, with expired ones that nothing has replaced yet.",
);
pub(crate) const EVICTIONS: Metric = counter(
    "enforcer_learned_evictions",
    &[],
    "Learned addresses that made room for newer ones of the same workload before they had expired.",
);
pub(crate) const ANSWERS: Metric = counter(
    "enforcer_dns_answers",
    &["outcome"],
    "Answers that workloads received and from which something was learned, or nothing and why.",
);
pub(crate) const SOURCE_UP: Metric = gauge(
    "enforcer_source_up",
    &["source"],
    "Whether a source is followed: files, cgroups, pods, or a kind of the API server.",
);
pub(crate) const SOURCE_AGE: Metric = gauge(
    "enforcer_source_age_seconds",
    &["source"],
    "Time since the source was last read or heard of; absent before the first time.",
);
pub(crate) const SOURCE_OBJECTS: Metric = gauge(
    "enforcer_source_objects",
    &["source"],
    "Objects, or cgroups, that the source has.",
);
pub(crate) const BACKLOG: Metric = gauge(
    "enforcer_backlog_changes",
    &[],
    "Objects of the API server that have changed and are not applied yet.",
);
pub(crate) const CHANGE: Metric = Metric {
    name: "enforcer_change_in_force_seconds",
    kind: Kind::Histogram,
    labels: &[],
    help: "Time from a change being received to its being in force in the kernel's maps, since the start. Changes are collected for 50 ms.",
};
pub(crate) const HOOK_TIME: Metric = counter(
    "enforcer_hook_seconds",
    &["program"],
    "Time that a program has run, on all processors; only while the kernel measures it (kernel.bpf_stats_enabled=1).",
);
pub(crate) const HOOK_RUNS: Metric = counter(
    "enforcer_hook_runs",
    &["program"],
    "How often it has run, while that is measured.",
);
pub(crate) const CONFIGURATION: Metric = gauge(
    "enforcer_configuration_current",
    &[],
    "Whether what the configuration's file holds is in force; 0 if it was changed since, or refused.",
);

/// All of them, in the order in which they are told.
pub(crate) const ALL: [Metric; 31] = [
    BUILD,
    PROVEN,
    IN_FORCE,
    PROOF_AGE,
    PROOFS,
    LAPSES,
    VERDICTS,
    FLOWS_LOST,
    SUPPRESSED,
    MAP_ENTRIES,
    MAP_CAPACITY,
    MAP_NEEDED,
    OBJECTS,
    REJECTED,
    WARNINGS,
    CONFLICTS,
    RESOLUTIONS,
    RESOLVING,
    FAILING,
    OLDEST_ANSWER,
    LEARNED,
    EVICTIONS,
    ANSWERS,
    SOURCE_UP,
    SOURCE_AGE,
    SOURCE_OBJECTS,
    BACKLOG,
    CHANGE,
    HOOK_TIME,
    HOOK_RUNS,
    CONFIGURATION,
];
