//! What the tests of the whole share.
//!
//! ```text
//! cases/*.yaml -> case -> host    (compile and decide, no kernel)
//!                    `--> kernel  (loaded programs, real sockets in real cgroups) -> ground, probe
//! guest (the test as the only program of a kernel) -> kernel
//!
//! kube (a real API server, or one that does as it is told) -> daemon
//!
//! escape -> the loaded programs, against every way out
//! ```

pub mod case;
pub mod daemon;
pub mod escape;
pub mod ground;
pub mod guest;
pub mod host;
pub mod kernel;
pub mod kube;
pub mod probe;
pub mod stream;
