//! What a run of the tests comes to, read from what the tests print.

use std::fmt;

/// Counts and skips of all test binaries of a run.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Summary {
    passed: u64,
    failed: u64,
    skipped: Vec<Skip>,
    /// The test whose output is being shown.
    showing: Option<String>,
}

/// A test that did not test, or a part of one.
#[derive(Debug, PartialEq, Eq)]
struct Skip {
    test: String,
    why: String,
}

impl Summary {
    /// Takes one line of the test harness's output.
    pub(crate) fn read(&mut self, line: &str) {
        let line = line.trim_end();
        if let Some(counts) = line.strip_prefix("test result: ") {
            self.passed += count(counts, " passed");
            self.failed += count(counts, " failed");
            self.showing = None;
        } else if let Some(test) = line
            .strip_prefix("---- ")
            .and_then(|rest| rest.strip_suffix(" stdout ----"))
        {
            self.showing = Some(test.to_owned());
        } else if let Some(why) = line.trim_start().strip_prefix("SKIPPED:") {
            self.skip(self.showing.clone().unwrap_or_default(), why.trim());
        } else if let Some((test, why)) = ignored(line) {
            self.skip(test.to_owned(), why);
        }
    }

    fn skip(&mut self, test: String, why: &str) {
        let why = why.to_owned();
        self.skipped.push(Skip { test, why });
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            passed,
            failed,
            skipped,
            showing: _,
        } = self;
        if skipped.is_empty() {
            writeln!(f, "test: {passed} passed, {failed} failed, nothing was skipped")?;
            return Ok(());
        }
        writeln!(
            f,
            "test: {passed} passed, {failed} failed, {} skipped:",
            skipped.len()
        )?;
        for Skip { test, why } in skipped {
            match test.as_str() {
                "" => writeln!(f, "  SKIPPED: {why}")?,
                test => writeln!(f, "  SKIPPED: {test}: {why}")?,
            }
        }
        Ok(())
    }
}

/// The number before `what` in `ok. 3 passed; 0 failed; ...`.
fn count(counts: &str, what: &str) -> u64 {
    let number = counts.split(';').find_map(|part| part.strip_suffix(what));
    let number = number.and_then(|part| part.rsplit(' ').next());
    number.and_then(|number| number.parse().ok()).unwrap_or(0)
}

/// The name of a test with `#[ignore]`, and its reason.
fn ignored(line: &str) -> Option<(&str, &str)> {
    let (test, rest) = line.strip_prefix("test ")?.split_once(" ... ignored")?;
    let why = rest.strip_prefix(", ").unwrap_or("ignored without a reason");
    Some((test, why))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(output: &str, expected: &str) {
        let mut summary = Summary::default();
        output.lines().for_each(|line| summary.read(line));
        assert_eq!(summary.to_string(), expected);
    }

    #[test]
    fn counts_of_all_binaries_are_added() {
        check(
            "test result: ok. 3 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s\n\
             test result: FAILED. 10 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out; finished in 1s\n",
            "test: 13 passed, 2 failed, nothing was skipped\n",
        );
    }

    #[test]
    fn skip_is_reported_with_its_test_and_its_reason() {
        check(
            "test corpus ... ok\n\nsuccesses:\n\n---- corpus stdout ----\nSKIPPED: ISTIO_CORPUS is not set\n\n\
             test result: ok. 1 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s\n",
            "test: 1 passed, 0 failed, 1 skipped:\n  SKIPPED: corpus: ISTIO_CORPUS is not set\n",
        );
    }

    #[test]
    fn ignored_test_counts_as_skipped() {
        check(
            "test slow ... ignored, takes an hour\ntest bare ... ignored\n",
            "test: 0 passed, 0 failed, 2 skipped:\n  SKIPPED: slow: takes an hour\n  \
             SKIPPED: bare: ignored without a reason\n",
        );
    }

    #[test]
    fn skip_after_a_binary_ended_is_not_laid_to_its_last_test() {
        check(
            "---- one stdout ----\ntest result: ok. 1 passed; 0 failed; 0 ignored\nSKIPPED: no rows\n",
            "test: 1 passed, 0 failed, 1 skipped:\n  SKIPPED: no rows\n",
        );
    }
}
