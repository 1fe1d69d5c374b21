//! `enforcer completions` and `enforcer man`: what shells and `man` are told of the command line.
//!
//! **Architecture Invariant:** nothing here names a command or an option. Both come from [`super::Arguments`], so that
//! they cannot differ from what is understood.

use std::{
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context as _, Result};
use clap::{Command, CommandFactory as _};
use clap_complete::Shell;

use super::{Arguments, out};

/// The section of the manual for what administrators run.
const SECTION: &str = "8";

#[derive(Debug, clap::Args)]
pub(crate) struct Completions {
    /// Which shell
    #[arg(value_enum)]
    shell: Shell,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Man {
    /// The folder, which is made if there is none
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
}

pub(super) fn completions(arguments: &Completions) -> Result<ExitCode> {
    let mut command = Arguments::command();
    let name = command.get_name().to_owned();
    let mut text = Vec::new();
    clap_complete::generate(arguments.shell, &mut command, name, &mut text);
    let text = String::from_utf8(text).context("the completions are no text")?;
    out::write(&text)?;
    Ok(ExitCode::SUCCESS)
}

pub(super) fn man(arguments: &Man) -> Result<ExitCode> {
    let folder = &arguments.out;
    fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))?;
    // Each command has a page, so that there is none for the command that repeats them.
    let mut command = Arguments::command().disable_help_subcommand(true);
    command.build();
    write(&command, folder)?;
    Ok(ExitCode::SUCCESS)
}

/// The page of a command, and those of the commands below it.
fn write(command: &Command, folder: &Path) -> Result<()> {
    let page = clap_mangen::Man::new(command.clone())
        .section(SECTION)
        .source(concat!("enforcer ", env!("CARGO_PKG_VERSION")));
    let mut text = Vec::new();
    page.render(&mut text)?;
    let file = folder.join(page.get_filename());
    fs::write(&file, text).with_context(|| format!("writing {}", file.display()))?;
    let shown = command.get_subcommands().filter(|command| !command.is_hide_set());
    for command in shown {
        write(command, folder)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use clap::ValueEnum as _;

    use super::*;

    /// The commands that `--help` lists.
    fn shown() -> BTreeSet<String> {
        let command = Arguments::command();
        let shown = command.get_subcommands().filter(|command| !command.is_hide_set());
        shown.map(|command| command.get_name().to_owned()).collect()
    }

    #[test]
    fn every_command_that_is_shown_has_a_page_and_no_other_has() {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("man");
        man(&Man { out: out.clone() }).unwrap();
        let written = fs::read_dir(&out).unwrap();
        let written: BTreeSet<_> = written
            .map(|file| file.unwrap().file_name().into_string().unwrap())
            .collect();
        let pages = shown().into_iter().map(|name| format!("enforcer-{name}.8"));
        assert_eq!(written, pages.chain(["enforcer.8".to_owned()]).collect());
        let page = fs::read_to_string(out.join("enforcer-run.8")).unwrap();
        assert!(page.contains("\\-\\-keep\\-for\\-boot"), "{page}");
    }

    #[test]
    fn completions_of_every_shell_have_every_command() {
        for shell in Shell::value_variants() {
            let mut text = Vec::new();
            clap_complete::generate(*shell, &mut Arguments::command(), "enforcer", &mut text);
            let text = String::from_utf8(text).unwrap();
            for command in shown() {
                assert!(text.contains(&command), "{shell}: {command}");
            }
        }
    }
}
