//! The last records of the log, in memory, for the support bundle: also where nobody has kept what was written.

use std::{
    collections::VecDeque,
    io,
    sync::{Mutex, MutexGuard, PoisonError},
};

use tracing_subscriber::fmt::MakeWriter;

/// The most bytes of records that are kept. The oldest make room.
const ROOM: usize = 256 << 10;

/// As many records as fit.
#[derive(Debug)]
pub struct Recent(Mutex<Records>);

#[derive(Debug)]
struct Records {
    lines: VecDeque<Box<str>>,
    bytes: usize,
}

/// Those of this process.
pub static RECENT: Recent = Recent::new();

impl Recent {
    const fn new() -> Self {
        Self(Mutex::new(Records {
            lines: VecDeque::new(),
            bytes: 0,
        }))
    }

    /// The records, each one JSON object with the fields of docs/LOG.md, the newest last.
    pub fn all(&self) -> Vec<String> {
        self.records().lines.iter().map(ToString::to_string).collect()
    }

    fn add(&self, line: &str) {
        let mut records = self.records();
        records.bytes += line.len();
        records.lines.push_back(line.into());
        while records.bytes > ROOM {
            let oldest = records.lines.pop_front().map_or(0, |line| line.len());
            records.bytes -= oldest;
        }
    }

    /// What is there counts, whatever has become of who held it.
    fn records(&self) -> MutexGuard<'_, Records> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Takes a whole record at a time.
impl io::Write for &Recent {
    fn write(&mut self, record: &[u8]) -> io::Result<usize> {
        self.add(String::from_utf8_lossy(record).trim_end());
        Ok(record.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for &'static Recent {
    type Writer = Self;

    fn make_writer(&'a self) -> Self::Writer {
        self
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn newest_records_are_kept_and_never_more_bytes_than_there_is_room_for() {
        let recent = Recent::new();
        for number in 0..3000 {
            let record = format!("{number}{}\n", "x".repeat(200));
            (&recent).write_all(record.as_bytes()).unwrap();
        }
        let all = recent.all();
        assert!(all.iter().map(String::len).sum::<usize>() <= ROOM);
        assert!(all.last().unwrap().starts_with("2999x"), "{:?}", all.last());
        assert!(all.len() > 1000, "{}", all.len());
        (&recent).write_all("y".repeat(ROOM + 1).as_bytes()).unwrap();
        assert!(
            recent.all().is_empty(),
            "one that is longer than all may be is left out"
        );
    }
}
