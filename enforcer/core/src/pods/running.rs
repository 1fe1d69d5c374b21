//! Which pods run, and whether their cgroups are known.

use super::{PodUid, Pods};
use crate::{
    istio::PodPhase,
    model::{Enforcement, Workload},
};

/// A pod of this node that runs, and that is not off.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunningPod {
    /// The UID in its cgroup's name.
    pub uid: PodUid,
    /// The pod.
    pub workload: Workload,
    /// Whether a cgroup of its own is known.
    pub has_cgroup: bool,
    /// Whether it is being deleted: its cgroup may be gone before its object is.
    pub is_ending: bool,
}

impl Pods {
    /// The pods whose objects say that they run, and that are not off. The source of the objects says it; what is known
    /// of cgroups does not matter.
    pub fn running(&self) -> impl Iterator<Item = RunningPod> {
        self.claims.keys().filter_map(|uid| {
            let pod = self.object(uid)?;
            let is_ending = match pod.phase {
                PodPhase::Running => false,
                PodPhase::Ending => true,
                PodPhase::Waiting | PodPhase::Ended => return None,
            };
            let is_own = self.settings.enforcer.as_ref() == Some(uid);
            let workload = self.workload(pod);
            if is_own || workload.enforcement == Some(Enforcement::Off) {
                return None;
            }
            Some(RunningPod {
                workload,
                has_cgroup: self.cgroups(uid).next().is_some(),
                is_ending,
                uid: uid.clone(),
            })
        })
    }
}
