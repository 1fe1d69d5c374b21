//! The few `bpf(2)` commands that aya does not offer, and a system call that nix offers for one C library alone.
#![expect(unsafe_code, reason = "a system call takes its argument by address")]

use std::{
    ffi::{CStr, CString},
    io,
    os::{
        fd::{AsFd, AsRawFd as _, FromRawFd as _, OwnedFd},
        unix::ffi::OsStrExt as _,
    },
    path::Path,
};

const BPF_PROG_LOAD: libc::c_long = 5;
const BPF_OBJ_PIN: libc::c_long = 6;
const BPF_OBJ_GET: libc::c_long = 7;
const BPF_OBJ_GET_INFO_BY_FD: libc::c_long = 15;
const BPF_PROG_QUERY: libc::c_long = 16;
const BPF_RAW_TRACEPOINT_OPEN: libc::c_long = 17;
const BPF_LINK_CREATE: libc::c_long = 28;
const BPF_LINK_UPDATE: libc::c_long = 29;

/// Which programs of a cgroup to list, and the flag for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Which {
    /// Programs that are attached there, in that order.
    Attached = 0,
    /// `BPF_F_QUERY_EFFECTIVE`: programs that run there, whether attached there or above it.
    Effective = 1,
}

/// `union bpf_attr` for `BPF_PROG_LOAD`.
#[repr(C)]
struct ProgLoad {
    prog_type: u32,
    insn_cnt: u32,
    insns: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log_buf: u64,
    kern_version: u32,
    prog_flags: u32,
    prog_name: [u8; 16],
    prog_ifindex: u32,
    expected_attach_type: u32,
}

/// `union bpf_attr` for `BPF_OBJ_PIN` and `BPF_OBJ_GET`.
#[repr(C)]
struct Pin {
    pathname: u64,
    bpf_fd: u32,
    file_flags: u32,
}

/// `union bpf_attr` for `BPF_LINK_CREATE`.
#[repr(C)]
struct LinkCreate {
    prog_fd: u32,
    target_fd: u32,
    attach_type: u32,
    flags: u32,
}

/// `union bpf_attr` for `BPF_RAW_TRACEPOINT_OPEN`.
#[repr(C)]
struct RawTracepoint {
    name: u64,
    prog_fd: u32,
    pad: u32,
}

/// `union bpf_attr` for `BPF_LINK_UPDATE`.
#[repr(C)]
struct LinkUpdate {
    link_fd: u32,
    new_prog_fd: u32,
    flags: u32,
    old_prog_fd: u32,
}

/// `union bpf_attr` for `BPF_PROG_QUERY`.
#[repr(C)]
struct ProgQuery {
    target_fd: u32,
    attach_type: u32,
    query_flags: u32,
    attach_flags: u32,
    prog_ids: u64,
    prog_count: u32,
    pad: u32,
}

/// `union bpf_attr` for `BPF_OBJ_GET_INFO_BY_FD`.
#[repr(C)]
struct Info {
    bpf_fd: u32,
    info_len: u32,
    info: u64,
}

/// The beginning of `struct bpf_link_info` for a link at a cgroup.
#[repr(C)]
#[derive(Default)]
struct LinkInfo {
    kind: u32,
    id: u32,
    prog_id: u32,
    pad: u32,
    cgroup_id: u64,
    attach_type: u32,
    pad_end: u32,
}

/// The program of a link, and its cgroup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Attachment {
    /// The program that it runs.
    pub(super) program: u32,
    /// The cgroup; 0 once it was detached.
    pub(super) cgroup: u64,
}

/// Opens what is pinned at `path`.
pub(super) fn open_pin(path: &Path) -> io::Result<OwnedFd> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    let mut attributes = Pin {
        pathname: path.as_ptr() as u64,
        bpf_fd: 0,
        file_flags: 0,
    };
    bpf(BPF_OBJ_GET, &mut attributes).map(owned)
}

/// Pins an object at `path`, which must not exist.
pub(super) fn pin(object: impl AsFd, path: &Path) -> io::Result<()> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    let mut attributes = Pin {
        pathname: path.as_ptr() as u64,
        bpf_fd: raw(object),
        file_flags: 0,
    };
    bpf(BPF_OBJ_PIN, &mut attributes).map(|_| ())
}

/// Attaches a program to a cgroup for as long as the link lives, or its pin exists.
pub(super) fn create_link(program: impl AsFd, cgroup: impl AsFd, attach_type: u32) -> io::Result<OwnedFd> {
    let mut attributes = LinkCreate {
        prog_fd: raw(program),
        target_fd: raw(cgroup),
        attach_type,
        flags: 0,
    };
    bpf(BPF_LINK_CREATE, &mut attributes).map(owned)
}

/// Attaches a program to the target for which it was loaded, for as long as the link lives, or its pin exists.
pub(super) fn open_raw_tracepoint(program: impl AsFd) -> io::Result<OwnedFd> {
    let mut attributes = RawTracepoint {
        name: 0,
        prog_fd: raw(program),
        pad: 0,
    };
    bpf(BPF_RAW_TRACEPOINT_OPEN, &mut attributes).map(owned)
}

fn owned(fd: libc::c_long) -> OwnedFd {
    let fd = i32::try_from(fd).expect("a file descriptor is an int");
    // SAFETY: the kernel has just made this descriptor for us alone.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

/// Replaces the program of `link` by `program`, atomically.
pub(super) fn update_link(link: impl AsFd, program: impl AsFd) -> io::Result<()> {
    let mut attributes = LinkUpdate {
        link_fd: raw(link),
        new_prog_fd: raw(program),
        flags: 0,
        old_prog_fd: 0,
    };
    bpf(BPF_LINK_UPDATE, &mut attributes).map(|_| ())
}

/// `renameat2`'s flags.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rename {
    /// EEXIST if the new name exists.
    NoReplace = 1,
    /// Swaps the two names.
    Exchange = 2,
}

/// Renames atomically.
pub(super) fn rename(from: &Path, to: &Path, how: Rename) -> io::Result<()> {
    let (from, to) = (
        CString::new(from.as_os_str().as_bytes())?,
        CString::new(to.as_os_str().as_bytes())?,
    );
    let here = libc::AT_FDCWD;
    // SAFETY: both paths end with a zero byte and live through the call.
    let result = unsafe {
        libc::syscall(
            libc::SYS_renameat2,
            here,
            from.as_ptr(),
            here,
            to.as_ptr(),
            how as libc::c_uint,
        )
    };
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}

/// Loads a program from its instructions.
pub(super) fn load_program(
    kind: u32,
    attach_type: u32,
    name: &CStr,
    instructions: &[u64],
) -> io::Result<OwnedFd> {
    let mut prog_name = [0; 16];
    // The last byte stays zero.
    for (to, from) in prog_name[..15].iter_mut().zip(name.to_bytes()) {
        *to = *from;
    }
    let mut attributes = ProgLoad {
        prog_type: kind,
        insn_cnt: u32::try_from(instructions.len()).map_err(io::Error::other)?,
        insns: instructions.as_ptr() as u64,
        license: c"GPL".as_ptr() as u64,
        log_level: 0,
        log_size: 0,
        log_buf: 0,
        kern_version: 0,
        prog_flags: 0,
        prog_name,
        prog_ifindex: 0,
        expected_attach_type: attach_type,
    };
    bpf(BPF_PROG_LOAD, &mut attributes).map(owned)
}

/// Identifiers of the programs of one attach type at a cgroup.
pub(super) fn programs(cgroup: impl AsFd, attach_type: u32, which: Which) -> io::Result<Vec<u32>> {
    // The kernel allows 64 programs of one type at one cgroup (`BPF_CGROUP_MAX_PROGS`), and as many above it.
    let mut ids = vec![0_u32; 1024];
    let mut attributes = ProgQuery {
        target_fd: raw(cgroup),
        attach_type,
        query_flags: which as u32,
        attach_flags: 0,
        prog_ids: ids.as_mut_ptr() as u64,
        prog_count: 1024,
        pad: 0,
    };
    bpf(BPF_PROG_QUERY, &mut attributes)?;
    // The kernel has written the number of programs into the argument; unused places stay 0, which is no id.
    ids.retain(|id| *id != 0);
    Ok(ids)
}

/// The identifier of a program, map or link among those of its kind.
pub(super) fn id(object: impl AsFd) -> io::Result<u32> {
    // Each kind's description begins with its type and its identifier.
    let mut start = [0_u32; 2];
    describe(object, &mut start)?;
    Ok(start[1])
}

/// What a link at a cgroup does now.
pub(super) fn attachment(link: impl AsFd) -> io::Result<Attachment> {
    let mut info = LinkInfo::default();
    describe(link, &mut info)?;
    Ok(Attachment {
        program: info.prog_id,
        cgroup: info.cgroup_id,
    })
}

/// Nanoseconds since boot, suspended time not counted: the same clock as `bpf_ktime_get_ns`.
pub(super) fn now() -> u64 {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: `time` lives through the call. This clock is always there.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut time) };
    let seconds = u64::try_from(time.tv_sec).unwrap_or_default();
    let rest = u64::try_from(time.tv_nsec).unwrap_or_default();
    seconds * 1_000_000_000 + rest
}

/// Writes the beginning of the kernel's description of an object, which is plain integers, to `info`.
fn describe<T>(object: impl AsFd, info: &mut T) -> io::Result<()> {
    let mut attributes = Info {
        bpf_fd: raw(object),
        info_len: u32::try_from(size_of::<T>()).expect("a description is small"),
        info: (&raw mut *info) as u64,
    };
    bpf(BPF_OBJ_GET_INFO_BY_FD, &mut attributes).map(|_| ())
}

fn raw(fd: impl AsFd) -> u32 {
    u32::try_from(fd.as_fd().as_raw_fd()).expect("an open descriptor is not negative")
}

fn bpf<T>(command: libc::c_long, attributes: &mut T) -> io::Result<libc::c_long> {
    // SAFETY: `attributes` is the command's part of `union bpf_attr`, of the size that is passed with it, and
    // lives through the call.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, &raw mut *attributes, size_of::<T>()) };
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(result)
    }
}
