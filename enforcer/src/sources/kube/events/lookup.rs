//! Asks for an object's uid, by which Events are found with their object. It is not kept for every object: few have news.

use enforcer_core::istio::ObjectId;
use kube::Client;
use serde_json::Value;

use super::{PATIENCE, Reference};
use crate::sources::kube::{failure::Failure, source::Source};

/// How the API names an object; None if the server has none of this name. It is listed by its name, for which the
/// permission to follow the kind is enough.
pub(super) async fn reference(client: &Client, id: &ObjectId) -> Result<Option<Reference>, Failure> {
    let Some(source) = Source::one(id) else {
        return Ok(None);
    };
    for served in 0..source.versions() {
        let fields = format!("fieldSelector=metadata.name%3D{}", id.name);
        let request = http::Request::get(format!("{}?{fields}", source.path(served)));
        let request = request
            .body(Vec::new())
            .map_err(|error| Failure::Away(error.to_string()))?;
        let answer = tokio::time::timeout(PATIENCE, client.request::<Value>(request)).await;
        match answer.map_err(|_| Failure::Away("no answer".to_owned()))? {
            Ok(list) => {
                let uid = list["items"][0]["metadata"]["uid"].as_str();
                return Ok(uid.map(|uid| Reference {
                    api_version: source.api_version(served),
                    kind: source.object_kind(),
                    namespace: id.namespace.to_string(),
                    name: id.name.clone(),
                    uid: uid.to_owned(),
                }));
            }
            // The next version may be served.
            Err(kube::Error::Api(status)) if status.code == 404 => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(None)
}
