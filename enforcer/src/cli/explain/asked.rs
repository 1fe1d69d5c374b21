//! What was meant: everything that was typed, read and checked, or a line for each thing that is wrong.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    path::{Path, PathBuf},
};

use enforcer_core::{
    explain::Target,
    model::{Host, Labels, Namespace, Transport},
    typed::host_of,
};

use super::{
    super::{CONFIG, Output},
    Explain,
};
use crate::config::{checked_labels, namespace};

/// The addresses of hosts.
pub(super) type Answers = BTreeMap<Host, BTreeSet<IpAddr>>;

/// A question that can be answered.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) source: Source,
    pub(super) namespace: Namespace,
    pub(super) who: Who,
    /// As they were typed, and as they are read.
    pub(super) targets: Vec<(String, Target)>,
    /// What hosts resolve to; None: resolvers are asked.
    pub(super) answers: Option<Answers>,
}

/// Who knows the registry.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Source {
    /// A configuration file.
    Config(PathBuf),
    /// Files and folders of Istio YAML.
    Registry(Vec<PathBuf>),
    /// The running enforcer: of this configuration, or with its state in this folder.
    Live { config: Option<PathBuf>, state: PathBuf },
}

/// Which workload of the namespace.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Who {
    Name(String),
    Labels(Labels),
    TheOnlyOne,
}

/// Where the state is if nothing says so.
const STATE: &str = "/run/enforcer";

impl Asked {
    pub(super) fn read(typed: &Explain) -> Result<Self, Vec<String>> {
        let mut problems = Vec::new();
        let transport = if typed.udp { Transport::Udp } else { Transport::Tcp };
        let (paths, destinations) = divided(typed, transport);
        if destinations.is_empty() {
            problems.push("name a destination: HOST:PORT, IP:PORT or [IPv6]:PORT".to_owned());
        }
        let mut targets = Vec::new();
        for text in destinations {
            match Target::parse(&text, transport) {
                Ok(target) => targets.push((text, target)),
                Err(problem) => problems.push(problem),
            }
        }
        let source = source(typed, paths, Path::new(CONFIG));
        let source = source.map_err(|problem| problems.push(problem)).ok();
        let namespace = namespace(&typed.namespace);
        let namespace = namespace.map_err(|problem| problems.push(problem)).ok();
        let answers = answers(&typed.resolve, &mut problems);
        let who = match (&typed.workload, &typed.labels) {
            (Some(name), _) => Who::Name(name.clone()),
            (None, None) => Who::TheOnlyOne,
            (None, Some(text)) => Who::Labels(labels(text).unwrap_or_else(|problem| {
                problems.push(problem);
                Labels::new()
            })),
        };
        if typed.entry && typed.output == Output::Json {
            problems.push("--entry prints YAML, which -o json cannot hold: leave one of them out".to_owned());
        }
        match (source, namespace) {
            (Some(source), Some(namespace)) if problems.is_empty() => Ok(Self {
                source,
                namespace,
                who,
                targets,
                answers: (!typed.resolve.is_empty()).then_some(answers),
            }),
            _ => Err(problems),
        }
    }
}

/// Paths and destinations. What stands right behind the paths of --registry is taken for another, so that those at the end
/// which are destinations and no files are taken back where there is no other.
fn divided(typed: &Explain, transport: Transport) -> (Vec<PathBuf>, Vec<String>) {
    let mut paths = typed.registry.clone();
    let mut destinations = typed.destinations.clone();
    while typed.destinations.is_empty() {
        let taken = paths
            .last()
            .filter(|path| !path.exists())
            .and_then(|path| path.to_str());
        let Some(text) = taken.filter(|text| Target::parse(text, transport).is_ok()) else {
            break;
        };
        destinations.insert(0, text.to_owned());
        paths.pop();
    }
    (paths, destinations)
}

/// `usual` is where the configuration is if nothing says so.
fn source(typed: &Explain, paths: Vec<PathBuf>, usual: &Path) -> Result<Source, String> {
    if typed.live {
        let state = typed.state.clone();
        return Ok(Source::Live {
            config: typed.config.clone(),
            state: state.unwrap_or_else(|| STATE.into()),
        });
    }
    match &typed.config {
        Some(file) => Ok(Source::Config(file.clone())),
        None if !paths.is_empty() => Ok(Source::Registry(paths)),
        None if !typed.registry.is_empty() => {
            Err("--registry has no path before the destinations".to_owned())
        }
        None if usual.exists() => Ok(Source::Config(usual.to_owned())),
        None => Err(format!(
            "name a registry: --config FILE, --registry PATH, or --live for that of the running enforcer ({} does not exist)",
            usual.display()
        )),
    }
}

/// What each `HOST=IP,…` says, all of one host together.
fn answers(typed: &[String], problems: &mut Vec<String>) -> Answers {
    let mut answers = Answers::new();
    for text in typed {
        match answer(text) {
            Ok((host, addresses)) => answers.entry(host).or_default().extend(addresses),
            Err(problem) => problems.push(format!("--resolve {text:?}: {problem}")),
        }
    }
    answers
}

fn answer(text: &str) -> Result<(Host, BTreeSet<IpAddr>), String> {
    let (host, addresses) = text
        .split_once('=')
        .ok_or("write HOST=IP, and more addresses after commas")?;
    let address = |text: &str| {
        let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']'));
        let address = bare.unwrap_or(text).parse::<IpAddr>();
        address
            .map(|address| address.to_canonical())
            .map_err(|_| format!("{text:?} is no IP address: write HOST=IP, and more addresses after commas"))
    };
    let addresses = addresses.split(',').map(address).collect::<Result<_, _>>()?;
    Ok((host_of(host)?, addresses))
}

/// `key=value,…`, or nothing.
fn labels(text: &str) -> Result<Labels, String> {
    let mut labels = Labels::new();
    for pair in text.split(',').filter(|_| !text.is_empty()) {
        let wrong = || format!("--labels: {pair:?} is no label: write KEY=VALUE, and more after commas");
        let (key, value) = pair.split_once('=').ok_or_else(wrong)?;
        if labels.insert(key.to_owned(), value.to_owned()).is_some() {
            return Err(format!("--labels: {key:?} is there twice"));
        }
    }
    checked_labels(labels).map_err(|problem| format!("--labels: {problem}"))
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    #[derive(Debug, clap::Parser)]
    struct Line {
        #[command(flatten)]
        explain: Explain,
    }

    fn read(line: &str) -> Result<Asked, Vec<String>> {
        let words = ["explain"].into_iter().chain(line.split_whitespace());
        let line = Line::try_parse_from(words);
        Asked::read(&line.unwrap().explain)
    }

    fn typed(asked: &Asked) -> Vec<&str> {
        asked.targets.iter().map(|(text, _)| text.as_str()).collect()
    }

    #[test]
    fn destinations_right_behind_the_paths_are_no_paths() {
        for line in [
            "--namespace a --registry / a.example:1 b.example:2/udp",
            "--registry / --namespace a a.example:1 b.example:2/udp",
            "--namespace a a.example:1 b.example:2/udp --registry /",
            "--namespace a --registry / -- a.example:1 b.example:2/udp",
        ] {
            let asked = read(line).unwrap();
            assert_eq!(typed(&asked), ["a.example:1", "b.example:2/udp"], "{line}");
            assert_eq!(asked.source, Source::Registry(vec!["/".into()]), "{line}");
        }
        let asked = read("--registry / /dev --registry /etc --namespace a 192.0.2.1:1").unwrap();
        assert_eq!(
            asked.source,
            Source::Registry(vec!["/".into(), "/dev".into(), "/etc".into()])
        );
        let problems = read("--namespace a --registry a.example:1").unwrap_err();
        assert_eq!(problems, ["--registry has no path before the destinations"]);
    }

    #[test]
    fn addresses_of_one_host_are_taken_together() {
        let line = "--live --namespace a a.example:1";
        assert!(read(line).unwrap().answers.is_none());
        let line = "--registry / --namespace a --resolve A.example.=192.0.2.1,192.0.2.2 \
                    --resolve a.example=[2001:db8::1] --resolve b.example=::ffff:192.0.2.3 a.example:1";
        let answers = read(line).unwrap().answers.unwrap();
        let of = |host: &str| -> Vec<String> {
            answers[&Host::new(host)]
                .iter()
                .map(ToString::to_string)
                .collect()
        };
        assert_eq!(of("a.example"), ["192.0.2.1", "192.0.2.2", "2001:db8::1"]);
        assert_eq!(of("b.example"), ["192.0.2.3"]);
    }

    #[test]
    fn labels_are_read_and_may_be_none() {
        assert_eq!(labels("").unwrap(), Labels::new());
        let two = labels("app=web,example.com/tier=").unwrap();
        assert_eq!(two["example.com/tier"], "");
        for wrong in ["app", "app=web,", "=web", "app=a b", "app=a,app=b"] {
            assert!(labels(wrong).unwrap_err().starts_with("--labels: "), "{wrong}");
        }
    }

    #[test]
    fn everything_that_is_wrong_is_told_at_once() {
        let problems = read(
            "--registry / --namespace A_b --labels app --resolve a.example --resolve a.example= \
             --resolve *.a.example=192.0.2.1 --entry -o json a.example https://b.example/",
        )
        .unwrap_err();
        let starts = [
            "\"a.example\" is no destination: it has no port",
            "\"https://b.example/\" is no destination: write no URL",
            "\"A_b\" is not a namespace",
            "--resolve \"a.example\": write HOST=IP",
            "--resolve \"a.example=\": \"\" is no IP address",
            "--resolve \"*.a.example=192.0.2.1\": *.a.example stands for many hosts",
            "--labels: \"app\" is no label",
            "--entry prints YAML",
        ];
        assert_eq!(problems.len(), starts.len(), "{problems:#?}");
        for (problem, start) in problems.iter().zip(starts) {
            assert!(problem.starts_with(start), "{problem}");
        }
    }

    #[test]
    fn registry_is_where_the_line_or_else_the_machine_says() {
        let usual = |line: &str, usual: &str| {
            let words = ["explain"].into_iter().chain(line.split_whitespace());
            let typed = Line::try_parse_from(words).unwrap().explain;
            source(&typed, typed.registry.clone(), Path::new(usual))
        };
        let line = "--namespace a a.example:1";
        assert_eq!(usual(line, "/").unwrap(), Source::Config("/".into()));
        assert!(
            usual(line, "/nowhere")
                .unwrap_err()
                .contains("--config FILE, --registry PATH, or --live")
        );
        let live = Source::Live {
            config: Some("c.yaml".into()),
            state: STATE.into(),
        };
        assert_eq!(
            usual("--live --config c.yaml --namespace a a:1", "/").unwrap(),
            live
        );
    }
}
