//! Takes secrets out of every file, whether names are replaced or not.
//!
//! Three ways, each sufficient: values that are known (the page's token, the account's, those of a kubeconfig), what stands
//! below a key that sounds like one, and what looks like one wherever it stands.

use std::fs;

use serde_json::Value;

use super::{Files, Places};
use crate::state;

/// What takes a secret's place.
const INSTEAD: &str = "(secret)";

/// The account of a pod.
const ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount/token";

/// Parts of keys below which secrets stand, in lower case and without `-` and `_`.
const KEYS: [&str; 12] = [
    "token",
    "password",
    "passwd",
    "passphrase",
    "secret",
    "credential",
    "privatekey",
    "clientkey",
    "apikey",
    "accesskey",
    "authorization",
    "cookie",
];

/// A shorter one would be found in words.
const SHORTEST: usize = 6;

/// A run of so many characters of base64, with all kinds of them, is taken for a key.
const RUN: usize = 40;

/// What stands before a token in a header.
const BEARER: &[u8] = b"bearer ";

/// The secrets that this machine is known to have, the longest first.
pub(super) fn known(places: &Places) -> Vec<String> {
    let config = places.parsed.as_ref();
    let of_page = config.and_then(|config| config.ui.as_ref()?.token_file.clone());
    let files = [
        Some(places.state.join(state::TOKEN)),
        of_page,
        Some(ACCOUNT.into()),
    ];
    let mut known: Vec<_> = files
        .into_iter()
        .flatten()
        .filter_map(|file| fs::read_to_string(file).ok())
        .collect();
    let kubeconfig = config.and_then(|config| config.kubernetes.as_ref()?.kubeconfig.as_ref());
    if let Some(text) = kubeconfig.and_then(|file| fs::read_to_string(file).ok())
        && let Ok(value) = serde_yaml::from_str::<Value>(&text)
    {
        let users = value["users"].as_array().into_iter().flatten();
        users.for_each(|user| strings(&user["user"], &mut known));
    }
    let mut known: Vec<_> = known.iter().map(|secret| secret.trim().to_owned()).collect();
    known.retain(|secret| secret.len() >= SHORTEST);
    known.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
    known
}

fn strings(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::String(text) => found.push(text.clone()),
        Value::Array(values) => values.iter().for_each(|value| strings(value, found)),
        Value::Object(fields) => fields.values().for_each(|value| strings(value, found)),
        _ => {}
    }
}

/// Replaces them in every file.
pub(super) fn replace(files: &mut Files, known: &[String]) {
    files.map(|key, text| {
        if key.is_some_and(is_secret) && !text.is_empty() {
            return INSTEAD.to_owned();
        }
        let mut text = text.to_owned();
        for secret in known {
            text = text.replace(secret, INSTEAD);
        }
        if key.is_none() {
            text = below_keys(&text);
        }
        looks(&text)
    });
}

/// Whether a secret stands below a key. One that ends in `File` has the file's name.
fn is_secret(key: &str) -> bool {
    let plain: String = key.chars().filter(char::is_ascii_alphanumeric).collect();
    let plain = plain.to_ascii_lowercase();
    !plain.ends_with("file") && KEYS.iter().any(|word| plain.contains(word))
}

/// In text of lines `key: value`, also where the value is a block of lines further in.
fn below_keys(text: &str) -> String {
    let mut lines = Vec::new();
    let mut below: Option<usize> = None;
    for line in text.lines() {
        // The dash of a list counts as an indent.
        let bare = line.trim_start_matches([' ', '-', '\t']);
        let depth = line.len() - bare.len();
        if below.is_some_and(|at| depth > at && !bare.is_empty()) {
            continue;
        }
        below = None;
        match secret_key(line) {
            Some(end) => {
                below = Some(depth);
                lines.push(format!("{}: {INSTEAD}", &line[..end]));
            }
            None => lines.push(line.to_owned()),
        }
    }
    let end = if text.ends_with('\n') { "\n" } else { "" };
    lines.join("\n") + end
}

/// Where the first key of a line ends below which a secret stands, also in a comment.
fn secret_key(line: &str) -> Option<usize> {
    let is_key = |end: usize| {
        let bare = line[..end].trim_end_matches(['"', '\'']);
        let mut words = bare.rsplit(|c: char| !c.is_ascii_alphanumeric() && !matches!(c, '-' | '_'));
        words.next().is_some_and(is_secret)
    };
    let has_value = |end: usize| {
        let value = &line[end + 1..];
        value.is_empty() || value.starts_with([' ', '\t', '"', '\''])
    };
    let mut ends = line.match_indices(':').map(|(end, _)| end);
    ends.find(|end| is_key(*end) && has_value(*end))
}

/// Replaces what looks like a secret: blocks of PEM, tokens, keys, and users in addresses of the web.
fn looks(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while !rest.is_empty() {
        if rest.starts_with("-----BEGIN ") {
            let end = rest.find("-----END ").and_then(|at| {
                let label = at + "-----END ".len();
                Some(label + rest[label..].find("-----")? + "-----".len())
            });
            out.push_str(INSTEAD);
            // One that is cut short is a secret to its end.
            rest = &rest[end.unwrap_or(rest.len())..];
            continue;
        }
        if let Some(after) = rest.strip_prefix("://") {
            out.push_str("://");
            rest = after;
            let end = after
                .find(|c: char| c.is_whitespace() || matches!(c, '/' | '"' | '\''))
                .unwrap_or(after.len());
            if let Some(at) = after[..end].rfind('@') {
                out.push_str(INSTEAD);
                rest = &after[at..];
            }
            continue;
        }
        let run = rest.find(|c| !is_base64(c)).unwrap_or(rest.len());
        if run == 0 {
            let next = rest.chars().next().map_or(1, char::len_utf8);
            out.push_str(&rest[..next]);
            rest = &rest[next..];
            continue;
        }
        let word = &rest[..run];
        if let Some((key, value)) = word.split_once('=')
            && !value.trim_matches('=').is_empty()
        {
            out.push_str(&rest[..=key.len()]);
            rest = &rest[key.len() + 1..];
            if is_secret(key) {
                out.push_str(INSTEAD);
                rest = &rest[value.len()..];
            }
            continue;
        }
        let before = out.as_bytes();
        let is_bearers = before.len() >= BEARER.len()
            && before[before.len() - BEARER.len()..].eq_ignore_ascii_case(BEARER);
        // Tokens have several parts.
        let is_token = is_bearers || word.starts_with("eyJ") && run > RUN / 4;
        out.push_str(if is_token || looks_like_key(word) {
            INSTEAD
        } else {
            word
        });
        rest = &rest[run..];
        if is_token {
            let more = rest.find(|c: char| c != '.' && !is_base64(c));
            rest = &rest[more.unwrap_or(rest.len())..];
        }
    }
    out
}

fn is_base64(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '+' | '/' | '=' | '-' | '_')
}

fn looks_like_key(word: &str) -> bool {
    let has = |is: fn(&u8) -> bool| word.as_bytes().iter().any(is);
    let is_long = word.len() >= RUN
        && has(u8::is_ascii_uppercase)
        && has(u8::is_ascii_lowercase)
        && has(u8::is_ascii_digit)
        && !word.starts_with('/');
    let is_cloud = word.len() == 20 && (word.starts_with("AKIA") || word.starts_with("ASIA"));
    is_long || is_cloud
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[track_caller]
    fn check(text: &str, expected: &str) {
        assert_eq!(looks(&below_keys(text)), expected);
    }

    #[test]
    fn what_stands_below_a_key_of_secrets_goes_and_its_neighbours_stay() {
        check("a: 1\ntoken: abc\nb: 2\n", "a: 1\ntoken: (secret)\nb: 2\n");
        check(
            "users:\n- client-key-data: QQ==\n  name: u\n",
            "users:\n- client-key-data: (secret)\n  name: u\n",
        );
        check("password: |\n  a\n  b\nc: d", "password: (secret)\nc: d");
        check("ui: {tokenFile: /etc/t}", "ui: {tokenFile: /etc/t}");
        check("# by hand; token: abc\nb: 1", "# by hand; token: (secret)\nb: 1");
        check(r#"{"token":"abc"}"#, r#"{"token": (secret)"#);
        check("GET /?api_key=abc", "GET /?api_key=(secret)");
    }

    #[test]
    fn what_looks_like_a_secret_goes_wherever_it_stands() {
        check(
            "x -----BEGIN RSA PRIVATE KEY-----\nabc\n-----END RSA PRIVATE KEY----- y",
            "x (secret) y",
        );
        check("-----BEGIN PRIVATE KEY-----\nabc", "(secret)");
        check(
            "Authorization is Bearer abcdef now",
            "Authorization is Bearer (secret) now",
        );
        check(
            "jwt eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJrdWJl.c2ln end",
            "jwt (secret) end",
        );
        check("https://user:pass@host/x", "https://(secret)@host/x");
        check(&format!("key {}A1b2 end", "Zz09".repeat(10)), "key (secret) end");
        check("a=eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJr.c2ln&b=1", "a=(secret)&b=1");
        check("AKIAIOSFODNN7EXAMPLE", "(secret)");
    }

    #[test]
    fn identifiers_that_are_no_secrets_stay() {
        for text in [
            "/kubepods.slice/kubepods-besteffort.slice/cri-containerd-0123456789abcdef0123456789abcdef0123456789abcdef.scope",
            "12345678-1234-1234-1234-123456789012",
            "SyncLoop: connect4 at /a.slice: restored",
            "2023-11-14T22:13:20Z",
        ] {
            check(text, text);
        }
    }

    #[test]
    fn known_values_go_from_every_file() {
        let mut files = Files::default();
        files.text("a.txt", "it is hunter22 here");
        files.json(
            "b.json",
            json!({ "deep": [{ "x": "hunter22" }], "apiToken": "short", "tokens": 3 }),
        );
        replace(&mut files, &["hunter22".to_owned()]);
        let rendered = files.render();
        for bytes in rendered.values() {
            let text = String::from_utf8_lossy(bytes);
            assert!(!text.contains("hunter22") && !text.contains("short"), "{text}");
        }
    }
}
