//! `enforcer wait`: returns once objects are in force on this node, or says why they are not.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use jiff::{Span, SpanRelativeTo};
use nix::unistd::geteuid;
use serde::Serialize;

use super::{
    Output,
    out::{self, Form},
};
use crate::{
    config::Config,
    control::{AboutObject, Answers, Awaited, Standing, kind},
};

/// How long nothing is said.
const SILENCE: Duration = Duration::from_secs(1);

/// How soon an enforcer that is replaced is asked again.
const AGAIN: Duration = Duration::from_millis(100);

#[derive(Debug, clap::Args)]
pub(crate) struct Wait {
    /// What is waited for: ServiceEntry, WorkloadEntry, Sidecar or Service
    #[arg(long = "for", value_name = "KIND")]
    pub(super) kind: String,
    /// Wait until it is gone, and nothing is allowed by it any more
    #[arg(long)]
    pub(super) delete: bool,
    /// How long, such as 30s or 2m
    #[arg(long, default_value = "30s", value_name = "DURATION", value_parser = duration)]
    pub(super) timeout: Duration,
    /// The resourceVersion that the API server has told; without it, the version that is known is waited for. Files count
    /// as they are when this is asked
    #[arg(long, value_name = "N")]
    pub(super) version: Option<u64>,
    /// How the result is printed: as text, or one JSON record an object and line
    #[arg(short, long, value_enum, default_value_t)]
    pub(super) output: Output,
    /// The configuration file, for its `state`
    #[arg(long, value_name = "FILE", conflicts_with = "state")]
    config: Option<PathBuf>,
    /// The folder of the enforcer's state
    #[arg(long, default_value = "/run/enforcer", value_name = "FOLDER")]
    state: PathBuf,
    /// Which
    #[arg(required = true, value_name = "NAMESPACE/NAME")]
    pub(super) objects: Vec<String>,
}

/// What became of one object. Scripts rely on the names of the fields.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Outcome<'a> {
    /// `standing` is `waiting` if the time was up.
    #[serde(flatten)]
    awaited: &'a Awaited,
    /// How long it was waited for.
    seconds: f64,
}

/// A duration as people write it.
pub(super) fn duration(text: &str) -> Result<Duration> {
    let wrong = "write a duration such as 30s or 2m";
    let span: Span = match text.parse::<u64>() {
        Ok(seconds) => Span::new().try_seconds(i64::try_from(seconds)?)?,
        Err(_) => text.parse().context(wrong)?,
    };
    let duration = span.to_duration(SpanRelativeTo::days_are_24_hours());
    Duration::try_from(duration.context(wrong)?).context(wrong)
}

pub(super) fn run(arguments: &Wait) -> Result<ExitCode> {
    let asked = objects(arguments).and_then(|objects| Ok((objects, folder(arguments)?)));
    let (objects, state) = match asked {
        Ok(asked) => asked,
        Err(error) => return out::or_unanswered(Err(error)),
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let until = Instant::now() + arguments.timeout;
    let mut is_all = true;
    for about in objects {
        let began = Instant::now();
        let awaited = runtime.block_on(wait(&state, about, until))?;
        let seconds = began.elapsed().as_secs_f64();
        is_all &= is_over_well(awaited.standing);
        tell(arguments, &awaited, seconds)?;
    }
    Ok(if is_all {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn is_over_well(standing: Standing) -> bool {
    matches!(standing, Standing::InForce | Standing::Gone)
}

fn tell(arguments: &Wait, awaited: &Awaited, seconds: f64) -> Result<()> {
    if arguments.output == Output::Json {
        return out::json(Outcome { awaited, seconds }, Form::Line);
    }
    for warning in &awaited.warnings {
        out::complain(format_args!("warning: {warning}"));
    }
    if is_over_well(awaited.standing) {
        return out::line(awaited);
    }
    let late = match awaited.standing {
        Standing::Waiting => format!("after {:.0} s, ", arguments.timeout.as_secs_f64()),
        _ => String::new(),
    };
    out::complain(format_args!("error: {late}{awaited}"));
    Ok(())
}

/// The objects that are meant.
fn objects(arguments: &Wait) -> Result<Vec<AboutObject>> {
    let of_word = kind(&arguments.kind).with_context(|| {
        format!(
            "--for {}: it can be ServiceEntry, WorkloadEntry, Sidecar or Service",
            arguments.kind
        )
    })?;
    ensure!(
        arguments.version.is_none() || arguments.objects.len() == 1,
        "--version is that of one object"
    );
    let objects = arguments.objects.iter().map(|object| {
        let (namespace, name) = object
            .split_once('/')
            .filter(|(namespace, name)| !namespace.is_empty() && !name.is_empty() && !name.contains('/'))
            .with_context(|| format!("{object}: write it as NAMESPACE/NAME"))?;
        Ok(AboutObject {
            kind: format!("{of_word:?}"),
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            version: arguments.version,
            is_gone: arguments.delete,
        })
    });
    objects.collect()
}

fn folder(arguments: &Wait) -> Result<PathBuf> {
    Ok(match &arguments.config {
        Some(file) => Config::load(file)?.state,
        None => arguments.state.clone(),
    })
}

/// What is said of an object last. An enforcer that ends is waited for, as another takes its place.
async fn wait(state: &Path, about: AboutObject, until: Instant) -> Result<Awaited> {
    let mut patience = Patience::new(until);
    let mut last = None;
    loop {
        match Answers::ask(state, about.clone()).await {
            Ok(mut answers) => patience.read(&mut answers, &mut last).await?,
            Err(error) if last.is_none() && !geteuid().is_root() => {
                return Err(error.context("it is for root alone: try `sudo enforcer wait`"));
            }
            Err(error) if last.is_none() => return Err(error),
            Err(_) => {}
        }
        match last.take() {
            Some(awaited) if awaited.standing != Standing::Waiting || Instant::now() >= until => {
                return Ok(awaited);
            }
            None => bail!("the enforcer does not say how an object stands: is it of an earlier version?"),
            waiting => last = waiting,
        }
        tokio::time::sleep(AGAIN).await;
    }
}

/// How long it is waited, and what is said meanwhile.
struct Patience {
    until: Instant,
    /// When the reason is told, if it takes that long.
    tell: Option<Instant>,
}

impl Patience {
    fn new(until: Instant) -> Self {
        let tell = Some(Instant::now() + SILENCE);
        Self { until, tell }
    }

    /// Reads until it is over, the enforcer has ended, or the time is up.
    async fn read(&mut self, answers: &mut Answers, last: &mut Option<Awaited>) -> Result<()> {
        loop {
            let next = self.tell.map_or(self.until, |tell| tell.min(self.until));
            match tokio::time::timeout_at(next.into(), answers.next()).await {
                Ok(answer) => match answer? {
                    None => return Ok(()),
                    Some(awaited) => {
                        let is_over = awaited.standing != Standing::Waiting;
                        *last = Some(awaited);
                        if is_over {
                            return Ok(());
                        }
                    }
                },
                Err(_) if Instant::now() >= self.until => return Ok(()),
                Err(_) => {
                    self.tell = None;
                    if let Some(awaited) = last {
                        out::complain(format_args!("waiting: {awaited}"));
                    }
                }
            }
        }
    }
}
