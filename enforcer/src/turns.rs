//! Who shares something: a queue in which everybody has a share and a turn.
//!
//! **Architecture Invariant:** what one brings neither displaces nor delays, by more than one turn of everybody else,
//! what another brings; and what finds no room is counted for the one who has brought it.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    hash::Hash,
};

/// How much there is, and how much of it one may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shares {
    /// Of everybody.
    pub all: usize,
    /// Of one.
    pub one: usize,
}

impl Shares {
    /// What each of so many may have: at least one.
    pub fn of_each(self, holders: usize) -> usize {
        (self.all / holders.max(1)).clamp(1, self.one.max(1))
    }
}

/// How many times as many holders as there is room for have a share, each of one: so that a crowd of new ones is bounded.
const CROWD: usize = 4;

/// What waits, by who has brought it.
#[derive(Debug)]
pub(crate) struct Turns<K, T> {
    shares: Shares,
    waiting: HashMap<K, VecDeque<T>>,
    /// Who has something waiting; whose turn it is comes first.
    order: VecDeque<K>,
    left_out: BTreeMap<K, u64>,
}

impl<K: Clone + Eq + Hash + Ord, T> Turns<K, T> {
    /// Nothing waits.
    pub(crate) fn new(shares: Shares) -> Self {
        Self {
            shares,
            waiting: HashMap::new(),
            order: VecDeque::new(),
            left_out: BTreeMap::new(),
        }
    }

    /// Whether nothing waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.order.is_empty()
    }

    /// Takes an item in; counts it if there is no room in its share, or if too many others have one.
    pub(crate) fn push(&mut self, of: K, item: T) {
        let is_new = !self.waiting.contains_key(&of);
        let holders = self.waiting.len() + usize::from(is_new);
        if is_new && holders > self.shares.all.saturating_mul(CROWD) {
            *self.left_out.entry(of).or_default() += 1;
            return;
        }
        let share = self.shares.of_each(holders);
        let waiting = self.waiting.entry(of.clone()).or_default();
        if waiting.len() >= share {
            *self.left_out.entry(of).or_default() += 1;
            return;
        }
        if waiting.is_empty() {
            self.order.push_back(of);
        }
        waiting.push_back(item);
    }

    /// The first item of the one whose turn it is.
    pub(crate) fn pop(&mut self) -> Option<(K, T)> {
        let of = self.order.pop_front()?;
        let waiting = self.waiting.get_mut(&of)?;
        let item = waiting.pop_front()?;
        if waiting.is_empty() {
            self.waiting.remove(&of);
        } else {
            self.order.push_back(of.clone());
        }
        Some((of, item))
    }

    /// How many items found no room since the last call, by who has brought them.
    pub(crate) fn take_left_out(&mut self) -> BTreeMap<K, u64> {
        std::mem::take(&mut self.left_out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHARES: Shares = Shares { all: 100, one: 10 };

    fn drained(turns: &mut Turns<u8, u32>) -> Vec<(u8, u32)> {
        std::iter::from_fn(|| turns.pop()).collect()
    }

    #[test]
    fn everybody_has_a_turn_and_each_ones_items_keep_their_order() {
        let mut turns = Turns::new(SHARES);
        for item in 0..3 {
            turns.push(1, item);
        }
        turns.push(2, 10);
        turns.push(3, 20);
        turns.push(3, 21);
        assert_eq!(
            drained(&mut turns),
            [(1, 0), (2, 10), (3, 20), (1, 1), (3, 21), (1, 2)]
        );
        assert!(turns.is_empty() && turns.waiting.is_empty());
    }

    #[test]
    fn flood_of_one_takes_nothing_from_another_and_is_counted() {
        let mut turns = Turns::new(SHARES);
        for item in 0..1000 {
            turns.push(1, item);
        }
        for item in 0..5 {
            turns.push(2, item);
        }
        let left_out = turns.take_left_out();
        assert_eq!(left_out, BTreeMap::from([(1, 990)]));
        assert_eq!(turns.take_left_out(), BTreeMap::new(), "it is told once");
        let all = drained(&mut turns);
        let place = all.iter().position(|(of, item)| (*of, *item) == (2, 4));
        assert_eq!(
            (all.len(), place),
            (15, Some(9)),
            "one turn of the other for each"
        );
    }

    #[test]
    fn endless_row_of_newcomers_is_bounded_and_counted() {
        let mut turns = Turns::new(SHARES);
        for of in 0..10_000_u32 {
            turns.push(of, ());
        }
        assert_eq!(turns.waiting.len(), CROWD * SHARES.all);
        let left_out: u64 = turns.take_left_out().values().sum();
        assert_eq!(left_out, 10_000 - (CROWD * SHARES.all) as u64);
    }

    #[test]
    fn many_who_flood_have_less_each_and_nobody_nothing() {
        let mut turns = Turns::new(SHARES);
        for item in 0..20 {
            for of in 0..200_u8 {
                turns.push(of, item);
            }
        }
        let all = drained(&mut turns);
        assert!(all.len() < 4 * SHARES.all, "{}", all.len());
        assert!((0..200_u8).all(|of| all.contains(&(of, 0))));
    }
}
