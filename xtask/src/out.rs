//! What the commands write, also where nobody reads it any more: `cargo xtask test | head`.

use std::{fmt, io, panic, process::ExitCode, thread};

/// Of a process that SIGPIPE has ended, as shells tell it.
const ENDED_BY_SIGPIPE: u8 = 128 + 13;

/// Nobody reads the output any more.
struct ReaderGone;

/// Writes a line to standard output.
macro_rules! say {
    ($($text:tt)*) => { $crate::out::write(format_args!("{}\n", format_args!($($text)*))) };
}

/// Writes a line to standard error.
macro_rules! complain {
    ($($text:tt)*) => { $crate::out::write_error(format_args!($($text)*)) };
}

pub(crate) use {complain, say};

/// Writes to standard output. Where nobody reads that, the command ends from here on, and what it has made is taken
/// away on the way.
pub(crate) fn write(text: fmt::Arguments<'_>) {
    write_to(&mut io::stdout(), text);
}

fn write_to(out: &mut impl io::Write, text: fmt::Arguments<'_>) {
    // What is taken away on the way out says so too.
    if out.write_fmt(text).and_then(|()| out.flush()).is_err() && !thread::panicking() {
        panic::resume_unwind(Box::new(ReaderGone));
    }
}

/// Writes a line to standard error. Where nobody reads that, there is nobody to tell.
pub(crate) fn write_error(text: fmt::Arguments<'_>) {
    use io::Write as _;
    writeln!(io::stderr(), "{text}").ok();
}

/// Runs a command; without a reader it ends as every other program of a pipe does.
pub(crate) fn run(command: impl FnOnce() -> ExitCode) -> ExitCode {
    match panic::catch_unwind(panic::AssertUnwindSafe(command)) {
        Ok(code) => code,
        Err(payload) if payload.is::<ReaderGone>() => {
            // It returns only if that cannot be done.
            signal_hook::low_level::emulate_default_handler(signal_hook::consts::SIGPIPE).ok();
            ExitCode::from(ENDED_BY_SIGPIPE)
        }
        Err(payload) => panic::resume_unwind(payload),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn command_without_a_reader_takes_away_what_it_has_made_and_ends() {
        struct Made<'a>(&'a mut bool);
        impl Drop for Made<'_> {
            fn drop(&mut self) {
                let (reader, mut writer) = io::pipe().unwrap();
                drop(reader);
                write_to(&mut writer, format_args!("taken away\n"));
                *self.0 = true;
            }
        }
        let mut is_taken_away = false;
        let ended = panic::catch_unwind(panic::AssertUnwindSafe(|| {
            let _made = Made(&mut is_taken_away);
            let (reader, mut writer) = io::pipe().unwrap();
            drop(reader);
            writer.flush().unwrap();
            write_to(&mut writer, format_args!("made\n"));
        }));
        assert!(ended.is_err_and(|payload| payload.is::<ReaderGone>()));
        assert!(is_taken_away);
    }
}
