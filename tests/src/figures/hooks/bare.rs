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
/// rule.
pub(super) fn least(kind: Kind, attach_type: u32) -> Result<Program> {
    let (workload, rule) = (Entry::new(1, 40, 16_384)?, Entry::of_rule()?);
    let mut program = vec![instruction(MOVE, 1, 0, 2), instruction(CALL, 0, 0, ANCESTOR)];
    program.extend(workload.found()?);
    program.extend(rule.found()?);
    program.extend([instruction(MOVE, 0, 0, 1), instruction(EXIT, 0, 0, 0)]);
    Program::load("least", kind, attach_type, &program)
}

/// A program that finds one entry, with the key of a rule.
pub(super) fn lookup(kind: Kind, attach_type: u32) -> Result<Program> {
    let rule = Entry::of_rule()?;
    let mut program = rule.found()?;
    program.extend([instruction(MOVE, 0, 0, 1), instruction(EXIT, 0, 0, 0)]);
    Program::load("lookup", kind, attach_type, &program)
}

/// The only entry of a map, which a program that was loaded keeps.
struct Entry {
    map: HashMap,
    /// Of its key, of 8 bytes.
    words: i16,
}

impl Entry {
    /// As long as a rule's, in a map as large as that of rules.
    fn of_rule() -> Result<Self> {
        Self::new(3, 4, 262_144)
    }

    /// With so many words of a key, and bytes of a value.
    fn new(words: u8, value: u32, capacity: u32) -> Result<Self> {
        let map = HashMap::new(u32::from(words) * 8, value, capacity)?;
        map.put(&vec![u64::from(WORD); words.into()], &[0; 5])?;
        Ok(Self {
            map,
            words: words.into(),
        })
    }

    /// Instructions that find it.
    fn found(&self) -> Result<Vec<u64>> {
        let mut program = vec![instruction(MOVE, 1, 0, WORD)];
        let stores = (1..=self.words).map(|word| instruction(STORE_LONG, 10 | 1 << 4, -8 * word, 0));
        program.extend(stores);
        program.push(instruction(COPY, 2 | FRAME, 0, 0));
        program.push(instruction(ADD, 2, 0, i32::from(-8 * self.words).cast_unsigned()));
        program.extend(self.map.load_into(1)?);
        program.push(instruction(CALL, 0, 0, LOOKUP));
        Ok(program)
    }
}
