//! Whether a denial is one: a server that is starting denies what it does not know yet.

use std::time::{Duration, Instant};

use kube::Client;

use super::request;

/// A denial is believed after this long even of a server that does not say that it is ready.
const LASTING: Duration = Duration::from_secs(10);

/// Since when a server denies something, and whether it has said since that it is ready.
#[derive(Debug, Default)]
pub(super) struct DenialGuard(Option<(Instant, bool)>);

impl DenialGuard {
    /// Takes another denial, and returns whether it is believed: if the server had said that it is ready before it
    /// denied again, or if that has lasted.
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
