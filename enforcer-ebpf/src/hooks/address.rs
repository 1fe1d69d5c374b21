//! `connect` and `sendmsg`: the calls that carry a destination.

use core::ptr::read_volatile;

use aya_ebpf::programs::SockAddrContext;
use aya_log_ebpf::debug;
use enforcer_common::{
    Address, Flow, Hook, Outcome, Reason, Transport, Verdict, decide, is_loopback, refuse,
};

use crate::{
    emit::{self, Call},
    maps, workload,
};

/// What a program returns to let the call go on.
const PROCEED: i32 = 1;
/// What a program returns to have the call fail, with EPERM unless another errno is set.
const REJECT: i32 = 0;

const SOCK_STREAM: u32 = 1;
const SOCK_DGRAM: u32 = 2;
const IPPROTO_TCP: u32 = 6;
const IPPROTO_UDP: u32 = 17;
const IPPROTO_MPTCP: u32 = 262;

/// The whole of each program.
#[inline(always)]
pub(crate) fn verdict(ctx: &SockAddrContext, hook: Hook) -> i32 {
    let socket = Socket::read(ctx, hook);
    let workload = workload::current();
    let call = Call {
        hook,
        protocol: socket.protocol,
        address: socket.address,
        port: socket.port,
        workload,
    };
    let outcome = judge(&socket, &call);
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
        emit::event(&call, outcome);
    }
    match outcome.verdict {
        Verdict::Allow | Verdict::Audit => PROCEED,
        Verdict::Deny => {
            emit::set_errno();
            REJECT
        }
    }
}

#[inline(always)]
fn judge(socket: &Socket, call: &Call) -> Outcome {
    if is_loopback(&socket.address) {
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
    let Some(transport) = socket.transport else {
        return refuse(policy.mode, Reason::NoRule);
    };
    let flow = Flow {
        transport,
        port: socket.port,
        address: socket.address,
    };
    decide(policy, &flow, &maps::Kernel)
}

/// What the hook says of the socket and its destination.
struct Socket {
    /// None for what is neither TCP nor UDP.
    transport: Option<Transport>,
    protocol: u8,
    address: Address,
    /// Network byte order.
    port: [u8; 2],
}

impl Socket {
    #[inline(always)]
    fn read(ctx: &SockAddrContext, hook: Hook) -> Self {
        let raw = ctx.sock_addr;
        // SAFETY: the kernel gives a valid `bpf_sock_addr` for the time of the call. Volatile, since the
        // verifier takes only whole aligned words here and the compiler would narrow them.
        let (kind, protocol, port) = unsafe {
            (
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
            Hook::Connect6 | Hook::Sendmsg6 => {
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
        let transport = match (kind, protocol) {
            (SOCK_STREAM, IPPROTO_TCP | IPPROTO_MPTCP) => Some(Transport::Tcp),
            (SOCK_DGRAM, IPPROTO_UDP) => Some(Transport::Udp),
            _ => None,
        };
        let port = (port as u16).to_ne_bytes();
        Self {
            transport,
            protocol: protocol as u8,
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
