//! `enforcer monitor`: verdicts as they are made, one line each.

use std::{
    collections::VecDeque,
    io::{self, IsTerminal as _},
    path::PathBuf,
    process::ExitCode,
};

use anyhow::Result;
use clap::ValueEnum;
use enforcer_core::{model::Host, observed::Seen};

use super::{
    Output,
    out::{self, Form},
};
use crate::{
    config::Config,
    control::{self, WatchLine, Watched},
};

#[derive(Debug, clap::Args)]
pub(crate) struct Monitor {
    /// How it is printed: a line for each call, or a JSON object
    #[arg(short, long, value_enum, default_value_t)]
    output: Output,
    /// Only workloads of this namespace
    #[arg(long, value_name = "NS")]
    namespace: Option<String>,
    /// Only this workload
    #[arg(long, value_name = "NAME|NS/NAME")]
    workload: Option<String>,
    /// Only these verdicts
    #[arg(long, value_enum, value_delimiter = ',', value_name = "VERDICT")]
    verdict: Vec<VerdictName>,
    /// Only this host, wildcard or address
    #[arg(long, value_name = "HOST")]
    host: Option<String>,
    /// Only this port
    #[arg(long, value_name = "PORT")]
    port: Option<u16>,
    /// Show the last calls, of up to 1000 that are remembered, and end
    #[arg(long, value_name = "N")]
    last: Option<usize>,
    /// Go on with what happens from now on; without --last, the default
    #[arg(short, long)]
    follow: bool,
    /// The configuration file, for its `state`
    #[arg(long, value_name = "FILE", conflicts_with = "state")]
    config: Option<PathBuf>,
    /// The folder of the enforcer's state
    #[arg(long, default_value = "/run/enforcer", value_name = "FOLDER")]
    state: PathBuf,
}

/// What became of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum VerdictName {
    /// A rule allows it
    Allow,
    /// No rule allows it, and ALLOW_ANY let it through
    Unregistered,
    /// No rule allows it, and audit let it through
    Audit,
    /// It was refused
    Deny,
}

impl From<VerdictName> for Seen {
    fn from(name: VerdictName) -> Self {
        match name {
            VerdictName::Allow => Self::Allow,
            VerdictName::Unregistered => Self::Unregistered,
            VerdictName::Audit => Self::Audit,
            VerdictName::Deny => Self::Deny,
        }
    }
}

pub(super) fn run(arguments: &Monitor) -> Result<ExitCode> {
    let state = match &arguments.config {
        Some(file) => Config::load(file)?.state,
        None => arguments.state.clone(),
    };
    let wanted = arguments.last.unwrap_or_default();
    let follow = arguments.follow || arguments.last.is_none();
    let filter = Filter::new(arguments);
    let printer = Printer::new(arguments.output);
    // Those that were told before are chosen here: it is the last ones of those that are wanted that count.
    let mut before = VecDeque::new();
    let mut is_now = false;
    let all = if wanted == 0 { 0 } else { usize::MAX };
    for line in control::watch(&state, all, follow)? {
        match line? {
            WatchLine::Call(call) if !filter.passes(&call) => {}
            WatchLine::Call(call) if is_now => printer.call(&call)?,
            WatchLine::Call(call) => {
                before.push_back(call);
                if before.len() > wanted {
                    before.pop_front();
                }
            }
            WatchLine::Now => {
                is_now = true;
                before.drain(..).try_for_each(|call| printer.call(&call))?;
            }
            WatchLine::Missed(missed) => printer.missed(missed)?,
        }
    }
    if follow {
        out::complain("error: the enforcer has ended");
        return Ok(ExitCode::FAILURE);
    }
    Ok(ExitCode::SUCCESS)
}

/// Which calls are wanted; what is not given is not asked for.
struct Filter<'a> {
    arguments: &'a Monitor,
    host: Option<Host>,
}

impl<'a> Filter<'a> {
    fn new(arguments: &'a Monitor) -> Self {
        Self {
            arguments,
            host: arguments.host.as_deref().map(Host::new),
        }
    }

    fn passes(&self, call: &Watched) -> bool {
        let Monitor {
            namespace,
            workload,
            verdict,
            port,
            ..
        } = self.arguments;
        let is_workload = |name: &String| {
            let short = call.workload.split_once('/').map(|(_, short)| short);
            *name == call.workload || Some(name.as_str()) == short
        };
        // An address is a host, too.
        let is_host = |host: &Host| {
            let name = call.host.as_deref().map(Host::new);
            name.is_some_and(|name| host.covers(&name)) || host.as_str() == call.address
        };
        namespace
            .as_ref()
            .is_none_or(|wanted| call.namespace.as_ref() == Some(wanted))
            && workload.as_ref().is_none_or(is_workload)
            && (verdict.is_empty() || verdict.iter().any(|wanted| Seen::from(*wanted) == call.verdict))
            && port.is_none_or(|port| port == call.port)
            && self.host.as_ref().is_none_or(is_host)
    }
}

/// Writes calls.
pub(super) struct Printer {
    output: Output,
    has_colour: bool,
}

impl Printer {
    pub(super) fn new(output: Output) -> Self {
        Self {
            output,
            has_colour: io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none(),
        }
    }

    /// A line that the enforcer of a node has written as JSON.
    pub(super) fn of_node(&self, node: &str, mut line: serde_json::Value) -> Result<()> {
        if self.output == Output::Json {
            line["node"] = node.into();
            return out::json(line, Form::Line);
        }
        if let Some(missed) = line["missed"].as_u64() {
            return out::line(format_args!("{node}: {missed} lines were missed"));
        }
        let call: Watched = serde_json::from_value(line)?;
        out::coloured(&format!("{node} {}", self.text(&call)), self.colour(call.verdict))
    }

    fn call(&self, call: &Watched) -> Result<()> {
        match self.output {
            Output::Json => out::json(call, Form::Line),
            Output::Text => out::coloured(&self.text(call), self.colour(call.verdict)),
        }
    }

    fn missed(&self, missed: u64) -> Result<()> {
        match self.output {
            Output::Json => out::json(serde_json::json!({ "missed": missed }), Form::Line),
            Output::Text => out::line(format_args!(
                "{missed} lines were missed, as this monitor did not read them in time"
            )),
        }
    }

    fn colour(&self, verdict: Seen) -> Option<out::Colour> {
        self.has_colour.then_some(match verdict {
            Seen::Allow => out::Colour::Green,
            Seen::Unregistered | Seen::Audit => out::Colour::Yellow,
            Seen::Deny => out::Colour::Red,
        })
    }

    /// `12:00:01.250 denied frontend/web psql[12] -> tcp db.example.com (192.0.2.10:5432): reason; suggestion`
    fn text(&self, call: &Watched) -> String {
        let word = match call.verdict {
            Seen::Allow => "allowed",
            Seen::Unregistered => "unregistered",
            Seen::Audit => "would deny",
            Seen::Deny => "denied",
        };
        let time = call.time.strftime("%H:%M:%S%.3f");
        let mut text = format!("{time} {word} {}", call.workload);
        if let (Some(process), Some(pid)) = (&call.process, call.pid) {
            text += &format!(" {process}[{pid}]");
        }
        let place = match call.address.parse() {
            Ok(address) => std::net::SocketAddr::new(address, call.port).to_string(),
            Err(_) => call.address.clone(),
        };
        text += &match &call.host {
            Some(host) => format!(" -> {} {host} ({place})", call.protocol),
            None => format!(" -> {} {place}", call.protocol),
        };
        if call.count > 1 {
            text += &format!(" {} times", call.count);
        }
        if let Some(reason) = &call.reason {
            text += &format!(": {reason}");
        }
        if let Some(suggestion) = &call.suggestion {
            text += &format!("; {suggestion}");
        }
        text
    }
}
