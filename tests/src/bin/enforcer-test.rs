//! The enforcer's command and the tests' processes in one binary, so that tests have both at hand.

use std::{path::Path, process::ExitCode};

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    let first = arguments.next();
    let is = |argument: &str| first.as_ref().is_some_and(|first| first == argument);
    let done = if is(tests::probe::ARGUMENT) {
        let Some(cgroup) = arguments.next() else {
            eprintln!("usage: probe CGROUP");
            return ExitCode::FAILURE;
        };
        tests::probe::main(Path::new(&cgroup))
    } else if is(tests::escape::ARGUMENT) {
        tests::escape::main(arguments)
    } else if is(tests::stream::ARGUMENT) {
        tests::stream::main(arguments)
    } else {
        return enforcer::cli::main();
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
