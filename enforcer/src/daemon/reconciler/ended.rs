//! What is said of sockets that are ended: a line for each destination, and of each workload only so many a second.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use enforcer_common::CgroupId;

/// Lines about one workload in [`PAUSE`] at most.
const LINES: usize = 20;
const PAUSE: Duration = Duration::from_secs(1);

#[derive(Default)]
pub(super) struct Ended {
    /// How many lines were written since then.
    lines: BTreeMap<CgroupId, usize>,
    since: Option<Instant>,
    suppressed: BTreeMap<CgroupId, u64>,
}

impl Ended {
    /// Whether to write of so many sockets of a workload to one destination, with what the line says of their number.
    pub(super) fn ask(&mut self, workload: CgroupId, sockets: usize) -> Option<String> {
        if self.since.is_none_or(|since| since.elapsed() >= PAUSE) {
            self.lines.clear();
            self.since = Some(Instant::now());
        }
        let lines = self.lines.entry(workload).or_default();
        if *lines >= LINES {
            *self.suppressed.entry(workload).or_default() += u64::try_from(sockets).unwrap_or(u64::MAX);
            return None;
        }
        *lines += 1;
        Some(match sockets {
            0 | 1 => String::new(),
            sockets => format!(" [{sockets} sockets]"),
        })
    }

    /// Sockets that were not written of since the last call.
    pub(super) fn take_suppressed(&mut self) -> BTreeMap<CgroupId, u64> {
        std::mem::take(&mut self.suppressed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_about_one_workload_are_few_and_take_none_from_another() {
        let mut ended = Ended::default();
        let written = (0..100).filter(|_| ended.ask(CgroupId(1), 3).is_some());
        assert_eq!(written.count(), LINES);
        assert_eq!(ended.ask(CgroupId(2), 1).as_deref(), Some(""));
        assert_eq!(ended.ask(CgroupId(2), 7).as_deref(), Some(" [7 sockets]"));
        assert_eq!(ended.take_suppressed(), BTreeMap::from([(CgroupId(1), 240)]));
        assert_eq!(ended.take_suppressed(), BTreeMap::new());
    }
}
