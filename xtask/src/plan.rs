//! How what is missing gets onto this machine.
//!
//! The distribution's packages come first, rustup and `cargo install` bring the rest; what neither can bring is
//! named before anything is installed.

use std::process::Command;

use anyhow::{Result, ensure};

use crate::out::say;
use crate::{apt, bpf, need::Need, process, servers};

/// The version of cargo-deny that CI checks with.
const DENY: &str = "cargo-deny@0.20.2";

/// The version of cargo-fuzz that CI fuzzes with.
const FUZZ: &str = "cargo-fuzz@0.13.2";

/// What a release is made with: another version may make other bytes.
const PACKAGER: &str = "cargo-deb@3.8.0";
const BILL: &str = "cargo-cyclonedx@0.5.9";

/// What to do, in order.
pub(crate) struct Plan {
    /// The steps.
    pub(crate) steps: Vec<Step>,
    /// Servers that are to be had nowhere.
    pub(crate) without: Vec<&'static str>,
}

/// One thing to do.
pub(crate) enum Step {
    /// Packages by apt.
    Packages(Vec<String>),
    /// Packages by apt that are only unpacked.
    Servers(Vec<String>),
    /// A rustup nightly with `rust-src`.
    Nightly,
    /// bpf-linker, compiled.
    Linker,
    /// cargo-deny, compiled.
    Deny,
    /// cargo-fuzz, compiled.
    Fuzz,
    /// Another program of crates, compiled: its name and version.
    Compiled(&'static str),
    /// The standard library for a target, by rustup.
    Target(&'static str),
}

/// What can be done with what this machine knows now.
#[derive(Default)]
struct Draft {
    packages: Vec<String>,
    then: Vec<Step>,
    by_hand: Vec<String>,
    without: Vec<&'static str>,
}

impl Plan {
    /// Plans for `needs`; reads apt's lists anew if they do not have all of it.
    ///
    /// # Errors
    /// Names what the user has to install where neither apt nor rustup can.
    pub(crate) fn new(needs: &[Need]) -> Result<Self> {
        let mut draft = Draft::new(needs);
        if apt::is_there() && !draft.is_all_packaged() {
            say!("setup: apt's lists do not have all of it; reading them anew");
            apt::update()?;
            draft = Draft::new(needs);
        } else if apt::is_there() && !draft.without.is_empty() {
            // Without them all else goes on, and so it does without an archive.
            match apt::update() {
                Ok(()) => draft = Draft::new(needs),
                Err(error) => say!("setup: {error:#}"),
            }
        }
        ensure!(
            draft.by_hand.is_empty(),
            "this cannot be installed from here, please install it yourself: {}",
            draft.by_hand.join("; ")
        );
        let packages = (!draft.packages.is_empty()).then_some(Step::Packages(draft.packages));
        Ok(Self {
            steps: packages.into_iter().chain(draft.then).collect(),
            without: draft.without,
        })
    }
}

impl Draft {
    fn new(needs: &[Need]) -> Self {
        let mut draft = Self::default();
        let mut lacks_servers = false;
        for need in needs {
            match need {
                Need::Compiler => draft.add_compiler(),
                Need::Linker => draft.add_linker(),
                Need::Deny => draft.then.push(Step::Deny),
                Need::Fuzz => draft.then.push(Step::Fuzz),
                Need::Packager => draft.then.push(Step::Compiled(PACKAGER)),
                Need::Bill => draft.then.push(Step::Compiled(BILL)),
                Need::Target(arch) => draft.add_target(arch.target()),
                Need::Program(program) => match apt::candidate(program.package) {
                    Some(_) => draft.packages.push(program.package.to_owned()),
                    None => draft.by_hand.push(format!("{} ({})", program.name, program.why)),
                },
                Need::Server(server) if apt::candidate(server.package).is_none() => {
                    draft.without.push(server.name);
                }
                Need::Server(_) => lacks_servers = true,
            }
        }
        if lacks_servers {
            draft.then.push(Step::Servers(servers::packages()));
        }
        draft.packages.retain(|package| !apt::is_installed(package));
        draft
    }

    fn is_all_packaged(&self) -> bool {
        self.by_hand.is_empty() && !self.then.iter().any(|step| matches!(step, Step::Nightly))
    }

    fn add_compiler(&mut self) {
        match bpf::compiler_packages() {
            Some(packages) => self.packages.extend(packages.map(String::from)),
            None if process::find("rustup").is_some() => self.then.push(Step::Nightly),
            None => self
                .by_hand
                .push("rustup with a nightly and its rust-src".to_owned()),
        }
    }

    fn add_target(&mut self, target: &'static str) {
        if process::find("rustup").is_some() {
            self.then.push(Step::Target(target));
        } else {
            self.by_hand.push(format!("Rust's standard library for {target}"));
        }
    }

    fn add_linker(&mut self) {
        match bpf::linker_packages() {
            Some(packages) => self.packages.extend(packages),
            None if bpf::has_llvm() => {}
            None => return self.by_hand.push(bpf::linker_needs()),
        }
        self.then.push(Step::Linker);
    }
}

impl Step {
    /// What it does, for the user.
    pub(crate) fn describe(&self) -> String {
        match self {
            Self::Packages(packages) => format!("packages by apt: {}", packages.join(" ")),
            Self::Servers(packages) => format!(
                "unpacked into the toolchain folder, not installed: {}",
                packages.join(" ")
            ),
            Self::Nightly => "the nightly toolchain with rust-src, by rustup".to_owned(),
            Self::Linker => "bpf-linker, compiled into the toolchain folder (a minute or two)".to_owned(),
            Self::Deny => format!("{DENY}, compiled into the toolchain folder (some minutes)"),
            Self::Compiled(package) => {
                format!("{package}, compiled into the toolchain folder (some minutes)")
            }
            Self::Target(target) => format!("the target {target}, by rustup"),
            Self::Fuzz => format!("{FUZZ}, compiled into the toolchain folder (a minute or two)"),
        }
    }

    /// Does it.
    pub(crate) fn run(&self) -> Result<()> {
        match self {
            Self::Packages(packages) => apt::install(packages),
            Self::Servers(packages) => servers::unpack(packages),
            Self::Nightly => process::run(Command::new("rustup").args([
                "toolchain",
                "install",
                "nightly",
                "--profile=minimal",
                "--component=rust-src",
            ])),
            Self::Linker => bpf::install_linker(),
            Self::Deny => process::run(&mut bpf::install_into_toolchain(DENY)?),
            // In the workspace, rustup adds it to the toolchain that is pinned there.
            Self::Target(target) => process::run(
                Command::new("rustup")
                    .args(["target", "add", target])
                    .current_dir(process::workspace()),
            ),
            Self::Fuzz => process::run(&mut bpf::install_into_toolchain(FUZZ)?),
            Self::Compiled(package) => process::run(&mut bpf::install_into_toolchain(package)?),
        }
    }
}
