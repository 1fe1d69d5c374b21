//! The enforcer's command and the tests' processes in one binary, so that tests have all at hand.

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
