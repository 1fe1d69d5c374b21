//! What names stand for, as `enforcer names` tells it. Scripts rely on the names of the fields.

use std::{fmt, time::Duration};

use enforcer_core::{model::Host, names::HostStatus};
use serde::{Deserialize, Serialize};

use super::text::Age;
use crate::report::escape::Line;

/// Most addresses of each source that are told; how many more there are is.
pub const MOST: usize = 4096;

/// Every address that is known to stand for a host.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NameTable {
    /// The addresses: declared ones first, then resolved, then learned ones.
    pub names: Vec<Name>,
    /// How many more there are.
    pub left_out: u64,
}

/// One address of one host.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Name {
    /// What was asked for; of a declared address the host of the entry.
    pub host: String,
    /// The registered host for which the address counts; None if no rule names one.
    pub pattern: Option<String>,
    /// The address, or a network.
    pub address: String,
    /// The workload that was given it, `namespace/name`; None if it holds for every workload that the rules are for.
    pub workload: Option<String>,
    /// How it is known.
    pub source: Source,
    /// Seconds since it was last told; None of one that is declared.
    pub age_seconds: Option<f64>,
    /// Seconds until it counts no more, negative since it does not; None if it counts until something else is told.
    pub expires_in_seconds: Option<f64>,
}

/// How it is known that an address is a host's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Source {
    /// An object says so.
    #[default]
    Declared,
    /// The daemon has asked.
    Resolved,
    /// The workload has asked, and a program has seen the answer.
    Learned,
}

impl Source {
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Declared => "declared",
            Self::Resolved => "resolved",
            Self::Learned => "learned",
        }
    }
}

impl NameTable {
    /// Adds what the daemon's own questions were answered, behind what is declared.
    pub(super) fn add_resolved(&mut self, hosts: &[HostStatus]) {
        let learned = self.names.iter().position(|name| name.source == Source::Learned);
        let at = learned.unwrap_or(self.names.len());
        let all: usize = hosts.iter().map(|host| host.addresses.len()).sum();
        let addresses = hosts
            .iter()
            .flat_map(|host| host.addresses.iter().map(move |address| (host, address)));
        let resolved = addresses.take(MOST).map(|(status, address)| Name {
            host: status.host.to_string(),
            pattern: Some(status.host.to_string()),
            address: address.to_string(),
            workload: None,
            source: Source::Resolved,
            age_seconds: status.age.as_ref().map(Duration::as_secs_f64),
            expires_in_seconds: None,
        });
        let resolved: Vec<_> = resolved.collect();
        self.left_out += (all - resolved.len()) as u64;
        self.names.splice(at..at, resolved);
    }

    /// Adds one that an object declares.
    pub fn add_declared(&mut self, host: &Host, address: String) {
        self.names.push(Name {
            host: host.to_string(),
            pattern: Some(host.to_string()),
            address,
            source: Source::Declared,
            ..Name::default()
        });
    }
}

/// A table with as many columns as [`Name`] has fields.
impl fmt::Display for NameTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let heads = [
            "HOST",
            "PATTERN",
            "ADDRESS",
            "WORKLOAD",
            "SOURCE",
            "AGE",
            "EXPIRES IN",
        ];
        let mut rows = vec![heads.map(str::to_owned)];
        rows.extend(self.names.iter().map(Name::cells));
        let widths: [usize; 7] = std::array::from_fn(|column| {
            let cells = rows.iter().map(|row| row[column].chars().count());
            cells.max().unwrap_or_default()
        });
        for row in &rows {
            let mut line = String::new();
            for (cell, width) in row.iter().zip(widths) {
                line.push_str(&format!("{cell:width$}  "));
            }
            writeln!(f, "{}", line.trim_end())?;
        }
        match self.left_out {
            0 => Ok(()),
            more => writeln!(f, "{more} more addresses are not shown"),
        }
    }
}

impl Name {
    fn cells(&self) -> [String; 7] {
        let or_none =
            |text: Option<&String>| text.map_or_else(|| "-".to_owned(), |text| Line(text).to_string());
        let age = self.age_seconds.map(|age| Age(age).to_string());
        let expires = self.expires_in_seconds.map(|left| {
            if left < 0.0 {
                "expired".to_owned()
            } else {
                Age(left).to_string()
            }
        });
        [
            Line(&self.host).to_string(),
            or_none(self.pattern.as_ref()),
            Line(&self.address).to_string(),
            or_none(self.workload.as_ref()),
            self.source.word().to_owned(),
            or_none(age.as_ref()),
            or_none(expires.as_ref()),
        ]
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;

    fn learned() -> Name {
        Name {
            host: "a.b.example\n".to_owned(),
            pattern: Some("*.b.example".to_owned()),
            address: "192.0.2.1".to_owned(),
            workload: Some("frontend/web".to_owned()),
            source: Source::Learned,
            age_seconds: Some(1.0),
            expires_in_seconds: Some(-1.0),
        }
    }

    #[test]
    fn table_has_a_line_for_each_address_in_order_of_source() {
        let mut table = NameTable {
            left_out: 7,
            ..NameTable::default()
        };
        table.add_declared(&Host::new("db.example"), "192.0.2.0/24".to_owned());
        table.names.push(learned());
        table.add_resolved(&[HostStatus {
            is_pending: false,
            host: Host::new("www.example"),
            addresses: [IpAddr::from([192, 0, 2, 9])].into(),
            leaving: std::collections::BTreeSet::new(),
            age: Some(Duration::from_secs(20)),
            failing: None,
            left_out: 0,
        }]);
        assert_eq!(
            table.to_string(),
            "HOST           PATTERN      ADDRESS       WORKLOAD      SOURCE    AGE    EXPIRES IN\n\
             db.example     db.example   192.0.2.0/24  -             declared  -      -\n\
             www.example    www.example  192.0.2.9     -             resolved  20 s   -\n\
             a.b.example\\n  *.b.example  192.0.2.1     frontend/web  learned   1.0 s  expired\n\
             7 more addresses are not shown\n"
        );
    }

    #[test]
    fn more_than_are_told_are_counted() {
        let mut table = NameTable::default();
        let addresses = (0..=MOST).map(|number| {
            let bytes = u32::try_from(number).unwrap().to_be_bytes();
            IpAddr::from(bytes)
        });
        table.add_resolved(&[HostStatus {
            is_pending: false,
            host: Host::new("many.example"),
            addresses: addresses.collect(),
            leaving: std::collections::BTreeSet::new(),
            age: None,
            failing: None,
            left_out: 0,
        }]);
        assert_eq!((table.names.len(), table.left_out), (MOST, 1));
    }
}
