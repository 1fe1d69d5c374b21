//! What is answered to which request.

use anyhow::Result;
use http::{
    HeaderValue, Method, Request, Response, StatusCode,
    header::{ALLOW, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, HeaderName, IF_NONE_MATCH},
};
use http_body_util::Full;
use hyper::body::Bytes;

use super::{
    Token, entry, gate, page,
    shared::{Said, Shared},
};

/// What answers are made of.
pub(super) struct Site {
    pub(super) token: Token,
    pub(super) shared: Shared,
}

type Answer = Response<Full<Bytes>>;

const HTML: &str = "text/html; charset=utf-8";
const JSON: &str = "application/json";
const TEXT: &str = "text/plain; charset=utf-8";

/// Of every answer: it is kept nowhere, framed by nobody, and taken for what it is.
const HEADERS: [(HeaderName, &str); 6] = [
    (CACHE_CONTROL, "no-store"),
    (http::header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (http::header::REFERRER_POLICY, "no-referrer"),
    (http::header::X_FRAME_OPTIONS, "DENY"),
    (
        HeaderName::from_static("cross-origin-resource-policy"),
        "same-origin",
    ),
    (
        HeaderName::from_static("cross-origin-opener-policy"),
        "same-origin",
    ),
];

impl Site {
    /// The page itself says nothing, and needs no token; all else does.
    pub(super) async fn answer<B>(&self, request: &Request<B>) -> Answer {
        let mut answer = self.answer_plainly(request).await;
        for (name, value) in HEADERS {
            answer.headers_mut().insert(name, HeaderValue::from_static(value));
        }
        // Also of what no browser should ever show.
        let nothing = HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'");
        answer
            .headers_mut()
            .entry(CONTENT_SECURITY_POLICY)
            .or_insert(nothing);
        answer
    }

    async fn answer_plainly<B>(&self, request: &Request<B>) -> Answer {
        let headers = request.headers();
        if !gate::is_for_us(headers) {
            return text(
                StatusCode::MISDIRECTED_REQUEST,
                "this server answers at its address and at localhost, not at names",
            );
        }
        if request.method() != Method::GET {
            let mut answer = text(StatusCode::METHOD_NOT_ALLOWED, "only GET is answered");
            answer
                .headers_mut()
                .insert(ALLOW, HeaderValue::from_static("GET"));
            return answer;
        }
        let path = request.uri().path();
        if path == "/" {
            return document()
                .unwrap_or_else(|error| text(StatusCode::INTERNAL_SERVER_ERROR, &format!("{error:#}")));
        }
        if !gate::knows(headers, &self.token) {
            return text(StatusCode::UNAUTHORIZED, "the token is missing or wrong");
        }
        let known = headers.get(IF_NONE_MATCH);
        match path {
            "/api/status" => said(&self.shared.snapshot().await.status, known),
            "/api/observations" => said(&self.shared.snapshot().await.observations, known),
            "/api/entry" => match entry::of_query(request.uri().query().unwrap_or_default()) {
                Ok(entry) => text(StatusCode::OK, &entry),
                Err(error) => text(StatusCode::UNPROCESSABLE_ENTITY, &format!("{error:#}")),
            },
            _ => text(StatusCode::NOT_FOUND, "there is nothing here"),
        }
    }
}

fn document() -> Result<Answer> {
    let (text, policy) = page::page()?;
    let mut answer = of(StatusCode::OK, HTML, text.into());
    answer.headers_mut().insert(CONTENT_SECURITY_POLICY, policy);
    Ok(answer)
}

fn said(said: &Said, known: Option<&HeaderValue>) -> Answer {
    let mut answer = if known == Some(&said.tag) {
        of(StatusCode::NOT_MODIFIED, JSON, Bytes::new())
    } else {
        of(said.code, JSON, said.text.clone())
    };
    answer.headers_mut().insert(ETAG, said.tag.clone());
    answer
}

fn text(code: StatusCode, text: &str) -> Answer {
    of(code, TEXT, Bytes::copy_from_slice(text.as_bytes()))
}

fn of(code: StatusCode, kind: &'static str, text: Bytes) -> Answer {
    let mut answer = Response::new(Full::new(text));
    *answer.status_mut() = code;
    answer
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    answer
}
