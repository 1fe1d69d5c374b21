//! Istio's rules for names: DNS labels, domain names, label keys (`pkg/config/labels/instance.go`,
//! `pkg/config/validation/agent/validation.go`).

/// Longest DNS label.
const LABEL_MAX: usize = 63;
/// Longest domain name.
const DOMAIN_MAX: usize = 255;
/// Longest prefix of a label key.
const PREFIX_MAX: usize = 253;

/// Whether `text` is a DNS-1123 label in either case.
pub(super) fn is_label(text: &str) -> bool {
    text.len() <= LABEL_MAX && is_label_of_any_length(text)
}

fn is_label_of_any_length(text: &str) -> bool {
    is_made_of(text, |byte| byte == b'-')
}

/// Whether `text` begins and ends with a letter or digit and has nothing else but `inner` between.
fn is_made_of(text: &str, inner: impl Fn(u8) -> bool) -> bool {
    let bytes = text.as_bytes();
    let (Some(first), Some(last)) = (bytes.first(), bytes.last()) else {
        return false;
    };
    first.is_ascii_alphanumeric()
        && last.is_ascii_alphanumeric()
        && bytes
            .iter()
            .all(|byte| byte.is_ascii_alphanumeric() || inner(*byte))
}

/// Whether Kubernetes takes `text` as the name of a namespace.
pub(super) fn is_namespace(text: &str) -> bool {
    is_label(text) && !text.bytes().any(|byte| byte.is_ascii_uppercase())
}

/// Whether Kubernetes takes `text` as the name of an object.
pub(super) fn is_object_name(text: &str) -> bool {
    text.len() <= PREFIX_MAX
        && !text.bytes().any(|byte| byte.is_ascii_uppercase())
        && text.split('.').all(is_label_of_any_length)
}

/// `*`, `*label`, `*-label` or a label: what the first label of a host may be.
fn is_wildcard_label(text: &str) -> bool {
    let bare = text
        .strip_prefix('*')
        .map(|rest| rest.strip_prefix('-').unwrap_or(rest));
    text.len() <= LABEL_MAX && (text == "*" || is_label_of_any_length(bare.unwrap_or(text)))
}

/// A complete domain name; a trailing dot is fine, a last label that is a number is none.
///
/// # Errors
/// Istio's message for what is wrong with it.
pub(super) fn check_domain(name: &str) -> Result<(), String> {
    check_length(name)?;
    check_labels(name)
}

/// A domain name whose first label may be a wildcard.
///
/// # Errors
/// Istio's message for what is wrong with it.
pub(super) fn check_wildcard_domain(name: &str) -> Result<(), String> {
    check_length(name)?;
    let (first, rest) = match name.split_once('.') {
        Some((first, rest)) => (first, Some(rest)),
        None => (name, None),
    };
    if !is_wildcard_label(first) {
        return Err(format!("domain name {name:?} invalid (label {first:?} invalid)"));
    }
    rest.map_or(Ok(()), check_labels)
}

/// `*` stands for whole labels only.
///
/// # Errors
/// Istio's message for what is wrong with it.
pub(super) fn check_partial_wildcard(name: &str) -> Result<(), String> {
    if name.contains('*') && name.len() != 1 && !name.starts_with("*.") {
        return Err(format!("partial wildcard {name:?} not allowed"));
    }
    Ok(())
}

fn check_length(name: &str) -> Result<(), String> {
    if name.len() > DOMAIN_MAX {
        return Err(format!("domain name {name:?} too long (max 255)"));
    }
    if name.is_empty() {
        return Err("empty domain name not allowed".to_owned());
    }
    Ok(())
}

fn check_labels(domain: &str) -> Result<(), String> {
    let last = domain.rsplit('.').next().unwrap_or_default();
    // Istio asks Go's Atoi, which takes a sign and gives up beyond 64 bits.
    if last.parse::<i64>().is_ok() {
        return Err(format!(
            "domain name {domain:?} invalid (top level domain {last:?} cannot be all-numeric)"
        ));
    }
    if domain.is_empty() {
        return Ok(());
    }
    let labels = domain.strip_suffix('.').unwrap_or(domain);
    match labels.split('.').find(|label| !is_label(label)) {
        Some(label) => Err(format!(
            "domain name {domain:?} invalid (label {label:?} invalid)"
        )),
        None => Ok(()),
    }
}

/// A label of a workload, by the rules for Kubernetes' labels.
///
/// # Errors
/// Istio's message for what is wrong with the key.
pub(super) fn check_label_key(key: &str) -> Result<(), String> {
    let (prefix, name) = match key.split_once('/') {
        Some((prefix, name)) => (Some(prefix), name),
        None => (None, key),
    };
    let prefix_fits = prefix.is_none_or(|prefix| prefix.split('.').all(is_label_of_any_length));
    if !prefix_fits || !is_qualified(name) {
        return Err(format!("invalid tag key: {key:?}"));
    }
    if prefix.is_some_and(|prefix| prefix.len() > PREFIX_MAX) {
        return Err(format!("invalid tag key: {key:?} (DNS prefix is too long)"));
    }
    if name.len() > LABEL_MAX {
        return Err(format!("invalid tag key: {key:?} (name is too long)"));
    }
    Ok(())
}

/// A label's value, which may be empty.
///
/// # Errors
/// Istio's message for what is wrong with it.
pub(super) fn check_label_value(value: &str) -> Result<(), String> {
    if value.is_empty() || is_qualified(value) {
        Ok(())
    } else {
        Err(format!("invalid tag value: {value:?}"))
    }
}

fn is_qualified(text: &str) -> bool {
    is_made_of(text, |byte| b"-_.".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wildcards_stand_in_the_first_label_only() {
        for name in ["*", "*.a.b", "*a.b", "*-a.b", "a.b.", "a", "1.a", "A-b.C"] {
            assert_eq!(check_wildcard_domain(name), Ok(()), "{name}");
        }
        for name in [
            "a.*.b", "*-.b", "**.b", ".b", "a..b", "-a.b", "a_b.c", "*.*", "a b.c", "ä.b",
        ] {
            assert!(check_wildcard_domain(name).is_err(), "{name}");
        }
    }

    #[test]
    fn addresses_are_no_domain_names() {
        assert_eq!(
            check_domain("1.2.3.4").unwrap_err(),
            "domain name \"1.2.3.4\" invalid (top level domain \"4\" cannot be all-numeric)"
        );
        assert!(check_domain("2001:db8::1").is_err());
        assert!(check_wildcard_domain("1.2.3.4").is_err());
    }

    #[test]
    fn lengths_are_limited() {
        let label = "a".repeat(63);
        assert_eq!(check_domain(&label), Ok(()));
        assert!(check_domain(&format!("{label}a")).is_err());
        let long = format!("{label}.{label}.{label}.{label}a");
        assert!(check_domain(&long).unwrap_err().ends_with("too long (max 255)"));
        assert_eq!(check_domain("").unwrap_err(), "empty domain name not allowed");
        assert!(check_domain(".").is_err());
    }

    #[test]
    fn label_keys_may_have_a_domain_before_them() {
        for key in ["app", "example.com/app", "a_b.c-d", "A"] {
            assert_eq!(check_label_key(key), Ok(()), "{key}");
        }
        for key in ["", "/app", "a/b/c", "-a", "a-", "_/b", "ex_ample/a"] {
            assert!(check_label_key(key).is_err(), "{key}");
        }
        assert!(
            check_label_key(&"a".repeat(64))
                .unwrap_err()
                .ends_with("(name is too long)")
        );
        assert_eq!(check_label_value(""), Ok(()));
        assert!(check_label_value("a b").is_err());
    }
}
