//! What a machine reports, in the lines that `tests/src/guest/report.rs` describes.

use std::time::Duration;

/// What one kernel comes to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Report {
    /// The kernel's own release.
    pub(crate) release: String,
    /// In the order in which they ran.
    pub(crate) checks: Vec<Check>,
    /// Names and values, in the order in which they came.
    pub(crate) figures: Vec<(String, u64)>,
    /// What is to be said whatever the outcome.
    pub(crate) remarks: Vec<String>,
    /// Why there are no more checks than these.
    pub(crate) cut: Option<String>,
    /// The console's last lines, if something failed.
    pub(crate) console: Vec<String>,
    /// From the start to the end of the machine.
    pub(crate) took: Duration,
    ended: bool,
}

/// One check's outcome.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Check {
    /// Its name, one word.
    pub(crate) name: String,
    /// What it came to.
    pub(crate) verdict: Verdict,
    /// What was seen, or why not; may have several lines.
    pub(crate) text: String,
}

/// What a check came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It holds.
    Pass,
    /// It does not hold.
    Fail,
    /// It could not be tried.
    Skipped,
}

impl Verdict {
    /// The word for it.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Pass => "PASS",
            Self::Fail => "FAIL",
            Self::Skipped => "SKIPPED",
        }
    }

    fn from_word(word: &str) -> Option<Self> {
        [Self::Pass, Self::Fail, Self::Skipped]
            .into_iter()
            .find(|verdict| verdict.word() == word)
    }
}

impl Report {
    /// Takes one line.
    pub(crate) fn read(&mut self, line: &str) {
        let line = line.trim_end();
        let understood = match line.split_once(' ').unwrap_or((line, "")) {
            // Firmware and boot loaders may write to the line before the kernel does.
            _ if self.release.is_empty() && !line.starts_with("kernel ") => true,
            ("kernel", release) => {
                self.release = release.to_owned();
                true
            }
            ("check", rest) => self.read_check(rest).is_some(),
            ("more", rest) => self.read_more(rest).is_some(),
            ("figure", rest) => self.read_figure(rest).is_some(),
            ("remark", rest) => {
                self.remarks.push(rest.to_owned());
                true
            }
            ("end", "") => {
                self.ended = true;
                true
            }
            _ => false,
        };
        if !understood {
            self.give_up(&format!("the report has a line {line:?}"));
        }
    }

    fn read_check(&mut self, rest: &str) -> Option<()> {
        let mut words = rest.splitn(3, ' ');
        let name = words.next()?.to_owned();
        let verdict = Verdict::from_word(words.next()?)?;
        let text = words.next().unwrap_or_default().to_owned();
        self.checks.push(Check { name, verdict, text });
        Some(())
    }

    fn read_more(&mut self, rest: &str) -> Option<()> {
        let check = self.checks.last_mut()?;
        check.text.push('\n');
        check.text.push_str(rest);
        Some(())
    }

    fn read_figure(&mut self, rest: &str) -> Option<()> {
        let (name, value) = rest.split_once(' ')?;
        self.figures.push((name.to_owned(), value.parse().ok()?));
        Some(())
    }

    /// Takes the first reason why the report cannot be believed.
    pub(crate) fn give_up(&mut self, why: &str) {
        self.cut.get_or_insert_with(|| why.to_owned());
    }

    /// To be called after the last line: a report without its end is cut.
    pub(crate) fn finish(&mut self, why: &str) {
        if !self.ended {
            self.give_up(why);
        } else if self.checks.is_empty() {
            self.give_up("nothing was checked");
        }
    }

    /// Whether a check failed, or the report is cut.
    pub(crate) fn has_failed(&self) -> bool {
        self.cut.is_some() || self.checks.iter().any(|check| check.verdict == Verdict::Fail)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Report {
        let mut report = Report::default();
        text.lines().for_each(|line| report.read(line));
        report.finish("the machine ended early");
        report
    }

    #[test]
    fn whole_report_is_read() {
        let report = read(
            "SeaBIOS\r\nkernel 6.1.0\r\ncheck load PASS all of it\r\ncheck rows FAIL one\r\nmore   two words\r\n\
             check lsm SKIPPED too old\r\nfigure connect4 1200\r\nremark OPEN: a way\r\nend\r\n",
        );
        assert_eq!(report.release, "6.1.0");
        let checks: Vec<_> = report
            .checks
            .iter()
            .map(|check| (check.name.as_str(), check.verdict, check.text.as_str()))
            .collect();
        assert_eq!(
            checks,
            [
                ("load", Verdict::Pass, "all of it"),
                ("rows", Verdict::Fail, "one\n  two words"),
                ("lsm", Verdict::Skipped, "too old"),
            ]
        );
        assert_eq!(report.figures, [("connect4".to_owned(), 1200)]);
        assert_eq!(report.remarks, ["OPEN: a way"]);
        assert_eq!(report.cut, None);
        assert!(report.has_failed());
    }

    #[test]
    fn report_without_failures_has_not_failed() {
        assert!(!read("kernel 6.1.0\ncheck load PASS\ncheck lsm SKIPPED old\nend\n").has_failed());
    }

    #[test]
    fn report_that_is_cut_has_failed_whatever_it_says() {
        for text in [
            "",
            "kernel 6.1.0\n",
            "kernel 6.1.0\ncheck load PASS fine\n",
            "kernel 6.1.0\nend\n",
            "kernel 6.1.0\ncheck load GOOD fine\nend\n",
            "kernel 6.1.0\ncheck load PASS fine\nfigure x many\nend\n",
            "kernel 6.1.0\ncheck load PASS fine\nwhat\nend\n",
        ] {
            assert!(read(text).has_failed(), "{text:?}");
        }
    }
}
