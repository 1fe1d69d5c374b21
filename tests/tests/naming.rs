//! What is learned from answers, and from what pretends to be one: on this kernel. `cargo xtask vm-test` runs the same on
//! each of the matrix.

use std::path::Path;

use tests::{fixture::need_root, naming};

#[test]
fn address_is_learned_from_the_answer_to_a_question_and_from_nothing_else() {
    need_root().unwrap();
    let (honest, forged) = naming::run(Path::new(env!("CARGO_BIN_EXE_enforcer-test"))).unwrap();
    assert!(honest > 0 && forged > 0);
}
