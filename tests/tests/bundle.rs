//! `enforcer bundle`, as somebody types it who was asked for one.
#![expect(clippy::unwrap_used, reason = "that is how a test fails")]

use std::{
    collections::BTreeMap,
    fs,
    io::Write as _,
    os::unix::fs::{PermissionsExt as _, symlink},
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use anyhow::{Context as _, Result, ensure};
use nix::{
    mount::{MsFlags, mount},
    sys::{signal::Signal, stat::Mode},
    unistd::mkfifo,
};
use serde_json::Value;
use tests::{
    daemon::{Daemon, Place, wait},
    fixture::{in_own_network, need_root},
};

const BINARY: &str = env!("CARGO_BIN_EXE_enforcer-test");

/// Names that nothing of ours has, so that each place where one is left is a leak.
const CONFIG: &str = "
# run for the zebrabank; token: c0mm3nt-t0k3n
registry: {files: [registry/]}
workloads:
- {namespace: quagga, name: okapi, cgroup: $CGROUP/okapi, labels: {app: gnuapp}}
- {namespace: tapir, name: ibex, cgroup: $CGROUP/ibex, mode: audit}
dns: {servers: [192.0.2.53], timeout: 500ms}
";

const ENTRIES: &str = "
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: lemurdb, namespace: quagga}
spec:
  hosts: [lemur.example.com]
  resolution: DNS
  exportTo: ['.']
  ports: [{number: 5432, name: tcp, protocol: TCP}]
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: heron, namespace: tapir}
spec:
  hosts: [heron.example.com]
  addresses: [198.51.100.77]
  resolution: NONE
  ports: [{number: 443, name: tls, protocol: TLS}]
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: wombat, namespace: quagga}
spec: {hosts: [wombat.example.com], ports: [{number: 0, name: tcp, protocol: TCP}]}
";

const DB: &str = "192.0.2.10:5432";

/// What of it says who somebody is.
const ORIGINALS: [&str; 16] = [
    "quagga",
    "okapi",
    "gnuapp",
    "tapir",
    "ibex",
    "lemurdb",
    "lemur.example.com",
    "heron",
    "heron.example.com",
    "wombat",
    "wombat.example.com",
    "zebrabank",
    "192.0.2.10",
    "192.0.2.53",
    "198.51.100.77",
    "c0mm3nt-t0k3n",
];

fn check(claim: impl FnOnce(&mut Place, &mut Daemon) -> Result<()> + Send) {
    need_root().unwrap();
    in_own_network(|| {
        let mut place = Place::with_bpffs(BINARY, CONFIG)?;
        place.resolve("192.0.2.10 lemur.example.com\n")?;
        place.write("entries.yaml", ENTRIES)?;
        for name in ["okapi", "ibex"] {
            place.cgroup.child(name)?;
        }
        let mut daemon = place.start(&["--log-format", "json"])?;
        assert!(place.reaches("okapi", DB)?);
        assert!(!place.reaches("okapi", "192.0.2.10:81")?);
        daemon.line(&["flow_denied", "192.0.2.10"])?;
        claim(&mut place, &mut daemon)
    })
    .unwrap();
}

fn bundle(place: &Place, arguments: &[&str]) -> Result<Output> {
    Ok(place.command(&[&["bundle"][..], arguments].concat()).output()?)
}

/// The files of an archive, as `tar` unpacks them.
fn unpacked(archive: &[u8]) -> Result<BTreeMap<String, String>> {
    let folder = tempfile::tempdir()?;
    let mut tar = Command::new("tar")
        .args(["-xzf", "-", "-C"])
        .arg(folder.path())
        .stdin(Stdio::piped())
        .spawn()?;
    tar.stdin
        .take()
        .context("standard input is piped")?
        .write_all(archive)?;
    ensure!(tar.wait()?.success(), "tar does not unpack it");
    let root = folder.path().join("enforcer-bundle");
    let mut files = BTreeMap::new();
    let mut left = vec![root.clone()];
    while let Some(folder) = left.pop() {
        for entry in fs::read_dir(folder)? {
            let path = entry?.path();
            if path.is_dir() {
                left.push(path);
            } else {
                let name = path.strip_prefix(&root)?.display().to_string();
                files.insert(name, fs::read_to_string(&path)?);
            }
        }
    }
    Ok(files)
}

/// The files of a bundle that goes through a pipe.
fn piped(place: &Place, arguments: &[&str]) -> Result<BTreeMap<String, String>> {
    let output = bundle(place, &[&["--output", "-"][..], arguments].concat())?;
    ensure!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    unpacked(&output.stdout)
}

fn records(files: &BTreeMap<String, String>, name: &str) -> Result<Vec<Value>> {
    let text = files
        .get(name)
        .with_context(|| format!("{name} is not in it: {:?}", files.get("missing.txt")))?;
    text.lines().map(|line| Ok(serde_json::from_str(line)?)).collect()
}

#[track_caller]
fn has(records: &[Value], fields: &[(&str, &str)]) {
    let is_it = |record: &&Value| fields.iter().all(|(field, value)| record[*field] == *value);
    assert!(
        records.iter().any(|record| is_it(&record)),
        "nothing has {fields:?} of {records:#?}"
    );
}

#[test]
fn bundle_of_a_running_enforcer_has_everything() {
    check(|place, daemon| {
        let files = piped(place, &[])?;
        let status: Value = serde_json::from_str(&files["status.json"])?;
        assert_eq!(status["pid"], daemon.pid());
        assert!(files["status.txt"].contains("/okapi"), "{}", files["status.txt"]);
        let objects = records(&files, "registry/objects.jsonl")?;
        has(
            &objects,
            &[
                ("kind", "ServiceEntry"),
                ("namespace", "quagga"),
                ("name", "lemurdb"),
            ],
        );
        let source = objects.iter().find(|it| it["name"] == "heron").context("heron")?["source"].to_string();
        assert!(source.contains("/registry/entries.yaml:"), "{source}");
        let rejected = &files["registry/rejected.txt"];
        assert!(rejected.contains("ServiceEntry quagga/wombat"), "{rejected}");
        let policies = &files["maps/policies.jsonl"];
        assert!(
            policies.contains("tcp 192.0.2.10:5432") && policies.contains("quagga/okapi"),
            "{policies}"
        );
        let summary: Value = serde_json::from_str(&files["maps/summary.json"])?;
        assert_eq!(
            (&summary["asWritten"], &summary["upToDate"]),
            (&true.into(), &true.into()),
            "{summary}"
        );
        assert_eq!(files["maps/pending.jsonl"], "");
        has(
            &records(&files, "workloads.jsonl")?,
            &[("namespace", "tapir"), ("workload", "ibex")],
        );
        has(
            &records(&files, "names.jsonl")?,
            &[
                ("host", "lemur.example.com"),
                ("address", "192.0.2.10"),
                ("source", "resolved"),
            ],
        );
        let denied = [
            ("workload", "quagga/okapi"),
            ("address", "192.0.2.10"),
            ("verdict", "deny"),
        ];
        has(&records(&files, "log.jsonl")?, &denied);
        has(&records(&files, "calls.jsonl")?, &denied);
        has(
            &records(&files, "observations.jsonl")?,
            &[("workload", "okapi"), ("verdict", "deny")],
        );
        let programs = records(&files, "programs.jsonl")?;
        let connect = programs
            .iter()
            .find(|it| it["program"] == "connect4")
            .context("connect4")?;
        assert!(connect["id"].as_u64() > Some(0), "{connect}");
        let release = nix::sys::utsname::uname()?;
        let kernel: Value = serde_json::from_str(&files["kernel.json"])?;
        assert_eq!(kernel["uname"]["release"], *release.release().to_string_lossy());
        assert!(files["configuration.yaml"].contains("namespace: quagga"));
        assert!(
            !files["configuration.yaml"].contains("c0mm3nt-t0k3n"),
            "{}",
            files["configuration.yaml"]
        );
        assert!(
            files["metrics.txt"].contains("enforcer_build_info{"),
            "{}",
            files["metrics.txt"]
        );
        assert_eq!(files["missing.txt"], "nothing is missing\n");
        Ok(())
    });
}

/// Whether a name or an address stands somewhere, and is no part of another.
fn stands(text: &str, original: &str) -> bool {
    let is_part = |c: char| c.is_alphanumeric() || c == '_';
    text.match_indices(original).any(|(at, _)| {
        let before = text[..at].chars().next_back();
        let after = text[at + original.len()..].chars().next();
        !before.is_some_and(is_part) && !after.is_some_and(is_part)
    })
}

#[test]
fn redacted_bundle_names_nobody_and_keeps_who_is_who() {
    check(|place, _| {
        let files = piped(place, &["--redact"])?;
        for (name, text) in &files {
            let text = text.to_lowercase();
            for original in ORIGINALS {
                assert!(!stands(&text, original), "{original} is left in {name}: {text}");
            }
        }
        // By its field: a machine may be called like a word of ours.
        let kernel: Value = serde_json::from_str(&files["kernel.json"])?;
        let machine = kernel["uname"]["nodename"]
            .as_str()
            .context("the machine's name")?;
        assert!(
            machine.starts_with("node-") || machine == "localhost" || machine.ends_with(".example"),
            "{machine}"
        );
        let log = records(&files, "log.jsonl")?;
        let denied = log
            .iter()
            .find(|it| it["event"] == "flow_denied")
            .context("a refusal")?;
        let workload = denied["workload"].as_str().context("a workload")?;
        assert!(workload.starts_with("namespace-"), "{workload}");
        let policies = &files["maps/policies.jsonl"];
        assert!(policies.contains(workload), "{workload} in {policies}");
        assert!(
            files["registry/objects.jsonl"].contains(denied["namespace"].as_str().context("its namespace")?)
        );
        assert_eq!(denied["port"], 81);
        Ok(())
    });
}

#[test]
fn without_an_enforcer_what_is_pinned_and_written_is_there_and_the_rest_is_named() {
    check(|place, daemon| {
        let names = place.state().join("names.json");
        wait("file of names", || {
            Ok(fs::read_to_string(&names).is_ok_and(|text| text.contains("lemur")))
        })?;
        daemon.end(Signal::SIGKILL)?;
        let output = bundle(place, &["--output", "-"])?;
        assert_eq!(output.status.code(), Some(0));
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(
            told.contains("missing: status.json, status.txt: no enforcer answers"),
            "{told}"
        );
        let files = unpacked(&output.stdout)?;
        let missing = &files["missing.txt"];
        for part in [
            "status.json",
            "maps/pending.jsonl",
            "calls.jsonl",
            "observations.jsonl",
        ] {
            assert!(missing.contains(part), "{part} in {missing}");
        }
        let policies = &files["maps/policies.jsonl"];
        assert!(
            policies.contains("tcp 192.0.2.10:5432") && policies.contains("/okapi"),
            "{policies}"
        );
        has(&records(&files, "programs.jsonl")?, &[("program", "connect4")]);
        has(
            &records(&files, "registry/objects.jsonl")?,
            &[("name", "lemurdb")],
        );
        assert!(files["registry/rejected.txt"].contains("wombat"));
        has(
            &records(&files, "names.jsonl")?,
            &[("host", "lemur.example.com"), ("source", "kept")],
        );
        let tried: Value = serde_json::from_str(&files["programs-tried.json"])?;
        assert_eq!(tried["loads"], true, "{tried}");
        assert!(
            !place.reaches("okapi", "192.0.2.10:81")?,
            "what was in force still is"
        );
        Ok(())
    });
}

#[test]
fn enforcer_that_hangs_keeps_no_bundle_from_being_made() {
    check(|place, daemon| {
        daemon.hold()?;
        let files = piped(place, &[])?;
        daemon.go_on()?;
        assert!(
            files["missing.txt"].contains("no answer at"),
            "{}",
            files["missing.txt"]
        );
        assert!(files["maps/policies.jsonl"].contains("tcp 192.0.2.10:5432"));
        Ok(())
    });
}

/// What is in a folder.
fn entries(folder: &Path) -> Result<Vec<PathBuf>> {
    fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect()
}

#[test]
fn archive_goes_into_a_folder_over_a_file_and_through_a_pipe() {
    check(|place, _| {
        let folder = tempfile::tempdir()?;
        let text = folder.path().display().to_string();
        let output = bundle(place, &["--output", &text])?;
        let [made] = entries(folder.path())?.try_into().unwrap();
        assert_eq!(
            String::from_utf8(output.stdout)?.trim(),
            made.display().to_string()
        );
        assert_eq!(fs::metadata(&made)?.permissions().mode() & 0o777, 0o600);
        assert!(unpacked(&fs::read(&made)?)?.contains_key("status.json"));

        let file = folder.path().join("old.tar.gz");
        fs::write(&file, "old")?;
        fs::set_permissions(&file, fs::Permissions::from_mode(0o644))?;
        let text = file.display().to_string();
        assert!(bundle(place, &["--output", &text])?.status.success());
        assert_eq!(fs::metadata(&file)?.permissions().mode() & 0o777, 0o600);
        assert!(unpacked(&fs::read(&file)?)?.contains_key("status.json"));

        // Whoever may write to the folder could have made them, and would have the archive.
        let pipe = folder.path().join("pipe");
        mkfifo(&pipe, Mode::S_IRWXU)?;
        let link = folder.path().join("link");
        symlink(&pipe, &link)?;
        for other in [&pipe, &link] {
            let output = bundle(place, &["--output", &other.display().to_string()])?;
            assert_eq!(output.status.code(), Some(1));
            let told = String::from_utf8(output.stderr)?;
            assert!(told.contains("is there and no file: `--output -`"), "{told}");
        }
        assert_eq!(entries(folder.path())?.len(), 4, "nothing else is left");
        Ok(())
    });
}

#[test]
fn disk_that_is_full_keeps_what_was_there_and_no_half_archive() {
    check(|place, _| {
        let folder = tempfile::tempdir()?;
        mount(
            Some("none"),
            folder.path(),
            Some("tmpfs"),
            MsFlags::empty(),
            Some("size=8k"),
        )?;
        let file = folder.path().join("bundle.tar.gz");
        fs::write(&file, "old")?;
        let output = bundle(place, &["--output", &file.display().to_string()])?;
        assert_eq!(output.status.code(), Some(1));
        let told = String::from_utf8(output.stderr)?;
        assert!(
            told.contains("bundle.tar.gz") && told.contains("No space left"),
            "{told}"
        );
        assert_eq!(fs::read_to_string(&file)?, "old");
        assert_eq!(entries(folder.path())?, [file]);
        nix::mount::umount(folder.path())?;
        Ok(())
    });
}

#[test]
fn known_and_evident_secrets_are_in_no_file() {
    check(|place, _| {
        let secret = "s3cret-of-the-page-0123456789";
        fs::write(place.state().join("ui.token"), secret)?;
        let token = "eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJrdWJlIn0.c2lnbmF0dXJl";
        place.write(
            "more.yaml",
            &format!("apiVersion: v1\nkind: Namespace\nmetadata: {{name: numbat, labels: {{a: '{token}', b: {secret}}}}}\n"),
        )?;
        wait("the object with the token", || {
            let files = piped(place, &[])?;
            Ok(files["registry/objects.jsonl"].contains("\"kind\":\"Namespace\""))
        })?;
        for (name, text) in piped(place, &[])? {
            assert!(
                !text.contains(secret) && !text.contains("eyJpc3Mi"),
                "{name}: {text}"
            );
        }
        Ok(())
    });
}
