//! What root can do to an enforcer's programs and maps behind its back.
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

const BPF_OBJ_GET: libc::c_long = 7;
const BPF_LINK_DETACH: libc::c_long = 34;

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
    let fd = bpf(BPF_OBJ_GET, &mut get).with_context(context)?;
    // SAFETY: the kernel has just made this descriptor for us alone.
    let link = unsafe { OwnedFd::from_raw_fd(i32::try_from(fd)?) };
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

/// Removes an entry of a pinned hash map.
///
/// # Errors
/// If it has none such.
pub fn remove<K: Pod, V: Pod>(pin: &Path, key: &K) -> Result<()> {
    let mut map: HashMap<_, K, V> = HashMap::try_from(Map::HashMap(MapData::from_pin(pin)?))?;
    Ok(map.remove(key)?)
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
