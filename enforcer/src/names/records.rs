//! The addresses in an answer to which the name asked for leads; others in the answer are ignored.

use std::{net::IpAddr, time::Duration};

use enforcer_core::names::{Answer, Family};
use hickory_resolver::proto::rr::{Name, RData, Record};

/// Follows the aliases from `name` and takes the addresses of `family` at their end, with the shortest TTL on the
/// way. None if there is no address.
pub(super) fn addresses(name: &Name, records: &[Record], family: Family) -> Option<Answer> {
    let mut owners = vec![name];
    let mut ttl = u32::MAX;
    // Records come in any order; each round follows what the last one led to. A loop ends since it adds nothing new.
    loop {
        let known = owners.len();
        for record in records {
            if let RData::CNAME(alias) = &record.data
                && owners.contains(&&record.name)
                && !owners.contains(&&alias.0)
            {
                owners.push(&alias.0);
                ttl = ttl.min(record.ttl);
            }
        }
        if owners.len() == known {
            break;
        }
    }
    let mut found = std::collections::BTreeSet::new();
    for record in records.iter().filter(|record| owners.contains(&&record.name)) {
        let address: IpAddr = match (&record.data, family) {
            (RData::A(address), Family::V4) => address.0.into(),
            (RData::AAAA(address), Family::V6) => address.0.into(),
            _ => continue,
        };
        found.insert(address);
        ttl = ttl.min(record.ttl);
    }
    (!found.is_empty()).then_some(Answer {
        addresses: found,
        ttl: Duration::from_secs(ttl.into()),
    })
}

#[cfg(test)]
mod tests {
    use hickory_resolver::proto::rr::rdata::{A, AAAA, CNAME};

    use super::*;

    fn name(text: &str) -> Name {
        Name::from_ascii(text).unwrap()
    }

    fn a(owner: &str, ttl: u32, address: [u8; 4]) -> Record {
        Record::from_rdata(name(owner), ttl, RData::A(A(address.into())))
    }

    fn alias(owner: &str, ttl: u32, target: &str) -> Record {
        Record::from_rdata(name(owner), ttl, RData::CNAME(CNAME(name(target))))
    }

    #[track_caller]
    fn check(records: &[Record], expected: Option<(&[&str], u64)>) {
        let expected = expected.map(|(addresses, ttl)| Answer {
            addresses: addresses.iter().map(|address| address.parse().unwrap()).collect(),
            ttl: Duration::from_secs(ttl),
        });
        assert_eq!(addresses(&name("db.test."), records, Family::V4), expected);
    }

    #[test]
    fn ttl_is_the_shortest_on_the_way() {
        let chain = [
            a("c.test.", 60, [192, 0, 2, 1]),
            alias("b.test.", 7, "c.test."),
            alias("DB.test.", 300, "B.test."),
        ];
        check(&chain, Some((&["192.0.2.1"], 7)));
    }

    #[test]
    fn records_of_other_names_and_families_are_not_taken() {
        let six = Record::from_rdata(
            name("db.test."),
            1,
            RData::AAAA(AAAA("2001:db8::1".parse().unwrap())),
        );
        let records = [
            a("db.test.", 60, [192, 0, 2, 1]),
            a("evil.test.", 1, [192, 0, 2, 66]),
            alias("evil.test.", 1, "db.test."),
            six,
        ];
        check(&records, Some((&["192.0.2.1"], 60)));
        check(&records[1..], None);
    }

    #[test]
    fn aliases_in_a_circle_lead_nowhere() {
        check(
            &[alias("db.test.", 1, "b.test."), alias("b.test.", 1, "db.test.")],
            None,
        );
    }
}
