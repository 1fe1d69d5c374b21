//! The command line where something is wrong: one line that says what, and how to mend it.
#![expect(clippy::unwrap_used, reason = "that is how a test fails")]

use std::{
    fs,
    process::{Command, Output},
};

use anyhow::Result;
use tests::{
    daemon::Place,
    fixture::{in_own_network, need_root},
};

const BINARY: &str = env!("CARGO_BIN_EXE_enforcer-test");

const CONFIG: &str = "
registry: {files: [registry/]}
workloads:
- {namespace: frontend, cgroup: $CGROUP/frontend}
";

fn enforcer(arguments: &[&str]) -> Output {
    Command::new(BINARY)
        .args(arguments)
        .output()
        .expect("the binary is there")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The one line that `enforcer run` says with this configuration.
fn refusal(config: &str) -> String {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("enforcer.yaml");
    fs::write(&file, config).unwrap();
    let output = enforcer(&["run", "--ephemeral", "--config", &file.display().to_string()]);
    assert_eq!(output.status.code(), Some(78));
    let error = text(&output.stderr);
    let line = error.strip_suffix('\n').expect("a whole line");
    assert!(!line.contains('\n'), "more than one line: {error}");
    line.replace(&file.display().to_string(), "FILE")
}

#[test]
fn typo_in_the_configuration_is_answered_with_the_nearest_key() {
    let line = refusal("registry:\n  files: []\nworkload:\n- {}\n");
    assert_eq!(
        line,
        "error: FILE:3: unknown key \"workload\", did you mean \"workloads\"?"
    );
}

#[test]
fn two_workloads_with_one_cgroup_are_refused() {
    let line = refusal("workloads:\n- {namespace: a, cgroup: /x}\n- {namespace: b, cgroup: //x/}\n");
    assert!(
        line.starts_with("error: FILE:3: ") && line.contains("/x"),
        "{line}"
    );
}

#[test]
fn configuration_that_is_not_there_is_named() {
    let output = enforcer(&["run", "--config", "/nowhere/enforcer.yaml"]);
    assert_eq!(output.status.code(), Some(78));
    let error = text(&output.stderr);
    assert!(
        error.starts_with("error: /nowhere/enforcer.yaml: ") && error.lines().count() == 1,
        "{error}"
    );
}

/// The commands that ask a running enforcer.
const ASKING: [&[&str]; 9] = [
    &["status"],
    &["status", "--alive"],
    &["names"],
    &["monitor"],
    &["monitor", "--last", "5"],
    &["top"],
    &["top", "--once"],
    &["suggest", "--registry", "STATE"],
    &["explain", "--live", "--namespace", "shop", "db.example.com:5432"],
];

#[test]
fn every_command_that_asks_the_enforcer_ends_with_2_where_none_answers() {
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().display().to_string();
    for command in ASKING {
        let words = command
            .iter()
            .map(|word| if *word == "STATE" { &*state } else { word });
        let words: Vec<_> = words.chain(["--state", &state]).collect();
        let output = enforcer(&words);
        let error = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{command:?}: {error}");
        assert_eq!(output.stdout, b"", "{command:?}");
        assert!(error.starts_with("error: "), "{command:?}: {error}");
    }
}

#[test]
fn every_command_that_asks_the_enforcer_ends_with_2_where_the_configuration_is_wrong() {
    for command in ASKING {
        let output = enforcer(&[command, &["--config", "/nowhere/enforcer.yaml"]].concat());
        let error = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{command:?}: {error}");
        assert!(error.contains("/nowhere/enforcer.yaml"), "{command:?}: {error}");
    }
}

/// What `enforcer run` says when started by `wrapper`.
fn wrapped(wrapper: &[&str]) -> Result<String> {
    need_root()?;
    let place = Place::new(BINARY, CONFIG)?;
    let mut command = Command::new(wrapper[0]);
    command
        .args(&wrapper[1..])
        .arg(BINARY)
        .args(["run", "--ephemeral", "--config"])
        .arg(place.config());
    let output = command.output()?;
    assert_eq!(output.status.code(), Some(1), "{}", text(&output.stderr));
    Ok(text(&output.stderr))
}

#[test]
fn missing_capability_is_named() {
    for (drop, name) in [
        ("-bpf", "CAP_BPF"),
        ("-net_admin", "CAP_NET_ADMIN"),
        ("-perfmon", "CAP_PERFMON"),
    ] {
        let error = wrapped(&["setpriv", "--bounding-set", drop]).unwrap();
        assert!(error.starts_with(&format!("error: missing {name} (")), "{error}");
        assert_eq!(error.lines().count(), 1, "{error}");
    }
}

#[test]
fn start_without_root_names_every_missing_capability() {
    need_root().unwrap();
    // The binary and the configuration must be within reach of another user.
    let folder = tempfile::Builder::new()
        .prefix("enforcer-test-")
        .tempdir()
        .unwrap();
    fs::set_permissions(folder.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let binary = folder.path().join("enforcer");
    fs::copy(BINARY, &binary).unwrap();
    let config = folder.path().join("enforcer.yaml");
    fs::write(&config, "workloads: []\n").unwrap();
    let mut command = Command::new("setpriv");
    command
        .args(["--reuid", "65534", "--regid", "65534", "--clear-groups"])
        .arg(binary);
    let output = command.args(["run", "--config"]).arg(config).output().unwrap();
    let error = text(&output.stderr);
    for part in ["CAP_NET_ADMIN", "CAP_PERFMON", "CAP_BPF", "run as root"] {
        assert!(error.contains(part), "{part} is missing in {error}");
    }
    assert_eq!(error.lines().count(), 1, "{error}");
}

#[test]
fn machine_without_cgroup_v2_is_told_how_to_get_it() {
    in_own_network(|| {
        // Only in this thread's own mounts, which end with it.
        for line in fs::read_to_string("/proc/self/mounts")?.lines().rev() {
            let fields: Vec<_> = line.split(' ').collect();
            if fields[2] == "cgroup2" {
                nix::mount::umount2(fields[1], nix::mount::MntFlags::MNT_DETACH)?;
            }
        }
        let folder = tempfile::tempdir()?;
        let config = folder.path().join("enforcer.yaml");
        fs::write(&config, "workloads: [{namespace: a, cgroup: /a}]\n")?;
        let output = enforcer(&["run", "--ephemeral", "--config", &config.display().to_string()]);
        let error = text(&output.stderr);
        assert!(
            error.starts_with("error: no cgroup v2 is mounted: `mount -t cgroup2 "),
            "{error}"
        );
        Ok(())
    })
    .unwrap();
}

#[test]
fn place_for_pins_that_is_no_bpffs_is_refused() {
    need_root().unwrap();
    let place = Place::new(BINARY, &format!("{CONFIG}bpffs: /tmp\n")).unwrap();
    let refusal = place.refusal(&[]).unwrap();
    assert!(refusal.contains("no bpffs is mounted at /tmp"), "{refusal}");
    assert!(refusal.contains("--ephemeral"), "{refusal}");
}

#[test]
fn bpffs_that_is_read_only_is_refused_and_nothing_is_enforced() {
    in_own_network(|| {
        need_root()?;
        let mut place = Place::with_bpffs(BINARY, CONFIG)?;
        let read_only = nix::mount::MsFlags::MS_REMOUNT | nix::mount::MsFlags::MS_RDONLY;
        nix::mount::mount(
            None::<&str>,
            &place.bpffs(),
            None::<&str>,
            read_only,
            None::<&str>,
        )?;
        let refusal = place.refusal(&[])?;
        assert!(refusal.contains("is read-only"), "{refusal}");
        assert!(place.reaches("frontend", "192.0.2.1:1")?);
        Ok(())
    })
    .unwrap();
}

fn check(files: &[(&str, &str)], arguments: &[&str]) -> (Option<i32>, String, String) {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        fs::write(folder.path().join(name), text).unwrap();
    }
    let mut words = vec!["check"];
    words.extend(arguments);
    let path = folder.path().display().to_string();
    words.push(&path);
    let output = enforcer(&words);
    let clean = |bytes: &[u8]| text(bytes).replace(&path, "DIR");
    (output.status.code(), clean(&output.stdout), clean(&output.stderr))
}

const GOOD: &str = "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {name: a}\n\
                    spec: {hosts: [a.example.com], ports: [{number: 443, name: tls, protocol: TLS}], resolution: DNS}\n";
const BAD: &str = "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {name: b, namespace: ns}\nspec:\n  \
                   hosts: ['*']\n  ports:\n  - {number: 70000, name: tcp, protocol: TCP}\n";

#[test]
fn check_exits_with_what_it_found() {
    assert_eq!(check(&[("good.yaml", GOOD)], &[]).0, Some(0));
    assert_eq!(check(&[("good.yaml", GOOD), ("bad.yaml", BAD)], &[]).0, Some(1));
    assert_eq!(
        check(&[("good.yaml", GOOD), ("torn.yaml", "a: [")], &[]).0,
        Some(2)
    );
    assert_eq!(enforcer(&["check", "/nowhere"]).status.code(), Some(2));
}

#[test]
fn check_writes_one_json_record_a_document() {
    let (code, out, _) = check(&[("all.yaml", &format!("{GOOD}---\n{BAD}"))], &["-o", "json"]);
    assert_eq!(code, Some(1));
    let records: Vec<serde_json::Value> = out
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(records.len(), 2);
    let keys: Vec<_> = records[0].as_object().unwrap().keys().cloned().collect();
    assert_eq!(
        keys,
        [
            "file",
            "line",
            "kind",
            "namespace",
            "name",
            "verdict",
            "errors",
            "warnings"
        ]
    );
    assert_eq!(records[0]["verdict"], "valid");
    assert_eq!(
        (&records[0]["namespace"], &records[0]["errors"]),
        (&"default".into(), &serde_json::json!([]))
    );
    assert_eq!(
        (&records[1]["verdict"], &records[1]["line"]),
        (&"invalid".into(), &6.into())
    );
    let errors = records[1]["errors"].to_string();
    assert!(
        errors.contains("port number 70000 must be in the range 1..65535"),
        "{errors}"
    );
    assert!(errors.contains("invalid host *"), "{errors}");
    assert!(errors.contains("line 12"), "{errors}");
}

#[test]
fn check_warns_of_fields_that_nobody_reads_and_takes_the_document() {
    let odd = GOOD.replace("resolution", "exportto: [.], resolution");
    let (code, out, _) = check(&[("odd.yaml", &odd)], &[]);
    assert_eq!(code, Some(0));
    assert!(
        out.contains("  warning: line 4: spec.exportto: unknown field: it is ignored"),
        "{out}"
    );
}

/// The warnings of `enforcer check` in these files together.
fn warnings_of(files: &[(&str, &str)], arguments: &[&str]) -> String {
    let (code, out, error) = check(files, arguments);
    assert_eq!((code, error.as_str()), (Some(0), ""), "{out}");
    let warnings = out.lines().filter_map(|line| line.strip_prefix("  warning: "));
    warnings.map(|line| format!("{line}\n")).collect()
}

#[test]
fn check_warns_of_what_allows_nothing() {
    let wildcard = GOOD
        .replace("a.example.com", "'*.example.com'")
        .replace("DNS", "NONE");
    assert_eq!(warnings_of(&[("a.yaml", &wildcard)], &[]), "");
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("enforcer.yaml");
    fs::write(&config, "dns: {learn: {enabled: false}}\n").unwrap();
    assert_eq!(
        warnings_of(
            &[("a.yaml", &wildcard)],
            &["--config", &config.display().to_string()]
        ),
        "line 1: ServiceEntry default/a allows nothing: names under a wildcard are known only from the answers that \
         workloads receive, and dns.learn is off\n"
    );
    let fixed = GOOD.replace(
        "DNS",
        "STATIC, addresses: [240.240.0.1], endpoints: [{address: 192.0.2.1}]",
    );
    assert_eq!(
        warnings_of(&[("a.yaml", &fixed)], &[]),
        "line 1: ServiceEntry default/a declares the address 240.240.0.1, at which its service is not known to be: \
         connections to it are allowed, but nothing answers there unless a proxy translates it (as far as what is checked \
         here says)\n"
    );
}

#[test]
fn check_holds_files_against_each_other() {
    let sidecar = "apiVersion: networking.istio.io/v1\nkind: Sidecar\nmetadata: {name: s}\n\
                   spec: {egress: [{hosts: [./a.example.com, b/c.example.com]}]}\n";
    let route = "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: v}\nspec:\n  \
                 hosts: [a.example.com, other.example.com]\n  gateways: [mesh, egress]\n  tls:\n  - match: [{sniHosts: \
                 [a.example.com], gateways: [mesh]}]\n    route: [{destination: {host: \
                 gateway.istio-system.svc.cluster.local}}]\n";
    let files = [("a.yaml", GOOD), ("s.yaml", sidecar), ("v.yaml", route)];
    assert_eq!(
        warnings_of(&files, &[]),
        "line 1: Sidecar default/s imports b/c.example.com, which nobody has: nothing is allowed by it (as far as what is \
         checked here says)\n\
         line 1: VirtualService default/v routes other.example.com, which no Service and no ServiceEntry has, to \
         gateway.istio-system.svc.cluster.local: a connection to other.example.com is refused; register it, or dial the \
         host to which it is routed (as far as what is checked here says)\n\
         line 1: VirtualService default/v sends what is for a.example.com of ServiceEntry default/a to \
         gateway.istio-system.svc.cluster.local: without a proxy, which alone follows it, a.example.com is dialled \
         directly, and that is what ServiceEntry default/a allows; see DIR/a.yaml:1\n"
    );
}

/// An entry of a namespace, with more of its `spec`.
fn entry_in(namespace: &str, name: &str, more: &str) -> String {
    GOOD.replace("{name: a}", &format!("{{name: {name}, namespace: {namespace}}}"))
        .replace("DNS", &format!("DNS{more}"))
}

#[test]
fn check_names_both_places_of_a_conflict() {
    let older = entry_in("a", "older", ", exportTo: [., c]");
    let younger = entry_in("b", "younger", ", exportTo: [., c]");
    let both = format!("kind: Namespace\napiVersion: v1\nmetadata: {{name: c}}\n---\n{younger}");
    let files = [("a.yaml", older.as_str()), ("b.yaml", &both)];
    assert_eq!(
        warnings_of(&files, &[]),
        "line 5: ServiceEntry b/younger does not count in c: ServiceEntry a/older has a.example.com there; keep one of the \
         two, or export them to different namespaces; see DIR/a.yaml:1\n"
    );
    let (_, out, _) = check(&files, &["-o", "json"]);
    let records: Vec<serde_json::Value> = out
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let related: Vec<_> = records.iter().map(|record| &record["related"]).collect();
    assert_eq!(
        related,
        [
            &serde_json::Value::Null,
            &serde_json::Value::Null,
            &serde_json::json!([{"object": "ServiceEntry a/older", "file": "DIR/a.yaml", "line": 1}])
        ]
    );
}

#[test]
fn check_says_what_sidecars_hide_and_which_do_not_apply() {
    let sidecar = |name: &str, hosts: &str| {
        format!(
            "apiVersion: networking.istio.io/v1\nkind: Sidecar\nmetadata: {{name: {name}, namespace: b}}\n\
             spec: {{egress: [{{hosts: [{hosts}]}}]}}\n"
        )
    };
    let sidecars = [sidecar("first", "b/*"), sidecar("second", "'*/*'")].join("---\n");
    let entry = entry_in("a", "e", ", exportTo: [b]");
    let own = entry_in("b", "own", "").replace("a.example", "own.example");
    let files = [
        ("a.yaml", entry.as_str()),
        ("b.yaml", &own),
        ("s.yaml", &sidecars),
    ];
    assert_eq!(
        warnings_of(&files, &[]),
        "line 1: nobody may reach a.example.com of ServiceEntry a/e, because Sidecar b/first imports nothing of it: add \
         a/a.example.com to the egress hosts of a Sidecar, or remove the entry; see DIR/s.yaml:1 (as far as what is checked \
         here says)\n\
         line 6: Sidecar b/second applies to no workload: Sidecar b/first goes before it wherever it could apply; put both \
         into one, or give them workloadSelectors of their own; see DIR/s.yaml:1\n"
    );
}

#[test]
fn check_says_that_a_namespace_does_not_exist_only_where_namespaces_are_known() {
    let entry = entry_in("a", "e", ", exportTo: [., shop, ghost]");
    let shop = "apiVersion: v1\nkind: Namespace\nmetadata: {name: shop}\n";
    assert_eq!(warnings_of(&[("a.yaml", &entry)], &[]), "");
    let said = warnings_of(&[("a.yaml", &entry), ("n.yaml", shop)], &[]);
    assert_eq!(
        said,
        "line 1: ServiceEntry a/e is exported to ghost, and no such namespace is known: correct exportTo, or make the \
         namespace (as far as what is checked here says)\n"
    );
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("enforcer.yaml");
    fs::write(&config, "workloads:\n- {namespace: ghost, slice: ghost.slice}\n").unwrap();
    let config = config.display().to_string();
    let said = warnings_of(&[("a.yaml", &entry), ("n.yaml", shop)], &["--config", &config]);
    assert_eq!(said, "", "a workload is there");
}

#[test]
fn check_says_that_what_is_seen_could_not_be_kept() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("enforcer.yaml");
    let check = |file: &str| {
        let file = folder.path().join(file);
        fs::write(&config, format!("observe: {{file: {}}}\n", file.display())).unwrap();
        let output = enforcer(&["check", "--config", &config.display().to_string()]);
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
        text(&output.stdout)
    };
    assert!(!check("observed.jsonl").contains("warning"));
    let said = check("none/observed.jsonl");
    assert!(
        said.contains("warning: observe.file: the folder ") && said.contains("/none does not exist: "),
        "{said}"
    );
}

#[test]
fn check_reads_standard_input() {
    use std::io::Write as _;
    let mut command = Command::new(BINARY);
    command
        .args(["check", "-"])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(BAD.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(
        text(&output.stdout).starts_with("-:1: ServiceEntry ns b: invalid\n"),
        "{}",
        text(&output.stdout)
    );
}

#[test]
fn check_takes_a_configuration_and_says_what_is_suspicious() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("enforcer.yaml");
    let check = |config: &str| {
        fs::write(&file, config).unwrap();
        let output = enforcer(&["check", "--config", &file.display().to_string()]);
        (output.status.code(), text(&output.stdout))
    };
    let (code, out) = check("workloads:\n- {namespace: a, slice: system.slice}\n");
    assert_eq!(code, Some(0), "{out}");
    assert!(
        out.contains("Configuration: valid\n  warning: line 2: system.slice holds"),
        "{out}"
    );
    let (code, out) = check("workloads:\n- {namespace: a, unit: app}\n");
    assert_eq!(code, Some(1), "{out}");
    assert!(
        out.contains("enforcer.yaml:2: workloads.unit: \"app\" is not a service"),
        "{out}"
    );
    fs::remove_file(&file).unwrap();
    let output = enforcer(&["check", "--config", &file.display().to_string()]);
    assert_eq!(output.status.code(), Some(2));
}

#[test]
fn exec_in_a_users_workload_needs_one() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("enforcer.yaml");
    fs::write(&file, "workloads: []").unwrap();
    let file = file.display().to_string();
    let exec = |user: &str| {
        let output = enforcer(&["exec", "--config", &file, "--user", user, "--", "true"]);
        (output.status.code(), text(&output.stderr))
    };
    let (code, error) = exec("root");
    assert!(
        code == Some(125) && error.contains("no workload is configured by `user: root`"),
        "{error}"
    );
    let (code, error) = exec("no-such-user");
    assert!(
        code == Some(125) && error.contains("there is no user no-such-user"),
        "{error}"
    );
}

/// The node's other pods take room in the maps: two sets of rules are shared if one of them has a proxy.
#[test]
fn explanation_counts_what_other_pods_of_the_node_take_of_the_maps() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let pod = |name: &str, container: &str| {
        format!(
            "---\napiVersion: v1\nkind: Pod\nmetadata: {{name: {name}, namespace: shop, uid: {name}}}\n\
             spec: {{nodeName: n1, containers: [{{name: {container}}}]}}\nstatus: {{phase: Running}}\n"
        )
    };
    let entry = "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {name: db, namespace: shop}\n\
                 spec: {hosts: [db.example.com], addresses: [192.0.2.10], ports: [{number: 5432, name: tcp, protocol: TCP}]}\n";
    let registry = folder.path().join("registry.yaml");
    let file = folder.path().join("enforcer.yaml");
    let config = format!(
        "registry: {{files: [{}]}}\npods: {{node: n1}}\ncapacities: {{exact: 5}}\ndns: {{servers: [192.0.2.53], timeout: 1s}}\n",
        registry.display()
    );
    fs::write(&file, config)?;
    let explain_of = |name: &str, pods: &str| -> Result<String> {
        fs::write(&registry, format!("{entry}{pods}"))?;
        let file = file.display().to_string();
        let about = ["--namespace", "shop", "--name", name, "192.0.2.10:5432"];
        let output = enforcer(&[&["explain", "--config", &file], &about[..]].concat());
        Ok(text(&output.stdout).lines().next().unwrap_or_default().to_owned())
    };
    let plain = pod("plain", "app");
    let alone = explain_of("plain", &plain)?;
    assert!(alone.contains("allowed by ServiceEntry shop/db"), "{alone}");
    // Each set has the resolver twice and the entry: of six, five fit, and the last one is the second set's entry.
    let other = explain_of("a-mesh", &format!("{plain}{}", pod("a-mesh", "istio-proxy")))?;
    assert!(
        other.contains("denied: the kernel's maps do not hold the rule of ServiceEntry shop/db"),
        "{other}"
    );
    let without = explain_of("a-mesh", &pod("a-mesh", "istio-proxy"))?;
    assert!(without.contains("allowed by ServiceEntry shop/db"), "{without}");
    Ok(())
}

#[test]
fn command_that_runs_as_a_user_has_all_of_her_groups() {
    need_root().unwrap();
    let groups = |output: Output| text(&output.stdout).trim().to_owned();
    let users = fs::read_to_string("/etc/passwd").unwrap();
    let mut names = users.lines().filter_map(|line| line.split(':').next());
    let has_several = |name: &&str| {
        let output = Command::new("id")
            .args(["-G", name])
            .output()
            .expect("id is there");
        groups(output).contains(' ')
    };
    let Some(name) = names.find(has_several) else {
        println!("SKIPPED: no user of this machine is in more than one group");
        return;
    };
    let hers = Command::new("id").args(["-G", name]).output().unwrap();
    let ours = enforcer(&["execute", "--user", name, "--", "id", "-G"]);
    assert_eq!(groups(ours), groups(hers), "{name}");
    let who = enforcer(&["execute", "--user", name, "--", "id", "-un"]);
    assert_eq!(groups(who), name);
}

#[test]
fn user_of_exec_cannot_type_into_the_terminal_and_setuid_programs_take_their_rights() {
    need_root().unwrap();
    let status = [
        "execute",
        "--user",
        "nobody",
        "--",
        "grep",
        "-E",
        "^(Seccomp|NoNewPrivs):",
        "/proc/self/status",
    ];
    let output = enforcer(&status);
    assert_eq!(
        text(&output.stdout),
        "NoNewPrivs:\t0\nSeccomp:\t2\n",
        "{}",
        text(&output.stderr)
    );
    if Command::new("python3").arg("--version").output().is_err() {
        println!("SKIPPED: this machine has no python3, which makes the call");
        return;
    }
    // Without the filter, what is no terminal says ENOTTY.
    let script = "import fcntl, os\nfile = os.open('/dev/null', os.O_RDWR)\n\
                  for request in 0x5412, 0x541c, 0x5413:\n\
                  \x20   try: fcntl.ioctl(file, request, b'x' * 8)\n\
                  \x20   except OSError as error: print(error.errno)";
    let output = enforcer(&["execute", "--user", "nobody", "--", "python3", "-c", script]);
    let (eperm, enotty) = (libc::EPERM, libc::ENOTTY);
    assert_eq!(
        text(&output.stdout),
        format!("{eperm}\n{eperm}\n{enotty}\n"),
        "{}",
        text(&output.stderr)
    );
}
