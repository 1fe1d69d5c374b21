//! Prometheus itself: the distribution's, unpacked or installed.

use std::{
    collections::BTreeSet,
    fmt::Write as _,
    fs::{self, File},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Stdio},
};

use anyhow::{Context as _, Result, ensure};
use enforcer_bpf_build::find_file;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{
    daemon::wait,
    fixture::{folder, tied},
    ui::request,
};

/// Where it listens, in a network of the test's own.
const ADDRESS: ([u8; 4], u16) = ([127, 0, 0, 1], 9090);

/// How often it scrapes, and looks whether an alert is to fire.
const INTERVAL: &str = "250ms";

/// A Prometheus that runs.
pub struct Prometheus {
    child: Child,
    folder: TempDir,
}

/// The path of `prometheus` or `promtool`. None, after a line that says so, where there is none.
pub fn find(name: &str) -> Option<PathBuf> {
    let found = ["/usr/local/bin", "/usr/bin"]
        .iter()
        .find_map(|folder| find_file(&format!("{folder}/{name}")));
    if found.is_none() {
        println!("SKIPPED: there is no {name}: `cargo xtask setup` brings it");
    }
    found
}

impl Prometheus {
    /// Starts `program` in this thread's network, with rules, and nothing to scrape yet.
    ///
    /// # Errors
    /// If it does not start.
    pub fn start(program: &Path, rules: &str) -> Result<Self> {
        let folder = folder("enforcer-prometheus-")?;
        let at = |name: &str| folder.path().join(name);
        fs::write(at("rules.json"), rules)?;
        let config = json!({
            "global": { "scrape_interval": INTERVAL, "scrape_timeout": INTERVAL, "evaluation_interval": INTERVAL },
            "rule_files": ["rules.json"],
            "scrape_configs": [{
                "job_name": "enforcer",
                "honor_labels": true,
                "file_sd_configs": [{ "files": ["targets.json"], "refresh_interval": "1s" }],
            }],
        });
        fs::write(at("prometheus.yml"), config.to_string())?;
        fs::write(at("targets.json"), "[]")?;
        let child = tied(program)
            .arg(format!("--config.file={}", at("prometheus.yml").display()))
            .arg(format!("--storage.tsdb.path={}", at("data").display()))
            .arg(format!("--web.listen-address={}", SocketAddr::from(ADDRESS)))
            .arg("--log.level=warn")
            .stdout(Stdio::null())
            .stderr(File::create(at("log"))?)
            .spawn()
            .with_context(|| format!("starting {}", program.display()))?;
        let mut this = Self { child, folder };
        let ready = wait("a Prometheus that is ready", || {
            let status = this.child.try_wait()?;
            ensure!(status.is_none(), "it has ended: {status:?}");
            let head = "GET /-/ready HTTP/1.0\nHost: prometheus\n";
            Ok(request(SocketAddr::from(ADDRESS), head).is_ok_and(|reply| reply.code == 200))
        });
        ready.with_context(|| this.log())?;
        Ok(this)
    }

    /// Has it scrape these addresses, each a node's, and no others.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn scrape(&self, targets: &[(&str, &str)]) -> Result<()> {
        let targets = targets
            .iter()
            .map(|(node, address)| json!({ "targets": [address], "labels": { "node": node } }));
        let text = Value::from_iter(targets).to_string();
        let file = self.folder.path().join("targets.json");
        let other = self.folder.path().join("targets.new");
        fs::write(&other, text)?;
        Ok(fs::rename(other, file)?)
    }

    /// The series that an expression has now, each with its labels and value.
    ///
    /// # Errors
    /// If Prometheus does not take the expression.
    pub fn query(&self, expression: &str) -> Result<Vec<Value>> {
        let mut query = String::new();
        for byte in expression.bytes() {
            write!(query, "%{byte:02X}")?;
        }
        // Answers of 1.1 may come in chunks.
        let head = format!("GET /api/v1/query?query={query} HTTP/1.0\nHost: prometheus\n");
        let reply = request(SocketAddr::from(ADDRESS), &head)?;
        ensure!(reply.code == 200, "{expression}: {}", reply.body);
        let answer: Value = serde_json::from_str(&reply.body)?;
        let result = answer.pointer("/data/result").and_then(Value::as_array);
        Ok(result.context("an answer has a result")?.clone())
    }

    /// The alerts that fire now.
    ///
    /// # Errors
    /// If it does not answer.
    pub fn firing(&self) -> Result<BTreeSet<String>> {
        let series = self.query("ALERTS{alertstate=\"firing\"}")?;
        let names = series
            .iter()
            .filter_map(|series| series.pointer("/metric/alertname")?.as_str());
        Ok(names.map(str::to_owned).collect())
    }

    /// Waits until an expression has a series.
    ///
    /// # Errors
    /// If it does not come to that.
    pub fn until(&self, expression: &str) -> Result<()> {
        wait(expression, || Ok(!self.query(expression)?.is_empty()))
    }

    /// Waits until these alerts fire.
    ///
    /// # Errors
    /// If one does not; then with what its expression comes to.
    pub fn until_firing(&self, names: &[&str]) -> Result<()> {
        for name in names {
            let waited = self.until(&format!("ALERTS{{alertname=\"{name}\",alertstate=\"firing\"}}"));
            waited.with_context(|| format!("the metrics are {}", self.metrics()))?;
        }
        Ok(())
    }

    /// Every metric of the enforcer's, for whoever looks why something is not so.
    fn metrics(&self) -> String {
        let series = self.query("{__name__=~\"enforcer_.*|up\",le=\"\"}");
        let series = series.unwrap_or_default();
        let lines = series.iter().map(|series| format!("{series}\n"));
        lines.collect()
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        if let Err(error) = self.child.kill().and_then(|()| self.child.wait().map(drop)) {
            eprintln!("Prometheus {} is still there: {error}", self.child.id());
        }
    }
}
