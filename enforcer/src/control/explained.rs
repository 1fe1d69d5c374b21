//! What `enforcer explain` says of one destination, in its own process or in the daemon. Scripts rely on the names of the
//! fields.

#[cfg(test)]
mod tests;

use std::{collections::BTreeSet, fmt, net::IpAddr};

use enforcer_core::{
    explain::{Explanation, Matched, Target},
    model::{Mode, Protocol, Transport, Verdict, Workload},
    settings::Matching,
};
use serde::{Deserialize, Serialize};

use super::{NameSource, text::Age};

/// A question about a workload that the daemon enforces.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AboutLive {
    /// The workload's namespace.
    pub namespace: String,
    /// Its name; None if the namespace has one workload.
    pub workload: Option<String>,
    /// As [`Target`] is written.
    pub destination: String,
}

/// The verdict on one destination, and what led to it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Explained {
    /// The workload, `namespace/name`.
    pub workload: String,
    /// The host by which an entry would be written; None: by its address.
    pub host: Option<String>,
    /// One for each address; one if none is known.
    pub lines: Vec<Line>,
    /// For scripts.
    pub record: Record,
}

/// What is said of one address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    /// The address of a host.
    pub address: Option<IpAddr>,
    /// `allowed by …` or `denied: …`.
    pub text: String,
    /// What would allow it.
    pub suggestion: Option<String>,
}

/// What scripts get, one of each destination.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// As it was asked for.
    pub destination: String,
    /// Of its addresses' verdicts the strictest.
    pub verdict: Judged,
    /// `enforce`, `audit`, `ALLOW_ANY` or `off`; None where that is not known.
    pub mode: Option<String>,
    /// `declared` or `istio`.
    pub matching: String,
    /// Why, with the addresses that it holds for if it is about a host.
    pub reason: String,
    /// The object that allows it, or the nearest miss.
    pub object: Option<String>,
    /// Every port of an object that allows one of its addresses.
    pub services: Vec<ServicePort>,
    /// What would allow it.
    pub suggestion: Option<String>,
    /// The addresses that the daemon holds; None if it was not asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub addresses: Option<Vec<HeldAddress>>,
}

/// The kernel's verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Judged {
    /// It gets through.
    Allow,
    /// It gets through, and would be refused.
    Audit,
    /// It is refused.
    Deny,
}

/// A port of an object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServicePort {
    /// The object's namespace.
    pub namespace: String,
    /// The object's name.
    pub name: String,
    /// The host, which may be a wildcard.
    pub host: String,
    /// The port that clients dial.
    pub port: u16,
    /// As Istio writes it; None if none is declared.
    pub protocol: Option<String>,
}

/// An address that the daemon holds for what was asked.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HeldAddress {
    /// The address, or a network.
    pub address: String,
    /// How it is known.
    pub source: NameSource,
    /// Seconds since it was last told; None of one that is declared.
    pub age: Option<f64>,
    /// Seconds until it counts no more, negative since it does not; None if it counts until something else is told.
    pub expires: Option<f64>,
}

impl From<Verdict> for Judged {
    fn from(verdict: Verdict) -> Self {
        match verdict {
            Verdict::Allow => Self::Allow,
            Verdict::Audit => Self::Audit,
            Verdict::Deny => Self::Deny,
        }
    }
}

/// What was found of one destination: for each of its addresses, or without one.
pub type Found = Vec<(Option<IpAddr>, Explanation)>;

impl Explained {
    /// Puts together what was found; `destination` is what was typed.
    pub fn new(
        (workload, matching): (&Workload, Matching),
        (destination, target): (&str, &Target),
        found: &Found,
    ) -> Self {
        let is_host = matches!(target, Target::Host(_));
        let lines = found.iter().map(|(address, explanation)| Line {
            address: address.filter(|_| is_host),
            text: explanation.to_string(),
            suggestion: explanation.suggestion.clone(),
        });
        let host = match target {
            Target::Host(named) => Some(named.host.to_string()),
            Target::Address(_) => None,
        };
        Self {
            workload: workload.to_string(),
            host,
            lines: lines.collect(),
            record: record(destination, matching, found, is_host),
        }
    }

    /// What is said of it to a person: a line for each address, and below it what would allow it.
    pub fn text(&self, target: &Target) -> Vec<String> {
        let transport = match target.transport() {
            Transport::Tcp => "tcp",
            Transport::Udp => "udp",
        };
        let to = target.to_string();
        let to = to.rsplit_once('/').map_or(to.as_str(), |(to, _)| to);
        let mut text = Vec::new();
        for line in &self.lines {
            let at = line.address.map(|address| format!(" ({address})"));
            let at = at.unwrap_or_default();
            text.push(format!(
                "{} -> {transport} {to}{at}: {}",
                self.workload, line.text
            ));
            let suggestion = line.suggestion.iter();
            text.extend(suggestion.map(|suggestion| format!("  to allow it: {suggestion}")));
        }
        let held = self.record.addresses.iter().flatten();
        text.extend(held.map(|address| format!("  {address}")));
        text
    }
}

/// `192.0.2.1: learned, 3.0 s old, expires in 57 s`.
impl fmt::Display for HeldAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.address, self.source.word())?;
        if let Some(age) = self.age {
            write!(f, ", {} old", Age(age))?;
        }
        match self.expires {
            None => Ok(()),
            Some(left) if left < 0.0 => f.write_str(", expired"),
            Some(left) => write!(f, ", expires in {}", Age(left)),
        }
    }
}

fn record(destination: &str, matching: Matching, found: &Found, is_host: bool) -> Record {
    let verdict = |explanation: &Explanation| Judged::from(explanation.verdict);
    let strictest = found.iter().map(|(_, explanation)| verdict(explanation)).max();
    let strictest = strictest.unwrap_or(Judged::Deny);
    let decisive = || found.iter().filter(|(_, it)| verdict(it) == strictest);
    let first = decisive().next().map(|(_, explanation)| explanation);
    // What ALLOW_ANY lets through at one address is worth a suggestion, also beside what a rule allows at another.
    let suggestion = decisive().find_map(|(_, explanation)| explanation.suggestion.clone());
    let mut matched: Vec<&Matched> = Vec::new();
    for one in found.iter().flat_map(|(_, explanation)| &explanation.matched) {
        if !matched.contains(&one) {
            matched.push(one);
        }
    }
    Record {
        destination: destination.to_owned(),
        verdict: strictest,
        mode: first.and_then(|it| it.mode).map(|mode| word(mode).to_owned()),
        matching: match matching {
            Matching::Declared => "declared",
            Matching::Istio => "istio",
        }
        .to_owned(),
        reason: reason(decisive(), is_host),
        object: first.and_then(|it| it.why.object()).map(ToString::to_string),
        services: matched.into_iter().map(service_port).collect(),
        suggestion,
        addresses: None,
    }
}

/// Most addresses that one reason names.
const NAMED: usize = 16;

/// The reasons for one verdict, each with the addresses of a host that it is about.
fn reason<'a>(found: impl Iterator<Item = &'a (Option<IpAddr>, Explanation)>, is_host: bool) -> String {
    let mut reasons: Vec<(String, BTreeSet<IpAddr>)> = Vec::new();
    for (address, explanation) in found {
        let is_let_through = explanation.verdict == Verdict::Allow && !explanation.why.is_permission();
        let by = if is_let_through { "ALLOW_ANY: " } else { "" };
        let why = format!("{by}{}", explanation.why);
        let addresses = address.iter().filter(|_| is_host);
        match reasons.iter_mut().find(|(known, _)| *known == why) {
            Some((_, known)) => known.extend(addresses),
            None => reasons.push((why, addresses.copied().collect())),
        }
    }
    let reasons = reasons.iter().map(|(why, addresses)| {
        let mut named: Vec<_> = addresses.iter().take(NAMED).map(ToString::to_string).collect();
        match addresses.len().saturating_sub(NAMED) {
            0 => {}
            more => named.push(format!("{more} more")),
        }
        if named.is_empty() {
            why.clone()
        } else {
            format!("{}: {why}", named.join(", "))
        }
    });
    reasons.collect::<Vec<_>>().join("; ")
}

fn word(mode: Mode) -> &'static str {
    match mode {
        Mode::Enforce => "enforce",
        Mode::Audit => "audit",
        Mode::Observe => "ALLOW_ANY",
        Mode::Off => "off",
    }
}

fn service_port(matched: &Matched) -> ServicePort {
    ServicePort {
        namespace: matched.object.namespace.to_string(),
        name: matched.object.name.clone(),
        host: matched.host.to_string(),
        port: matched.port,
        protocol: protocol(matched.protocol).map(str::to_owned),
    }
}

/// As Istio writes it (`pkg/config/protocol/instance.go`).
fn protocol(protocol: Protocol) -> Option<&'static str> {
    Some(match protocol {
        Protocol::Http => "HTTP",
        Protocol::Http2 => "HTTP2",
        Protocol::Grpc => "GRPC",
        Protocol::GrpcWeb => "GRPC-Web",
        Protocol::HttpProxy => "HTTP_PROXY",
        Protocol::Https => "HTTPS",
        Protocol::Tls => "TLS",
        Protocol::Tcp => "TCP",
        Protocol::Mongo => "Mongo",
        Protocol::Redis => "Redis",
        Protocol::Mysql => "MySQL",
        Protocol::Udp => "UDP",
        Protocol::Auto => return None,
    })
}
