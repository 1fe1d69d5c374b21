//! The enforcer's programs, with a registry of as many rules as are asked for.

use std::{
    fmt::Write as _,
    net::{IpAddr, Ipv4Addr},
};

use anyhow::Result;

use super::servers::PORTS;
use crate::{
    fixture::TestCgroup,
    stream::{
        TO,
        enforced::{Enforced, enforce_registry},
    },
};

/// Addresses in one object.
const ADDRESSES: u32 = 500;

/// Where addresses begin to which nobody sends.
const OTHERS: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);

/// So many addresses that are allowed beside that of the servers.
pub(super) fn others(count: u32) -> impl Iterator<Item = Ipv4Addr> {
    (0..count).map(|index| Ipv4Addr::from_bits(OTHERS.to_bits() + index))
}

/// Enforces for the cgroup `workload` below `root`, with so many rules beside those that are used.
pub(super) fn enforce(root: &TestCgroup, rules: u32) -> Result<Enforced> {
    enforce_registry(root, &registry(rules))
}

fn registry(rules: u32) -> String {
    let used = [TO.ip()];
    let mut text = entry("streams", "TCP", &used, &ports());
    text += &entry("datagrams", "UDP", &used, &ports());
    let others: Vec<_> = others(rules - 1).map(IpAddr::from).collect();
    for (number, some) in others.chunks(ADDRESSES as usize).enumerate() {
        text += &entry(&format!("others-{number}"), "TCP", some, &[443]);
    }
    text
}

fn ports() -> Vec<u16> {
    (0..PORTS).map(|index| TO.port() + index).collect()
}

fn entry(name: &str, protocol: &str, addresses: &[IpAddr], ports: &[u16]) -> String {
    let addresses: Vec<_> = addresses.iter().map(ToString::to_string).collect();
    let mut text = format!(
        "---\napiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {{name: {name}, namespace: shop}}\n\
         spec:\n  hosts: [{name}.example.net]\n  addresses: [{}]\n  resolution: NONE\n  ports:\n",
        addresses.join(", ")
    );
    for port in ports {
        writeln!(
            text,
            "  - {{number: {port}, name: p{port}, protocol: {protocol}}}"
        )
        .expect("a string takes everything");
    }
    text
}
