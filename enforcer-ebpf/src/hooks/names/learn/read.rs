//! The parsers' steps, as callbacks of the kernel's loop. Their state is on the desk.

use core::ffi::c_void;

use aya_ebpf::helpers::generated::bpf_probe_read_kernel;
use enforcer_common::{
    Address, PatternKey,
    dns::{ADDRESSES, Addresses, Bytes, Failure, LONGEST, MESSAGE, Name, Place, Progress},
};

use super::{Step, is_over};
use crate::{
    hooks::packet::masked,
    maps::names::{Desk, Found},
};

/// Neither done nor failed.
pub(super) const RUNNING: u32 = 0;
const DONE: u32 = 1;
/// The first of the failures' numbers.
const FAILED: u32 = 2;

/// The reason why the last loop did not finish, if it did not.
///
/// # Safety
/// `desk` points to a value of a map.
#[inline(always)]
pub(super) unsafe fn failure(desk: *mut Desk) -> Option<Failure> {
    // SAFETY: the caller's promise.
    match unsafe { (&raw const (*desk).failure).read_volatile() } {
        DONE => None,
        // More steps than any message of ordinary shape has.
        RUNNING => Some(Failure::Oversized),
        number if number == FAILED + Failure::Unasked as u32 => Some(Failure::Unasked),
        number if number == FAILED + Failure::Oversized as u32 => Some(Failure::Oversized),
        number if number == FAILED + Failure::Empty as u32 => Some(Failure::Empty),
        _ => Some(Failure::Malformed),
    }
}

/// How many bytes of the question one step of the loop reads: a call for each would cost as much again.
const BYTES: u32 = 4;
/// Enough steps for the longest question.
pub(super) const QUESTION_STEPS: u32 = (LONGEST + 8) / BYTES;

/// The next bytes of the question. Not 0 ends the loop.
pub(super) unsafe extern "C" fn question(_: u64, step: *mut c_void) -> i64 {
    // SAFETY: the loop is given a step, whose desk is a map's value.
    unsafe {
        let desk = (*step.cast::<Step>()).desk;
        // In place, and not on the stack: the verifier does not assume that stack contents stay the same
        // across iterations.
        let parser = &raw mut (*desk).question;
        for _ in 1..BYTES {
            let progress = (*parser).step(&Message(desk), &Asked(desk), &mut Writer(desk));
            if is_over(progress) {
                return finish(desk, progress);
            }
        }
        let progress = (*parser).step(&Message(desk), &Asked(desk), &mut Writer(desk));
        finish(desk, progress)
    }
}

/// The next bytes of the records.
pub(super) unsafe extern "C" fn record(_: u64, step: *mut c_void) -> i64 {
    // SAFETY: as above.
    unsafe {
        let desk = (*step.cast::<Step>()).desk;
        let parser = &raw mut (*desk).records;
        let progress = (*parser).step(&Message(desk), &mut List(desk));
        finish(desk, progress)
    }
}

/// # Safety
/// `desk` points to a value of a map.
#[inline(always)]
unsafe fn finish(desk: *mut Desk, progress: Progress) -> i64 {
    let number = match progress {
        Progress::More => RUNNING,
        Progress::Done => DONE,
        Progress::Failed(failure) => FAILED + failure as u32,
    };
    // SAFETY: the caller's promise.
    unsafe { (*desk).failure = number };
    i64::from(is_over(progress))
}

/// The message.
struct Message(*mut Desk);

impl Bytes for Message {
    #[inline(always)]
    fn byte(&self, at: u32) -> u8 {
        // SAFETY: the place is within the message.
        unsafe {
            *(&raw const (*self.0).message)
                .cast::<u8>()
                .add(masked::<{ MESSAGE as u64 - 1 }>(at))
        }
    }
}

/// What was asked.
struct Asked(*mut Desk);

impl Bytes for Asked {
    #[inline(always)]
    fn byte(&self, at: u32) -> u8 {
        // SAFETY: the place is within the bytes.
        unsafe { *(&raw const (*self.0).asked).cast::<u8>().add(masked::<511>(at)) }
    }
}

/// Where the name goes, forwards and backwards.
struct Writer(*mut Desk);

impl Name for Writer {
    #[inline(always)]
    fn put(&mut self, at: u32, byte: u8, is_length: bool) {
        // SAFETY: each place is within its array. The name's first byte is the last but one of what is read backwards.
        unsafe {
            *(&raw mut (*self.0).learned.name)
                .cast::<u8>()
                .add(masked::<255>(at)) = byte;
            *(&raw mut (*self.0).backward)
                .cast::<u8>()
                .add(masked::<255>(254_u32.wrapping_sub(at))) =
                if is_length { PatternKey::SEPARATOR } else { byte };
        }
    }
}

/// Where addresses go.
struct List(*mut Desk);

impl Addresses for List {
    #[inline(always)]
    fn note(&mut self, index: u32, place: Place) {
        // SAFETY: the places are within the arrays; the helper checks what it reads itself.
        unsafe {
            let index = masked::<{ ADDRESSES as u64 - 1 }>(index);
            let to = (&raw mut (*self.0).found).cast::<Found>().add(index);
            let from = (&raw const (*self.0).message)
                .cast::<u8>()
                .add(masked::<{ MESSAGE as u64 - 1 }>(place.at));
            (*to).ttl = place.ttl;
            if place.is_v6 {
                bpf_probe_read_kernel((&raw mut (*to).address).cast(), 16, from.cast());
            } else {
                let mut octets = [0_u8; 4];
                bpf_probe_read_kernel(octets.as_mut_ptr().cast(), 4, from.cast());
                (*to).address = Address::from_v4(octets);
            }
        }
    }
}
