//! Hosts: label by label, so that who is below whom can still be seen.

use super::{
    known::Known,
    placeholders::{Kind, Replace},
    words,
};

/// Whether a word with dots is a host: not a file, a field, a number or a version.
pub(super) fn is_host(word: &str, known: &Known) -> bool {
    let lower = word.to_lowercase();
    if known.is_host(&lower) {
        return true;
    }
    let mut labels = word.rsplit('.');
    let Some(last) = labels.next() else { return false };
    let is_top =
        last.starts_with("xn--") || last.len() > 1 && last.bytes().all(|byte| byte.is_ascii_alphabetic());
    let is_label = |label: &str| !label.is_empty() && label.len() < 64;
    let rest: Vec<_> = labels.collect();
    is_top
        && !rest.is_empty()
        && rest.iter().all(|label| is_label(label))
        && words::end(word).is_none()
        && !words::is_field(word)
}

/// What stands for a host: `db.example.com` becomes `host-2.host-1.example`, and a Service's name keeps its parts. The last
/// two labels are one name, for somebody owns that.
pub(super) fn replace(host: &str, by: &mut impl Replace) -> String {
    let lower = host.to_lowercase();
    let labels: Vec<_> = lower.split('.').collect();
    if let [name, namespace, "svc", rest @ ..] = labels.as_slice() {
        let mut all = vec![label(name, by), label(namespace, by), "svc".to_owned()];
        match rest {
            [] => {}
            ["cluster", "local"] => all.push("cluster.local".to_owned()),
            rest => all.push(owned(&rest.join("."), by)),
        }
        return all.join(".");
    }
    let (sub, last) = labels.split_at(labels.len().saturating_sub(2));
    let mut all: Vec<_> = sub.iter().map(|name| label(name, by)).collect();
    all.push(owned(&last.join("."), by));
    all.join(".")
}

fn label(name: &str, by: &mut impl Replace) -> String {
    if words::is_public(name) {
        name.to_owned()
    } else {
        by.name(Kind::Host, name)
    }
}

fn owned(name: &str, by: &mut impl Replace) -> String {
    format!("{}.example", by.name(Kind::Host, name))
}
