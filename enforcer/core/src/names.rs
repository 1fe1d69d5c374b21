//! The known addresses of each host, and when to query them again.
//!
//! ```text
//! hosts wanted -> due -> queries -> (resolvers) -> answer -> registry::Update::Resolved
//!                                                  expire -> (an address's grace has ended)
//! ```
//!
//! It does no I/O, never waits, reads no clock and draws no random number: its owner does, and passes the results.
//!
//! **Architecture Invariant:** a failure, of whatever kind, never removes an address. Only a newer good answer
//! without it does, and only after the grace period. A family that has never answered is absent, not empty.

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

/// The result of a step.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// [`Update::Resolved`] for each host whose addresses have changed.
    pub updates: Vec<Update>,
    /// What to report to an operator.
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
    /// Addresses from an earlier run, of hosts that have not been wanted since this start.
    remembered: Listed,
    /// Every query that is not in flight, by when it is due.
    schedule: BTreeSet<(Moment, Query)>,
    /// Every host with addresses in their grace period, by when the first one ends.
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

    /// Restores the addresses of an earlier run: they count as each host's last good answer until there is a new
    /// one, so that a start without resolvers removes nothing. Call it before the first [`Names::set_hosts`].
    pub fn remember(&mut self, remembered: Listed) {
        self.remembered = remembered;
    }

    /// The current addresses, for [`Names::remember`] in the next run.
    pub fn memory(&self) -> Listed {
        let known = self
            .hosts
            .iter()
            .map(|(host, entry)| (host.clone(), entry.addresses()));
        known.filter(|(_, addresses)| !addresses.is_empty()).collect()
    }

    /// Replaces the set of wanted hosts. Hosts no longer in it are forgotten: nothing uses their addresses any
    /// more. New ones are due at once, before those that were queried before. Wildcards and addresses are never
    /// queried: the names under a wildcard cannot be listed, and an address needs no resolver.
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

    /// Replaces the content of the hosts file. Its addresses are added to those from resolvers; an address that
    /// is no longer in it is dropped after the grace period.
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

    /// At most `limit` queries that are due, the longest overdue first. Each counts as in flight, and is not due
    /// again until [`Names::answer`] gets its reply.
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

    /// Handles the reply to a query, and schedules the next query. A reply for a host that is no longer wanted
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

    /// Drops the addresses whose grace period has ended.
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

    /// When [`Names::expire`] next has something to do, for callers that cannot send queries now.
    pub fn next_leave(&self) -> Option<Moment> {
        self.leaving.first().map(|(moment, _)| *moment)
    }

    /// Makes failing queries due at once, because the resolvers have changed.
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

    /// Makes a query due at once if it fails, because it went to resolvers that are no longer in use.
    pub fn retry(&mut self, now: Moment, query: &Query) {
        let records = self
            .hosts
            .get(&query.host)
            .map(|entry| entry.records(query.family));
        if records.is_some_and(|records| records.failing.is_some() && records.due.is_some()) {
            self.reschedule(&query.host, query.family, now);
        }
    }

    /// The status of every host.
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

    /// Notices about what is left out of an answer, unless the previous answer left out the same.
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

    /// Changes the entry of `host` and updates everything that depends on it.
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
