//! What enforcement costs a bulk stream: printed, never asserted, since other load on the machine decides more.

use std::{
    io::Read as _,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::Path,
    process::{Child, Command, Stdio},
    time::Instant,
};

use anyhow::{Context as _, Result, ensure};
use tests::{
    escape,
    ground::{self, TestCgroup, in_own_network},
    stream,
};

const ROUNDS: usize = 12;

/// One stream from a process in `cgroup`, in bytes a second.
fn rate(cgroup: &Path) -> Result<f64> {
    // An address that is local but not a loopback one, so that a rule decides.
    let listener = TcpListener::bind((Ipv4Addr::new(198, 18, 7, 3), 9000))?;
    let mut sender = start(cgroup, listener.local_addr()?)?;
    let (mut stream, _) = listener.accept()?;
    let (mut buffer, mut total) = (vec![0; 1 << 20], 0_u64);
    let start = Instant::now();
    loop {
        match stream.read(&mut buffer)? {
            0 => break,
            size => total += size as u64,
        }
    }
    let seconds = start.elapsed().as_secs_f64();
    ensure!(sender.wait()?.success(), "the sender has failed");
    ensure!(total == stream::BYTES, "{total} bytes have come");
    Ok(total as f64 / seconds)
}

fn start(cgroup: &Path, to: SocketAddr) -> Result<Child> {
    Command::new(env!("CARGO_BIN_EXE_enforcer-test"))
        .arg(stream::ARGUMENT)
        .arg(cgroup)
        .arg(to.to_string())
        .stdin(Stdio::null())
        .spawn()
        .context("starting the sender")
}

fn median(rates: &mut [f64]) -> f64 {
    rates.sort_by(f64::total_cmp);
    f64::midpoint(rates[rates.len() / 2], rates[(rates.len() - 1) / 2])
}

#[test]
fn bulk_stream_with_and_without_enforcement() {
    ground::need_root().unwrap();
    let (free, root) = (TestCgroup::new().unwrap(), TestCgroup::new().unwrap());
    let inside = root.child("workload").unwrap();
    let outside = free.child("workload").unwrap();
    let _datapath = escape::enforce(&root, escape::Manner::default()).unwrap();
    let (mut without, mut with) = in_own_network(|| {
        let (mut without, mut with) = (Vec::new(), Vec::new());
        for round in 0..ROUNDS {
            // Which comes first alternates, so that a drift of the machine falls on both.
            if round % 2 == 0 {
                without.push(rate(&outside)?);
                with.push(rate(&inside)?);
            } else {
                with.push(rate(&inside)?);
                without.push(rate(&outside)?);
            }
        }
        Ok((without, with))
    })
    .unwrap();
    let (without, with) = (median(&mut without), median(&mut with));
    println!(
        "bulk TCP, median of {ROUNDS}: {:.2} Gbit/s without, {:.2} Gbit/s with enforcement, ratio {:.4}",
        without * 8e-9,
        with * 8e-9,
        with / without
    );
}
