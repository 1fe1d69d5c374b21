//! Where the programs are attached that are measured.

use crate::fixture::program::Kind;

/// One place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Hook {
    /// The enforcer's program.
    pub(super) name: &'static str,
    /// Its kind.
    pub(super) kind: Kind,
    /// `enum bpf_attach_type`.
    pub(super) attach_type: u32,
}

/// Packets that leave.
pub(super) const EGRESS: Hook = Hook {
    name: "egress",
    kind: Kind::Skb,
    attach_type: 1,
};
/// Packets that arrive.
pub(super) const INGRESS: Hook = Hook {
    name: "ingress",
    kind: Kind::Skb,
    attach_type: 0,
};
/// Packets that leave, and may be questions for names.
pub(super) const ASK: Hook = Hook {
    name: "ask",
    ..EGRESS
};
/// Packets that arrive, and may be answers.
pub(super) const LEARN: Hook = Hook {
    name: "learn",
    ..INGRESS
};
