//! Finds a toolchain for the BPF programs and builds them.
//!
//! `Toolchain::detect -> build -> the object's path`
//!
//! It also knows where setup puts programs that the tests run and that are not installed.
//!
//! Used by the daemon's build script and by `cargo xtask setup`, so that both mean the same by "there is a
//! toolchain". **Architecture Invariant:** this crate installs nothing and reaches for nothing outside the machine
//! but what the workspace's `Cargo.lock` names.

mod compile;
mod linker;
mod strip;
mod toolchain;
mod unpacked;

pub use compile::build;
pub use linker::{LINKER, find_linker, toolchain_root};
pub use strip::strip;
pub use toolchain::{Compiler, Missing, OBJECT_VARIABLE, TARGET, Toolchain};
pub use unpacked::{find_file, library_path, unpacked_root};
