//! The loop: asks what is due, passes replies on, and sends the results to the registry and the log.

use std::{collections::HashMap, net::SocketAddr, sync::Arc, time::Duration};

use anyhow::Context;
use enforcer_core::names::{
    Answer, Cause, Failure, Jitter, Listed, Moment, Names, Notice, Outcome, Query, Reply,
};
use tokio::{
    task::{Id, JoinError, JoinSet},
    time::Instant,
};

use super::{
    Ports, Settings,
    lookup::Servers,
    memory::Memory,
    system::{self, Followed},
};
use crate::counts::{COUNTS, Resolution};

/// How often the system's files are checked while nothing else happens.
const LOOK: Duration = Duration::from_secs(1);

pub(super) struct Task {
    settings: Settings,
    ports: Ports,
    names: Names,
    start: Instant,
    servers: Arc<Servers>,
    /// The system's resolv.conf, unless servers are configured.
    resolv_conf: Option<Followed>,
    /// Whom systemd-resolved asks, unless servers are configured.
    upstreams: Option<Followed>,
    /// The servers that are asked.
    asked: Vec<SocketAddr>,
    hosts_file: Option<Followed>,
    memory: Option<Memory>,
    lookups: JoinSet<Result<Answer, Failure>>,
    on_the_way: HashMap<Id, (Query, Arc<Servers>)>,
}

impl Task {
    pub(super) fn new(mut settings: Settings, ports: Ports) -> anyhow::Result<Self> {
        settings.in_flight = settings.in_flight.max(1);
        // The version is read before the servers, so that no change in between is missed.
        let system = settings.servers.is_empty();
        let resolv_conf = system.then(|| {
            let mut followed = Followed::new(&settings.resolv_conf);
            drop(followed.read_if_changed());
            followed
        });
        let upstreams = system.then(|| {
            let mut followed = Followed::new(&settings.upstreams);
            drop(followed.read_if_changed());
            followed
        });
        let asked = super::resolvers(&settings)?;
        let servers = Arc::new(Servers::new(&asked, &settings)?);
        ports.resolvers.send_replace(super::in_use(&asked, &settings));
        let memory = settings.memory.clone().map(Memory::new);
        let mut names = Names::new(settings.pacing.clone());
        names.remember(memory.as_ref().map(Memory::read).unwrap_or_default());
        Ok(Self {
            hosts_file: settings
                .hosts_file
                .as_deref()
                .filter(|_| system)
                .map(Followed::new),
            names,
            memory,
            start: Instant::now(),
            servers,
            resolv_conf,
            upstreams,
            asked,
            lookups: JoinSet::new(),
            on_the_way: HashMap::new(),
            settings,
            ports,
        })
    }

    pub(super) async fn run(&mut self) -> anyhow::Result<()> {
        self.ports.hosts.mark_changed();
        let mut asks_status = true;
        loop {
            let outcome = self.follow_system();
            self.tell(outcome).await?;
            self.ask();
            if let Some(memory) = &mut self.memory {
                memory.write(|| self.names.memory());
            }
            let wake = self.wake();
            tokio::select! {
                changed = self.ports.hosts.changed() => {
                    changed.context("nobody gives hosts to resolve any more")?;
                    let hosts = self.ports.hosts.borrow_and_update().clone();
                    let outcome = self.names.set_hosts(self.now(), &hosts);
                    self.tell(outcome).await?;
                }
                Some(done) = self.lookups.join_next_with_id() => {
                    let outcome = self.take(done);
                    self.tell(outcome).await?;
                }
                request = self.ports.status.recv(), if asks_status => match request {
                    // If the requester is gone, the status is not needed.
                    Some(reply) => drop(reply.send(self.names.status(self.now()))),
                    None => asks_status = false,
                },
                () = tokio::time::sleep_until(wake) => {
                    let outcome = self.names.expire(self.now());
                    self.tell(outcome).await?;
                }
            }
        }
    }

    /// Writes what is not written yet, for whoever comes after.
    pub(super) fn save(&mut self) {
        if let Some(memory) = &mut self.memory {
            memory.save(|| self.names.memory());
        }
    }

    fn now(&self) -> Moment {
        Moment::new(self.start.elapsed())
    }

    /// When to wake up if nothing happens: at the latest to check the system's files.
    fn wake(&self) -> Instant {
        let next = if self.lookups.len() < self.settings.in_flight {
            self.names.next_wake()
        } else {
            self.names.next_leave()
        };
        let look = Instant::now() + LOOK;
        let next = next.and_then(|moment| self.start.checked_add(moment.since_start()));
        let write = self.memory.as_ref().and_then(Memory::due);
        next.into_iter().chain(write).fold(look, Instant::min)
    }

    fn ask(&mut self) {
        let free = self.settings.in_flight.saturating_sub(self.lookups.len());
        for query in self.names.due(self.now(), free) {
            let lookup = self.lookups.spawn(Arc::clone(&self.servers).ask(query.clone()));
            self.on_the_way
                .insert(lookup.id(), (query, Arc::clone(&self.servers)));
        }
    }

    /// Passes a reply on. A lookup that panicked is a failure of its host, not of the daemon.
    fn take(&mut self, done: Result<(Id, Result<Answer, Failure>), JoinError>) -> Outcome {
        let (id, result) = match done {
            Ok(done) => done,
            Err(error) => (
                error.id(),
                Err(Cause::Other(format!("the lookup broke off: {error}")).into()),
            ),
        };
        let Some((query, asked)) = self.on_the_way.remove(&id) else {
            return Outcome::default();
        };
        COUNTS.resolution(outcome_of(&result)).add(1);
        let (now, again) = (self.now(), query.clone());
        let outcome = self.names.answer(now, Reply { query, result }, jitter());
        // Others can be asked by now.
        if !Arc::ptr_eq(&asked, &self.servers) {
            self.names.retry(now, &again);
        }
        outcome
    }

    /// Checks whether the system's files have changed.
    fn follow_system(&mut self) -> Outcome {
        if let Some(read) = self.resolv_conf.as_mut().and_then(Followed::read_if_changed)
            && let Err(error) = self.change_servers(read)
        {
            let file = self.settings.resolv_conf.display();
            tracing::warn!(
                "cannot use {file}: the previous DNS servers are used until it can be read: {error:#}"
            );
        }
        let upstreams = self.upstreams.as_mut();
        if upstreams.and_then(Followed::read_if_changed).is_some() {
            self.tell_servers();
        }
        let Some(file) = &mut self.hosts_file else {
            return Outcome::default();
        };
        match file.read_if_changed() {
            Some(Ok(text)) => {
                let listed = system::listed(&text);
                self.names.set_listed(self.now(), &listed)
            }
            Some(Err(error)) if error.kind() == std::io::ErrorKind::NotFound => {
                self.names.set_listed(self.now(), &Listed::new())
            }
            Some(Err(error)) => {
                tracing::warn!(
                    "cannot read {} ({error}): the addresses that it had stay allowed until it can be read",
                    file.path().display()
                );
                Outcome::default()
            }
            None => Outcome::default(),
        }
    }

    /// Switches to the servers of a changed resolv.conf. A file that names none is most likely being written.
    fn change_servers(&mut self, read: std::io::Result<String>) -> anyhow::Result<()> {
        let addresses = system::name_servers(&read?);
        anyhow::ensure!(!addresses.is_empty(), "no DNS server is named");
        if self.asked == addresses {
            return Ok(());
        }
        self.servers = Arc::new(Servers::new(&addresses, &self.settings)?);
        tracing::info!(servers = %list(&addresses), "the system has other DNS servers now");
        self.asked = addresses;
        self.tell_servers();
        self.names.retry_failing(self.now());
        Ok(())
    }

    /// Says which servers are in use, if these are others.
    fn tell_servers(&self) {
        let in_use = super::in_use(&self.asked, &self.settings);
        self.ports.resolvers.send_if_modified(|known| {
            let differs = *known != in_use;
            *known = in_use;
            differs
        });
    }

    async fn tell(&mut self, outcome: Outcome) -> anyhow::Result<()> {
        for notice in &outcome.notices {
            log(notice);
        }
        if let Some(memory) = self.memory.as_mut().filter(|_| !outcome.updates.is_empty()) {
            memory.touch();
        }
        for update in outcome.updates {
            self.ports
                .updates
                .send(update)
                .await
                .context("nobody takes resolved addresses any more")?;
        }
        Ok(())
    }
}

/// What became of a question.
fn outcome_of(result: &Result<Answer, Failure>) -> Resolution {
    match result {
        Ok(answer) if answer.addresses.is_empty() => Resolution::Empty,
        Ok(_) => Resolution::Answered,
        Err(Failure { cause, .. }) => match cause {
            Cause::Empty { .. } => Resolution::Empty,
            Cause::NoSuchName { .. } => Resolution::NoSuchName,
            Cause::ServerFailure => Resolution::ServerFailure,
            Cause::Refused => Resolution::Refused,
            Cause::Timeout => Resolution::Timeout,
            Cause::Unusable(_) => Resolution::Unusable,
            Cause::Other(_) => Resolution::Failed,
        },
    }
}

/// A random number that spreads the hosts' questions over time.
fn jitter() -> Jitter {
    let [low, high, ..] = crate::random::number().to_ne_bytes();
    Jitter::new(u16::from_ne_bytes([low, high]))
}

fn list<T: ToString>(items: impl IntoIterator<Item = T>) -> String {
    let items: Vec<_> = items.into_iter().map(|item| item.to_string()).collect();
    items.join(", ")
}

fn log(notice: &Notice) {
    match notice {
        Notice::Failing { host, error, kept: 0 } => tracing::warn!(
            event = "resolution_failed",
            %host,
            reason = %error,
            "{host} does not resolve ({error}): no address of it is known, and until it does only those are allowed that are declared"
        ),
        Notice::Failing { host, error, kept } => tracing::warn!(
            event = "resolution_failed",
            %host,
            reason = %error,
            "{host} does not resolve ({error}): the {kept} addresses that it had last stay allowed"
        ),
        Notice::Recovered { host, after } => tracing::info!(
            event = "resolution_recovered",
            %host,
            "{host} resolves again after {} s",
            after.as_secs()
        ),
        Notice::TooMany { host, left_out } => tracing::warn!(
            event = "addresses_left_out",
            %host,
            "{host} has too many addresses: {left_out} are left out, and connections to them are refused"
        ),
        Notice::Senseless { host, addresses } => tracing::warn!(
            event = "addresses_left_out",
            %host,
            "the answer for {host} has addresses to which nothing can connect; they are left out: {}",
            list(addresses)
        ),
    }
}
