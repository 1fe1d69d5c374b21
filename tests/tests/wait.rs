//! `enforcer wait`: whoever writes an entry and waits is never refused after that.
#![expect(clippy::unwrap_used, reason = "that is how a test fails")]

use std::{
    fs,
    io::{BufRead as _, BufReader},
    process::{Command, Output, Stdio},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use tests::{
    daemon::{Daemon, Place},
    fixture::{in_own_network, need_root},
};

const BINARY: &str = env!("CARGO_BIN_EXE_enforcer-test");

const CONFIG: &str = "
registry: {files: [registry/]}
workloads:
- {namespace: shop, name: web, cgroup: $CGROUP/web}
- {namespace: lab, name: app, cgroup: $CGROUP/app}
dns: {servers: [192.0.2.53], timeout: 500ms}
";

/// An entry of the namespace shop, for itself.
fn entry(name: &str, host: &str, rest: &str) -> String {
    format!(
        "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {{name: {name}, namespace: shop}}\n\
         spec:\n  hosts: ['{host}']\n  exportTo: ['.']\n  ports: [{{number: 5432, name: tcp, protocol: TCP}}]\n{rest}"
    )
}

fn at(address: &str) -> String {
    format!("  addresses: [{address}]\n  resolution: NONE\n")
}

/// Runs `claim` in a place with an enforcer, and `more` at the end of its configuration.
fn check(more: &str, claim: impl FnOnce(&mut Place, &mut Daemon) -> Result<()> + Send) {
    need_root().unwrap();
    in_own_network(|| {
        let mut place = Place::with_bpffs(BINARY, &format!("{CONFIG}{more}"))?;
        place.resolve("192.0.2.10 db.example.com\n")?;
        for name in ["web", "app"] {
            place.cgroup.child(name)?;
        }
        let mut daemon = place.start(&[])?;
        // The first proof, which whoever waits would wait for.
        place.until_status("proof", |status| status.proven)?;
        claim(&mut place, &mut daemon)
    })
    .unwrap();
}

/// What `enforcer wait` says of entries of shop.
fn waiting(place: &Place, arguments: &[&str]) -> Command {
    place.command(&[&["wait", "--for", "ServiceEntry"], arguments].concat())
}

/// Its exit code and what it prints, standard output first.
fn said(output: &Output) -> (Option<i32>, String) {
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout) + &text(&output.stderr))
}

/// Waits for an entry that cannot come into force, says why, and that it took no time.
fn refused(place: &Place, name: &str, words: &[&str]) -> Result<()> {
    let output = waiting(place, &["--timeout", "60s", "-o", "json", name]).output()?;
    let (code, text) = said(&output);
    ensure!(code == Some(1), "{name}: {code:?} {text}");
    let record: Value = serde_json::from_str(&text).with_context(|| text.clone())?;
    ensure!(record["standing"] == "refused", "{text}");
    ensure!(record["seconds"].as_f64() < Some(10.0), "{text}");
    for word in words {
        ensure!(text.contains(word), "{name}: {word} is not in {text}");
    }
    Ok(())
}

#[test]
fn who_writes_an_entry_and_waits_is_never_refused() {
    check("", |place, _| {
        let mut longest = Duration::ZERO;
        for round in 0..60_u8 {
            let address = format!("198.51.100.{}", round + 1);
            let name = format!("e{round}");
            ensure!(!place.reaches("web", &format!("{address}:5432"))?);
            let text = entry(&name, &format!("{name}.test"), &at(&address));
            let file = format!("{}.yaml", round % 7);
            // Moved into its place, and written where it is: what editors do, and what shells do.
            if round % 2 == 0 {
                place.write(&file, &text)?;
            } else {
                fs::write(place.folder.path().join("registry").join(&file), text)?;
            }
            let began = std::time::Instant::now();
            let (code, text) = said(&waiting(place, &[&format!("shop/{name}")]).output()?);
            longest = longest.max(began.elapsed());
            ensure!(code == Some(0), "round {round}: {text}");
            ensure!(
                text == format!("ServiceEntry shop/{name} is in force\n"),
                "{text}"
            );
            ensure!(
                place.reaches("web", &format!("{address}:5432"))?,
                "refused in round {round}"
            );
            ensure!(!place.reaches("app", &format!("{address}:5432"))?);
        }
        println!("the longest wait took {longest:?}");
        Ok(())
    });
}

#[test]
fn version_of_an_entry_that_was_there_does_not_end_the_wait() {
    check("", |place, _| {
        for round in 0..30_u8 {
            let address = format!("198.51.100.{}", round + 1);
            place.write("e.yaml", &entry("e", "e.test", &at(&address)))?;
            let (code, text) = said(&waiting(place, &["shop/e"]).output()?);
            ensure!(code == Some(0), "round {round}: {text}");
            ensure!(
                place.reaches("web", &format!("{address}:5432"))?,
                "refused in round {round}"
            );
        }
        Ok(())
    });
}

#[test]
fn host_has_its_addresses_once_it_was_waited_for() {
    for learn in ["", "  learn: {enabled: false}\n"] {
        let config = format!("dns:\n  servers: [192.0.2.53]\n  timeout: 500ms\n{learn}");
        // All of them from the beginning: a server that is told of more takes a moment, and what it denies meanwhile is
        // left to what workloads learn.
        let hosts: String = (0..12_u8)
            .map(|round| {
                let (v4, host) = (round + 1, format!("n{round}.example.com"));
                format!("198.51.100.{v4} {host}\n2001:db8::{round} {host}\n")
            })
            .collect();
        check_named((&config, &hosts), |place, _| {
            for round in 0..12_u8 {
                let (name, address) = (format!("n{round}"), format!("198.51.100.{}", round + 1));
                let host = format!("{name}.example.com");
                place.write(
                    &format!("{name}.yaml"),
                    &entry(&name, &host, "  resolution: DNS\n"),
                )?;
                let (code, text) =
                    said(&waiting(place, &["--timeout", "60s", &format!("shop/{name}")]).output()?);
                ensure!(code == Some(0), "round {round}: {text}");
                for to in [format!("{address}:5432"), format!("[2001:db8::{round}]:5432")] {
                    ensure!(place.reaches("web", &to)?, "{to} is refused in round {round}");
                }
            }
            Ok(())
        });
    }
}

/// With another section `dns`, and a server that knows `hosts`.
fn check_named((dns, hosts): (&str, &str), claim: impl FnOnce(&mut Place, &mut Daemon) -> Result<()> + Send) {
    need_root().unwrap();
    let config = CONFIG.replace("dns: {servers: [192.0.2.53], timeout: 500ms}\n", dns);
    in_own_network(|| {
        let mut place = Place::with_bpffs(BINARY, &config)?;
        place.resolve(hosts)?;
        for name in ["web", "app"] {
            place.cgroup.child(name)?;
        }
        let mut daemon = place.start(&[])?;
        claim(&mut place, &mut daemon)
    })
    .unwrap();
}

#[test]
fn what_cannot_come_into_force_is_said_at_once() {
    check("capacities: {exact: 12}\n", |place, _| {
        place.write("a.yaml", &entry("rejected", "a.test", &at("198.51.100.1/99")))?;
        refused(place, "shop/rejected", &["it is rejected", "addresses[0]"])?;
        refused(place, "shop/none", &["no file of the registry defines it"])?;

        place.write("b.yaml", "kind: ServiceEntry\nmetadata: {name: broken\n")?;
        refused(
            place,
            "shop/broken",
            &["no file of the registry defines it", "not YAML"],
        )?;
        place.remove("b.yaml")?;

        let ports = "ports: [{number: 5432, name: tcp, protocol: TCP}]";
        let without = entry("portless", "p.test", &at("198.51.100.2")).replace(ports, "ports: []");
        place.write("c.yaml", &without)?;
        refused(place, "shop/portless", &["no ports", "allows nothing"])?;

        let sidecar = "apiVersion: networking.istio.io/v1\nkind: Sidecar\nmetadata: {name: own, namespace: shop}\n\
                       spec: {egress: [{hosts: ['./other.test']}]}\n";
        place.write("sidecar.yaml", sidecar)?;
        place.write("d.yaml", &entry("hidden", "h.test", &at("198.51.100.3")))?;
        refused(place, "shop/hidden", &["nobody", "Sidecar shop/own"])?;
        place.remove("sidecar.yaml")?;

        let addresses: Vec<_> = (1..40).map(|last| format!("198.51.100.{last}")).collect();
        let many = format!("  addresses: [{}]\n  resolution: NONE\n", addresses.join(", "));
        place.write("e.yaml", &entry("big", "b.test", &many))?;
        refused(
            place,
            "shop/big",
            &["does not fit the kernel's maps", "raise capacities.exact to"],
        )
    });
}

#[test]
fn object_that_becomes_invalid_is_not_in_force_although_its_last_good_version_is() {
    check("", |place, _| {
        place.write("e.yaml", &entry("e", "e.test", &at("198.51.100.1")))?;
        ensure!(said(&waiting(place, &["shop/e"]).output()?).0 == Some(0));
        place.write("e.yaml", &entry("e", "e.test", &at("198.51.100.1/99")))?;
        refused(
            place,
            "shop/e",
            &["it is rejected", "the last good version stays in force"],
        )?;
        place.write("e.yaml", "{")?;
        refused(place, "shop/e", &["it is rejected", "not YAML"])
    });
}

#[test]
fn host_that_does_not_resolve_is_waited_for_and_named_at_the_end() {
    let config = "dns:\n  servers: [192.0.2.53]\n  timeout: 500ms\n  learn: {enabled: false}\n";
    check_named((config, "192.0.2.10 db.example.com\n"), |place, _| {
        place.write("e.yaml", &entry("e", "late.example.com", "  resolution: DNS\n"))?;
        let (code, text) = said(&waiting(place, &["--timeout", "2s", "shop/e"]).output()?);
        ensure!(code == Some(1), "{text}");
        ensure!(
            text.contains(
                "error: after 2 s, ServiceEntry shop/e is not in force yet: late.example.com does not resolve"
            ),
            "{text}"
        );
        place.resolve("198.51.100.9 late.example.com\n")?;
        let (code, text) = said(&waiting(place, &["--timeout", "60s", "shop/e"]).output()?);
        ensure!(code == Some(0), "{text}");
        ensure!(place.reaches("web", "198.51.100.9:5432")?);
        Ok(())
    });
}

#[test]
fn entry_that_is_gone_allows_nothing_once_that_was_waited_for() {
    check("", |place, _| {
        for round in 0..5 {
            place.write("e.yaml", &entry("e", "e.test", &at("198.51.100.1")))?;
            ensure!(said(&waiting(place, &["shop/e"]).output()?).0 == Some(0));
            place.remove("e.yaml")?;
            let (code, text) = said(&waiting(place, &["--delete", "shop/e"]).output()?);
            ensure!(
                (code, text.as_str()) == (Some(0), "ServiceEntry shop/e is gone\n"),
                "{text}"
            );
            ensure!(!place.reaches("web", "198.51.100.1:5432")?, "round {round}");
        }
        Ok(())
    });
}

#[test]
fn what_is_typed_wrong_is_exit_code_2_and_nobody_to_ask_1() {
    check("", |place, daemon| {
        for (arguments, words) in [
            (vec!["--for", "Pod", "a/b"], "--for Pod"),
            (vec!["--for", "ServiceEntry", "b"], "NAMESPACE/NAME"),
            (vec!["--for", "ServiceEntry", "--timeout", "soon", "a/b"], "30s"),
        ] {
            let output = place
                .command(&[&["wait"], arguments.as_slice()].concat())
                .output()?;
            let (code, text) = said(&output);
            ensure!(
                code == Some(2) && text.contains(words),
                "{arguments:?}: {code:?} {text}"
            );
        }
        daemon.end(nix::sys::signal::Signal::SIGTERM)?;
        let (code, text) = said(&waiting(place, &["shop/e"]).output()?);
        ensure!(
            code == Some(1) && text.contains("no enforcer answers"),
            "{code:?} {text}"
        );
        Ok(())
    });
}

#[test]
fn who_waits_is_told_by_the_enforcer_that_takes_over() {
    check("", |place, daemon| {
        place.write(
            "e.yaml",
            &entry(
                "e",
                "e.test",
                "  resolution: STATIC\n  workloadSelector: {labels: {app: db}}\n",
            ),
        )?;
        let mut waiter = waiting(place, &["--timeout", "60s", "shop/e"])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        let mut said = String::new();
        let mut errors = BufReader::new(waiter.stderr.take().context("it is piped")?);
        errors.read_line(&mut said)?;
        ensure!(
            said.starts_with("waiting: ") && said.contains("selects no Pod"),
            "{said}"
        );
        daemon.end(nix::sys::signal::Signal::SIGTERM)?;
        let next = place.start(&[])?;
        place.write(
            "w.yaml",
            "apiVersion: networking.istio.io/v1\nkind: WorkloadEntry\nmetadata: {name: w, namespace: shop}\n\
             spec: {address: 198.51.100.5, labels: {app: db}}\n",
        )?;
        ensure!(waiter.wait()?.success(), "it is told by the next one");
        ensure!(place.reaches("web", "198.51.100.5:5432")?);
        drop(next);
        Ok(())
    });
}
