//! The log in the journal's own protocol: each record with its priority and its fields.
//!
//! `journalctl -p warning -u enforcer` shows refusals, `journalctl ENFORCER_WORKLOAD=frontend/web` those of a workload.
//! The journal keeps the time, so that the text has none.

use std::{
    fmt::{self, Write as _},
    io,
    os::unix::{fs::MetadataExt as _, net::UnixDatagram},
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use tracing::{
    Event, Level, Subscriber,
    field::{Field, Visit},
};
use tracing_subscriber::{Layer, layer::Context};

use super::escape::Line;

/// Where the journal listens.
const SOCKET: &str = "/run/systemd/journal/socket";

/// How long a record waits for a journal that does not read.
const PATIENCE: Duration = Duration::from_secs(1);

/// Whether standard error is the journal, as systemd says it.
pub fn is_ours() -> bool {
    let Some(stream) = std::env::var("JOURNAL_STREAM").ok() else {
        return false;
    };
    let error = std::fs::metadata("/proc/self/fd/2");
    error.is_ok_and(|error| stream == format!("{}:{}", error.dev(), error.ino()))
}

/// Writes records to the journal.
pub(super) struct Journal {
    socket: UnixDatagram,
    /// Whether the last record was not taken.
    is_stuck: AtomicBool,
    /// Fields whose values the message already has; they are fields alone.
    fields: &'static [&'static str],
}

impl Journal {
    /// `fields` are those that the message does not have to have.
    pub(super) fn new(fields: &'static [&'static str]) -> io::Result<Self> {
        let socket = UnixDatagram::unbound()?;
        socket.set_write_timeout(Some(PATIENCE))?;
        Ok(Self {
            socket,
            is_stuck: AtomicBool::new(false),
            fields,
        })
    }

    fn entry(&self, event: &Event<'_>) -> Vec<u8> {
        let mut record = Record {
            fields: self.fields,
            message: String::new(),
            more: String::new(),
            entry: Vec::new(),
        };
        event.record(&mut record);
        let Record {
            message,
            more,
            mut entry,
            ..
        } = record;
        append(&mut entry, "MESSAGE", &format!("{message}{more}"));
        append(&mut entry, "PRIORITY", priority(*event.metadata().level()));
        append(&mut entry, "SYSLOG_IDENTIFIER", "enforcer");
        entry
    }
}

impl<S: Subscriber> Layer<S> for Journal {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        // If the log cannot be written, the enforcer goes on, as without a reader of standard error. It waits once, and
        // not for each record: verdicts do not depend on it, and everything else does.
        let sent = self.socket.send_to(&self.entry(event), Path::new(SOCKET));
        let is_stuck = sent.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock);
        if self.is_stuck.swap(is_stuck, Ordering::Relaxed) != is_stuck {
            // A socket of this process is not refused that.
            self.socket.set_nonblocking(is_stuck).ok();
        }
    }
}

/// As syslog has it.
fn priority(level: Level) -> &'static str {
    match level {
        Level::ERROR => "3",
        Level::WARN => "4",
        Level::INFO => "6",
        _ => "7",
    }
}

struct Record {
    fields: &'static [&'static str],
    message: String,
    more: String,
    entry: Vec<u8>,
}

impl Record {
    fn take(&mut self, field: &Field, value: &dyn fmt::Display) {
        match field.name() {
            "message" => self.message = value.to_string(),
            name if name.starts_with("log.") => {}
            name if self.fields.contains(&name) => {
                let name = format!("ENFORCER_{}", name.to_uppercase());
                append(&mut self.entry, &name, &value.to_string());
            }
            // A string takes whatever is written to it.
            name => drop(write!(self.more, " {name}={value}")),
        }
    }
}

impl Visit for Record {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.take(field, &value);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.take(field, &format_args!("{value:?}"));
    }
}

/// The name, the length in eight bytes, the value: a newline in it begins no other field.
fn append(entry: &mut Vec<u8>, name: &str, value: &str) {
    let value = Line(value).to_string();
    entry.extend(name.as_bytes());
    entry.push(b'\n');
    entry.extend((value.len() as u64).to_le_bytes());
    entry.extend(value.as_bytes());
    entry.push(b'\n');
}

#[cfg(test)]
mod tests {
    use std::{
        collections::BTreeMap,
        sync::{Arc, Mutex},
    };

    use tracing_subscriber::layer::SubscriberExt as _;

    use super::*;

    /// Keeps entries, and sends none.
    #[derive(Clone)]
    struct Kept(Arc<Mutex<Vec<Vec<u8>>>>);

    impl<S: Subscriber> Layer<S> for Kept {
        fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
            let journal = Journal::new(&["workload", "port", "verdict"]).unwrap();
            self.0.lock().unwrap().push(journal.entry(event));
        }
    }

    fn read(mut entry: &[u8]) -> BTreeMap<String, String> {
        let mut fields = BTreeMap::new();
        while let Some(end) = entry.iter().position(|byte| *byte == b'\n') {
            let name = String::from_utf8(entry[..end].to_vec()).unwrap();
            let (length, rest) = entry[end + 1..].split_first_chunk::<8>().unwrap();
            let (value, rest) = rest.split_at(usize::try_from(u64::from_le_bytes(*length)).unwrap());
            fields.insert(name, String::from_utf8(value.to_vec()).unwrap());
            entry = rest.strip_prefix(b"\n").unwrap();
        }
        assert!(entry.is_empty());
        fields
    }

    fn fields(log: impl FnOnce()) -> BTreeMap<String, String> {
        let kept = Kept(Arc::default());
        let subscriber = tracing_subscriber::registry().with(kept.clone());
        tracing::subscriber::with_default(subscriber, log);
        let entries = kept.0.lock().unwrap();
        read(&entries[0])
    }

    #[test]
    fn record_has_its_priority_and_its_fields() {
        let fields = fields(|| {
            tracing::warn!(workload = "a/web", port = 80, kept = 2, "denied a/web");
        });
        let expected = [
            ("ENFORCER_PORT", "80"),
            ("ENFORCER_WORKLOAD", "a/web"),
            ("MESSAGE", "denied a/web kept=2"),
            ("PRIORITY", "4"),
            ("SYSLOG_IDENTIFIER", "enforcer"),
        ];
        let expected = expected.map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(fields, BTreeMap::from(expected));
    }

    #[test]
    fn text_from_elsewhere_begins_no_field() {
        let text = "x\nPRIORITY=0\nMESSAGE\n";
        let fields = fields(|| tracing::error!(workload = text, other = text, "{text}"));
        assert_eq!(fields["PRIORITY"], "3");
        assert_eq!(fields.len(), 4, "{fields:?}");
        assert!(fields.values().all(|value| !value.contains('\n')), "{fields:?}");
    }
}
