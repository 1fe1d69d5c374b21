//! The clients: how each is made, and how it is started in a cgroup with a resolver of its own.

use std::{
    env,
    ffi::{OsStr, OsString},
    fs,
    io::{BufRead as _, BufReader, Write as _},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
};

use anyhow::{Context as _, Result, ensure};
use enforcer_bpf_build::{find_file, library_path};

use super::own;
use crate::{fixture::tied, servers::program::Program};

/// A program that resolves and connects.
pub(super) struct Client {
    pub(super) name: String,
    words: Vec<OsString>,
    environment: Vec<(&'static str, OsString)>,
    /// Whether it asks over TCP alone: what heeds `resolv.conf` is told so there.
    is_by_tcp: bool,
}

/// One that runs.
pub(super) struct Running {
    child: Child,
    requests: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Client {
    fn new<Word: AsRef<OsStr>>(name: &str, words: impl IntoIterator<Item = Word>) -> Self {
        Self {
            name: name.to_owned(),
            words: words.into_iter().map(|word| word.as_ref().to_owned()).collect(),
            environment: Vec::new(),
            is_by_tcp: false,
        }
    }

    /// The same, which asks over TCP.
    fn by_tcp(&self) -> Self {
        Self {
            name: format!("{} by TCP", self.name),
            words: self.words.clone(),
            environment: self.environment.clone(),
            is_by_tcp: true,
        }
    }

    pub(super) fn is_by_tcp(&self) -> bool {
        self.is_by_tcp
    }

    /// Starts it in a cgroup, with mounts of its own, in which `/etc/resolv.conf` names the server.
    pub(super) fn start(&self, cgroup: &Path, (folder, server): (&Path, &str)) -> Result<Running> {
        let used = fs::canonicalize("/etc/resolv.conf").context("there is no /etc/resolv.conf")?;
        let option = if self.is_by_tcp { "options use-vc\n" } else { "" };
        let ours = folder.join(format!("resolv-{server}-{}.conf", self.is_by_tcp));
        fs::write(&ours, format!("nameserver {server}\n{option}"))?;
        let mut child = tied("unshare")
            .args(["--mount", "sh", "-c"])
            .arg("mount --bind \"$1\" \"$2\" && echo 0 > \"$0\" && shift 2 && exec \"$@\"")
            .arg(cgroup.join("cgroup.procs"))
            .args([&ours, &used])
            .args(&self.words)
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("starting {}", self.name))?;
        let requests = child.stdin.take().context("a pipe was asked for")?;
        let answers = BufReader::new(child.stdout.take().context("a pipe was asked for")?);
        Ok(Running {
            child,
            requests,
            answers,
        })
    }
}

impl Running {
    /// What it says of a name.
    pub(super) fn ask(&mut self, host: &str) -> Result<String> {
        writeln!(self.requests, "{host}").context("the client has ended")?;
        let mut said = String::new();
        self.answers.read_line(&mut said)?;
        ensure!(said.ends_with('\n'), "the client has ended");
        Ok(said.trim_end().to_owned())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Err(error) = self.child.kill().and_then(|()| self.child.wait().map(|_| ())) {
            eprintln!("the client {} is still there: {error}", self.child.id());
        }
    }
}

/// Makes all clients for which this machine has what they need; says which are missing. `program` is the test binary.
pub(super) fn all(program: &Path, folder: &Path) -> Result<Vec<Client>> {
    let glibc = Client::new("glibc", [program.as_os_str(), own::ARGUMENT.as_ref()]);
    let mut clients = vec![glibc.by_tcp(), glibc];
    if let Some(compiler) = find("musl-gcc") {
        let [source, made] = [folder.join("client.c"), folder.join("musl")];
        fs::write(&source, include_str!("programs/client.c"))?;
        let arguments = [
            "-static".as_ref(),
            "-o".as_ref(),
            made.as_os_str(),
            source.as_ref(),
        ];
        make(Command::new(compiler).args(arguments))?;
        clients.push(Client::new("musl", [made]));
    }
    if let Some(python) = find("python3") {
        let script = folder.join("client.py");
        fs::write(&script, include_str!("programs/client.py"))?;
        let python = Client::new("Python", [python, script]);
        clients.extend([python.by_tcp(), python]);
    }
    if let Some(node) = find("node") {
        let script = folder.join("client.js");
        fs::write(&script, include_str!("programs/client.js"))?;
        for (name, way) in [("Node (c-ares)", "resolve"), ("Node (libuv)", "lookup")] {
            clients.push(Client::new(
                name,
                [node.as_os_str(), script.as_ref(), way.as_ref()],
            ));
        }
    }
    clients.extend(java(folder)?);
    if let Some(go) = go(folder)? {
        clients.extend([go.by_tcp(), go]);
    }
    clients.extend(dig(program));
    Ok(clients)
}

fn java(folder: &Path) -> Result<Option<Client>> {
    let (Some(compiler), Some(machine)) = (find("javac"), find("java")) else {
        return Ok(None);
    };
    let source = folder.join("Client.java");
    fs::write(&source, include_str!("programs/Client.java"))?;
    make(Command::new(compiler).arg("-d").args([folder, source.as_path()]))?;
    let words = [
        machine.as_os_str(),
        "-Xshare:auto".as_ref(),
        "-cp".as_ref(),
        folder.as_ref(),
        "Client".as_ref(),
    ];
    Ok(Some(Client::new("Java", words)))
}

/// Go's own resolver. The distribution's packages of a version keep its programs out of `PATH`.
fn go(folder: &Path) -> Result<Option<Client>> {
    let versions = fs::read_dir("/usr/lib").into_iter().flatten().flatten();
    let versioned = versions.filter(|entry| entry.file_name().to_string_lossy().starts_with("go-"));
    let versioned = versioned.map(|entry| entry.path().join("bin/go"));
    let Some(compiler) = versioned
        .filter(|path| path.is_file())
        .max()
        .or_else(|| find("go"))
    else {
        return Ok(None);
    };
    let [source, made] = [folder.join("client.go"), folder.join("go-client")];
    fs::write(&source, include_str!("programs/client.go"))?;
    make(
        Command::new(compiler)
            .args(["build", "-o"])
            .args([&made, &source])
            .env("GOCACHE", folder.join("go-cache"))
            .env("GOPATH", folder.join("go-path"))
            .env("GO111MODULE", "off"),
    )?;
    Ok(Some(Client::new("Go", [made])))
}

fn dig(program: &Path) -> Vec<Client> {
    let Some(dig) = Program::find("dig") else {
        return Vec::new();
    };
    let ways = [("dig", "+notcp", false), ("dig by TCP", "+tcp", true)];
    let clients = ways.map(|(name, way, is_by_tcp)| {
        let words = [program.as_os_str(), own::ARGUMENT.as_ref(), dig.path().as_ref()];
        let options = ["+short", "+tries=1", way].map(OsStr::new);
        let mut client = Client::new(name, words.iter().copied().chain(options));
        client.is_by_tcp = is_by_tcp;
        let libraries = library_path(dig.path());
        client
            .environment
            .extend(libraries.map(|path| ("LD_LIBRARY_PATH", path)));
        client
    });
    clients.into()
}

/// Runs a compiler.
fn make(command: &mut Command) -> Result<()> {
    let output = command.output().context("starting a compiler")?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{command:?}: {said}");
    Ok(())
}

/// A program of the machine, which the distribution's folders have rather than `PATH`.
fn find(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let folders = env::split_paths(&path);
    let found = find_file(&format!("/usr/bin/{name}")).or_else(|| {
        folders
            .map(|folder| folder.join(name))
            .find(|path| path.is_file())
    });
    if found.is_none() {
        println!("SKIPPED: there is no {name}, and so no client that needs it");
    }
    found
}
