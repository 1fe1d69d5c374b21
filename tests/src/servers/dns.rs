//! A question to a DNS server, and its answer.

use std::{
    io::{Read as _, Write as _},
    net::{Ipv4Addr, SocketAddr},
};

use anyhow::{Context as _, Result, bail, ensure};

use super::networks::Networks;

/// A host and its address.
pub type Record<'a> = (&'a str, Ipv4Addr);

/// Asks a server for the address of a host by UDP, from a new port.
///
/// # Errors
/// If another answer comes, or none.
pub fn ask(networks: &Networks, server: SocketAddr, (host, address): Record<'_>) -> Result<()> {
    let socket = networks.datagrams(server)?;
    socket.send(&question(host)).context("asking")?;
    let mut answer = [0; 512];
    let size = socket.recv(&mut answer).context("no answer by UDP")?;
    check(&answer[..size], address)
}

/// The same by TCP.
///
/// # Errors
/// If another answer comes, or none.
pub fn ask_by_tcp(networks: &Networks, server: SocketAddr, (host, address): Record<'_>) -> Result<()> {
    let mut stream = networks.connect(server)?;
    let question = question(host);
    stream.write_all(&u16::try_from(question.len())?.to_be_bytes())?;
    stream.write_all(&question)?;
    let mut length = [0; 2];
    stream.read_exact(&mut length).context("no answer by TCP")?;
    let mut answer = vec![0; usize::from(u16::from_be_bytes(length))];
    stream.read_exact(&mut answer).context("half an answer by TCP")?;
    check(&answer, address)
}

/// For an A record, with recursion.
fn question(host: &str) -> Vec<u8> {
    let mut bytes = vec![0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in host.split('.') {
        bytes.push(u8::try_from(label.len()).expect("a label is short"));
        bytes.extend(label.bytes());
    }
    bytes.extend([0, 0, 1, 0, 1]);
    bytes
}

fn check(answer: &[u8], address: Ipv4Addr) -> Result<()> {
    let [0x12, 0x34, _, flags, _, _, _, answers, ..] = *answer else {
        bail!("this is no answer: {answer:?}");
    };
    ensure!(flags & 15 == 0, "the server answers with code {}", flags & 15);
    let octets = address.octets();
    let has_it = answer.windows(4).any(|window| window == octets);
    ensure!(answers > 0 && has_it, "the answer does not have {address}");
    Ok(())
}
