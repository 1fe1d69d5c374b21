//! Offsets of kernel fields that the programs need and that BPF does not expose.
//!
//! The kernel's structures differ between versions and configurations. The loader looks up every offset in
//! the kernel's own type description (BTF) before it loads the programs. If it does not find them, the BPF
//! LSM programs are not loaded, and the other programs treat a field that they cannot read as one that is
//! refused. What cannot be read is 0, which no rule allows.

use core::ptr::read_volatile;

use aya_ebpf::{
    EbpfContext as _, Global,
    helpers::{bpf_get_current_cgroup_id, bpf_probe_read_kernel, generated::bpf_get_current_task_btf},
    programs::{SkBuffContext, SockAddrContext},
};
use enforcer_common::{Address, CgroupId, LOOPBACK_DEVICE, Stand};

/// `sk_protocol` in `struct sock`.
#[unsafe(no_mangle)]
static AT_PROTOCOL: Global<u32> = Global::new(0);
/// `skc_daddr` in `struct sock`.
#[unsafe(no_mangle)]
static AT_ADDRESS: Global<u32> = Global::new(0);
/// `skc_v6_daddr` in `struct sock`.
#[unsafe(no_mangle)]
static AT_ADDRESS6: Global<u32> = Global::new(0);
/// `skc_dport` in `struct sock`.
#[unsafe(no_mangle)]
static AT_PORT: Global<u32> = Global::new(0);
/// `skc_net` in `struct sock`.
#[unsafe(no_mangle)]
static AT_NETWORK_SPACE: Global<u32> = Global::new(0);
/// `msg_flags` in `struct msghdr`.
#[unsafe(no_mangle)]
static AT_MESSAGE_FLAGS: Global<u32> = Global::new(0);
/// `skc_num` in `struct sock`.
#[unsafe(no_mangle)]
static AT_OWN_PORT: Global<u32> = Global::new(0);
/// `sk_cgrp_data.cgroup` in `struct sock`.
#[unsafe(no_mangle)]
static AT_CGROUP: Global<u32> = Global::new(0);
/// `kn` in `struct cgroup`.
#[unsafe(no_mangle)]
static AT_NODE: Global<u32> = Global::new(0);
/// `id` in `struct kernfs_node`.
#[unsafe(no_mangle)]
static AT_ID: Global<u32> = Global::new(0);
/// `skc_rcv_saddr` in `struct sock`.
#[unsafe(no_mangle)]
static AT_SOURCE: Global<u32> = Global::new(0);
/// `skc_bound_dev_if` in `struct sock`.
#[unsafe(no_mangle)]
static AT_DEVICE: Global<u32> = Global::new(0);
/// `skc_cookie` in `struct sock`.
#[unsafe(no_mangle)]
static AT_COOKIE: Global<u32> = Global::new(0);
/// `uc_index` in `struct inet_sock`.
#[unsafe(no_mangle)]
static AT_UNICAST: Global<u32> = Global::new(0);
/// `pinet6` in `struct inet_sock`.
#[unsafe(no_mangle)]
static AT_INFO6: Global<u32> = Global::new(0);
/// `ucast_oif` in `struct ipv6_pinfo`.
#[unsafe(no_mangle)]
static AT_UNICAST6: Global<u32> = Global::new(0);
/// `sticky_pktinfo.ipi6_ifindex` in `struct ipv6_pinfo`.
#[unsafe(no_mangle)]
static AT_STICKY6: Global<u32> = Global::new(0);
/// `inet_opt` in `struct inet_sock`.
#[unsafe(no_mangle)]
static AT_OPTIONS: Global<u32> = Global::new(0);
/// `opt` in `struct ipv6_pinfo`.
#[unsafe(no_mangle)]
static AT_OPTIONS6: Global<u32> = Global::new(0);
/// `pending` in `struct udp_sock`.
#[unsafe(no_mangle)]
static AT_PENDING: Global<u32> = Global::new(0);
/// `msg_control` in `struct msghdr`.
#[unsafe(no_mangle)]
static AT_CONTROL: Global<u32> = Global::new(0);
/// `msg_controllen` in `struct msghdr`.
#[unsafe(no_mangle)]
static AT_CONTROL_LENGTH: Global<u32> = Global::new(0);
/// `sk` in `struct sk_buff`.
#[unsafe(no_mangle)]
static AT_PACKET_SOCK: Global<u32> = Global::new(0);
/// `sk_socket` in `struct sock`.
#[unsafe(no_mangle)]
static AT_SOCKET: Global<u32> = Global::new(0);
/// `file` in `struct socket`.
#[unsafe(no_mangle)]
static AT_FILE: Global<u32> = Global::new(0);

/// `f_inode` in `struct file`.
#[unsafe(no_mangle)]
static AT_INODE: Global<u32> = Global::new(0);
/// `private_data` in `struct file`.
#[unsafe(no_mangle)]
static AT_PRIVATE: Global<u32> = Global::new(0);
/// `i_mode` in `struct inode`.
#[unsafe(no_mangle)]
static AT_MODE: Global<u32> = Global::new(0);
/// `skc_family` in `struct sock`.
#[unsafe(no_mangle)]
static AT_FAMILY: Global<u32> = Global::new(0);

/// `head` in `struct sk_buff`.
#[unsafe(no_mangle)]
static AT_HEAD: Global<u32> = Global::new(0);
/// `network_header` in `struct sk_buff`.
#[unsafe(no_mangle)]
static AT_NETWORK: Global<u32> = Global::new(0);
/// `transport_header` in `struct sk_buff`.
#[unsafe(no_mangle)]
static AT_TRANSPORT: Global<u32> = Global::new(0);
/// `skb_iif` in `struct sk_buff`.
#[unsafe(no_mangle)]
static AT_ARRIVED: Global<u32> = Global::new(0);

/// `cgroups` in `struct task_struct`.
#[unsafe(no_mangle)]
static AT_CGROUPS: Global<u32> = Global::new(0);
/// `dfl_cgrp` in `struct css_set`.
#[unsafe(no_mangle)]
static AT_DEFAULT_CGROUP: Global<u32> = Global::new(0);

/// `tgid` in `struct task_struct`.
#[unsafe(no_mangle)]
static AT_PROCESS: Global<u32> = Global::new(0);
/// `comm` in `struct task_struct`.
#[unsafe(no_mangle)]
static AT_COMM: Global<u32> = Global::new(0);
/// `cred` in `struct task_struct`.
#[unsafe(no_mangle)]
static AT_CREDENTIALS: Global<u32> = Global::new(0);
/// `uid` in `struct cred`.
#[unsafe(no_mangle)]
static AT_USER: Global<u32> = Global::new(0);

/// `user_ns` in `struct net`.
#[unsafe(no_mangle)]
static AT_USERS: Global<u32> = Global::new(0);
/// `level` in `struct user_namespace`.
#[unsafe(no_mangle)]
static AT_LEVEL: Global<u32> = Global::new(0);
/// `ns.inum` in `struct net`.
#[unsafe(no_mangle)]
static AT_NETWORK_NUMBER: Global<u32> = Global::new(0);

/// The inode number of the enforcer's own network namespace. The loader sets it.
#[unsafe(no_mangle)]
static OWN_NETWORK: Global<u32> = Global::new(0);

/// A packet's `struct sk_buff`, as a number. 0 is none.
#[derive(Clone, Copy)]
pub(crate) struct PacketAddress(pub(crate) u64);

impl PacketAddress {
    #[inline(always)]
    pub(crate) fn is_none(self) -> bool {
        self.0 == 0
    }

    /// The device by which it has arrived. If that cannot be read, the loopback device, from which least is
    /// concluded.
    #[inline(always)]
    pub(crate) fn device(self) -> u32 {
        read(self.0, AT_ARRIVED.load()).unwrap_or(LOOPBACK_DEVICE)
    }

    /// The sender.
    #[inline(always)]
    pub(crate) fn sender(self) -> Option<(Address, [u8; 2])> {
        let head = read::<u64>(self.0, AT_HEAD.load())?;
        let network = read::<u16>(self.0, AT_NETWORK.load())?;
        let transport = read::<u16>(self.0, AT_TRANSPORT.load())?;
        let port = read(head, u32::from(transport))?;
        let header = read::<[u8; 24]>(head, u32::from(network))?;
        if header[0] >> 4 == 4 {
            return Some((
                Address::from_v4([header[12], header[13], header[14], header[15]]),
                port,
            ));
        }
        let mut address = [0; 16];
        address.copy_from_slice(&header[8..]);
        Some((Address::from_v6(address), port))
    }
}

/// A `struct file`, as a number.
#[derive(Clone, Copy)]
pub(crate) struct FileAddress(pub(crate) u64);

impl FileAddress {
    /// The beginning of its `struct socket`; None if the file is none.
    #[inline(always)]
    pub(crate) fn socket<T: Copy>(self) -> Option<T> {
        const KIND: u16 = 0o170_000;
        const SOCKET: u16 = 0o140_000;
        let inode = read::<u64>(self.0, AT_INODE.load())?;
        let mode = read::<u16>(inode, AT_MODE.load())?;
        if mode & KIND != SOCKET {
            return None;
        }
        read(read::<u64>(self.0, AT_PRIVATE.load())?, 0)
    }
}

/// A socket's `struct sock`, as a number: only the helper that checks every address reads it. 0 is none.
#[derive(Clone, Copy)]
pub(crate) struct SockAddress(pub(crate) u64);

impl SockAddress {
    /// Its family.
    #[inline(always)]
    pub(crate) fn family(self) -> u16 {
        read(self.0, AT_FAMILY.load()).unwrap_or(0)
    }

    /// The IP protocol, as given to `socket()` or chosen by it.
    #[inline(always)]
    pub(crate) fn protocol(self) -> u32 {
        u32::from(read::<u16>(self.0, AT_PROTOCOL.load()).unwrap_or(0))
    }

    /// The peer that an IPv4 socket is connected to.
    #[inline(always)]
    pub(crate) fn peer4(self) -> Address {
        Address::from_v4(read(self.0, AT_ADDRESS.load()).unwrap_or([0; 4]))
    }

    /// The peer that an IPv6 socket is connected to.
    #[inline(always)]
    pub(crate) fn peer6(self) -> Address {
        Address::from_v6(read(self.0, AT_ADDRESS6.load()).unwrap_or([0; 16]))
    }

    /// Its network namespace, as the kernel's number for it; 0 if that cannot be read.
    #[inline(always)]
    pub(crate) fn network(self) -> u64 {
        read(self.0, AT_NETWORK_SPACE.load()).unwrap_or(0)
    }

    /// Its own port in the machine's byte order.
    #[inline(always)]
    pub(crate) fn port(self) -> u16 {
        read(self.0, AT_OWN_PORT.load()).unwrap_or(0)
    }

    /// Its cgroup, network namespace and port.
    #[inline(always)]
    pub(crate) fn stand(self) -> Stand {
        Stand {
            cgroup: self.birthplace(),
            network: self.network(),
            port: self.port(),
        }
    }

    /// The peer's port in network byte order; 0 if there is none.
    #[inline(always)]
    pub(crate) fn peer_port(self) -> [u8; 2] {
        read(self.0, AT_PORT.load()).unwrap_or([0; 2])
    }

    /// The IPv4 address that it is bound to.
    #[inline(always)]
    pub(crate) fn source4(self) -> Address {
        Address::from_v4(read(self.0, AT_SOURCE.load()).unwrap_or([0; 4]))
    }

    /// Its cookie; 0 if none was assigned yet. If a peer of the socket is recorded, it has one.
    #[inline(always)]
    pub(crate) fn cookie(self) -> u64 {
        read(self.0, AT_COOKIE.load()).unwrap_or(0)
    }

    /// Whether it has pending data for a destination that was named with that data; it accepts no other
    /// destination until that is sent.
    #[inline(always)]
    pub(crate) fn is_corked(self) -> bool {
        // An offset of 0 means unknown: the first member of the structure is not a number.
        AT_PENDING.load() != 0 && read::<i32>(self.0, AT_PENDING.load()).unwrap_or(1) != 0
    }

    /// The devices by which it sends regardless of the destination; 0 is none. A device that cannot be read
    /// is one with which [`is_loopback`](enforcer_common::is_loopback) destinations are not allowed.
    #[inline(always)]
    pub(crate) fn devices(self) -> [u32; 3] {
        let info = read::<u64>(self.0, AT_INFO6.load()).unwrap_or(0);
        [
            read(self.0, AT_DEVICE.load()).unwrap_or(u32::MAX),
            read(self.0, AT_UNICAST.load()).unwrap_or(u32::MAX),
            if info == 0 {
                0
            } else {
                read(info, AT_UNICAST6.load()).unwrap_or(u32::MAX)
            },
        ]
    }

    /// The same for the device that comes with the permanent source address of an IPv6 socket
    /// (`IPV6_PKTINFO`).
    #[inline(always)]
    pub(crate) fn sticky_device6(self) -> u32 {
        match read::<u64>(self.0, AT_INFO6.load()) {
            None | Some(0) => 0,
            Some(info) => read(info, AT_STICKY6.load()).unwrap_or(u32::MAX),
        }
    }

    /// Whether it has options that go into the headers of what it sends: IPv4 options such as a source route,
    /// or IPv6 ones. True if that cannot be read.
    #[inline(always)]
    pub(crate) fn has_options(self) -> bool {
        let info = read::<u64>(self.0, AT_INFO6.load()).unwrap_or(0);
        let options6 = if info == 0 {
            0
        } else {
            read::<u64>(info, AT_OPTIONS6.load()).unwrap_or(1)
        };
        read::<u64>(self.0, AT_OPTIONS.load()).unwrap_or(1) | options6 != 0
    }

    /// The cgroup in which the socket was born.
    #[inline(always)]
    pub(crate) fn birthplace(self) -> CgroupId {
        let cgroup = read::<u64>(self.0, AT_CGROUP.load()).unwrap_or(0);
        let node = read::<u64>(cgroup, AT_NODE.load()).unwrap_or(0);
        CgroupId(read::<u64>(node, AT_ID.load()).unwrap_or(0))
    }
}

/// Control messages in the kernel's memory during a send: their address and length in bytes.
pub(crate) struct Control {
    pub(crate) at: u64,
    pub(crate) length: u64,
}

impl Control {
    pub(crate) const NONE: Self = Self { at: 0, length: 0 };

    /// Of a `struct msghdr`.
    #[inline(always)]
    pub(crate) fn of(message: u64) -> Self {
        Self {
            at: read(message, AT_CONTROL.load()).unwrap_or(0),
            length: read(message, AT_CONTROL_LENGTH.load()).unwrap_or(u64::MAX),
        }
    }

    /// Whether the call connects with its first data (`MSG_FASTOPEN`); true if that cannot be read.
    #[inline(always)]
    pub(crate) fn is_fast_open(message: u64) -> bool {
        const FAST_OPEN: u32 = 0x2000_0000;
        read::<u32>(message, AT_MESSAGE_FLAGS.load()).unwrap_or(FAST_OPEN) & FAST_OPEN != 0
    }

    /// The value at its beginning.
    #[inline(always)]
    pub(crate) fn read<T: Copy>(&self) -> Option<T> {
        read(self.at, 0)
    }

    /// The value at an offset from its beginning.
    #[inline(always)]
    pub(crate) fn read_at<T: Copy>(&self, at: u64) -> Option<T> {
        read(self.at.wrapping_add(at), 0)
    }
}

/// Not 0 if the kernel lets programs read its memory: `lockdown=confidentiality` does not. The loader sets it, and the
/// verifier then removes the other branch before it looks for the helper.
#[unsafe(no_mangle)]
static HAS_PROBE: Global<u8> = Global::new(0);

/// The network namespace of the calling socket; 0 if that cannot be read.
#[inline(always)]
pub(crate) fn network_of_caller(ctx: &SockAddrContext) -> u64 {
    if HAS_PROBE.load() == 0 || AT_NETWORK_SPACE.load() == 0 {
        return 0;
    }
    // SAFETY: the context begins with the `struct sock` (`struct bpf_sock_addr_kern`), and the helper checks what it
    // reads.
    SockAddress(unsafe { bpf_probe_read_kernel(ctx.as_ptr().cast::<u64>()) }.unwrap_or(0)).network()
}

/// The network namespace of a packet's socket; 0 if that cannot be read.
#[inline(always)]
pub(crate) fn network_of_packet(packet: &SkBuffContext) -> u64 {
    if HAS_PROBE.load() == 0 || AT_NETWORK_SPACE.load() == 0 {
        return 0;
    }
    sock_of(packet).network()
}

/// Whether the packet's socket is in the enforcer's own network namespace; false if that cannot be read.
#[inline(always)]
pub(crate) fn is_own_network(packet: &SkBuffContext) -> bool {
    // Not compared as an `Option`, whose payload would be read before its tag.
    let number = read(network_of_packet(packet), AT_NETWORK_NUMBER.load()).unwrap_or(0);
    number != 0 && number == OWN_NETWORK.load()
}

/// Whether the network namespace of the packet's socket belongs to the initial user namespace, so that only a
/// process with capabilities on the machine can have created its devices; false if that cannot be read.
#[inline(always)]
pub(crate) fn is_machines_network(packet: &SkBuffContext) -> bool {
    let users = read::<u64>(network_of_packet(packet), AT_USERS.load()).unwrap_or(0);
    AT_USERS.load() != 0 && read(users, AT_LEVEL.load()).unwrap_or(-1_i32) == 0
}

/// Not 0 if programs can read the current task without a helper for each field (`bpf_get_current_task_btf`, where the
/// kernel describes its types). The loader sets it, and the verifier then removes the other branch.
#[unsafe(no_mangle)]
static HAS_TASK: Global<u8> = Global::new(0);

/// The calling task's own cgroup. Its fields are read directly where they can be: the helper takes twice as long.
#[inline(always)]
pub(crate) fn cgroup_of_task() -> CgroupId {
    // SAFETY: the helpers have no precondition. The verifier knows the type of each pointer and allows to read it
    // whatever it is; the places are constants for it.
    unsafe {
        if HAS_TASK.load() == 0 {
            return CgroupId(bpf_get_current_cgroup_id());
        }
        let task: *const u8 = bpf_get_current_task_btf().cast();
        let set: *const u8 = field(task, &AT_CGROUPS);
        let cgroup: *const u8 = field(set, &AT_DEFAULT_CGROUP);
        let node: *const u8 = field(cgroup, &AT_NODE);
        field(node, &AT_ID)
    }
}

/// The same as a call, for places that the verifier reaches in many ways: it checks a global function once, and for each
/// field that is read directly it searches the names of all the kernel's types.
#[inline(never)]
#[unsafe(no_mangle)]
pub(crate) extern "C" fn cgroup_of_task_apart() -> u64 {
    cgroup_of_task().0
}

/// Name, process and user of the calling task; None if they cannot be read directly.
#[inline(always)]
pub(crate) fn task() -> Option<([u64; 2], u32, u32)> {
    if HAS_TASK.load() == 0 {
        return None;
    }
    // SAFETY: as above.
    unsafe {
        let task: *const u8 = bpf_get_current_task_btf().cast();
        let credentials: *const u8 = field(task, &AT_CREDENTIALS);
        let name = task.wrapping_add(AT_COMM.load() as usize).cast::<u64>();
        let name = [read_volatile(name), read_volatile(name.wrapping_add(1))];
        Some((name, field(task, &AT_PROCESS), field(credentials, &AT_USER)))
    }
}

/// A field of a structure of the kernel.
///
/// # Safety
/// The verifier has to know the pointer's type.
#[inline(always)]
unsafe fn field<T>(structure: *const u8, at: &Global<u32>) -> T {
    // SAFETY: the caller's promise. Volatile, so that it is read as a whole.
    unsafe { read_volatile(structure.wrapping_add(at.load() as usize).cast()) }
}

/// A packet's socket.
#[inline(always)]
fn sock_of(packet: &SkBuffContext) -> SockAddress {
    /// Bytes at the beginning of `struct sk_buff` that contain its socket.
    const BEGINNING: usize = 64;
    // SAFETY: the context is the packet's `struct sk_buff`, and the helper checks what it reads.
    let Ok(words) = (unsafe { bpf_probe_read_kernel(packet.as_ptr().cast::<[u64; BEGINNING / 8]>()) }) else {
        return SockAddress(0);
    };
    SockAddress(words[(AT_PACKET_SOCK.load() as usize / 8) & (BEGINNING / 8 - 1)])
}

/// Whether the kernel itself has sent a packet, by a socket that has no file.
#[inline(always)]
pub(crate) fn is_kernels_own(packet: &SkBuffContext) -> bool {
    if HAS_PROBE.load() == 0 || AT_SOCKET.load() == 0 {
        return false;
    }
    let socket = read::<u64>(sock_of(packet).0, AT_SOCKET.load()).unwrap_or(0);
    matches!(read::<u64>(socket, AT_FILE.load()), Some(0))
}

#[inline(always)]
fn read<T: Copy>(structure: u64, at: u32) -> Option<T> {
    if structure == 0 {
        return None;
    }
    // SAFETY: the helper checks the address itself, and fails where nothing can be read.
    unsafe { bpf_probe_read_kernel((structure + u64::from(at)) as *const T) }.ok()
}
