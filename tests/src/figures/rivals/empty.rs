//! Programs that let everything through at once: what the hooks themselves cost.

use std::{os::fd::OwnedFd, path::Path};

use anyhow::Result;

use crate::fixture::program::{Kind, Program};

/// The hooks at which our programs are met here, and how many are attached to each: `enum bpf_attach_type`. Questions and
/// answers of names have a packet program of their own.
const HOOKS: [(Kind, u32, usize); 7] = [
    (Kind::Skb, 0, 2),
    (Kind::Skb, 1, 2),
    (Kind::Sock, 2, 1),
    (Kind::SockAddr, 10, 1),
    (Kind::SockAddr, 11, 1),
    (Kind::SockAddr, 14, 1),
    (Kind::SockAddr, 15, 1),
];

/// Attaches them to a cgroup, for as long as the links are open.
pub(super) fn attach(cgroup: &Path) -> Result<Vec<OwnedFd>> {
    let mut links = Vec::new();
    for (kind, attach_type, count) in HOOKS {
        for _ in 0..count {
            links.push(Program::empty(kind, attach_type)?.link(cgroup)?);
        }
    }
    Ok(links)
}
