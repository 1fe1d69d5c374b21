//! One module for each kind of hook.

pub(crate) mod address;
