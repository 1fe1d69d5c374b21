//! What the Debian package does by itself when it is installed, upgraded and removed: its scripts, run by dpkg.
//!
//! The program in it writes down how it was called, and so do systemd's commands. `cargo xtask vm-test --systemd package`
//! tries the package that is released, on a machine.

use std::{collections::BTreeMap, fs, os::unix::fs::PermissionsExt as _, path::Path, process::Command};

const SCRIPTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/debian");

/// In the program's place. It has to fail on demand.
const PROGRAM: &str = "#!/bin/sh\necho \"call: enforcer $*\" >> /calls\n\
                       if [ \"$1\" = detach ] && [ -e /detach-fails ]; then exit 1; fi\n";

/// A package with the scripts, the program, and a configuration.
fn package(folder: &Path, version: u32) {
    let root = folder.join(format!("{version}"));
    for (file, text, mode) in [
        ("usr/sbin/enforcer", PROGRAM, 0o755),
        ("etc/enforcer/enforcer.yaml", "workloads: []\n", 0o644),
        ("DEBIAN/conffiles", "/etc/enforcer/enforcer.yaml\n", 0o644),
    ] {
        write(&root.join(file), text, mode);
    }
    let control = format!(
        "Package: enforcer\nVersion: 0.{version}\nArchitecture: all\nMaintainer: tests <tests@test>\nDescription: a test\n"
    );
    write(&root.join("DEBIAN/control"), &control, 0o644);
    for script in ["postinst", "postrm", "prerm"] {
        let text = fs::read_to_string(Path::new(SCRIPTS).join(script)).expect("the script is there");
        write(&root.join("DEBIAN").join(script), &text, 0o755);
    }
    let made = Command::new("dpkg-deb")
        .args(["--build", "--root-owner-group"])
        .arg(&root)
        .output()
        .expect("it can be started");
    assert!(made.status.success(), "{made:?}");
}

fn write(file: &Path, text: &str, mode: u32) {
    fs::create_dir_all(file.parent().expect("it is in a folder")).expect("there is room");
    fs::write(file, text).expect("there is room");
    fs::set_permissions(file, fs::Permissions::from_mode(mode)).expect("it is ours");
}

/// What each step of `package.sh` prints, with the calls among it. None, and a line that says why, where it cannot run.
fn steps() -> Option<BTreeMap<String, Vec<String>>> {
    let is_debian = Command::new("dpkg-deb").arg("--version").output();
    if let Err(error) = is_debian {
        println!("SKIPPED: no dpkg-deb: {error}");
        return None;
    }
    let folder = tempfile::tempdir().expect("there is room");
    package(folder.path(), 1);
    package(folder.path(), 2);
    let output = Command::new("unshare")
        .args(["--mount", "--propagation", "private", "--kill-child", "--fork"])
        .args(["sh", concat!(env!("CARGO_MANIFEST_DIR"), "/tests/package.sh")])
        .arg(folder.path())
        .output()
        .expect("unshare is a part of every Debian");
    let said = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    if errors.contains("mount:") {
        println!("SKIPPED: no overlay can be mounted on this machine's root: {errors}");
        return None;
    }
    assert!(output.status.success(), "{said}{errors}");
    let mut steps = BTreeMap::<_, Vec<_>>::new();
    let mut name = String::new();
    for line in said.lines() {
        match line.strip_prefix("== ") {
            Some(next) => name = next.to_owned(),
            None => steps.entry(name.clone()).or_default().push(line.to_owned()),
        }
    }
    Some(steps)
}

#[test]
fn package_starts_nothing_goes_on_when_replaced_and_ends_enforcement_when_removed() {
    let Some(steps) = steps() else { return };
    let calls = |step: &str| -> Vec<&str> {
        let lines = steps[step].iter();
        lines.filter_map(|line| line.strip_prefix("call: ")).collect()
    };
    let has = |step: &str, line: &str| steps[step].iter().any(|said| said == line);

    let reload = "systemctl --system daemon-reload";
    assert_eq!(calls("install"), [reload]);
    assert!(has("install", "there: /etc/enforcer/registry"), "{steps:#?}");
    let asks = "systemctl --quiet is-active enforcer.service";
    assert_eq!(calls("upgrade-stopped"), [reload, asks]);
    let restart = "deb-systemd-invoke restart enforcer.service";
    assert_eq!(calls("upgrade"), [reload, asks, restart]);
    assert!(has("upgrade", "# of the owner"), "{steps:#?}");

    // The generator's drop-ins go before what they require is stopped.
    let ended = [
        reload,
        "deb-systemd-invoke stop enforcer.service enforcer-in-force.service",
        "enforcer check --config /etc/enforcer/enforcer.yaml",
        "enforcer detach --config /etc/enforcer/enforcer.yaml --allow-nothing",
    ];
    // Where it cannot be ended, the program stays, is still enabled, and its generator is heard again.
    assert_eq!(calls("remove-fails"), [&ended[..], &[reload]].concat());
    assert!(has("remove-fails", "code 1"), "{steps:#?}");
    assert!(has("remove-fails", "there: /usr/sbin/enforcer"), "{steps:#?}");
    let mask = "there: /run/systemd/system-generators/enforcer-generator";
    assert!(!has("remove-fails", mask), "{steps:#?}");

    let disable = "systemctl --quiet disable enforcer.service enforcer-in-force.service";
    assert_eq!(calls("remove"), [&ended[..], &[disable, reload]].concat());
    assert!(has("remove", "there: /etc/enforcer/enforcer.yaml"), "{steps:#?}");
    assert!(!has("remove", "there: /usr/sbin/enforcer"), "{steps:#?}");
    assert!(!has("remove", mask), "{steps:#?}");
    assert!(
        has("purge", "there: /etc/enforcer/registry/of-the-owner.yaml"),
        "{steps:#?}"
    );
    assert!(!has("purge", "there: /etc/enforcer/enforcer.yaml"), "{steps:#?}");

    assert!(calls("install-without-systemd").is_empty(), "{steps:#?}");
    assert!(calls("purge-without-systemd").is_empty(), "{steps:#?}");
    assert!(
        !has("purge-without-systemd", "there: /etc/enforcer"),
        "{steps:#?}"
    );
}
