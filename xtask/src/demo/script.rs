//! The steps, each with what it has to come to.

use std::{
    fs,
    path::PathBuf,
    process::{Child, Command, Output},
    sync::mpsc,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};

use super::servers::{DATABASE, Dns, HOST, WEB};
use crate::out::say;

/// What the script works with.
pub(super) struct Scene {
    pub(super) enforcer: PathBuf,
    pub(super) config: PathBuf,
    pub(super) registry: PathBuf,
    pub(super) dns: Dns,
    /// Lines of the enforcer's log.
    pub(super) log: mpsc::Receiver<String>,
    pub(super) daemon: Child,
}

/// The ServiceEntry of the database, for the namespace's own use.
pub(super) fn service_entry(namespace: &str) -> String {
    format!(
        "apiVersion: networking.istio.io/v1\n\
         kind: ServiceEntry\n\
         metadata:\n  name: db\n  namespace: {namespace}\n\
         spec:\n  hosts: [{HOST}]\n  exportTo: [\".\"]\n  location: MESH_EXTERNAL\n  resolution: DNS\n  ports:\n  \
         - number: 5432\n    name: tcp-postgres\n    protocol: TCP\n"
    )
}

/// The namespace, with the label by which its workloads are audited.
const AUDITED: &str =
    "apiVersion: v1\nkind: Namespace\nmetadata:\n  name: default\n  labels: {enforcer.dev/mode: audit}\n";

pub(super) fn play(scene: &mut Scene) -> Result<()> {
    let entry = scene.registry.join("default.yaml");
    heading("1. The registry knows the database, for namespace frontend alone");
    crate::out::write(format_args!("{}", indented(&service_entry("frontend"))));

    heading("2. psql from frontend works");
    scene.works("frontend")?;

    heading("3. psql from default fails at once, and the log says why and what to do");
    scene.fails("default")?;
    scene.denial("default")?;

    heading("4. A ServiceEntry for default is added: psql works within a second");
    say!("$ cp db.yaml registry/default.yaml    # the same, in namespace default");
    fs::write(&entry, service_entry("default"))?;
    scene.within("default", Duration::from_secs(1), true)?;

    heading("5. It is removed: psql fails again");
    say!("$ rm registry/default.yaml");
    fs::remove_file(&entry)?;
    scene.within("default", Duration::from_secs(1), false)?;

    heading("6. The DNS answer changes: the new address works");
    say!("$ # {HOST} moves from {} to {}", DATABASE[0], DATABASE[1]);
    scene.dns.change(DATABASE[1])?;
    scene.moved("frontend")?;

    heading("7. Audit: default may do what it does, and all of it is seen");
    let namespace = scene.registry.join("namespace.yaml");
    say!("$ kubectl label namespace default enforcer.dev/mode=audit    # here: registry/namespace.yaml");
    fs::write(&namespace, AUDITED)?;
    scene.within("default", Duration::from_secs(1), true)?;
    scene.fetches("default", true)?;

    heading("8. Suggest: the entries that allow exactly what was seen");
    let suggestion = scene.suggestion("default")?;

    heading("9. Apply, and enforce again: what was seen works, and nothing else");
    say!("$ enforcer suggest --namespace default > registry/default.yaml; rm registry/namespace.yaml");
    fs::write(&entry, suggestion)?;
    fs::remove_file(&namespace)?;
    scene.is_enforced_again("default")?;
    scene.works("default")?;
    scene.fetches("default", true)?;
    scene.fetches("frontend", false)?;

    heading("10. Enforcement is proven while it runs");
    scene.proven()?;

    heading("11. kill -9: nothing changes");
    say!("$ kill -9 {}", scene.daemon.id());
    scene.daemon.kill().context("killing the enforcer")?;
    scene.daemon.wait().context("waiting for the enforcer's end")?;
    scene.works("frontend")?;
    scene.fetches("frontend", false)?;
    say!("\ndemo: every step succeeded; now everything that the demo made is removed");
    Ok(())
}

fn heading(text: &str) {
    say!("\n== {text}");
}

fn indented(text: &str) -> String {
    text.lines().map(|line| format!("  {line}\n")).collect()
}

impl Scene {
    fn works(&self, namespace: &str) -> Result<()> {
        let output = self.psql(namespace)?;
        show(namespace, &output);
        ensure!(output.status.success(), "psql from {namespace} should work");
        Ok(())
    }

    fn fails(&self, namespace: &str) -> Result<()> {
        let start = Instant::now();
        let output = self.psql(namespace)?;
        let took = start.elapsed();
        show(namespace, &output);
        ensure!(!output.status.success(), "psql from {namespace} should fail");
        ensure!(
            took < Duration::from_secs(1),
            "psql from {namespace} should fail at once, not after {took:?}"
        );
        say!("  (after {} ms)", took.as_millis());
        Ok(())
    }

    /// Has curl fetch a page, which works, or fails as what is refused does.
    fn fetches(&self, namespace: &str, works: bool) -> Result<()> {
        let url = format!("http://{WEB}/");
        let output = self.inside(namespace, &["curl", "-sS", "--max-time", "5", &url])?;
        say!("$ enforcer exec --namespace {namespace} -- curl {url}");
        print(&output);
        ensure!(
            output.status.success() == works,
            "curl from {namespace} does not do what it should"
        );
        Ok(())
    }

    /// Shows what `enforcer suggest` says, and returns it.
    fn suggestion(&self, namespace: &str) -> Result<Vec<u8>> {
        let output = Command::new(&self.enforcer)
            .args(["suggest", "--namespace", namespace, "--config"])
            .arg(&self.config)
            .output()
            .context("asking for a suggestion")?;
        say!("$ enforcer suggest --namespace {namespace}");
        print(&output);
        ensure!(output.status.success(), "there is no suggestion");
        Ok(output.stdout)
    }

    /// Waits until a port that was not seen is refused, where nobody listens.
    fn is_enforced_again(&self, namespace: &str) -> Result<()> {
        let start = Instant::now();
        loop {
            let output = self.inside(namespace, &["psql", "-h", HOST, "-p", "5433", "-U", "demo"])?;
            let text = String::from_utf8_lossy(&output.stderr).into_owned();
            if text.contains("Operation not permitted") {
                say!("$ enforcer exec --namespace {namespace} -- psql -h {HOST} -p 5433");
                print(&output);
                return Ok(());
            }
            ensure!(
                start.elapsed() < Duration::from_secs(5),
                "it is not refused: {text}"
            );
        }
    }

    /// Waits for the first proof, and shows the beginning of the status.
    fn proven(&self) -> Result<()> {
        let start = Instant::now();
        loop {
            let output = Command::new(&self.enforcer)
                .args(["status", "--config"])
                .arg(&self.config)
                .output()
                .context("asking for the status")?;
            if output.status.success() {
                let text = String::from_utf8_lossy(&output.stdout);
                let head = text.lines().take_while(|line| !line.starts_with("closures"));
                say!("$ enforcer status");
                say!("{}  ...", indented(&head.collect::<Vec<_>>().join("\n")));
                return Ok(());
            }
            ensure!(
                start.elapsed() < Duration::from_secs(10),
                "enforcement is not proven: {}{}",
                String::from_utf8_lossy(&output.stdout),
                String::from_utf8_lossy(&output.stderr)
            );
        }
    }

    /// Shows the enforcer's line on a refused flow.
    fn denial(&self, namespace: &str) -> Result<()> {
        let deadline = Instant::now() + Duration::from_secs(2);
        loop {
            let line = self
                .log
                .recv_timeout(deadline.saturating_duration_since(Instant::now()));
            let line = line.context("the enforcer has not logged the refusal")?;
            if line.contains("denied") && line.contains(&format!("{namespace}/")) && line.contains(" tcp ") {
                say!("  enforcer: {}", line.trim());
                return Ok(());
            }
        }
    }

    /// Tries psql until it works, or fails, as it should, and shows that try.
    fn within(&self, namespace: &str, limit: Duration, works: bool) -> Result<()> {
        let start = Instant::now();
        loop {
            let output = self.psql(namespace)?;
            let took = start.elapsed();
            if output.status.success() == works {
                show(namespace, &output);
                say!(
                    "  ({} ms after the change, psql's own start included)",
                    took.as_millis()
                );
                return Ok(());
            }
            if took > limit {
                show(namespace, &output);
                bail!("after {took:?} psql still does not do what it should");
            }
        }
    }

    /// Tries psql until it reaches the second address.
    fn moved(&self, namespace: &str) -> Result<()> {
        let start = Instant::now();
        loop {
            let output = self.psql(namespace)?;
            let took = start.elapsed();
            if output.status.success() && String::from_utf8_lossy(&output.stdout).contains(DATABASE[1]) {
                show(namespace, &output);
                say!("  ({} ms after the change)", took.as_millis());
                return Ok(());
            }
            if took > Duration::from_secs(10) {
                show(namespace, &output);
                bail!("after {took:?} the new address does not work");
            }
        }
    }

    fn psql(&self, namespace: &str) -> Result<Output> {
        let query = format!("select 'hello, {namespace}, from ' || host(inet_server_addr())");
        self.inside(
            namespace,
            &["psql", "-h", HOST, "-U", "demo", "-d", "postgres", "-Atc", &query],
        )
    }

    /// What a command in a workload's cgroup says.
    fn inside(&self, namespace: &str, command: &[&str]) -> Result<Output> {
        Command::new(&self.enforcer)
            .args(["exec", "--namespace", namespace, "--config"])
            .arg(&self.config)
            .arg("--")
            .args(command)
            .env("LC_ALL", "C")
            .output()
            .with_context(|| format!("starting {} through enforcer exec", command[0]))
    }
}

fn show(namespace: &str, output: &Output) {
    say!("$ enforcer exec --namespace {namespace} -- psql -h {HOST} -c \"select …\"");
    print(output);
}

fn print(output: &Output) {
    for text in [&output.stdout, &output.stderr] {
        crate::out::write(format_args!("{}", indented(&String::from_utf8_lossy(text))));
    }
}
