//! Commands of a page, as they stand there: what a reader would type below a heading.

use std::fs;

use anyhow::{Context, Result, ensure};

use crate::process::workspace;

/// The page with the commands.
const PAGE: &str = "deploy/README.md";

/// The commands below the heading of that text, up to the next heading of any level.
///
/// # Errors
/// If there is no such heading, or no commands below it.
pub(super) fn commands(heading: &str) -> Result<String> {
    let page = workspace().join(PAGE);
    let text = fs::read_to_string(&page).with_context(|| format!("reading {}", page.display()))?;
    let found = below(&text, heading);
    ensure!(
        !found.is_empty(),
        "{PAGE} has no commands below the heading {heading:?}"
    );
    Ok(found)
}

/// Blocks that name no language are commands; those that do are files.
fn below(text: &str, heading: &str) -> String {
    let mut commands = String::new();
    let (mut is_below, mut block) = (false, None);
    for line in text.lines() {
        match (block, line.strip_prefix("```")) {
            (None, Some(language)) => block = Some(language),
            (Some(_), Some(_)) => block = None,
            (None, None) if line.starts_with('#') => {
                is_below = line.trim_start_matches('#').trim() == heading;
            }
            (Some(""), None) if is_below => {
                commands.push_str(line);
                commands.push('\n');
            }
            _ => {}
        }
    }
    commands
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_below_a_heading_end_at_the_next() {
        let page = "# A\n```\nno\n```\n## B\ntext\n```\none\n# two\n```\n```yaml\nfile\n```\n```\nthree\n```\n### C\n```\nno\n```\n";
        assert_eq!(below(page, "B"), "one\n# two\nthree\n");
        assert_eq!(below(page, "D"), "");
    }
}
