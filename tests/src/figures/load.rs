//! What the enforcer takes of a processor: idle, while many hosts are resolved, and while pods come and go.

use std::{
    fmt::Write as _,
    fs, thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use figure::{Figure, Goal, Series};
use nix::{time::clock_getcpuclockid, unistd::Pid};

use super::{
    Measurement, Need, Setting,
    world::{place, settle},
};
use crate::{
    daemon::{Daemon, Place},
    fixture::in_own_network,
};

const TITLE: &str = "What the enforcer takes of one processor";

/// For the table of measurements.
pub(super) const LOAD: Measurement = Measurement {
    name: "load",
    title: TITLE,
    needs: &[Need::Root],
    take: load,
};

/// How long the answers of the DNS server live.
const TTL: u32 = 30;

/// Pods that come and go in a minute.
const PODS_A_MINUTE: u32 = 500;

/// Takes the figure.
///
/// # Errors
/// If something does not work.
fn load(setting: &Setting) -> Result<Vec<Figure>> {
    let mut figure = Figure::new("load", TITLE, "% of one processor");
    let hosts = setting.size.pick(10_000, 500, 50);
    figure.notes.push(format!(
        "hosts are resolved by a DNS server whose answers live for {TTL} s; a pod comes and goes by its object in a file \
         and its cgroup"
    ));
    let idle = in_own_network(|| idle(setting))?;
    let resolving = in_own_network(|| resolving(setting, hosts))?;
    let pods = in_own_network(|| pods(setting))?;
    let goals = [
        ("idle, 1,000 entries".to_owned(), idle, 0.1),
        (format!("{hosts} hosts being resolved"), resolving, 2.0),
        (format!("{PODS_A_MINUTE} pods a minute"), pods, 5.0),
    ];
    for (case, sample, limit) in goals {
        let text = format!("{case}: % of one processor");
        figure.goals.push(Goal::at_most(&text, sample, limit));
        figure.series.push(Series::new(&case, "ours", vec![sample]));
    }
    Ok(vec![figure])
}

/// For how long each is watched.
fn span(setting: &Setting) -> Duration {
    Duration::from_secs(setting.size.pick(35, 3, 1))
}

fn idle(setting: &Setting) -> Result<f64> {
    let place = place(setting, 1, 1_000)?;
    let mut daemon = place.start(&["--log-level", "error"])?;
    settle(&place, &mut daemon)?;
    watch(&daemon, span(setting), doing_nothing)
}

fn resolving(setting: &Setting, hosts: u32) -> Result<f64> {
    let mut place = place(setting, 1, 0)?;
    let names = place.folder.path().join("names");
    let mut text = String::new();
    let mut registry = String::new();
    for number in 0..hosts {
        writeln!(
            text,
            "{} host-{number}.example.com",
            super::world::address(number)
        )?;
        write!(
            registry,
            "---\napiVersion: networking.istio.io/v1\nkind: ServiceEntry\n\
             metadata: {{name: host-{number}, namespace: ns-0}}\n\
             spec: {{hosts: [host-{number}.example.com], resolution: DNS, \
             ports: [{{number: 443, name: tls, protocol: TLS}}]}}\n"
        )?;
    }
    fs::write(&names, text)?;
    place.write("hosts.yaml", &registry)?;
    let ttl = format!("--local-ttl={TTL}");
    let file = format!("--addn-hosts={}", names.display());
    place.serve_names(&["--local=/example.com/", &ttl, &file])?;
    let mut daemon = place.start(&["--log-level", "error"])?;
    super::world::until(&mut place, &super::world::destination(hosts - 1), true)?;
    settle(&place, &mut daemon)?;
    watch(&daemon, span(setting), doing_nothing)
}

fn pods(setting: &Setting) -> Result<f64> {
    let config = "registry: {files: [registry/]}\npods:\n  node: node-1\n  cgroupRoots: [$CGROUP/kubepods]\n\
                  dns: {servers: [192.0.2.53], timeout: 500ms}\n";
    let mut place = Place::new(&setting.program.to_string_lossy(), config)?;
    place.enforcer = setting.enforcer.clone();
    place.cgroup.child("kubepods")?;
    let mut daemon = place.start(&["--ephemeral", "--log-level", "error"])?;
    settle(&place, &mut daemon)?;
    let mut number = 0;
    let pause = Duration::from_secs(60) / PODS_A_MINUTE;
    let begin = Instant::now();
    watch(&daemon, span(setting), || {
        number += 1;
        // What the pods themselves take is part of their pace.
        thread::park_timeout((begin + pause * number).saturating_duration_since(Instant::now()));
        come(&place, number)?;
        // As many pods live at once as come in ten seconds.
        number
            .checked_sub(PODS_A_MINUTE / 6)
            .map_or(Ok(()), |old| go(&mut place, old))
    })
}

fn uid(number: u32) -> String {
    format!("5d16b9a1-6e7d-4a4c-9d0b-{number:012}")
}

fn come(place: &Place, number: u32) -> Result<()> {
    let uid = uid(number);
    place.write(
        &format!("pod-{number}.yaml"),
        &format!(
            "apiVersion: v1\nkind: Pod\nmetadata: {{name: pod-{number}, namespace: ns-0, uid: {uid}}}\n\
             spec: {{nodeName: node-1}}\n"
        ),
    )?;
    place.cgroup.child(format!("kubepods/pod{uid}/app"))?;
    Ok(())
}

fn go(place: &mut Place, number: u32) -> Result<()> {
    if number == 0 {
        return Ok(());
    }
    place.remove_cgroup(&format!("kubepods/pod{}", uid(number)))?;
    place.remove(&format!("pod-{number}.yaml"))
}

fn doing_nothing() -> Result<()> {
    thread::park_timeout(Duration::from_millis(10));
    Ok(())
}

/// What the enforcer takes of one processor while `work` is done again and again, in %.
fn watch(daemon: &Daemon, span: Duration, mut work: impl FnMut() -> Result<()>) -> Result<f64> {
    let begin = Instant::now();
    let before = taken(daemon.pid())?;
    while begin.elapsed() < span {
        work()?;
    }
    let taken = taken(daemon.pid())?.saturating_sub(before);
    Ok(taken.as_secs_f64() / begin.elapsed().as_secs_f64() * 100.0)
}

/// The processor time that the enforcer and its self-proof have taken, exact to the nanosecond: 0.1 % of the span are
/// three of the ticks in which `/proc` counts.
fn taken(pid: u32) -> Result<Duration> {
    let children = format!("/proc/{pid}/task/{pid}/children");
    let children = fs::read_to_string(&children).with_context(|| children.clone())?;
    let children = children.split_whitespace().map(str::parse);
    let mut all = Duration::ZERO;
    for pid in children.chain([Ok(pid)]) {
        let clock = clock_getcpuclockid(Pid::from_raw(pid?.try_into()?))?;
        all += Duration::from(clock.now()?);
    }
    Ok(all)
}
