//! A host as the kernel knows it: its identifier, and the key by which names that are sent are held against it.
//!
//! `Host -> HostId`, `Host -> PatternKey, Pattern`
//!
//! **Architecture Invariant:** a name begins with a wildcard's key, and is long enough, exactly where [`Host::covers`]
//! says so.

use enforcer_common::{HostId, Pattern, PatternKey, learned::NAME};
use sha2::{Digest as _, Sha256};

use crate::model::Host;

/// Longest label of a name.
const LABEL: usize = 63;
/// Longest name, as text.
const TEXT: usize = 253;

/// The identifier of a host.
pub fn id(host: &Host) -> HostId {
    let hash = Sha256::digest(host.as_str());
    let mut id = [0; 16];
    id.copy_from_slice(&hash[..16]);
    HostId(id)
}

/// Where a host lies in the kernel's trie of patterns. None if no name that can be sent is meant by it.
pub fn pattern(host: &Host) -> Option<(PatternKey, Pattern)> {
    let wildcard = host.as_str().strip_prefix('*');
    let mut sent = match wildcard {
        None => sent(host.as_str(), false)?,
        Some("") => Vec::new(),
        // A whole label or more stands before the dot.
        Some(suffix) if suffix.starts_with('.') => sent(&suffix[1..], false)?,
        Some(suffix) => sent(suffix, true)?,
    };
    let least = wildcard.map_or(host.as_str().len(), |suffix| suffix.len() + 1);
    if least > TEXT {
        return None;
    }
    sent.reverse();
    if wildcard.is_none() {
        sent.push(0);
    }
    let mut key = PatternKey([0; NAME]);
    key.0[..sent.len()].copy_from_slice(&sent);
    let pattern = Pattern {
        host: id(host),
        length: u32::try_from(sent.len()).ok()?,
        wildcard: u32::from(wildcard.is_some()),
    };
    Some((key, pattern))
}

/// The labels of `name` as they are sent, without the root. Of the first, if it is only the end of one, without its
/// length.
fn sent(name: &str, is_first_cut: bool) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(name.len() + 1);
    for (index, label) in name.split('.').enumerate() {
        let is_cut = is_first_cut && index == 0;
        let length = u8::try_from(label.len()).ok()?;
        if label.is_empty() || label.len() + usize::from(is_cut) > LABEL {
            return None;
        }
        if !is_cut {
            bytes.push(length);
        }
        bytes.extend(label.bytes());
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The bytes of a host's key.
    fn key(host: &str) -> Option<Vec<u8>> {
        let (key, pattern) = pattern(&Host::new(host))?;
        Some(key.0[..pattern.length as usize].to_vec())
    }

    /// Whether the kernel takes `name`, which is no wildcard, for one that `host` stands for.
    fn is_taken(host: &Host, name: &Host) -> bool {
        let (Some((key, pattern)), Some((name, of_name))) = (pattern(host), pattern(name)) else {
            return false;
        };
        let (length, name_length) = (pattern.length as usize, of_name.length as usize);
        let begins = key.0[..length] == name.0[..length];
        // The name's length without the zero behind it, and one less for the character that a wildcard stands for.
        begins && (pattern.wildcard == 0 || name_length - 2 > length)
    }

    #[test]
    fn names_are_read_from_the_end() {
        assert_eq!(key("db.A.example.").unwrap(), b"elpmaxe\x07a\x01bd\x02\0");
        assert_eq!(key("*.a.example").unwrap(), b"elpmaxe\x07a\x01");
        assert_eq!(key("*-db.example").unwrap(), b"elpmaxe\x07bd-");
        assert_eq!(key("*").unwrap(), b"");
    }

    #[test]
    fn what_cannot_be_sent_has_no_key() {
        let label = "a".repeat(63);
        let longest = format!("{label}.{label}.{label}.{}", "a".repeat(61));
        assert_eq!(key(&longest).unwrap().len(), 255);
        assert!(key(&format!("{longest}a")).is_none());
        assert!(key(&format!("*.{}", &longest[2..])).is_some());
        assert!(key(&format!("*.{}", &longest[1..])).is_none());
        assert!(key(&format!("{label}a.example")).is_none());
        assert!(key(&format!("*{}.example", &label[1..])).is_some());
        assert!(
            key(&format!("*{label}.example")).is_none(),
            "something stands before it"
        );
        for name in ["", "a..b", ".a", "*..a"] {
            assert!(key(name).is_none(), "{name}");
        }
    }

    #[test]
    fn identifier_is_the_beginning_of_the_hash() {
        // printf %s '*.example.com' | sha256sum
        let expected = *b"\x47\x28\x7a\x8f\x16\xec\x75\xe6\x07\x3f\x19\x39\x89\xbb\x1c\x0c";
        assert_eq!(id(&Host::new("*.Example.com.")), HostId(expected));
    }

    fn name() -> impl Strategy<Value = String> {
        "[ab-]{1,3}(\\.[ab-]{1,2}){0,3}"
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(20_000))]

        #[test]
        fn kernel_takes_what_a_host_covers(
            host in prop_oneof![name(), name().prop_map(|name| format!("*.{name}")), name().prop_map(|name| format!("*{name}"))],
            before in "([ab-]{1,2}\\.?)?",
            other in name(),
        ) {
            let host = Host::new(&host);
            let under = format!("{before}{}", host.as_str().trim_start_matches('*').trim_start_matches('.'));
            let below = format!("{before}{}", host.as_str().trim_start_matches('*'));
            for name in [other, under, below] {
                let name = Host::new(&name);
                if pattern(&name).is_some() {
                    prop_assert_eq!(is_taken(&host, &name), host.covers(&name), "{} by {}", name, host);
                }
            }
        }
    }
}
