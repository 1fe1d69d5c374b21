//! What is shown: a few flows that tell a story, names that attack the page, and a crowd.

use std::{net::IpAddr, time::SystemTime};

use enforcer::control::{Canary, Observed, Program, Root, Source, Status, Usage};
use enforcer_core::observed::{Carrier, Observation, Seen};
use jiff::Timestamp;

/// A node that is well.
pub fn status() -> Status {
    let program = |id| Program {
        name: format!("program{id}"),
        id,
    };
    let source = |name: &str, objects| Source {
        name: name.to_owned(),
        objects,
        age_seconds: Some(0.4),
        problem: None,
        up: true,
        rejected: 0,
    };
    let usage = |name: &str, used, capacity| Usage {
        name: name.to_owned(),
        used,
        capacity,
        needed: used,
    };
    let mut status = Status {
        version: "0.1.0".to_owned(),
        pid: 30764,
        uptime_seconds: 5400.0,
        mode: "enforce".to_owned(),
        proof_age_seconds: Some(1.2),
        roots: vec![Root {
            path: "/kubepods.slice".to_owned(),
            is_there: true,
            programs: (1..9).map(program).collect(),
            canary: Some(Canary::default()),
            ..Root::default()
        }],
        sources: vec![
            source("ServiceEntry", 212),
            source("Service", 96),
            source("pods", 31),
        ],
        usage: vec![usage("workloads", 31, 16_384), usage("exact", 1840, 262_144)],
        ..Status::default()
    };
    status.judge();
    status
}

fn now(seconds_ago: i64) -> Timestamp {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let now = now.map_or(0, |now| i64::try_from(now.as_secs()).unwrap_or_default());
    Timestamp::from_second(now - seconds_ago).unwrap_or_default()
}

fn observed(from: &str, to: &str, verdict: Seen, count: u64) -> Observation {
    let (namespace, workload) = from.split_once('/').unwrap_or((from, ""));
    let (name, port) = to.rsplit_once(':').unwrap_or((to, "443"));
    let address: Option<IpAddr> = name.trim_matches(['[', ']']).parse().ok();
    let age = i64::try_from(count % 97).unwrap_or_default();
    Observation {
        namespace: namespace.to_owned(),
        workload: workload.to_owned(),
        host: address.is_none().then(|| name.to_owned()),
        addresses: vec![
            address.unwrap_or_else(|| [192, 0, 2, u8::try_from(count % 200).unwrap_or_default()].into()),
        ],
        port: port.parse().unwrap_or_default(),
        transport: if port == "53" || port == "123" {
            Carrier::Udp
        } else {
            Carrier::Tcp
        },
        verdict,
        probe: false,
        object: None,
        reason: None,
        suggestion: None,
        first: now(3600 + age * 60),
        last: now(age),
        count,
    }
}

/// What a small cluster might do.
pub fn story() -> Observed {
    let allowed = |from: &str, to: &str, count, object: &str| Observation {
        object: Some(object.to_owned()),
        ..observed(from, to, Seen::Allow, count)
    };
    let refused = |from: &str, to: &str, verdict, count| {
        let observed = observed(from, to, verdict, count);
        let (namespace, port) = (observed.namespace.clone(), observed.port);
        let what = match &observed.host {
            Some(host) => format!("host {host}"),
            None => format!("address {}", observed.addresses[0]),
        };
        Observation {
            reason: Some(match &observed.host {
                Some(host) => format!("{host} is not registered"),
                None => "no ServiceEntry has this address".to_owned(),
            }),
            suggestion: Some(format!(
                "a ServiceEntry in namespace {namespace} for {what}, port {port} with protocol TCP"
            )),
            ..observed
        }
    };
    let near = Observation {
        object: Some("ServiceEntry payments/ledger".to_owned()),
        reason: Some("ServiceEntry payments/ledger is not exported to frontend".to_owned()),
        suggestion: Some("add frontend to exportTo of ServiceEntry payments/ledger".to_owned()),
        ..observed(
            "frontend/web-7d4b9c6f5-x2v9q",
            "ledger.example.com:5432",
            Seen::Deny,
            37,
        )
    };
    let probe = Observation {
        probe: true,
        ..observed("frontend/web-7d4b9c6f5-x2v9q", "198.51.100.9:443", Seen::Deny, 4)
    };
    Observed {
        observations: vec![
            allowed(
                "frontend/web-7d4b9c6f5-x2v9q",
                "api.example.com:443",
                48_211,
                "ServiceEntry frontend/api",
            ),
            allowed(
                "frontend/web-7d4b9c6f5-x2v9q",
                "cache.shop.svc.cluster.local:6379",
                912_004,
                "Service shop/cache",
            ),
            near,
            probe,
            allowed(
                "frontend/checkout-5c8f7d-lk2mm",
                "api.example.com:443",
                1290,
                "ServiceEntry frontend/api",
            ),
            allowed(
                "frontend/checkout-5c8f7d-lk2mm",
                "payments.example.com:443",
                8803,
                "ServiceEntry payments/gateway",
            ),
            refused(
                "frontend/checkout-5c8f7d-lk2mm",
                "tracker.example.net:443",
                Seen::Deny,
                214,
            ),
            allowed(
                "payments/gateway-0",
                "ledger.example.com:5432",
                77_120,
                "ServiceEntry payments/ledger",
            ),
            allowed(
                "payments/gateway-0",
                "bank.example.org:443",
                5121,
                "ServiceEntry payments/bank",
            ),
            refused("payments/gateway-0", "203.0.113.77:8443", Seen::Deny, 3),
            refused(
                "analytics/importer-29114",
                "data.example.org:443",
                Seen::Audit,
                1502,
            ),
            refused(
                "analytics/importer-29114",
                "mirror.example.net:80",
                Seen::Audit,
                66,
            ),
            allowed(
                "analytics/importer-29114",
                "warehouse.example.com:5439",
                402,
                "ServiceEntry analytics/warehouse",
            ),
            refused(
                "build/runner-3",
                "packages.example.com:443",
                Seen::Unregistered,
                318,
            ),
            refused("build/runner-3", "[2001:db8::17]:443", Seen::Unregistered, 12),
            refused("build/runner-3", "time.example.net:123", Seen::Unregistered, 9),
            allowed(
                "build/runner-3",
                "git.example.com:22",
                41,
                "ServiceEntry build/git",
            ),
        ],
        dropped: 0,
    }
}

/// Names that would be elements, handlers or other lines, if anything took them for more than text.
pub fn hostile() -> Observed {
    let names = [
        "<img src=x onerror=\"document.title='broken'\">",
        "<script>document.title='broken'</script>",
        "</style></script><svg onload=document.title='broken'>",
        "javascript:document.title='broken'",
        "a\nb\u{202e}moc.elpmaxe\u{0}",
        "__proto__",
        "constructor",
        "\"><b>bold</b>",
    ];
    let mut observations: Vec<_> = names
        .iter()
        .map(|name| Observation {
            namespace: (*name).to_owned(),
            workload: (*name).to_owned(),
            host: Some((*name).to_owned()),
            reason: Some(format!("{name} is not registered")),
            suggestion: Some((*name).to_owned()),
            object: Some((*name).to_owned()),
            ..observed("a/b", "192.0.2.1:443", Seen::Deny, 1)
        })
        .collect();
    observations.push(Observation {
        host: Some("x".repeat(10_000)),
        ..observed("a/b", "192.0.2.1:443", Seen::Deny, 1)
    });
    Observed {
        observations,
        dropped: 0,
    }
}

/// As many destinations, of a fifth as many workloads, all of which count on with each question.
pub fn crowd(destinations: u64, question: u64) -> Observed {
    let flow = |number: u64| {
        let verdict = match number % 10 {
            0 => Seen::Deny,
            1 => Seen::Audit,
            2 => Seen::Unregistered,
            _ => Seen::Allow,
        };
        let workload = number % (destinations / 5).max(1);
        let from = format!("team-{:02}/app-{workload:04}", workload % 20);
        let to = format!("host-{number:05}.zone-{:02}.example.com:443", number % 40);
        Observation {
            reason: (verdict != Seen::Allow).then(|| "no ServiceEntry has this host".to_owned()),
            suggestion: (verdict != Seen::Allow).then(|| "a ServiceEntry for this host".to_owned()),
            last: now(0),
            ..observed(&from, &to, verdict, 1 + number + question * (1 + number % 7))
        }
    };
    Observed {
        observations: (0..destinations).map(flow).collect(),
        dropped: 0,
    }
}
