//! DNS messages, as far as addresses are learned from them.
