//! Offsets of kernel fields that the programs need and that BPF does not expose, looked up in the kernel's own type
//! description (BTF).
//!
//! The format is described in `Documentation/bpf/btf.rst` of the kernel. aya reads it too, but does not expose the
//! offsets of members.

use std::fs;

use anyhow::{Context as _, Result, bail, ensure};

const FILE: &str = "/sys/kernel/btf/vmlinux";
const MAGIC: u16 = 0xeb9f;
/// `BTF_KIND_*`.
const STRUCT: u32 = 4;
const UNION: u32 = 5;
const FUNCTION: u32 = 12;

/// Names of the object's constants, each with a structure and the path of members to the field.
const PLACES: [(&str, &str, &[&str]); 38] = [
    ("AT_PROTOCOL", "sock", &["sk_protocol"]),
    ("AT_ADDRESS", "sock", &["__sk_common", "skc_daddr"]),
    ("AT_ADDRESS6", "sock", &["__sk_common", "skc_v6_daddr"]),
    ("AT_PORT", "sock", &["__sk_common", "skc_dport"]),
    ("AT_NETWORK_SPACE", "sock", &["__sk_common", "skc_net", "net"]),
    ("AT_MESSAGE_FLAGS", "msghdr", &["msg_flags"]),
    ("AT_OWN_PORT", "sock", &["__sk_common", "skc_num"]),
    ("AT_CGROUP", "sock", &["sk_cgrp_data", "cgroup"]),
    ("AT_NODE", "cgroup", &["kn"]),
    ("AT_ID", "kernfs_node", &["id"]),
    ("AT_SOURCE", "sock", &["__sk_common", "skc_rcv_saddr"]),
    ("AT_DEVICE", "sock", &["__sk_common", "skc_bound_dev_if"]),
    ("AT_COOKIE", "sock", &["__sk_common", "skc_cookie"]),
    ("AT_UNICAST", "inet_sock", &["uc_index"]),
    ("AT_INFO6", "inet_sock", &["pinet6"]),
    ("AT_UNICAST6", "ipv6_pinfo", &["ucast_oif"]),
    ("AT_STICKY6", "ipv6_pinfo", &["sticky_pktinfo", "ipi6_ifindex"]),
    ("AT_OPTIONS", "inet_sock", &["inet_opt"]),
    ("AT_OPTIONS6", "ipv6_pinfo", &["opt"]),
    ("AT_PENDING", "udp_sock", &["pending"]),
    ("AT_CONTROL", "msghdr", &["msg_control"]),
    ("AT_CONTROL_LENGTH", "msghdr", &["msg_controllen"]),
    ("AT_PACKET_SOCK", "sk_buff", &["sk"]),
    ("AT_SOCKET", "sock", &["sk_socket"]),
    ("AT_FILE", "socket", &["file"]),
    ("AT_HEAD", "sk_buff", &["head"]),
    ("AT_NETWORK", "sk_buff", &["network_header"]),
    ("AT_TRANSPORT", "sk_buff", &["transport_header"]),
    ("AT_ARRIVED", "sk_buff", &["skb_iif"]),
    ("AT_INODE", "file", &["f_inode"]),
    ("AT_PRIVATE", "file", &["private_data"]),
    ("AT_MODE", "inode", &["i_mode"]),
    ("AT_FAMILY", "sock", &["__sk_common", "skc_family"]),
    ("AT_CGROUPS", "task_struct", &["cgroups"]),
    ("AT_DEFAULT_CGROUP", "css_set", &["dfl_cgrp"]),
    ("AT_USERS", "net", &["user_ns"]),
    ("AT_LEVEL", "user_namespace", &["level"]),
    ("AT_NETWORK_NUMBER", "net", &["ns", "inum"]),
];

/// What the programs need to know about the running kernel's types.
#[derive(Debug)]
pub(super) struct Layout {
    /// The offsets by the names of the object's constants, in bytes.
    pub(super) places: Vec<(&'static str, u32)>,
    /// Whether `splice()` and `sendfile()` hand pages to a socket directly (`sendpage`, before 6.5), so that no hook
    /// for messages sees them.
    pub(super) has_sendpage: bool,
    /// Whether `__skb_recv_udp` has the four arguments that the program at its return expects (5.19).
    pub(super) receives_by_four: bool,
}

/// Reads it.
///
/// # Errors
/// If the kernel does not describe its types, or a structure lacks a member: it is then newer or older than the
/// programs support.
pub(super) fn read() -> Result<Layout> {
    let description = fs::read(FILE).with_context(|| format!("reading {FILE}"))?;
    let types = Types::parse(&description).context("it is cut, or of another format")?;
    Ok(Layout {
        places: places(&types)?,
        has_sendpage: types.place("proto", &["sendpage"]).is_some(),
        receives_by_four: types.parameters("__skb_recv_udp") == Some(4),
    })
}

fn places(types: &Types<'_>) -> Result<Vec<(&'static str, u32)>> {
    PLACES
        .iter()
        .map(|(name, structure, members)| {
            let place = types.place(structure, members);
            place
                .with_context(|| format!("struct {structure} has no {}", members.join(".")))
                .map(|place| (*name, place))
        })
        .collect()
}

/// A type as far as it matters here.
#[derive(Clone, Copy)]
struct Type {
    name: usize,
    kind: u32,
    /// How many members, values or parameters follow.
    count: usize,
    /// Offsets of members have 24 bits, beside the sizes of bit fields.
    has_bit_fields: bool,
    /// The type that an alias refers to (typedef, const, volatile).
    refers_to: usize,
    /// Offset of what follows.
    body: usize,
}

/// A member of a structure: the offset of its name, its type, and its own offset in bits.
#[derive(Clone, Copy)]
struct Member {
    name: usize,
    kind: usize,
    bits: u32,
}

/// The description, with the offset of each type in it.
struct Types<'a> {
    bytes: &'a [u8],
    /// By number from 1; number 0 is `void`.
    places: Vec<usize>,
    strings: &'a [u8],
}

impl<'a> Types<'a> {
    fn parse(bytes: &'a [u8]) -> Result<Self> {
        let word = |at| word(bytes, at).context("it ends early");
        let magic = bytes.get(..2).context("it ends early")?;
        ensure!(u16::from_ne_bytes(magic.try_into()?) == MAGIC, "no BTF");
        let header = word(4)?;
        let (mut at, strings) = (header + word(8)?, header + word(16)?);
        let end = at + word(12)?;
        let mut types = Self {
            bytes,
            places: Vec::new(),
            strings: bytes
                .get(strings..strings + word(20)?)
                .context("it has no names")?,
        };
        while at < end {
            let found = types.record(at).context("it ends early")?;
            types.places.push(at);
            at = found.body
                + match found.kind {
                    // Integers, variables and tags of declarations.
                    1 | 14 | 17 => 4,
                    // Arrays.
                    3 => 12,
                    // Structures, unions, sections and enumerations of 64 bits.
                    STRUCT | UNION | 15 | 19 => found.count * 12,
                    // Enumerations and functions' parameters.
                    6 | 13 => found.count * 8,
                    // References to other types, forward declarations and floating point numbers.
                    2 | 7..=12 | 16 | 18 => 0,
                    other => bail!("it has types of the unknown kind {other}"),
                };
        }
        ensure!(at == end && end <= bytes.len(), "it ends early");
        Ok(types)
    }

    /// The offset of the last of the members in the structure, in bytes.
    fn place(&self, structure: &str, members: &[&str]) -> Option<u32> {
        let records = self.places.iter().filter_map(|at| self.record(*at));
        let mut found = records
            .filter(|found| found.kind == STRUCT)
            .find(|found| self.is_named(found.name, structure))?;
        let mut bits = 0;
        for name in members {
            let member = self.member(&found, name)?;
            bits += member.bits;
            found = self.named(member.kind)?;
        }
        (bits % 8 == 0).then_some(bits / 8)
    }

    /// How many parameters a function has.
    fn parameters(&self, function: &str) -> Option<usize> {
        let mut records = self.places.iter().filter_map(|at| self.record(*at));
        let found = records.find(|found| found.kind == FUNCTION && self.is_named(found.name, function))?;
        Some(self.numbered(found.refers_to)?.count)
    }

    /// A member by its name, including members of unnamed structures and unions in it.
    fn member(&self, of: &Type, name: &str) -> Option<Member> {
        (0..of.count).find_map(|number| {
            let at = of.body + number * 12;
            let place = u32::try_from(word(self.bytes, at + 8)?).ok()?;
            let member = Member {
                name: word(self.bytes, at)?,
                kind: word(self.bytes, at + 4)?,
                bits: if of.has_bit_fields {
                    place & 0xff_ffff
                } else {
                    place
                },
            };
            if self.is_named(member.name, name) {
                return Some(member);
            }
            let inner = self.numbered(member.kind)?;
            let is_unnamed = member.name == 0 && matches!(inner.kind, STRUCT | UNION);
            let found = is_unnamed.then(|| self.member(&inner, name))??;
            Some(Member {
                bits: member.bits + found.bits,
                ..found
            })
        })
    }

    /// The type behind its aliases: `typedef`, `volatile`, `const`, and tags.
    fn named(&self, number: usize) -> Option<Type> {
        let mut found = self.numbered(number)?;
        // No chain of aliases is this long.
        for _ in 0..16 {
            if !matches!(found.kind, 8..=11 | 18) {
                break;
            }
            found = self.numbered(found.refers_to)?;
        }
        Some(found)
    }

    fn numbered(&self, number: usize) -> Option<Type> {
        self.record(*self.places.get(number.checked_sub(1)?)?)
    }

    fn record(&self, at: usize) -> Option<Type> {
        let info = word(self.bytes, at + 4)?;
        Some(Type {
            name: word(self.bytes, at)?,
            kind: u32::try_from((info >> 24) & 0x1f).ok()?,
            count: info & 0xffff,
            has_bit_fields: info >> 31 != 0,
            refers_to: word(self.bytes, at + 8)?,
            body: at + 12,
        })
    }

    fn is_named(&self, at: usize, name: &str) -> bool {
        self.strings
            .get(at..at + name.len() + 1)
            .is_some_and(|bytes| bytes.strip_suffix(&[0]) == Some(name.as_bytes()))
    }
}

/// The description is in the machine's byte order.
fn word(bytes: &[u8], at: usize) -> Option<usize> {
    let bytes = bytes.get(at..at.checked_add(4)?)?;
    usize::try_from(u32::from_ne_bytes(bytes.try_into().ok()?)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `struct sock { struct { u16 unused; u16 sk_protocol; }; }`; everything else that is looked for is missing.
    fn small() -> Vec<u8> {
        let strings = b"\0sock\0sk_protocol\0u16\0unused\0";
        let at = |name: &str| {
            let found = strings
                .windows(name.len())
                .position(|part| part == name.as_bytes());
            u32::try_from(found.expect("it is there")).expect("it is short")
        };
        let types = [
            // 1: an integer of two bytes.
            vec![at("u16"), 1 << 24, 2, 16],
            // 2: the structure without a name.
            vec![0, 4 << 24 | 2, 4, at("unused"), 1, 0, at("sk_protocol"), 1, 16],
            // 3: the structure around it.
            vec![at("sock"), 4 << 24 | 1, 8, 0, 2, 32],
        ]
        .concat();
        let mut bytes = MAGIC.to_ne_bytes().to_vec();
        bytes.extend([1, 0]);
        let length = |count: usize| u32::try_from(count).expect("it is short");
        let types_length = length(types.len() * 4);
        for word in [24, 0, types_length, types_length, length(strings.len())]
            .iter()
            .chain(&types)
        {
            bytes.extend(word.to_ne_bytes());
        }
        bytes.extend(strings);
        bytes
    }

    #[test]
    fn member_is_found_in_a_structure_without_a_name() {
        let bytes = small();
        let types = Types::parse(&bytes).expect("it is whole");
        assert_eq!(types.place("sock", &["sk_protocol"]), Some(6));
        assert_eq!(types.place("sock", &["sk_type"]), None);
        assert_eq!(types.place("cgroup", &["kn"]), None);
    }

    #[test]
    fn missing_member_is_named() {
        let bytes = small();
        let types = Types::parse(&bytes).expect("it is whole");
        let error = places(&types).expect_err("most is missing").to_string();
        assert_eq!(error, "struct sock has no __sk_common.skc_daddr");
    }

    #[test]
    fn description_that_is_cut_is_an_error() {
        let bytes = small();
        for length in 0..bytes.len() {
            assert!(Types::parse(&bytes[..length]).is_err(), "{length} bytes");
        }
    }

    #[test]
    fn running_kernel_has_every_place() {
        let places: std::collections::BTreeMap<_, _> = read()
            .expect("the kernel describes its types")
            .places
            .into_iter()
            .collect();
        assert_eq!(places.len(), PLACES.len());
        // As the kernel's ABI for programs has it (`bpf_sock_ops` rewrites to these): before the family, at 16.
        assert_eq!((places["AT_ADDRESS"], places["AT_PORT"]), (0, 12));
    }
}
