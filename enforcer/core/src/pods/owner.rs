//! What owns a pod: what people gave a name to.

use crate::istio::Pod;

/// The label with which a Deployment tells its ReplicaSets apart, whose names end with its value.
const TEMPLATE: &str = "pod-template-hash";

/// The fewest digits that a CronJob's Job ends with: minutes since 1970.
const MINUTES: usize = 8;

/// The name of the Deployment, StatefulSet, DaemonSet, CronJob, Job or whatever else owns a pod; the pod's own where
/// nothing does, and of static pods, which belong to their node.
pub(super) fn of(pod: &Pod) -> String {
    let controller = pod.controller.as_deref().and_then(|it| it.split_once(' '));
    let Some((kind, name)) = controller.filter(|(kind, name)| *kind != "Node" && !name.is_empty()) else {
        return pod.meta.name.clone();
    };
    let base = match kind {
        "ReplicaSet" => {
            let hash = pod.meta.labels.get(TEMPLATE);
            hash.and_then(|hash| name.strip_suffix(hash.as_str())?.strip_suffix('-'))
        }
        "Job" => name.rsplit_once('-').and_then(|(base, end)| {
            let is_time = end.len() >= MINUTES && end.bytes().all(|byte| byte.is_ascii_digit());
            is_time.then_some(base)
        }),
        _ => None,
    };
    base.filter(|base| !base.is_empty()).unwrap_or(name).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::istio::Meta;

    #[test]
    fn owner_is_what_people_gave_a_name_to() {
        let check = |controller: Option<&str>, hash: Option<&str>, expected: &str| {
            let labels = hash.map(|hash| (TEMPLATE.to_owned(), hash.to_owned()));
            let pod = Pod {
                meta: Meta {
                    name: "p".to_owned(),
                    labels: labels.into_iter().collect(),
                    ..Meta::default()
                },
                controller: controller.map(str::to_owned),
                ..Pod::default()
            };
            assert_eq!(of(&pod), expected, "{controller:?}");
        };
        check(None, None, "p");
        check(Some("Node node-1"), None, "p");
        check(Some("ReplicaSet web-5d8"), Some("5d8"), "web");
        check(Some("ReplicaSet web-5d8"), None, "web-5d8");
        check(Some("ReplicaSet web-5d8"), Some("other"), "web-5d8");
        check(Some("ReplicaSet 5d8"), Some("5d8"), "5d8");
        check(Some("StatefulSet db"), None, "db");
        check(Some("Job backup-28391040"), None, "backup");
        check(Some("Job import-7"), None, "import-7");
        check(Some("DaemonSet agent"), Some("x"), "agent");
    }
}
