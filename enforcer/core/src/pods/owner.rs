//! What owns a pod: what people gave a name to.

use crate::istio::Pod;

/// The label with which a Deployment tells its ReplicaSets apart, whose names end with its value.
const TEMPLATE: &str = "pod-template-hash";

/// The fewest digits that a CronJob's Job ends with: minutes since 1970.
const MINUTES: usize = 8;

/// The name of the Deployment, StatefulSet, DaemonSet, CronJob, Job or whatever else owns a pod; the pod's own where
/// nothing does, and of static pods, which belong to their node.
pub(super) fn of(pod: &Pod) -> String {
    let hash = pod.meta.labels.get(TEMPLATE).map(String::as_str);
    let controller = pod.controller.as_deref().and_then(|it| it.split_once(' '));
    let owner = controller.and_then(|controller| owner(controller, hash));
    owner.unwrap_or(&pod.meta.name).to_owned()
}

/// Of the kind and name of a controller; `hash` is the value of the pod's label for its template.
fn owner<'a>((kind, name): (&str, &'a str), hash: Option<&str>) -> Option<&'a str> {
    if kind == "Node" || name.is_empty() {
        return None;
    }
    let base = match kind {
        "ReplicaSet" => hash.and_then(|hash| name.strip_suffix(hash)?.strip_suffix('-')),
        "Job" => name.rsplit_once('-').and_then(|(base, end)| {
            let is_time = end.len() >= MINUTES && end.bytes().all(|byte| byte.is_ascii_digit());
            is_time.then_some(base)
        }),
        _ => None,
    };
    Some(base.filter(|base| !base.is_empty()).unwrap_or(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn owner_is_what_people_gave_a_name_to() {
        let check = |controller: (&str, &str), hash: Option<&str>, expected: Option<&str>| {
            assert_eq!(owner(controller, hash), expected, "{controller:?} {hash:?}");
        };
        check(("Node", "node-1"), None, None);
        check(("ReplicaSet", "web-5d8"), Some("5d8"), Some("web"));
        check(("ReplicaSet", "web-5d8"), None, Some("web-5d8"));
        check(("ReplicaSet", "web-5d8"), Some("other"), Some("web-5d8"));
        check(("ReplicaSet", "5d8"), Some("5d8"), Some("5d8"));
        check(("ReplicaSet", "-5d8"), Some("5d8"), Some("-5d8"));
        check(("StatefulSet", "db"), None, Some("db"));
        check(("Job", "backup-28391040"), None, Some("backup"));
        check(("Job", "import-7"), None, Some("import-7"));
        check(("DaemonSet", "agent"), Some("x"), Some("agent"));
    }
}
