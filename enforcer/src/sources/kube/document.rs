//! Decodes what the API server sends, object by object.
//!
//! A list or an event is first split without decoding its objects. Each object is then decoded separately, so that
//! one that cannot be decoded does not affect the others.

use kube::core::Status;
use serde::Deserialize;
use serde_json::{Value, value::RawValue};

use super::prune;

/// An object, as it was sent.
#[derive(Debug)]
pub(super) struct Document {
    pub(super) head: Head,
    /// The object, or why it cannot be decoded.
    pub(super) body: Result<Value, String>,
}

/// Identifies an object and its version.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Head {
    pub(super) namespace: String,
    pub(super) name: String,
    pub(super) uid: String,
    resource_version: String,
}

impl Head {
    /// The version; those of one collection grow. None if it is not a number.
    pub(super) fn version(&self) -> Option<u64> {
        self.resource_version.parse().ok()
    }
}

/// An event of a watch.
#[derive(Debug)]
pub(super) enum Event {
    /// An object was added or changed.
    Set(Document),
    /// An object is gone.
    Gone(Head),
    /// Nothing has happened up to this version.
    Bookmark(String),
    /// The watch cannot go on.
    Failed(Status),
    /// An event of a later server version.
    Unknown,
}

#[derive(Deserialize)]
struct RawEvent<'a> {
    #[serde(rename = "type")]
    what: String,
    #[serde(borrow)]
    object: &'a RawValue,
}

#[derive(Deserialize)]
struct WithHead {
    metadata: Head,
}

impl Event {
    /// Parses a line of a watch.
    pub(super) fn read(line: &[u8]) -> serde_json::Result<Self> {
        let RawEvent { what, object } = serde_json::from_slice(line)?;
        Ok(match what.as_str() {
            "ADDED" | "MODIFIED" => Self::Set(Document::read(object)),
            "DELETED" => Self::Gone(serde_json::from_str::<WithHead>(object.get())?.metadata),
            "BOOKMARK" => {
                let head = serde_json::from_str::<WithHead>(object.get())?.metadata;
                Self::Bookmark(head.resource_version)
            }
            "ERROR" => Self::Failed(serde_json::from_str(object.get())?),
            _ => Self::Unknown,
        })
    }
}

impl Document {
    /// Decodes an object; one whose name cannot be decoded has none.
    pub(super) fn read(raw: &RawValue) -> Self {
        let head = |object: Result<WithHead, _>| object.map(|it| it.metadata).unwrap_or_default();
        match prune::read(raw.get()) {
            Ok(body) => Self {
                head: head(WithHead::deserialize(&body)),
                body: Ok(body),
            },
            Err(error) => Self {
                head: head(serde_json::from_str(raw.get())),
                body: Err(error.to_string()),
            },
        }
    }

    /// The version, as used in watch requests.
    pub(super) fn version(&self) -> &str {
        &self.head.resource_version
    }
}

impl Event {
    /// The version after it; None if it has none.
    pub(super) fn version(&self) -> Option<&str> {
        let version = match self {
            Self::Set(document) => document.version(),
            Self::Gone(head) => &head.resource_version,
            Self::Bookmark(version) => version,
            Self::Failed(_) | Self::Unknown => "",
        };
        Some(version).filter(|version| !version.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_an_event_is_no_event() {
        let line = br#"{"type":"ADDED","object":{"metadata":{"name":"a","resourceVersion":"9"}}}"#;
        let event = Event::read(line).unwrap();
        assert_eq!(event.version(), Some("9"));
        for length in 0..line.len() {
            assert!(Event::read(&line[..length]).is_err(), "{length}");
        }
    }

    #[test]
    fn copies_of_the_object_are_dropped() {
        let text = r#"{"type":"MODIFIED","object":{"metadata":{"name":"a","managedFields":[1],
            "annotations":{"kubectl.kubernetes.io/last-applied-configuration":"{}","kept":"x"}}}}"#;
        let Event::Set(document) = Event::read(text.as_bytes()).unwrap() else {
            panic!("it is there")
        };
        let expected = serde_json::json!({"metadata": {"name": "a", "annotations": {"kept": "x"}}});
        assert_eq!(document.body, Ok(expected));
    }
}
