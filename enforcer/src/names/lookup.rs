//! Asks resolvers, one after the other, until one has an answer.
//!
//! Each server has a resolver instance of its own: a resolver with several servers stops at the first SERVFAIL or
//! REFUSED, and spends the whole time on a first server that is dead. Nothing is cached between questions here, and
//! neither search domains nor the hosts file are used.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use anyhow::Context;
use enforcer_core::{
    model::Host,
    names::{Answer, Cause, Failure, Family, Query},
};
use hickory_resolver::{
    TokioResolver,
    config::{ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts},
    net::{DnsError, NetError, runtime::TokioRuntimeProvider},
    proto::{
        op::ResponseCode,
        rr::{Name, RecordType},
    },
};
use tokio::task::JoinSet;

use super::{records, settings::Settings};

/// The servers in the order in which they are asked.
#[derive(Debug)]
pub(super) struct Servers {
    servers: Vec<Server>,
    patience: Duration,
}

#[derive(Clone, Debug)]
struct Server {
    address: SocketAddr,
    resolver: TokioResolver,
    limit: Duration,
}

impl Servers {
    pub(super) fn new(addresses: &[SocketAddr], settings: &Settings) -> anyhow::Result<Self> {
        anyhow::ensure!(!addresses.is_empty(), "there is no DNS server to ask");
        let servers = addresses
            .iter()
            .map(|address| Server::new(*address, settings))
            .collect::<anyhow::Result<_>>()?;
        Ok(Self {
            servers,
            patience: settings.patience,
        })
    }

    /// Asks the first server, and each next one as soon as those before it have failed or are slow. The first
    /// address that is returned ends the lookup; a denial counts once every server before it has failed, as in the C
    /// library.
    pub(super) async fn ask(self: Arc<Self>, query: Query) -> Result<Answer, Failure> {
        let name = question(&query.host)?;
        let mut attempts = JoinSet::new();
        let mut failures: Vec<Option<Failure>> = Vec::new();
        let mut go_on = true;
        loop {
            if go_on && let Some(server) = self.servers.get(failures.len()).cloned() {
                let (name, place) = (name.clone(), failures.len());
                attempts.spawn(async move { (place, server.ask(name, query.family).await) });
                failures.push(None);
            }
            let more = failures.len() < self.servers.len();
            tokio::select! {
                Some(done) = attempts.join_next() => match done {
                    Ok((_, Ok(answer))) => return Ok(answer),
                    Ok((place, Err(failure))) => {
                        go_on = failure.cause.denies().is_none();
                        failures[place] = Some(failure);
                    }
                    Err(error) => return Err(Cause::Other(format!("the lookup broke off: {error}")).into()),
                },
                () = tokio::time::sleep(self.patience), if more => go_on = true,
            }
            if let Some(failure) = wait_for_answers(&failures, self.servers.len()) {
                return Err(failure.clone());
            }
        }
    }
}

/// The failure that counts, once no other server can change it: the first denial with no unfinished server before it
/// or, when all of `servers` have failed, the most specific failure.
fn wait_for_answers(failures: &[Option<Failure>], servers: usize) -> Option<&Failure> {
    for failure in failures {
        match failure {
            None => return None,
            Some(failure) if failure.cause.denies().is_some() => return Some(failure),
            Some(_) => {}
        }
    }
    if failures.len() < servers {
        return None;
    }
    let all = || failures.iter().flatten();
    all()
        .find(|failure| failure.cause != Cause::Timeout)
        .or_else(|| all().next())
}

/// The name to ask for: fully qualified, so that no search domain is tried.
fn question(host: &Host) -> Result<Name, Failure> {
    let mut name = Name::from_str_relaxed(host.as_str())
        .map_err(|error| Cause::Other(format!("not a name that DNS can ask for: {error}")))?;
    name.set_fqdn(true);
    Ok(name)
}

impl Server {
    fn new(address: SocketAddr, settings: &Settings) -> anyhow::Result<Self> {
        let mut connections = vec![ConnectionConfig::udp(), ConnectionConfig::tcp()];
        for connection in &mut connections {
            connection.port = address.port();
        }
        let server = NameServerConfig::new(address.ip(), true, connections);
        let mut options = ResolverOpts::default();
        options.timeout = settings.timeout;
        options.attempts = 0;
        options.cache_size = 0;
        options.edns0 = true;
        options.use_hosts_file = ResolveHosts::Never;
        options.max_active_requests = settings.in_flight;
        let config = ResolverConfig::from_name_servers(vec![server]);
        let resolver = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default())
            .with_options(options)
            .build()
            .with_context(|| format!("preparing to ask the DNS server {address}"))?;
        Ok(Self {
            address,
            resolver,
            // An alias that leads elsewhere requires a second question.
            limit: settings.timeout * 2,
        })
    }

    async fn ask(self, name: Name, family: Family) -> Result<Answer, Failure> {
        let records = match family {
            Family::V4 => RecordType::A,
            Family::V6 => RecordType::AAAA,
        };
        let lookup = tokio::time::timeout(self.limit, self.resolver.lookup(name.clone(), records)).await;
        let result = match lookup {
            Ok(Ok(found)) => {
                records::addresses(&name, found.answers(), family).ok_or(Cause::Empty { ttl: None })
            }
            Ok(Err(error)) => Err(cause(&error)),
            Err(_) => Err(Cause::Timeout),
        };
        result.map_err(|cause| Failure {
            cause,
            server: Some(self.address),
        })
    }
}

fn cause(error: &NetError) -> Cause {
    match error {
        NetError::Timeout => Cause::Timeout,
        NetError::Dns(DnsError::ResponseCode(ResponseCode::Refused)) => Cause::Refused,
        NetError::Dns(DnsError::ResponseCode(ResponseCode::ServFail)) => Cause::ServerFailure,
        NetError::Dns(DnsError::ResponseCode(code)) => Cause::Other(format!("the server says: {code}")),
        NetError::Dns(DnsError::NoRecordsFound(none)) => {
            let ttl = none.negative_ttl.map(|ttl| Duration::from_secs(ttl.into()));
            match none.response_code {
                ResponseCode::NXDomain => Cause::NoSuchName { ttl },
                // A referral to another server's zone: this server does not know, which does not mean that there is
                // no address.
                ResponseCode::NoError if none.ns.is_some() && none.soa.is_none() => {
                    Cause::Other("the server only refers to others".to_owned())
                }
                ResponseCode::NoError => Cause::Empty { ttl },
                code => Cause::Other(format!("the server says: {code}")),
            }
        }
        other => Cause::Other(other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failed(cause: Cause) -> Option<Failure> {
        Some(cause.into())
    }

    #[track_caller]
    fn check(failures: &[Option<Failure>], servers: usize, expected: Option<Cause>) {
        let wait_for_answers = wait_for_answers(failures, servers).map(|failure| failure.cause.clone());
        assert_eq!(wait_for_answers, expected, "{failures:?} of {servers}");
    }

    #[test]
    fn denial_counts_once_every_server_before_it_has_failed() {
        let denial = Cause::NoSuchName { ttl: None };
        check(&[failed(denial.clone())], 2, Some(denial.clone()));
        check(&[None, failed(denial.clone())], 2, None);
        check(
            &[failed(Cause::Timeout), failed(denial.clone()), None],
            3,
            Some(denial),
        );
    }

    #[test]
    fn failures_of_all_servers_are_told_by_the_one_that_says_most() {
        check(&[failed(Cause::Timeout)], 2, None);
        check(
            &[failed(Cause::Timeout), failed(Cause::Refused)],
            2,
            Some(Cause::Refused),
        );
        check(
            &[failed(Cause::Timeout), failed(Cause::Timeout)],
            2,
            Some(Cause::Timeout),
        );
    }

    #[test]
    fn question_is_complete_and_names_with_underscores_can_be_asked() {
        for (host, asked) in [
            ("db.example.com", "db.example.com."),
            ("_db.a_b.test", "_db.a_b.test."),
            ("db", "db."),
        ] {
            assert_eq!(question(&Host::new(host)).unwrap().to_string(), asked);
        }
        let long = format!("{}.test", "a".repeat(64));
        for host in ["a..b", long.as_str()] {
            assert!(question(&Host::new(host)).is_err(), "{host}");
        }
    }
}
