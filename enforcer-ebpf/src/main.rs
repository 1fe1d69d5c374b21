//! The BPF programs: hook -> flow -> workload -> [`enforcer_common::decide`] -> return code.
//!
//! **Architecture Invariant:** no verdict is made here. A program reads its hook's context, finds the calling
//! task's workload and carries out the result of `decide`. It refuses what it cannot read or look up.

#![no_std]
#![no_main]
#![cfg_attr(target_arch = "bpf", feature(asm_experimental_arch))]
#![expect(
    unsafe_code,
    reason = "kernel memory and helpers are only reached by it; each block says why it holds"
)]

mod clock;
mod emit;
mod hooks;
mod layout;
mod maps;
mod peers;
mod seen;
mod sock;
mod workload;

use aya_ebpf::{
    macros::{cgroup_skb, cgroup_sock, cgroup_sock_addr, cgroup_sockopt, fexit, lsm},
    programs::{FExitContext, LsmContext, SkBuffContext, SockAddrContext, SockContext, SockoptContext},
};
use enforcer_common::Hook;
use hooks::{address, create, guard, lsm as security, names, option, receive};

/// `connect()` of an IPv4 socket.
#[cgroup_sock_addr(connect4)]
fn connect4(ctx: SockAddrContext) -> i32 {
    address::verdict(&ctx, Hook::Connect4, address::is_bound_masked4(&ctx))
}

/// `connect()` of an IPv6 socket.
#[cgroup_sock_addr(connect6)]
fn connect6(ctx: SockAddrContext) -> i32 {
    address::verdict(&ctx, Hook::Connect6, address::is_bound_masked(&ctx))
}

/// A datagram with its own destination, from an IPv4 socket.
#[cgroup_sock_addr(sendmsg4)]
fn sendmsg4(ctx: SockAddrContext) -> i32 {
    address::verdict(&ctx, Hook::Sendmsg4, address::is_message_masked4(&ctx))
}

/// A datagram with its own destination, from an IPv6 socket.
#[cgroup_sock_addr(sendmsg6)]
fn sendmsg6(ctx: SockAddrContext) -> i32 {
    address::verdict(&ctx, Hook::Sendmsg6, address::is_message_masked(&ctx))
}

/// `socket()` of an IPv4 or IPv6 socket.
#[cgroup_sock(sock_create)]
fn sock_create(ctx: SockContext) -> i32 {
    create::verdict(&ctx)
}

/// `setsockopt()`.
#[cgroup_sockopt(setsockopt)]
fn setsockopt(ctx: SockoptContext) -> i32 {
    option::verdict(&ctx)
}

/// `setsockopt()` on kernels where such a program cannot find the workload.
#[cgroup_sockopt(setsockopt)]
fn mark_source(ctx: SockoptContext) -> i32 {
    option::mark(&ctx)
}

/// A packet on its way out.
#[cgroup_skb(egress)]
fn egress(ctx: SkBuffContext) -> i32 {
    guard::verdict(&ctx)
}

/// A packet that arrives.
#[cgroup_skb(ingress)]
fn ingress(ctx: SkBuffContext) -> i32 {
    receive::note(&ctx)
}

/// An outgoing packet that may be a DNS question or a forged answer.
#[cgroup_skb(egress)]
fn ask(ctx: SkBuffContext) -> i32 {
    names::ask::verdict(&ctx)
}

/// An arriving packet that may be a DNS answer.
#[cgroup_skb(ingress)]
fn learn(ctx: SkBuffContext) -> i32 {
    names::learn::note(&ctx)
}

/// `socket()` of any family.
#[lsm(hook = "socket_create")]
fn lsm_create(ctx: LsmContext) -> i32 {
    security::create(&ctx)
}

/// `connect()`, in whichever cgroup the socket was created.
#[lsm(hook = "socket_connect")]
fn lsm_connect(ctx: LsmContext) -> i32 {
    security::connect(&ctx)
}

/// A datagram with its own destination, in whichever cgroup the socket was created.
#[lsm(hook = "socket_sendmsg")]
fn lsm_sendmsg(ctx: LsmContext) -> i32 {
    security::sendmsg(&ctx)
}

/// `setsockopt()`, in whichever cgroup the socket was created.
#[lsm(hook = "socket_setsockopt")]
fn lsm_setsockopt(ctx: LsmContext) -> i32 {
    security::setsockopt(&ctx)
}

/// Data for a file, before the kernel hands its pages to a socket.
#[lsm(hook = "file_permission")]
fn lsm_splice(ctx: LsmContext) -> i32 {
    security::splice(&ctx)
}

/// A datagram that a task takes off a socket's queue.
#[fexit(function = "__skb_recv_udp")]
fn lsm_receive(ctx: FExitContext) -> i32 {
    security::receive(&ctx)
}

/// The kernel offers GPL-only helpers only to programs that declare this licence.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

#[cfg(not(test))]
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    // SAFETY: nothing in these programs panics; the verifier refuses an object from which this is reached.
    unsafe { core::hint::unreachable_unchecked() }
}
