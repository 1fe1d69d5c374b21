//! Which kinds of rules each scope has, so that programs need not look up what is not there.
//!
//! **Architecture Invariant:** a kind that a scope has rules of is written before the first of them, and taken out only
//! after the last. What is written too much costs time and nothing else.

use std::{collections::BTreeMap, sync::Arc};

use anyhow::{Context as _, Result};
use aya::{
    Ebpf,
    maps::{Array, MapData, MapError},
};
use enforcer_common::{Kinds, Scope, maps as name};
use enforcer_core::rule::{Rules, Slot};

use super::maps::take;

/// The map, and how many rules of each kind there are.
pub(super) struct KindsMap {
    map: Array<MapData, Kinds>,
    counts: BTreeMap<Scope, Counts>,
}

/// Rules of each of [`EACH`].
type Counts = [usize; EACH.len()];

const EACH: [Kinds; 4] = [Kinds::EXACT, Kinds::PORT, Kinds::PREFIX, Kinds::HOST];

impl KindsMap {
    /// Of maps that may hold rules already: [`Self::restore`] has to follow before rules are removed.
    pub(super) fn take(object: &mut Ebpf) -> Result<Self> {
        Ok(Self {
            map: take(object, name::KINDS)?,
            counts: BTreeMap::new(),
        })
    }

    /// To be called before a rule is added.
    pub(super) fn expect(&mut self, scope: Scope, slot: &Slot) -> Result<(), MapError> {
        let written = self.map.get(&scope.0, 0)?;
        let wanted = written.and(EACH[place(slot)]);
        if written != wanted {
            self.map.set(scope.0, wanted, 0)?;
        }
        self.counts.entry(scope).or_default()[place(slot)] += 1;
        Ok(())
    }

    /// To be called after a rule that was there has been removed.
    pub(super) fn forget(&mut self, scope: Scope, slot: &Slot) -> Result<(), MapError> {
        let Some(counts) = self.counts.get_mut(&scope) else {
            return Ok(());
        };
        counts[place(slot)] = counts[place(slot)].saturating_sub(1);
        if counts[place(slot)] > 0 {
            return Ok(());
        }
        let left = kinds(counts);
        if left == Kinds::NONE {
            self.counts.remove(&scope);
        }
        self.map.set(scope.0, left, 0)
    }

    /// Writes and counts what these rules are, and nothing else.
    pub(super) fn restore(&mut self, scopes: &BTreeMap<Scope, Arc<Rules>>) -> Result<()> {
        self.counts = scopes
            .iter()
            .map(|(scope, rules)| (*scope, count(*scope, rules)))
            .collect();
        for index in 0..self.map.len() {
            let wanted = self.counts.get(&Scope(index)).map_or(Kinds::NONE, kinds);
            let written = self.map.get(&index, 0).context("reading the map KINDS")?;
            if written != wanted {
                self.map.set(index, wanted, 0).context("writing the map KINDS")?;
            }
        }
        Ok(())
    }

    /// Whether every kind is written that these rules are of.
    pub(super) fn hold(&self, scopes: &BTreeMap<Scope, Arc<Rules>>) -> Result<bool> {
        for (scope, rules) in scopes {
            let written = self.map.get(&scope.0, 0).context("reading the map KINDS")?;
            if written.and(kinds(&count(*scope, rules))) != written {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

fn place(slot: &Slot) -> usize {
    match slot {
        Slot::Exact(_) => 0,
        Slot::Port(_) => 1,
        Slot::Prefix(..) => 2,
        Slot::Host(_) => 3,
    }
}

fn count(scope: Scope, rules: &Rules) -> Counts {
    let mut counts = Counts::default();
    for rule in rules {
        counts[place(&rule.slot(scope))] += 1;
    }
    counts
}

fn kinds(counts: &Counts) -> Kinds {
    let there = EACH.iter().zip(counts).filter(|(_, count)| **count > 0);
    there.fold(Kinds::NONE, |all, (kind, _)| all.and(*kind))
}
