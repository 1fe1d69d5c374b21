//! Objects of the API server, read with the rights of whoever asks.

use anyhow::{Context as _, Result, bail};
use enforcer_core::istio::ObjectId;
use kube::{Client, core::Request};
use serde_json::Value;

use super::Cluster;
use crate::sources::kube::collection;

impl Cluster {
    /// The version of an object; None if there is none of that name.
    ///
    /// # Errors
    /// If it cannot be read.
    pub(crate) async fn version(&self, id: &ObjectId) -> Result<Option<u64>> {
        let paths = collection(id).with_context(|| format!("{id} is in no collection"))?;
        for path in &paths {
            match get(&self.client, path, Some(&id.name)).await {
                Ok(Some(object)) => {
                    let version = object["metadata"]["resourceVersion"].as_str();
                    let version = version.and_then(|version| version.parse().ok());
                    return version
                        .map(Some)
                        .with_context(|| format!("{id} has no version that is a number"));
                }
                // It is not there, or this version of the kind is not served.
                Ok(None) => {}
                Err(error) => return Err(error).with_context(|| format!("reading {id}")),
            }
        }
        Ok(None)
    }

    /// All objects of a kind, in all namespaces, in the newest version that is served.
    ///
    /// # Errors
    /// If they cannot be listed.
    pub(crate) async fn list(&self, paths: &[String]) -> Result<Vec<Value>> {
        for path in paths {
            if let Some(Value::Object(mut list)) = get(&self.client, path, None).await? {
                let api_version = list.get("apiVersion").cloned().unwrap_or_default();
                let kind = list.get("kind").and_then(Value::as_str).unwrap_or_default();
                let kind = kind.trim_end_matches("List").to_owned();
                let Some(Value::Array(items)) = list.remove("items") else {
                    bail!("{path} is no list");
                };
                // Items of a list do not say what they are.
                let with_kind = items.into_iter().map(|mut item| {
                    item["apiVersion"] = api_version.clone();
                    item["kind"] = Value::String(kind.clone());
                    item
                });
                return Ok(with_kind.collect());
            }
        }
        Ok(Vec::new())
    }
}

/// An object, or a collection; None where there is none.
async fn get(client: &Client, path: &str, name: Option<&str>) -> Result<Option<Value>> {
    let request = match name {
        Some(name) => Request::new(path).get(name, &kube::api::GetParams::default()),
        None => Request::new(path).list(&kube::api::ListParams::default()),
    };
    let request = request.map_err(kube::Error::BuildRequest)?;
    match client.request::<Value>(request).await {
        Ok(value) => Ok(Some(value)),
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(None),
        Err(error) => Err(error.into()),
    }
}
