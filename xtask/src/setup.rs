//! Installs what is missing, after saying what and why.
//!
//! `look -> Plan -> say -> install -> look again`

use std::{
    path::{Path, PathBuf},
    process::Command,
    time::Instant,
};

use anyhow::{Result, ensure};
use enforcer_bpf_build::{Missing, Toolchain, find_linker, toolchain_root};

use crate::out::say;
use crate::{
    arch::Arch,
    need::Need,
    plan::Plan,
    process::{answer, find, is_program, workspace},
    programs::{CROSS, FUZZING, MACHINE, NATIVE, OPENSSL, PROGRAMS, QEMU},
    servers::SERVERS,
};

/// What `setup` is asked for.
#[derive(Default, clap::Args)]
pub(crate) struct Arguments {
    /// Also install what `lint` needs: cargo-deny, which takes some minutes to compile
    #[arg(long)]
    pub(crate) lint: bool,
    /// Also install what `fuzz` needs: cargo-fuzz, which takes a minute or two to compile
    #[arg(long)]
    pub(crate) fuzz: bool,
    /// Also install what `vm-test` needs: QEMU
    #[arg(long)]
    pub(crate) vm: bool,
    /// Also install what `vm-test --systemd` needs: QEMU, mmdebstrap, mke2fs and ssh
    #[arg(long)]
    pub(crate) systemd_vm: bool,
    /// Also install what `release` needs beside that of `image`: cargo-deb, cargo-cyclonedx (some minutes) and OpenSSL
    #[arg(long)]
    pub(crate) release: bool,
    /// Also install what `image` needs: the target for static binaries, and a C compiler for it
    #[arg(long, value_enum, value_name = "ARCH")]
    pub(crate) image: Option<Arch>,
    /// Leave out what only the demo and the tests run.
    #[arg(skip)]
    pub(crate) to_build: bool,
}

/// Installs what is missing.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let needs = look(arguments)?;
    if needs.is_empty() {
        say!("setup: everything is there, nothing to install");
        return Ok(());
    }
    say!("setup: missing on this machine:");
    for need in &needs {
        say!("  {}: {}", need.name(), need.why());
    }
    let plan = Plan::new(&needs)?;
    for server in &plan.without {
        say!("setup: {server} cannot be had here; its test will say SKIPPED");
    }
    if plan.steps.is_empty() {
        return Ok(());
    }
    say!("setup: this is what gets installed:");
    for step in &plan.steps {
        say!("  {}", step.describe());
    }
    for step in plan.steps {
        say!("setup: {}", step.describe());
        let begin = Instant::now();
        step.run()?;
        say!("setup: done in {:.1} s", begin.elapsed().as_secs_f32());
    }
    let left = look(arguments)?;
    let left = left.iter().map(Need::name);
    let left: Vec<_> = left.filter(|name| !plan.without.contains(name)).collect();
    ensure!(
        left.is_empty(),
        "still missing after the installation: {}",
        left.join(", ")
    );
    say!("setup: everything is there");
    Ok(())
}

/// Path of cargo-deny.
pub(crate) fn deny() -> Option<PathBuf> {
    installed("cargo-deny")
}

/// Path of cargo-deb.
pub(crate) fn packager() -> Option<PathBuf> {
    installed("cargo-deb")
}

/// Path of cargo-cyclonedx.
pub(crate) fn bill() -> Option<PathBuf> {
    installed("cargo-cyclonedx")
}

/// Path of cargo-fuzz.
pub(crate) fn fuzzer() -> Option<PathBuf> {
    installed("cargo-fuzz")
}

/// A program in the toolchain folder, else in `PATH`.
fn installed(program: &str) -> Option<PathBuf> {
    toolchain_root()
        .map(|root| root.join("bin").join(program))
        .filter(|path| is_program(path))
        .or_else(|| find(program))
}

/// Whether the compiler that builds this workspace has a standard library for `target`.
fn has_target(target: &str) -> bool {
    let mut rustc = Command::new("rustc");
    rustc.current_dir(workspace());
    let folder = answer(rustc.args(["--print", "target-libdir", "--target", target]));
    folder.is_some_and(|folder| Path::new(folder.trim()).is_dir())
}

fn look(arguments: &Arguments) -> Result<Vec<Need>> {
    let mut needs = match Toolchain::detect() {
        Ok(_) => vec![],
        Err(Missing::Compiler) if find_linker().is_some() => vec![Need::Compiler],
        Err(Missing::Compiler) => vec![Need::Compiler, Need::Linker],
        Err(Missing::Linker) => vec![Need::Linker],
        Err(error @ Missing::Object(_)) => return Err(error.into()),
    };
    let programs = if arguments.to_build { &[][..] } else { &PROGRAMS };
    needs.extend(
        programs
            .iter()
            .chain((arguments.vm || arguments.systemd_vm).then_some(&QEMU))
            .chain(arguments.systemd_vm.then_some(&MACHINE).into_iter().flatten())
            .filter(|program| !program.is_there())
            .map(Need::Program),
    );
    let servers = if arguments.to_build { &[][..] } else { &SERVERS };
    needs.extend(
        servers
            .iter()
            .filter(|server| !server.is_there())
            .map(Need::Server),
    );
    if let Some(arch) = arguments.image {
        let compiler = if arch == Arch::own() { &NATIVE } else { &CROSS };
        if !compiler.is_there() {
            needs.push(Need::Program(compiler));
        }
        if !has_target(arch.target()) {
            needs.push(Need::Target(arch));
        }
    }
    if arguments.release {
        needs.extend(packager().is_none().then_some(Need::Packager));
        needs.extend(bill().is_none().then_some(Need::Bill));
        needs.extend((!OPENSSL.is_there()).then_some(Need::Program(&OPENSSL)));
    }
    if arguments.lint && deny().is_none() {
        needs.push(Need::Deny);
    }
    if arguments.fuzz && !FUZZING.is_there() {
        needs.push(Need::Program(&FUZZING));
    }
    if arguments.fuzz && fuzzer().is_none() {
        needs.push(Need::Fuzz);
    }
    Ok(needs)
}
