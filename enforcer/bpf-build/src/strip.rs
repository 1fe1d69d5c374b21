//! Takes away what only debuggers read: four fifths of the object, which would lie in the daemon's memory.

use std::{fs, path::Path};

use anyhow::{Context as _, Result};
use object::{
    build::elf::{Builder, Section, SectionData},
    elf::SHT_STRTAB,
};

/// What the names of such sections begin with, and those of their relocations. Types (`.BTF`) are no such sections.
const DEBUG: [&[u8]; 2] = [b".debug_", b".rel.debug_"];

/// Writes `object` without them to `to`.
///
/// # Errors
/// If it cannot be read as ELF, or not be written.
pub fn strip(object: &Path, to: &Path) -> Result<()> {
    let read = || format!("reading {}", object.display());
    let bytes = fs::read(object).with_context(read)?;
    let mut builder = Builder::read(bytes.as_slice()).with_context(read)?;
    for section in &mut builder.sections {
        section.delete = DEBUG.iter().any(|debug| section.name.starts_with(debug));
    }
    // LLVM keeps the names of sections among those of symbols, for which this writer has no place.
    let has_names = |section: &Section<'_>| matches!(section.data, SectionData::SectionString);
    if !builder.sections.iter().any(has_names) {
        let names = builder.sections.add();
        names.name = b".shstrtab".as_slice().into();
        names.sh_type = SHT_STRTAB;
        names.sh_addralign = 1;
        names.data = SectionData::SectionString;
    }
    builder.delete_orphans();
    builder.delete_unused_versions();
    let mut stripped = Vec::new();
    builder.write(&mut stripped).context("writing the object anew")?;
    fs::write(to, stripped).with_context(|| format!("writing {}", to.display()))
}
