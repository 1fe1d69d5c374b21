//! How many verdicts of each kind the programs have made for a workload.

use crate::{Outcome, Reason, Verdict};

/// Value of the map of verdicts, on each CPU: a number for each verdict and reason, at the place that
/// [`Verdicts::place`] says.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdicts(pub [u64; Verdicts::PLACES]);

/// Verdicts, which follow each other for each reason.
const VERDICTS: usize = 3;

const _: () =
    assert!(VERDICTS * Reason::Resolver as usize <= Verdicts::PLACES && Verdicts::PLACES.is_power_of_two());

impl Verdicts {
    /// Number of places; a power of two, so that a program can show by a mask that it stays within.
    pub const PLACES: usize = 64;

    /// No verdict.
    pub const NONE: Self = Self([0; Self::PLACES]);

    /// Where an outcome is counted.
    #[inline(always)]
    pub const fn place(outcome: Outcome) -> u64 {
        (outcome.reason as u64 - 1) * VERDICTS as u64 + (outcome.verdict as u64 - 1)
    }

    /// All outcomes that were counted, with their numbers.
    #[expect(clippy::cast_possible_truncation, reason = "places are few")]
    pub fn counted(&self) -> impl Iterator<Item = (Outcome, u64)> {
        let counted = self.0.iter().enumerate().filter(|(_, count)| **count > 0);
        counted.filter_map(|(place, count)| {
            let reason = Reason::from_number((place / VERDICTS) as u8 + 1)?;
            let verdict = Verdict::from_number((place % VERDICTS) as u8 + 1);
            Some((Outcome { verdict, reason }, *count))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_outcome_has_a_place_of_its_own() {
        let mut verdicts = Verdicts::NONE;
        let mut all = 0;
        for reason in (1..=u8::MAX).filter_map(Reason::from_number) {
            for verdict in [Verdict::Allow, Verdict::Deny, Verdict::Audit] {
                let place =
                    usize::try_from(Verdicts::place(Outcome { verdict, reason })).expect("it is small");
                assert_eq!(verdicts.0[place], 0, "{reason:?} {verdict:?} shares its place");
                all += 1;
                verdicts.0[place] = all;
            }
        }
        assert_eq!(verdicts.counted().count() as u64, all);
        for (outcome, count) in verdicts.counted() {
            let place = usize::try_from(Verdicts::place(outcome)).expect("it is small");
            assert_eq!(verdicts.0[place], count);
        }
    }
}
