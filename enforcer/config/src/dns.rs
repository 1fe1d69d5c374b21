//! How host names are resolved, and how they are learned from the answers that workloads receive.

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use enforcer_common::maps;
use ipnet::IpNet;

use super::{
    error::Findings,
    raw::{At, RawDns, RawLearn},
    units,
};

const PORT: u16 = 53;
const MIN_TTL: Duration = Duration::from_secs(5);
const GRACE: Duration = Duration::from_secs(60);
const TIMEOUT: Duration = Duration::from_secs(5);
const DAY: Duration = Duration::from_secs(24 * 3600);
const LEARNED_MIN_TTL: Duration = Duration::from_secs(30);
const LEARNED: u32 = 1024;
/// One host may have this many addresses.
const LEARNED_LEAST: u32 = 128;

/// How host names are resolved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dns {
    /// Resolvers to query; empty: the system's.
    pub servers: Vec<SocketAddr>,
    /// Resolvers whose answers are learned from; empty: those that are queried, and the cluster's.
    pub trusted: Vec<SocketAddr>,
    /// An answer is kept at least this long.
    pub min_ttl: Duration,
    /// An address that has left the answer stays allowed this long.
    pub grace: Duration,
    /// How long one query may take.
    pub timeout: Duration,
    /// Whether every workload may query the resolvers.
    pub allow_resolvers: bool,
    /// What is learned from the answers that workloads receive.
    pub learn: Learn,
}

/// What is learned from the answers that workloads receive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Learn {
    /// Whether anything is learned.
    pub enabled: bool,
    /// An address is kept at least this long, whatever its TTL.
    pub min_ttl: Duration,
    /// The most of its TTL that counts; never less than `min_ttl`.
    pub max_ttl: Duration,
    /// How many addresses one workload may have learned at once.
    pub addresses: u32,
    /// Whether the cluster's own addresses are never learned.
    pub protect_cluster: bool,
    /// Networks whose addresses are never learned either.
    pub protected: Vec<IpNet>,
}

pub(super) fn dns(raw: RawDns, findings: &mut Findings) -> Dns {
    let servers = servers("dns.servers", raw.servers, findings);
    let trusted = self::servers("dns.trustedResolvers", raw.trusted_resolvers, findings);
    Dns {
        servers,
        trusted,
        // Below a second, with a TTL of zero the daemon would query without a pause.
        min_ttl: Time("dns.minTtl", MIN_TTL, Duration::from_secs(1)).read(raw.min_ttl, findings),
        grace: Time("dns.grace", GRACE, Duration::ZERO).read(raw.grace, findings),
        timeout: Time("dns.timeout", TIMEOUT, Duration::from_millis(10)).read(raw.timeout, findings),
        allow_resolvers: raw.allow_resolvers.unwrap_or(true),
        learn: learn(raw.learn.unwrap_or_default(), findings),
    }
}

fn learn(raw: RawLearn, findings: &mut Findings) -> Learn {
    let line = raw.max_ttl.as_ref().and_then(|raw| raw.line);
    let min_ttl = Time("dns.learn.minTtl", LEARNED_MIN_TTL, Duration::ZERO).read(raw.min_ttl, findings);
    let max_ttl = Time("dns.learn.maxTtl", DAY, Duration::ZERO).read(raw.max_ttl, findings);
    if max_ttl < min_ttl {
        let problem = "is shorter than dns.learn.minTtl".to_owned();
        findings.value("dns.learn.maxTtl", line, problem);
    }
    let addresses = |addresses: &u32| match *addresses {
        addresses @ LEARNED_LEAST..=maps::LEARNED_CAPACITY => Ok(addresses),
        addresses => Err(format!(
            "{addresses} is out of range; it is a number from {LEARNED_LEAST} to {}",
            maps::LEARNED_CAPACITY
        )),
    };
    let addresses = raw
        .addresses
        .and_then(|raw| findings.read("dns.learn.addresses", &raw, addresses));
    let protected = raw.protected.unwrap_or_default();
    let protected = protected
        .iter()
        .filter_map(|raw| findings.read("dns.learn.protected", raw, |text| network(text)));
    Learn {
        enabled: raw.enabled.unwrap_or(true),
        min_ttl,
        max_ttl,
        addresses: addresses.unwrap_or(LEARNED),
        protected: protected.collect(),
        protect_cluster: raw.protect_cluster.unwrap_or(true),
    }
}

/// A duration of the configuration: its key, its default, and the least that it may be.
struct Time(&'static str, Duration, Duration);

impl Time {
    fn read(self, raw: Option<At<String>>, findings: &mut Findings) -> Duration {
        let Self(key, default, least) = self;
        let read = |text: &String| match units::duration(text)? {
            time if time < least => Err(format!("{text:?} is too short; at least {}ms", least.as_millis())),
            time if time > DAY => Err(format!("{text:?} is too long; at most 24h")),
            time => Ok(time),
        };
        raw.and_then(|raw| findings.read(key, &raw, read))
            .unwrap_or(default)
    }
}

fn servers(key: &'static str, raw: Option<Vec<At<String>>>, findings: &mut Findings) -> Vec<SocketAddr> {
    let mut servers = Vec::new();
    for raw in raw.unwrap_or_default() {
        let server = findings.read(key, &raw, |text| server(text));
        servers.extend(server.filter(|server| !servers.contains(server)));
    }
    servers
}

/// `IP`, `IP:PORT` or `[IPV6]:PORT`.
fn server(text: &str) -> Result<SocketAddr, String> {
    let address: Result<IpAddr, _> = text.trim_start_matches('[').trim_end_matches(']').parse();
    let server = match (address, text.parse::<SocketAddr>()) {
        (Ok(address), _) => SocketAddr::new(address, PORT),
        (_, Ok(server)) => server,
        _ => return Err(no_server(text)),
    };
    if server.port() == 0 {
        return Err(port_out_of_range(text));
    }
    if server.ip().is_unspecified() || server.ip().is_multicast() {
        return Err(format!("{text:?} is not the address of one resolver"));
    }
    Ok(SocketAddr::new(server.ip().to_canonical(), server.port()))
}

fn no_server(text: &str) -> String {
    match text.rsplit_once(':') {
        Some((address, port))
            if address.trim_matches(['[', ']']).parse::<IpAddr>().is_ok()
                && !port.is_empty()
                && port.bytes().all(|c| c.is_ascii_digit()) =>
        {
            port_out_of_range(text)
        }
        _ => format!("{text:?} is not a resolver; write IP, IP:PORT or [IPv6]:PORT"),
    }
}

fn port_out_of_range(text: &str) -> String {
    format!("the port of {text:?} is out of range; it is a number from 1 to 65535")
}

/// An address, or a network.
fn network(text: &str) -> Result<IpNet, String> {
    let network = text
        .parse::<IpNet>()
        .or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
    let wrong = |_| format!("{text:?} is not a network; write it like 10.0.0.0/8 or 2001:db8::/32");
    network.map(|network| network.trunc()).map_err(wrong)
}
