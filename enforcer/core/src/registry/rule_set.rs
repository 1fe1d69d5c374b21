//! A set of rules that is shared with whoever has seen it, and copied only to change it.

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    sync::Arc,
};

use crate::rule::{Rule, Rules};

/// Rules, and a checksum of them that does not depend on their order.
#[derive(Clone, Debug, Default)]
pub(super) struct RuleSet {
    pub(super) rules: Arc<Rules>,
    pub(super) sum: u64,
}

impl RuleSet {
    pub(super) fn new(rules: impl Iterator<Item = Rule>) -> Self {
        let rules: Rules = rules.collect();
        let sum = rules
            .iter()
            .fold(0, |sum: u64, rule| sum.wrapping_add(hash(rule)));
        Self {
            rules: Arc::new(rules),
            sum,
        }
    }

    /// Copies the rules only if they have to change and the `Arc` is shared.
    pub(super) fn set(&mut self, rule: &Rule, is_there: bool) -> bool {
        if self.rules.contains(rule) == is_there {
            return false;
        }
        let rules = Arc::make_mut(&mut self.rules);
        if is_there {
            rules.insert(*rule);
            self.sum = self.sum.wrapping_add(hash(rule));
        } else {
            rules.remove(rule);
            self.sum = self.sum.wrapping_sub(hash(rule));
        }
        true
    }
}

fn hash(rule: &Rule) -> u64 {
    let mut hasher = DefaultHasher::new();
    rule.hash(&mut hasher);
    hasher.finish()
}
