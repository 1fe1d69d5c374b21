//! The archive that a kernel unpacks into its first file system: cpio in its "new" format, uncompressed
//! (`Documentation/driver-api/early-userspace/buffer-format.rst` of the kernel).

use anyhow::{Context, Result};

/// The last entry's name.
const TRAILER: &str = "TRAILER!!!";

/// `S_IFREG` with the rights to read and run.
const EXECUTABLE: u32 = 0o100_755;

/// An archive with these files, by name, in its root; all can be run.
///
/// # Errors
/// If a file has 4 GiB or more, which the format cannot say.
pub(crate) fn archive(files: &[(String, Vec<u8>)]) -> Result<Vec<u8>> {
    let mut archive = Vec::new();
    for (name, content) in files {
        entry(&mut archive, name, EXECUTABLE, content)?;
    }
    entry(&mut archive, TRAILER, 0, &[])?;
    Ok(archive)
}

fn entry(archive: &mut Vec<u8>, name: &str, mode: u32, content: &[u8]) -> Result<()> {
    let size = u32::try_from(content.len()).context("a file of 4 GiB or more")?;
    let name_size = u32::try_from(name.len() + 1).context("a name of 4 GiB or more")?;
    let (inode, uid, gid, links, time, device, check) = (1, 0, 0, 1, 0, 0, 0);
    let fields = [
        inode, mode, uid, gid, links, time, size, device, device, device, device, name_size, check,
    ];
    archive.extend_from_slice(b"070701");
    for field in fields {
        archive.extend_from_slice(format!("{field:08X}").as_bytes());
    }
    archive.extend_from_slice(name.as_bytes());
    archive.push(0);
    pad(archive);
    archive.extend_from_slice(content);
    pad(archive);
    Ok(())
}

/// Contents and headers begin at multiples of four.
fn pad(archive: &mut Vec<u8>) {
    archive.resize(archive.len().next_multiple_of(4), 0);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads an entry as the kernel's `init/initramfs.c` does: fixed header, name, content, each padded.
    fn read(archive: &[u8]) -> (String, u32, &[u8], &[u8]) {
        assert_eq!(&archive[..6], b"070701");
        let field = |number: usize| {
            let digits = &archive[6 + number * 8..][..8];
            u32::from_str_radix(std::str::from_utf8(digits).unwrap(), 16).unwrap()
        };
        let (mode, size, name_size) = (field(1), field(6) as usize, field(11) as usize);
        let name = &archive[110..110 + name_size];
        let (name, end) = name.split_at(name_size - 1);
        assert_eq!(end, [0]);
        let begin = (110 + name_size).next_multiple_of(4);
        let next = (begin + size).next_multiple_of(4);
        let name = String::from_utf8(name.to_vec()).unwrap();
        (name, mode, &archive[begin..begin + size], &archive[next..])
    }

    #[test]
    fn archive_holds_its_files_and_its_end() {
        for content in [&b""[..], b"1", b"1234", b"12345"] {
            let files = [
                ("init".to_owned(), content.to_vec()),
                ("a.ko".to_owned(), vec![7]),
            ];
            let archive = archive(&files).unwrap();
            let mut rest = archive.as_slice();
            for (name, content) in &files {
                let (read_name, mode, read_content, next) = read(rest);
                assert_eq!((&read_name, mode, read_content), (name, EXECUTABLE, &content[..]));
                rest = next;
            }
            let (name, _, _, rest) = read(rest);
            assert_eq!((name.as_str(), rest), (TRAILER, &[][..]));
        }
    }
}
