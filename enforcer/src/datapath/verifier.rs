//! Hands programs to the kernel's verifier, which takes most of a start: several at once, since it uses one processor
//! for each.

use std::collections::BTreeMap;

use aya::{
    Btf, Ebpf,
    programs::{Program as Any, ProgramError},
};

use super::program::Program;
use crate::abreast;

/// Loads these programs of the object; `btf` describes the running kernel, if known. Returns what came of each, in the
/// same order.
pub(super) fn load(
    object: &mut Ebpf,
    programs: &[Program],
    btf: Option<&Btf>,
) -> Vec<(Program, Result<(), ProgramError>)> {
    let mut parts: BTreeMap<&str, &mut Any> = object.programs_mut().collect();
    let parts = programs.iter().map(|program| {
        // The object is part of this binary and has all programs of its source.
        let part = parts.remove(program.name);
        (
            *program,
            part.expect("the object holds every program of the table"),
        )
    });
    abreast::map(parts, |(program, part)| (program, program.load(part, btf)))
}
