//! What the tests of the whole share.
//!
//! ```text
//! cases/*.yaml -> case -> host    (compile and decide, no kernel)
//!                    `--> kernel  (loaded programs, real sockets in real cgroups) -> ground, probe
//! ```

pub mod case;
pub mod daemon;
pub mod ground;
pub mod host;
pub mod kernel;
pub mod probe;
