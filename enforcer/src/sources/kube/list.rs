//! Splits a list while it arrives: neither its text nor all of its objects are held at once, however many there are.
//!
//! ```text
//! answer, the next page's answer, ... -> [bytes] -> read (a thread that may block) -> [item] -> follower
//! ```

use std::{
    fmt,
    io::{self, BufReader, Read},
    time::Duration,
};

use futures_util::{AsyncBufRead, AsyncBufReadExt as _};
use kube::Client;
use serde::{
    Deserialize, Deserializer,
    de::{DeserializeSeed, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor},
};
use serde_json::value::RawValue;
use tokio::{sync::mpsc, task::spawn_blocking};

use super::{
    failure::Failure,
    request::{self, Portion, within},
    source::Source,
};

/// Objects of an answer, not decoded yet: they are best decoded on the thread that drops the result, since the
/// allocator of the static binary has a single lock.
pub(super) type Items = Vec<Box<RawValue>>;

/// Objects that are passed on at once.
const BATCH: usize = 100;
/// Batches that wait for the receiver.
pub(super) const AHEAD: usize = 2;
/// Parts of an answer that wait to be parsed.
const PARTS: usize = 8;

/// A request for a list.
pub(super) struct List {
    pub(super) client: Client,
    pub(super) source: Source,
    /// The index of the source's API version.
    pub(super) served: usize,
    /// The number of objects in a page.
    pub(super) page: u32,
    /// The longest silence of the server.
    pub(super) patience: Duration,
}

/// The metadata of an answer.
#[derive(Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Meta {
    /// The version from which a watch reports changes.
    resource_version: String,
    /// The token for the next page; empty or None if there is none.
    #[serde(rename = "continue")]
    next: Option<String>,
}

impl List {
    /// Requests the list. With a version, from the server's cache once that has reached the version, which costs the
    /// server a fraction of what pages do; without, the present state.
    pub(super) async fn ask(
        &self,
        not_older_than: Option<u64>,
    ) -> Result<impl AsyncBufRead + Unpin + use<>, Failure> {
        let portion = match not_older_than {
            Some(version) => Portion::NotOlderThan(version),
            None => Portion::Page(self.page, None),
        };
        self.portion(portion).await
    }

    /// Reads an answer and those of the pages after it, and returns the version from which changes are to be
    /// watched. If a list breaks off, the objects that were passed on are valid all the same.
    pub(super) async fn read(
        &self,
        mut answer: impl AsyncBufRead + Unpin,
        out: mpsc::Sender<Items>,
    ) -> Result<String, Failure> {
        let mut meta = self.take_apart(&mut answer, out.clone()).await?;
        while let Some(next) = meta.next.take().filter(|next| !next.is_empty()) {
            // The server prepares the next page while the objects of this one are processed.
            let mut answer = self.portion(Portion::Page(self.page, Some(next))).await?;
            meta = self.take_apart(&mut answer, out.clone()).await?;
        }
        Ok(meta.resource_version)
    }

    async fn portion(&self, portion: Portion) -> Result<impl AsyncBufRead + Unpin + use<>, Failure> {
        let bounds = (portion, self.patience);
        request::list(&self.client, &self.source, self.served, bounds).await
    }

    async fn take_apart(
        &self,
        answer: &mut (impl AsyncBufRead + Unpin),
        out: mpsc::Sender<Items>,
    ) -> Result<Meta, Failure> {
        let (parts, arrived) = mpsc::channel(PARTS);
        let reader = spawn_blocking(move || {
            let text = BufReader::new(Parts::new(arrived));
            read(text, |items| out.blocking_send(items).is_ok())
        });
        loop {
            let part = within(self.patience, answer.fill_buf()).await?;
            let part = part.map_err(|error| Failure::Away(format!("the answer broke off: {error}")))?;
            // If an answer cannot be parsed, the rest is not read.
            if part.is_empty() || parts.send(part.to_vec()).await.is_err() {
                break;
            }
            let length = part.len();
            answer.consume_unpin(length);
        }
        drop(parts);
        let read = reader.await;
        Ok(read.map_err(|error| Failure::Away(format!("reading the answer: {error}")))??)
    }
}

/// Splits a list, and passes its objects on in batches, until the receiver is closed.
fn read(text: impl Read, hand_on: impl FnMut(Items) -> bool) -> serde_json::Result<Meta> {
    let mut deserializer = serde_json::Deserializer::from_reader(text);
    let meta = deserializer.deserialize_map(Whole(hand_on))?;
    deserializer.end()?;
    Ok(meta)
}

/// The list itself. Its version may come before its items, or after them.
struct Whole<F>(F);

impl<'de, F: FnMut(Items) -> bool> Visitor<'de> for Whole<F> {
    type Value = Meta;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("a list of objects")
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<Meta, A::Error> {
        let mut meta = None;
        while let Some(key) = map.next_key::<String>()? {
            match key.as_str() {
                "metadata" => meta = Some(map.next_value()?),
                "items" => map.next_value_seed(Sequence(&mut self.0))?,
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        meta.ok_or_else(|| A::Error::missing_field("metadata"))
    }
}

/// Its items.
struct Sequence<'a, F>(&'a mut F);

impl<'de, F: FnMut(Items) -> bool> DeserializeSeed<'de> for Sequence<'_, F> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de, F: FnMut(Items) -> bool> Visitor<'de> for Sequence<'_, F> {
    type Value = ();

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("objects")
    }

    // Go's empty list is `null`.
    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        let mut is_over = false;
        while !is_over {
            let mut batch = Vec::with_capacity(BATCH);
            while batch.len() < BATCH && !is_over {
                match items.next_element::<Box<RawValue>>()? {
                    Some(item) => batch.push(item),
                    None => is_over = true,
                }
            }
            if !batch.is_empty() && !(self.0)(batch) {
                return Err(A::Error::custom("nobody takes its objects"));
            }
        }
        Ok(())
    }
}

/// The data that has arrived, for a thread that may block. It ends when its sender is dropped.
struct Parts {
    arrived: mpsc::Receiver<Vec<u8>>,
    part: io::Cursor<Vec<u8>>,
}

impl Parts {
    fn new(arrived: mpsc::Receiver<Vec<u8>>) -> Self {
        Self {
            arrived,
            part: io::Cursor::default(),
        }
    }
}

impl Read for Parts {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let count = self.part.read(buffer)?;
            if count > 0 || buffer.is_empty() {
                return Ok(count);
            }
            match self.arrived.blocking_recv() {
                Some(part) => self.part = io::Cursor::new(part),
                None => return Ok(0),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{super::document::Document, *};

    fn documents(text: &str) -> (serde_json::Result<Meta>, Vec<Document>) {
        let mut all = Vec::new();
        let meta = read(text.as_bytes(), |items| {
            all.extend(items.iter().map(|item| Document::read(item)));
            true
        });
        (meta, all)
    }

    fn meta(version: &str, next: Option<&str>) -> Meta {
        Meta {
            resource_version: version.to_owned(),
            next: next.map(str::to_owned),
        }
    }

    #[test]
    fn object_that_cannot_be_decoded_harms_no_other() {
        let deep = format!("{}{}", "[".repeat(500), "]".repeat(500));
        let text = format!(
            r#"{{"metadata":{{"resourceVersion":"7","continue":""}},"items":[
            {{"metadata":{{"name":"a"}}}},{{"metadata":{{"name":"b","namespace":"n"}},"spec":{deep}}},
            {{"metadata":{{"name":"c"}},"spec":1e999}},{{"metadata":{{"name":1}}}},"x"]}}"#
        );
        let (read, documents) = documents(&text);
        assert_eq!(read.unwrap(), meta("7", Some("")));
        let decoded: Vec<_> = documents
            .iter()
            .map(|it| (it.head.name.as_str(), it.body.is_ok()))
            .collect();
        assert_eq!(
            decoded,
            [("a", true), ("b", false), ("c", false), ("", true), ("", false)]
        );
    }

    #[test]
    fn fields_come_in_any_order_and_an_empty_list_may_be_null() {
        let after = r#"{"apiVersion":"v1","items":[{"metadata":{"name":"a"}}],"kind":"X","metadata":{"resourceVersion":"7"}}"#;
        let (read, items) = documents(after);
        assert_eq!((read.unwrap(), items.len()), (meta("7", None), 1));
        let (read, items) = documents(r#"{"metadata":{"resourceVersion":"8"},"items":null}"#);
        assert_eq!((read.unwrap(), items.len()), (meta("8", None), 0));
    }

    #[test]
    fn half_a_list_is_no_list() {
        let items: Vec<_> = (0..BATCH + 20)
            .map(|number| format!(r#"{{"metadata":{{"name":"o{number}"}}}}"#))
            .collect();
        let text = format!(
            r#"{{"items":[{}],"metadata":{{"resourceVersion":"7"}}}}"#,
            items.join(",")
        );
        let (read, items) = documents(&text);
        assert_eq!((read.unwrap(), items.len()), (meta("7", None), BATCH + 20));
        for length in 0..text.len() {
            let (read, items) = documents(&text[..length]);
            assert!(read.is_err(), "{length}");
            assert!([0, BATCH, BATCH + 20].contains(&items.len()), "{length}");
        }
        assert!(
            documents(&format!("{text}{{")).0.is_err(),
            "what follows is no list"
        );
    }

    #[test]
    fn reading_ends_when_nobody_takes_its_objects() {
        let text = format!(r#"{{"items":[{}1]"#, "1,".repeat(1000));
        let mut batches = 0;
        let read = read(text.as_bytes(), |_| {
            batches += 1;
            batches < 3
        });
        let error = read.unwrap_err().to_string();
        assert!(error.contains("nobody takes"), "{error}");
        assert_eq!(batches, 3);
    }
}
