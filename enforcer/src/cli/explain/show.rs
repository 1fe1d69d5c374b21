//! Writes what was found: lines for people, with the ServiceEntry that is missing as YAML, or records for scripts.

use std::{
    fmt::Arguments,
    net::{IpAddr, Ipv4Addr},
};

use anyhow::Result;
use enforcer_core::{
    explain::{Target, service_entry},
    model::{Host, Namespace},
};

use super::{
    super::{Output, out},
    Asked, Explain,
};
use crate::control::{Explained, Judged};

pub(super) fn show(typed: &Explain, asked: &Asked, explained: &[Explained]) -> Result<()> {
    if typed.output == Output::Json {
        let mut records = explained.iter().map(|explained| &explained.record);
        return records.try_for_each(|record| out::json(record, out::Form::Line));
    }
    // Beside an entry, which is YAML, everything else is a comment.
    let sign = if typed.entry { "# " } else { "" };
    let say = |text: Arguments<'_>| out::line(format_args!("{sign}{text}"));
    for (explained, (_, target)) in explained.iter().zip(&asked.targets) {
        for line in explained.text(target) {
            say(format_args!("{line}"))?;
        }
        if typed.entry && explained.record.verdict != Judged::Allow {
            let entry = entry(&asked.namespace, target, explained.host.as_deref());
            out::lines(&format!("---\n{}", entry.trim_end()))?;
        }
    }
    let mode = explained
        .iter()
        .find_map(|explained| explained.record.mode.as_deref());
    if let Some(mode) = mode {
        say(format_args!("mode: {mode}"))?;
    }
    let matching = explained
        .first()
        .map(|explained| explained.record.matching.as_str());
    matching.map_or(Ok(()), |matching| say(format_args!("matching: {matching}")))
}

fn entry(namespace: &Namespace, target: &Target, host: Option<&str>) -> String {
    let address = match target {
        Target::Address(to) => to.address,
        // It is written by the host's name alone.
        Target::Host(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
    };
    service_entry(namespace, host.map(Host::new).as_ref(), target.at(address))
}
