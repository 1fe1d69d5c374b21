//! The programs that ours are held against.

use anyhow::Result;

use crate::fixture::program::{ADD, CALL, COPY, EXIT, HashMap, Kind, MOVE, Program, STORE_LONG, instruction};

/// `bpf_map_lookup_elem`, `bpf_get_current_ancestor_cgroup_id`.
const LOOKUP: u32 = 1;
const ANCESTOR: u32 = 123;
/// The only entry's key, in each of its words.
const WORD: u32 = 5;
/// The frame pointer, as the source of an instruction.
const FRAME: u8 = 10 << 4;

/// A program that asks for an ancestor cgroup of the task, and finds two entries, with the keys of a workload and of a
/// rule. The maps are to live as long as it is loaded.
pub(super) fn least(kind: Kind, attach_type: u32) -> Result<Program> {
    let workloads = HashMap::new(8, 40, 16_384)?;
    let rules = HashMap::new(24, 4, 262_144)?;
    let key = [u64::from(WORD); 3];
    workloads.put(&key[..1], &[0; 5])?;
    rules.put(&key, &[0])?;
    let mut program = vec![instruction(MOVE, 1, 0, 2), instruction(CALL, 0, 0, ANCESTOR)];
    for (map, words) in [(&workloads, 1_i16), (&rules, 3)] {
        program.push(instruction(MOVE, 1, 0, WORD));
        let stores = (1..=words).map(|word| instruction(STORE_LONG, 10 | 1 << 4, -8 * word, 0));
        program.extend(stores);
        program.push(instruction(COPY, 2 | FRAME, 0, 0));
        let down = i32::from(-8 * words);
        program.push(instruction(ADD, 2, 0, down.cast_unsigned()));
        program.extend(map.load_into(1)?);
        program.push(instruction(CALL, 0, 0, LOOKUP));
    }
    program.extend([instruction(MOVE, 0, 0, 1), instruction(EXIT, 0, 0, 0)]);
    Program::load("least", kind, attach_type, &program)
}
