//! A VirtualService, as far as warnings need it.

use super::Meta;

/// What a VirtualService does to the hosts that workloads dial. It allows nothing: it says where a proxy sends what is
/// allowed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VirtualService {
    /// Whose it is.
    pub meta: Meta,
    /// `hosts` as they are written; those without a dot are Services of its namespace.
    pub hosts: Vec<String>,
    /// Whether it is for the proxies of workloads (`gateways` has `mesh`, or nothing), and not for gateways alone.
    pub is_in_mesh: bool,
    /// The hosts to which its routes for workloads lead, as they are written, each once.
    pub destinations: Vec<String>,
}
