//! Answers whoever scrapes: `GET /metrics` and `GET /healthz`, and nothing else.
//!
//! It must never keep enforcement from anything: where it cannot listen, the log says so, and it is tried again.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};

use anyhow::Result;
use http::{
    HeaderValue, Method, Request, Response, StatusCode,
    header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS},
};
use http_body_util::Full;
use hyper::body::Bytes;
use tokio::{net::TcpListener, sync::oneshot};
use tokio_util::sync::CancellationToken;

use crate::{
    control::AskMetrics,
    web::{Limits, Web},
};

/// How often it is tried again where nobody can listen.
const AGAIN: Duration = Duration::from_secs(5);

/// Scrapers come every few seconds, and each is one.
const LIMITS: Limits = Limits {
    connections: 64,
    of_one: 16,
    head: Duration::from_secs(5),
    head_bytes: 8 << 10,
    lifetime: Duration::from_secs(120),
};

const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
const TEXT: &str = "text/plain; charset=utf-8";

type Answer = Response<Full<Bytes>>;

/// Serves until `cancel`.
///
/// # Errors
/// None: a task ends by its error.
pub(crate) async fn follow(listen: SocketAddr, ask: AskMetrics, cancel: CancellationToken) -> Result<()> {
    let mut said = String::new();
    loop {
        match bind(listen).await {
            Ok(listener) => {
                let at = listener.local_addr().unwrap_or(listen);
                tracing::info!("metrics are served at http://{at}/metrics");
                let web = Web::new(listener, LIMITS);
                web.run(move |request| answer(request, ask.clone()), cancel).await;
                return Ok(());
            }
            Err(error) => {
                let error = error.to_string();
                if error != said {
                    tracing::error!(
                        "metrics are not served at {listen} (metrics.listen); it is tried again every {AGAIN:?}, and \
                         enforcement is not affected: {error}"
                    );
                    said = error;
                }
            }
        }
        tokio::select! {
            () = cancel.cancelled() => return Ok(()),
            () = tokio::time::sleep(AGAIN) => {}
        }
    }
}

/// All addresses of a machine without IPv6 are those of IPv4.
async fn bind(listen: SocketAddr) -> io::Result<TcpListener> {
    match TcpListener::bind(listen).await {
        Err(error)
            if listen.ip() == IpAddr::V6(Ipv6Addr::UNSPECIFIED)
                && matches!(
                    error.raw_os_error(),
                    Some(libc::EAFNOSUPPORT | libc::EADDRNOTAVAIL)
                ) =>
        {
            TcpListener::bind((Ipv4Addr::UNSPECIFIED, listen.port())).await
        }
        bound => bound,
    }
}

async fn answer<B>(request: Request<B>, ask: AskMetrics) -> Answer {
    if request.method() != Method::GET {
        let mut answer = of(
            StatusCode::METHOD_NOT_ALLOWED,
            TEXT,
            "only GET is answered\n".into(),
        );
        answer
            .headers_mut()
            .insert(ALLOW, HeaderValue::from_static("GET"));
        return answer;
    }
    match request.uri().path() {
        "/healthz" => of(StatusCode::OK, TEXT, "ok\n".into()),
        "/metrics" => match metrics(ask).await {
            Ok(text) => of(StatusCode::OK, OPENMETRICS, text),
            Err(error) => of(StatusCode::SERVICE_UNAVAILABLE, TEXT, format!("{error}\n").into()),
        },
        _ => of(
            StatusCode::NOT_FOUND,
            TEXT,
            "there are /metrics and /healthz\n".into(),
        ),
    }
}

async fn metrics(ask: AskMetrics) -> Result<Bytes, String> {
    let (reply, text) = oneshot::channel();
    let asked = ask.send(reply).await;
    let gone = || "the enforcer is about to end".to_owned();
    asked.map_err(|_| gone())?;
    text.await.map_err(|_| gone())?
}

fn of(code: StatusCode, kind: &'static str, text: Bytes) -> Answer {
    let mut answer = Response::new(Full::new(text));
    *answer.status_mut() = code;
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    answer
}
