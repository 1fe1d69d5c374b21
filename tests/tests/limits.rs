//! A registry that is far more than anybody means by one: a link to a whole system in it.
#![expect(clippy::unwrap_used, reason = "that is how a test fails")]

use std::{
    fs,
    os::unix::fs::symlink,
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use tests::{
    daemon::{Daemon, Place},
    fixture::{in_own_network, need_root},
};

const BINARY: &str = env!("CARGO_BIN_EXE_enforcer-test");

const CONFIG: &str = "
registry:
  files: [registry/]
workloads:
- {namespace: frontend, name: web, cgroup: $CGROUP/frontend}
dns: {servers: [192.0.2.53], timeout: 500ms}
";

const FIRST: &str = "192.0.2.10:5432";
const SECOND: &str = "192.0.2.20:5432";

fn entry(name: &str, address: &str) -> String {
    let address = address.rsplit_once(':').unwrap().0;
    format!(
        "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {{name: {name}, namespace: frontend}}\n\
         spec:\n  hosts: [{name}.example.com]\n  addresses: [{address}]\n  resolution: NONE\n  \
         ports: [{{number: 5432, name: tcp, protocol: TCP}}]\n"
    )
}

fn check(claim: impl FnOnce(&mut Place) -> Result<()> + Send) {
    in_own_network(|| {
        need_root()?;
        let mut place = Place::new(BINARY, CONFIG)?;
        place.cgroup.child("frontend")?;
        place.write("db.yaml", &entry("db", FIRST))?;
        claim(&mut place)
    })
    .unwrap();
}

/// Folders below one, more than a registry may have, each with a file.
fn forest(place: &Place) -> Result<std::path::PathBuf> {
    let forest = place.folder.path().join("forest");
    for number in 0..4200 {
        let folder = forest.join(number.to_string());
        fs::create_dir_all(&folder)?;
        fs::write(folder.join("a.yaml"), "# nothing\n")?;
    }
    Ok(forest)
}

/// Watches of inotify, and memory in KiB.
fn held(daemon: &Daemon) -> Result<(usize, u64)> {
    let process = format!("/proc/{}", daemon.pid());
    let mut watches = 0;
    for about in fs::read_dir(format!("{process}/fdinfo"))?.flatten() {
        let about = fs::read_to_string(about.path()).unwrap_or_default();
        watches += about
            .lines()
            .filter(|line| line.starts_with("inotify wd:"))
            .count();
    }
    let status = fs::read_to_string(format!("{process}/status"))?;
    let memory = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let memory = memory
        .and_then(|memory| memory.split_whitespace().next())
        .context("VmRSS")?;
    Ok((watches, memory.parse()?))
}

#[test]
fn start_with_a_link_to_a_whole_system_takes_the_rest_and_names_the_link() {
    for whole in ["/usr", "/", "forest"] {
        check(|place| {
            let target = if whole == "forest" {
                forest(place)?
            } else {
                whole.into()
            };
            let link = place.folder.path().join("registry/everything");
            symlink(target, &link)?;
            let start = Instant::now();
            let mut daemon = place.start(&["--ephemeral"])?;
            let took = start.elapsed();
            let (watches, memory) = held(&daemon)?;
            println!("{whole}: {watches} watches, {memory} KiB, in force after {took:?}");
            assert!(took < Duration::from_secs(20) && watches < 100 && memory < 100 << 10);
            let line = daemon.line(&[
                "ERROR",
                &link.display().to_string(),
                "with it the registry would have more than",
            ])?;
            assert!(line.contains("remove it"), "{line}");
            assert!(place.reaches("frontend", FIRST)?);
            place.write("second.yaml", &entry("second", SECOND))?;
            place.until("frontend", SECOND, true)?;
            let status = place.status()?.1;
            assert!(
                status.rejected.iter().any(|it| it.contains("everything")),
                "{:?}",
                status.rejected
            );
            fs::remove_file(&link)?;
            place.until_status("registry without the link", |status| status.rejected.is_empty())?;
            assert!(place.reaches("frontend", FIRST)? && place.reaches("frontend", SECOND)?);
            Ok(())
        });
    }
}

#[test]
fn folder_that_becomes_too_much_keeps_what_it_said_in_force() {
    check(|place| {
        let forest = forest(place)?;
        let team = place.folder.path().join("registry/team");
        fs::create_dir(&team)?;
        fs::write(team.join("second.yaml"), entry("second", SECOND))?;
        let mut daemon = place.start(&["--ephemeral"])?;
        assert!(place.reaches("frontend", FIRST)? && place.reaches("frontend", SECOND)?);
        fs::rename(forest, team.join("forest"))?;
        let line = daemon.line(&["ERROR", "with it the registry would have more than 4096 folders"])?;
        assert!(
            line.contains("/registry/team: ") && line.contains("stays in force"),
            "{line}"
        );
        assert!(place.reaches("frontend", FIRST)? && place.reaches("frontend", SECOND)?);
        place.remove("db.yaml")?;
        place.until("frontend", FIRST, false)?;
        assert!(place.reaches("frontend", SECOND)?);
        Ok(())
    });
}

#[test]
fn check_of_a_whole_system_ends_with_an_error_that_says_why() {
    let start = Instant::now();
    let output = Command::new(BINARY).args(["check", "/"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(
        said.contains("with it the registry would have more than"),
        "{said}"
    );
    println!("after {:?}", start.elapsed());
}
