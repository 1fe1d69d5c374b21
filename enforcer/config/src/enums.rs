//! The closed choices of the configuration, spelled as users write them.

use schemars::JsonSchema;
use serde::Deserialize;

/// Whether what is refused is refused, or only reported.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Enforcement {
    /// Refused and reported.
    #[default]
    Enforce,
    /// Let through and reported as what would be refused.
    Audit,
}

/// How far pods are enforced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum PodMode {
    /// What is not registered is refused and reported.
    Enforce,
    /// What is not registered is let through and reported.
    Audit,
    /// Nothing is looked at.
    Off,
}

/// What the mode label of a pod may do, which the pod's author writes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum PodLabels {
    /// Nothing.
    Ignore,
    /// Make enforcement stricter than the namespace has it.
    #[default]
    Tighten,
    /// Anything.
    Honour,
}

/// What a pod with one of Istio's proxies may reach beside what its registry view declares.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Proxies {
    /// What its proxy dials for that: the endpoints of the services in the view, istiod, and what the mesh's
    /// configuration names.
    #[default]
    Endpoints,
    /// Nothing.
    None,
}

/// What becomes of a process below a root that belongs to no known workload.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum UnknownWorkloads {
    /// Everything is refused.
    #[default]
    Deny,
    /// Everything is let through and reported.
    Allow,
}

/// How close to Envoy the rules are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Matching {
    /// Only what is declared or resolved is allowed.
    #[default]
    Declared,
    /// Nothing is refused that Envoy could accept.
    Istio,
}

/// What UDP may do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Udp {
    /// What the registry allows.
    #[default]
    Registry,
    /// Everything, as with Istio's sidecars, which never see it.
    Allow,
    /// Questions to the resolvers, and nothing else.
    DnsOnly,
}

/// What a refused call returns.
///
/// The list is closed: `EAGAIN`, `EINPROGRESS` or `EINTR` would have programs wait or try again for ever.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum Errno {
    /// "Operation not permitted": also what kernels before 5.18 return, whatever is chosen.
    #[default]
    Eperm,
    /// "Permission denied".
    Eacces,
    /// "Connection refused": what clients retry like a server that is down.
    Econnrefused,
    /// "Network is unreachable".
    Enetunreach,
    /// "No route to host".
    Ehostunreach,
    /// "Connection timed out".
    Etimedout,
}

impl Errno {
    /// The kernel's number for it, positive.
    pub fn number(self) -> u32 {
        let number = match self {
            Self::Eperm => libc::EPERM,
            Self::Eacces => libc::EACCES,
            Self::Econnrefused => libc::ECONNREFUSED,
            Self::Enetunreach => libc::ENETUNREACH,
            Self::Ehostunreach => libc::EHOSTUNREACH,
            Self::Etimedout => libc::ETIMEDOUT,
        };
        number.unsigned_abs()
    }
}
