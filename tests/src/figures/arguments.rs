//! What the bench target is asked for.

use std::path::PathBuf;

use anyhow::{Context as _, Result, bail};

use super::Size;

pub(super) struct Arguments {
    /// Names of measurements; all of them if there is none.
    pub(super) only: Vec<String>,
    pub(super) size: Size,
    /// The folder of the figures' files.
    pub(super) out: PathBuf,
}

impl Arguments {
    pub(super) fn parse(mut words: impl Iterator<Item = String>) -> Result<Self> {
        let (mut only, mut size, mut out) = (Vec::new(), Size::Full, None);
        while let Some(word) = words.next() {
            let mut value = || {
                words
                    .next()
                    .with_context(|| format!("{word} is followed by nothing"))
            };
            match word.as_str() {
                "--only" => only.push(value()?),
                "--size" => size = Size::named(&value()?)?,
                "--out" => out = Some(PathBuf::from(value()?)),
                // Cargo says so to whatever it benches.
                "--bench" => {}
                _ => bail!("{word}: usage: figures [--only NAME]... [--size full|quick|tiny] --out DIR"),
            }
        }
        let out = out.context("no --out DIR")?;
        Ok(Self { only, size, out })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Arguments> {
        Arguments::parse(line.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn everything_but_the_folder_can_be_left_out() {
        let all = parse("--only a --size tiny --bench --only b --out here").unwrap();
        assert_eq!(
            (all.only, all.size, all.out),
            (vec!["a".to_owned(), "b".to_owned()], Size::Tiny, "here".into())
        );
        let least = parse("--out here").unwrap();
        assert_eq!((least.only, least.size), (Vec::new(), Size::Full));
        for wrong in ["", "--out", "--size huge --out here", "--out here there"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
