//! What takes too long for every change: the same checks as elsewhere, with larger numbers, one after the other.
//!
//! Each part is a command whose output is passed on; its lines with figures are kept for the table at the end. A part
//! that fails does not keep the others from being run.

use std::{
    env,
    fmt::{self, Write as _},
    io::{BufRead, BufReader, Write as _},
    process::{Command, ExitCode, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};

use crate::{older, out::say, process::workspace, unavailable::is_reason};

/// What `soak` is asked for.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Only this part; can be given repeatedly
    #[arg(long, value_name = "NAME")]
    only: Vec<String>,
    /// Random sequences of calls on this kernel and on each of the matrix
    #[arg(long, default_value_t = 100_000)]
    sequences: u64,
    /// How long the hostile workload rages, names are asked for that nobody has registered, and each fuzz target runs
    #[arg(long, default_value_t = 600)]
    seconds: u64,
    /// How long a Service's endpoints are replaced while a pod calls it through Envoy; needs a real Kubernetes
    #[arg(long, default_value_t = 1800)]
    rolling_seconds: u64,
}

/// One part.
struct Part {
    name: &'static str,
    /// What a test of it lies in, where it may not be there.
    needs: Option<&'static str>,
    arguments: fn(&Arguments) -> Vec<String>,
    environment: fn(&Arguments) -> Option<(&'static str, u64)>,
    /// Whether it needs an enforcer of an older layout.
    needs_older: bool,
    /// How lines with figures begin.
    figures: &'static [&'static str],
}

const PARTS: [Part; 7] = [
    Part {
        name: "sequences",
        needs: None,
        arguments: |_| words("test -p tests --test generator"),
        environment: |soak| Some(("ENFORCER_SEQUENCES", soak.sequences)),
        needs_older: false,
        figures: &["generator: ", "SKIPPED: "],
    },
    Part {
        name: "matrix",
        needs: None,
        arguments: |soak| words(&format!("vm-test --sequences {}", soak.sequences)),
        environment: |_| None,
        needs_older: false,
        figures: &["vm-test: ", "FAIL: ", "SKIPPED: kernel "],
    },
    Part {
        name: "hostile",
        needs: Some("tests/tests/hostile.rs"),
        arguments: |_| words("test -p tests --test hostile"),
        environment: |soak| Some(("ENFORCER_SIEGE_SECONDS", soak.seconds)),
        needs_older: false,
        figures: &["hostile: ", "SKIPPED: "],
    },
    Part {
        name: "names",
        needs: Some("tests/tests/load.rs"),
        arguments: |_| words("test -p tests --test load"),
        environment: |soak| Some(("ENFORCER_NAMES_SECONDS", soak.seconds)),
        needs_older: false,
        figures: &["names: ", "SKIPPED: "],
    },
    Part {
        name: "upgrade",
        needs: None,
        arguments: |_| words("test -p tests --test lapse --test versions"),
        environment: |_| None,
        needs_older: true,
        figures: &["lapse: ", "versions: ", "SKIPPED: "],
    },
    Part {
        name: "mesh",
        needs: Some("tests/tests/mesh.rs"),
        arguments: |_| words("test --kubernetes -p tests --test mesh"),
        environment: |soak| Some(("ENFORCER_MESH_SECONDS", soak.rolling_seconds)),
        needs_older: false,
        figures: &["mesh: ", "SKIPPED: "],
    },
    Part {
        name: "fuzz",
        needs: None,
        arguments: |soak| words(&format!("fuzz --seconds {}", soak.seconds)),
        environment: |_| None,
        needs_older: false,
        figures: &["fuzz: ", "stat::number_of_executed_units", "SKIPPED: "],
    },
];

/// What became of a part.
enum Outcome {
    Passed,
    Failed,
    Skipped(String),
}

/// A line of the table, and what stands below it.
struct Row {
    name: &'static str,
    outcome: Outcome,
    took: Duration,
    figures: Vec<String>,
}

/// Runs every part that is asked for; the exit code is a failure if one failed.
pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode> {
    let known = PARTS.map(|part| part.name);
    if let Some(unknown) = arguments.only.iter().find(|name| !known.contains(&name.as_str())) {
        bail!("soak has no part {unknown}: there are {}", known.join(", "));
    }
    let is_asked =
        |part: &&Part| arguments.only.is_empty() || arguments.only.iter().any(|name| name == part.name);
    let asked: Vec<_> = PARTS.iter().filter(is_asked).collect();
    let mut table = Table(Vec::new());
    for (number, part) in asked.iter().enumerate() {
        say!("soak: {} ({} of {})", part.name, number + 1, asked.len());
        table.0.push(part.run(arguments)?);
        say!("\n{table}");
    }
    let has_failed = table.0.iter().any(|row| matches!(row.outcome, Outcome::Failed));
    if has_failed {
        say!("soak: FAILED");
        return Ok(ExitCode::FAILURE);
    }
    Ok(ExitCode::SUCCESS)
}

impl Part {
    fn run(&self, soak: &Arguments) -> Result<Row> {
        let begin = Instant::now();
        let mut row = Row {
            name: self.name,
            outcome: Outcome::Passed,
            took: Duration::ZERO,
            figures: Vec::new(),
        };
        if let Some(needed) = self.needs.filter(|needed| !workspace().join(needed).is_file()) {
            row.outcome = Outcome::Skipped(format!("there is no {needed}"));
            return Ok(row);
        }
        let mut command = Command::new(env::current_exe().context("finding this program's own path")?);
        command
            .args((self.arguments)(soak))
            .current_dir(workspace())
            .stdout(Stdio::piped());
        if let Some((variable, value)) = (self.environment)(soak) {
            command.env(variable, value.to_string());
        }
        if self.needs_older {
            match older::get() {
                Ok(older) => drop(command.env(older::VARIABLE, older)),
                // The tests say what they skip.
                Err(error) if is_reason(&error) => row.figures.push(format!("SKIPPED: {error:#}")),
                Err(error) => return Err(error),
            }
        }
        let mut child = command.spawn().context("starting a part")?;
        let output = child.stdout.take().context("the output is piped")?;
        for line in BufReader::new(output).split(b'\n') {
            let line = line.context("reading a part's output")?;
            let line = String::from_utf8_lossy(&line);
            writeln!(std::io::stdout(), "{line}").context("passing a part's output on")?;
            if self.figures.iter().any(|begin| line.starts_with(begin)) {
                row.figures.push(line.trim_end().to_owned());
            }
        }
        if !child.wait().context("waiting for a part")?.success() {
            row.outcome = Outcome::Failed;
        }
        row.took = begin.elapsed();
        Ok(row)
    }
}

fn words(line: &str) -> Vec<String> {
    line.split(' ').map(str::to_owned).collect()
}

struct Table(Vec<Row>);

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for row in &self.0 {
            let word = match &row.outcome {
                Outcome::Passed => "passed".to_owned(),
                Outcome::Failed => "FAILED".to_owned(),
                Outcome::Skipped(why) => format!("SKIPPED: {why}"),
            };
            let mut line = String::new();
            write!(line, "{:<10} {word}", row.name)?;
            if row.took > Duration::ZERO {
                write!(line, " in {:.1} min", row.took.as_secs_f32() / 60.0)?;
            }
            writeln!(f, "{line}")?;
            for figure in &row.figures {
                writeln!(f, "    {figure}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn table_says_what_became_of_each_part() {
        let row = |name, outcome, seconds| Row {
            name,
            outcome,
            took: Duration::from_secs(seconds),
            figures: Vec::new(),
        };
        let mut passed = row("sequences", Outcome::Passed, 90);
        passed
            .figures
            .push("generator: 100000 sequences in 12.5 s".into());
        let table = Table(vec![
            passed,
            row("matrix", Outcome::Failed, 30),
            row("hostile", Outcome::Skipped("there is no test".into()), 0),
        ]);
        assert_eq!(
            table.to_string(),
            "sequences  passed in 1.5 min\n    generator: 100000 sequences in 12.5 s\n\
             matrix     FAILED in 0.5 min\nhostile    SKIPPED: there is no test\n"
        );
    }
}
