//! Records and lines, of explanations that are made up.

use enforcer_core::{
    explain::Why,
    istio::{Kind, ObjectId},
    model::{Host, Labels, Namespace},
};

use super::*;

fn object() -> ObjectId {
    ObjectId {
        kind: Kind::ServiceEntry,
        namespace: Namespace::new("frontend"),
        name: "db".to_owned(),
    }
}

fn explanation(verdict: Verdict, mode: Mode, why: Why) -> Explanation {
    let is_permission = why.is_permission();
    let matched = Matched {
        object: object(),
        host: Host::new("db.example.com"),
        port: 5432,
        port_name: "tcp".to_owned(),
        protocol: Protocol::Auto,
    };
    Explanation {
        verdict,
        mode: Some(mode),
        why,
        matched: is_permission.then_some(matched).into_iter().collect(),
        suggestion: (!is_permission).then(|| "an entry".to_owned()),
    }
}

fn explained(destination: &str, found: &Found) -> (Vec<String>, Record) {
    let workload = Workload::new(Namespace::new("frontend"), "web", Labels::new());
    let target = Target::parse(destination, Transport::Tcp).unwrap();
    let explained = Explained::new((&workload, Matching::Declared), (destination, &target), found);
    (explained.text(&target), explained.record)
}

fn ip(text: &str) -> Option<IpAddr> {
    Some(text.parse().unwrap())
}

#[test]
fn strictest_of_the_addresses_is_the_verdict_and_the_reason_names_them() {
    let allowed = || explanation(Verdict::Allow, Mode::Enforce, Why::Behind { object: object() });
    let denied = || explanation(Verdict::Deny, Mode::Enforce, Why::Unregistered);
    let found = vec![
        (ip("192.0.2.1"), allowed()),
        (ip("192.0.2.2"), denied()),
        (ip("192.0.2.3"), denied()),
    ];
    let (text, record) = explained("db.example.com:5432", &found);
    assert_eq!(record.verdict, Judged::Deny);
    assert_eq!(
        record.reason,
        "192.0.2.2, 192.0.2.3: no ServiceEntry or Service has this address"
    );
    assert_eq!(
        (record.object, record.suggestion.as_deref()),
        (None, Some("an entry"))
    );
    assert_eq!(record.services.len(), 1, "what matched at one address is listed");
    assert_eq!(text.len(), 5);
    assert!(
        text[0].starts_with("frontend/web -> tcp db.example.com:5432 (192.0.2.1): allowed as an endpoint")
    );
    let many = (0..=NAMED).map(|last| (ip(&format!("192.0.2.{last}")), denied()));
    let (_, record) = explained("db.example.com:5432", &many.collect());
    assert!(
        record.reason.contains("192.0.2.15, 1 more: no"),
        "{}",
        record.reason
    );
}

#[test]
fn record_has_every_key_in_its_order_and_null_where_there_is_nothing() {
    let found = vec![(ip("192.0.2.1"), explanation(Verdict::Allow, Mode::Off, Why::Off))];
    let (_, record) = explained("192.0.2.1:53/udp", &found);
    let json = serde_json::to_string(&record).unwrap();
    assert_eq!(
        json,
        r#"{"destination":"192.0.2.1:53/udp","verdict":"allow","mode":"off","matching":"declared","reason":"its mode (off: it is not enforced)","object":null,"services":[{"namespace":"frontend","name":"db","host":"db.example.com","port":5432,"protocol":null}],"suggestion":null}"#
    );
    assert_eq!(serde_json::from_str::<Record>(&json).unwrap(), record);
}

#[test]
fn what_allow_any_lets_through_says_so_and_keeps_its_suggestion() {
    let found = vec![(
        ip("192.0.2.1"),
        explanation(Verdict::Allow, Mode::Observe, Why::Unregistered),
    )];
    let (text, record) = explained("192.0.2.1:80", &found);
    assert_eq!(
        record.reason,
        "ALLOW_ANY: no ServiceEntry or Service has this address"
    );
    assert_eq!(record.mode.as_deref(), Some("ALLOW_ANY"));
    assert!(record.suggestion.is_some());
    assert_eq!(text.last().unwrap(), "  to allow it: an entry");
}

#[test]
fn held_address_is_told_with_how_old_it_is_and_how_long_it_counts() {
    let held = |age, expires| {
        let address = "192.0.2.1".to_owned();
        HeldAddress {
            address,
            source: NameSource::Learned,
            age,
            expires,
        }
        .to_string()
    };
    assert_eq!(held(None, None), "192.0.2.1: learned");
    assert_eq!(
        held(Some(3.0), Some(57.0)),
        "192.0.2.1: learned, 3.0 s old, expires in 57 s"
    );
    assert_eq!(
        held(Some(3.0), Some(-1.0)),
        "192.0.2.1: learned, 3.0 s old, expired"
    );
}
