//! What the tests of the whole share.
//!
//! ```text
//! cases/*.yaml -> case -> host    (compile and decide, no kernel)
//!                    `--> kernel  (loaded programs, real sockets in real cgroups) -> ground, probe
//! guest (the test as the only program of a kernel) -> kernel
//!
//! escape -> the loaded programs, against every way out
//! fault  -> a kernel that refuses what the daemon asks of it
//! ```

pub mod case;
pub mod daemon;
pub mod escape;
pub mod fault;
pub mod ground;
pub mod guest;
pub mod host;
pub mod kernel;
pub mod probe;
pub mod stream;
