//! The ServiceEntry that would allow a destination.

use std::net::IpAddr;

use anyhow::{Context as _, Result, bail, ensure};
use enforcer_core::{
    documents::{Judgement, check},
    explain::service_entry,
    model::{Destination, Host, Namespace},
    observed::Carrier,
};
use serde::Deserialize;
use serde_json::{Map, Value};

/// What is asked for.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    namespace: String,
    host: Option<String>,
    address: Option<IpAddr>,
    port: String,
    transport: Carrier,
}

/// Its YAML. Hosts are what workloads have asked for, and may be anything: a name that does not make a valid object, such
/// as one with a newline, is left out, and the address is allowed.
///
/// # Errors
/// What the query lacks, or that no object can allow it.
pub(super) fn of_query(query: &str) -> Result<String> {
    let fields = form_urlencoded::parse(query.as_bytes());
    let fields: Map<_, _> = fields
        .map(|(key, value)| (key.into_owned(), Value::String(value.into_owned())))
        .collect();
    let wanted: Wanted = serde_json::from_value(fields.into())
        .context("namespace, host or address, port and transport are asked for")?;
    let port = wanted.port.parse().context("the port is a number up to 65535")?;
    let namespace = Namespace::new(&wanted.namespace);
    let host = wanted.host.as_deref().map(Host::new);
    let host = host.filter(|host| !host.is_wildcard());
    // An entry by name does not say the address.
    let address = wanted
        .address
        .unwrap_or(IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED));
    let destination = Destination::new(wanted.transport.into(), address, port);
    if let Some(host) = &host {
        let entry = service_entry(&namespace, Some(host), destination);
        if is_valid(&entry, &namespace) {
            return Ok(entry);
        }
    }
    if wanted.address.is_none() {
        bail!("no ServiceEntry can name this host, and no address of it is known");
    }
    let entry = service_entry(&namespace, None, destination);
    ensure!(is_valid(&entry, &namespace), "no ServiceEntry can allow this");
    Ok(entry)
}

/// Whether it is one valid ServiceEntry of the namespace, and nothing else.
fn is_valid(text: &str, namespace: &Namespace) -> bool {
    let records = check("entry.yaml", text);
    let [record] = records.as_slice() else {
        return false;
    };
    record.verdict == Judgement::Valid
        && record.kind == "ServiceEntry"
        && record.namespace == namespace.as_str()
        && record.object.is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(fields: &[(&str, &str)]) -> Result<String> {
        let mut query = form_urlencoded::Serializer::new(String::new());
        of_query(&query.extend_pairs(fields).finish())
    }

    #[test]
    fn entry_is_by_name_where_one_is_known() {
        let fields = [
            ("namespace", "frontend"),
            ("host", "db.example.com"),
            ("address", "192.0.2.10"),
            ("port", "5432"),
            ("transport", "tcp"),
        ];
        let entry = of(&fields).unwrap();
        assert!(
            entry.contains("namespace: frontend\n") && entry.contains("- db.example.com\n"),
            "{entry}"
        );
        let entry = of(&[fields[0], fields[2], fields[3], fields[4]]).unwrap();
        assert!(entry.contains("- \"192.0.2.10\"\n"), "{entry}");
    }

    #[test]
    fn names_that_would_write_other_objects_are_left_out() {
        let names = [
            "x\n---\napiVersion: v1\nkind: Namespace\nmetadata:\n  name: evil\n#",
            "a\nspec: {}",
            "<script>alert(1)</script>",
            "a b",
            "\u{202e}moc.elpmaxe",
        ];
        for name in names {
            let fields = |address| {
                let named = [
                    ("namespace", "default"),
                    ("host", name),
                    ("port", "443"),
                    ("transport", "udp"),
                ];
                of(&named.into_iter().chain(address).collect::<Vec<_>>())
            };
            let entry = fields(Some(("address", "2001:db8::1"))).unwrap();
            assert!(
                entry.contains("- \"2001:db8::1\"\n") && !entry.contains("kind: Namespace"),
                "{entry}"
            );
            assert!(fields(None).is_err(), "{name:?}");
        }
        let named = [
            ("namespace", "a\nb"),
            ("address", "192.0.2.1"),
            ("port", "1"),
            ("transport", "tcp"),
        ];
        assert!(of(&named).is_err());
    }

    #[test]
    fn what_is_not_asked_for_rightly_is_an_error() {
        for query in [
            "",
            "namespace=a",
            "namespace=a&port=99999&transport=tcp&address=192.0.2.1",
            "x=y",
        ] {
            assert!(of_query(query).is_err(), "{query}");
        }
    }
}
