//! The enforcer's command, the tests' processes and the first process of a test kernel in one binary, so that tests
//! have all of them at hand.

use std::{path::Path, process::ExitCode};

use tests::probe;

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    let first = arguments.next().unwrap_or_default();
    let rest: Vec<_> = arguments
        .map(|word| word.to_string_lossy().into_owned())
        .collect();
    let outcome = match (first.to_str(), rest.as_slice()) {
        (Some(probe::ARGUMENT), [cgroup]) => probe::main(Path::new(cgroup)),
        (Some(probe::ACCEPT), [cgroup, address]) => probe::accept(Path::new(cgroup), address),
        // The kernel's first process has no use for a command line.
        _ if std::process::id() == 1 => return tests::guest::main(),
        _ => return enforcer::cli::main(),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{}: {error:#}", first.to_string_lossy());
            ExitCode::FAILURE
        }
    }
}
