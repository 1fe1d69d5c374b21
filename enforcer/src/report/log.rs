//! The log's format: each record is one line, whatever it contains.

use std::{
    fmt::{self, Write as _},
    io,
};

use anyhow::{Context as _, Result};
use clap::ValueEnum;
use tracing::{
    Subscriber,
    field::{Field, Visit},
};
use tracing_subscriber::{
    EnvFilter, Layer,
    field::RecordFields,
    fmt::{FormatFields, MakeWriter, format::Writer},
    layer::SubscriberExt as _,
    registry::LookupSpan,
    util::SubscriberInitExt as _,
};

use super::{
    escape::{self, Line},
    journal::{self, Journal},
    recent::RECENT,
};

/// How records are written: as lines to standard error, or to the journal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For a person.
    #[default]
    Human,
    /// One JSON object a line.
    Json,
    /// To systemd's journal, with priorities and fields.
    Journal,
}

impl LogFormat {
    /// For who reads standard error: the journal, or a person.
    pub fn of_reader() -> Self {
        if journal::is_ours() {
            Self::Journal
        } else {
            Self::Human
        }
    }
}

/// Libraries that log events that the daemon reports itself, with their meaning. A filter that names them shows
/// their lines.
const LIBRARIES: &str =
    "kube_client=off,hyper_util=off,hickory_net=off,hickory_proto=off,hickory_resolver=off,rustls=off";

/// Sets up output for `tracing` and `log`. `level` is a filter as in `RUST_LOG`. If the log's reader is gone, the
/// log is lost and the daemon continues.
///
/// # Errors
/// If the filter is invalid.
pub fn init(format: LogFormat, level: &str) -> Result<()> {
    let filter = filter(level).with_context(|| format!("--log-level {level:?}"))?;
    let is_terminal = io::IsTerminal::is_terminal(&io::stderr());
    let subscriber = if format == LogFormat::Journal {
        let journal = Journal::new(&JOURNAL_FIELDS).context("opening a socket for the journal")?;
        let registry = tracing_subscriber::registry().with(filter).with(recent());
        Box::new(registry.with(journal))
    } else {
        subscriber(format, filter, is_terminal, io::stderr)
    };
    subscriber.try_init().context("starting the log")
}

fn filter(level: &str) -> Result<EnvFilter> {
    // Of two directives for one target, the last counts.
    Ok(EnvFilter::builder().parse(format!("{LIBRARIES},{level}"))?)
}

fn subscriber<W>(
    format: LogFormat,
    filter: EnvFilter,
    is_terminal: bool,
    writer: W,
) -> Box<dyn Subscriber + Send + Sync>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    // If the log cannot be written, a line about that in the log is useless, and one on standard error ends the
    // process.
    let layer = tracing_subscriber::fmt::layer()
        .log_internal_errors(false)
        .with_target(false);
    let registry = tracing_subscriber::registry().with(filter).with(recent());
    match format {
        LogFormat::Human | LogFormat::Journal => Box::new(
            registry.with(
                layer
                    .with_ansi(is_terminal)
                    .fmt_fields(OneLine)
                    .with_writer(writer),
            ),
        ),
        LogFormat::Json => {
            Box::new(registry.with(layer.json().flatten_event(true).with_writer(Json(writer))))
        }
    }
}

/// Keeps the last records, whatever becomes of the log.
fn recent<S>() -> impl Layer<S>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    tracing_subscriber::fmt::layer()
        .json()
        .flatten_event(true)
        .with_target(false)
        .log_internal_errors(false)
        .with_writer(Json(&RECENT))
}

/// Fields of records in JSON whose values the record's message already contains. docs/LOG.md lists them in a table.
const FIELDS: [&str; 13] = [
    "event",
    "workload",
    "namespace",
    "pod",
    "container",
    "process",
    "host",
    "address",
    "port",
    "protocol",
    "reason",
    "object",
    "suggestion",
];

/// The same, and those that the message of a flow contains, too.
const JOURNAL_FIELDS: [&str; 17] = {
    let mut fields = ["verdict"; 17];
    let mut index = 0;
    while index < FIELDS.len() {
        fields[index] = FIELDS[index];
        index += 1;
    }
    fields[14] = "pid";
    fields[15] = "uid";
    fields[16] = "again";
    fields
};

/// The message of a record and its fields except [`FIELDS`]. They can contain foreign text.
struct OneLine;

impl<'a> FormatFields<'a> for OneLine {
    fn format_fields<R: RecordFields>(&self, mut writer: Writer<'a>, fields: R) -> fmt::Result {
        let mut text = Text(String::new());
        fields.record(&mut text);
        write!(writer, "{}", Line(text.0))
    }
}

struct Text(String);

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let Self(text) = self;
        if field.name() == "message" {
            text.insert_str(0, &format!("{value:?}"));
        } else if !FIELDS.contains(&field.name()) {
            // A string takes whatever is written to it.
            write!(text, " {field}={value:?}").ok();
        }
    }
}

/// Writes records in JSON.
struct Json<W>(W);

impl<'a, W: MakeWriter<'a>> MakeWriter<'a> for Json<W> {
    type Writer = Json<W::Writer>;

    fn make_writer(&'a self) -> Self::Writer {
        Json(self.0.make_writer())
    }
}

impl<W: io::Write> io::Write for Json<W> {
    /// Takes a whole record.
    fn write(&mut self, record: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(record);
        let is_long = text.len() > escape::LIMIT;
        let shortened = is_long.then(|| serde_json::from_str(&text).ok()).flatten();
        let shortened = shortened.map(|mut value| {
            escape::shorten(&mut value);
            format!("{value}\n")
        });
        self.0
            .write_all(escape::json(shortened.as_deref().unwrap_or(&text)).as_bytes())?;
        Ok(record.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use proptest::prelude::*;

    use super::{super::escape::tests::any_text, *};

    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Written {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn person_reads_the_message_and_a_program_the_fields() {
        let written = |format| {
            let written = Written::default();
            let sink = written.clone();
            let subscriber = subscriber(format, EnvFilter::new("info"), false, move || sink.clone());
            tracing::subscriber::with_default(subscriber, || {
                tracing::warn!(event = "flow_denied", port = 80, kept = 2, "denied, to port 80");
            });
            let bytes = written.0.lock().unwrap().clone();
            String::from_utf8(bytes).unwrap()
        };
        let human = written(LogFormat::Human);
        assert!(human.ends_with("denied, to port 80 kept=2\n"), "{human}");
        let json: serde_json::Value = serde_json::from_str(&written(LogFormat::Json)).unwrap();
        assert_eq!(
            (&json["event"], &json["port"], &json["kept"]),
            (&"flow_denied".into(), &80.into(), &2.into())
        );
    }

    #[test]
    fn libraries_are_silent_unless_they_are_named() {
        let written = |level| {
            let written = Written::default();
            let sink = written.clone();
            let subscriber = subscriber(LogFormat::Human, filter(level).unwrap(), false, move || {
                sink.clone()
            });
            tracing::subscriber::with_default(subscriber, || {
                tracing::warn!(target: "kube_client::client::tls", "Server cert bypassed");
                tracing::warn!("ours");
            });
            let bytes = written.0.lock().unwrap().clone();
            String::from_utf8(bytes).unwrap().lines().count()
        };
        assert_eq!(written("info"), 1);
        assert_eq!(written("debug"), 1);
        assert_eq!(written("info,kube_client=warn"), 2);
        assert!(filter("no such=level=").is_err());
    }

    /// What is written of a record with this text as message and as field.
    fn record(format: LogFormat, text: &str) -> String {
        let written = Written::default();
        let sink = written.clone();
        let subscriber = subscriber(format, EnvFilter::new("info"), false, move || sink.clone());
        tracing::subscriber::with_default(subscriber, || {
            let error = std::io::Error::other(text.to_owned());
            tracing::warn!(process = text, %error, other = ?text, "denied {text}");
        });
        let bytes = written.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    proptest! {
        #[test]
        fn each_record_is_one_line_whatever_it_tells_of(text in any_text()) {
            for format in [LogFormat::Human, LogFormat::Json] {
                let line = record(format, &text);
                let line = line.strip_suffix('\n').unwrap();
                prop_assert_eq!(&Line(line).to_string(), line);
                if format == LogFormat::Json {
                    let value: serde_json::Value = serde_json::from_str(line).unwrap();
                    prop_assert_eq!(value["process"].as_str(), Some(text.as_str()));
                }
            }
        }
    }

    #[test]
    fn record_is_bounded() {
        for format in [LogFormat::Human, LogFormat::Json] {
            let line = record(format, &"\u{1b}a".repeat(1 << 20));
            assert!(line.len() < 20 * escape::LIMIT, "{}", line.len());
            assert!(line.contains("bytes more)"));
        }
    }
}
