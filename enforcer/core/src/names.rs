//! What is known of each host's addresses, and when to ask for them again.
//!
//! ```text
//! hosts wanted -> due -> queries -> (resolvers) -> answer -> registry::Update::Resolved
//!                                                  expire -> (an address's grace has ended)
//! ```
//!
//! It sends nothing, waits for nothing, reads no clock and draws no random number: its owner does, and tells it.
//!
//! **Architecture Invariant:** a failure, of whatever kind, never takes an address away. Only a newer good answer
//! without it does, and only after the grace. A family that has never answered is absent, not empty.

mod answer;
mod host;
mod pacing;
mod status;
mod time;

#[cfg(test)]
mod laws;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    time::Duration,
};

use crate::{model::Host, registry::Update};

use host::{Entry, Good};

pub use answer::{Answer, Cause, Failure, Family, Query, Reply};
pub use pacing::Pacing;
pub use status::{FailingStatus, HostStatus, Notice};
pub use time::{Jitter, Moment};

/// The addresses of the hosts file, by host.
pub type Listed = BTreeMap<Host, BTreeSet<IpAddr>>;

/// What a step brought about.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// [`Update::Resolved`] for each host whose addresses are others now.
    pub updates: Vec<Update>,
    /// What an operator should hear of.
    pub notices: Vec<Notice>,
}

impl Outcome {
    fn add(&mut self, other: Self) {
        self.updates.extend(other.updates);
        self.notices.extend(other.notices);
    }
}

/// All hosts that are wanted, with what is known of them.
#[derive(Debug, Default)]
pub struct Names {
    pacing: Pacing,
    hosts: BTreeMap<Host, Entry>,
    listed: Listed,
    /// What was known before this start, of hosts that have not been wanted since.
    remembered: Listed,
    /// Every query that is not on its way, by when it is due.
    schedule: BTreeSet<(Moment, Query)>,
    /// Every host with addresses in their grace, by when the first grace ends.
    leaving: BTreeSet<(Moment, Host)>,
}

impl Names {
    /// No hosts yet.
    pub fn new(pacing: Pacing) -> Self {
        Self {
            pacing,
            ..Self::default()
        }
    }

    /// Takes what was known at the end of an earlier run: it counts as each host's last good answer until there is
    /// one, so that a start without resolvers takes nothing away. Before the first [`Names::set_hosts`].
    pub fn remember(&mut self, remembered: Listed) {
        self.remembered = remembered;
    }

    /// What is known now, for [`Names::remember`] of the next run.
    pub fn memory(&self) -> Listed {
        let known = self
            .hosts
            .iter()
            .map(|(host, entry)| (host.clone(), entry.addresses()));
        known.filter(|(_, addresses)| !addresses.is_empty()).collect()
    }

    /// Takes `hosts` as all that are wanted. Hosts no longer among them are forgotten: who wanted them has
    /// dropped their addresses. New ones are due at once, before those that were asked before. A wildcard stands
    /// for names nobody can list, and an address needs no resolver: neither is asked for.
    pub fn set_hosts(&mut self, now: Moment, hosts: &BTreeSet<Host>) -> Outcome {
        let gone: Vec<_> = self
            .hosts
            .keys()
            .filter(|host| !hosts.contains(*host))
            .cloned()
            .collect();
        for host in gone {
            self.forget(host);
        }
        let mut outcome = Outcome::default();
        for host in hosts {
            if self.hosts.contains_key(host) || host.is_wildcard() || host.as_str().parse::<IpAddr>().is_ok()
            {
                continue;
            }
            self.hosts.insert(host.clone(), Entry::default());
            for family in [Family::V4, Family::V6] {
                self.reschedule(host, family, Moment::START);
            }
            let listed = self.listed.get(host).cloned().unwrap_or_default();
            let remembered = self.remembered.remove(host).unwrap_or_default();
            outcome.add(self.amend(now, host, |entry| {
                entry.remember(remembered);
                entry.list(listed, now);
            }));
        }
        outcome
    }

    /// Takes `listed` as all that the hosts file says. It adds to what resolvers say, and what is no longer in it
    /// leaves after the grace.
    pub fn set_listed(&mut self, now: Moment, listed: &Listed) -> Outcome {
        self.listed = listed
            .iter()
            .map(|(host, given)| {
                (
                    host.clone(),
                    answer::sort(given, self.pacing.most_addresses).usable,
                )
            })
            .collect();
        let leave = now.after(self.pacing.grace);
        let mut outcome = Outcome::default();
        for host in self.hosts.keys().cloned().collect::<Vec<_>>() {
            let listed = self.listed.get(&host).cloned().unwrap_or_default();
            if self.hosts[&host].listed != listed {
                outcome.add(self.amend(now, &host, |entry| entry.list(listed, leave)));
            }
        }
        outcome
    }

    /// At most `limit` queries whose time has come, the longest due first. Each is on its way then, and not due
    /// again before [`Names::answer`] has had its reply.
    pub fn due(&mut self, now: Moment, limit: usize) -> Vec<Query> {
        let mut due = Vec::new();
        while due.len() < limit && self.schedule.first().is_some_and(|(moment, _)| *moment <= now) {
            let Some((_, query)) = self.schedule.pop_first() else {
                break;
            };
            if let Some(entry) = self.hosts.get_mut(&query.host) {
                entry.records_mut(query.family).due = None;
            }
            due.push(query);
        }
        due
    }

    /// Takes the reply to a query, and decides when to ask again. A reply for a host that is no longer wanted
    /// changes nothing.
    pub fn answer(&mut self, now: Moment, reply: Reply, jitter: Jitter) -> Outcome {
        let Reply { query, result } = reply;
        let mut outcome = Outcome::default();
        if !self.hosts.contains_key(&query.host) {
            return outcome;
        }
        let leave = now.after(self.pacing.grace);
        match self.accept(now, result) {
            Ok(good) => {
                outcome.notices = self.left_out(&query, &good);
                outcome.add(self.amend(now, &query.host, |entry| entry.learn(query.family, good, leave)));
            }
            Err(failure) => outcome.add(self.amend(now, &query.host, |entry| {
                entry.records_mut(query.family).fail(now, failure);
            })),
        }
        let again = now.after(self.pause(&query, jitter));
        self.reschedule(&query.host, query.family, again);
        outcome
    }

    /// Lets go of the addresses whose grace has ended.
    pub fn expire(&mut self, now: Moment) -> Outcome {
        let mut outcome = Outcome::default();
        while let Some((_, host)) = self.leaving.first().filter(|(end, _)| *end <= now).cloned() {
            outcome.add(self.amend(now, &host, |_| ()));
        }
        outcome
    }

    /// When [`Names::due`] or [`Names::expire`] next has something to do; none if only a reply or a new host can
    /// change anything.
    pub fn next_wake(&self) -> Option<Moment> {
        let due = self.schedule.first().map(|(moment, _)| *moment);
        due.into_iter().chain(self.next_leave()).min()
    }

    /// When [`Names::expire`] next has something to do: for whoever cannot ask now anyway.
    pub fn next_leave(&self) -> Option<Moment> {
        self.leaving.first().map(|(moment, _)| *moment)
    }

    /// Makes what fails due at once: the resolvers are others now.
    pub fn retry_failing(&mut self, now: Moment) {
        let mut failing = Vec::new();
        for (host, entry) in &self.hosts {
            for family in [Family::V4, Family::V6] {
                let records = entry.records(family);
                if records.failing.is_some() && records.due.is_some() {
                    failing.push((host.clone(), family));
                }
            }
        }
        for (host, family) in failing {
            self.reschedule(&host, family, now);
        }
    }

    /// What is known, host by host.
    pub fn status(&self, now: Moment) -> Vec<HostStatus> {
        self.hosts
            .iter()
            .map(|(host, entry)| HostStatus::of(host, entry, now))
            .collect()
    }

    /// Turns a result into a good answer, if it is one.
    fn accept(&self, now: Moment, result: Result<Answer, Failure>) -> Result<Good, Failure> {
        let answer = result?;
        if answer.addresses.is_empty() {
            return Err(Cause::Empty {
                ttl: Some(answer.ttl),
            }
            .into());
        }
        let sorted = answer::sort(&answer.addresses, self.pacing.most_addresses);
        if let Some(address) = sorted.senseless.first()
            && sorted.senseless.len() == answer.addresses.len()
        {
            return Err(Cause::Unusable(*address).into());
        }
        Ok(Good {
            addresses: sorted.usable,
            senseless: sorted.senseless,
            left_out: sorted.left_out,
            ttl: answer.ttl,
            at: now,
        })
    }

    /// What is left out of an answer, unless the answer before it left out the same.
    fn left_out(&self, query: &Query, good: &Good) -> Vec<Notice> {
        let last = self.hosts[&query.host].records(query.family).good.as_ref();
        let mut notices = Vec::new();
        if good.left_out > 0 && last.is_none_or(|last| last.left_out == 0) {
            notices.push(Notice::TooMany {
                host: query.host.clone(),
                left_out: good.left_out,
            });
        }
        if !good.senseless.is_empty() && last.is_none_or(|last| last.senseless != good.senseless) {
            notices.push(Notice::Senseless {
                host: query.host.clone(),
                addresses: good.senseless.clone(),
            });
        }
        notices
    }

    fn pause(&self, query: &Query, jitter: Jitter) -> Duration {
        let entry = &self.hosts[&query.host];
        let records = entry.records(query.family);
        match (&records.failing, &records.good) {
            (Some(failing), _) => match failing.last.cause.denies() {
                Some(ttl) if entry.lacks(query.family) && failing.count > 1 => self
                    .pacing
                    .after_answer(ttl.unwrap_or(self.pacing.last_retry), jitter),
                _ => self.pacing.after_failure(failing.count, jitter),
            },
            (None, Some(good)) => self.pacing.after_answer(good.ttl, jitter),
            (None, None) => self.pacing.first_retry,
        }
    }

    /// Changes what is known of `host` and brings everything that depends on it into line.
    fn amend(&mut self, now: Moment, host: &Host, change: impl FnOnce(&mut Entry)) -> Outcome {
        let mut outcome = Outcome::default();
        let Some(entry) = self.hosts.get_mut(host) else {
            return outcome;
        };
        if let Some(end) = entry.next_leave() {
            self.leaving.remove(&(end, host.clone()));
        }
        let failed_since = entry.failing().map(|failing| failing.since);
        change(entry);
        entry.let_go(now);
        let left_out = entry.bound_leaving(self.pacing.most_addresses);
        if let Some(end) = entry.next_leave() {
            self.leaving.insert((end, host.clone()));
        }
        if left_out > 0 {
            outcome.notices.push(Notice::TooMany {
                host: host.clone(),
                left_out,
            });
        }
        outcome
            .notices
            .extend(Notice::turn(host, failed_since, entry, now));
        if let Some(addresses) = entry.publish() {
            outcome.updates.push(Update::Resolved {
                host: host.clone(),
                addresses,
            });
        }
        outcome
    }

    fn reschedule(&mut self, host: &Host, family: Family, due: Moment) {
        let Some(entry) = self.hosts.get_mut(host) else {
            return;
        };
        let query = Query {
            host: host.clone(),
            family,
        };
        if let Some(last) = entry.records_mut(family).due.replace(due) {
            self.schedule.remove(&(last, query.clone()));
        }
        self.schedule.insert((due, query));
    }

    fn forget(&mut self, host: Host) {
        let Some(entry) = self.hosts.remove(&host) else {
            return;
        };
        if let Some(end) = entry.next_leave() {
            self.leaving.remove(&(end, host.clone()));
        }
        for family in [Family::V4, Family::V6] {
            if let Some(due) = entry.records(family).due {
                let host = host.clone();
                self.schedule.remove(&(due, Query { host, family }));
            }
        }
    }
}
