//! The machine: its kernel, what that offers, and our programs in it.

use std::{collections::BTreeSet, fs, path::Path};

use serde_json::{Map, Value, json};

use super::Files;
use crate::{
    control::{Listing, Status},
    datapath,
};

/// What of the kernel's settings concerns BPF and what is enforced by it.
const SYSCTLS: [&str; 14] = [
    "kernel/bpf_stats_enabled",
    "kernel/unprivileged_bpf_disabled",
    "kernel/kptr_restrict",
    "kernel/perf_event_paranoid",
    "kernel/modules_disabled",
    "net/core/bpf_jit_enable",
    "net/core/bpf_jit_harden",
    "net/core/bpf_jit_kallsyms",
    "net/core/bpf_jit_limit",
    "net/ipv4/conf/all/route_localnet",
    "net/ipv4/ip_forward",
    "net/ipv4/ip_nonlocal_bind",
    "net/ipv6/conf/all/disable_ipv6",
    "vm/overcommit_memory",
];

/// Texts of the kernel, by the name that they have in the bundle.
const TEXTS: [(&str, &str); 7] = [
    ("procVersion", "/proc/version"),
    ("commandLine", "/proc/cmdline"),
    ("lsm", "/sys/kernel/security/lsm"),
    ("lockdown", "/sys/kernel/security/lockdown"),
    (
        "clocksource",
        "/sys/devices/system/clocksource/clocksource0/current_clocksource",
    ),
    ("uptime", "/proc/uptime"),
    ("pid1", "/proc/1/comm"),
];

/// Adds what is known of the kernel.
pub(super) fn add(files: &mut Files) {
    let mut kernel = Map::new();
    match nix::sys::utsname::uname() {
        Ok(name) => {
            let text = |part: &std::ffi::OsStr| part.to_string_lossy().into_owned();
            kernel.insert(
                "uname".to_owned(),
                json!({
                    "sysname": text(name.sysname()),
                    "nodename": text(name.nodename()),
                    "release": text(name.release()),
                    "kernelVersion": text(name.version()),
                    "machine": text(name.machine()),
                }),
            );
        }
        Err(error) => files.miss("uname in kernel.json", error),
    }
    for (name, path) in TEXTS {
        kernel.insert(name.to_owned(), read(path));
    }
    let sysctls = SYSCTLS
        .iter()
        .map(|name| ((*name).to_owned(), read(&format!("/proc/sys/{name}"))));
    kernel.insert("sysctls".to_owned(), sysctls.collect::<Map<_, _>>().into());
    kernel.insert("mounts".to_owned(), mounts().into());
    let btf = fs::metadata("/sys/kernel/btf/vmlinux");
    kernel.insert("btfBytes".to_owned(), json!(btf.ok().map(|btf| btf.len())));
    kernel.insert("memory".to_owned(), first_lines("/proc/meminfo", 3).into());
    kernel.insert(
        "processors".to_owned(),
        json!(std::thread::available_parallelism().ok().map(usize::from)),
    );
    kernel.insert("capabilities".to_owned(), with("/proc/self/status", "Cap").into());
    kernel.insert(
        "distribution".to_owned(),
        with("/etc/os-release", "PRETTY_NAME=").into(),
    );
    files.json("kernel.json", kernel.into());
}

/// What is there to be read, or why it is not.
fn read(path: &str) -> Value {
    match fs::read_to_string(path) {
        Ok(text) => text.trim_end().into(),
        Err(error) => json!({ "unreadable": error.to_string() }),
    }
}

fn first_lines(path: &str, most: usize) -> Vec<String> {
    let text = fs::read_to_string(path).unwrap_or_default();
    text.lines().take(most).map(str::to_owned).collect()
}

fn with(path: &str, start: &str) -> Vec<String> {
    let text = fs::read_to_string(path).unwrap_or_default();
    text.lines()
        .filter(|line| line.starts_with(start))
        .map(str::to_owned)
        .collect()
}

/// Where cgroups and BPF file systems are mounted.
fn mounts() -> Vec<String> {
    let is_meant = |line: &&str| {
        let kind = line.split(' ').nth(2);
        matches!(
            kind,
            Some("cgroup" | "cgroup2" | "bpf" | "securityfs" | "tracefs")
        )
    };
    let text = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    text.lines().filter(is_meant).map(str::to_owned).collect()
}

/// Adds our programs that the kernel has, with what they cost.
pub(super) fn add_programs(bpffs: &Path, status: Option<&Status>, files: &mut Files) {
    let roots = status.iter().flat_map(|status| &status.roots);
    let known: BTreeSet<u32> = roots
        .flat_map(|root| &root.programs)
        .map(|program| program.id)
        .collect();
    match datapath::programs(bpffs, &known) {
        Ok(programs) => {
            let row = |program: datapath::Loaded| {
                json!({
                    "id": program.id,
                    "program": program.name,
                    "verifiedInstructions": program.verified,
                    "verifierLimit": datapath::VERIFIER_LIMIT,
                    "runs": program.runs,
                    "runSeconds": program.run_time.as_secs_f64(),
                    "cgroups": program.cgroups,
                })
            };
            let listing: Listing = programs.into_iter().map(row).collect();
            if listing.lines.is_empty() {
                files.miss("programs.jsonl", "no program of an enforcer is in the kernel");
            } else {
                files.listing("programs.jsonl", listing);
            }
        }
        Err(error) => files.miss("programs.jsonl", format_args!("{error:#}")),
    }
}
