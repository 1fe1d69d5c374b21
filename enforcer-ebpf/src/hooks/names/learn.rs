//! Answers that arrive from a trusted resolver: held against what was asked, read, and remembered before the socket has
//! them.
//!
//! An answer counts where its sender cannot be made up by the workload itself: by the loopback device in the enforcer's own
//! network namespace alone, where nobody but a resolver sends in its name (`ask` sees to that); by another device in
//! namespaces that belong to the machine's first user namespace. In one of its own a workload can make devices that answer.
//!
//! **Architecture Invariant:** nothing is refused here, and nothing is allowed. What is not understood teaches nothing.

use core::{ffi::c_void, ptr::null_mut};

use aya_ebpf::{
    EbpfContext as _,
    bindings::__sk_buff,
    helpers::generated::{bpf_ktime_get_ns, bpf_loop, bpf_probe_read_kernel, bpf_skb_load_bytes},
    programs::SkBuffContext,
};
use enforcer_common::{
    CgroupId, Counter, LOOPBACK_DEVICE, Question, QuestionKey, Settings,
    dns::{Failure, HEADER, Header, LONGEST, MESSAGE, Progress, QuestionParser, RecordsParser, STEPS},
    learned::QUESTION,
};

use super::{Envelope, Span};
use crate::{
    hooks::{self, packet},
    layout,
    maps::{
        self,
        names::{Desk, QUESTIONS, desk},
    },
    workload,
};

mod note;
mod read;

/// Answers that one packet of a stream may hold.
const TOGETHER: u32 = 4;

/// The whole of the program.
#[inline(always)]
pub(crate) fn note(ctx: &SkBuffContext) -> i32 {
    if let (Some(settings), Some(envelope)) = (maps::settings(), Envelope::open(ctx))
        && settings.resolver_ports & Settings::port_bit(envelope.from_port) != 0
        && maps::names::is_resolver(envelope.from, envelope.from_port)
        && let Some(span) = envelope.payload(ctx)
    {
        if is_believed(ctx.skb.skb) != 0 {
            read(ctx, envelope.is_udp, span);
        } else {
            maps::count(Counter::Unasked);
        }
    }
    hooks::PROCEED
}

/// Whether the packet's sender cannot be the workload itself. A function of its own, as the next: what it needs of the stack
/// is free again for what reads the answer.
#[inline(never)]
fn is_believed(packet: *mut __sk_buff) -> u64 {
    let ctx = &SkBuffContext::new(packet);
    u64::from(if packet::device(ctx) == LOOPBACK_DEVICE {
        layout::is_own_network(ctx)
    } else {
        layout::is_machines_network(ctx)
    })
}

/// The workload whose socket it is; 0 if that is none.
#[inline(never)]
fn owner(packet: *mut __sk_buff) -> u64 {
    let workload = workload::of_packet(&SkBuffContext::new(packet));
    match workload.policy() {
        Some(_) => workload.cgroup.0,
        None => 0,
    }
}

#[inline(always)]
fn read(ctx: &SkBuffContext, is_udp: bool, span: Span) {
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
        return;
    }
    let mut at = span.at;
    let end = span.at + span.length;
    for _ in 0..TOGETHER {
        if at + 2 + HEADER > end {
            return;
        }
        let Some(length) = packet::pair(ctx, at) else {
            return;
        };
        let length = u32::from(u16::from_be_bytes(length));
        at += 2;
        if length > end - at {
            maps::count(Counter::Oversized);
            return;
        }
        answer(ctx.skb.skb, u64::from(at), u64::from(length), owner, cookie);
        at += length;
    }
}

/// Learns from one message, if it answers a question of the socket.
///
/// The verifier looks once at a function that has a name for others, whatever calls it.
#[inline(never)]
#[unsafe(no_mangle)]
#[expect(
    clippy::too_many_arguments,
    reason = "as many registers as a call has, and nothing on the stack"
)]
extern "C" fn answer(ctx: *mut __sk_buff, at: u64, length: u64, owner: u64, cookie: u64) -> u64 {
    let ctx = &SkBuffContext::new(ctx);
    let (at, length) = (at as u32, length as u32);
    let failure = match packet::bytes::<{ HEADER as usize }>(ctx, at) {
        None => Failure::Malformed,
        Some(bytes) => {
            let header = Header::new(&bytes);
            let key = QuestionKey {
                owner: CgroupId(owner),
                cookie,
                id: [header.id[0], header.id[1], 0, 0, 0, 0, 0, 0],
            };
            let question = QUESTIONS.get_ptr(key).unwrap_or(null_mut());
            match (question.is_null(), header.failure(), desk()) {
                (true, ..) => Failure::Unasked,
                (_, Some(failure), _) => failure,
                (_, _, None) => Failure::Oversized,
                (_, None, Some(desk)) => {
                    // SAFETY: the desk is this CPU's, and lives until the program has ended.
                    if unsafe { (*desk).taken } != 0 {
                        Failure::Oversized
                    } else {
                        // SAFETY: as above.
                        unsafe { (*desk).taken = 1 };
                        // SAFETY: both values live until the program has ended.
                        let failure = unsafe {
                            learn(
                                ctx,
                                desk,
                                question,
                                &Message {
                                    header,
                                    key,
                                    at,
                                    length,
                                },
                            )
                        };
                        // SAFETY: as above.
                        unsafe { (*desk).taken = 0 };
                        failure
                    }
                }
            }
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

/// A message in a packet.
struct Message {
    header: Header,
    key: QuestionKey,
    at: u32,
    length: u32,
}

/// What a step of a loop is given.
struct Step {
    desk: *mut Desk,
}

/// Reads a message, and learns from it. Returns why it does not; [`Failure::Empty`] if it does.
///
/// # Safety
/// `desk` and `question` point to values of maps.
#[inline(always)]
unsafe fn learn(
    ctx: &SkBuffContext,
    desk: *mut Desk,
    question: *const Question,
    message: &Message,
) -> Failure {
    // SAFETY: the helper has no precondition.
    let now = unsafe { bpf_ktime_get_ns() };
    // SAFETY: the caller's promise, here and below.
    let asked = unsafe { (*question).length };
    if now.wrapping_sub(unsafe { (*question).time }) > Question::LIFETIME {
        return Failure::Unasked;
    }
    if message.length > MESSAGE as u32 {
        return Failure::Oversized;
    }
    let length = packet::bounded(message.length, MESSAGE as u32);
    let is_read = unsafe {
        bpf_probe_read_kernel(
            (&raw mut (*desk).asked).cast(),
            QUESTION as u32,
            (&raw const (*question).bytes).cast(),
        ) == 0
            && bpf_skb_load_bytes(
                ctx.as_ptr(),
                message.at,
                (&raw mut (*desk).message).cast(),
                length,
            ) == 0
    };
    if !is_read {
        return Failure::Malformed;
    }
    unsafe {
        (*desk).owner = message.key.owner.0;
        (*desk).now = now;
        (*desk).failure = read::RUNNING;
        (*desk).question = QuestionParser::new(length);
    }
    let mut step = Step { desk };
    let to = (&raw mut step).cast::<c_void>();
    unsafe { bpf_loop(LONGEST + 8, read::question as *const () as *mut c_void, to, 0) };
    if let Some(failure) = unsafe { read::failure(desk) } {
        return failure;
    }
    let parser = unsafe { (*desk).question };
    if parser.records() - HEADER > asked {
        return Failure::Unasked;
    }
    if QUESTIONS.remove(message.key).is_err() {
        // Another CPU reads the same answer, sent twice.
        return Failure::Unasked;
    }
    unsafe {
        note::begin(desk, parser.length());
        (*desk).failure = read::RUNNING;
        (*desk).records = RecordsParser::new(&message.header, parser.kind(), parser.records(), length);
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

/// What a parser's progress is to the loop.
#[inline(always)]
fn is_over(progress: Progress) -> bool {
    !matches!(progress, Progress::More)
}
