//! Connections: so many at a time, and none for long.

use std::{convert::Infallible, net::SocketAddr, path::PathBuf, pin::pin, sync::Arc, time::Duration};

use anyhow::{Context as _, Result};
use hyper::{server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;

use super::{Token, answer::Site, shared::Shared};

/// Connections at one time; who comes then waits for one that ends. A browser has up to six.
const CONNECTIONS: usize = 64;

/// The head of a request is read for so long, and so far.
const HEAD: Duration = Duration::from_secs(5);
const HEAD_BYTES: usize = 16 << 10;

/// A connection is used for so long; a browser makes another. One that takes no answer has the rest to end.
const LIFETIME: Duration = Duration::from_secs(60);
const REST: Duration = Duration::from_secs(5);

/// How long nobody is answered where a connection cannot be accepted.
const PAUSE: Duration = Duration::from_millis(100);

/// The server, which listens already.
pub(crate) struct Server {
    listener: TcpListener,
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
            listener,
            address,
            site: Arc::new(Site { token, shared }),
        })
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers until `cancel`. Nobody who asks waits for another who does.
    pub(crate) async fn run(self, cancel: CancellationToken) {
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                () = cancel.cancelled() => return,
                Some(_) = connections.join_next() => {}
                accepted = self.listener.accept(), if connections.len() < CONNECTIONS => match accepted {
                    Ok((stream, _)) => {
                        connections.spawn(connection(stream, Arc::clone(&self.site)));
                    }
                    // Too many open files, say.
                    Err(error) => {
                        tracing::debug!("the page's server accepts no connection: {error}");
                        tokio::time::sleep(PAUSE).await;
                    }
                },
            }
        }
    }
}

async fn connection(stream: TcpStream, site: Arc<Site>) {
    let answer = service_fn(|request| {
        let site = Arc::clone(&site);
        async move { Ok::<_, Infallible>(site.answer(&request).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD)
        .max_header_size(HEAD_BYTES)
        .max_buf_size(2 * HEAD_BYTES)
        .serve_connection(TokioIo::new(stream), answer);
    let mut connection = pin!(connection);
    if tokio::time::timeout(LIFETIME, connection.as_mut()).await.is_err() {
        connection.as_mut().graceful_shutdown();
        // Who does not read its answer by then gets none.
        drop(tokio::time::timeout(REST, connection).await);
    }
}
