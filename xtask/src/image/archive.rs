//! An image as a tar archive: the layout of the OCI image specification (1.1), and beside it the manifest that
//! `docker load` read before it knew that layout. `ctr images import`, `docker load`, `kind load image-archive`,
//! `podman load` and `skopeo copy oci-archive:` take it.
//!
//! The one layer is not compressed: whoever pushes it compresses it, and a compressor's version would be part of the
//! digest.

use std::path::Path;

use anyhow::{Context, Result};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tar::{EntryType, Header};

/// The media types of the specification.
const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIGURATION: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";

/// When everything in an image was made, so that two builds of one binary are one image.
const EPOCH: &str = "1970-01-01T00:00:00Z";

/// What goes into an image.
pub(crate) struct Image<'a> {
    /// Without version; short, or with the registry that it is not pulled from.
    pub(crate) name: &'a str,
    pub(crate) version: &'a str,
    /// As Go names it.
    pub(crate) arch: &'a str,
    /// What is known about it.
    pub(crate) labels: Value,
    /// What runs in it, unless something else is asked for.
    pub(crate) entry_point: &'a [String],
    pub(crate) environment: &'a [&'a str],
    /// All files.
    pub(crate) layer: Tar,
    /// How these came there, in the words of a Dockerfile.
    pub(crate) created_by: String,
}

/// An image as a file.
pub(crate) struct Archive {
    pub(crate) bytes: Vec<u8>,
    /// The manifest's, by which registries know the image.
    pub(crate) digest: String,
}

/// Something that is found by its digest.
struct Blob {
    kind: &'static str,
    bytes: Vec<u8>,
    hash: String,
}

impl Image<'_> {
    /// As manifests of pods name it.
    pub(crate) fn reference(&self) -> String {
        format!("{}:{}", self.name, self.version)
    }

    /// Writes the archive.
    ///
    /// # Errors
    /// If a name does not fit into the format.
    pub(crate) fn archive(mut self) -> Result<Archive> {
        let layer = Blob::new(LAYER, std::mem::take(&mut self.layer).finish()?);
        let configuration = Blob::json(CONFIGURATION, &self.configuration(&layer));
        let manifest = Blob::json(
            MANIFEST,
            &json!({
                "schemaVersion": 2,
                "mediaType": MANIFEST,
                "config": configuration.descriptor(),
                "layers": [layer.descriptor()],
                "annotations": self.labels,
            }),
        );
        let old_manifest = json!([{
            "Config": configuration.path(),
            "RepoTags": [self.reference()],
            "Layers": [layer.path()],
        }]);

        let mut archive = Tar::default();
        archive.add(
            "oci-layout",
            0o644,
            &text(&json!({ "imageLayoutVersion": "1.0.0" })),
        )?;
        archive.add("index.json", 0o644, &text(&self.index(&manifest)))?;
        archive.add("manifest.json", 0o644, &text(&old_manifest))?;
        for blob in [&manifest, &configuration, &layer] {
            archive.add(&blob.path(), 0o644, &blob.bytes)?;
        }
        Ok(Archive {
            bytes: archive.finish()?,
            digest: manifest.digest(),
        })
    }

    fn configuration(&self, layer: &Blob) -> Value {
        let mut configuration = json!({
            "created": EPOCH,
            "architecture": self.arch,
            "os": "linux",
            "config": {
                "User": "0:0",
                "Entrypoint": self.entry_point,
                "WorkingDir": "/",
                "Labels": self.labels,
            },
            // The digest of the uncompressed layer, which it is.
            "rootfs": { "type": "layers", "diff_ids": [layer.digest()] },
            "history": [{ "created": EPOCH, "created_by": self.created_by }],
        });
        if !self.environment.is_empty() {
            configuration["config"]["Env"] = json!(self.environment);
        }
        configuration
    }

    fn index(&self, manifest: &Blob) -> Value {
        let mut entry = manifest.descriptor();
        entry["platform"] = json!({ "architecture": self.arch, "os": "linux" });
        entry["annotations"] = json!({
            // containerd takes the name from the first, and completes no short one there; other tools from the second.
            "io.containerd.image.name": format!("{}{}", registry(self.name), self.reference()),
            "org.opencontainers.image.ref.name": self.version,
        });
        json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": [entry] })
    }
}

impl Blob {
    fn new(kind: &'static str, bytes: Vec<u8>) -> Self {
        let hash = Sha256::digest(&bytes);
        let hash = hash.iter().map(|byte| format!("{byte:02x}")).collect();
        Self { kind, bytes, hash }
    }

    fn json(kind: &'static str, value: &Value) -> Self {
        Self::new(kind, text(value))
    }

    fn digest(&self) -> String {
        format!("sha256:{}", self.hash)
    }

    /// Where it is in the archive.
    fn path(&self) -> String {
        format!("blobs/sha256/{}", self.hash)
    }

    fn descriptor(&self) -> Value {
        json!({ "mediaType": self.kind, "digest": self.digest(), "size": self.bytes.len() })
    }
}

fn text(value: &Value) -> Vec<u8> {
    value.to_string().into_bytes()
}

/// What is left out of a short name.
fn registry(name: &str) -> &'static str {
    match name.split_once('/') {
        None => "docker.io/library/",
        Some((first, _)) if first.contains(['.', ':']) || first == "localhost" => "",
        Some(_) => "docker.io/",
    }
}

/// A tar archive whose bytes depend on names, rights and contents alone.
pub(crate) struct Tar(tar::Builder<Vec<u8>>);

impl Default for Tar {
    fn default() -> Self {
        Self(tar::Builder::new(Vec::new()))
    }
}

impl Tar {
    /// Adds a file.
    pub(crate) fn add(&mut self, name: &str, mode: u32, content: &[u8]) -> Result<()> {
        let mut header = header(EntryType::Regular, mode);
        header.set_size(u64::try_from(content.len())?);
        self.0
            .append_data(&mut header, name, content)
            .with_context(|| format!("adding {name}"))
    }

    /// Adds an empty folder.
    pub(crate) fn add_folder(&mut self, name: &str, mode: u32) -> Result<()> {
        self.0
            .append_data(&mut header(EntryType::Directory, mode), name, [].as_slice())
            .with_context(|| format!("adding {name}"))
    }

    /// Adds a symbolic link.
    pub(crate) fn add_link(&mut self, name: &str, target: &Path) -> Result<()> {
        self.0
            .append_link(&mut header(EntryType::Symlink, 0o777), name, target)
            .with_context(|| format!("adding {name}"))
    }

    /// The archive.
    pub(crate) fn finish(self) -> Result<Vec<u8>> {
        self.0.into_inner().context("ending the archive")
    }
}

fn header(kind: EntryType, mode: u32) -> Header {
    let mut header = Header::new_ustar();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_size(0);
    header
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, io::Read as _};

    use super::*;

    fn archive(binary: &[u8]) -> Archive {
        let mut layer = Tar::default();
        layer.add("enforcer", 0o755, binary).unwrap();
        let image = Image {
            name: "enforcer",
            version: "1.2.3",
            arch: "arm64",
            labels: json!({ "about": "it" }),
            entry_point: &["/enforcer".to_owned()],
            environment: &[],
            layer,
            created_by: "COPY enforcer /enforcer".into(),
        };
        image.archive().unwrap()
    }

    /// The files of an archive.
    fn files(bytes: &[u8]) -> BTreeMap<String, Vec<u8>> {
        let mut archive = tar::Archive::new(bytes);
        let entries = archive.entries().unwrap().map(|entry| {
            let mut entry = entry.unwrap();
            let name = entry.path().unwrap().display().to_string();
            let mut content = Vec::new();
            entry.read_to_end(&mut content).unwrap();
            (name, content)
        });
        entries.collect()
    }

    fn json(bytes: &[u8]) -> Value {
        serde_json::from_slice(bytes).unwrap()
    }

    /// The blob that a descriptor names, if digest and size are right.
    fn blob<'a>(files: &'a BTreeMap<String, Vec<u8>>, descriptor: &Value) -> &'a [u8] {
        let digest = descriptor["digest"].as_str().unwrap();
        let bytes = &files[&format!("blobs/{}", digest.replace(':', "/"))];
        let hash = Sha256::digest(bytes);
        let hash: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(digest, format!("sha256:{hash}"));
        assert_eq!(descriptor["size"], bytes.len());
        bytes
    }

    #[test]
    fn same_binary_has_the_same_image_and_another_has_another() {
        assert_eq!(archive(b"binary").bytes, archive(b"binary").bytes);
        assert_ne!(archive(b"binary").digest, archive(b"other").digest);
    }

    #[test]
    fn every_reference_leads_from_the_index_to_the_binary() {
        let archive = archive(b"binary");
        let files = files(&archive.bytes);
        assert_eq!(json(&files["oci-layout"])["imageLayoutVersion"], "1.0.0");
        let entry = &json(&files["index.json"])["manifests"][0];
        assert_eq!(entry["digest"], archive.digest);
        assert_eq!(entry["platform"]["architecture"], "arm64");
        let manifest = json(blob(&files, entry));
        let configuration = json(blob(&files, &manifest["config"]));
        assert_eq!(configuration["config"]["Entrypoint"], json!(["/enforcer"]));
        assert_eq!(configuration["architecture"], "arm64");
        let layer = blob(&files, &manifest["layers"][0]);
        assert_eq!(
            configuration["rootfs"]["diff_ids"][0],
            manifest["layers"][0]["digest"]
        );
        let layer = super::tests::files(layer);
        assert_eq!(
            layer,
            BTreeMap::from([("enforcer".to_owned(), b"binary".to_vec())])
        );
    }

    #[test]
    fn short_name_is_completed() {
        for (name, expected) in [
            ("enforcer", "docker.io/library/"),
            ("test/enforcer", "docker.io/"),
            ("registry.test/enforcer", ""),
            ("localhost/enforcer", ""),
            ("registry:5000/test/enforcer", ""),
        ] {
            assert_eq!(registry(name), expected, "{name}");
        }
    }

    #[test]
    fn docker_finds_the_same_configuration_and_layer() {
        let files = files(&archive(b"binary").bytes);
        let entry = &json(&files["index.json"])["manifests"][0];
        let manifest = json(blob(&files, entry));
        let old = &json(&files["manifest.json"])[0];
        let path = |descriptor: &Value| {
            let digest = descriptor["digest"].as_str().unwrap();
            format!("blobs/{}", digest.replace(':', "/"))
        };
        assert_eq!(old["RepoTags"], json!(["enforcer:1.2.3"]));
        assert_eq!(old["Config"], path(&manifest["config"]));
        assert_eq!(old["Layers"], json!([path(&manifest["layers"][0])]));
    }
}
