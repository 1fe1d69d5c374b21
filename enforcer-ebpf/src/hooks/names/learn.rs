//! Answers that arrive from a trusted resolver: compared with the question, parsed, and stored before the
//! socket gets them.
//!
//! An answer counts only if the workload itself cannot have sent it:
//!
//! - if its question left by the loopback device, the answer has to arrive by that device, in the enforcer's
//!   own network namespace: there, `ask` drops packets that only claim to come from a resolver;
//! - otherwise it has to arrive by another device, in a network namespace of the initial user namespace. In a
//!   user namespace of its own, a workload can create devices that answer.
//!
//! **Architecture Invariant:** nothing is refused or allowed here. Nothing is learned from a message that the
//! parser does not understand.

use core::{ffi::c_void, ptr::null_mut};

use aya_ebpf::{
    EbpfContext as _,
    bindings::__sk_buff,
    helpers::generated::{bpf_loop, bpf_probe_read_kernel, bpf_skb_load_bytes},
    programs::SkBuffContext,
};
use enforcer_common::{
    Address, CgroupId, Counter, LOOPBACK_DEVICE, Question, QuestionKey, Settings,
    dns::{Failure, HEADER, Header, MESSAGE, Progress, QuestionParser, RecordsParser, STEPS},
    learned::QUESTION,
};

use super::{Envelope, Span};
use crate::{
    clock,
    hooks::{
        self,
        packet::{self, masked},
    },
    layout,
    maps::{
        self,
        names::{Desk, PARTS, QUESTIONS, desk},
    },
    workload,
};

mod note;
mod read;
mod stream;

/// The whole of the program.
#[inline(always)]
pub(crate) fn note(ctx: &SkBuffContext) -> i32 {
    if let (Some(settings), Some(envelope)) = (maps::settings(), Envelope::open(ctx))
        && settings.resolver_ports & Settings::port_bit(envelope.from_port) != 0
        && maps::names::is_resolver(envelope.from, envelope.from_port)
        && let Some(span) = envelope.payload(ctx)
    {
        if is_believed(ctx.skb.skb) != 0 {
            read(ctx, envelope.is_udp, envelope.transport, span);
        } else {
            maps::count(Counter::Unasked);
        }
    }
    hooks::PROCEED
}

/// Whether the workload itself cannot have sent the packet. A separate function, like the next: its stack
/// frame is free again when the answer is read.
#[inline(never)]
fn is_believed(packet: *mut __sk_buff) -> u64 {
    let ctx = &SkBuffContext::new(packet);
    u64::from(if packet::device(ctx) == LOOPBACK_DEVICE {
        layout::is_own_network(ctx)
    } else {
        layout::is_machines_network(ctx)
    })
}

/// The workload that owns the socket; 0 if there is none.
#[inline(never)]
fn owner(packet: *mut __sk_buff) -> u64 {
    let workload = workload::of_packet(&SkBuffContext::new(packet), &Address::UNSPECIFIED);
    match workload.policy() {
        Some(_) => workload.cgroup.0,
        None => 0,
    }
}

#[inline(always)]
fn read(ctx: &SkBuffContext, is_udp: bool, transport: u32, span: Span) {
    let (owner, cookie) = (owner(ctx.skb.skb), packet::cookie(ctx));
    if owner == 0 {
        return;
    }
    if is_udp {
        answer(
            ctx.skb.skb,
            u64::from(span.at),
            u64::from(span.length),
            owner,
            cookie,
        );
    } else {
        let places = u64::from(span.at) | u64::from(transport) << 32;
        stream::stream(ctx.skb.skb, places, u64::from(span.length), owner, cookie);
    }
}

/// Learns from one message, if it answers a question of the socket. The message is at an offset in the
/// packet, or, with [`KEPT`], in the buffered part of the stream.
///
/// The verifier checks a global function once, however many callers it has.
#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn answer(packet: *mut __sk_buff, at: u64, length: u64, owner: u64, cookie: u64) -> u64 {
    let ctx = &SkBuffContext::new(packet);
    let Some(desk) = desk() else {
        return 0;
    };
    // SAFETY: the desk is this CPU's, and lives until the program has ended.
    let failure = unsafe {
        if (*desk).taken != 0 {
            Failure::Oversized
        } else {
            (*desk).taken = 1;
            (*desk).length = length as u32;
            let failure = match load(ctx, desk, at, cookie) {
                Some(failure) => failure,
                None => learn(ctx, desk, owner, cookie),
            };
            (*desk).taken = 0;
            failure
        }
    };
    match failure {
        Failure::Unasked => maps::count(Counter::Unasked),
        Failure::Malformed => maps::count(Counter::Malformed),
        Failure::Oversized => maps::count(Counter::Oversized),
        Failure::Empty => {}
    }
    0
}

/// Marks a message that is not in the packet.
const KEPT: u64 = 1 << 32;

/// Copies the message to the desk; returns the reason if it cannot.
///
/// # Safety
/// `desk` points to a value of a map.
#[inline(always)]
unsafe fn load(ctx: &SkBuffContext, desk: *mut Desk, at: u64, cookie: u64) -> Option<Failure> {
    // SAFETY: the caller's promise, here and below; the helpers check what they read.
    let length = unsafe { (*desk).length };
    if length <= HEADER {
        return Some(Failure::Malformed);
    }
    if length as usize > MESSAGE {
        return Some(Failure::Oversized);
    }
    let length = packet::bounded(length, MESSAGE as u32);
    let to = unsafe { (&raw mut (*desk).message).cast() };
    let result = if at & KEPT == 0 {
        unsafe { bpf_skb_load_bytes(ctx.as_ptr(), at as u32, to, length) }
    } else {
        let Some(part) = PARTS.get_ptr(cookie) else {
            return Some(Failure::Malformed);
        };
        let from = unsafe { part.cast::<u8>().add(masked::<{ MESSAGE as u64 - 1 }>(at as u32)) };
        unsafe { bpf_probe_read_kernel(to, length, from.cast()) }
    };
    (result != 0).then_some(Failure::Malformed)
}

/// The argument of a loop's step.
struct Step {
    desk: *mut Desk,
}

/// Reads the message and learns from it. Returns the reason if nothing is learned; [`Failure::Empty`] if it
/// succeeds.
///
/// # Safety
/// `desk` points to a value of a map.
#[inline(always)]
unsafe fn learn(ctx: &SkBuffContext, desk: *mut Desk, owner: u64, cookie: u64) -> Failure {
    // SAFETY: the caller's promise, here and below.
    let header = unsafe { Header::new(&*(&raw const (*desk).message).cast()) };
    let key = QuestionKey {
        owner: CgroupId(owner),
        cookie,
        id: [header.id[0], header.id[1], 0, 0, 0, 0, 0, 0],
    };
    let question = QUESTIONS.get_ptr(key).unwrap_or(null_mut());
    if question.is_null() {
        return Failure::Unasked;
    }
    let now = clock::now();
    let is_local = packet::device(ctx) == LOOPBACK_DEVICE;
    // SAFETY: the value lives until the program has ended.
    let asked = unsafe {
        if (*question).local != u32::from(is_local) || now.wrapping_sub((*question).time) > Question::LIFETIME
        {
            return Failure::Unasked;
        }
        (*question).length
    };
    if let Some(failure) = header.failure() {
        return failure;
    }
    let is_read = unsafe {
        bpf_probe_read_kernel(
            (&raw mut (*desk).asked).cast(),
            packet::bounded(asked, QUESTION as u32),
            (&raw const (*question).bytes).cast(),
        ) == 0
    };
    if !is_read {
        return Failure::Malformed;
    }
    let length = unsafe { (*desk).length };
    unsafe {
        (*desk).owner = owner;
        (*desk).now = now;
        (*desk).failure = read::RUNNING;
        begin_question(desk, length);
    }
    let mut step = Step { desk };
    let to = (&raw mut step).cast::<c_void>();
    unsafe {
        bpf_loop(
            read::QUESTION_STEPS,
            read::question as *const () as *mut c_void,
            to,
            0,
        )
    };
    if let Some(failure) = unsafe { read::failure(desk) } {
        return failure;
    }
    let parser = unsafe { (*desk).question };
    if parser.records() - HEADER > asked {
        return Failure::Unasked;
    }
    if QUESTIONS.remove(key).is_err() {
        // Another CPU is reading a duplicate of the same answer.
        return Failure::Unasked;
    }
    unsafe {
        note::begin(desk, parser.length());
        (*desk).failure = read::RUNNING;
        begin_records(desk, length);
        bpf_loop(STEPS, read::record as *const () as *mut c_void, to, 0);
    }
    if let Some(failure) = unsafe { read::failure(desk) } {
        return failure;
    }
    maps::count(Counter::Answers);
    unsafe {
        bpf_loop(
            (*desk).records.found(),
            note::address as *const () as *mut c_void,
            to,
            0,
        )
    };
    Failure::Empty
}

/// Initializes the question's parser. A separate function, like the next, to save stack.
#[inline(never)]
fn begin_question(desk: *mut Desk, length: u32) {
    // SAFETY: the desk is a map's value.
    unsafe { (*desk).question = QuestionParser::new(length) };
}

/// Initializes the records' parser, behind the question.
#[inline(never)]
fn begin_records(desk: *mut Desk, length: u32) {
    // SAFETY: as above.
    unsafe {
        let header = Header::new(&*(&raw const (*desk).message).cast());
        let question = &(*desk).question;
        (*desk).records = RecordsParser::new(&header, question.kind(), question.records(), length);
    }
}

/// Converts a parser's progress to the loop's return value.
#[inline(always)]
fn is_over(progress: Progress) -> bool {
    !matches!(progress, Progress::More)
}
