//! Names of workloads that are one container of a pod.

use crate::model::Workload;

/// Between a pod's name and its container's; neither may contain it (RFC 1123).
const SEPARATOR: char = '/';

/// A pod, or one of its containers, as records of the log name it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodName {
    /// The pod's name.
    pub pod: String,
    /// The container's name, if the workload is one container alone.
    pub container: Option<String>,
}

impl PodName {
    /// The names of a workload that is a pod or a container of one.
    pub fn of(workload: &Workload) -> Self {
        let (pod, container) = match workload.name.split_once(SEPARATOR) {
            Some((pod, container)) => (pod, Some(container.to_owned())),
            None => (workload.name.as_str(), None),
        };
        Self {
            pod: pod.to_owned(),
            container,
        }
    }
}

/// The name of a container's workload.
pub(super) fn name(pod: &str, container: &str) -> String {
    format!("{pod}{SEPARATOR}{container}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Labels, Namespace};

    #[test]
    fn pod_and_container_are_told_apart() {
        let of = |name: &str| {
            let workload = Workload::new(Namespace::new("shop"), name, Labels::new());
            let PodName { pod, container } = PodName::of(&workload);
            (pod, container)
        };
        assert_eq!(of("web.v1"), ("web.v1".to_owned(), None));
        let (pod, container) = ("web.v1".to_owned(), Some("istio-proxy".to_owned()));
        assert_eq!(of(&name("web.v1", "istio-proxy")), (pod, container));
    }
}
