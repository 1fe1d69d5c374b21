//! `connect` and `sendmsg`: the calls that carry a destination.

use core::ptr::read_volatile;

use aya_ebpf::programs::SockAddrContext;
use aya_log_ebpf::debug;
use enforcer_common::{
    Address, Flow, Hook, Outcome, Reason, Transport, Verdict, decide, is_loopback, refuse, socket,
};

use crate::{
    emit::{self, Call, Caller},
    hooks, maps, workload,
};

/// The whole of each program.
#[inline(always)]
pub(crate) fn verdict(ctx: &SockAddrContext, hook: Hook) -> i32 {
    let socket = Socket::read(ctx, hook);
    if socket.is_opted_in() {
        emit::count(Verdict::Allow);
        return hooks::PROCEED;
    }
    let workload = workload::current();
    let call = Call {
        hook,
        protocol: socket.protocol,
        family: socket.family,
        kind: socket.kind,
        address: socket.address,
        port: socket.port,
        workload,
    };
    let outcome = judge(socket.transport, &call);
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
    emit::count(outcome.verdict);
    if outcome.is_reported() {
        emit::event(&call, Caller::current(), outcome);
    }
    if matches!(outcome.verdict, Verdict::Deny) {
        emit::set_errno();
    }
    hooks::code(outcome.verdict)
}

/// The verdict on a call to its destination; `transport` is None for what is neither TCP nor UDP.
#[inline(always)]
pub(crate) fn judge(transport: Option<Transport>, call: &Call) -> Outcome {
    if is_loopback(&call.address) {
        return Outcome {
            verdict: Verdict::Allow,
            reason: Reason::Loopback,
        };
    }
    let Some(policy_id) = call.workload.policy() else {
        return refuse(maps::unknown_mode(), Reason::UnknownWorkload);
    };
    let Some(policy) = maps::policy(policy_id) else {
        return Outcome {
            verdict: Verdict::Deny,
            reason: Reason::NoPolicy,
        };
    };
    let Some(transport) = transport else {
        return refuse(policy.mode, Reason::NoRule);
    };
    let flow = Flow {
        transport,
        port: call.port,
        address: call.address,
    };
    let rules = maps::Kernel {
        cgroup: call.workload.cgroup,
    };
    decide(policy, &flow, &rules)
}

/// What the hook says of the socket and its destination.
struct Socket {
    /// None for what is neither TCP nor UDP.
    transport: Option<Transport>,
    protocol: u8,
    family: u8,
    kind: u8,
    address: Address,
    /// Network byte order.
    port: [u8; 2],
}

impl Socket {
    /// Whether it is of a kind that no rule speaks of and that may be made all the same: UDP-Lite's datagrams and
    /// ICMP's connections pass here, depending on the kernel.
    #[inline(always)]
    fn is_opted_in(&self) -> bool {
        self.transport.is_none()
            && socket::admits(maps::sockets(), u32::from(self.kind), u32::from(self.protocol))
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
        let address = match hook {
            Hook::Connect4 | Hook::Sendmsg4 => {
                // SAFETY: as above; the field holds the address in network byte order.
                let word = unsafe { read_volatile(&raw const (*raw).user_ip4) };
                Address::from_v4(word.to_ne_bytes())
            }
            _ => {
                // SAFETY: as above.
                let words = unsafe {
                    [
                        read_volatile(&raw const (*raw).user_ip6[0]),
                        read_volatile(&raw const (*raw).user_ip6[1]),
                        read_volatile(&raw const (*raw).user_ip6[2]),
                        read_volatile(&raw const (*raw).user_ip6[3]),
                    ]
                };
                Address::from_v6(bytes(words))
            }
        };
        let transport = socket::transport(kind, protocol);
        let port = (port as u16).to_ne_bytes();
        Self {
            transport,
            protocol: protocol as u8,
            family: family as u8,
            kind: kind as u8,
            address,
            port,
        }
    }
}

/// The words of an address, each in network byte order, as its bytes.
#[inline(always)]
fn bytes(words: [u32; 4]) -> [u8; 16] {
    let [a, b, c, d] = words.map(u32::to_ne_bytes);
    [
        a[0], a[1], a[2], a[3], b[0], b[1], b[2], b[3], c[0], c[1], c[2], c[3], d[0], d[1], d[2], d[3],
    ]
}
