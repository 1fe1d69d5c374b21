//! `docs/metrics.md`, made of the catalogue.

use std::fmt::Write as _;

use super::catalog::{ALL, Kind, Metric};
use super::told::{ANSWERS, VERDICTS, reason};
use crate::counts::Resolution;

/// The whole page.
#[must_use]
pub fn document() -> String {
    let mut text = String::from(BEFORE);
    text.push_str("\n| metric | kind | labels | |\n|---|---|---|---|\n");
    for Metric {
        name,
        kind,
        labels,
        help,
    } in &ALL
    {
        let labels: Vec<_> = labels.iter().map(|label| format!("`{label}`")).collect();
        let (suffix, word) = (kind.suffix(), kind.word());
        let unit = match kind {
            Kind::Histogram => " of `_bucket`, `_sum`, `_count`",
            _ => "",
        };
        // A string takes whatever is written.
        writeln!(
            text,
            "| `{name}{suffix}` | {word}{unit} | {} | {help} |",
            labels.join(", ")
        )
        .ok();
    }
    text.push_str("\n## Values of labels\n\n");
    let quoted = |words: &[&str]| {
        let words: Vec<_> = words.iter().map(|word| format!("`{word}`")).collect();
        words.join(", ")
    };
    let reasons: Vec<_> = (1..=u8::MAX)
        .filter_map(enforcer_common::Reason::from_number)
        .map(reason)
        .chain(["opted_in"])
        .collect();
    let resolutions = Resolution::ALL.map(|(_, word)| word);
    let answers = ANSWERS.map(|(word, _)| word);
    writeln!(text, "- `verdict`: {}.", quoted(&VERDICTS)).ok();
    writeln!(text, "- `reason`: {}.", quoted(&reasons)).ok();
    writeln!(text, "- `result` of proofs: `proven`, `failed`.").ok();
    writeln!(text, "- `outcome` of resolutions: {}.", quoted(&resolutions)).ok();
    writeln!(text, "- `outcome` of DNS answers: {}.", quoted(&answers)).ok();
    text.push_str(AFTER);
    text
}

const BEFORE: &str = "\
# Metrics

Generated from the code by a test: `BLESS=1 cargo test -p tests --test metrics documented` writes it anew.

```yaml
metrics:
  listen: \"[::]:9967\"     # 127.0.0.1:9967 for this machine alone; absent: nobody listens
```

`GET /metrics` answers in the text format of OpenMetrics, `GET /healthz` with 200 as long as the process serves. The \
manifests have it on, at a container port named `metrics`. Whoever reaches the address may read: there is neither \
encryption nor a token, and no metric has the address or the name of a destination. The listener has no privileges and \
changes nothing; numbers are gathered when somebody asks, at most twice a second, whoever asks how often. If the address \
cannot be had, the log says so and it is tried again; enforcement does not depend on it.
";

const AFTER: &str = "
## Of whom

`workload` is the name of what owns the workload: the Deployment, StatefulSet, DaemonSet or Job of a pod (of a Job that a \
CronJob has made, the CronJob), the pod itself where nothing owns it, and the configured name of other workloads. At most \
1,000 are told apart on a node; further ones are `namespace=\"\", workload=\"(other)\"` for as long as they last. Processes \
below a root that belong to no known workload are `(unknown)`, and calls whose workload is not looked for, because they \
stay on the machine or their socket's kind is opted in, are `(any)`.

Verdicts of a workload that is gone stay in the number of its owner, also over a restart; the numbers begin at zero with \
a boot, and with a version whose maps have another layout. Verdicts of the self-proof are not counted. A verdict is made \
for each `connect()` and for each datagram of a socket that is not connected; `audit` would have been refused by \
enforcement, `unregistered` is let through by ALLOW_ANY.

`rate(enforcer_verdicts_total{verdict=\"deny\"}[5m])` is what workloads are refused a second.
";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_conventions() {
        for Metric {
            name, labels, help, ..
        } in &ALL
        {
            let is_plain = |text: &str| text.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
            assert!(name.starts_with("enforcer_") && is_plain(name), "{name}");
            assert!(
                !name.ends_with("_total") && !name.ends_with("_info"),
                "{name} has its suffix twice"
            );
            assert!(labels.iter().all(|label| is_plain(label)), "{name}");
            assert!(
                help.ends_with('.') && !help.contains(['\n', '|', '\\', '"']),
                "{help}"
            );
        }
        let mut names: Vec<_> = ALL.iter().map(|metric| metric.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), ALL.len(), "a name is given twice");
    }
}
