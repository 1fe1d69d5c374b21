//! What docs/operate.md promises is there: a section for each alert, the tests that it names, and its example.
#![expect(clippy::unwrap_used, reason = "that is how a test fails")]

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
};

use tests::{
    daemon::Place,
    fixture::{in_own_network, need_root},
};

const BINARY: &str = env!("CARGO_BIN_EXE_enforcer-test");

fn file(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)
}

fn guide() -> String {
    fs::read_to_string(file("docs/operate.md")).unwrap()
}

/// The lines between a heading and the next of its level or above.
fn section<'a>(guide: &'a str, heading: &str) -> Vec<&'a str> {
    let level = heading.bytes().take_while(|byte| *byte == b'#').count();
    let ends = |line: &&str| {
        let depth = line.bytes().take_while(|byte| *byte == b'#').count();
        depth > 0 && depth <= level
    };
    let lines = guide.lines().skip_while(|line| *line != heading).skip(1);
    lines.take_while(|line| !ends(line)).collect()
}

#[test]
fn every_alert_has_its_section_and_every_section_its_alert() {
    let rules = match fs::read_to_string(file("deploy/monitoring/rules.yaml")) {
        Ok(rules) => rules,
        Err(error) => {
            println!("SKIPPED: there are no rules for alerts ({error})");
            return;
        }
    };
    let alerts: BTreeSet<&str> = rules
        .lines()
        .filter_map(|line| line.trim().strip_prefix("- alert: "))
        .collect();
    let guide = guide();
    let sections = section(&guide, "## Alerts");
    let sections: BTreeSet<&str> = sections
        .iter()
        .filter_map(|line| line.strip_prefix("### "))
        .collect();
    assert_eq!(alerts, sections);
    for alert in alerts {
        let text = section(&guide, &format!("### {alert}")).concat();
        assert!(text.len() > 80, "{alert} says nothing of what to do");
    }
}

#[test]
fn every_failure_mode_names_a_test_that_shows_it() {
    let guide = guide();
    let rows = section(&guide, "## Failure modes");
    let rows = rows.iter().filter(|line| line.starts_with("| ")).skip(1);
    let mut seen = 0;
    for row in rows {
        let cells: Vec<_> = row.trim_matches('|').split(" | ").collect();
        let [_, _, _, _, shown] = cells[..] else {
            panic!("{row} has not five cells");
        };
        let (source, test) = shown.trim().split_once(": ").unwrap();
        let text = fs::read_to_string(file("tests/tests").join(source.trim_matches('`'))).unwrap();
        let is_there = text.contains(&format!("fn {}(", test.trim().trim_matches('`')));
        assert!(is_there, "{source} has no test {test}");
        seen += 1;
    }
    assert!(seen > 20, "the table has {seen} rows");
}

/// The registry of the guide's example.
fn example() -> String {
    let mut text = String::new();
    let mut entry = |(namespace, name): (&str, &str), spec: &str, ports: &[u16]| {
        // A host counts by its name where the protocol tells it.
        let protocol = if spec.contains("addresses") { "TCP" } else { "TLS" };
        let ports: Vec<_> = ports
            .iter()
            .map(|port| format!("{{number: {port}, name: p{port}, protocol: {protocol}}}"))
            .collect();
        writeln!(
            text,
            "---\napiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {{name: {name}, namespace: \
             {namespace}}}\nspec:\n  {spec}\n  resolution: NONE\n  ports: [{}]",
            ports.join(", ")
        )
        .unwrap();
    };
    for number in 0..300 {
        let (high, low) = (number / 100, number % 100 + 1);
        let spec = format!(
            "hosts: [all{number}.example.com]\n  addresses: [198.18.{high}.{low}, 198.19.{high}.{low}]"
        );
        entry(("web", &format!("all{number}")), &spec, &[443]);
    }
    for number in 0..100 {
        let spec = format!(
            "hosts: [s{number}.example.com]\n  addresses: [203.0.113.{}]\n  exportTo: [.]",
            number + 1
        );
        entry(("shop", &format!("shop{number}")), &spec, &[443, 5432]);
    }
    for number in 0..20 {
        let spec =
            format!("hosts: [net{number}.example.com]\n  addresses: [10.{number}.0.0/16]\n  exportTo: [.]");
        entry(("jobs", &format!("net{number}")), &spec, &[443]);
    }
    for number in 0..10 {
        let spec = format!("hosts: ['*.w{number}.example.com']\n  exportTo: [.]");
        entry(("web", &format!("wild{number}")), &spec, &[443]);
    }
    text
}

#[test]
fn example_of_capacities_comes_to_what_the_guide_says() {
    need_root().unwrap();
    let config = "
registry: {files: [registry/]}
workloads:
- {namespace: web, name: web, cgroup: $CGROUP/web}
- {namespace: shop, name: shop, cgroup: $CGROUP/shop}
- {namespace: jobs, name: jobs, cgroup: $CGROUP/jobs}
dns: {servers: [192.0.2.53], timeout: 100ms}
";
    in_own_network(|| {
        let place = Place::new(BINARY, config)?;
        place.write("all.yaml", &example())?;
        for cgroup in ["web", "shop", "jobs"] {
            place.cgroup.child(cgroup)?;
        }
        let _daemon = place.start(&["--ephemeral"])?;
        place.until_status("proof", |status| status.proven)?;
        let status = place.command(&["status"]).output()?;
        let said = String::from_utf8(status.stdout)?;
        let guide = guide();
        let maps = |text: &str| -> BTreeMap<String, String> {
            let lines = text.lines().map(str::trim);
            let maps = lines.filter_map(|line| line.split_once(' ').zip(line.split_once(" of ")));
            maps.map(|((map, rest), _)| (map.to_owned(), rest.trim().to_owned()))
                .filter(|(map, _)| CAPACITIES.contains(&map.as_str()))
                .collect()
        };
        let promised: String = section(&guide, "### Entries").join("\n");
        let (_, promised) = promised.split_once("$ enforcer status").unwrap();
        assert_eq!(maps(&said), maps(promised), "{said}");
        assert_eq!(maps(&said).len(), CAPACITIES.len());
        Ok(())
    })
    .unwrap();
}

const CAPACITIES: [&str; 6] = ["workloads", "policies", "exact", "prefixes", "ports", "hosts"];
