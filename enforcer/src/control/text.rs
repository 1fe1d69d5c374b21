//! The status for a person. Each of its lines is escaped, so that its newlines are ours.

use std::fmt;

use crate::report::escape::Line;

use super::status::{
    Canary, Drift, FailingName, Hardening, Learning, Root, Source, Status, Suppressed, Usage,
};

/// Whole seconds, or the minutes and hours that they make.
pub(super) struct Age(pub(super) f64);

impl fmt::Display for Age {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            seconds if seconds < 10.0 => write!(f, "{seconds:.1} s"),
            seconds if seconds < 180.0 => write!(f, "{seconds:.0} s"),
            seconds if seconds < 3.0 * 3600.0 => write!(f, "{:.0} min", seconds / 60.0),
            seconds => write!(f, "{:.0} h", seconds / 3600.0),
        }
    }
}

/// Workloads of which events were not logged that are named; the JSON names all.
const MOST: usize = 10;

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            version, pid, mode, ..
        } = self;
        let verdict = if self.proven { "proven" } else { "NOT PROVEN" };
        let uptime = Age(self.uptime_seconds);
        let head =
            format!("enforcement: {verdict}  (mode {mode}, enforcer {version}, pid {pid}, up {uptime})");
        writeln!(f, "{}", Line(head))?;
        if !self.allow_any.is_empty() {
            writeln!(f, "  ! {}", Line(AllowAny(&self.allow_any)))?;
        }
        for problem in &self.problems {
            writeln!(f, "  ! {}", Line(problem))?;
        }
        let configuration = &self.configuration;
        if configuration.has_changed {
            let changed = format!(
                "configuration changed on disk, not taken up: {}",
                configuration.file
            );
            writeln!(f, "  ! {}", Line(changed))?;
        }
        if let Some(why) = &configuration.refused {
            writeln!(
                f,
                "  ! {}",
                Line(format!("configuration refused, nothing was changed: {why}"))
            )?;
        }
        if let Some(file) = &self.observed_file
            && let Some(error) = &file.error
        {
            let since = Age(file.failing_seconds.unwrap_or_default());
            let kept = format!(
                "what workloads were seen to reach is not kept in {}, for {since}: {error}",
                file.path
            );
            writeln!(f, "  ! {}", Line(kept))?;
        }
        section(f, "roots", &self.roots)?;
        section(f, "closures", &self.closures)?;
        section(f, "maps", &self.usage)?;
        section(f, "sources", &self.sources)?;
        if self.backlog > 0 {
            writeln!(f, "  {} changes wait", self.backlog)?;
        }
        writeln!(
            f,
            "names: {} resolved, {} failing; {}",
            self.names.hosts,
            self.names.failing.len(),
            Line(&self.learning)
        )?;
        for name in &self.names.failing {
            writeln!(f, "  {}", Line(name))?;
        }
        section(f, "rejected", &self.rejected)?;
        let warnings = self.warnings_in_all.max(self.warnings.len());
        section(f, &format!("warnings ({warnings})"), &self.warnings)?;
        let more = warnings - self.warnings.len();
        if more > 0 {
            writeln!(f, "  {more} more, which `enforcer check` or the log name")?;
        }
        writeln!(f, "events lost: {}", self.events_lost)?;
        let (most, rest) = self
            .events_suppressed
            .split_at(MOST.min(self.events_suppressed.len()));
        section(f, "events not logged", most)?;
        if !rest.is_empty() {
            let events: u64 = rest.iter().map(|suppressed| suppressed.events).sum();
            writeln!(f, "  {} other workloads: {events}", rest.len())?;
        }
        section(f, "lapses", &self.lapses)
    }
}

/// Workloads for which nothing is refused.
pub(crate) struct AllowAny<'a>(pub(crate) &'a [String]);

impl fmt::Display for AllowAny<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (most, rest) = self.0.split_at(MOST.min(self.0.len()));
        write!(
            f,
            "outboundTrafficPolicy ALLOW_ANY lets {} of the workloads reach everything: {}",
            self.0.len(),
            most.join(", ")
        )?;
        match rest.len() {
            0 => Ok(()),
            more => write!(f, " and {more} more, which `enforcer status -o json` names"),
        }
    }
}

/// A heading and a line for each; nothing if there is none.
fn section<T: fmt::Display>(f: &mut fmt::Formatter<'_>, heading: &str, lines: &[T]) -> fmt::Result {
    if lines.is_empty() {
        return Ok(());
    }
    writeln!(f, "{heading}:")?;
    lines.iter().try_for_each(|line| writeln!(f, "  {}", Line(line)))
}

impl fmt::Display for Root {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.path)?;
        if !self.is_there {
            return f.write_str(if self.is_required {
                "  NOT THERE"
            } else {
                "  not there yet"
            });
        }
        write!(f, "  programs {}", self.programs.len())?;
        if !self.absent.is_empty() {
            write!(f, ", absent: {}", self.absent.join(", "))?;
        }
        match &self.canary {
            None => f.write_str("  canary: not yet"),
            Some(Canary {
                age_seconds,
                failures,
            }) => {
                let verdict = if failures.is_empty() {
                    "refused and let through as it should be"
                } else {
                    "FAILED"
                };
                write!(f, "  canary: {verdict}, {} ago", Age(*age_seconds))
            }
        }
    }
}

impl fmt::Display for Hardening {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.absent {
            None => write!(f, "{:12} present: {}", self.program, self.purpose),
            Some(why) => write!(f, "{:12} absent ({why}): nothing {}", self.program, self.purpose),
        }
    }
}

impl fmt::Display for Usage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:12} {} of {}", self.name, self.used, self.capacity)?;
        match self.needed {
            needed if needed > self.used => write!(f, ", {needed} needed"),
            _ => Ok(()),
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:12} {}", self.name, self.objects)?;
        match self.age_seconds {
            Some(age) => write!(f, ", checked {} ago", Age(age))?,
            None => f.write_str(", never checked")?,
        }
        self.problem
            .as_ref()
            .map_or(Ok(()), |problem| write!(f, ": {problem}"))
    }
}

impl fmt::Display for Learning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(why) = &self.absent {
            return write!(f, "none are learned from answers that workloads receive: {why}");
        }
        let Self {
            addresses,
            workloads,
            answers,
            ..
        } = self;
        let counted = [
            (self.unasked, "unasked"),
            (self.malformed, "malformed"),
            (self.oversized, "oversized"),
            (self.protected, "protected"),
            (self.unlearned, "without room"),
        ];
        let ignored: u64 = counted.iter().map(|(count, _)| count).sum();
        write!(
            f,
            "learned {addresses} addresses of {workloads} workloads; answers {answers}, ignored {ignored}"
        )?;
        let there = counted.iter().filter(|(count, _)| *count > 0);
        let there: Vec<_> = there.map(|(count, what)| format!("{what} {count}")).collect();
        if !there.is_empty() {
            write!(f, " ({})", there.join(", "))?;
        }
        match self.displaced {
            0 => Ok(()),
            displaced => write!(f, ", displaced {displaced}"),
        }
    }
}

impl fmt::Display for FailingName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} for {}", self.host, self.error, Age(self.seconds))?;
        match (self.kept, self.age_seconds) {
            (0, _) => f.write_str("; no address is known"),
            (kept, None) => write!(f, "; {kept} addresses stay allowed"),
            (kept, Some(age)) => write!(f, "; {kept} addresses of {} ago stay allowed", Age(age)),
        }
    }
}

impl fmt::Display for Suppressed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}: {}, beyond its share of the log",
            self.workload, self.events
        )
    }
}

impl fmt::Display for Drift {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let age = Age(self.age_seconds);
        match &self.stays {
            None => write!(f, "{age} ago: {}: restored", self.what),
            Some(why) => write!(f, "{age} ago: {}, and it could not be restored: {why}", self.what),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{super::status::ObservedFile, *};

    #[test]
    fn what_is_learned_is_one_line_and_says_what_was_ignored_and_why() {
        let mut learning = Learning {
            addresses: 5,
            workloads: 2,
            answers: 9,
            ..Learning::default()
        };
        let all_is_well = "learned 5 addresses of 2 workloads; answers 9, ignored 0";
        assert_eq!(learning.to_string(), all_is_well);
        (learning.unasked, learning.protected, learning.displaced) = (3, 1, 4);
        assert_eq!(
            learning.to_string(),
            "learned 5 addresses of 2 workloads; answers 9, ignored 4 (unasked 3, protected 1), displaced 4"
        );
        learning.absent = Some("the kernel has no bpf_loop (5.17)".to_owned());
        assert_eq!(
            learning.to_string(),
            "none are learned from answers that workloads receive: the kernel has no bpf_loop (5.17)"
        );
    }

    #[test]
    fn file_of_observations_that_is_not_written_is_told_with_the_error_and_since_when() {
        let mut file = ObservedFile {
            path: "/none/observed.jsonl".to_owned(),
            ..ObservedFile::default()
        };
        let text = |file: &ObservedFile| {
            let status = Status {
                observed_file: Some(file.clone()),
                ..Status::default()
            };
            status.to_string()
        };
        assert!(!text(&file).contains("is not kept"));
        file.error = Some("No space left on device".to_owned());
        file.failing_seconds = Some(300.0);
        let said = "  ! what workloads were seen to reach is not kept in /none/observed.jsonl, for 5 min: No space left \
                    on device\n";
        assert!(text(&file).contains(said), "{}", text(&file));
    }

    #[test]
    fn warnings_are_counted_and_those_that_are_left_out_too() {
        let status = Status {
            warnings: vec!["a".to_owned(), "b".to_owned()],
            warnings_in_all: 12,
            ..Status::default()
        };
        let text = status.to_string();
        assert!(
            text.contains("warnings (12):\n  a\n  b\n  10 more, which `enforcer check` or the log name\n"),
            "{text}"
        );
        assert!(!Status::default().to_string().contains("warnings"));
    }

    #[test]
    fn workloads_whose_events_were_not_logged_are_named_up_to_a_number() {
        let suppressed = |number: u64| Suppressed {
            workload: format!("n/w{number}"),
            events: 100 - number,
        };
        let of = |number: u64| {
            let status = Status {
                events_suppressed: (0..number).map(suppressed).collect(),
                ..Status::default()
            };
            let text = status.to_string();
            let at = text.find("events lost").expect("it is told");
            text[at..].to_owned()
        };
        assert_eq!(of(0), "events lost: 0\n");
        assert_eq!(
            of(1),
            "events lost: 0\nevents not logged:\n  n/w0: 100, beyond its share of the log\n"
        );
        assert!(of(12).ends_with("  n/w9: 91, beyond its share of the log\n  2 other workloads: 179\n"));
    }
}
