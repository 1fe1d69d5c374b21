//! `kubectl enforcer bundle`: one archive with the bundle of each node, and why others are missing.

use std::{fs::File, io::Write, path::PathBuf, process::ExitCode};

use anyhow::{Context as _, Result, ensure};
use jiff::Timestamp;

use super::{Asked, complain, read, words};
use crate::cli::out;

#[derive(Debug, clap::Args)]
pub(super) struct Bundle {
    /// The file, - for standard output; default: enforcer-bundles-TIME.tar here
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Have each node replace names and addresses, consistently within the node
    #[arg(long)]
    redact: bool,
}

pub(super) async fn run(arguments: &Bundle, asked: &Asked) -> Result<ExitCode> {
    let mut command = words(["bundle", "--output", "-"]);
    if arguments.redact {
        command.extend(words(["--redact"]));
    }
    let answers = asked.ask(&command, asked.patience * 60).await;
    let (bundles, failed) = read(answers, |ran| {
        ensure!(ran.code == 0 && !ran.output.is_empty(), "exit code {}", ran.code);
        Ok(ran.output.clone())
    });
    if bundles.is_empty() {
        complain(&failed);
        return Ok(ExitCode::FAILURE);
    }
    let now = Timestamp::now();
    let path = arguments
        .output
        .clone()
        .unwrap_or_else(|| format!("enforcer-bundles-{}.tar", now.strftime("%Y%m%dT%H%M%SZ")).into());
    let is_stdout = path.as_os_str() == "-";
    let sink: Box<dyn Write> = if is_stdout {
        Box::new(std::io::stdout())
    } else {
        Box::new(File::create_new(&path).with_context(|| format!("writing {}", path.display()))?)
    };
    let why: String = failed
        .iter()
        .map(|(node, why)| format!("{node}: {why}\n"))
        .collect();
    let members = bundles
        .iter()
        .map(|(node, bundle)| (format!("{node}.tar.gz"), bundle.as_slice()))
        .chain([("not-asked.txt".to_owned(), why.as_bytes())]);
    write(sink, members, now).with_context(|| format!("writing {}", path.display()))?;
    if !is_stdout {
        out::line(format_args!(
            "{} bundles are in {}",
            bundles.len(),
            path.display()
        ))?;
    }
    Ok(if complain(&failed) {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn write<'a>(
    sink: impl Write,
    members: impl Iterator<Item = (String, &'a [u8])>,
    now: Timestamp,
) -> Result<()> {
    let mut archive = tar::Builder::new(sink);
    for (name, content) in members {
        let mut header = tar::Header::new_gnu();
        header.set_size(u64::try_from(content.len())?);
        // What is in it is for those who asked.
        header.set_mode(0o600);
        header.set_mtime(u64::try_from(now.as_second()).unwrap_or_default());
        archive.append_data(&mut header, name, content)?;
    }
    archive.into_inner()?.flush()?;
    Ok(())
}
