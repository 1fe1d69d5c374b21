//! A whole machine with systemd, as its owner installs the enforcer on it: by the commands of deploy/README.md.
//!
//! ```text
//! image (cache, image.sh) -> machine (QEMU, ssh) -> stage (apps, counts) <- scenarios -> readme
//! ```
//!
//! Emulated like the machines of the matrix, and without a way to anything but the ssh client that this process starts.

mod folder;
mod image;
mod machine;
mod readme;
mod scenarios;
mod stage;

use std::{env, path::PathBuf, process::ExitCode, time::Instant};

use anyhow::{Result, ensure};

use crate::{
    arch::Arch,
    image::build as build_static,
    interrupt,
    out::{complain, say},
    release::package,
    setup,
    tree::Tree,
};
use folder::{Cache, Temporary};
use image::Image;
use machine::Machine;
use scenarios::SCENARIOS;
use stage::Stage;

/// Runs the scenarios whose names are in `only`, or all of them, one after the other on one machine.
pub(super) fn run(only: &[String]) -> Result<ExitCode> {
    for name in only {
        let names = SCENARIOS.map(|(name, _)| name);
        ensure!(
            names.contains(&name.as_str()),
            "no scenario {name}; there are {}",
            names.join(" ")
        );
    }
    image::check()?;
    setup::run(&setup::Arguments {
        systemd_vm: true,
        image: Some(Arch::Amd64),
        release: true,
        to_build: true,
        ..Default::default()
    })?;
    interrupt::catch()?;
    let cache = Cache::open()?;
    let image = Image::get(&cache)?;
    let binary = enforcer()?;
    let folder = Temporary::new(&cache, "run")?;
    let sources = package::Sources {
        tree: &Tree::own(),
        own: &binary,
        binary: &binary,
    };
    let package = package::write(&sources, Arch::Amd64, folder.folder())?;
    let brought = [binary, build_static(Arch::Amd64, "machine")?, package];
    let begin = Instant::now();
    let machine = Machine::boot(&image, folder)?;
    say!(
        "vm-test: systemd: booted in {:.0} s",
        begin.elapsed().as_secs_f32()
    );
    let mut stage = Stage::new(machine)?;
    stage.equip(&brought)?;
    let mut failed = 0;
    for (name, scenario) in SCENARIOS {
        // Without the first, there is nothing that others could be tried on.
        let is_asked = only.is_empty() || only.iter().any(|asked| asked == name);
        if !is_asked && name != SCENARIOS[0].0 {
            continue;
        }
        let begin = Instant::now();
        let outcome = scenario(&mut stage);
        let seconds = begin.elapsed().as_secs_f32();
        match outcome {
            Ok(found) => say!("vm-test: systemd: {name}: passed in {seconds:.0} s: {found}"),
            Err(error) if interrupt::has_come() => return Err(error),
            Err(error) => {
                failed += 1;
                say!("FAIL: systemd: {name}: {error:#}");
                match stage.circumstances() {
                    Ok(text) => say!("{text}"),
                    Err(error) => complain!("vm-test: systemd: {error:#}"),
                }
            }
        }
    }
    say!(
        "vm-test: systemd: {}, {:.0} s",
        stage.totals(),
        begin.elapsed().as_secs_f32()
    );
    if failed > 0 {
        say!("vm-test: systemd: FAILED ({failed})");
        return Ok(ExitCode::FAILURE);
    }
    Ok(ExitCode::SUCCESS)
}

/// The image's binary, or a static one that is there already.
fn enforcer() -> Result<PathBuf> {
    match env::var_os("ENFORCER_BINARY") {
        Some(built) => Ok(built.into()),
        None => build_static(Arch::Amd64, "enforcer"),
    }
}
