//! `connect` and `sendmsg`: the calls that carry a destination.

mod named;

use core::ptr::read_volatile;

use aya_ebpf::{
    EbpfContext as _, Global, helpers::generated::bpf_get_socket_cookie, programs::SockAddrContext,
};
use aya_log_ebpf::debug;
use enforcer_common::{
    Address, CgroupId, Counter, Flow, Hook, Outcome, PeerKey, PolicyId, Reason, SocketState, Stand,
    Transport, Verdict, by_address, is_bound_elsewhere, is_loopback, refuse, socket,
};

use named::{Named, message_source4, name};

use crate::{
    emit::{self, Call},
    hooks, layout, maps, peers, seen,
    sock::Sock,
    workload::{self, Workload},
};

/// Not 0 if no program refuses options (5.10), so that IPv4 sockets can be transparent too. The loader sets it.
#[unsafe(no_mangle)]
static ONLY_MARKS_OPTIONS: Global<u8> = Global::new(0);

/// Whether a socket that is bound by IPv4 sends with a foreign source address: one that is not the machine's.
#[inline(always)]
pub(crate) fn is_bound_masked4(ctx: &SockAddrContext) -> bool {
    ONLY_MARKS_OPTIONS.load() != 0
        && match sock(ctx) {
            Some(sock) => is_masked(ctx, sock, &sock.source4()),
            None => false,
        }
}

/// The same for a datagram with its own source. For `sendmsg4` only: other programs may not read that field.
#[inline(always)]
pub(crate) fn is_message_masked4(ctx: &SockAddrContext) -> bool {
    ONLY_MARKS_OPTIONS.load() != 0
        && match sock(ctx) {
            Some(sock) => is_masked(ctx, sock, &Address::from_v4(message_source4(ctx))),
            None => false,
        }
}

/// Whether a socket that is bound by IPv6 sends with a foreign source address.
#[inline(always)]
pub(crate) fn is_bound_masked(ctx: &SockAddrContext) -> bool {
    match sock(ctx) {
        Some(sock) => is_masked(ctx, sock, &sock.source6()),
        None => false,
    }
}

/// The same for a datagram with its own source. For `sendmsg6` only: other programs may not read that field.
#[inline(always)]
pub(crate) fn is_message_masked(ctx: &SockAddrContext) -> bool {
    let raw = ctx.sock_addr;
    // SAFETY: the kernel gives a valid `bpf_sock_addr` for the time of the call.
    let source = Address::from_words(unsafe {
        [
            read_volatile(&raw const (*raw).msg_src_ip6[0]),
            read_volatile(&raw const (*raw).msg_src_ip6[1]),
            read_volatile(&raw const (*raw).msg_src_ip6[2]),
            read_volatile(&raw const (*raw).msg_src_ip6[3]),
        ]
    });
    match sock(ctx) {
        Some(sock) => is_masked(ctx, sock, &source),
        None => false,
    }
}

/// Whether the source of a socket that may be bound to a foreign address could be foreign. Whoever gets the
/// packet would reply to that address; an error from our own kernel is enough. Few sockets have a source at all.
#[inline(always)]
fn is_masked(ctx: &SockAddrContext, sock: Sock, source: &Address) -> bool {
    let [high, low] = source.halves();
    (high | low) != 0 && !is_loopback(source) && may_be_foreign(ctx, sock.flags(), high, low)
}

#[inline(never)]
fn may_be_foreign(ctx: &SockAddrContext, flags: u32, high: u64, low: u64) -> bool {
    let source = Address::from_halves([high, low]);
    flags & SocketState::FREE != 0
        && !workload::current_to(&source).is_own
        && !peers::was_reached_at(cookie(ctx), &source)
}

#[inline(always)]
fn sock(ctx: &SockAddrContext) -> Option<Sock> {
    // SAFETY: as above.
    Sock::new(unsafe { read_volatile((&raw const (*ctx.sock_addr).__bindgen_anon_1.sk).cast()) })
}

/// The whole of each program. `is_masked`: the source address may be foreign.
#[inline(always)]
pub(crate) fn verdict(ctx: &SockAddrContext, hook: Hook, is_masked: bool) -> i32 {
    let socket = Socket::read(ctx, hook);
    let is_loopback = is_loopback(&socket.address);
    let stays = is_loopback && !is_bound_elsewhere(socket.device);
    if !is_masked && (stays && socket.note_loopback(hook) || socket.is_opted_in()) {
        maps::count(if stays {
            Counter::Loopback
        } else {
            Counter::OptedIn
        });
        return hooks::PROCEED;
    }
    let call = socket.call(hook, workload::current_to(&socket.address));
    let mut outcome = if is_masked {
        hooks::refusal(&call.workload, Reason::Reroute)
    } else if is_loopback {
        hooks::refusal(&call.workload, Reason::Device)
    } else {
        judge(socket.transport, &call, || Exchange::of(ctx, &socket).is_answer())
    };
    let mut is_news = true;
    if !matches!(outcome.verdict, Verdict::Deny) {
        match socket.note_allowed(ctx, &call, outcome.reason) {
            Some(noted) => is_news = noted,
            None => outcome = hooks::refusal(&call.workload, Reason::Reroute),
        }
    }
    debug!(
        ctx,
        "hook {} protocol {} address {:i} port {} verdict {} reason {}",
        hook as u8,
        socket.protocol,
        socket.address.0,
        u16::from_be_bytes(socket.port),
        outcome.verdict as u8,
        outcome.reason as u8
    );
    emit::count(&call.workload, outcome);
    if is_news {
        seen::note(&call, outcome);
    }
    if outcome.is_reported() {
        emit::tell(&call, outcome.to_number());
    }
    if matches!(outcome.verdict, Verdict::Deny) {
        emit::set_errno();
    }
    hooks::code(outcome.verdict)
}

/// The cookie of the calling socket.
#[inline(always)]
fn cookie(ctx: &SockAddrContext) -> u64 {
    // SAFETY: the context is valid for the time of the call.
    unsafe { bpf_get_socket_cookie(ctx.as_ptr()) }
}

/// A socket and its peer as plain numbers: the lookup is apart, to save stack, and takes at most five arguments.
#[derive(Clone, Copy)]
struct Exchange {
    cookie: u64,
    /// The peer's address.
    high: u64,
    low: u64,
    /// The peer's port in network byte order, and above it the socket's own port in the machine's byte order.
    ports: u64,
    network: u64,
}

impl Exchange {
    /// Of a call; empty if the socket sends no datagrams.
    #[inline(always)]
    fn of(ctx: &SockAddrContext, socket: &Socket) -> Self {
        let is_datagram = matches!(socket.transport, Some(Transport::Udp));
        let own = match socket.sock {
            Some(sock) => sock.port(),
            None => 0,
        };
        let [high, low] = socket.address.halves();
        Self {
            cookie: if is_datagram { cookie(ctx) } else { 0 },
            high,
            low,
            ports: u64::from(own) << 16 | u64::from(u16::from_ne_bytes(socket.port)),
            network: if is_datagram {
                layout::network_of_caller(ctx)
            } else {
                0
            },
        }
    }

    #[inline(always)]
    fn is_answer(&self) -> bool {
        is_answer(self.cookie, self.high, self.low, self.ports, self.network) != 0
    }
}

#[inline(never)]
#[expect(
    clippy::too_many_arguments,
    reason = "as many registers as a call has, and nothing on the stack"
)]
fn is_answer(cookie: u64, high: u64, low: u64, ports: u64, network: u64) -> u64 {
    let key = PeerKey::of_socket(
        cookie,
        Address::from_halves([high, low]),
        (ports as u16).to_ne_bytes(),
    );
    u64::from(peers::may_be_answered(&key, &stand(ports, network)))
}

#[inline(never)]
#[expect(
    clippy::too_many_arguments,
    reason = "as many registers as a call has, and nothing on the stack"
)]
fn note_asked(cookie: u64, high: u64, low: u64, port: u64, workload: u64) -> u64 {
    let key = PeerKey::of_socket(
        cookie,
        Address::from_halves([high, low]),
        (port as u16).to_ne_bytes(),
    );
    u64::from(peers::asked(&key, workload))
}

#[inline(always)]
fn stand(ports: u64, network: u64) -> Stand {
    Stand {
        // The cgroup of the calling task: a server creates its sockets in the cgroup where it uses them.
        cgroup: CgroupId(layout::cgroup_of_task_apart()),
        network,
        port: (ports >> 16) as u16,
    }
}

/// The verdict on a call. `transport` is None if it is neither TCP nor UDP; `is_answer` is for what no rule allows.
#[inline(always)]
pub(crate) fn judge(transport: Option<Transport>, call: &Call, is_answer: impl FnOnce() -> bool) -> Outcome {
    judge_by(transport, call, by_rules, is_answer)
}

/// The same where calls are few and the verifier has much to look at: it checks a global function once for all callers.
#[inline(always)]
pub(crate) fn judge_apart(transport: Transport, call: &Call, is_answer: impl FnOnce() -> bool) -> Outcome {
    let by = |policy: PolicyId, flow: &Flow, is_own: bool| {
        let [high, low] = flow.address.halves();
        let port = u64::from(u16::from_ne_bytes(flow.port)) | (flow.transport as u64) << 16;
        Outcome::from_number(by_rules_apart(
            u64::from(policy.0),
            high,
            low,
            port,
            u64::from(is_own),
        ))
    };
    judge_by(Some(transport), call, by, is_answer)
}

#[inline(always)]
fn judge_by(
    transport: Option<Transport>,
    call: &Call,
    by_rules: impl FnOnce(PolicyId, &Flow, bool) -> Outcome,
    is_answer: impl FnOnce() -> bool,
) -> Outcome {
    let Some(policy_id) = call.workload.policy() else {
        return refuse(maps::unknown_mode(), Reason::UnknownWorkload);
    };
    let Some(transport) = transport else {
        return hooks::refusal(&call.workload, Reason::NoRule);
    };
    let flow = Flow {
        transport,
        port: call.port,
        address: call.address,
    };
    let outcome = by_rules(policy_id, &flow, call.workload.is_own);
    if outcome.is_by_host() && maps::has_hosts(policy_id) {
        let port = u64::from(u16::from_ne_bytes(call.port)) | (transport as u64) << 16;
        if maps::names::is_granted(policy_id, call.workload.cgroup, &call.address, port) {
            return Outcome::HOST;
        }
    }
    if matches!(outcome.reason, Reason::NoRule) && matches!(transport, Transport::Udp) && is_answer() {
        return Outcome {
            verdict: Verdict::Allow,
            reason: Reason::Answer,
        };
    }
    outcome
}

/// The verdict by address.
#[inline(always)]
fn by_rules(policy: PolicyId, flow: &Flow, is_own: bool) -> Outcome {
    match maps::policy(policy) {
        Some(policy) => by_address(&policy, flow, &maps::Kernel { is_own }),
        None => Outcome {
            verdict: Verdict::Deny,
            reason: Reason::NoPolicy,
        },
    }
}

/// The same with plain numbers, to save stack: the policy, the address, the port with the transport above it, and
/// whether the address is the workload's own. Returns the outcome as [`Outcome::to_number`].
#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn by_rules_apart(policy: u64, high: u64, low: u64, port: u64, is_own: u64) -> u64 {
    let flow = Flow {
        transport: if port >> 16 == Transport::Tcp as u64 {
            Transport::Tcp
        } else {
            Transport::Udp
        },
        port: (port as u16).to_ne_bytes(),
        address: Address::from_halves([high, low]),
    };
    by_rules(PolicyId(policy as u32), &flow, is_own != 0).to_number()
}

/// What the hook reports about the socket and its destination.
struct Socket {
    /// None if it is neither TCP nor UDP.
    transport: Option<Transport>,
    protocol: u8,
    family: u8,
    kind: u8,
    /// The address to which the kernel will send.
    address: Address,
    /// Network byte order.
    port: [u8; 2],
    /// The device that the socket is bound to, or 0.
    device: u32,
    sock: Option<Sock>,
}

impl Socket {
    /// Whether no rule covers its kind, but it may be created: UDP-Lite and ICMP reach this hook on some kernels.
    #[inline(always)]
    fn is_opted_in(&self) -> bool {
        self.transport.is_none()
            && socket::admits(maps::sockets(), u32::from(self.kind), u32::from(self.protocol))
    }

    #[inline(always)]
    fn call(&self, hook: Hook, workload: Workload) -> Call {
        Call {
            hook,
            protocol: self.protocol,
            family: self.family,
            kind: self.kind,
            address: self.address,
            port: self.port,
            workload,
        }
    }

    /// Records that the socket has sent to loopback; false if that fails. A TCP socket itself shows where it goes.
    #[inline(always)]
    fn note_loopback(&self, hook: Hook) -> bool {
        match (hook, self.sock) {
            (Hook::Sendmsg4 | Hook::Sendmsg6, Some(sock)) => sock.mark(SocketState::LOCAL),
            _ => true,
        }
    }

    /// Records that a TCP socket was connected from here, or that a datagram socket sent first. Returns false if it was
    /// recorded of the same socket a moment ago; None if it cannot be.
    #[inline(always)]
    fn note_allowed(&self, ctx: &SockAddrContext, call: &Call, reason: Reason) -> Option<bool> {
        let Some(sock) = self.sock else {
            return Some(true);
        };
        let is_connect = matches!(call.hook, Hook::Connect4 | Hook::Connect6);
        match self.transport {
            Some(Transport::Tcp) => sock
                .mark_outward(cookie(ctx), &self.address, self.port)
                .then_some(true),
            Some(Transport::Udp) if matches!(reason, Reason::Answer) => {
                (!is_connect || sock.mark(SocketState::ANSWERING)).then_some(false)
            }
            Some(Transport::Udp) => {
                let is_noted = sock.note_question(&self.address, self.port, is_connect);
                if !is_noted && !matches!(reason, Reason::NotEnforced | Reason::Loopback) {
                    let ([high, low], port) = (self.address.halves(), u16::from_ne_bytes(self.port));
                    let was_known =
                        note_asked(cookie(ctx), high, low, port.into(), call.workload.cgroup.0) != 0;
                    // From the second time on. Most sockets ask once, for which a record of their own costs too much.
                    if was_known {
                        sock.remember_asked(&self.address, self.port);
                    }
                }
                Some(!is_noted)
            }
            None => Some(true),
        }
    }

    #[inline(always)]
    fn read(ctx: &SockAddrContext, hook: Hook) -> Self {
        let raw = ctx.sock_addr;
        // SAFETY: the kernel gives a valid `bpf_sock_addr` for the time of the call. Volatile, since the
        // verifier takes only whole aligned words here and the compiler would narrow them.
        let (family, kind, protocol, port) = unsafe {
            (
                read_volatile(&raw const (*raw).family),
                read_volatile(&raw const (*raw).type_),
                read_volatile(&raw const (*raw).protocol),
                read_volatile(&raw const (*raw).user_port),
            )
        };
        let sock = sock(ctx);
        let named = Named {
            port: (port as u16).to_ne_bytes(),
            address: name(ctx, hook),
        };
        let Named { address, port } = named.reached(ctx, hook, sock);
        Self {
            transport: socket::transport(kind, protocol),
            protocol: protocol as u8,
            family: family as u8,
            kind: kind as u8,
            address,
            port,
            device: match sock {
                Some(sock) => sock.device(),
                None => 0,
            },
            sock,
        }
    }
}
