//! What a program produces: events, counts and the errno.

use aya_ebpf::{
    Global,
    helpers::{
        bpf_get_current_comm, bpf_get_current_pid_tgid, bpf_get_current_uid_gid, generated::bpf_set_retval,
    },
};
use enforcer_common::{
    Address, COMM_LENGTH, Counter, Event, Hook, Outcome, Share, ShareKey, Talk, Transport, Verdicts,
};

use crate::{clock, layout, maps, workload::Workload};

/// Not 0 if the kernel has `bpf_set_retval` (5.18). The loader sets it, and the verifier then removes the other
/// branch before it looks for the helper.
#[unsafe(no_mangle)]
static HAS_SET_RETVAL: Global<u8> = Global::new(0);

/// The largest errno (`MAX_ERRNO` of the kernel). All of its bits are set, so that it also serves as a mask.
const MAX_ERRNO: u32 = 4095;

/// What a refused call returns by default, and on kernels that cannot return another errno.
const EPERM: i32 = 1;

/// A call that a verdict is made on.
pub(crate) struct Call {
    pub(crate) hook: Hook,
    /// The socket's IP protocol number, its low byte.
    pub(crate) protocol: u8,
    /// The socket's family; for a socket option its level.
    pub(crate) family: u8,
    /// The socket's type; for a socket option its number.
    pub(crate) kind: u8,
    pub(crate) address: Address,
    /// Network byte order.
    pub(crate) port: [u8; 2],
    pub(crate) workload: Workload,
}

impl Call {
    /// Whether it is `connect()`.
    #[inline(always)]
    pub(crate) fn is_connect(&self) -> bool {
        matches!(self.hook, Hook::Connect4 | Hook::Connect6 | Hook::LsmConnect)
    }

    #[inline(always)]
    fn talk(&self) -> Talk {
        match self.hook {
            Hook::SockCreate | Hook::Setsockopt | Hook::LsmCreate => Talk::Other,
            _ if self.protocol == Transport::Tcp as u8 => Talk::Tcp,
            _ if self.protocol != Transport::Udp as u8 => Talk::Other,
            _ if self.is_connect() => Talk::Probe,
            _ => Talk::Udp,
        }
    }
}

/// The task that makes the call.
pub(crate) struct Caller {
    comm: [u8; COMM_LENGTH],
    pid: u32,
    uid: u32,
}

impl Caller {
    /// No task: the event names none.
    #[inline(always)]
    pub(crate) fn none() -> Self {
        Self {
            comm: [0; COMM_LENGTH],
            pid: 0,
            uid: 0,
        }
    }

    /// The current task.
    #[inline(always)]
    pub(crate) fn current() -> Self {
        if let Some((name, pid, uid)) = layout::task() {
            let [first, second] = name.map(u64::to_ne_bytes);
            let mut comm = [0; COMM_LENGTH];
            let (head, tail) = comm.split_at_mut(size_of::<u64>());
            head.copy_from_slice(&first);
            tail.copy_from_slice(&second);
            return Self { comm, pid, uid };
        }
        Self {
            comm: bpf_get_current_comm().unwrap_or([0; COMM_LENGTH]),
            pid: (bpf_get_current_pid_tgid() >> 32) as u32,
            uid: bpf_get_current_uid_gid() as u32,
        }
    }
}

/// Counts the verdict for its workload.
#[inline(always)]
pub(crate) fn count(workload: &Workload, outcome: Outcome) {
    let cgroup = match workload.policy() {
        Some(_) => workload.cgroup,
        None => Share::UNKNOWN,
    };
    maps::count_verdict(cgroup.0, Verdicts::place(outcome));
}

/// Sends an event about a call of the current task. Apart from the programs, most of whose calls cause none.
#[inline(never)]
pub(crate) fn tell(call: &Call, outcome: u64) {
    event(call, Caller::current, Outcome::from_number(outcome));
}

/// Sends an event to the daemon. Counts the events that do not fit the ring buffer or exceed the workload's
/// share.
#[inline(always)]
pub(crate) fn event(call: &Call, caller: impl FnOnce() -> Caller, outcome: Outcome) {
    let share = ShareKey {
        workload: match call.workload.policy() {
            Some(_) => call.workload.cgroup,
            None => Share::UNKNOWN,
        },
        talk: call.talk() as u64,
    };
    let now = clock::now();
    if !maps::is_within_share(&share, now, Share::LIMIT) {
        return;
    }
    let Some(mut entry) = maps::EVENTS.reserve::<Event>(0) else {
        maps::count(Counter::Lost);
        return;
    };
    let caller = caller();
    entry.write(Event {
        time: now,
        cgroup: call.workload.cgroup,
        address: call.address,
        comm: caller.comm,
        pid: caller.pid,
        uid: caller.uid,
        policy: call.workload.policy_id,
        port: call.port,
        transport: call.protocol,
        hook: call.hook as u8,
        verdict: outcome.verdict as u8,
        reason: outcome.reason as u8,
        family: call.family,
        kind: call.kind,
        pad: [0; 4],
    });
    entry.submit(maps::waking());
}

/// Makes the refused call return the configured errno, or EPERM if the kernel cannot return another.
#[inline(always)]
pub(crate) fn set_errno() {
    if HAS_SET_RETVAL.load() != 0
        && let Some(settings) = maps::settings()
        && settings.errno != EPERM as u32
    {
        // Newer verifiers (7.2) accept the call only with bounds that they can see: 0 or an errno.
        let errno = (settings.errno & MAX_ERRNO) as i32;
        // SAFETY: the helper takes any number; the kernel accepts -4095..=-1 and ignores others.
        unsafe { bpf_set_retval(-errno) };
    }
}

/// The configured errno as an LSM program returns it; used where `connect` and `sendmsg` return it too. The
/// result is one of a few constants, because newer verifiers refuse a number that they cannot bound.
#[inline(always)]
pub(crate) fn errno_to_return() -> i32 {
    const EACCES: i32 = 13;
    const ENETUNREACH: i32 = 101;
    const ETIMEDOUT: i32 = 110;
    const ECONNREFUSED: i32 = 111;
    const EHOSTUNREACH: i32 = 113;
    let configured = match maps::settings() {
        Some(settings) if HAS_SET_RETVAL.load() != 0 => settings.errno as i32,
        _ => EPERM,
    };
    match configured {
        EACCES => -EACCES,
        ENETUNREACH => -ENETUNREACH,
        ETIMEDOUT => -ETIMEDOUT,
        ECONNREFUSED => -ECONNREFUSED,
        EHOSTUNREACH => -EHOSTUNREACH,
        _ => -EPERM,
    }
}
