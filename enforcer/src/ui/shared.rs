//! What all browsers are shown: the enforcer is asked once a second, by whoever looks first.

use std::{
    hash::{DefaultHasher, Hash as _, Hasher as _},
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use enforcer_core::observed::{Observation, Seen};
use http::{HeaderValue, StatusCode};
use hyper::body::Bytes;
use serde::Serialize;
use serde_json::json;
use tokio::sync::Mutex;

use crate::control::{self, Observed};

/// For so long, what was asked is shown again.
const PERIOD: Duration = Duration::from_secs(1);

/// How long the enforcer may take; it takes longer only where it hangs.
const PATIENCE: Duration = Duration::from_secs(5);

/// Observations that are shown: a browser can do with no more.
const MOST: usize = 5000;

/// Where it is asked, and what it said last.
pub(super) struct Shared {
    state: PathBuf,
    last: Mutex<Option<(Instant, Arc<Snapshot>)>>,
}

/// What it said.
pub(super) struct Snapshot {
    pub(super) status: Said,
    pub(super) observations: Said,
}

/// JSON, or why there is none.
#[derive(Clone)]
pub(super) struct Said {
    pub(super) code: StatusCode,
    pub(super) text: Bytes,
    pub(super) tag: HeaderValue,
}

impl Shared {
    /// Of the enforcer whose state is in this folder.
    pub(super) fn new(state: PathBuf) -> Self {
        Self {
            state,
            last: Mutex::default(),
        }
    }

    /// What it said within the last second; it is asked if that is nothing. Who comes meanwhile waits for the same answer.
    pub(super) async fn snapshot(&self) -> Arc<Snapshot> {
        let mut last = self.last.lock().await;
        if let Some((when, snapshot)) = &*last
            && when.elapsed() < PERIOD
        {
            return Arc::clone(snapshot);
        }
        let snapshot = Arc::new(self.ask().await);
        *last = Some((Instant::now(), Arc::clone(&snapshot)));
        snapshot
    }

    async fn ask(&self) -> Snapshot {
        let status = within(control::ask(&self.state)).await;
        let observations = match &status {
            // It would not answer this either.
            Err(error) => Said::failure(error),
            Ok(_) => Said::new(within(control::ask_observed(&self.state)).await.map(Shown::new)),
        };
        Snapshot {
            status: Said::new(status),
            observations,
        }
    }
}

async fn within<T>(asked: impl Future<Output = Result<T>>) -> Result<T> {
    let asked = tokio::time::timeout(PATIENCE, asked).await;
    asked.with_context(|| format!("the enforcer does not answer within {PATIENCE:?}"))?
}

impl Said {
    fn new<T: Serialize>(said: Result<T>) -> Self {
        let text = said.and_then(|said| Ok(serde_json::to_vec(&said)?));
        match text {
            Ok(text) => Self::with(StatusCode::OK, text),
            Err(error) => Self::failure(&error),
        }
    }

    fn failure(error: &anyhow::Error) -> Self {
        let text = json!({ "error": format!("{error:#}") }).to_string();
        Self::with(StatusCode::SERVICE_UNAVAILABLE, text.into_bytes())
    }

    fn with(code: StatusCode, text: Vec<u8>) -> Self {
        let mut hasher = DefaultHasher::new();
        text.hash(&mut hasher);
        let tag = format!("\"{:016x}\"", hasher.finish());
        Self {
            code,
            text: text.into(),
            tag: HeaderValue::try_from(tag).expect("digits are good in a header"),
        }
    }
}

/// Observations as the page takes them.
#[derive(Debug, Serialize)]
struct Shown {
    observations: Vec<Observation>,
    dropped: u64,
    /// How many there are beside these.
    omitted: usize,
}

impl Shown {
    /// Of more than a browser can do with, what is not allowed stays before what is, and new before old.
    fn new(told: Observed) -> Self {
        let mut observations = told.observations;
        let omitted = observations.len().saturating_sub(MOST);
        if omitted > 0 {
            observations.sort_by_key(|seen| (seen.verdict == Seen::Allow, std::cmp::Reverse(seen.last)));
            observations.truncate(MOST);
        }
        Self {
            observations,
            dropped: told.dropped,
            omitted,
        }
    }
}

#[cfg(test)]
mod tests {
    use enforcer_core::observed::Carrier;

    use super::*;

    fn observed(port: u16, verdict: Seen, last: i64) -> Observation {
        let at = |second| jiff::Timestamp::from_second(second).unwrap();
        Observation {
            namespace: "a".to_owned(),
            workload: "b".to_owned(),
            host: None,
            addresses: vec![[192, 0, 2, 1].into()],
            port,
            transport: Carrier::Tcp,
            verdict,
            probe: false,
            object: None,
            reason: None,
            suggestion: None,
            first: at(0),
            last: at(last),
            count: 1,
        }
    }

    #[test]
    fn what_is_refused_is_shown_before_what_is_allowed_where_not_all_is() {
        let allowed =
            (0..u16::try_from(MOST).unwrap()).map(|port| observed(port, Seen::Allow, i64::from(port)));
        let refused = [observed(60_000, Seen::Deny, 1), observed(60_001, Seen::Audit, 2)];
        let shown = Shown::new(Observed {
            observations: allowed.chain(refused).collect(),
            dropped: 3,
        });
        assert_eq!(
            (shown.observations.len(), shown.omitted, shown.dropped),
            (MOST, 2, 3)
        );
        let ports: Vec<_> = shown.observations.iter().map(|seen| seen.port).collect();
        assert_eq!(ports[..3], [60_001, 60_000, 4999]);
        assert_eq!(ports.last(), Some(&2), "the oldest allowed ones are left out");
    }

    #[tokio::test]
    async fn enforcer_that_does_not_answer_is_said_and_asked_once_a_second() {
        let folder = tempfile::tempdir().unwrap();
        let shared = Shared::new(folder.path().to_owned());
        let first = shared.snapshot().await;
        assert_eq!(first.status.code, StatusCode::SERVICE_UNAVAILABLE);
        let text = String::from_utf8_lossy(&first.observations.text).into_owned();
        assert!(text.contains("no enforcer answers at"), "{text}");
        assert!(Arc::ptr_eq(&first, &shared.snapshot().await));
    }
}
