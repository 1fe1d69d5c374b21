//! Images on the node: what its own pods are made of, and what is imported from the machine.

use std::{
    fs,
    io::Write as _,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, ensure};
use serde_json::json;

use super::{enter, place::ON_NODE, place::Place};
use crate::{
    arch::Arch,
    image::{Image, Tar},
    out::say,
};

/// A pod's own process, which the others of the pod are put beside: it waits until it is told to end.
const PAUSE: &str = "trap 'exit 0' TERM INT; while :; do sleep 3600 & wait $!; done";

/// What is in busybox' image beside its programs.
const FILES: [(&str, &str); 2] = [
    ("etc/group", "root:x:0:\n"),
    ("etc/passwd", "root:x:0:0:root:/root:/bin/sh\n"),
];
const FOLDERS: [(&str, u32); 5] = [
    ("dev", 0o755),
    ("proc", 0o755),
    ("root", 0o700),
    ("sys", 0o755),
    ("tmp", 0o1777),
];

/// Makes an image of a binary or a folder of the machine, and imports it.
pub(super) fn import(place: &Place, name: &str, path: &Path) -> Result<()> {
    let mut layer = Tar::default();
    let mut entry_point = Vec::new();
    if path.is_dir() {
        add_below(&mut layer, path, path)?;
    } else {
        let binary = fs::read(path).with_context(|| format!("reading {}", path.display()))?;
        let file = path.file_name().context("a binary has a name")?.to_string_lossy();
        layer.add(&file, 0o755, &binary)?;
        entry_point.push(format!("/{file}"));
    }
    let archive = archive(name, &entry_point, layer)?;
    enter::enter(place)?;
    hand_over(&archive)?;
    say!("node: imported {name}");
    Ok(())
}

/// Imports what the node itself needs, on the node: `busybox:local`, and `pause:local`, which is the same with another
/// entry point.
pub(super) fn import_own() -> Result<()> {
    let pause = ["/bin/busybox", "sh", "-c", PAUSE].map(str::to_owned);
    hand_over(&archive("busybox:local", &[], busybox()?)?)?;
    hand_over(&archive("pause:local", &pause, busybox()?)?)
}

fn busybox() -> Result<Tar> {
    let program = PathBuf::from(format!("{ON_NODE}/programs/bin/busybox"));
    let mut layer = Tar::default();
    let binary = fs::read(&program).with_context(|| format!("reading {}", program.display()))?;
    layer.add("bin/busybox", 0o755, &binary)?;
    let list = Command::new(&program)
        .arg("--list")
        .output()
        .context("starting busybox")?;
    let list = String::from_utf8_lossy(&list.stdout);
    for name in list.lines().filter(|name| *name != "busybox") {
        layer.add_link(&format!("bin/{name}"), Path::new("busybox"))?;
    }
    for (folder, mode) in FOLDERS {
        layer.add_folder(folder, mode)?;
    }
    for (file, text) in FILES {
        layer.add(file, 0o644, text.as_bytes())?;
    }
    Ok(layer)
}

/// Adds all below a folder, with the rights that it has, and as root's.
fn add_below(layer: &mut Tar, root: &Path, folder: &Path) -> Result<()> {
    let entries = fs::read_dir(folder).with_context(|| format!("reading {}", folder.display()))?;
    let mut paths: Vec<_> = entries.map(|entry| Ok(entry?.path())).collect::<Result<_>>()?;
    // So that the same folder is the same image.
    paths.sort();
    for path in paths {
        let name = path
            .strip_prefix(root)?
            .to_str()
            .context("names in an image are UTF-8")?;
        let metadata = fs::symlink_metadata(&path)?;
        let mode = metadata.permissions().mode() & 0o7777;
        if metadata.is_symlink() {
            layer.add_link(name, &fs::read_link(&path)?)?;
        } else if metadata.is_dir() {
            layer.add_folder(name, mode)?;
            add_below(layer, root, &path)?;
        } else {
            ensure!(
                metadata.is_file(),
                "{} is neither file, folder nor link",
                path.display()
            );
            let content = fs::read(&path).with_context(|| format!("reading {}", path.display()))?;
            layer.add(name, mode, &content)?;
        }
    }
    Ok(())
}

fn archive(name: &str, entry_point: &[String], layer: Tar) -> Result<Vec<u8>> {
    // A registry may have a port.
    let (name, version) = name
        .rsplit_once(':')
        .filter(|(name, version)| !name.is_empty() && !version.is_empty() && !version.contains('/'))
        .with_context(|| format!("{name} is not of the form NAME:TAG"))?;
    let image = Image {
        name,
        version,
        arch: Arch::own().name(),
        labels: json!({}),
        entry_point,
        environment: &["PATH=/usr/sbin:/usr/bin:/sbin:/bin"],
        layer,
        created_by: "COPY . /".into(),
    };
    Ok(image.archive()?.bytes)
}

/// Gives an archive to containerd.
fn hand_over(archive: &[u8]) -> Result<()> {
    let mut import = Command::new(format!("{ON_NODE}/programs/bin/ctr"))
        .args(["--namespace", "k8s.io", "images", "import", "-"])
        .stdin(Stdio::piped())
        // While the node starts, standard output is for what waits for it.
        .stdout(Stdio::null())
        .spawn()
        .context("starting ctr")?;
    let mut input = import.stdin.take().context("standard input is piped")?;
    // Where the client does not read the answer to the end, what it says is worth more than the broken pipe.
    let written = input.write_all(archive);
    drop(input);
    let status = import.wait().context("waiting for ctr")?;
    ensure!(status.success(), "containerd rejects the image ({status})");
    written.context("passing the image to ctr")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(archive: &[u8]) -> Vec<String> {
        let mut archive = tar::Archive::new(archive);
        let entries = archive.entries().unwrap();
        let names = entries.map(|entry| entry.unwrap().path().unwrap().display().to_string());
        names.collect()
    }

    #[test]
    fn image_has_a_name_and_a_tag() {
        let image = |name| archive(name, &[], Tar::default());
        for name in ["busybox:local", "registry.test:5000/a/b:1"] {
            assert!(
                names(&image(name).unwrap()).contains(&"index.json".to_owned()),
                "{name}"
            );
        }
        for name in ["busybox", "busybox:", ":local", "registry.test:5000/a"] {
            assert!(image(name).is_err(), "{name}");
        }
    }

    #[test]
    fn folder_becomes_a_layer_with_its_links_and_rights() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("bin")).unwrap();
        fs::write(folder.path().join("bin/tool"), "tool").unwrap();
        fs::set_permissions(folder.path().join("bin/tool"), PermissionsExt::from_mode(0o750)).unwrap();
        std::os::unix::fs::symlink("bin/tool", folder.path().join("link")).unwrap();
        let mut layer = Tar::default();
        add_below(&mut layer, folder.path(), folder.path()).unwrap();
        let bytes = layer.finish().unwrap();
        assert_eq!(names(&bytes), ["bin", "bin/tool", "link"]);
        let mut archive = tar::Archive::new(bytes.as_slice());
        let modes = archive
            .entries()
            .unwrap()
            .map(|entry| entry.unwrap().header().mode().unwrap());
        assert_eq!(modes.skip(1).collect::<Vec<_>>(), [0o750, 0o777]);
    }
}
