//! Where the page is served.

use std::{net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use anyhow::{Context as _, Result};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::{Token, answer::Site, shared::Shared};
use crate::web::{Limits, Web};

/// A browser has up to six connections, and makes another after the lifetime of one.
const LIMITS: Limits = Limits {
    connections: 64,
    of_one: 64,
    head: Duration::from_secs(5),
    head_bytes: 16 << 10,
    lifetime: Duration::from_secs(60),
};

/// The server, which listens already.
pub(crate) struct Server {
    web: Web,
    address: SocketAddr,
    site: Arc<Site>,
}

impl Server {
    /// Shows to whoever knows the token how the enforcer stands whose state is in this folder.
    ///
    /// # Errors
    /// If the address is taken, or is none of this machine.
    pub(crate) async fn bind(listen: SocketAddr, token: Token, state: PathBuf) -> Result<Self> {
        let listener = TcpListener::bind(listen)
            .await
            .with_context(|| format!("listening at {listen}"))?;
        let address = listener.local_addr().context("asking where it listens")?;
        let shared = Shared::new(state);
        Ok(Self {
            web: Web::new(listener, LIMITS),
            address,
            site: Arc::new(Site { token, shared }),
        })
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers until `cancel`.
    pub(crate) async fn run(self, cancel: CancellationToken) {
        let site = self.site;
        let answer = move |request| {
            let site = Arc::clone(&site);
            async move { site.answer(&request).await }
        };
        self.web.run(answer, cancel).await;
    }
}
