//! Registries that are too big for the kernel's maps.
#![expect(clippy::unwrap_used, reason = "that is how a test fails")]

use std::time::Duration;

use anyhow::Result;
use tests::{
    daemon::{Daemon, Place},
    fixture::{in_own_network, need_root},
};

const BINARY: &str = env!("CARGO_BIN_EXE_enforcer-test");

const CONFIG: &str = "
registry: {files: [registry/]}
workloads:
- {namespace: one, name: first, cgroup: $CGROUP/one}
- {namespace: two, name: second, cgroup: $CGROUP/two}
- {namespace: three, name: third, cgroup: $CGROUP/three}
dns: {servers: [127.0.0.77], timeout: 100ms, allowResolvers: false}
";

/// An entry of `namespace`, for it alone, with these addresses on port 80.
fn entry(namespace: &str, addresses: &[&str]) -> String {
    format!(
        "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {{name: entry, namespace: {namespace}}}\n\
         spec:\n  hosts: [{namespace}.example.com]\n  addresses: [{}]\n  exportTo: ['.']\n  resolution: NONE\n  \
         ports: [{{number: 80, name: tcp, protocol: TCP}}]\n",
        addresses.join(", ")
    )
}

/// Runs `claim` with these settings beside [`CONFIG`], and with cgroups that were made in the order of their names.
fn check(settings: &str, claim: impl FnOnce(&mut Place) -> Result<()> + Send) {
    in_own_network(|| {
        need_root()?;
        let mut place = Place::new(BINARY, &format!("{CONFIG}{settings}\n"))?;
        for name in ["one", "two", "three"] {
            place.cgroup.child(name)?;
        }
        claim(&mut place)
    })
    .unwrap();
}

/// What was said of capacities until now.
fn complaints(daemon: &mut Daemon) -> Vec<String> {
    daemon.lines();
    let of_capacities = |line: &&String| line.contains("capacities.");
    daemon.seen.iter().filter(of_capacities).cloned().collect()
}

#[test]
fn rules_that_do_not_fit_are_refused_and_reported_until_the_registry_shrinks() {
    check("capacities: {exact: 4}", |place| {
        place.write(
            "one.yaml",
            &entry("one", &["192.0.2.1", "192.0.2.2", "192.0.2.3"]),
        )?;
        place.write(
            "two.yaml",
            &entry("two", &["198.51.100.1", "198.51.100.2", "198.51.100.3"]),
        )?;
        let mut daemon = place.start(&["--ephemeral"])?;
        let line = daemon.line(&["ERROR", "capacities.exact"])?;
        for part in [
            "6 are needed, 4 fit",
            "2 rules are left out",
            "tcp 198.51.100.2:80 (two.example.com), for two/second",
            "raise capacities.exact to 6",
        ] {
            assert!(line.contains(part), "{part:?} is missing in {line}");
        }
        for (path, to, reaches) in [
            ("one", "192.0.2.3:80", true),
            ("two", "198.51.100.1:80", true),
            ("two", "198.51.100.2:80", false),
            ("two", "198.51.100.3:80", false),
            ("two", "192.0.2.1:80", false),
            ("three", "192.0.2.1:80", false),
        ] {
            assert_eq!(place.reaches(path, to)?, reaches, "{path} -> {to}");
        }
        let denied = daemon.line(&["denied two/second", "198.51.100.2:80"])?;
        assert!(
            denied.contains("maps have no room") && denied.contains("raise capacities.exact to 6"),
            "{denied}"
        );

        place.write("one.yaml", &entry("one", &["192.0.2.9"]))?;
        place.until("two", "198.51.100.3:80", true)?;
        assert!(place.reaches("one", "192.0.2.9:80")? && !place.reaches("one", "192.0.2.1:80")?);
        daemon.line(&["capacities.exact suffices again"])?;
        let complaints = complaints(&mut daemon);
        let errors = complaints.iter().filter(|line| line.contains("ERROR"));
        assert_eq!(errors.count(), 1, "{complaints:#?}");
        Ok(())
    });
}

#[test]
fn each_kind_of_rule_has_its_own_room() {
    check("capacities: {prefixes: 1, ports: 1}\nmatching: istio", |place| {
        place.write(
            "one.yaml",
            &entry("one", &["192.0.2.0/28", "192.0.2.32/28", "198.51.100.7"]),
        )?;
        let any = |namespace| entry(namespace, &["0.0.0.0/0"]).replace("  addresses: [0.0.0.0/0]\n", "");
        place.write("two.yaml", &any("two"))?;
        place.write("three.yaml", &any("three").replace("number: 80", "number: 81"))?;
        let mut daemon = place.start(&["--ephemeral"])?;
        daemon.line(&[
            "capacities.prefixes",
            "2 are needed, 1 fit",
            "192.0.2.32/28:80, for one/first",
        ])?;
        daemon.line(&[
            "capacities.ports",
            "2 are needed, 1 fit",
            "tcp *:81, for three/third",
        ])?;
        for (path, to, reaches) in [
            ("one", "192.0.2.1:80", true),
            ("one", "192.0.2.33:80", false),
            ("one", "198.51.100.7:80", true),
            ("two", "203.0.113.1:80", true),
            ("three", "203.0.113.1:81", false),
        ] {
            assert_eq!(place.reaches(path, to)?, reaches, "{path} -> {to}");
        }
        Ok(())
    });
}

#[test]
fn workloads_that_do_not_fit_are_refused_everything_even_where_unknown_ones_are_not() {
    let settings = "capacities: {workloads: 2}\nroots: [$CGROUP]\nunknownWorkloads: allow";
    check(settings, |place| {
        for name in ["one", "two", "three"] {
            place.write(&format!("{name}.yaml"), &entry(name, &["192.0.2.1"]))?;
        }
        let mut daemon = place.start(&["--ephemeral"])?;
        daemon.line(&[
            "ERROR",
            "capacities.workloads",
            "1 workloads are refused everything (three/third)",
        ])?;
        for (path, to, reaches) in [
            ("one", "192.0.2.1:80", true),
            ("one", "192.0.2.2:80", false),
            ("two", "192.0.2.1:80", true),
            ("three", "192.0.2.1:80", false),
            ("three", "192.0.2.2:80", false),
        ] {
            assert_eq!(place.reaches(path, to)?, reaches, "{path} -> {to}");
        }
        daemon.line(&[
            "denied three/third",
            "no room for its workload",
            "raise capacities.workloads to 3",
        ])?;
        place.remove_cgroup("one")?;
        place.until("three", "192.0.2.1:80", true)?;
        assert!(!place.reaches("three", "192.0.2.2:80")?);
        place.until("stranger", "192.0.2.2:80", true)?;
        daemon.line(&["capacities.workloads suffices again"])?;
        Ok(())
    });
}

#[test]
fn policies_that_do_not_fit_leave_their_workloads_refused() {
    check("capacities: {policies: 2}", |place| {
        for name in ["one", "two", "three"] {
            place.write(
                &format!("{name}.yaml"),
                &entry(name, &["192.0.2.1", &format!("192.0.2.{}", 10 + name.len())]),
            )?;
        }
        // The same rules are one policy.
        let mut daemon = place.start(&["--ephemeral"])?;
        assert!(place.reaches("three", "192.0.2.15:80")?, "{}", daemon.announced);
        place.write("two.yaml", &entry("two", &["192.0.2.2"]))?;
        daemon.line(&[
            "ERROR",
            "capacities.policies",
            "3 are needed, 2 fit",
            "three/third",
        ])?;
        for (path, to, reaches) in [
            ("one", "192.0.2.1:80", true),
            ("two", "192.0.2.2:80", true),
            ("three", "192.0.2.1:80", false),
        ] {
            assert_eq!(place.reaches(path, to)?, reaches, "{path} -> {to}");
        }
        Ok(())
    });
}

#[test]
fn full_map_takes_changes_without_refusing_what_stays() {
    check("capacities: {exact: 64}", |place| {
        let addresses =
            |range: std::ops::Range<u32>| -> Vec<String> { range.map(|n| format!("192.0.2.{n}")).collect() };
        let write = |place: &Place, range| {
            let addresses = addresses(range);
            let addresses: Vec<_> = addresses.iter().map(String::as_str).collect();
            place.write("one.yaml", &entry("one", &addresses))
        };
        write(place, 1..65)?;
        let mut daemon = place.start(&["--ephemeral"])?;
        for round in 0..20 {
            let first = 1 + round % 2 * 40;
            write(place, first..first + 64)?;
            let (stays, comes) = ("192.0.2.60:80", format!("192.0.2.{}:80", first + 63));
            tests::daemon::wait("the change", || {
                assert!(place.reaches("one", stays)?, "it is allowed before and after");
                place.reaches("one", &comes)
            })?;
        }
        assert_eq!(complaints(&mut daemon), Vec::<String>::new());
        Ok(())
    });
}

#[test]
fn registry_that_does_not_fit_is_no_reason_to_try_again_and_again() {
    check("capacities: {exact: 1}", |place| {
        place.write("one.yaml", &entry("one", &["192.0.2.1", "192.0.2.2"]))?;
        let mut daemon = place.start(&["--ephemeral", "--log-level", "debug"])?;
        let start = std::time::Instant::now();
        // Twice the time after which what has failed is tried again.
        while start.elapsed() < Duration::from_secs(5) {
            assert!(place.reaches("one", "192.0.2.1:80")? && !place.reaches("one", "192.0.2.2:80")?);
            std::thread::park_timeout(Duration::from_millis(50));
        }
        assert_eq!(
            complaints(&mut daemon)
                .iter()
                .filter(|line| line.contains("ERROR"))
                .count(),
            1
        );
        let plans = daemon
            .seen
            .iter()
            .filter(|line| line.contains("maps are up to date"))
            .count();
        assert!(plans <= 1, "{plans} plans for one registry");
        Ok(())
    });
}
