//! Pods that run, and that nothing enforces: what the API server says, against the cgroups that are bound.
//!
//! **Architecture Invariant:** the list of what has to be enforced is the source of the objects', and never what the
//! enforcer itself has found.

use std::{
    collections::BTreeMap,
    fmt,
    path::Path,
    time::{Duration, Instant},
};

use enforcer_core::{
    model::Workload,
    pods::{PodUid, RunningPod, Tree},
};

use super::Ingest;
use crate::sources::pods::Astray;

/// For this long, a pod may be reported as running before its cgroup is found.
const GRACE: Duration = Duration::from_secs(10);

/// Pods that the status and the log name; the others are counted.
const NAMED: usize = 10;

/// What is known of pods that may not be enforced.
#[derive(Default)]
pub(super) struct Watch {
    /// Since when each is as it is.
    since: BTreeMap<PodUid, Instant>,
    /// Cgroups of pods in which processes are, outside those that are followed.
    pub(super) astray: Astray,
}

/// A pod that runs where nothing enforces it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::daemon) struct Unbound {
    pub(in crate::daemon) workload: Workload,
    /// What is wrong, and what to do, without the pod's name.
    pub(in crate::daemon) problem: String,
}

impl fmt::Display for Unbound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { workload, problem } = self;
        write!(f, "pod {workload} {problem}")
    }
}

impl Watch {
    /// Those that have been so for [`GRACE`].
    fn lasting(&mut self, now: Instant, running: impl Iterator<Item = RunningPod>) -> Vec<Unbound> {
        let mut since = BTreeMap::new();
        let mut lasting = Vec::new();
        for pod in running {
            let Some(problem) = self.problem(&pod) else {
                continue;
            };
            let at = self.since.get(&pod.uid).copied().unwrap_or(now);
            since.insert(pod.uid, at);
            if now.saturating_duration_since(at) >= GRACE {
                let workload = pod.workload;
                lasting.push(Unbound { workload, problem });
            }
        }
        self.since = since;
        lasting
    }

    /// What is wrong with a pod. One that is being deleted may have no processes any more.
    fn problem(&self, pod: &RunningPod) -> Option<String> {
        const RESTART: &str = "and restart the enforcer";
        match (self.astray.get(&pod.uid), pod.has_cgroup) {
            (None, true) => None,
            (None, false) if pod.is_ending => None,
            (None, false) => Some(format!(
                "is reported as running, and no cgroup of it is found (UID {}): no pod of this node may be enforced; \
                 find the cgroup of its processes (/proc/<pid>/cgroup), name the kubelet's cgroup of pods in \
                 `pods.cgroupRoots` {RESTART}",
                pod.uid
            )),
            (Some(at), _) => {
                let at_place = at.display();
                Some(match root(at) {
                    Some(root) => format!(
                        "runs at {at_place}, where nothing enforces it: name {} in `pods.cgroupRoots` {RESTART}",
                        root.display()
                    ),
                    None => format!(
                        "runs at {at_place}, where nothing enforces it: no kubelet's cgroup of pods is above it; \
                         give the kubelet and the container runtime the same cgroup driver, and restart the pod"
                    ),
                })
            }
        }
    }
}

/// The kubelet's cgroup of pods above a pod's.
fn root(path: &Path) -> Option<&Path> {
    let name = |path: &Path| path.file_name()?.to_str().map(str::to_owned);
    let mut above = path.ancestors().skip(1);
    above.find(|path| name(path).is_some_and(|name| Tree::of(&name).is_some()))
}

impl Ingest {
    /// Pods that have run for a while where nothing enforces them.
    pub(in crate::daemon) fn unbound(&mut self) -> Vec<Unbound> {
        let Some(node) = &mut self.pods else {
            return Vec::new();
        };
        node.watch.lasting(Instant::now(), node.pods.running())
    }

    /// How many pods run now whose cgroups are not known, however short for.
    pub(in crate::daemon) fn unbound_now(&self) -> usize {
        let node = self.pods.iter();
        let wrong = node.flat_map(|node| {
            node.pods
                .running()
                .filter(|pod| node.watch.problem(pod).is_some())
        });
        wrong.count()
    }
}

/// A line for each of the first, and one for the number of the others.
pub(in crate::daemon) fn lines(unbound: &[Unbound]) -> Vec<String> {
    let (named, rest) = unbound.split_at(NAMED.min(unbound.len()));
    let mut lines: Vec<_> = named.iter().map(ToString::to_string).collect();
    if !rest.is_empty() {
        lines.push(format!(
            "{} more pods run where nothing enforces them",
            rest.len()
        ));
    }
    lines
}

#[cfg(test)]
mod tests {
    use enforcer_core::model::{Labels, Namespace};

    use super::*;

    const UID: &str = "5d16b9a1-6e7d-4a4c-9d0b-0c2f3f3a8a11";

    fn pod(name: &str, has_cgroup: bool) -> RunningPod {
        RunningPod {
            uid: PodUid::new(UID).unwrap(),
            workload: Workload::new(Namespace::new("shop"), name, Labels::new()),
            has_cgroup,
            is_ending: false,
        }
    }

    fn astray(at: &str) -> Astray {
        Astray::from([(PodUid::new(UID).unwrap(), at.into())])
    }

    #[test]
    fn pod_without_a_cgroup_is_a_problem_once_it_lasts() {
        let mut watch = Watch::default();
        let start = Instant::now();
        let mut at = |after, has_cgroup| {
            let running = [pod("a", has_cgroup)].into_iter();
            lines(&watch.lasting(start + after, running))
        };
        assert!(at(Duration::ZERO, false).is_empty());
        assert!(at(GRACE - Duration::from_millis(1), false).is_empty());
        let [line] = &at(GRACE, false)[..] else {
            panic!("one problem")
        };
        assert!(line.contains("pod shop/a ") && line.contains(UID), "{line}");
        assert!(at(GRACE, true).is_empty());
        assert!(at(GRACE * 2, false).is_empty(), "the time begins anew");
    }

    #[test]
    fn pod_that_runs_elsewhere_is_named_with_its_cgroup_and_what_to_do() {
        let mut watch = Watch::default();
        for (path, advice) in [
            ("/custom/kubepods/burstable/pod1", "name /custom/kubepods in"),
            (
                "/custom.slice/custom-kubepods.slice/custom-kubepods-pod1.slice",
                "name /custom.slice/custom-kubepods.slice in",
            ),
            (
                "/kubepods-pod1.slice:cri-containerd:c0ffee",
                "the same cgroup driver",
            ),
        ] {
            watch.astray = astray(path);
            for has_cgroup in [false, true] {
                let problem = watch.problem(&pod("a", has_cgroup)).unwrap();
                assert!(problem.contains(&format!("runs at {path}, ")), "{problem}");
                assert!(problem.contains(advice), "{problem}");
            }
        }
    }

    #[test]
    fn pod_that_is_being_deleted_is_a_problem_only_where_its_processes_are_found() {
        let mut watch = Watch::default();
        let mut ending = pod("a", false);
        ending.is_ending = true;
        assert_eq!(watch.problem(&ending), None);
        watch.astray = astray("/custom/kubepods/pod1");
        assert!(watch.problem(&ending).is_some());
    }

    #[test]
    fn many_are_counted() {
        let workload = pod("a", false).workload;
        let problem = "is lost".to_owned();
        let unbound = vec![Unbound { workload, problem }; NAMED + 5];
        let lines = lines(&unbound);
        assert_eq!(lines.len(), NAMED + 1);
        assert_eq!(lines[NAMED], "5 more pods run where nothing enforces them");
    }
}
