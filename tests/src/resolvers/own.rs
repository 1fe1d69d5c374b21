//! The clients that this binary itself is: one that asks by the C library, and one that has `dig` ask.
//!
//! Each reads a name a line, connects at once to every address that it is given, and answers `FOUND REFUSED`, or why it
//! found none.

use std::{
    ffi::OsString,
    io::{self, Write as _},
    net::{IpAddr, SocketAddr, ToSocketAddrs as _},
    os::fd::AsRawFd as _,
    process::Command,
};

use anyhow::{Context as _, Result, ensure};
use nix::{
    errno::Errno,
    sys::socket::{AddressFamily, SockFlag, SockType, SockaddrStorage, connect, socket},
};

/// Argument with which a test binary becomes a client.
pub const ARGUMENT: &str = "resolve";

/// The client's main: nothing, or the command of a program that writes the addresses of the name behind it.
///
/// # Errors
/// If it can read or write no more.
pub fn main(arguments: impl Iterator<Item = OsString>) -> Result<()> {
    let command: Vec<_> = arguments.collect();
    for name in io::stdin().lines() {
        let name = name?;
        let found = match command.split_first() {
            None => by_library(&name),
            Some((program, arguments)) => by_program(Command::new(program).args(arguments), &name),
        };
        let said = found.and_then(|found| {
            let refused = found.iter().map(is_refused).collect::<Result<Vec<_>>>()?;
            let refused = refused.iter().filter(|refused| **refused).count();
            Ok(format!("{} {refused}", found.len()))
        });
        let said = said.unwrap_or_else(|error| format!("{error:#}"));
        writeln!(io::stdout(), "{said}")?;
    }
    Ok(())
}

fn by_library(name: &str) -> Result<Vec<SocketAddr>> {
    Ok((name, 443).to_socket_addrs()?.collect())
}

fn by_program(command: &mut Command, name: &str) -> Result<Vec<SocketAddr>> {
    let output = command.args([name, "A", name, "AAAA"]).output()?;
    ensure!(output.status.success(), "{}", output.status);
    let text = String::from_utf8(output.stdout)?;
    let addresses = text.lines().map(|line| {
        let address: IpAddr = line.parse().with_context(|| line.to_owned())?;
        Ok(SocketAddr::new(address, 443))
    });
    addresses.collect()
}

/// Whether a connection may not begin. How it goes on is not waited for.
fn is_refused(to: &SocketAddr) -> Result<bool> {
    let family = if to.is_ipv4() {
        AddressFamily::Inet
    } else {
        AddressFamily::Inet6
    };
    let socket = socket(family, SockType::Stream, SockFlag::SOCK_NONBLOCK, None)?;
    Ok(connect(socket.as_raw_fd(), &SockaddrStorage::from(*to)) == Err(Errno::EPERM))
}
