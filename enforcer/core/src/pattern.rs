//! The kernel's form of a host: its identifier, and the trie key that names on the wire are compared with.
//!
//! `Host -> HostId`, `Host -> PatternKey, Pattern`, name as it was sent -> text
//!
//! **Architecture Invariant:** a name's key begins with a wildcard's key, and is long enough, if and only if
//! [`Host::covers`] is true.

use std::collections::BTreeSet;

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
    HostId::new(id)
}

/// The host's entry in the kernel's trie of patterns. None if no name on the wire can match it.
pub fn pattern(host: &Host) -> Option<(PatternKey, Pattern)> {
    let wildcard = host.as_str().strip_prefix('*');
    let mut key = match wildcard {
        None => labels(host.as_str(), false)?,
        Some("") => Vec::new(),
        // The wildcard matches one or more whole labels.
        Some(suffix) if suffix.starts_with('.') => labels(&suffix[1..], false)?,
        Some(suffix) => labels(suffix, true)?,
    };
    let least = wildcard.map_or(host.as_str().len(), |suffix| suffix.len() + 1);
    if least > TEXT {
        return None;
    }
    key.reverse();
    if wildcard.is_none() {
        key.push(0);
    }
    let mut padded = [0; NAME];
    padded[..key.len()].copy_from_slice(&key);
    let pattern = Pattern {
        host: id(host),
        length: u32::try_from(key.len()).ok()?,
        wildcard: u32::from(wildcard.is_some()),
    };
    Some((PatternKey(padded), pattern))
}

/// The identifiers of all hosts for which an address counts that is given for `name`.
pub fn ids_over(name: &Host) -> BTreeSet<HostId> {
    let covering = name.covering();
    let patterns = covering.iter().filter_map(pattern);
    patterns.map(|(_, pattern)| pattern.host).collect()
}

/// The labels of `name` in their order, a separator before each. The first has none if it is only the end of a
/// label.
fn labels(name: &str, is_first_cut: bool) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(name.len() + 1);
    for (index, label) in name.split('.').enumerate() {
        let is_cut = is_first_cut && index == 0;
        if label.is_empty() || label.len() + usize::from(is_cut) > LABEL {
            return None;
        }
        if !is_cut {
            bytes.push(PatternKey::SEPARATOR);
        }
        bytes.extend(label.bytes());
    }
    Some(bytes)
}

/// A name in wire format as text, without the root. Bytes that no host has are escaped by number, as in a zone
/// file (RFC 1035, 5.1). None if it is not a valid name.
pub fn text(sent: &[u8]) -> Option<String> {
    let mut text = String::with_capacity(sent.len());
    let mut rest = sent;
    loop {
        let (length, after) = rest.split_first()?;
        let length = usize::from(*length);
        if length == 0 {
            return (after.is_empty() && !text.is_empty()).then_some(text);
        }
        if length > LABEL || length > after.len() {
            return None;
        }
        if !text.is_empty() {
            text.push('.');
        }
        let (label, after) = after.split_at(length);
        for byte in label {
            match byte {
                b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'*' => text.push(char::from(*byte)),
                other => text.push_str(&format!("\\{other:03}")),
            }
        }
        rest = after;
    }
}

/// The host of such a text; None if the text has bytes that no host has.
pub fn host(text: &str) -> Option<Host> {
    (!text.contains(['\\', '*'])).then(|| Host::new(text))
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

    /// Whether the kernel matches `name`, which is no wildcard, with `host`.
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
        assert_eq!(key("db.A.example.").unwrap(), b"elpmaxe.a.bd.\0");
        assert_eq!(key("*.a.example").unwrap(), b"elpmaxe.a.");
        assert_eq!(key("*-db.example").unwrap(), b"elpmaxe.bd-");
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
    fn sent_name_is_text_whatever_bytes_it_has() {
        assert_eq!(text(b"\x03api\x06stripe\x03com\0").unwrap(), "api.stripe.com");
        assert_eq!(text(b"\x05a.b\n\\\x01c\0").unwrap(), r"a\046b\010\092.c");
        assert_eq!(text(b"\x02\xc3\xa9\0").unwrap(), r"\195\169");
        for wrong in [&b""[..], b"\0", b"\x01a", b"\x02a\0", b"\x01a\0b", b"\xc0\x0c\0"] {
            assert_eq!(text(wrong), None, "{wrong:?}");
        }
        assert_eq!(host("api.stripe.com").unwrap(), Host::new("api.stripe.com"));
        assert!(host(r"a\046b").is_none() && host("*.a").is_none());
    }

    proptest! {
        #[test]
        fn sent_name_is_at_most_four_characters_a_byte_and_all_of_them_print(
            sent in prop::collection::vec(any::<u8>(), 0..256),
        ) {
            if let Some(text) = text(&sent) {
                prop_assert!(text.len() <= 4 * sent.len());
                prop_assert!(text.bytes().all(|byte| byte.is_ascii_graphic()), "{}", text);
            }
        }
    }

    #[test]
    fn name_counts_for_itself_and_for_each_wildcard_over_it() {
        let over = ids_over(&Host::new("api.example"));
        let has = |host: &str| over.contains(&id(&Host::new(host)));
        assert!(has("api.example") && has("*.example") && has("*i.example") && has("*"));
        assert!(!has("*.api.example") && !has("example") && !has("*api.example"));
        assert!(
            ids_over(&Host::new("a..b"))
                .iter()
                .all(|found| *found != id(&Host::new("a..b")))
        );
    }

    #[test]
    fn identifier_is_the_beginning_of_the_hash() {
        // printf %s '*.example.com' | sha256sum
        let expected = *b"\x47\x28\x7a\x8f\x16\xec\x75\xe6\x07\x3f\x19\x39\x89\xbb\x1c\x0c";
        assert_eq!(id(&Host::new("*.Example.com.")), HostId::new(expected));
    }

    /// Labels of 45 and 48 bytes too, the numbers of `-` and `0`.
    fn name() -> impl Strategy<Value = String> {
        let label = || prop_oneof![6 => "[ab0-]{1,3}", 1 => Just("b".repeat(45)), 1 => Just("b".repeat(48))];
        (label(), prop::collection::vec(label(), 0..3)).prop_map(|(first, rest)| {
            rest.into_iter()
                .fold(first, |name, label| format!("{name}.{label}"))
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(20_000))]

        #[test]
        fn kernel_takes_what_a_host_covers(
            host in prop_oneof![name(), name().prop_map(|name| format!("*.{name}")), name().prop_map(|name| format!("*{name}"))],
            before in "([ab0-]{1,2}\\.?)?",
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
