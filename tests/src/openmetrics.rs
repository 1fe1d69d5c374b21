//! A strict reader of OpenMetrics' text format, as its specification has it (1.0.0), for what the daemon writes.
//!
//! It must never accept what a scraper might not: timestamps and exemplars, which are not written, are errors.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
};

use anyhow::{Context as _, Result, bail, ensure};

/// A name's labels.
pub type Labels = BTreeMap<String, String>;

/// What was read.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Exposition {
    /// The type of each family.
    pub types: BTreeMap<String, String>,
    /// The value of each sample, by its name and labels.
    pub samples: BTreeMap<(String, Labels), f64>,
}

impl Exposition {
    /// Reads the whole of it.
    ///
    /// # Errors
    /// Names the first line that is not as it has to be.
    pub fn parse(text: &str) -> Result<Self> {
        let body = text
            .strip_suffix("# EOF\n")
            .context("it does not end with # EOF")?;
        ensure!(
            body.is_empty() || body.ends_with('\n'),
            "the last line has no end"
        );
        let mut read = Self::default();
        let (mut family, mut helped) = (String::new(), BTreeSet::new());
        for line in body.lines() {
            let parsed = match line.strip_prefix("# ") {
                Some(about) => read.describe(about, &mut family, &mut helped),
                None => read.sample(line, &family),
            };
            parsed.with_context(|| format!("in the line {line:?}"))?;
        }
        read.histograms()?;
        Ok(read)
    }

    /// The value of a sample.
    pub fn get(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let labels = labels
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        self.samples.get(&(name.to_owned(), labels.collect())).copied()
    }

    /// All samples of a name.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = (&'a Labels, f64)> {
        let is_it = move |of: &&(String, Labels)| of.0 == name;
        let found = self.samples.keys().filter(is_it);
        found.map(|key| (&key.1, self.samples[key]))
    }

    fn describe(&mut self, about: &str, family: &mut String, helped: &mut BTreeSet<String>) -> Result<()> {
        let mut words = about.splitn(3, ' ');
        let mut word = || words.next().context("it ends early");
        let (what, name, value) = (word()?, word()?, word()?);
        ensure!(is_name(name), "{name:?} is no name");
        match what {
            "HELP" => {
                ensure!(helped.insert(name.to_owned()), "a second HELP");
                ensure!(
                    !self.types.contains_key(name),
                    "HELP after TYPE, or a family in two parts"
                );
            }
            "TYPE" => {
                let is_known = matches!(value, "counter" | "gauge" | "info" | "histogram");
                ensure!(is_known, "the type {value:?} is not known here");
                let ends = ["_total", "_info", "_created", "_count", "_sum", "_bucket"];
                ensure!(
                    !ends.iter().any(|end| name.ends_with(end)),
                    "the name has a sample's suffix"
                );
                ensure!(
                    self.types.insert(name.to_owned(), value.to_owned()).is_none(),
                    "a second TYPE"
                );
                name.clone_into(family);
            }
            other => bail!("{other:?} is no description"),
        }
        Ok(())
    }

    fn sample(&mut self, line: &str, family: &str) -> Result<()> {
        let end = line.find(['{', ' ']).context("it has no value")?;
        let (name, rest) = line.split_at(end);
        let (labels, value) = match rest.strip_prefix('{') {
            Some(inner) => labels(inner)?,
            None => (Labels::new(), rest),
        };
        let value = value.strip_prefix(' ').context("no space before the value")?;
        let number: f64 = value.parse().with_context(|| format!("{value:?} is no number"))?;
        let kind = self.types.get(family).context("a sample before its TYPE")?;
        let suffix = name.strip_prefix(family).context("a sample of another family")?;
        match (kind.as_str(), suffix) {
            ("counter", "_total") | ("histogram", "_bucket" | "_count" | "_sum") => {
                ensure!(
                    number.is_finite() && number >= 0.0,
                    "it is below zero, or no number"
                );
            }
            ("info", "_info") => ensure!(value == "1", "an info is 1"),
            ("gauge", "") => {}
            _ => bail!("a {kind} has no sample {name}"),
        }
        let key = (name.to_owned(), labels);
        ensure!(
            self.samples.insert(key, number).is_none(),
            "the same sample twice"
        );
        Ok(())
    }

    /// Buckets are cumulative and end with all.
    fn histograms(&self) -> Result<()> {
        let histograms = self.types.iter().filter(|(_, kind)| *kind == "histogram");
        for (family, _) in histograms {
            let name = format!("{family}_bucket");
            let mut buckets = Vec::new();
            for (labels, count) in self.all(&name) {
                let bound = labels.get("le").context("a bucket without le")?;
                let bound: f64 = if bound == "+Inf" {
                    f64::INFINITY
                } else {
                    bound.parse()?
                };
                buckets.push((bound, count));
            }
            buckets.sort_by(|one, other| one.0.total_cmp(&other.0));
            ensure!(
                buckets.is_sorted_by(|one, other| one.1 <= other.1),
                "{name} is not cumulative"
            );
            let count = self.get(&format!("{family}_count"), &[]);
            let all = buckets.last().filter(|(bound, _)| bound.is_infinite());
            ensure!(
                count.is_some() && all.map(|(_, count)| *count) == count,
                "{name} does not end with all"
            );
        }
        Ok(())
    }
}

fn is_name(name: &str) -> bool {
    let is_letter = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
    name.chars().all(is_letter) && name.starts_with(|first: char| first.is_ascii_alphabetic())
}

/// From behind the opening brace; returns what is behind the closing one, too.
fn labels(mut rest: &str) -> Result<(Labels, &str)> {
    let mut labels = Labels::new();
    if let Some(behind) = rest.strip_prefix('}') {
        return Ok((labels, behind));
    }
    loop {
        let (name, behind) = rest.split_once("=\"").context("a label without a value")?;
        ensure!(is_name(name), "{name:?} is no label");
        let (value, behind) = quoted(behind)?;
        ensure!(labels.insert(name.to_owned(), value).is_none(), "a label twice");
        match (behind.strip_prefix(','), behind.strip_prefix('}')) {
            (Some(next), _) => rest = next,
            (_, Some(behind)) => return Ok((labels, behind)),
            _ => bail!("neither another label nor the end"),
        }
    }
}

fn quoted(text: &str) -> Result<(String, &str)> {
    let mut value = String::new();
    let mut letters = text.char_indices();
    while let Some((place, letter)) = letters.next() {
        match letter {
            '"' => return Ok((value, &text[place + 1..])),
            '\\' => match letters.next().map(|(_, letter)| letter) {
                Some('n') => value.push('\n'),
                Some(letter @ ('\\' | '"')) => value.push(letter),
                other => bail!("{other:?} is not to be escaped"),
            },
            other => value.push(other),
        }
    }
    bail!("a value without an end")
}

/// A request, and the whole answer: the head, and the body.
///
/// # Errors
/// If nobody answers.
pub fn request(at: SocketAddr, head: &str) -> Result<(String, String)> {
    let mut stream = TcpStream::connect(at).context("connecting to the listener")?;
    stream.set_read_timeout(Some(crate::daemon::PATIENCE))?;
    stream.write_all(head.as_bytes())?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    let (head, body) = text
        .split_once("\r\n\r\n")
        .context("the answer has no end of its head")?;
    Ok((head.to_owned(), body.to_owned()))
}

/// What is told at a path, and how the head begins.
///
/// # Errors
/// If nobody answers.
pub fn get(at: SocketAddr, path: &str) -> Result<(String, String)> {
    request(
        at,
        &format!("GET {path} HTTP/1.1\r\nHost: {at}\r\nConnection: close\r\n\r\n"),
    )
}

/// What is scraped, read strictly.
///
/// # Errors
/// If it is not answered, or not as it has to be.
pub fn scrape(at: SocketAddr) -> Result<Exposition> {
    let (head, text) = get(at, "/metrics")?;
    ensure!(head.starts_with("HTTP/1.1 200 "), "{head}\n{text}");
    let kind = "content-type: application/openmetrics-text; version=1.0.0; charset=utf-8";
    ensure!(head.to_ascii_lowercase().contains(kind), "{head}");
    Exposition::parse(&text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_scraper_might_not_take_is_refused() {
        let head = "# HELP a Help.\n# TYPE a counter\n";
        let check = |lines: &str, is_right: bool| {
            let read = Exposition::parse(&format!("{head}{lines}# EOF\n"));
            assert_eq!(read.is_ok(), is_right, "{lines}: {read:?}");
        };
        check("a_total 1\n", true);
        check("a_total{b=\"\\\\ \\\" \\n\"} 1\n", true);
        check("a 1\n", false);
        check("b_total 1\n", false);
        check("a_total -1\n", false);
        check("a_total 1\na_total 1\n", false);
        check("a_total{b=\"\\x\"} 1\n", false);
        check("a_total{b=\"1\",b=\"2\"} 1\n", false);
        check("a_total 1 17\n", false);
        check("a_total 1\n# TYPE b gauge\nb 1\na_total{c=\"1\"} 1\n", false);
        check(
            "# TYPE h histogram\nh_sum 1\nh_count 2\nh_bucket{le=\"1.0\"} 2\nh_bucket{le=\"+Inf\"} 2\n",
            true,
        );
        check(
            "# TYPE h histogram\nh_sum 1\nh_count 2\nh_bucket{le=\"1.0\"} 3\nh_bucket{le=\"+Inf\"} 2\n",
            false,
        );
        assert!(Exposition::parse("# EOF").is_err());
        assert!(Exposition::parse("# EOF\n\n").is_err());
    }
}
