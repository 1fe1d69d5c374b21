//! Reads one file, of whatever kind, without ever blocking on it.

use std::{
    fs::{File, OpenOptions},
    io::{self, Read},
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

use super::{Content, SIZE_LIMIT};
use crate::stamp::Stamp;

/// The content of a file.
pub(super) struct Reading {
    /// Never [`Content::Gone`].
    pub(super) content: Content,
    /// The state that was read; None if there was none, for a reason that may be temporary.
    pub(super) stamp: Option<Stamp>,
    /// The file was written to during the read.
    pub(super) is_torn: bool,
}

/// Reads `path`; None if it does not exist.
pub(super) fn read(path: &Path) -> Option<Reading> {
    match attempt(path) {
        Ok(reading) => Some(reading),
        Err(error) if is_absence(&error) => None,
        Err(error) => Some(Reading {
            content: Content::Unreadable(reason(&error)),
            stamp: None,
            is_torn: false,
        }),
    }
}

/// Whether an error means that the path does not exist.
pub(super) fn is_absence(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
    )
}

/// An error as the rest of a sentence.
pub(super) fn reason(error: &io::Error) -> String {
    if error.raw_os_error() == Some(libc::ELOOP) {
        "is a symbolic link that leads back to itself".to_owned()
    } else {
        format!("cannot be read: {error}")
    }
}

fn attempt(path: &Path) -> io::Result<Reading> {
    // Between the walk and now, a FIFO may have replaced the file: opening it would wait for a writer.
    let mut options = OpenOptions::new();
    options.read(true).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY);
    let mut file = options.open(path)?;
    let metadata = file.metadata()?;
    let before = Stamp::of(&metadata);
    let content = if !metadata.is_file() {
        Content::Unreadable("is not a regular file".to_owned())
    } else if metadata.len() > SIZE_LIMIT {
        Content::Unreadable(too_large(metadata.len()))
    } else {
        content(&mut file, metadata.len())?
    };
    let after = Stamp::of(&file.metadata()?);
    Ok(Reading {
        content,
        stamp: Some(before),
        is_torn: after != before,
    })
}

fn content(file: &mut File, size: u64) -> io::Result<Content> {
    let mut bytes = Vec::with_capacity(usize::try_from(size).unwrap_or(0));
    file.take(SIZE_LIMIT + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > SIZE_LIMIT {
        return Ok(Content::Unreadable(too_large(bytes.len() as u64)));
    }
    if let Some(offset) = bytes.iter().position(|byte| *byte == 0) {
        return Ok(Content::Unreadable(format!(
            "is not text: it has a zero byte at offset {offset}"
        )));
    }
    Ok(match String::from_utf8(bytes) {
        Ok(text) => Content::Text(text),
        Err(error) => Content::Unreadable(format!(
            "is not UTF-8 text: it is wrong from offset {} on",
            error.utf8_error().valid_up_to()
        )),
    })
}

fn too_large(size: u64) -> String {
    format!(
        "is too large: {} MiB, and the limit is {} MiB; split it",
        size.div_ceil(1 << 20),
        SIZE_LIMIT >> 20
    )
}
