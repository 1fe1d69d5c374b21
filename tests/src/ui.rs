//! The page as its users see it: a real browser without a screen, beside a real `enforcer ui`.
//!
//! ```text
//! Browser -> Served (enforcer ui) -> control socket of a daemon, or of a Teller that says what a test wants shown
//! ```

mod browser;
mod http;
mod pipe;
mod scene;
mod served;
mod teller;

pub use browser::{Browser, Light, View};
pub use http::{Reply, request};
pub use scene::{crowd, hostile, status, story};
pub use served::Served;
pub use teller::Teller;
