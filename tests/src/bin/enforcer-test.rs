//! The enforcer's command, the tests' processes and the first process of a test kernel in one binary, so that tests
//! have all of them at hand.

use std::{path::Path, process::ExitCode};

use tests::{
    escape, fault, figures::rivals, generator, guest, hostile, mesh, naming, pod, probe, resolvers, servers,
    stream, versions,
};

fn main() -> ExitCode {
    versions::pretend();
    let mut arguments = std::env::args_os().skip(1);
    let first = arguments
        .next()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned();
    let outcome = match first.as_str() {
        pod::ARGUMENT => pod::main(arguments),
        probe::ARGUMENT => cgroup(arguments).and_then(|(cgroup, _)| probe::main(Path::new(&cgroup))),
        probe::ACCEPT => {
            cgroup(arguments).and_then(|(cgroup, address)| probe::accept(Path::new(&cgroup), &address))
        }
        probe::ACCEPT_ONE => {
            cgroup(arguments).and_then(|(cgroup, address)| probe::accept_one(Path::new(&cgroup), &address))
        }
        fault::ARGUMENT => fault::main(arguments),
        escape::ARGUMENT => escape::main(arguments),
        generator::ARGUMENT => generator::main(arguments),
        mesh::load::ARGUMENT => mesh::load::main(arguments),
        naming::ARGUMENT => naming::main(arguments),
        naming::load::ARGUMENT => naming::load::main(arguments),
        hostile::ARGUMENT => hostile::main(arguments),
        rivals::ARGUMENT => rivals::main(arguments),
        resolvers::ARGUMENT => resolvers::main(arguments),
        servers::ARGUMENT => servers::main(arguments),
        stream::ARGUMENT => stream::main(arguments),
        // The kernel's first process has no use for a command line.
        _ if std::process::id() == 1 => return guest::main(),
        _ => return enforcer::cli::main(),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{first}: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// A cgroup and what follows it, which may be nothing.
fn cgroup(mut arguments: impl Iterator<Item = std::ffi::OsString>) -> anyhow::Result<(String, String)> {
    let mut next = || arguments.next().map(|word| word.to_string_lossy().into_owned());
    let cgroup = next().ok_or_else(|| anyhow::anyhow!("no cgroup is named"))?;
    Ok((cgroup, next().unwrap_or_default()))
}
