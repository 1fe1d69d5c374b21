//! The programs' cost for the verifier, which refuses those that cost too much.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
use aya::{Ebpf, programs::ProgramError};

/// Instructions after which the verifier rejects a program (`BPF_COMPLEXITY_LIMIT_INSNS`).
pub const VERIFIER_LIMIT: u32 = 1_000_000;

pub(super) fn verified_instructions(object: &Ebpf) -> Result<BTreeMap<String, Option<u32>>> {
    let mut counts = BTreeMap::new();
    for (name, program) in object.programs() {
        match program.info() {
            Ok(info) => {
                counts.insert(name.to_owned(), info.verified_instruction_count());
            }
            Err(ProgramError::NotLoaded) => {}
            Err(error) => return Err(error).with_context(|| format!("asking about the program {name}")),
        }
    }
    Ok(counts)
}
