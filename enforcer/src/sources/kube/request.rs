//! The requests that are made, in their bounds of time.

use std::time::Duration;

use futures_util::AsyncBufRead;
use kube::{
    Client,
    api::{ListParams, VersionMatch, WatchParams},
    core::Request,
};

use serde::{Deserialize, de::DeserializeOwned};

use super::{backoff::spread, failure::Failure, source::Source};

/// A watch is asked for for this long, and up to as long again: those of many nodes do not end at once, and none is
/// older than what kube's client admits.
const WATCH: Duration = Duration::from_secs(145);

/// How long the server may take to say whether it is ready.
const READY: Duration = Duration::from_secs(5);

/// What of a source is asked for in one request.
pub(super) enum Portion {
    /// So many objects, from where the last page has ended: what there is now, if need be from etcd.
    Page(u32, Option<String>),
    /// All of it, as the server's cache has it: what there was at this version, or later. A limit would have older
    /// servers read etcd.
    NotOlderThan(u64),
}

/// The text of a list of a source in one of its versions.
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

/// What happens to a source after `from`: a line for each event.
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

/// Whether the server says that it has all that it needs to answer. One that is starting answers too, as if there
/// were no definitions and no roles.
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

/// Whether the server says by now that it serves a source: one small request while its whole group is absent, and
/// another once the group is there. False too where that is not known.
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

/// What a request comes to, if that is soon enough.
pub(super) async fn within<T>(patience: Duration, request: impl Future<Output = T>) -> Result<T, Failure> {
    let timely = tokio::time::timeout(patience, request).await;
    timely.map_err(|_| Failure::Away(format!("no answer within {patience:?}")))
}
