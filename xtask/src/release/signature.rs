//! The signature of the sums, as `cosign sign-blob --key` writes it: ECDSA on P-256 over the file's SHA-256, in base64.
//!
//! OpenSSL makes it, so that the key may be anything that it can read, and checks it, so that a signature that nobody
//! could verify is not published.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use anyhow::{Context, Result, ensure};

use super::sums;
use crate::{out::say, process::line};

/// The environment's variable that names a key.
pub(super) const VARIABLE: &str = "ENFORCER_SIGNING_KEY";

/// The signature's file.
const FILE: &str = "SHA256SUMS.sig";

/// How cosign begins the keys that it has encrypted in its own way.
const COSIGN: [&str; 2] = ["ENCRYPTED COSIGN PRIVATE KEY", "ENCRYPTED SIGSTORE PRIVATE KEY"];

/// A private key that can sign.
pub(super) struct Key(PathBuf);

impl Key {
    /// # Errors
    /// If it is no key, or none of the kind that cosign verifies by.
    pub(super) fn read(file: &Path) -> Result<Self> {
        let text = fs::read_to_string(file).with_context(|| format!("reading the key {}", file.display()))?;
        ensure!(
            !COSIGN.iter().any(|begin| text.contains(begin)),
            "{} is a key of cosign's, encrypted as only cosign can read: make the release without a key, then run \
             `cosign sign-blob --key {} --output-signature {FILE} {}`",
            file.display(),
            file.display(),
            sums::FILE
        );
        let described = openssl(&["pkey", "-noout", "-text_pub", "-in"], &[file])?;
        let described = String::from_utf8_lossy(&described.stdout).into_owned();
        ensure!(
            described.contains("prime256v1"),
            "{} is not a key of ECDSA on P-256, by which cosign verifies; make one by `openssl ecparam -genkey \
             -name prime256v1 -noout -out FILE`",
            file.display()
        );
        Ok(Self(file.to_owned()))
    }

    /// Signs the sums in this folder.
    pub(super) fn sign(&self, folder: &Path) -> Result<()> {
        let temporary = tempfile::tempdir().context("making a folder")?;
        let [raw, public] = ["signature", "public"].map(|name| temporary.path().join(name));
        let (sums, signature) = (folder.join(sums::FILE), folder.join(FILE));
        openssl(
            &["dgst", "-sha256", "-sign"],
            &[&self.0, "-out".as_ref(), &raw, &sums],
        )?;
        openssl(&["base64", "-A", "-in"], &[&raw, "-out".as_ref(), &signature])?;
        openssl(&["pkey", "-pubout", "-in"], &[&self.0, "-out".as_ref(), &public])?;
        openssl(
            &["dgst", "-sha256", "-verify"],
            &[&public, "-signature".as_ref(), &raw, &sums],
        )?;
        say!("release: {FILE}: signed by {}", self.0.display());
        Ok(())
    }
}

fn openssl(words: &[&str], files: &[&Path]) -> Result<Output> {
    let mut openssl = Command::new("openssl");
    openssl.args(words).args(files);
    let output = openssl.output().context("starting openssl")?;
    ensure!(
        output.status.success(),
        "`{}` failed: {}",
        line(&openssl),
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Ok(output)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(folder: &Path, curve: &str) -> PathBuf {
        let file = folder.join(curve);
        openssl(
            &["ecparam", "-genkey", "-noout", "-name", curve, "-out"],
            &[&file],
        )
        .unwrap();
        file
    }

    #[test]
    fn signature_is_one_line_of_base64_that_holds_for_these_sums_and_no_others() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        fs::write(folder.join("file"), "released").unwrap();
        sums::write(folder).unwrap();
        let key = key(folder, "prime256v1");
        Key::read(&key).unwrap().sign(folder).unwrap();
        let public = folder.join("public");
        openssl(&["pkey", "-pubout", "-in"], &[&key, "-out".as_ref(), &public]).unwrap();
        let text = fs::read_to_string(folder.join(FILE)).unwrap();
        assert!(!text.contains('\n'), "{text}");
        // As docs/release.md has its readers do.
        let raw = folder.join("raw");
        let verify = || {
            openssl(
                &["base64", "-d", "-A", "-in"],
                &[&folder.join(FILE), "-out".as_ref(), &raw],
            )?;
            openssl(
                &["dgst", "-sha256", "-verify"],
                &[&public, "-signature".as_ref(), &raw, &folder.join(sums::FILE)],
            )
        };
        verify().unwrap();
        fs::write(folder.join(sums::FILE), "other sums").unwrap();
        assert!(verify().is_err());
    }

    #[test]
    fn key_that_cosign_could_not_verify_by_is_refused_before_anything_is_built() {
        let folder = tempfile::tempdir().unwrap();
        let other = Key::read(&key(folder.path(), "secp384r1"));
        assert!(other.is_err_and(|error| error.to_string().contains("P-256")));
        let cosign = folder.path().join("cosign.key");
        fs::write(&cosign, "-----BEGIN ENCRYPTED SIGSTORE PRIVATE KEY-----\n").unwrap();
        let cosign = Key::read(&cosign);
        assert!(cosign.is_err_and(|error| error.to_string().contains("cosign sign-blob")));
    }
}
