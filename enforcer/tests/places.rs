//! Where workloads are, as systemd names it: units, slices, users, and paths of cgroups.

use std::path::Path;

use enforcer::config::{Config, Place, SliceName};
use enforcer_core::model::Enforcement;

fn parse(workload: &str) -> Config {
    let text = format!("workloads:\n- namespace: a\n  {workload}");
    Config::parse(&text, Path::new("enforcer.yaml")).unwrap_or_else(|errors| panic!("{text}\n{errors}"))
}

/// The cgroup and name of a workload, which has to be of slice `slice`.
#[track_caller]
fn check(workload: &str, cgroup: &str, name: &str, slice: Option<&str>) {
    let config = parse(workload);
    let entry = &config.workloads[0];
    assert_eq!(entry.cgroup.as_str(), cgroup);
    assert_eq!(entry.workload.name, name);
    let found = entry.place.slice();
    assert_eq!(found.as_ref().map(SliceName::as_str), slice);
}

#[track_caller]
fn mistake(text: &str, expected: &str) {
    match Config::parse(text, Path::new("enforcer.yaml")) {
        Ok(config) => panic!("{text}\nis taken for {config:?}"),
        Err(errors) => assert_eq!(errors.to_string(), expected, "{text}"),
    }
}

fn warnings(workload: &str) -> Vec<String> {
    parse(workload).warnings.iter().map(ToString::to_string).collect()
}

#[test]
fn unit_has_a_slice_of_its_own() {
    let own = |name: &str| {
        (
            format!("/enforcer.slice/enforcer-{name}.slice"),
            format!("enforcer-{name}.slice"),
        )
    };
    for (unit, escaped, name) in [
        ("app.service", "app", "app"),
        ("my-app.service", r"my\x2dapp", "my-app"),
        ("worker@.service", r"worker\x40", "worker"),
        ("worker@3.service", r"worker\x403", "worker@3"),
        (
            r"mnt-my\x2ddisk.service",
            r"mnt\x2dmy\x5cx2ddisk",
            r"mnt-my\x2ddisk",
        ),
    ] {
        let (cgroup, slice) = own(escaped);
        check(&format!("unit: {unit}"), &cgroup, name, Some(&slice));
    }
}

#[test]
fn slice_and_user_are_where_systemd_has_them() {
    check(
        "slice: frontend.slice",
        "/frontend.slice",
        "frontend",
        Some("frontend.slice"),
    );
    check("slice: a-b.slice", "/a.slice/a-b.slice", "a-b", Some("a-b.slice"));
    for user in ["1000", "\"1000\""] {
        let slice = Some("user-1000.slice");
        check(
            &format!("user: {user}"),
            "/user.slice/user-1000.slice",
            "1000",
            slice,
        );
    }
    check(
        "user: root",
        "/user.slice/user-0.slice",
        "root",
        Some("user-0.slice"),
    );
    assert_eq!(parse("user: 1000").workloads[0].place, Place::User(1000));
}

#[test]
fn path_of_a_slice_is_that_slice_and_any_other_path_is_none() {
    check(
        "cgroup: /frontend.slice",
        "/frontend.slice",
        "frontend",
        Some("frontend.slice"),
    );
    check(
        "cgroup: /a.slice/a-b.slice",
        "/a.slice/a-b.slice",
        "a-b",
        Some("a-b.slice"),
    );
    check(
        "cgroup: /_memory.slice",
        "/_memory.slice",
        "_memory",
        Some("memory.slice"),
    );
    check("cgroup: /frontend", "/frontend", "frontend", None);
    check("cgroup: /machine/web.slice", "/machine/web.slice", "web", None);
}

#[test]
fn mode_of_a_workload_is_its_own() {
    assert_eq!(parse("unit: a.service").workloads[0].workload.enforcement, None);
    let mode = |mode| {
        parse(&format!("unit: a.service\n  mode: {mode}")).workloads[0]
            .workload
            .enforcement
    };
    assert_eq!(mode("off"), Some(Enforcement::Off));
    assert_eq!(mode("audit"), Some(Enforcement::Audit));
}

#[test]
fn exactly_one_place_is_given() {
    mistake(
        "workloads:\n- namespace: a",
        "enforcer.yaml:2: missing one of the keys unit, slice, user, cgroup",
    );
    mistake(
        "workloads:\n- namespace: a\n  unit: a.service\n  cgroup: /a",
        "enforcer.yaml:2: only one can be given of unit, slice, user, cgroup",
    );
}

#[test]
fn what_systemd_makes_anew_is_refused_with_what_to_write() {
    for (path, instead) in [
        ("/system.slice/app.service", "write `unit: app.service`"),
        ("/app.service/init", "write `unit: app.service`"),
        ("/system.slice/_cpu.service", "write `unit: cpu.service`"),
        (
            "/user.slice/user-1000.slice/session-3.scope",
            "write `user: 1000`",
        ),
        (
            "/user.slice/user-1000.slice/user@1000.service/app.slice",
            "write `user: 1000`",
        ),
        (
            "/machine.slice/libpod-1.scope",
            "write `slice: machine.slice`, or another slice that it is put into",
        ),
        ("/init.scope", "name a slice in which it is, by `slice: …`"),
    ] {
        mistake(
            &format!("workloads:\n- namespace: a\n  cgroup: {path}"),
            &format!(
                "enforcer.yaml:3: workloads.cgroup: systemd makes {path:?} anew at each start, so that nothing would \
                 enforce it from its first instruction, or while the enforcer is stopped; {instead}"
            ),
        );
    }
    mistake(
        "roots: [/system.slice/app.service]",
        "enforcer.yaml:1: roots: systemd makes \"/system.slice/app.service\" anew at each start, so that nothing would \
         enforce it from its first instruction, or while the enforcer is stopped; write `unit: app.service`",
    );
}

#[test]
fn wrong_names_say_what_to_write() {
    for (workload, expected) in [
        (
            "unit: app",
            "workloads.unit: \"app\" is not a service; write its whole name, as in \"app.service\"",
        ),
        (
            "unit: a.slice",
            "workloads.unit: \"a.slice\" is a slice; write `slice: a.slice`",
        ),
        (
            "slice: app",
            "workloads.slice: \"app\" is not a slice, whose name ends in \".slice\"",
        ),
        (
            "slice: -.slice",
            "workloads.slice: \"-.slice\" holds the whole machine; name a slice below it, as in \"frontend.slice\"",
        ),
        (
            "user: no-such-user",
            "workloads.user: there is no user \"no-such-user\" in /etc/passwd; write the number of one that is \
             elsewhere (`id -u no-such-user`)",
        ),
        ("user: 65535", "workloads.user: 65535 is no user's number"),
    ] {
        mistake(
            &format!("workloads:\n- namespace: a\n  {workload}"),
            &format!("enforcer.yaml:3: {expected}"),
        );
    }
}

#[test]
fn two_ways_to_the_same_cgroup_are_one_cgroup() {
    mistake(
        "workloads:\n- {namespace: a, slice: x.slice}\n- {namespace: b, cgroup: /x.slice}",
        "enforcer.yaml:3: /x.slice is already the cgroup of a/x (line 2); a cgroup belongs to one workload",
    );
    mistake(
        "workloads:\n- {namespace: a, user: root}\n- {namespace: b, user: 0}",
        "enforcer.yaml:3: /user.slice/user-0.slice is already the cgroup of a/root (line 2); a cgroup belongs to one \
         workload",
    );
}

#[test]
fn path_that_systemd_never_makes_is_warned_of_with_the_right_one() {
    let expected = "3: workloads.cgroup: systemd never makes /my-app.slice: its my-app.slice is \
                    /my.slice/my-app.slice; write that path, or `slice: my-app.slice`";
    assert_eq!(warnings("cgroup: /my-app.slice"), [expected]);
    assert!(warnings("cgroup: /my.slice/my-app.slice").is_empty());
    assert!(warnings("cgroup: /plain").is_empty());
}

#[test]
fn what_the_machine_itself_needs_is_warned_of() {
    for workload in [
        "slice: system.slice",
        "cgroup: /system.slice",
        "slice: user.slice",
    ] {
        let warnings = warnings(workload);
        assert!(
            warnings[0].contains("cut off from what is not registered"),
            "{warnings:?}"
        );
    }
    assert!(warnings("slice: system.slice")[0].contains("systemd-resolved.service` with `mode: off`"));
    assert!(warnings("user: root")[0].contains("the administrator"));
    assert!(warnings("user: 33")[0].contains("name those by `unit:`"));
    assert!(warnings("user: 1000").is_empty());
    let roots = Config::parse("roots: [/system.slice]", Path::new("f")).unwrap();
    assert_eq!(roots.warnings.len(), 1);
}
