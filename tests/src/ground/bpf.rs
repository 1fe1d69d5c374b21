//! What root can do to an enforcer's programs and maps behind its back, and to sockets of others.
#![expect(unsafe_code, reason = "a system call takes its argument by address")]

use std::{
    ffi::CString,
    io,
    os::{
        fd::{AsRawFd as _, FromRawFd as _, OwnedFd},
        unix::ffi::OsStrExt as _,
    },
    path::Path,
};

use anyhow::{Context as _, Result};
use aya::{
    Pod,
    maps::{Array, HashMap, Map, MapData},
};

const BPF_MAP_CREATE: libc::c_long = 0;
const BPF_MAP_UPDATE_ELEM: libc::c_long = 2;
const BPF_OBJ_GET: libc::c_long = 7;
const BPF_BTF_LOAD: libc::c_long = 18;
const BPF_LINK_DETACH: libc::c_long = 34;

const BPF_MAP_TYPE_SK_STORAGE: u32 = 24;
/// Without which there is no such map.
const BPF_F_NO_PREALLOC: u32 = 1;

/// `union bpf_attr` for `BPF_OBJ_GET`.
#[repr(C)]
struct Get {
    pathname: u64,
    bpf_fd: u32,
    file_flags: u32,
}

/// `union bpf_attr` for `BPF_LINK_DETACH`.
#[repr(C)]
struct Detach {
    link_fd: u32,
}

/// `union bpf_attr` for `BPF_BTF_LOAD`.
#[repr(C)]
struct BtfLoad {
    btf: u64,
    log_buf: u64,
    size: u32,
    log_size: u32,
    log_level: u32,
    pad: u32,
}

/// `union bpf_attr` for `BPF_MAP_CREATE`.
#[repr(C)]
#[derive(Default)]
struct MapCreate {
    kind: u32,
    key_size: u32,
    value_size: u32,
    max_entries: u32,
    flags: u32,
    inner_map_fd: u32,
    numa_node: u32,
    name: [u8; 16],
    ifindex: u32,
    btf_fd: u32,
    btf_key_type_id: u32,
    btf_value_type_id: u32,
}

/// `union bpf_attr` for `BPF_MAP_UPDATE_ELEM`.
#[repr(C)]
struct MapUpdate {
    map_fd: u32,
    pad: u32,
    key: u64,
    value: u64,
    flags: u64,
}

/// A socket storage with values of 8 bytes, such as the connect hooks use for what they have let out.
#[derive(Debug)]
pub struct SocketMarks(std::sync::Arc<OwnedFd>);

impl SocketMarks {
    /// Makes one.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub fn new() -> Result<Self> {
        // A header, two integers of 4 and 8 bytes, and their names (`linux/btf.h`).
        let integer = |name: u32, bytes: u32| [name, 1 << 24, bytes, bytes * 8];
        let types: Vec<u32> = [integer(1, 4), integer(5, 8)].concat();
        let types: Vec<u8> = types.into_iter().flat_map(u32::to_ne_bytes).collect();
        let names = b"\0key\0value\0";
        let (types_len, names_len) = (u32::try_from(types.len())?, u32::try_from(names.len())?);
        let mut btf = [0x9f, 0xeb, 1, 0].to_vec();
        if cfg!(target_endian = "big") {
            btf.swap(0, 1);
        }
        for word in [24, 0, types_len, types_len, names_len] {
            btf.extend(word.to_ne_bytes());
        }
        btf.extend(types);
        btf.extend(names);
        let mut load = BtfLoad {
            btf: btf.as_ptr() as u64,
            log_buf: 0,
            size: u32::try_from(btf.len())?,
            log_size: 0,
            log_level: 0,
            pad: 0,
        };
        let btf = owned(bpf(BPF_BTF_LOAD, &mut load).context("describing a socket storage")?)?;
        let mut create = MapCreate {
            kind: BPF_MAP_TYPE_SK_STORAGE,
            key_size: 4,
            value_size: 8,
            flags: BPF_F_NO_PREALLOC,
            btf_fd: u32::try_from(btf.as_raw_fd())?,
            btf_key_type_id: 1,
            btf_value_type_id: 2,
            ..MapCreate::default()
        };
        let map = owned(bpf(BPF_MAP_CREATE, &mut create).context("making a socket storage")?)?;
        Ok(Self(map.into()))
    }

    /// As revocation takes it.
    pub fn map(&self) -> &std::sync::Arc<OwnedFd> {
        &self.0
    }

    /// Marks all sockets of a process that are of an address family with ports.
    ///
    /// # Errors
    /// If its sockets cannot be had.
    pub fn mark(&self, pid: u32, flags: u32) -> Result<usize> {
        // SAFETY: the call takes two integers.
        let process = owned(unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) })?;
        let mut marked = 0;
        for entry in std::fs::read_dir(format!("/proc/{pid}/fd"))? {
            let entry = entry?;
            if !std::fs::read_link(entry.path())?
                .to_string_lossy()
                .starts_with("socket:")
            {
                continue;
            }
            let descriptor: i32 = entry.file_name().to_string_lossy().parse()?;
            // SAFETY: the call takes three integers, of which the first is an open descriptor.
            let socket =
                owned(unsafe { libc::syscall(libc::SYS_pidfd_getfd, process.as_raw_fd(), descriptor, 0) })?;
            let (key, value) = (socket.as_raw_fd(), [flags, 0]);
            let mut update = MapUpdate {
                map_fd: u32::try_from(self.0.as_raw_fd())?,
                pad: 0,
                key: (&raw const key) as u64,
                value: value.as_ptr() as u64,
                flags: 0,
            };
            bpf(BPF_MAP_UPDATE_ELEM, &mut update).context("marking a socket")?;
            marked += 1;
        }
        Ok(marked)
    }
}

/// Detaches the program of a pinned link, whose pin stays.
///
/// # Errors
/// If nothing is pinned there, or the kernel refuses.
pub fn detach_link(pin: &Path) -> Result<()> {
    let context = || format!("detaching {}", pin.display());
    let path = CString::new(pin.as_os_str().as_bytes())?;
    let mut get = Get {
        pathname: path.as_ptr() as u64,
        bpf_fd: 0,
        file_flags: 0,
    };
    let link = owned(bpf(BPF_OBJ_GET, &mut get).with_context(context)?).with_context(context)?;
    let mut detach = Detach {
        link_fd: u32::try_from(link.as_raw_fd())?,
    };
    bpf(BPF_LINK_DETACH, &mut detach).with_context(context)?;
    Ok(())
}

/// The first value of a pinned array.
///
/// # Errors
/// If it is none, or of other values.
pub fn first<V: Pod>(pin: &Path) -> Result<V> {
    let map: Array<_, V> = Array::try_from(Map::Array(MapData::from_pin(pin)?))?;
    Ok(map.get(&0, 0)?)
}

/// Puts a value in the place of a pinned array's first.
///
/// # Errors
/// If it is none, or of other values.
pub fn set_first<V: Pod>(pin: &Path, value: &V) -> Result<()> {
    let mut map: Array<_, V> = Array::try_from(Map::Array(MapData::from_pin(pin)?))?;
    Ok(map.set(0, value, 0)?)
}

/// Changes an entry of a pinned hash map.
///
/// # Errors
/// If it has none such.
pub fn change<K: Pod, V: Pod>(pin: &Path, key: &K, by: impl FnOnce(&mut V)) -> Result<()> {
    let mut map: HashMap<_, K, V> = HashMap::try_from(Map::HashMap(MapData::from_pin(pin)?))?;
    let mut value = map.get(key, 0)?;
    by(&mut value);
    Ok(map.insert(key, value, 0)?)
}

/// Puts an entry into a pinned hash map, in the place of any with its key.
///
/// # Errors
/// If it is none, or of others.
pub fn put<K: Pod, V: Pod>(pin: &Path, key: &K, value: &V) -> Result<()> {
    let mut map: HashMap<_, K, V> = HashMap::try_from(Map::HashMap(MapData::from_pin(pin)?))?;
    Ok(map.insert(key, value, 0)?)
}

/// The keys of a pinned hash map.
///
/// # Errors
/// If it is none, or of others.
pub fn keys<K: Pod, V: Pod>(pin: &Path) -> Result<Vec<K>> {
    let map: HashMap<_, K, V> = HashMap::try_from(Map::HashMap(MapData::from_pin(pin)?))?;
    Ok(map.keys().collect::<Result<_, _>>()?)
}

/// Removes an entry of a pinned hash map.
///
/// # Errors
/// If it has none such.
pub fn remove<K: Pod, V: Pod>(pin: &Path, key: &K) -> Result<()> {
    let mut map: HashMap<_, K, V> = HashMap::try_from(Map::HashMap(MapData::from_pin(pin)?))?;
    Ok(map.remove(key)?)
}

/// The descriptor that a call returns.
fn owned(result: libc::c_long) -> Result<OwnedFd> {
    if result < 0 {
        return Err(io::Error::last_os_error().into());
    }
    // SAFETY: the kernel has just made this descriptor for us alone.
    Ok(unsafe { OwnedFd::from_raw_fd(i32::try_from(result)?) })
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
