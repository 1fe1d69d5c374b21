//! From what is known to numbers.

use std::{collections::BTreeMap, path::Path};

use enforcer_common::{Outcome, Reason, Verdict, Verdicts};

use super::{catalog as metric, families::Families, ledger::Owner};
use crate::{
    control::{Learning, Status},
    counts::{COUNTS, Resolution, Times},
    datapath::Costs,
};

/// What `verdict` can be.
pub(super) const VERDICTS: [&str; 4] = ["allow", "unregistered", "audit", "deny"];

/// What became of answers: a word, and the number that says how often.
type Answered = (&'static str, fn(&Learning) -> u64);

/// All that can become of them.
pub(super) const ANSWERS: [Answered; 6] = [
    ("believed", |learning| learning.answers),
    ("unasked", |learning| learning.unasked),
    ("malformed", |learning| learning.malformed),
    ("oversized", |learning| learning.oversized),
    ("protected", |learning| learning.protected),
    ("no_room", |learning| learning.unlearned),
];

/// The word for a verdict, as the log has it.
fn verdict(outcome: Outcome) -> &'static str {
    match outcome.verdict {
        Verdict::Allow if outcome.is_reported() => VERDICTS[1],
        Verdict::Allow => VERDICTS[0],
        Verdict::Audit => VERDICTS[2],
        Verdict::Deny => VERDICTS[3],
    }
}

/// The word for a reason.
pub(super) const fn reason(reason: Reason) -> &'static str {
    match reason {
        Reason::Loopback => "loopback",
        Reason::Exact => "address",
        Reason::Prefix => "network",
        Reason::Port => "port",
        Reason::Udp => "udp",
        Reason::NoRule => "no_rule",
        Reason::NotEnforced => "not_enforced",
        Reason::UnknownWorkload => "unknown_workload",
        Reason::NoPolicy => "no_policy",
        Reason::SocketKind => "socket_kind",
        Reason::Reroute => "reroute",
        Reason::Headers => "headers",
        Reason::Protocol => "protocol",
        Reason::Own => "own",
        Reason::Device => "device",
        Reason::Answer => "answer",
        Reason::Translated => "translated",
        Reason::Host => "host",
        Reason::Resolver => "resolver",
    }
}

/// Everything that is told of one moment.
pub(super) struct Moment<'a> {
    pub(super) status: &'a Status,
    pub(super) verdicts: BTreeMap<Owner, Verdicts>,
    pub(super) suppressed: BTreeMap<Owner, u64>,
    pub(super) costs: &'a Costs,
    /// The kernel's release.
    pub(super) kernel: &'a str,
}

/// The commit, if the build was told.
const COMMIT: &str = match option_env!("ENFORCER_COMMIT") {
    Some(commit) => commit,
    None => "",
};

impl Moment<'_> {
    /// All numbers.
    pub(super) fn told(&self) -> Families {
        let mut told = Families::default();
        let version = self.status.version.as_str();
        told.whole(&metric::BUILD, &[version, COMMIT, self.kernel], 1);
        self.tell_proof(&mut told);
        self.tell_verdicts(&mut told);
        self.tell_registry(&mut told);
        self.tell_names(&mut told);
        self.tell_sources(&mut told);
        for (program, time, runs) in self.costs.read() {
            told.real(&metric::HOOK_TIME, &[program], time.as_secs_f64());
            told.whole(&metric::HOOK_RUNS, &[program], runs);
        }
        told
    }

    fn tell_proof(&self, told: &mut Families) {
        let status = self.status;
        told.flag(&metric::PROVEN, &[], status.proven);
        told.flag(&metric::IN_FORCE, &[], status.in_force);
        if let Some(age) = status.proof_age_seconds {
            told.real(&metric::PROOF_AGE, &[], age);
        }
        told.whole(&metric::PROOFS, &["proven"], COUNTS.proven.get());
        told.whole(&metric::PROOFS, &["failed"], COUNTS.unproven.get());
        told.whole(&metric::LAPSES, &[], COUNTS.lapses.get());
        let configuration = &status.configuration;
        let is_current = !configuration.has_changed && configuration.refused.is_none();
        told.flag(&metric::CONFIGURATION, &[], is_current);
    }

    fn tell_verdicts(&self, told: &mut Families) {
        for (Owner { namespace, workload }, verdicts) in &self.verdicts {
            for (outcome, count) in verdicts.counted() {
                let labels = [namespace, workload, verdict(outcome), reason(outcome.reason)];
                told.whole(&metric::VERDICTS, &labels, count);
            }
        }
        let Owner { namespace, workload } = Owner::any();
        for (why, count) in [
            (reason(Reason::Loopback), self.status.unjudged.loopback),
            ("opted_in", self.status.unjudged.opted_in),
        ] {
            told.whole(
                &metric::VERDICTS,
                &[&namespace, &workload, VERDICTS[0], why],
                count,
            );
        }
        told.whole(&metric::FLOWS_LOST, &[], self.status.events_lost);
        for (Owner { namespace, workload }, count) in &self.suppressed {
            told.whole(&metric::SUPPRESSED, &[namespace, workload], *count);
        }
    }

    fn tell_registry(&self, told: &mut Families) {
        let status = self.status;
        for usage in &status.usage {
            let map = [usage.name.as_str()];
            told.whole(&metric::MAP_ENTRIES, &map, usage.used as u64);
            told.whole(&metric::MAP_CAPACITY, &map, usage.capacity as u64);
            told.whole(&metric::MAP_NEEDED, &map, usage.needed as u64);
        }
        for (kind, count) in &status.objects {
            told.whole(&metric::OBJECTS, &[kind], *count as u64);
        }
        let of_sources: usize = status.sources.iter().map(|source| source.rejected).sum();
        let rejected = status.rejected.len() + of_sources;
        told.whole(&metric::REJECTED, &[], rejected as u64);
        told.whole(&metric::WARNINGS, &[], status.warnings_in_all as u64);
        told.whole(&metric::CONFLICTS, &[], status.conflicts as u64);
    }

    fn tell_names(&self, told: &mut Families) {
        let (names, learning) = (&self.status.names, &self.status.learning);
        for (outcome, word) in Resolution::ALL {
            told.whole(&metric::RESOLUTIONS, &[word], COUNTS.resolution(outcome).get());
        }
        told.whole(&metric::RESOLVING, &[], names.hosts as u64);
        told.whole(&metric::FAILING, &[], names.failing.len() as u64);
        told.real(
            &metric::OLDEST_ANSWER,
            &[],
            names.oldest_seconds.unwrap_or_default(),
        );
        told.whole(&metric::LEARNED, &[], learning.addresses);
        told.whole(&metric::EVICTIONS, &[], learning.displaced);
        for (outcome, count) in ANSWERS {
            told.whole(&metric::ANSWERS, &[outcome], count(learning));
        }
    }

    fn tell_sources(&self, told: &mut Families) {
        for source in &self.status.sources {
            let name = [source.name.as_str()];
            told.flag(&metric::SOURCE_UP, &name, source.up);
            if let Some(age) = source.age_seconds {
                told.real(&metric::SOURCE_AGE, &name, age);
            }
            told.whole(&metric::SOURCE_OBJECTS, &name, source.objects as u64);
        }
        told.whole(&metric::BACKLOG, &[], self.status.backlog as u64);
        let (counts, sum) = COUNTS.changes.get();
        told.times(&metric::CHANGE, (&Times::BOUNDS, &counts), sum.as_secs_f64());
    }
}

/// What the kernel calls itself.
pub(super) fn release() -> String {
    let release = std::fs::read_to_string(Path::new("/proc/sys/kernel/osrelease"));
    release.unwrap_or_default().trim().to_owned()
}
