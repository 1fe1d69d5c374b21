//! The canary: a small process in a network namespace of its own, which starts another process that tries
//! connections in a cgroup.
//!
//! ```text
//! enforcer run -> `enforcer canary` (for as long as it runs; reads folders) -> `enforcer canary --join FOLDER`
//! ```
//!
//! It ends with the enforcer, since its input is then closed.

use std::{
    fs,
    io::{BufRead as _, Write as _},
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::{Context as _, Result, bail, ensure};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines},
    process::{Child, ChildStdin, ChildStdout},
};

use super::{network, trial};

/// The hidden subcommand.
pub const COMMAND: &str = "canary";

/// How long one round in one cgroup may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// The process, seen from the enforcer.
#[derive(Debug)]
pub struct Canary(Result<Running>);

#[derive(Debug)]
struct Running {
    requests: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
    _child: Child,
}

impl Canary {
    /// Starts it. If it does not start, a failure is reported at each root.
    pub async fn start() -> Self {
        Self(Running::start().await)
    }

    /// What is wrong in a cgroup that is bound to the canary's policy.
    pub(super) async fn tries(&mut self, cgroup: &Path, errno: i32) -> Vec<String> {
        let outcomes = match &mut self.0 {
            Ok(running) => running.ask(cgroup).await,
            Err(error) => return vec![format!("the canary does not run: {error:#}")],
        };
        match outcomes {
            Ok(outcomes) => trial::judge(&outcomes, errno),
            Err(error) => {
                let failures = vec![format!("the canary could not try: {error:#}")];
                // A late answer would be taken for the answer to another question.
                *self = Self::start().await;
                failures
            }
        }
    }
}

impl Running {
    async fn start() -> Result<Self> {
        let mut child = tokio::process::Command::new("/proc/self/exe")
            .arg(COMMAND)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .context("starting it")?;
        let requests = child.stdin.take().context("standard input is piped")?;
        let output = child.stdout.take().context("standard output is piped")?;
        let mut running = Self {
            requests,
            answers: BufReader::new(output).lines(),
            _child: child,
        };
        let greeting = running.answer().await?;
        ensure!(greeting == READY, "{greeting}");
        Ok(running)
    }

    async fn ask(&mut self, cgroup: &Path) -> Result<Vec<i32>> {
        let request = format!("{}\n", cgroup.display());
        self.requests
            .write_all(request.as_bytes())
            .await
            .context("asking it")?;
        let answer = self.answer().await?;
        let numbers = answer.split(' ').map(str::parse).collect::<Result<Vec<i32>, _>>();
        numbers.map_err(|_| anyhow::anyhow!("{answer}"))
    }

    async fn answer(&mut self) -> Result<String> {
        let line = tokio::time::timeout(PATIENCE, self.answers.next_line());
        match line
            .await
            .context("it does not answer")?
            .context("reading its answer")?
        {
            Some(line) => Ok(line),
            None => bail!("it has ended"),
        }
    }
}

const READY: &str = "ready";

/// The process's main: answers each line, a cgroup's folder, by one line.
///
/// # Errors
/// If nobody reads its answers.
pub fn serve() -> Result<()> {
    let mut output = std::io::stdout();
    let greeting = network::enter().map_or_else(|error| format!("{error:#}"), |()| READY.to_owned());
    writeln!(output, "{}", one_line(&greeting))?;
    for folder in std::io::stdin().lock().lines() {
        let folder = folder?;
        let answer = outcomes_in(&folder).unwrap_or_else(|error| format!("{error:#}"));
        writeln!(output, "{}", one_line(&answer))?;
    }
    Ok(())
}

fn outcomes_in(folder: &str) -> Result<String> {
    let output = Command::new("/proc/self/exe")
        .args([COMMAND, "--join", folder])
        .stdin(Stdio::null())
        .output()
        .context("starting a process")?;
    if !output.status.success() {
        bail!("{}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn one_line(text: &str) -> String {
    text.trim().replace('\n', "; ")
}

/// The main of the process that makes the attempts: joins a cgroup, and prints the result of each attempt.
///
/// # Errors
/// If it cannot join.
pub fn join(folder: &Path) -> Result<()> {
    fs::write(folder.join("cgroup.procs"), "0")
        .with_context(|| format!("joining the cgroup {}", folder.display()))?;
    let outcomes: Vec<_> = trial::all().map(|trial| trial.attempt().to_string()).collect();
    writeln!(std::io::stdout(), "{}", outcomes.join(" ")).context("answering")
}
