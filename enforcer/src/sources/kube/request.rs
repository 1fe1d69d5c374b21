//! The requests to the server, with their timeouts.

use std::time::Duration;

use futures_util::AsyncBufRead;
use kube::{
    Client,
    api::{ListParams, VersionMatch, WatchParams},
    core::Request,
};

use serde::{Deserialize, de::DeserializeOwned};

use super::{backoff::spread, failure::Failure, source::Source};

/// The requested duration of a watch, to which up to the same time is added: the watches of many nodes do not end at
/// once, and none exceeds the limit of kube's client.
const WATCH: Duration = Duration::from_secs(145);

/// The timeout of the readiness check.
const READY: Duration = Duration::from_secs(5);

/// The part of a source for one request.
pub(super) enum Portion {
    /// This many objects, from the end of the last page: the present state, from etcd if necessary.
    Page(u32, Option<String>),
    /// Everything, from the server's cache: the state at this version or later. With a limit, older servers would
    /// read etcd.
    NotOlderThan(u64),
}

/// The text of a list of a source in one of its API versions.
pub(super) async fn list(
    client: &Client,
    source: &Source,
    version: usize,
    (portion, patience): (Portion, Duration),
) -> Result<impl AsyncBufRead + Unpin + use<>, Failure> {
    let mut parameters = ListParams {
        field_selector: source.fields.clone(),
        ..ListParams::default()
    };
    match portion {
        Portion::Page(size, next) => {
            parameters.limit = Some(size);
            parameters.continue_token = next;
        }
        Portion::NotOlderThan(version) => {
            parameters.resource_version = Some(version.to_string());
            parameters.version_match = Some(VersionMatch::NotOlderThan);
        }
    }
    let request = Request::new(source.path(version)).list(&parameters);
    let request = request.map_err(kube::Error::BuildRequest)?;
    let text = within(patience, client.request_stream(request)).await??;
    Ok(Box::pin(text))
}

/// The changes of a source after `from`: a line for each event.
pub(super) async fn changes(
    client: &Client,
    source: &Source,
    version: usize,
    (from, patience): (&str, Duration),
) -> Result<impl AsyncBufRead + Unpin + use<>, Failure> {
    let seconds = (WATCH + spread(WATCH)).as_secs();
    let parameters = WatchParams {
        field_selector: source.fields.clone(),
        timeout: Some(u32::try_from(seconds).unwrap_or(u32::MAX)),
        bookmarks: true,
        ..WatchParams::default()
    };
    let request = Request::new(source.path(version)).watch(&parameters, from);
    let request = request.map_err(kube::Error::BuildRequest)?;
    let stream = within(patience, client.request_stream(request)).await??;
    Ok(Box::pin(stream))
}

/// Whether the server reports that it is ready. One that is starting answers too, as if there were no definitions
/// and no roles.
pub(super) async fn is_ready(client: &Client) -> bool {
    let Ok(request) = http::Request::get("/readyz").body(Vec::new()) else {
        return false;
    };
    let answer = tokio::time::timeout(READY, client.request_text(request)).await;
    matches!(answer, Ok(Ok(_)))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Group {
    preferred_version: GroupVersion,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct GroupVersion {
    group_version: String,
}

#[derive(Deserialize)]
struct Resources {
    resources: Vec<Resource>,
}

#[derive(Deserialize)]
struct Resource {
    name: String,
}

/// Whether the server reports that it serves a source: one small request while its whole group is absent, and
/// another once the group exists. False too if that is unknown.
pub(super) async fn is_served(client: &Client, source: &Source) -> bool {
    let Some(path) = source.group_path() else {
        return false;
    };
    let Some(group) = discover::<Group>(client, &path).await else {
        return false;
    };
    let path = format!("/apis/{}", group.preferred_version.group_version);
    let served = discover::<Resources>(client, &path).await;
    served.is_some_and(|it| it.resources.iter().any(|it| it.name == source.plural()))
}

async fn discover<T: DeserializeOwned>(client: &Client, path: &str) -> Option<T> {
    let request = http::Request::get(path).body(Vec::new()).ok()?;
    let answer = tokio::time::timeout(READY, client.request::<T>(request)).await;
    answer.ok()?.ok()
}

/// The result of a request, or a failure after the timeout.
pub(super) async fn within<T>(patience: Duration, request: impl Future<Output = T>) -> Result<T, Failure> {
    let timely = tokio::time::timeout(patience, request).await;
    timely.map_err(|_| Failure::Away(format!("no answer within {patience:?}")))
}
