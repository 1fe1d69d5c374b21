//! The meaning of a failed request.

use std::error::Error as _;

use kube::core::Status;

/// Why a request has no answer, as far as the reason matters.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Failure {
    /// 404: the kind is not served, or not yet by a server that is starting.
    #[error("not served: {0}")]
    Absent(String),
    /// 401: a token that has expired or was revoked, or a server that does not know its keys yet.
    #[error("{0}")]
    Unauthorized(String),
    /// 403: by RBAC, or by a server that does not know its roles yet.
    #[error("{0}")]
    Forbidden(String),
    /// 410: everything has to be listed again.
    #[error("410, the watch has expired and everything is listed again: {0}")]
    Expired(String),
    /// The server has not reached a version that was seen: it lags, or its etcd was restored from a backup.
    #[error("the server's cache is older than a version that was seen: {0}")]
    Behind(String),
    /// 400 or 422: the answer will stay the same.
    #[error("{0}")]
    Refused(String),
    /// Anything else: the request is repeated.
    #[error("{0}")]
    Away(String),
}

impl Failure {
    /// Of a status, be it an answer or an event of a watch.
    pub(super) fn of_status(status: &Status) -> Self {
        let message = if status.message.is_empty() {
            format!("{} {}", status.code, status.reason)
        } else {
            status.message.clone()
        };
        match status.code {
            400 | 422 => Self::Refused(message),
            401 => Self::Unauthorized(message),
            403 => Self::Forbidden(message),
            404 => Self::Absent(message),
            410 => Self::Expired(message),
            _ if message.contains("Too large resource version") => Self::Behind(message),
            code => Self::Away(format!("{message} ({code})")),
        }
    }

    /// Whether an answer was understood and will be the same again.
    pub(super) fn is_denial(&self) -> bool {
        matches!(self, Self::Absent(_) | Self::Forbidden(_))
    }
}

impl From<kube::Error> for Failure {
    fn from(error: kube::Error) -> Self {
        if let kube::Error::Api(status) = &error {
            return Self::of_status(status);
        }
        // The client's own message is vague; the cause is at the end of the chain.
        let mut message = error.to_string();
        let mut source = error.source();
        while let Some(cause) = source {
            let text = cause.to_string();
            if !message.contains(&text) {
                message = format!("{message}: {text}");
            }
            source = cause.source();
        }
        Self::Away(message)
    }
}

impl From<serde_json::Error> for Failure {
    fn from(error: serde_json::Error) -> Self {
        Self::Away(format!("cannot decode the answer: {error}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_have_their_meanings() {
        let failure = |code, message| Failure::of_status(&Status::failure(message, "Reason").with_code(code));
        assert_eq!(failure(404, "a"), Failure::Absent("a".into()));
        assert_eq!(failure(403, "b"), Failure::Forbidden("b".into()));
        assert_eq!(failure(400, "e"), Failure::Refused("e".into()));
        assert_eq!(failure(410, "c"), Failure::Expired("c".into()));
        assert_eq!(failure(401, "d"), Failure::Unauthorized("d".into()));
        let future = "Too large resource version: 9, current: 3";
        assert_eq!(failure(504, future), Failure::Behind(future.into()));
        assert_eq!(failure(500, ""), Failure::Away("500 Reason (500)".into()));
    }
}
