//! Questions that leave for a trusted resolver, and packets that claim to come from a resolver, which are
//! dropped.

use core::ptr::null_mut;

use aya_ebpf::{
    EbpfContext as _, bindings::__sk_buff, helpers::generated::bpf_skb_load_bytes, programs::SkBuffContext,
};
use enforcer_common::{
    CgroupId, Counter, Hook, LOOPBACK_DEVICE, Question, QuestionKey, Reason, Settings, Transport,
    dns::{HEADER, Header},
    learned::QUESTION,
};

use super::{Envelope, Span, slots, streams};
use crate::{
    clock,
    emit::{self, Call, Caller},
    hooks::{self, packet},
    layout,
    maps::{self, names::QUESTIONS},
    workload,
};

/// The initial value of a question, before its bytes are copied.
static EMPTY: Question = Question {
    time: 0,
    length: 0,
    slot: 0,
    local: 0,
    pad: 0,
    bytes: [0; QUESTION],
};

/// The most questions that one packet of a stream may hold: the C library sends two together.
const TOGETHER: u32 = 4;

/// The whole of the program.
#[inline(always)]
pub(crate) fn verdict(ctx: &SkBuffContext) -> i32 {
    let (Some(settings), Some(envelope)) = (maps::settings(), Envelope::open(ctx)) else {
        return hooks::PROCEED;
    };
    let ports = settings.resolver_ports;
    if ports & Settings::port_bit(envelope.from_port) != 0
        && maps::names::is_resolver(envelope.from, envelope.from_port)
    {
        if is_believed_here(ctx.skb.skb) != 0 {
            return refuse_unless_own(ctx, &envelope);
        }
        return hooks::PROCEED;
    }
    if ports & Settings::port_bit(envelope.to_port) != 0
        && maps::names::is_resolver(envelope.to, envelope.to_port)
    {
        let workload = workload::of_packet(ctx, &envelope.to);
        if workload.policy().is_some()
            && let Some(span) = envelope.payload(ctx)
        {
            note(ctx, envelope.is_udp, span, workload.cgroup);
        }
    }
    hooks::PROCEED
}

/// Whether a receiver may take the packet for a resolver's: only on the loopback device in the enforcer's own
/// network namespace. Workloads with a network namespace of their own may run resolvers there; nothing is
/// learned from their answers.
#[inline(never)]
fn is_believed_here(packet: *mut __sk_buff) -> u64 {
    let ctx = &SkBuffContext::new(packet);
    u64::from(packet::device(ctx) != LOOPBACK_DEVICE || layout::is_own_network(ctx))
}

/// A workload that has the resolver's address may answer: it is the resolver.
#[inline(always)]
fn refuse_unless_own(ctx: &SkBuffContext, envelope: &Envelope) -> i32 {
    let workload = workload::of_packet(ctx, &envelope.from);
    if workload.is_own {
        return hooks::PROCEED;
    }
    let outcome = hooks::refusal(&workload, Reason::Resolver);
    emit::count(&workload, outcome);
    if outcome.is_reported() {
        let protocol = if envelope.is_udp {
            Transport::Udp
        } else {
            Transport::Tcp
        };
        let call = Call {
            hook: Hook::Egress,
            protocol: protocol as u8,
            family: 0,
            kind: 0,
            address: envelope.from,
            port: envelope.from_port,
            workload,
        };
        emit::event(&call, Caller::none, outcome);
    }
    hooks::code(outcome.verdict)
}

/// Notes the questions of a packet.
#[inline(always)]
fn note(ctx: &SkBuffContext, is_udp: bool, span: Span, owner: CgroupId) {
    let cookie = packet::cookie(ctx);
    if is_udp {
        note_one(
            ctx.skb.skb,
            u64::from(span.at),
            u64::from(span.length),
            owner.0,
            cookie,
        );
        return;
    }
    streams::begin(ctx.skb.skb, cookie);
    let mut at = span.at;
    let end = span.at + span.length;
    for _ in 0..TOGETHER {
        if at + HEADER > end {
            return;
        }
        let Some(length) = packet::pair(ctx, at) else {
            return;
        };
        let (length, left) = (u32::from(u16::from_be_bytes(length)), end - at);
        let begin = u64::from(at + 2);
        if note_one(
            ctx.skb.skb,
            begin,
            u64::from(if length < left { length } else { left }),
            owner.0,
            cookie,
        ) == 0
        {
            // The length was sent in an earlier packet.
            note_one(ctx.skb.skb, u64::from(at), u64::from(left), owner.0, cookie);
            return;
        }
        at += 2 + length;
    }
}

/// By reference, so that it is not copied to the stack.
#[inline(always)]
fn insert(key: &QuestionKey, question: &Question) -> Result<(), i32> {
    QUESTIONS.insert(key, question, 0)
}

/// Notes one question and returns 1; ignores anything else. The verifier checks a global function once,
/// however many callers it has.
#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn note_one(packet: *mut __sk_buff, at: u64, length: u64, owner: u64, cookie: u64) -> u64 {
    let ctx = &SkBuffContext::new(packet);
    let (at, length) = (at as u32, length as u32);
    if length <= HEADER {
        return 0;
    }
    let Some(bytes) = packet::bytes::<{ HEADER as usize }>(ctx, at) else {
        return 0;
    };
    let header = Header::new(&bytes);
    if !header.is_question() {
        return 0;
    }
    let key = QuestionKey {
        owner: CgroupId(owner),
        cookie,
        id: [header.id[0], header.id[1], 0, 0, 0, 0, 0, 0],
    };
    let mut question = QUESTIONS.get_ptr_mut(key).unwrap_or(null_mut());
    if question.is_null() {
        let slot = slots::of_question(owner, cookie, u64::from_ne_bytes(key.id));
        if slot == slots::NONE || insert(&key, &EMPTY).is_err() {
            maps::count(Counter::Unlearned);
            return 0;
        }
        question = QUESTIONS.get_ptr_mut(key).unwrap_or(null_mut());
        if question.is_null() {
            return 0;
        }
        // SAFETY: the value lives until the program has ended.
        unsafe { (*question).slot = slot as u32 };
    }
    let length = packet::bounded(length - HEADER, QUESTION as u32);
    // SAFETY: as above; the helper checks what it reads, and the value has room for that many bytes.
    unsafe {
        (*question).length = 0;
        (*question).local = u32::from(packet::device(ctx) == LOOPBACK_DEVICE);
        let to = (&raw mut (*question).bytes).cast();
        if bpf_skb_load_bytes(ctx.as_ptr(), at + HEADER, to, length) == 0 {
            (*question).length = length;
            (*question).time = clock::now();
        }
    }
    1
}
