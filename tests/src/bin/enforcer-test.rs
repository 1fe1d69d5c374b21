//! The enforcer's command, the tests' probe and the first process of a test kernel in one binary, so that tests have
//! all of them at hand.

use std::{path::Path, process::ExitCode};

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    if arguments
        .next()
        .is_none_or(|first| first != tests::probe::ARGUMENT)
    {
        // The kernel's first process has no use for a command line.
        if std::process::id() == 1 {
            return tests::guest::main();
        }
        return enforcer::cli::main();
    }
    let Some(cgroup) = arguments.next() else {
        eprintln!("usage: probe CGROUP");
        return ExitCode::FAILURE;
    };
    match tests::probe::main(Path::new(&cgroup)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("probe: {error:#}");
            ExitCode::FAILURE
        }
    }
}
