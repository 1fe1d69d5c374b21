//! An HTTP server for a few: so many connections at a time, and none for long.
//!
//! It must never wait for who does not send or read.

use std::{
    collections::BTreeMap,
    convert::Infallible,
    net::IpAddr,
    pin::pin,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use http::{Request, Response};
use http_body_util::Full;
use hyper::{
    body::{Bytes, Incoming},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;

/// How much is given to those who connect.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Connections at one time; who comes then waits for one that ends.
    pub(crate) connections: usize,
    /// Connections of one address at one time; further ones are closed at once, so that there are some for others.
    pub(crate) of_one: usize,
    /// The head of a request is read for so long, and so far.
    pub(crate) head: Duration,
    pub(crate) head_bytes: usize,
    /// A connection is used for so long; who needs more makes another.
    pub(crate) lifetime: Duration,
}

/// What a connection that takes no answer has beyond its lifetime.
const REST: Duration = Duration::from_secs(5);

/// How long nobody is answered where a connection cannot be accepted.
const PAUSE: Duration = Duration::from_millis(100);

/// The server, which listens already.
pub(crate) struct Web {
    listener: TcpListener,
    limits: Limits,
    held: Arc<Held>,
}

/// How many connections each address has.
#[derive(Default)]
struct Held(Mutex<BTreeMap<IpAddr, usize>>);

/// One of them; given back when it is dropped.
struct Place(Arc<Held>, IpAddr);

impl Held {
    fn take(self: &Arc<Self>, peer: IpAddr, most: usize) -> Option<Place> {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = held.entry(peer).or_default();
        if *count >= most {
            return None;
        }
        *count += 1;
        Some(Place(Arc::clone(self), peer))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut held = self.0.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = held.get_mut(&self.1) {
            *count -= 1;
            if *count == 0 {
                held.remove(&self.1);
            }
        }
    }
}

impl Web {
    pub(crate) fn new(listener: TcpListener, limits: Limits) -> Self {
        Self {
            listener,
            limits,
            held: Arc::default(),
        }
    }

    /// Answers until `cancel`. Nobody who asks waits for another who does.
    pub(crate) async fn run<A, F>(self, answer: A, cancel: CancellationToken)
    where
        A: Fn(Request<Incoming>) -> F + Clone + Send + 'static,
        F: Future<Output = Response<Full<Bytes>>> + Send + 'static,
    {
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                () = cancel.cancelled() => return,
                Some(_) = connections.join_next() => {}
                accepted = self.listener.accept(), if connections.len() < self.limits.connections => match accepted {
                    Ok((stream, peer)) => {
                        let peer = peer.ip().to_canonical();
                        if let Some(place) = self.held.take(peer, self.limits.of_one) {
                            let serve = connection(stream, answer.clone(), self.limits);
                            connections.spawn(async move {
                                serve.await;
                                drop(place);
                            });
                        }
                    }
                    // Too many open files, say.
                    Err(error) => {
                        tracing::debug!("the server accepts no connection: {error}");
                        tokio::time::sleep(PAUSE).await;
                    }
                },
            }
        }
    }
}

async fn connection<A, F>(stream: TcpStream, answer: A, limits: Limits)
where
    A: Fn(Request<Incoming>) -> F + Send,
    F: Future<Output = Response<Full<Bytes>>> + Send,
{
    let answer = service_fn(move |request| {
        let answer = answer(request);
        async move { Ok::<_, Infallible>(answer.await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.head)
        .max_header_size(limits.head_bytes)
        .max_buf_size(2 * limits.head_bytes)
        .serve_connection(TokioIo::new(stream), answer);
    let mut connection = pin!(connection);
    if tokio::time::timeout(limits.lifetime, connection.as_mut())
        .await
        .is_err()
    {
        connection.as_mut().graceful_shutdown();
        // Who does not read its answer by then gets none.
        drop(tokio::time::timeout(REST, connection).await);
    }
}
