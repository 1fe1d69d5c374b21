//! Goes through a text, and has names, hosts, addresses, paths and identifiers replaced.

use std::net::{IpAddr, Ipv6Addr};

use super::{
    host,
    known::{Known, is_name, is_word},
    placeholders::{Kind, Replace},
    words,
};

/// A digest, or the identifier of a container.
const DIGEST: usize = 32;

/// The text with everything replaced by what `by` says.
pub(super) fn scan(text: &str, known: &Known, by: &mut impl Replace) -> String {
    let mut scanner = Scanner {
        rest: text,
        before: None,
        out: String::with_capacity(text.len()),
        known,
        by,
    };
    while !scanner.rest.is_empty() {
        if !scanner.replaced() {
            scanner.keep(1);
        }
    }
    scanner.out
}

struct Scanner<'a, R> {
    rest: &'a str,
    /// The character before the rest.
    before: Option<char>,
    out: String,
    known: &'a Known,
    by: &'a mut R,
}

impl<'a, R: Replace> Scanner<'a, R> {
    /// Replaces what begins here, if something does.
    fn replaced(&mut self) -> bool {
        let is_inside = self.before.is_some_and(is_word);
        if is_inside {
            return false;
        }
        self.address() || self.path() || self.identifier() || self.host() || self.name() || self.pair()
    }

    /// Passes over so many characters, and to the end of a word.
    fn keep(&mut self, characters: usize) {
        let mut end = self
            .rest
            .char_indices()
            .nth(characters)
            .map_or(self.rest.len(), |(at, _)| at);
        if self.rest[..end].ends_with(is_word) {
            let more = self.rest[end..].find(|c| !is_word(c));
            end = more.map_or(self.rest.len(), |more| end + more);
        }
        let kept = self.take(end);
        self.out.push_str(kept);
    }

    fn take(&mut self, bytes: usize) -> &'a str {
        let (taken, rest) = self.rest.split_at(bytes);
        self.before = taken.chars().next_back().or(self.before);
        self.rest = rest;
        taken
    }

    fn put(&mut self, bytes: usize, instead: &str) -> bool {
        self.take(bytes);
        self.out.push_str(instead);
        true
    }

    /// The characters from here on of which something holds.
    fn run(&self, is: impl Fn(char) -> bool) -> &'a str {
        let end = self.rest.find(|c| !is(c)).unwrap_or(self.rest.len());
        &self.rest[..end]
    }

    fn address(&mut self) -> bool {
        let run = self.run(|c| c.is_ascii_hexdigit() || matches!(c, ':' | '.'));
        if !run.contains(['.', ':']) {
            return false;
        }
        let Some((length, address)) = parse(run) else {
            return false;
        };
        let next = self.rest[length..].chars();
        // `192.0.2.1.example.com` is a name.
        let mut after = next.clone().skip_while(|c| *c == '.');
        let is_name = match next.clone().next() {
            Some('.') => after.next().is_some_and(is_word),
            Some(c) => is_word(c) || c == '-' && address.is_ipv4() && self.before == Some('-'),
            None => false,
        };
        if is_name {
            return false;
        }
        if is_everybodys(address) {
            self.out.push_str(&self.rest[..length]);
            self.take(length);
            return true;
        }
        let instead = match address {
            IpAddr::V6(mapped) if mapped.to_ipv4_mapped().is_some() => {
                let inner = self.by.address(mapped.to_canonical());
                format!("::ffff:{inner}")
            }
            address => self.by.address(address).to_string(),
        };
        self.put(length, &instead)
    }

    /// An absolute path: its parts, but for those that every machine has.
    fn path(&mut self) -> bool {
        // `unix:///run/app.sock`
        if self.rest.starts_with("///") {
            let slashes = self.take("//".len());
            self.out.push_str(slashes);
            self.before = None;
        }
        let begins = self
            .before
            .is_none_or(|c| !is_name(c) && !matches!(c, '/' | '*' | '~' | ')' | ']' | '}'));
        let run = self.run(|c| is_name(c) || matches!(c, '/' | '@' | ':' | '+'));
        if !begins || !run.starts_with('/') || run.starts_with("//") || run.len() < 2 {
            return false;
        }
        let length = run.trim_end_matches([':', '.']).len();
        let mut parts = Vec::new();
        for part in run[..length].split('/') {
            let (part, line) = match part.split_once(':') {
                Some((part, line)) => (part, format!(":{line}")),
                None => (part, String::new()),
            };
            parts.push(self.part(part) + &line);
        }
        self.put(length, &parts.join("/"))
    }

    fn part(&mut self, part: &str) -> String {
        let end = words::end(part).unwrap_or_default();
        let stem = &part[..part.len() - end.len()];
        if stem.is_empty() || words::is_part(part) || words::is_part(stem) {
            return part.to_owned();
        }
        let is_made = [
            "kubepods-",
            "cri-containerd-",
            "crio-",
            "docker-",
            "user-",
            "session-",
            "pod",
            "v8-",
            "v9-",
        ];
        let lower = stem.to_lowercase();
        let replaced = match self.known.kind(&lower) {
            Some(kind) => self.by.name(kind, &lower),
            None if is_made.iter().any(|start| stem.starts_with(start)) || is_digest(stem) => {
                scan(stem, self.known, self.by)
            }
            None => self.by.name(Kind::Path, &lower),
        };
        replaced + end
    }

    /// The UID of an object, also as cgroups are named after it, or a digest.
    fn identifier(&mut self) -> bool {
        let run = self.run(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_'));
        let start = if run.starts_with("pod") { "pod".len() } else { 0 };
        if let Some(uid) = run.get(start..start + 36).filter(|uid| is_uid(uid)) {
            let instead = self.by.name(Kind::Id, &uid.to_lowercase().replace('_', "-"));
            let instead = format!("{}{instead}", &run[..start]);
            return self.put(start + 36, &instead);
        }
        let word = self.run(is_word);
        if is_digest(word) {
            let instead = self.by.name(Kind::Id, &word.to_lowercase());
            return self.put(word.len(), &instead);
        }
        false
    }

    fn host(&mut self) -> bool {
        // What follows `*.` is the rest of a host.
        if self.before.is_some_and(is_name) && !self.out.ends_with("*.") {
            return false;
        }
        let word = self.run(is_name).trim_end_matches(['.', '-', '_']);
        if !word.contains('.') || !host::is_host(word, self.known) {
            return false;
        }
        if words::is_group(word) && self.rest[word.len()..].starts_with('/') {
            let kept = self.take(word.len());
            self.out.push_str(kept);
            // What follows is a word of that group: `istio.io/rev`.
            self.keep(2);
            return true;
        }
        let instead = host::replace(word, self.by);
        self.put(word.len(), &instead)
    }

    fn name(&mut self) -> bool {
        let lower = self.rest.to_lowercase_prefix();
        let Some((name, kind)) = self.known.at(&lower) else {
            return false;
        };
        let length = name.len();
        // Lower case may have another length in bytes, where the rest is another text.
        if !self.rest.is_char_boundary(length) || self.rest[..length].to_lowercase() != name {
            return false;
        }
        let name = name.to_owned();
        let instead = self.by.name(kind, &name);
        self.put(length, &instead)
    }

    /// `namespace/name` that stands nowhere else.
    fn pair(&mut self) -> bool {
        if self.before.is_some_and(|c| is_name(c) || c == '/') {
            return false;
        }
        let run = self.run(|c| is_name(c) || c == '/');
        let run = run.trim_end_matches(['.', '/', '-']);
        let Some((namespace, name)) = run.split_once('/') else {
            return false;
        };
        let is_label = |part: &str| {
            part.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit())
                && part.bytes().all(|byte| {
                    byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'.')
                })
        };
        let is_word = |part: &str| words::is_public(part) || words::is_group(part);
        if !is_label(namespace) || !is_label(name) || is_word(namespace) && is_word(name) {
            return false;
        }
        let mut replace = |part: &str, kind| match part {
            part if is_word(part) => part.to_owned(),
            part => self.by.name(self.known.kind(part).unwrap_or(kind), part),
        };
        let instead = format!(
            "{}/{}",
            replace(namespace, Kind::Namespace),
            replace(name, Kind::Object)
        );
        self.put(run.len(), &instead)
    }
}

trait LowercasePrefix {
    fn to_lowercase_prefix(&self) -> String;
}

impl LowercasePrefix for str {
    /// As much of it as a name can be long.
    fn to_lowercase_prefix(&self) -> String {
        let end = self.floor_char_boundary(256);
        self[..end].to_lowercase()
    }
}

/// The address that begins a run of its characters, and its length.
fn parse(run: &str) -> Option<(usize, IpAddr)> {
    let mut candidate = run;
    loop {
        candidate = candidate.trim_end_matches('.');
        if let Ok(address) = candidate.parse::<IpAddr>() {
            return Some((candidate.len(), address));
        }
        // `192.0.2.1:443`, or `2001:db8::1:` at the end of a sentence.
        let at = candidate.rfind(':')?;
        let one_less = &candidate[..at];
        if candidate.ends_with(':') && candidate.len() > 1 {
            if let Ok(address) = candidate[..at].parse::<IpAddr>() {
                return Some((at, address));
            }
        } else if let Ok(IpAddr::V4(address)) = one_less.parse::<IpAddr>() {
            return Some((at, address.into()));
        }
        candidate = one_less;
        if candidate.is_empty() || candidate.parse::<Ipv6Addr>().is_ok() && !candidate.contains("::") {
            return None;
        }
    }
}

/// Loopback and what is unspecified: they say nothing, and everything depends on them.
pub(super) fn is_everybodys(address: IpAddr) -> bool {
    let address = address.to_canonical();
    address.is_loopback() || address.is_unspecified()
}

fn is_uid(word: &str) -> bool {
    word.char_indices().all(|(at, c)| match at {
        8 | 13 | 18 | 23 => matches!(c, '-' | '_'),
        _ => c.is_ascii_hexdigit(),
    })
}

fn is_digest(word: &str) -> bool {
    word.len() >= DIGEST && word.bytes().all(|byte| byte.is_ascii_hexdigit())
}
