//! The enforcer's command and the tests' probe in one binary, so that tests have both at hand.

use std::{path::Path, process::ExitCode};

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    if arguments
        .next()
        .is_none_or(|first| first != tests::probe::ARGUMENT)
    {
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
