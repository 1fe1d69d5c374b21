//! Whether a denial is final: a server that is starting denies what it does not know yet.

use std::time::{Duration, Instant};

use kube::Client;

use super::request;

/// A denial is accepted after this time even if the server does not report that it is ready.
const LASTING: Duration = Duration::from_secs(10);

/// Since when a server denies something, and whether it has reported since that it is ready.
#[derive(Debug, Default)]
pub(super) struct DenialGuard(Option<(Instant, bool)>);

impl DenialGuard {
    /// Takes another denial, and returns whether it is accepted: if the server had reported that it is ready before
    /// it denied again, or if the denial has lasted.
    pub(super) async fn is_over(&mut self, client: &Client) -> bool {
        let (since, was_ready) = *self.0.get_or_insert((Instant::now(), false));
        if was_ready || since.elapsed() >= LASTING {
            return true;
        }
        let is_ready = request::is_ready(client).await;
        self.0 = Some((since, is_ready));
        false
    }
}
