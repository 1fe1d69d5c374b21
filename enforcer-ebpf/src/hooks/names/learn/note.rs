//! Stores what an answer contains: for hosts that rules name, in the map that verdicts use; for others, in
//! the map for messages.

use core::ffi::c_void;

use aya_ebpf::helpers::generated::bpf_probe_read_kernel;
use enforcer_common::{
    CgroupId, Counter, HostId, Learned, LearnedHost, LearnedKey, Named,
    dns::ADDRESSES,
    learned::{HOSTS, NAME},
};

use super::Step;
use crate::{
    hooks::{
        names::slots,
        packet::{bounded, masked},
    },
    maps::{
        self,
        names::{Desk, Found, LEARNED, MATCHES, NAMED, is_protected, pattern},
    },
};

const SECOND: u64 = 1_000_000_000;

/// Finds the hosts that match the name on the desk, `length` bytes with the root, and prepares the entry.
///
/// # Safety
/// `desk` points to a value of a map.
#[inline(always)]
pub(super) unsafe fn begin(desk: *mut Desk, length: u32) {
    // SAFETY: the caller's promise, here and below; the helper checks what it reads.
    unsafe {
        (*desk).learned.length = length;
        (*desk).learned.time = (*desk).now;
        (*desk).matches = 0;
        // One terminator stands for the root.
        let length = bounded(length, NAME as u32 - 1);
        *(&raw mut (*desk).backward).cast::<u8>().add(NAME - 1) = 0;
        let from = (&raw const (*desk).backward)
            .cast::<u8>()
            .add(masked::<{ NAME as u64 - 1 }>(NAME as u32 - length));
        bpf_probe_read_kernel((&raw mut (*desk).key).cast(), length, from.cast());
        let mut found = 0;
        let mut bytes = length * 8;
        // The others are never in use on the desk. Volatile, here and below: the compiler would call a function that
        // writes byte by byte.
        for index in 0..MATCHES {
            (&raw mut (*desk).learned.hosts[index].host).write_volatile(HostId::NONE);
        }
        for _ in 0..MATCHES {
            (*desk).bits = bytes;
            let Some((host, shared, is_wildcard)) = pattern(desk) else {
                break;
            };
            // A wildcard matches names that are longer by at least a character than the part behind the star,
            // so not the apex.
            if !is_wildcard || length > shared + 2 {
                (&raw mut (*desk).learned.hosts[found & (MATCHES - 1)].host).write_volatile(host);
                found += 1;
            }
            if shared == 0 {
                break;
            }
            bytes = shared * 8 - 1;
        }
        (*desk).matches = found as u32;
    }
}

/// Stores one address. Not 0 ends the loop.
pub(super) unsafe extern "C" fn address(index: u64, step: *mut c_void) -> i64 {
    // SAFETY: the loop is given a step, whose desk is a map's value.
    unsafe {
        let desk = (*step.cast::<Step>()).desk;
        let index = masked::<{ ADDRESSES as u64 - 1 }>(index as u32);
        let found = (&raw const (*desk).found).cast::<Found>().add(index);
        let key = LearnedKey {
            owner: CgroupId((*desk).owner),
            address: (*found).address,
        };
        if (*desk).matches == 0 {
            name(desk, &key);
        } else if is_protected(&key.address) {
            // Log lines about refusals name the host of the address.
            name(desk, &key);
            maps::count(Counter::Protected);
        } else {
            known(desk, &key, (*found).ttl);
        }
    }
    0
}

/// Remembers the name of an address for messages.
///
/// # Safety
/// `desk` points to a value of a map.
#[inline(always)]
unsafe fn name(desk: *mut Desk, key: &LearnedKey) {
    // SAFETY: the caller's promise; the helper checks what it reads.
    unsafe {
        (*desk).named.time = (*desk).now;
        (*desk).named.length = (*desk).learned.length;
        bpf_probe_read_kernel(
            (&raw mut (*desk).named.name).cast(),
            NAME as u32,
            (&raw const (*desk).learned.name).cast(),
        );
        let named: &Named = &(*desk).named;
        if NAMED.insert(key, named, 0).is_err() {
            // Log lines then have no name for this address.
        }
    }
}

/// Remembers an address of hosts that rules name.
///
/// # Safety
/// `desk` points to a value of a map.
#[inline(always)]
unsafe fn known(desk: *mut Desk, key: &LearnedKey, ttl: u32) {
    let Some(settings) = maps::settings() else {
        return;
    };
    // RFC 2181, 8: a TTL with the highest bit set counts as 0.
    let ttl = if ttl >> 31 == 0 { ttl } else { 0 };
    let life = (u64::from(ttl) * SECOND).clamp(settings.floor, settings.ceiling.max(settings.floor));
    // SAFETY: the caller's promise, here and below.
    let expires = unsafe { (*desk).now } + life + settings.grace;
    let learned = LEARNED.get_ptr_mut(key);
    if let Some(learned) = learned
        // An entry that has been reused for another key meanwhile is not changed.
        && unsafe { (*learned).key.owner.0 == key.owner.0 && (*learned).key.address.is(&key.address) }
    {
        unsafe { renew(desk, learned, expires) };
        return;
    }
    let [high, low] = key.address.halves();
    let slot = slots::of_address(desk, high, low, u64::from(settings.learned));
    unsafe {
        (*desk).learned.key = *key;
        (*desk).learned.slot = slot as u32;
        for index in 0..MATCHES {
            (*desk).learned.hosts[index].expires = if (index as u32) < (*desk).matches {
                expires
            } else {
                0
            };
        }
        let learned: &Learned = &(*desk).learned;
        if slot == slots::NONE || LEARNED.insert(key, learned, 0).is_err() {
            maps::count(Counter::Unlearned);
        }
    }
}

/// Extends the life of an address, and adds new hosts to it; the host that expires first makes room.
///
/// # Safety
/// Both point to values of maps.
#[inline(always)]
unsafe fn renew(desk: *mut Desk, learned: *mut Learned, expires: u64) {
    // SAFETY: the caller's promise, here and below.
    unsafe {
        (*learned).time = (*desk).now;
        (*learned).length = (*desk).learned.length;
        bpf_probe_read_kernel(
            (&raw mut (*learned).name).cast(),
            NAME as u32,
            (&raw const (*desk).learned.name).cast(),
        );
        for index in 0..MATCHES {
            let host = (*desk).learned.hosts[index].host;
            if host.is(&HostId::NONE) {
                return;
            }
            let mut best: *mut LearnedHost = &raw mut (*learned).hosts[0];
            let mut first = u64::MAX;
            for other in 0..HOSTS {
                let candidate = &raw mut (*learned).hosts[other];
                if (*candidate).host.is(&host) {
                    best = candidate;
                    break;
                }
                if (*candidate).expires < first {
                    first = (*candidate).expires;
                    best = candidate;
                }
            }
            if !(*best).host.is(&host) {
                // A program that reads the entry meanwhile finds no valid host.
                (&raw mut (*best).expires).write_volatile(0);
                (*best).host = host;
                (&raw mut (*best).expires).write_volatile(expires);
            } else if (*best).expires < expires {
                (&raw mut (*best).expires).write_volatile(expires);
            }
        }
    }
}
