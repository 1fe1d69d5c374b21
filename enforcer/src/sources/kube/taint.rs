//! Takes the taint [`KEY`] away from this node.
//!
//! **Architecture Invariant:** nothing else of the node is changed: the change names the version that was read, and is
//! refused if the node is another by then.

use anyhow::{Context as _, Result, bail};
use kube::{
    Client,
    api::{Patch, PatchParams},
    core::Request,
};
use serde_json::{Value, json};

use super::access::Access;
use crate::config::Kubernetes;

/// Keeps pods away from a node on which enforcement has not been proven.
pub(crate) const KEY: &str = "enforcer.dev/not-proven";

/// Takes it away; false if the node does not have it.
///
/// # Errors
/// If the API server does not answer, or does not allow it.
pub(crate) async fn remove(access: &Kubernetes, node: &str) -> Result<bool> {
    let client = Access::open(access).await?.client();
    let nodes = Request::new("/api/v1/nodes");
    let read = nodes.get(node, &kube::api::GetParams::default())?;
    let there: Value = client.request(read).await.context("reading this node")?;
    let Some(change) = change(&there) else {
        return Ok(false);
    };
    let patch = nodes.patch(node, &PatchParams::default(), &Patch::Merge(change))?;
    send(&client, patch).await?;
    Ok(true)
}

async fn send(client: &Client, patch: http::Request<Vec<u8>>) -> Result<()> {
    match client.request::<Value>(patch).await {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if status.code == 403 => bail!(
            "403 forbidden by RBAC ({}): `kubectl apply -k deploy/taint` grants it",
            status.message
        ),
        Err(error) => Err(error).context("changing this node"),
    }
}

/// What changes a node that has the taint.
fn change(node: &Value) -> Option<Value> {
    let taints = node["spec"]["taints"].as_array()?;
    let others: Vec<_> = taints.iter().filter(|taint| taint["key"] != KEY).collect();
    (others.len() < taints.len()).then(|| {
        json!({
            "metadata": { "resourceVersion": node["metadata"]["resourceVersion"] },
            "spec": { "taints": others },
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_taints_stay_and_a_node_without_it_is_left_alone() {
        let taint = |key: &str, effect: &str| json!({ "key": key, "effect": effect });
        let node = |taints: &[Value]| json!({ "metadata": { "resourceVersion": "7" }, "spec": { "taints": taints } });
        let other = taint("node.kubernetes.io/not-ready", "NoExecute");
        let both = [taint(KEY, "NoSchedule"), other.clone(), taint(KEY, "NoExecute")];
        let expected = json!({
            "metadata": { "resourceVersion": "7" },
            "spec": { "taints": [other] },
        });
        assert_eq!(change(&node(&both)), Some(expected));
        assert_eq!(change(&node(&both[1..2])), None);
        assert_eq!(change(&json!({ "spec": {} })), None);
    }
}
