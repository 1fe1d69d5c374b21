//! The numbers of one moment, and their text.
//!
//! It must never write a metric that is not in the catalogue, nor a label's value unescaped: the crate that writes the
//! text does not escape.

use std::{collections::BTreeMap, fmt};

use anyhow::{Context as _, Result};
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet, text},
    metrics::MetricType,
    registry::Registry,
};

use super::catalog::{ALL, Kind, Metric};

/// A number with its labels.
#[derive(Clone, Debug)]
struct Sample {
    labels: Vec<(&'static str, String)>,
    value: Value,
}

#[derive(Clone, Debug)]
enum Value {
    Whole(u64),
    Real(f64),
    /// The sum, and how many there are up to each bound.
    Times(f64, Vec<(f64, u64)>),
}

/// Numbers of all metrics.
#[derive(Clone, Debug, Default)]
pub(super) struct Families(BTreeMap<&'static str, Vec<Sample>>);

impl Families {
    /// A whole number, with the values of its labels.
    pub(super) fn whole(&mut self, metric: &Metric, labels: &[&str], value: u64) {
        self.put(metric, labels, Value::Whole(value));
    }

    /// A number that need not be whole.
    pub(super) fn real(&mut self, metric: &Metric, labels: &[&str], value: f64) {
        self.put(metric, labels, Value::Real(value));
    }

    /// Whether something holds.
    pub(super) fn flag(&mut self, metric: &Metric, labels: &[&str], holds: bool) {
        self.whole(metric, labels, holds.into());
    }

    /// How often something took how long: how many are in each bucket, the last of which has no bound.
    pub(super) fn times(&mut self, metric: &Metric, (bounds, counts): (&[f64], &[u64]), sum: f64) {
        let bounds = bounds.iter().copied().chain([f64::MAX]);
        let buckets = bounds.zip(counts.iter().copied()).collect();
        self.put(metric, &[], Value::Times(sum, buckets));
    }

    fn put(&mut self, metric: &Metric, labels: &[&str], value: Value) {
        debug_assert_eq!(labels.len(), metric.labels.len(), "{}", metric.name);
        let names = metric.labels.iter().copied();
        let labels = names.zip(labels.iter().map(|value| escaped(value))).collect();
        let samples = self.0.entry(metric.name).or_default();
        samples.push(Sample { labels, value });
    }

    /// As OpenMetrics has it.
    ///
    /// # Errors
    /// If it cannot be written, which does not happen.
    pub(super) fn text(self) -> Result<String> {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(self));
        let mut text = String::new();
        text::encode(&mut text, &registry).context("writing the metrics")?;
        Ok(text)
    }
}

impl Collector for Families {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        for metric in &ALL {
            let Some(samples) = self.0.get(metric.name) else {
                continue;
            };
            let kind = match metric.kind {
                Kind::Counter => MetricType::Counter,
                Kind::Gauge => MetricType::Gauge,
                Kind::Info => MetricType::Info,
                Kind::Histogram => MetricType::Histogram,
            };
            let mut encoder = encoder.encode_descriptor(metric.name, metric.help, None, kind)?;
            for sample in samples {
                encode(metric.kind, sample, &mut encoder)?;
            }
        }
        Ok(())
    }
}

fn encode(kind: Kind, sample: &Sample, encoder: &mut MetricEncoder<'_>) -> Result<(), fmt::Error> {
    let labels = sample.labels.as_slice();
    if kind == Kind::Info {
        return encoder.encode_info(&labels);
    }
    if labels.is_empty() {
        // A family without labels would have empty braces.
        return encode_value(kind, &sample.value, encoder);
    }
    encode_value(kind, &sample.value, &mut encoder.encode_family(&labels)?)
}

fn encode_value(kind: Kind, value: &Value, encoder: &mut MetricEncoder<'_>) -> Result<(), fmt::Error> {
    match (kind, value) {
        (Kind::Counter, Value::Whole(value)) => encoder.encode_counter::<NoLabelSet, _, f64>(value, None),
        (Kind::Counter, Value::Real(value)) => encoder.encode_counter::<NoLabelSet, _, f64>(value, None),
        (_, Value::Whole(value)) => encoder.encode_gauge(value),
        (_, Value::Real(value)) => encoder.encode_gauge(value),
        (_, Value::Times(sum, buckets)) => {
            let count = buckets.iter().map(|(_, count)| count).sum();
            encoder.encode_histogram::<NoLabelSet>(*sum, count, buckets, None)
        }
    }
}

/// A label's value as it stands between quotes.
fn escaped(value: &str) -> String {
    let mut escaped = String::with_capacity(value.len());
    for letter in value.chars() {
        match letter {
            '\\' => escaped.push_str("\\\\"),
            '"' => escaped.push_str("\\\""),
            '\n' => escaped.push_str("\\n"),
            other => escaped.push(other),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::catalog;

    #[test]
    fn text_is_openmetrics_with_what_is_odd_in_labels_escaped() {
        let mut families = Families::default();
        families.flag(&catalog::PROVEN, &[], true);
        families.whole(&catalog::SUPPRESSED, &["a", "s\\x2d\"\n"], 7);
        families.whole(&catalog::BUILD, &["1", "c", "6.1"], 1);
        families.times(&catalog::CHANGE, (&[0.5, 1.0], &[1, 2, 3]), 9.5);
        let text = families.text().unwrap();
        let lines: Vec<_> = text.lines().filter(|line| !line.starts_with("# HELP")).collect();
        let expected = [
            "# TYPE enforcer_build info",
            "enforcer_build_info{version=\"1\",commit=\"c\",kernel=\"6.1\"} 1",
            "# TYPE enforcer_proven gauge",
            "enforcer_proven 1",
            "# TYPE enforcer_events_suppressed counter",
            "enforcer_events_suppressed_total{namespace=\"a\",workload=\"s\\\\x2d\\\"\\n\"} 7",
            "# TYPE enforcer_change_in_force_seconds histogram",
            "enforcer_change_in_force_seconds_sum 9.5",
            "enforcer_change_in_force_seconds_count 6",
            "enforcer_change_in_force_seconds_bucket{le=\"0.5\"} 1",
            "enforcer_change_in_force_seconds_bucket{le=\"1.0\"} 3",
            "enforcer_change_in_force_seconds_bucket{le=\"+Inf\"} 6",
            "# EOF",
        ];
        assert_eq!(lines, expected, "{text}");
    }
}
