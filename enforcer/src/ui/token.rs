//! The token: whoever knows it may look.

use std::{
    fmt::Write as _,
    fs::{self, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    path::Path,
};

use anyhow::{Context as _, Result, bail, ensure};
use nix::unistd::geteuid;
use subtle::ConstantTimeEq as _;

/// Bytes of a token that is made here.
const RANDOM: usize = 32;

/// Fewer characters can be guessed.
const SHORTEST: usize = 16;

/// No file is read further.
const LONGEST: u64 = 4096;

/// What a browser has to say.
#[derive(Clone)]
pub(crate) struct Token(String);

impl Token {
    /// One that nobody foresees.
    ///
    /// # Errors
    /// If the kernel gives no randomness.
    pub(crate) fn random() -> Result<Self> {
        let mut bytes = [0; RANDOM];
        getrandom::fill(&mut bytes).context("asking the kernel for randomness")?;
        let mut text = String::with_capacity(2 * RANDOM);
        for byte in bytes {
            write!(text, "{byte:02x}")?;
        }
        Ok(Self(text))
    }

    /// The one in a file that nobody else can read.
    ///
    /// # Errors
    /// If others can, or it holds none.
    pub(crate) fn read(file: &Path) -> Result<Self> {
        let shown = file.display();
        let there = fs::metadata(file).with_context(|| format!("reading the token in {shown}"))?;
        let is_ours = there.uid() == 0 || there.uid() == geteuid().as_raw();
        ensure!(
            is_ours && there.mode() & 0o077 == 0,
            "others than root may read or write the token in {shown}: `chown root {shown} && chmod 600 {shown}`"
        );
        ensure!(
            there.is_file() && there.len() <= LONGEST,
            "{shown} is no file with a token"
        );
        let text = fs::read_to_string(file).with_context(|| format!("reading the token in {shown}"))?;
        let text = text.trim();
        // It stands in a URL and in a header as it is.
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
        ensure!(
            text.len() >= SHORTEST && text.bytes().all(is_plain),
            "{shown} holds no token: {SHORTEST} or more letters, digits and -._~ on one line"
        );
        Ok(Self(text.to_owned()))
    }

    /// The one in a file; one is made where none is there.
    ///
    /// # Errors
    /// As [`Token::read`], or if the file cannot be written.
    pub(crate) fn kept(file: &Path) -> Result<Self> {
        let made = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(file);
        match made {
            Ok(mut made) => {
                let token = Self::random()?;
                if let Err(error) = writeln!(made, "{}", token.0) {
                    // Half of one would be taken for it the next time.
                    fs::remove_file(file).ok();
                    bail!("writing {}: {error}", file.display());
                }
                Ok(token)
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Self::read(file),
            Err(error) => bail!("creating {}: {error}", file.display()),
        }
    }

    /// Whether somebody has said it. How long that takes does not tell how much of it was right.
    pub(super) fn is(&self, said: &[u8]) -> bool {
        self.0.as_bytes().ct_eq(said).into()
    }

    /// As it stands in the URL.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn token_is_kept_for_root_alone_and_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("ui.token");
        let token = Token::kept(&file).unwrap();
        assert_eq!(token.as_str().len(), 2 * RANDOM);
        assert_eq!(fs::metadata(&file).unwrap().mode() & 0o777, 0o600);
        assert!(Token::kept(&file).unwrap().is(token.as_str().as_bytes()));
        assert!(!token.is(Token::random().unwrap().as_str().as_bytes()));
        assert!(!token.is(b""));
        assert!(!token.is(&token.as_str().as_bytes()[1..]));
    }

    #[test]
    fn file_that_others_can_read_or_that_holds_none_is_refused_with_what_to_do() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("token");
        let refused = |text: &str, mode| {
            fs::write(&file, text).unwrap();
            fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
            Token::read(&file).err().map(|error| error.to_string())
        };
        assert_eq!(refused("0123456789abcdef\n", 0o400), None);
        assert!(
            refused("0123456789abcdef\n", 0o644)
                .unwrap()
                .contains("chmod 600")
        );
        for text in [
            "",
            "short",
            "0123456789 abcdef",
            "0123456789abcdef\nanother-line-0000",
        ] {
            assert!(
                refused(text, 0o600).unwrap().contains("holds no token"),
                "{text:?}"
            );
        }
    }
}
