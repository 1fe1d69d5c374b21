//! `enforcer explain` as users and scripts type it: of files, of a configuration, and of the running enforcer.
#![expect(clippy::unwrap_used, reason = "that is how a test fails")]

use std::{
    fs,
    io::Write as _,
    net::{TcpListener, UdpSocket},
    path::Path,
    process::{Command, Output, Stdio},
};

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use tests::{
    daemon::{Place, RESOLVER},
    fixture::{in_own_network, need_root, tied},
    resolvers,
};

const BINARY: &str = env!("CARGO_BIN_EXE_enforcer-test");

/// What each record has.
const KEYS: [&str; 8] = [
    "destination",
    "verdict",
    "mode",
    "matching",
    "reason",
    "object",
    "services",
    "suggestion",
];

/// A database for frontend, a wildcard for everybody, a network for frontend.
const REGISTRY: &str = "
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: db, namespace: frontend}
spec:
  hosts: [db.example.com]
  exportTo: ['.']
  resolution: DNS
  ports: [{number: 5432, name: tcp-db, protocol: TCP}]
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: wild, namespace: shared}
spec:
  hosts: ['*.learned.example']
  resolution: NONE
  ports: [{number: 443, name: tls, protocol: TLS}, {number: 5353, name: udp, protocol: UDP}]
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: fixed, namespace: frontend}
spec:
  hosts: [fixed.example]
  addresses: [198.51.100.7, '2001:db8::7']
  resolution: STATIC
  endpoints: [{address: 198.51.100.7}]
  ports: [{number: 80, name: tcp, protocol: TCP}]
---
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {name: narrow, namespace: frontend}
spec:
  workloadSelector: {labels: {app: narrow}}
  egress: [{hosts: ['./fixed.example']}]
";

fn run(command: &mut Command) -> Result<(Option<i32>, String, String)> {
    let Output {
        status,
        stdout,
        stderr,
    } = command.output()?;
    Ok((
        status.code(),
        String::from_utf8(stdout)?,
        String::from_utf8(stderr)?,
    ))
}

/// `enforcer explain` of a registry that is this text alone, for `frontend`; `$REGISTRY` in a word is its file.
fn explain_of(registry: &str, words: &[&str]) -> Result<(Option<i32>, String, String)> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("registry.yaml");
    fs::write(&file, registry)?;
    let words = words
        .iter()
        .map(|word| word.replace("$REGISTRY", &file.display().to_string()));
    run(Command::new(BINARY).arg("explain").args(words))
}

/// Its records; no resolver is asked.
fn records(registry: &str, words: &[&str]) -> Result<Vec<Value>> {
    let all = [
        &[
            "--registry",
            "$REGISTRY",
            "--namespace",
            "frontend",
            "-o",
            "json",
            "--resolve",
            "none.example=192.0.2.99",
        ],
        words,
    ];
    let (code, out, errors) = explain_of(registry, &all.concat())?;
    ensure!(code == Some(0), "{errors}");
    ensure!(errors.is_empty(), "{errors}");
    lines(&out)
}

fn lines(out: &str) -> Result<Vec<Value>> {
    let records = out.lines().map(serde_json::from_str);
    Ok(records.collect::<Result<_, _>>()?)
}

fn keys(record: &Value) -> Vec<&str> {
    let object = record.as_object().unwrap();
    object.keys().map(String::as_str).collect()
}

#[test]
fn records_are_one_a_destination_in_the_order_given_with_every_key() -> Result<()> {
    let destinations = [
        "db.example.com:5432",
        "api.learned.example:443",
        "198.51.100.7:80",
        "[2001:db8::7]:80",
        "api.learned.example:5353/udp",
        "nobody.example:443",
        "db.example.com:5432",
        "192.0.2.1:53/udp",
    ];
    let records = records(REGISTRY, &destinations)?;
    let asked: Vec<_> = records
        .iter()
        .map(|record| record["destination"].clone())
        .collect();
    assert_eq!(asked, destinations);
    for record in &records {
        assert_eq!(keys(record), KEYS);
        assert_eq!(
            (&record["mode"], &record["matching"]),
            (&json!("enforce"), &json!("declared"))
        );
    }
    let verdicts: Vec<_> = records
        .iter()
        .map(|record| record["verdict"].as_str().unwrap())
        .collect();
    assert_eq!(
        verdicts,
        [
            "allow", "allow", "allow", "allow", "allow", "deny", "allow", "deny"
        ]
    );
    assert_eq!(records[0]["object"], "ServiceEntry frontend/db");
    assert_eq!(
        records[0]["services"],
        json!([{"namespace": "frontend", "name": "db", "host": "db.example.com", "port": 5432, "protocol": "TCP"}])
    );
    assert_eq!(records[1]["services"][0]["host"], "*.learned.example");
    assert_eq!(records[0]["suggestion"], Value::Null);
    assert_eq!(records[5]["object"], Value::Null);
    assert_eq!(records[5]["services"], json!([]));
    assert_eq!(
        records[5]["suggestion"],
        "a ServiceEntry in namespace frontend for host nobody.example, port 443 with protocol TCP"
    );
    Ok(())
}

#[test]
fn host_without_an_address_is_explained_by_its_name() -> Result<()> {
    let destinations = [
        "api.learned.example:443",
        "learned.example:443",
        "db.example.com:5433",
    ];
    let [wild, apex, port] = &records(REGISTRY, &destinations)?[..] else {
        panic!("there are three");
    };
    assert_eq!(
        wild["reason"],
        "ServiceEntry shared/wild port tls (*.learned.example, at any address that a trusted resolver gives it for \
         api.learned.example)"
    );
    assert_eq!(
        apex["reason"],
        "no ServiceEntry or Service has the host learned.example"
    );
    assert_eq!(port["verdict"], "deny");
    assert_eq!(
        port["suggestion"],
        "add port 5433 with protocol TCP to ServiceEntry frontend/db"
    );
    Ok(())
}

#[test]
fn answers_that_are_told_are_those_of_a_resolver() -> Result<()> {
    let told = [
        "--resolve",
        "fixed.example=198.51.100.7,198.51.100.8",
        "--resolve",
        "fixed.example=198.51.100.9",
    ];
    let destinations = [
        "--resolve",
        "api.learned.example=203.0.113.5",
        "fixed.example:80",
        "api.learned.example:443",
    ];
    let [fixed, wild] = &records(REGISTRY, &[told, destinations].concat())?[..] else {
        panic!("there are two");
    };
    assert_eq!(fixed["verdict"], "deny", "the strictest counts");
    assert_eq!(
        fixed["reason"],
        "198.51.100.8, 198.51.100.9: ServiceEntry frontend/fixed has the host fixed.example, but not at this address"
    );
    assert_eq!(fixed["services"][0]["name"], "fixed");
    assert_eq!(wild["verdict"], "allow");
    assert_eq!(
        wild["reason"],
        "203.0.113.5: ServiceEntry shared/wild port tls (DNS answer for *.learned.example)"
    );
    // No name may stand for the machine's metadata.
    let metadata = [
        "--resolve",
        "evil.learned.example=169.254.169.254",
        "evil.learned.example:443",
    ];
    assert_eq!(records(REGISTRY, &metadata)?[0]["verdict"], "deny");
    Ok(())
}

#[test]
fn resolver_is_asked_only_where_no_address_is_told() {
    in_own_network(|| {
        let resolver = UdpSocket::bind((RESOLVER, 53))?;
        resolver.set_nonblocking(true)?;
        let folder = tempfile::tempdir()?;
        let file = folder.path().join("enforcer.yaml");
        fs::write(folder.path().join("registry.yaml"), REGISTRY)?;
        fs::write(
            &file,
            format!("registry: {{files: [registry.yaml]}}\ndns: {{servers: [{RESOLVER}], timeout: 100ms}}\n"),
        )?;
        let explain = |words: &[&str]| {
            let mut command = Command::new(BINARY);
            command.args(["explain", "-o", "json", "--namespace", "frontend", "--config"]);
            let (code, out, errors) = run(command.arg(&file).args(words))?;
            ensure!(code == Some(0), "{errors}");
            lines(&out)
        };
        let is_asked = || resolver.recv(&mut [0; 512]).is_ok();
        let told = [
            "--resolve",
            "db.example.com=192.0.2.10",
            "db.example.com:5432",
            "www.example.com:80",
        ];
        let records = explain(&told)?;
        assert!(!is_asked(), "nothing leaves");
        assert_eq!(records[0]["verdict"], "allow");
        assert!(records[0]["reason"].as_str().unwrap().starts_with("192.0.2.10: "));
        assert_eq!(
            records[1]["reason"],
            "no ServiceEntry or Service has the host www.example.com"
        );
        let records = explain(&["db.example.com:5432"])?;
        assert!(is_asked(), "a resolver is asked without --resolve");
        assert_eq!(records[0]["verdict"], "allow", "it does not answer");
        Ok(())
    })
    .unwrap();
}

#[test]
fn workload_is_one_that_is_there_or_one_that_is_described() -> Result<()> {
    let pods = |names: &[&str]| {
        let pod = |name: &&str| {
            format!(
                "---\napiVersion: v1\nkind: Pod\nmetadata: {{name: {name}, namespace: frontend, labels: {{app: narrow}}}}\n"
            )
        };
        format!("{REGISTRY}{}", names.iter().map(pod).collect::<String>())
    };
    let verdict = |registry: &str, words: &[&str]| -> Result<String> {
        let to = ["db.example.com:5432"];
        let records = records(registry, &[words, &to[..]].concat())?;
        Ok(records[0]["verdict"].as_str().unwrap().to_owned())
    };
    assert_eq!(verdict(REGISTRY, &[])?, "allow");
    assert_eq!(
        verdict(REGISTRY, &["--labels", "app=narrow,tier=1"])?,
        "deny",
        "its Sidecar"
    );
    assert_eq!(verdict(REGISTRY, &["--labels", ""])?, "allow");
    let one = pods(&["a"]);
    assert_eq!(verdict(&one, &[])?, "deny", "the only pod");
    assert_eq!(verdict(&one, &["--labels", "app=web"])?, "allow");
    let two = pods(&["a", "b"]);
    assert_eq!(verdict(&two, &["--workload", "b"])?, "deny");
    assert_eq!(verdict(&two, &["--name", "b"])?, "deny");
    let base = [
        "--registry",
        "$REGISTRY",
        "--resolve",
        "a.example=192.0.2.1",
        "db.example.com:5432",
    ];
    let (code, out, errors) = explain_of(&two, &[&base[..], &["--namespace", "frontend"]].concat())?;
    assert_eq!(code, Some(0));
    assert!(
        out.starts_with("frontend/(no labels) -> tcp db.example.com:5432: allowed by"),
        "{out}"
    );
    assert!(
        errors.contains("has several pods") && errors.contains("a, b"),
        "{errors}"
    );
    let wrong = ["--namespace", "frontend", "--workload", "c"];
    let (code, out, errors) = explain_of(&two, &[&base[..], &wrong].concat())?;
    assert_eq!((code, out.as_str()), (Some(2), ""));
    assert!(
        errors.contains("no workload frontend/c is configured; there are a, b"),
        "{errors}"
    );
    Ok(())
}

#[test]
fn bad_input_is_told_in_a_line_each_with_exit_code_2_and_no_record() -> Result<()> {
    let cases: [(&[&str], &str); 16] = [
        (&["--namespace", "a"], "name a destination"),
        (&["--namespace", "a", "db.example.com"], "no port"),
        (
            &["--namespace", "a", "db.example.com:99999"],
            "number from 1 to 65535",
        ),
        (&["--namespace", "a", "2001:db8::1:80"], "brackets"),
        (
            &["--namespace", "a", "https://db.example.com"],
            "write no URL, but db.example.com:443",
        ),
        (
            &["--namespace", "a", "*.example.com:443"],
            "stands for many hosts",
        ),
        (&["--namespace", "A", "db.example.com:1"], "is not a namespace"),
        (
            &["--namespace", "a", "--resolve", "db:5432:192.0.2.1", "db:1"],
            "write HOST=IP",
        ),
        (
            &["--namespace", "a", "--resolve", "db=192.0.2.300", "db:1"],
            "is no IP address",
        ),
        (
            &["--namespace", "a", "--resolve", "db=192.0.2.1,", "db:1"],
            "is no IP address",
        ),
        (
            &["--namespace", "a", "--resolve", "192.0.2.1=192.0.2.1", "db:1"],
            "neither an IPv4 address nor a name",
        ),
        (&["--namespace", "a", "--labels", "app", "db:1"], "KEY=VALUE"),
        (&["--namespace", "a", "--entry", "-o", "json", "db:1"], "--entry"),
        (
            &["--namespace", "a", "--registry", "/nowhere.yaml", "--", "db:1"],
            "/nowhere.yaml: No such file",
        ),
        (
            &["--namespace", "a", "--config", "/nowhere.yaml", "db:1"],
            "/nowhere.yaml",
        ),
        (
            &["--namespace", "a", "--live", "--state", "/nowhere", "db:1"],
            "no enforcer answers at /nowhere",
        ),
    ];
    for (words, says) in cases {
        let has_source = words
            .iter()
            .any(|word| ["--registry", "--config", "--live"].contains(word));
        let source: &[&str] = if has_source {
            &[]
        } else {
            &["--registry", "$REGISTRY"]
        };
        let (code, out, errors) = explain_of(REGISTRY, &[words, source].concat())?;
        assert_eq!((code, out.as_str()), (Some(2), ""), "{words:?}: {errors}");
        assert_eq!(errors.lines().count(), 1, "{words:?}: {errors}");
        assert!(
            errors.starts_with("error: ") && errors.contains(says),
            "{words:?}: {errors}"
        );
    }
    let two = ["--namespace", "a", "--registry", "$REGISTRY", "--", "db", "db:0"];
    let (code, _, errors) = explain_of(REGISTRY, &two)?;
    assert_eq!((code, errors.lines().count()), (Some(2), 2), "{errors}");
    // What the command line itself does not allow.
    let usage: [&[&str]; 4] = [
        &["db:1", "--registry", "$REGISTRY"],
        &["--namespace", "a", "--registry", "$REGISTRY", "--live", "db:1"],
        &["--namespace", "a", "--live", "--resolve", "db=192.0.2.1", "db:1"],
        &[
            "--namespace",
            "a",
            "--registry",
            "$REGISTRY",
            "--workload",
            "a",
            "--labels",
            "a=b",
            "db:1",
        ],
    ];
    for words in usage {
        let (code, out, errors) = explain_of(REGISTRY, words)?;
        assert_eq!((code, out.as_str()), (Some(2), ""), "{words:?}: {errors}");
    }
    Ok(())
}

#[test]
fn registry_has_to_be_named_where_the_machine_has_none() {
    in_own_network(|| {
        // As on a machine where the enforcer is not installed: mounts are the test's own.
        let etc = Path::new("/etc/enforcer");
        if etc.exists() {
            let hidden = nix::mount::MsFlags::empty();
            nix::mount::mount(Some("tmpfs"), etc, Some("tmpfs"), hidden, None::<&str>)?;
        }
        let words = ["--namespace", "a", "db.example.com:1"];
        let (code, _, errors) = run(Command::new(BINARY).arg("explain").args(words))?;
        assert_eq!(code, Some(2));
        assert!(
            errors.contains("--config FILE, --registry PATH, or --live"),
            "{errors}"
        );
        Ok(())
    })
    .unwrap();
}

#[test]
fn refusal_is_an_exit_code_only_if_that_is_asked_for() -> Result<()> {
    let base = [
        "--registry",
        "$REGISTRY",
        "--namespace",
        "frontend",
        "--resolve",
        "a.example=192.0.2.1",
    ];
    let code =
        |words: &[&str]| -> Result<Option<i32>> { Ok(explain_of(REGISTRY, &[&base[..], words].concat())?.0) };
    assert_eq!(code(&["192.0.2.1:1"])?, Some(0));
    assert_eq!(
        code(&["--exit-verdict", "198.51.100.7:80", "192.0.2.1:1"])?,
        Some(1)
    );
    assert_eq!(code(&["--exit-verdict", "198.51.100.7:80"])?, Some(0));
    assert_eq!(code(&["--exit-verdict", "198.51.100.7"])?, Some(2));
    Ok(())
}

#[test]
fn text_has_a_block_for_each_destination_and_takes_the_earlier_flags() -> Result<()> {
    let words = [
        "--registry",
        "$REGISTRY",
        "--namespace",
        "frontend",
        "--resolve",
        "db.example.com=192.0.2.10,192.0.2.11",
        "--udp",
        "db.example.com:5432/tcp",
        "api.learned.example:5353",
        "192.0.2.1:1",
    ];
    let (code, out, errors) = explain_of(REGISTRY, &words)?;
    assert_eq!((code, errors.as_str()), (Some(0), ""));
    let by_db = "allowed by ServiceEntry frontend/db port tcp-db (DNS db.example.com)";
    let expected = format!(
        "frontend/(no labels) -> tcp db.example.com:5432 (192.0.2.10): {by_db}\n\
         frontend/(no labels) -> tcp db.example.com:5432 (192.0.2.11): {by_db}\n\
         frontend/(no labels) -> udp api.learned.example:5353: allowed by ServiceEntry shared/wild port udp (any address)\n\
         frontend/(no labels) -> udp 192.0.2.1:1: denied: no ServiceEntry or Service has this address\n  \
         to allow it: a ServiceEntry in namespace frontend for address 192.0.2.1, port 1 with protocol UDP\n\
         mode: enforce\nmatching: declared\n"
    );
    assert_eq!(out, expected);
    Ok(())
}

#[test]
fn entries_of_refused_destinations_allow_them_and_one_of_a_host_is_enough() -> Result<()> {
    let words = [
        "--registry",
        "$REGISTRY",
        "--namespace",
        "frontend",
        "--resolve",
        "new.example=192.0.2.10,192.0.2.11",
        "--entry",
        "new.example:443",
        "other.example:80",
        "192.0.2.9:5354/udp",
    ];
    let (code, out, _) = explain_of(REGISTRY, &words)?;
    assert_eq!(code, Some(0));
    assert_eq!(out.lines().filter(|line| *line == "---").count(), 3, "{out}");
    let verdicts = records(
        &format!("{REGISTRY}\n{out}"),
        &["new.example:443", "other.example:80", "192.0.2.9:5354/udp"],
    )?;
    assert!(
        verdicts.iter().all(|record| record["verdict"] == "allow"),
        "{verdicts:#?}"
    );
    Ok(())
}

#[test]
fn registry_may_come_from_standard_input() -> Result<()> {
    let mut child = Command::new(BINARY)
        .args([
            "explain",
            "--registry",
            "-",
            "--namespace",
            "frontend",
            "-o",
            "json",
        ])
        .args(["--resolve", "a.example=192.0.2.1", "198.51.100.7:80"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let mut input = child.stdin.take().context("it is a pipe")?;
    input.write_all(REGISTRY.as_bytes())?;
    drop(input);
    let output = child.wait_with_output()?;
    assert_eq!(lines(&String::from_utf8(output.stdout)?)?[0]["verdict"], "allow");
    Ok(())
}

/// Two workloads in one namespace, and one in another.
const CONFIG: &str = "
registry: {files: [registry/]}
workloads:
- {namespace: frontend, name: web, cgroup: $CGROUP/frontend}
- {namespace: frontend, name: job, cgroup: $CGROUP/job, mode: audit}
- {namespace: shop, name: app, cgroup: $CGROUP/shop}
dns: {servers: [192.0.2.53], minTtl: 1s, timeout: 500ms}
";

fn check_live(claim: impl FnOnce(&mut Place) -> Result<()> + Send) {
    in_own_network(|| {
        need_root()?;
        let mut place = Place::new(BINARY, CONFIG)?;
        let hosts = ["/db.example.com/192.0.2.10", "/api.learned.example/203.0.113.5"];
        let hosts = hosts.map(|host| format!("--address={host}"));
        place.serve_names(&["--local-ttl=600", &hosts[0], &hosts[1]])?;
        place.write("registry.yaml", REGISTRY)?;
        for cgroup in ["frontend", "job", "shop"] {
            place.cgroup.child(cgroup)?;
        }
        let _daemon = place.start(&["--ephemeral"])?;
        claim(&mut place)
    })
    .unwrap();
}

fn live(place: &Place, words: &[&str]) -> Result<(Option<i32>, String, String)> {
    run(place.command(&["explain", "--live"]).args(words))
}

/// The records of `frontend/web`.
fn live_records(place: &Place, destinations: &[&str]) -> Result<Vec<Value>> {
    let about = ["--namespace", "frontend", "--workload", "web", "-o", "json"];
    let (code, out, errors) = live(place, &[&about[..], destinations].concat())?;
    ensure!(code == Some(0), "{errors}");
    lines(&out)
}

/// Has a process of a cgroup ask for a name, and dial it.
fn resolve_in(place: &Place, cgroup: &str, name: &str) -> Result<String> {
    let resolver = place.folder.path().join("resolv.conf");
    fs::write(&resolver, format!("nameserver {RESOLVER}\n"))?;
    let mut child = tied("unshare")
        .args(["--mount", "sh", "-c"])
        .arg("mount --bind \"$1\" \"$(readlink -f /etc/resolv.conf)\" && echo 0 > \"$0\" && shift && exec \"$@\"")
        .arg(place.cgroup.folder().join(cgroup).join("cgroup.procs"))
        .arg(&resolver)
        .args([BINARY, resolvers::ARGUMENT])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let mut input = child.stdin.take().context("it is a pipe")?;
    writeln!(input, "{name}")?;
    drop(input);
    let output = child.wait_with_output()?;
    Ok(String::from_utf8(output.stdout)?.trim().to_owned())
}

#[test]
fn running_enforcer_says_what_the_kernel_decides_and_by_which_addresses() {
    check_live(|place| {
        let _listener = TcpListener::bind("203.0.113.5:443")?;
        let destinations = [
            "db.example.com:5432",
            "fixed.example:80",
            "api.learned.example:443",
            "203.0.113.5:443",
            "nobody.example:1",
        ];
        let records = live_records(place, &destinations)?;
        let keys_with_addresses: Vec<_> = KEYS.into_iter().chain(["addresses"]).collect();
        for (record, destination) in records.iter().zip(destinations) {
            assert_eq!(keys(record), keys_with_addresses);
            assert_eq!(record["destination"], destination);
            assert_eq!(
                (&record["mode"], &record["matching"]),
                (&json!("enforce"), &json!("declared"))
            );
        }
        let [db, fixed, api, address, nobody] = &records[..] else {
            panic!("there are five");
        };
        assert_eq!(db["verdict"], "allow");
        assert_eq!(
            (&db["addresses"][0]["address"], &db["addresses"][0]["source"]),
            (&json!("192.0.2.10"), &json!("resolved"))
        );
        assert!(db["addresses"][0]["age"].as_f64() >= Some(0.0), "{db}");
        assert_eq!(db["addresses"][0]["expires"], Value::Null);
        let declared = fixed["addresses"].as_array().unwrap();
        assert!(declared.contains(
            &json!({"address": "198.51.100.7", "source": "declared", "age": null, "expires": null})
        ));
        assert_eq!(
            (&api["verdict"], &api["addresses"]),
            (&json!("allow"), &json!([]))
        );
        assert_eq!(
            (&address["verdict"], &address["addresses"]),
            (&json!("deny"), &json!([]))
        );
        assert_eq!(
            (&nobody["verdict"], &nobody["addresses"]),
            (&json!("deny"), &json!([]))
        );

        let said = resolve_in(place, "frontend", "api.learned.example")?;
        ensure!(said == "1 0", "one address was found, and not refused: {said}");
        let [api, address] = &live_records(place, &["api.learned.example:443", "203.0.113.5:443"])?[..]
        else {
            panic!("there are two");
        };
        for record in [api, address] {
            assert_eq!(record["verdict"], "allow", "{record}");
            let [learned] = &record["addresses"].as_array().unwrap()[..] else {
                panic!("{record}");
            };
            assert_eq!(
                (&learned["address"], &learned["source"]),
                (&json!("203.0.113.5"), &json!("learned"))
            );
            assert!(learned["age"].as_f64() >= Some(0.0) && learned["expires"].as_f64() > Some(0.0));
        }
        assert!(
            api["reason"]
                .as_str()
                .unwrap()
                .starts_with("203.0.113.5: ServiceEntry shared/wild")
        );
        // Another workload was not given it.
        let (_, out, _) = live(place, &["--namespace", "shop", "-o", "json", "203.0.113.5:443"])?;
        assert_eq!(lines(&out)?[0]["verdict"], "deny");
        let (_, out, _) = live(
            place,
            &[
                "--namespace",
                "frontend",
                "--name",
                "web",
                "api.learned.example:443",
            ],
        )?;
        assert!(out.contains("\n  203.0.113.5: learned, "), "{out}");
        Ok(())
    });
}

#[test]
fn running_enforcer_is_asked_about_workloads_that_are_there() {
    check_live(|place| {
        let audited = [
            "--namespace",
            "frontend",
            "--workload",
            "job",
            "-o",
            "json",
            "192.0.2.1:1",
        ];
        let (code, out, _) = live(place, &audited)?;
        let record = &lines(&out)?[0];
        assert_eq!(
            (code, &record["verdict"], &record["mode"]),
            (Some(0), &json!("audit"), &json!("audit"))
        );
        for (words, says) in [
            (
                &["--namespace", "nowhere"][..],
                "no workload of namespace nowhere is there: there are frontend/job, frontend/web, shop/app",
            ),
            (
                &["--namespace", "shop", "--workload", "web"],
                "no workload shop/web is there: there are",
            ),
            (
                &["--namespace", "frontend"],
                "several workloads: choose one by --workload: there are frontend/job, frontend/web",
            ),
        ] {
            let (code, out, errors) = live(place, &[words, &["192.0.2.1:1"]].concat())?;
            assert_eq!((code, out.as_str()), (Some(2), ""), "{errors}");
            assert!(errors.contains(says) && errors.lines().count() == 1, "{errors}");
        }
        let long = format!(
            "{}.example:65535/udp",
            ["a".repeat(60), "b".repeat(60), "c".repeat(60)].join(".")
        );
        let (code, ..) = live(place, &["--namespace", "shop", &long])?;
        assert_eq!(code, Some(0));
        Ok(())
    });
}
