//! Renews docs/BENCHMARKS.md: what lies between two markers of a figure is written anew, and what lies elsewhere stays:
//! how it is measured, and what was learned.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use figure::Figure;

use super::{Run, plot, report};
use crate::{out::say, process::workspace};

/// Of the document's folder, with the plots.
const PLOTS: &str = "benchmarks";

/// The block with the machine of the last run.
const MACHINE: &str = "machine";

/// Renews the blocks of what was measured. One that is not there yet is added at the end.
pub(super) fn renew(run: &Run) -> Result<()> {
    let folder = workspace().join("docs");
    let file = folder.join("BENCHMARKS.md");
    let mut text = fs::read_to_string(&file).with_context(|| format!("reading {}", file.display()))?;
    text = put(&text, MACHINE, &run.machine.markdown());
    for figure in &run.figures {
        let plot = show(figure, &folder)?;
        let stamp = format!("{}; {} size", run.machine.stamp(), run.size);
        text = put(&text, &figure.name, &block(figure, plot.as_deref(), &stamp));
    }
    fs::write(&file, text).with_context(|| format!("writing {}", file.display()))?;
    say!("bench: renewed {}", file.display());
    Ok(())
}

/// Writes the figure's plot beside the document, and says where the document finds it.
fn show(figure: &Figure, folder: &Path) -> Result<Option<String>> {
    let Some(svg) = plot::svg(figure)? else {
        return Ok(None);
    };
    let place = PathBuf::from(PLOTS)
        .join(&figure.name)
        .with_added_extension("svg");
    fs::create_dir_all(folder.join(PLOTS)).context("making the folder of the plots")?;
    fs::write(folder.join(&place), svg).with_context(|| format!("writing {}", place.display()))?;
    Ok(Some(place.display().to_string()))
}

fn block(figure: &Figure, plot: Option<&str>, stamp: &str) -> String {
    let Figure { title, name, .. } = figure;
    let plot = plot.map_or_else(String::new, |plot| format!("\n![{title}]({plot})\n"));
    let table = report::markdown(figure);
    format!("### {title}\n\n`{name}`, {stamp}.\n\n{table}{plot}")
}

/// Replaces what lies between the markers of `name`.
fn put(text: &str, name: &str, block: &str) -> String {
    let (begin, end) = (
        format!("<!-- begin {name} -->\n"),
        format!("<!-- end {name} -->\n"),
    );
    let place = text
        .split_once(&begin)
        .and_then(|(before, rest)| Some((before, rest.split_once(&end)?.1)));
    let (before, after) = match place {
        Some((before, after)) => (before.to_owned(), after),
        None => (format!("{}\n\n", text.trim_end()), ""),
    };
    format!("{before}{begin}{block}{end}{after}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lies_outside_of_the_markers_stays() {
        let text = "# Title\n\n<!-- begin a -->\nold\n<!-- end a -->\n\nWhat was learned.\n";
        let renewed = put(text, "a", "new\n");
        assert_eq!(renewed, text.replace("old", "new"));
        assert_eq!(put(&renewed, "a", "new\n"), renewed);
        let longer = put(&renewed, "b", "more\n");
        assert_eq!(
            longer,
            format!("{renewed}\n<!-- begin b -->\nmore\n<!-- end b -->\n")
        );
    }
}
