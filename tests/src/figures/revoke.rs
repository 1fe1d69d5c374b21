//! From an entry that is removed to the end of all sockets by it.

use std::{net::TcpStream, time::Instant};

use anyhow::{Result, ensure};
use figure::{Figure, Goal, Series, greatest};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_SOCK_DIAG};

use super::{
    Measurement, Need, Setting,
    world::{PORT, address, entry, place, settle, until},
};
use crate::{
    daemon::{PATIENCE, wait},
    fixture::{in_own_network, tied},
    probe::ACCEPT,
};

const TITLE: &str = "From a removed entry to the end of its sockets";

/// For the table of measurements.
pub(super) const REVOKE: Measurement = Measurement {
    name: "revoke",
    title: TITLE,
    needs: &[Need::Root],
    take: revoke,
};
const FILE: &str = "changing.yaml";
const FIRST: u32 = 1_000_000;

/// Takes the figure.
///
/// # Errors
/// If something does not work.
fn revoke(setting: &Setting) -> Result<Vec<Figure>> {
    let mut figure = Figure::new("revoke", TITLE, "ms");
    let sizes: &[usize] = setting.size.pick(&[100, 1_000, 10_000], &[100, 1_000], &[10]);
    for sockets in sizes {
        let (samples, lists) = in_own_network(|| at_size(setting, *sockets))?;
        let most = greatest(samples.iter().copied());
        let text = format!("the slowest of {sockets} sockets to end, in ms");
        figure.goals.push(Goal::at_most(&text, most, 1_000.0));
        figure
            .series
            .push(Series::new("all ended", "ours", samples).at("sockets", *sockets as f64));
        figure.series.push(
            Series::new("all listed once (netlink)", "the kernel", lists).at("sockets", *sockets as f64),
        );
    }
    Ok(vec![figure])
}

/// How long it takes to end them, and the kernel to list them.
fn at_size(setting: &Setting, sockets: usize) -> Result<(Vec<f64>, Vec<f64>)> {
    let mut place = place(setting, 1, 1)?;
    let to = format!("{}:{PORT}", address(FIRST));
    let listening = place.cgroup.child("server")?;
    place.write(FILE, &format!("{}{}", entry(FIRST - 1), entry(FIRST)))?;
    let mut daemon = place.start(&["--log-level", "error"])?;
    settle(&place, &mut daemon)?;
    let (mut samples, mut lists) = (Vec::new(), Vec::new());
    for _ in 0..setting.size.pick(5, 2, 1) {
        // A new one each time: it keeps what it has accepted, also once that has ended.
        let mut server = tied(&setting.program)
            .arg(ACCEPT)
            .arg(&listening)
            .arg(&to)
            .spawn()?;
        wait("the server", || Ok(TcpStream::connect(&to).is_ok()))?;
        until(&mut place, &to, true)?;
        let probe = place.probe("web0")?;
        probe.hold_many(sockets, to.parse()?)?;
        lists.push(list(sockets)?);
        let begin = Instant::now();
        place.write(FILE, &entry(FIRST - 1))?;
        place.probe("web0")?.await_ends(PATIENCE)?;
        samples.push(begin.elapsed().as_secs_f64() * 1e3);
        place.write(FILE, &format!("{}{}", entry(FIRST - 1), entry(FIRST)))?;
        server.kill()?;
        server.wait()?;
    }
    Ok((samples, lists))
}

/// How long the kernel takes to list this network's TCP sockets of IPv4, which are at least so many.
fn list(sockets: usize) -> Result<f64> {
    /// `struct nlmsghdr` with `SOCK_DIAG_BY_FAMILY` and `NLM_F_REQUEST | NLM_F_DUMP`, and the beginning of `struct
    /// inet_diag_req_v2`: family, protocol, and every state. The rest is zero, for any socket.
    const LENGTH: usize = 16 + 56;
    const DONE: u16 = 3;
    let mut request = [0; LENGTH];
    request[..4].copy_from_slice(&u32::try_from(LENGTH)?.to_ne_bytes());
    request[4..6].copy_from_slice(&20_u16.to_ne_bytes());
    request[6..8].copy_from_slice(&0x301_u16.to_ne_bytes());
    request[16] = u8::try_from(libc::AF_INET)?;
    request[17] = u8::try_from(libc::IPPROTO_TCP)?;
    request[20..24].fill(0xff);
    let begin = Instant::now();
    let diag = Socket::new(NETLINK_SOCK_DIAG)?;
    diag.send_to(&request, &SocketAddr::new(0, 0), 0)?;
    let mut listed = 0;
    loop {
        let (answer, _) = diag.recv_from_full()?;
        let mut rest = answer.as_slice();
        while let Some((length, kind)) = header(rest) {
            if kind == DONE {
                ensure!(listed >= sockets, "only {listed} sockets are listed");
                return Ok(begin.elapsed().as_secs_f64() * 1e3);
            }
            ensure!(kind == 20, "the kernel does not list sockets");
            listed += 1;
            rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        }
    }
}

/// Length and type of the first message.
fn header(messages: &[u8]) -> Option<(usize, u16)> {
    let length = messages.get(..4)?.try_into().ok()?;
    let kind = messages.get(4..6)?.try_into().ok()?;
    Some((
        u32::from_ne_bytes(length).try_into().ok()?,
        u16::from_ne_bytes(kind),
    ))
}
