//! `enforcer suggest` as it is typed: from observations to objects that pass `enforcer check`, and after which there is
//! nothing more to suggest.
#![expect(clippy::unwrap_used, reason = "that is how a test fails")]

use std::{
    fs,
    io::Write as _,
    path::PathBuf,
    process::{Command, Stdio},
};

use serde_json::{Value, json};
use tempfile::TempDir;

const BINARY: &str = env!("CARGO_BIN_EXE_enforcer-test");

const DB: &str = "\
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: db, namespace: frontend}
spec:
  hosts: [db.example.com]
  resolution: DNS
  ports: [{number: 5432, name: postgres, protocol: TCP}]
  exportTo: ['.']
";

/// A folder with a registry of one entry, and observations.
struct Place(TempDir);

struct Said {
    code: Option<i32>,
    out: String,
    errors: String,
}

impl Place {
    fn new(observations: &[Value]) -> Self {
        let place = Self(tempfile::tempdir().unwrap());
        fs::create_dir(place.path("registry")).unwrap();
        fs::write(place.path("registry/db.yaml"), DB).unwrap();
        let lines: String = observations.iter().map(|seen| format!("{seen}\n")).collect();
        fs::write(place.path("seen.jsonl"), lines).unwrap();
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Runs `enforcer` in the folder.
    fn run(&self, arguments: &[&str], input: &str) -> Said {
        let mut child = Command::new(BINARY)
            .args(arguments)
            .current_dir(self.0.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        Said {
            code: output.status.code(),
            out: String::from_utf8(output.stdout).unwrap(),
            errors: String::from_utf8(output.stderr).unwrap(),
        }
    }

    fn suggest(&self, more: &[&str]) -> Said {
        let arguments = ["suggest", "--from", "seen.jsonl", "--registry", "registry"];
        self.run(&[&arguments[..], more].concat(), "")
    }
}

fn seen(workload: &str, host: Option<&str>, (address, port): (&str, u16)) -> Value {
    let (namespace, name) = workload.split_once('/').unwrap();
    let mut seen = json!({
        "namespace": namespace, "workload": name, "addresses": [address], "port": port, "transport": "tcp",
        "verdict": "deny", "first": "2026-11-01T08:00:00Z", "last": "2026-11-22T14:03:11Z", "count": 3,
    });
    if let Some(host) = host {
        seen["host"] = host.into();
    }
    seen
}

/// A host that nobody has, a port that the registry's entry lacks, an address without a name, and what is allowed.
fn observations() -> Vec<Value> {
    vec![
        seen("frontend/web", Some("api.example.com"), ("192.0.2.1", 443)),
        seen("orders/api", Some("api.example.com"), ("192.0.2.1", 443)),
        seen("frontend/web", Some("db.example.com"), ("192.0.2.2", 6432)),
        seen("frontend/web", None, ("192.0.2.3", 9000)),
        seen("frontend/web", Some("db.example.com"), ("192.0.2.2", 5432)),
    ]
}

#[test]
fn what_is_suggested_passes_the_check_and_nothing_more_is_suggested_then() {
    let place = Place::new(&observations());
    let said = place.suggest(&[]);
    assert_eq!((said.code, said.errors.as_str()), (Some(0), ""));
    assert!(
        said.out
            .starts_with("# 2 new ServiceEntries and 1 change of present ones.\n"),
        "{}",
        said.out
    );
    assert!(said.out.contains("\n# +   - number: 6432\n"), "{}", said.out);

    let checked = place.run(&["check", "-"], &said.out);
    assert_eq!(checked.code, Some(0), "{}", checked.out);
    let lines: Vec<_> = checked.out.lines().collect();
    assert_eq!(lines.len(), 3, "neither errors nor warnings: {}", checked.out);

    // The changed object is whole, so that it takes the place of the old one.
    fs::write(place.path("registry/db.yaml"), &said.out).unwrap();
    let again = place.suggest(&[]);
    assert_eq!(again.code, Some(0));
    assert_eq!(
        again.out,
        "# Nothing to suggest: the registry allows everything that was seen.\n"
    );
}

#[test]
fn json_is_a_list_that_is_ready_to_apply_with_the_patch_beside_it() {
    let place = Place::new(&observations());
    let said = place.suggest(&["-o", "json"]);
    let list: Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!(
        (&list["kind"], list["items"].as_array().unwrap().len()),
        (&json!("List"), 3)
    );
    assert_eq!(list["changes"][0]["patch"]["spec"]["ports"][1]["number"], 6432);
    let checked = place.run(&["check", "-"], &said.out);
    assert_eq!(
        (checked.code, checked.out.lines().count()),
        (Some(0), 3),
        "{}",
        checked.out
    );
}

#[test]
fn registry_can_come_from_a_cluster_by_standard_input() {
    let place = Place::new(&observations());
    let list = json!({"apiVersion": "v1", "kind": "List", "items": [{
        "apiVersion": "networking.istio.io/v1", "kind": "ServiceEntry",
        "metadata": {"name": "db", "namespace": "frontend", "uid": "1", "resourceVersion": "7",
            "creationTimestamp": "2026-01-01T00:00:00Z",
            "annotations": {"kubectl.kubernetes.io/last-applied-configuration": "{}"}},
        "spec": {"hosts": ["db.example.com"], "resolution": "DNS",
            "ports": [{"number": 5432, "name": "postgres", "protocol": "TCP"}]},
    }]});
    let arguments = [
        "suggest",
        "--from",
        "seen.jsonl",
        "--registry",
        "-",
        "--workload",
        "frontend/web",
    ];
    let said = place.run(&arguments, &list.to_string());
    assert_eq!(said.code, Some(0), "{}", said.errors);
    assert!(
        said.out.contains("number: 6432") && !said.out.contains("resourceVersion"),
        "{}",
        said.out
    );
    assert!(!said.out.contains("orders"), "{}", said.out);
}

#[test]
fn only_what_is_asked_for_is_suggested() {
    let place = Place::new(&observations());
    let said = place.suggest(&["--namespace", "orders"]);
    assert!(
        said.out.starts_with("# 1 new ServiceEntry and 0 changes"),
        "{}",
        said.out
    );
    let said = place.suggest(&["--since", "2026-11-22T15:00:00Z"]);
    assert_eq!(
        said.out,
        "# Nothing to suggest: the registry allows everything that was seen.\n"
    );
    let said = place.suggest(&["--since", "2026-11-22T14:00:00Z"]);
    assert!(said.out.starts_with("# 2 new ServiceEntries"), "{}", said.out);
}

#[test]
fn bad_input_is_one_line_and_code_2() {
    let place = Place::new(&[]);
    fs::write(place.path("seen.jsonl"), "\n{\"namespace\": 1}\n").unwrap();
    let said = place.suggest(&[]);
    assert_eq!((said.code, said.out.as_str()), (Some(2), ""));
    assert!(
        said.errors
            .starts_with("error: seen.jsonl, line 2: no observation: "),
        "{}",
        said.errors
    );
    let state = place.path("nobody").display().to_string();
    let cases: [(&[&str], &str); 5] = [
        (
            &["--from", "nowhere", "--registry", "registry"],
            "error: reading nowhere: ",
        ),
        (
            &["--from", "seen.jsonl", "--registry", "nowhere"],
            "error: nowhere: ",
        ),
        (
            &["--from", "-", "--registry", "-"],
            "error: --from - and --registry - both want standard input",
        ),
        (
            &[
                "--from",
                "seen.jsonl",
                "--registry",
                "registry",
                "--since",
                "noon",
            ],
            "error: --since noon: write an age",
        ),
        (
            &["--registry", "registry", "--state", &state],
            "error: no enforcer answers at ",
        ),
    ];
    for (arguments, expected) in cases {
        let said = place.run(&[&["suggest"], arguments].concat(), "");
        assert_eq!(
            (said.code, said.errors.lines().count()),
            (Some(2), 1),
            "{}",
            said.errors
        );
        assert!(said.errors.starts_with(expected), "{}", said.errors);
    }
}
