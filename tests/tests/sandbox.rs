//! `enforcer sandbox` as it is typed: what the command reaches, whose it is, how it ends, and what is left of it.
#![expect(clippy::unwrap_used, reason = "that is how a test fails")]

mod sandbox {
    pub(crate) mod ends;
    pub(crate) mod report;
    pub(crate) mod run;
    pub(crate) mod terminal;
}

use std::{
    fs,
    io::Write as _,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    process::Stdio,
    time::{Duration, Instant},
};

use enforcer_common::Transport;
use sandbox::run::{BINARY, OTHER, SERVER, Server, said, sandbox, text};
use serde_json::Value;
use tests::{
    daemon::{Place, wait},
    fixture::{in_own_network, tied},
    probe::{ARGUMENT, HERE, Outcome, Probe},
};

/// A process in a sandbox with these arguments that tries connections.
fn probe(arguments: &[&str]) -> Probe {
    let mut command = sandbox(arguments);
    Probe::behind(command.args(["--", BINARY, ARGUMENT, HERE])).unwrap()
}

fn connect(probe: &mut Probe, to: &str) -> Outcome {
    probe.call(Transport::Tcp, to.parse().unwrap()).unwrap()
}

const REFUSED: Outcome = Outcome::Refused(libc::EPERM);

#[test]
fn command_reaches_what_is_allowed_and_nothing_else() {
    in_own_network(|| {
        let (allowed, refused) = (Server::at(SERVER)?, Server::at(OTHER)?);
        let mut inside = probe(&["--allow", SERVER, "192.0.2.20:53/udp", "198.51.100.0/24:80"]);
        assert_eq!(connect(&mut inside, SERVER), Outcome::Through);
        assert_eq!(connect(&mut inside, OTHER), REFUSED);
        assert_eq!(connect(&mut inside, "192.0.2.10:444"), REFUSED);
        assert_eq!(connect(&mut inside, "198.51.100.9:80"), Outcome::Through);
        assert_eq!(connect(&mut inside, "198.51.101.9:80"), REFUSED);
        assert_eq!(connect(&mut inside, "192.0.2.20:53"), REFUSED);
        let datagram = inside.call(Transport::Udp, "192.0.2.20:53".parse()?)?;
        assert_eq!(datagram, Outcome::Through);
        assert_eq!((allowed.accepted(), refused.accepted()), (1, 0));
        Ok(())
    })
    .unwrap();
}

#[test]
fn command_reaches_what_the_registry_has() {
    in_own_network(|| {
        let folder = tempfile::tempdir()?;
        let file = folder.path().join("db.yaml");
        fs::write(
            &file,
            "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {name: db, namespace: shop}\n\
             spec:\n  hosts: [db.invalid]\n  addresses: [192.0.2.10]\n  resolution: NONE\n  \
             ports: [{number: 443, name: tcp, protocol: TCP}]\n",
        )?;
        let mut inside = probe(&["--registry", &file.display().to_string()]);
        assert_eq!(connect(&mut inside, SERVER), Outcome::Through);
        assert_eq!(connect(&mut inside, OTHER), REFUSED);
        Ok(())
    })
    .unwrap();
}

#[test]
fn registry_cannot_switch_a_sandbox_off() {
    in_own_network(|| {
        let folder = tempfile::tempdir()?;
        let file = folder.path().join("registry.yaml");
        let label = |mode: &str| {
            format!(
                "apiVersion: v1\nkind: Namespace\nmetadata: {{name: sandbox, labels: {{enforcer.dev/mode: '{mode}'}}}}\n"
            )
        };
        let registry = file.display().to_string();
        for mode in ["off", "audit"] {
            fs::write(&file, label(mode))?;
            let mut inside = probe(&["--registry", &registry]);
            assert_eq!(connect(&mut inside, OTHER), REFUSED, "{mode}");
        }
        fs::write(&file, label("enforce"))?;
        let mut inside = probe(&["--audit", "--registry", &registry]);
        assert_eq!(connect(&mut inside, OTHER), Outcome::Through);
        let open = "apiVersion: networking.istio.io/v1\nkind: Sidecar\nmetadata: {name: default, namespace: sandbox}\n\
                    spec: {outboundTrafficPolicy: {mode: ALLOW_ANY}}\n";
        fs::write(&file, open)?;
        let output = sandbox(&["--registry", &registry, "--", "true"]).output()?;
        let error = text(&output.stderr);
        assert_eq!(output.status.code(), Some(125), "{error}");
        assert!(error.contains("says ALLOW_ANY, by which nothing is refused"), "{error}");
        Ok(())
    })
    .unwrap();
}

#[test]
fn command_cannot_change_what_it_may_reach() {
    in_own_network(|| {
        let server = Server::at(OTHER)?;
        let folder = tempfile::tempdir()?;
        let file = folder.path().join("registry.yaml");
        let entry = |address: &str| {
            format!(
                "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {{name: a}}\nspec:\n  \
                 hosts: [a.invalid]\n  addresses: [{address}]\n  resolution: NONE\n  \
                 ports: [{{number: 443, name: tcp, protocol: TCP}}]\n"
            )
        };
        fs::write(&file, entry("192.0.2.10"))?;
        fs::write(folder.path().join("other"), entry("192.0.2.11"))?;
        // A daemon has a change in force within a second.
        let script = "cat other > registry.yaml; end=$((SECONDS + 3)); \
                      while ((SECONDS < end)); do (exec 3<>/dev/tcp/192.0.2.11/443) && echo REACHED; done 2>/dev/null; true";
        let output = sandbox(&["--registry", "registry.yaml"])
            .args(["--", "bash", "-c", script])
            .current_dir(folder.path())
            .output()?;
        assert_eq!((text(&output.stdout), server.accepted()), (String::new(), 0));
        Ok(())
    })
    .unwrap();
}

#[test]
fn hosts_are_allowed_by_name_and_wildcards_by_what_the_command_is_told() {
    in_own_network(|| {
        let mut place = Place::new(BINARY, "workloads: []\n")?;
        place.resolve(
            "192.0.2.10 packages.example.com\n192.0.2.11 other.example.com\n192.0.2.12 a.b.example.com\n",
        )?;
        let resolver = place.folder.path().join("resolv.conf");
        fs::write(&resolver, format!("nameserver {}\n", tests::daemon::RESOLVER))?;
        let flags = nix::mount::MsFlags::MS_BIND;
        nix::mount::mount(
            Some(&resolver),
            "/etc/resolv.conf",
            None::<&str>,
            flags,
            None::<&str>,
        )?;
        let servers = [SERVER, OTHER, "192.0.2.12:443"].map(|at| Server::at(at).unwrap());
        let script = "for name in packages other a.b; do \
                      exec 3<>/dev/tcp/$name.example.com/443 && echo $name; done 2>/dev/null; true";
        let allow = ["--allow", "packages.example.com:443", "*.b.example.com:443"];
        let output = sandbox(&allow).args(["--", "bash", "-c", script]).output()?;
        assert_eq!(
            text(&output.stdout),
            "packages\na.b\n",
            "{}",
            text(&output.stderr)
        );
        assert_eq!(servers.each_ref().map(Server::accepted), [1, 0, 1]);
        let error = text(&output.stderr);
        assert!(
            error.contains("to allow it: --allow other.example.com:443"),
            "{error}"
        );
        Ok(())
    })
    .unwrap();
}

#[test]
fn report_names_what_was_refused_with_what_allows_it() {
    in_own_network(|| {
        let _servers = [Server::at(SERVER)?, Server::at(OTHER)?];
        let folder = tempfile::tempdir()?;
        let file = folder.path().join("report.json");
        let path = file.display().to_string();
        let script = "for i in 1 2 3; do exec 3<>/dev/tcp/192.0.2.11/443; done 2>/dev/null; exit 4";
        let run = |more: &[&str]| {
            let arguments = [&["--allow", SERVER, "--report", &path], more].concat();
            let output = sandbox(&arguments)
                .args(["--", "bash", "-c", script])
                .output()
                .unwrap();
            let report: Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
            (output, report)
        };
        let (output, report) = run(&[]);
        assert_eq!(output.status.code(), Some(4));
        assert_eq!(report["exit"], 4, "{report:#}");
        assert_eq!(report["command"][0], "bash");
        assert!(report["duration"].as_f64().is_some_and(|took| took > 0.0));
        let refused = &report["refused"];
        assert_eq!(refused.as_array().map(Vec::len), Some(1), "{report:#}");
        for (field, is) in [
            ("destination", Value::from(OTHER)),
            ("port", 443.into()),
            ("transport", "tcp".into()),
            ("count", 3.into()),
            ("suggestion", format!("--allow {OTHER}").into()),
        ] {
            assert_eq!(refused[0][field], is, "{report:#}");
        }
        let error = text(&output.stderr);
        assert!(
            error.contains("1 destination was refused:")
                && error.contains(&format!("to allow it: --allow {OTHER}")),
            "{error}"
        );
        // What it suggests is right, either way.
        let entries = folder.path().join("entries.yaml");
        fs::write(&entries, report["entries"].as_str().unwrap())?;
        for more in [["--allow", OTHER], ["--registry", &entries.display().to_string()]] {
            let (output, report) = run(&more);
            assert_eq!(
                report["refused"],
                Value::Array(Vec::new()),
                "{}",
                text(&output.stderr)
            );
            assert_eq!(text(&output.stderr), "");
        }
        Ok(())
    })
    .unwrap();
}

#[test]
fn audit_lets_everything_through_and_says_what_would_be_refused() {
    in_own_network(|| {
        let server = Server::at(OTHER)?;
        let output = sandbox(&["--audit"])
            .args(["--", "bash", "-c", "exec 3<>/dev/tcp/192.0.2.11/443"])
            .output()?;
        assert!(output.status.success());
        let error = text(&output.stderr);
        assert!(
            error.contains("1 destination would be refused without --audit:"),
            "{error}"
        );
        assert_eq!(server.accepted(), 1);
        Ok(())
    })
    .unwrap();
}

#[test]
fn input_and_output_are_the_commands() {
    in_own_network(|| {
        let mut child = sandbox(&[])
            .args(["--", "sh", "-c", "cat; echo told >&2"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        let sent = "line\n".repeat(100_000);
        let mut input = child.stdin.take().unwrap();
        let writing = std::thread::spawn({
            let sent = sent.clone();
            move || input.write_all(sent.as_bytes())
        });
        let output = child.wait_with_output()?;
        writing.join().unwrap()?;
        assert!(output.status.success());
        assert_eq!(
            (text(&output.stdout), text(&output.stderr)),
            (sent, "told\n".to_owned())
        );
        Ok(())
    })
    .unwrap();
}

#[test]
fn command_runs_as_who_has_called_sudo() {
    in_own_network(|| {
        let folder = tempfile::tempdir()?;
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o777))?;
        let report = folder.path().join("report.json");
        let mut command = sandbox(&["--report", &report.display().to_string()]);
        command
            .env("SUDO_UID", "65534")
            .env("SUDO_GID", "12")
            .env("SUDO_USER", "nobody");
        command.env("HOME", "/root");
        let script = "id -u; id -g; echo $HOME $USER ${SUDO_UID-none}; touch made; umask; \
                      grep NoNewPrivs /proc/self/status; grep CapEff /proc/self/status";
        let output = command
            .args(["--", "sh", "-c", script])
            .current_dir(folder.path())
            .output()?;
        assert_eq!(
            text(&output.stdout).lines().collect::<Vec<_>>(),
            [
                "65534",
                "12",
                "/nonexistent nobody none",
                "0022",
                "NoNewPrivs:\t1",
                "CapEff:\t0000000000000000"
            ],
            "{}",
            text(&output.stderr)
        );
        assert_eq!(fs::metadata(folder.path().join("made"))?.uid(), 65534);
        assert_eq!(fs::metadata(&report)?.uid(), 65534);
        // Where she may not write, no report is written in root's name.
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755))?;
        let other = folder.path().join("other.json");
        let mut command = sandbox(&["--report", &other.display().to_string()]);
        command.env("SUDO_UID", "65534").env("SUDO_GID", "12");
        let output = command.args(["--", "true"]).output()?;
        assert_eq!(output.status.code(), Some(125));
        assert!(!other.exists());
        Ok(())
    })
    .unwrap();
}

#[test]
fn other_processes_of_the_user_do_not_lead_out() {
    in_own_network(|| {
        let nobody = |program: &str| {
            let mut command = tied("setpriv");
            command.args(["--reuid", "65534", "--regid", "65534", "--clear-groups", program]);
            command
        };
        let mut outside = nobody("sleep").arg("60").spawn()?;
        let name = format!("/proc/{}/comm", outside.id());
        wait("it sleeps", || Ok(fs::read_to_string(&name)? == "sleep\n"))?;
        let doors = ["root/", "cwd/", "environ"].map(|door| format!("/proc/{}/{door}", outside.id()));
        // Whoever is not contained finds them open.
        let read = "ls -d $1 $2 && cat $3 | wc -c";
        let open = nobody("sh").args(["-c", read, "sh"]).args(&doors).output()?;
        assert_eq!(text(&open.stdout).lines().count(), 3, "{}", text(&open.stderr));
        assert_eq!(text(&open.stderr), "");
        let told = "the command can send signals to other processes of its user";
        let script = "ls -d $1; ls -d $2; cat $3; kill -USR1 $4; \
                      ls -d /proc/self/root/ && id -u && id -G && ls -ld /proc/self/status | cut -d' ' -f3";
        let output = sandbox(&[])
            .env("SUDO_UID", "65534")
            .env("SUDO_GID", "65534")
            .args(["--", "sh", "-c", script, "sh"])
            .args(&doors)
            .arg(outside.id().to_string())
            .output()?;
        // Kernels before 6.12 let signals through, which ends it, and that is said.
        let is_alive = outside.try_wait()?.is_none();
        assert!(is_alive || text(&output.stderr).contains(told), "it got a signal");
        outside.kill()?;
        outside.wait()?;
        let groups = text(&nobody("id").arg("-G").output()?.stdout);
        assert_eq!(
            text(&output.stdout),
            format!("/proc/self/root/\n65534\n{groups}nobody\n"),
            "{}",
            text(&output.stderr)
        );
        let error = text(&output.stderr);
        assert_eq!(error.matches("Permission denied").count(), 3, "{error}");
        Ok(())
    })
    .unwrap();
}

#[test]
fn groups_of_a_named_user_are_taken() {
    in_own_network(|| {
        let line = |options: &[&str]| {
            let output = std::process::Command::new("id")
                .args(options)
                .arg("postgres")
                .output()
                .unwrap();
            text(&output.stdout)
        };
        let output = sandbox(&["--user", "postgres"])
            .args(["--", "id", "-G"])
            .output()?;
        assert_eq!(text(&output.stdout), line(&["-G"]), "{}", text(&output.stderr));
        Ok(())
    })
    .unwrap();
}

#[test]
fn root_cannot_leave_by_cgroups_mounts_or_the_kernels_settings() {
    in_own_network(|| {
        let mount = enforcer::datapath::CgroupMount::find()?;
        let procs = mount.path().join("cgroup.procs");
        let procs = procs.display();
        let server = Server::at(OTHER)?;
        for leave in [
            format!("echo 0 > {procs}"),
            format!(
                "mount -o remount,rw {0}; echo 0 > {procs}",
                mount.path().display()
            ),
            "mount -t cgroup2 none /mnt && echo 0 > /mnt/cgroup.procs".to_owned(),
            "unshare -r -m sh -c 'mount -t cgroup2 none /mnt && echo 0 > /mnt/cgroup.procs'".to_owned(),
            format!(
                "unshare -r -m sh -c 'mount -o remount,bind,rw {0}; echo 0 > {procs}'",
                mount.path().display()
            ),
            "nsenter -t 1 -m sh -c true".to_owned(),
            "echo '|/bin/true' > /proc/sys/kernel/core_pattern".to_owned(),
            "ip link add dummy7 type dummy".to_owned(),
            "cat /run/enforcer-sandbox/*/place.json".to_owned(),
        ] {
            let script =
                format!("{leave} && echo LEFT; exec 3<>/dev/tcp/192.0.2.11/443 && echo REACHED; true");
            let output = sandbox(&[]).args(["--", "bash", "-c", &script]).output()?;
            assert_eq!(text(&output.stdout), "", "{leave}: {}", text(&output.stderr));
        }
        assert_eq!(server.accepted(), 0);
        Ok(())
    })
    .unwrap();
}

#[test]
fn command_begins_soon() {
    in_own_network(|| {
        // Within a second on a machine that has nothing else to do.
        let took = (0..5).map(|_| {
            let start = Instant::now();
            let mut child = sandbox(&["--", "cat"])
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .spawn()
                .unwrap();
            child.stdin.as_mut().unwrap().write_all(b"x\n").unwrap();
            said(&mut child, "x");
            let took = start.elapsed();
            drop(child.stdin.take());
            assert!(child.wait().unwrap().success());
            took
        });
        let quickest = took.min().unwrap();
        println!("the command runs {quickest:?} after it was typed");
        assert!(quickest < Duration::from_secs(10), "{quickest:?}");
        Ok(())
    })
    .unwrap();
}

#[test]
fn what_was_typed_wrong_is_one_line() {
    for (arguments, what) in [
        (&["--allow", "example.com"][..], "has no port"),
        (&["--allow", "https://example.com:443"], "write no URL"),
        (&["--registry", "/nowhere.yaml"], "/nowhere.yaml: No such file"),
        (&["--user", "no-such-user"], "no-such-user"),
        (
            &["--report", "/nowhere/report.json"],
            "/nowhere/report.json: No such file",
        ),
    ] {
        let output = sandbox(arguments).args(["--", "true"]).output().unwrap();
        let error = text(&output.stderr);
        assert_eq!(output.status.code(), Some(125), "{error}");
        assert!(error.contains(what) && error.lines().count() == 1, "{error}");
    }
}
