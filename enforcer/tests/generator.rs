//! What systemd is told of a configuration, by the command as systemd calls it.

use std::{
    fs,
    os::unix::fs::symlink,
    path::Path,
    process::{Command, Output},
};

/// Calls the generator with a configuration.
fn generate(folder: &Path, config: &str) -> Output {
    let generator = folder.join("enforcer-generator");
    symlink(env!("CARGO_BIN_EXE_enforcer"), &generator).expect("there is room");
    let file = folder.join("enforcer.yaml");
    fs::write(&file, config).expect("there is room");
    let normal = folder.join("units");
    fs::create_dir(&normal).expect("there is room");
    let mut command = Command::new(generator);
    command.args([&normal, &folder.join("early"), &folder.join("late")]);
    command.arg("--config").arg(file);
    command.output().expect("the generator starts")
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

const CONFIG: &str = "workloads:
- {namespace: a, unit: my-app.service}
- {namespace: a, unit: worker@.service}
- {namespace: b, slice: jobs.slice}
";

#[test]
fn systemd_takes_what_the_generator_writes() {
    let folder = tempfile::tempdir().expect("there is room");
    let output = generate(folder.path(), CONFIG);
    assert!(
        output.status.success() && output.stderr.is_empty(),
        "{}",
        said(&output)
    );
    let units = folder.path().join("units");
    for drop_in in [
        "my-app.service.d/zz-enforcer.conf",
        "worker@.service.d/zz-enforcer.conf",
        r"enforcer-my\x2dapp.slice.d/10-enforcer.conf",
        "jobs.slice.d/10-enforcer.conf",
    ] {
        assert!(units.join(drop_in).is_file(), "{drop_in} is missing");
    }
    for unit in ["my-app.service", "enforcer.service", "enforcer-in-force.service"] {
        fs::write(units.join(unit), "[Service]\nExecStart=/bin/true\n").expect("there is room");
    }
    let mut verify = Command::new("systemd-analyze");
    verify.arg("verify").arg(units.join("my-app.service"));
    verify.arg(units.join("enforcer.service"));
    match verify
        .env("SYSTEMD_UNIT_PATH", format!("{}:", units.display()))
        .output()
    {
        Err(error) => println!("SKIPPED: no systemd-analyze: {error}"),
        // Lines and keys that it does not know are warnings.
        Ok(output) => assert!(
            output.status.success() && output.stderr.is_empty(),
            "{}",
            said(&output)
        ),
    }
}

#[test]
fn wrong_configuration_opens_nothing_and_is_told_with_its_line() {
    let folder = tempfile::tempdir().expect("there is room");
    let output = generate(folder.path(), &format!("{CONFIG}udp: nonsense\n"));
    assert!(!output.status.success());
    let said = said(&output);
    assert!(
        said.contains("enforcer.yaml:5: unknown value \"nonsense\""),
        "{said}"
    );
    assert!(
        said.contains("nothing gets out of") && said.contains("jobs.slice"),
        "{said}"
    );
    let gate = folder.path().join("units/jobs.slice.d/10-enforcer.conf");
    let gate = fs::read_to_string(gate).expect("it is gated");
    assert!(gate.contains("IPAddressDeny=any"), "{gate}");
}

#[test]
fn machine_without_a_configuration_boots_as_before() {
    let folder = tempfile::tempdir().expect("there is room");
    let mut command = Command::new(env!("CARGO_BIN_EXE_enforcer"));
    command.arg("generate").arg(folder.path());
    command.arg("--config").arg(folder.path().join("none.yaml"));
    let output = command.output().expect("it starts");
    assert!(
        output.status.success() && output.stderr.is_empty(),
        "{}",
        said(&output)
    );
    assert_eq!(fs::read_dir(folder.path()).expect("it is there").count(), 0);
}
