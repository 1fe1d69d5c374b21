//! The types of the domain.
//!
//! `Namespace, Labels -> Workload`, `Host, Port, Protocol -> what a service offers`, `Destination -> Verdict`.

use std::{
    borrow::Borrow,
    collections::BTreeMap,
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    sync::Arc,
};

use enforcer_common::Address;

pub use enforcer_common::{CgroupId, Mode, Reason, Transport, Verdict};

/// Name of a Kubernetes namespace.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Namespace(Arc<str>);

impl Namespace {
    /// The namespace of a document that names none.
    pub const DEFAULT: &'static str = "default";

    /// Does not check the name; documents are validated when they are read.
    pub fn new(name: &str) -> Self {
        Self(name.into())
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Borrow<str> for Namespace {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Namespace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Labels of a workload, a namespace or a selector, in order of their keys.
pub type Labels = BTreeMap<String, String>;

/// Whether every label of `selector` is among `labels`; an empty selector selects everything.
pub fn selects(selector: &Labels, labels: &Labels) -> bool {
    selector.iter().all(|(key, value)| labels.get(key) == Some(value))
}

/// A host name as a ServiceEntry or a Sidecar writes it, in lower case and without a trailing dot. It may be a
/// wildcard: `*` or `*.` and a suffix.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Host(Arc<str>);

impl Host {
    /// Converts `name` to the form in which names are compared.
    pub fn new(name: &str) -> Self {
        let name = name.strip_suffix('.').unwrap_or(name);
        Self(name.to_ascii_lowercase().into())
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it matches many names.
    pub fn is_wildcard(&self) -> bool {
        self.0.starts_with('*')
    }

    /// Whether `self` matches every name that `other` matches: Istio's `host.Name.SubsetOf` with the sides
    /// exchanged (`pkg/config/host/name.go`). `*.a` covers `b.a` and `*.b.a`, not `a`.
    pub fn covers(&self, other: &Self) -> bool {
        match self.0.strip_prefix('*') {
            None => self == other,
            Some(suffix) => {
                let name = other.0.strip_prefix('*').unwrap_or(&other.0);
                if other.is_wildcard() {
                    name.ends_with(suffix)
                } else {
                    name.len() > suffix.len() && name.ends_with(suffix)
                }
            }
        }
    }
}

impl Host {
    /// Every host that covers this one: itself and, of a name, the wildcards over it.
    pub fn covering(&self) -> Vec<Self> {
        let name = self.as_str();
        let ends = name.char_indices().map(|(at, _)| at).chain([name.len()]).skip(1);
        let wildcards = ends.map(|at| Self(format!("*{}", &name[at..]).into()));
        let wildcards = wildcards.filter(|_| !self.is_wildcard());
        [self.clone()].into_iter().chain(wildcards).collect()
    }
}

impl Borrow<str> for Host {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Application protocol of a port, as far as Istio tells protocols apart (`pkg/config/protocol/instance.go`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Protocol {
    /// HTTP/1.
    Http,
    /// HTTP/2.
    Http2,
    /// gRPC.
    Grpc,
    /// gRPC-Web.
    GrpcWeb,
    /// An explicit HTTP proxy.
    HttpProxy,
    /// HTTPS, routed by SNI.
    Https,
    /// TLS, routed by SNI.
    Tls,
    /// Any bytes over TCP.
    Tcp,
    /// MongoDB over TCP.
    Mongo,
    /// Redis over TCP.
    Redis,
    /// MySQL over TCP.
    Mysql,
    /// UDP.
    Udp,
    /// Not declared: Istio sniffs the protocol.
    Auto,
}

impl Protocol {
    /// Whether requests name their host in plain text.
    pub fn is_http(self) -> bool {
        matches!(
            self,
            Self::Http | Self::Http2 | Self::Grpc | Self::GrpcWeb | Self::HttpProxy
        )
    }

    /// Whether connections name their host by SNI.
    pub fn is_tls(self) -> bool {
        matches!(self, Self::Https | Self::Tls)
    }

    /// What carries it.
    pub fn transport(self) -> Transport {
        if self == Self::Udp {
            Transport::Udp
        } else {
            Transport::Tcp
        }
    }
}

/// A process group that is enforced: the processes of one cgroup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Workload {
    /// The namespace whose view it has.
    pub namespace: Namespace,
    /// Its name in messages, unique within the namespace.
    pub name: String,
    /// What Sidecars and entries select it by.
    pub labels: Labels,
    /// Its enforcement mode; None: that of the settings.
    pub enforcement: Option<Enforcement>,
    /// Its own addresses.
    pub own: OwnAddresses,
    /// Whether it is given the resolvers of the node.
    pub asks_node: bool,
    /// Whether a proxy dials what stands behind the services that it sees.
    pub has_proxy: bool,
    /// Whether it is a gateway or a waypoint, to which Istio applies no Sidecar.
    pub is_gateway: bool,
}

impl Workload {
    /// A workload that is enforced as the settings say, and has no address of its own.
    pub fn new(namespace: Namespace, name: &str, labels: Labels) -> Self {
        Self {
            namespace,
            name: name.to_owned(),
            labels,
            enforcement: None,
            own: OwnAddresses::default(),
            asks_node: false,
            has_proxy: false,
            is_gateway: false,
        }
    }
}

/// How REGISTRY_ONLY is enforced for a workload, from the loosest to the strictest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Enforcement {
    /// Nothing is checked.
    Off,
    /// What is not registered is let through and reported.
    Audit,
    /// What is not registered is refused.
    Enforce,
}

impl Enforcement {
    /// The label of namespaces and pods that sets it.
    pub const LABEL: &str = "enforcer.dev/mode";

    /// What a value of the label sets. One that is not valid is a mistake, which must not weaken anything, whatever was meant:
    /// it sets the strictest.
    pub fn of_label(value: &str) -> Self {
        Self::parse(value).unwrap_or(Self::Enforce)
    }

    /// Parses a value of the label; None if it is not valid.
    pub fn parse(value: &str) -> Option<Self> {
        match value {
            "off" => Some(Self::Off),
            "audit" => Some(Self::Audit),
            "enforce" => Some(Self::Enforce),
            _ => None,
        }
    }
}

/// `off`, `audit` or `enforce`, as in labels.
impl fmt::Display for Enforcement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Off => "off",
            Self::Audit => "audit",
            Self::Enforce => "enforce",
        })
    }
}

/// The addresses that are a workload's own, one of each family at most: a pod has no more. It reaches them on every
/// port, because Istio captures nothing that a pod sends to itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OwnAddresses {
    /// Its IPv4 address.
    pub v4: Option<Ipv4Addr>,
    /// Its IPv6 address.
    pub v6: Option<Ipv6Addr>,
}

impl OwnAddresses {
    /// Whether `address`, not IPv4-mapped, is one of them.
    pub fn contains(&self, address: IpAddr) -> bool {
        match address {
            IpAddr::V4(v4) => self.v4 == Some(v4),
            IpAddr::V6(v6) => self.v6 == Some(v6),
        }
    }
}

/// The first of each family. Addresses that reach many hosts or none are skipped.
impl FromIterator<IpAddr> for OwnAddresses {
    fn from_iter<I: IntoIterator<Item = IpAddr>>(addresses: I) -> Self {
        let mut own = Self::default();
        for address in addresses {
            match address.to_canonical() {
                it if it.is_unspecified() || it.is_multicast() => {}
                IpAddr::V4(v4) => {
                    own.v4.get_or_insert(v4);
                }
                IpAddr::V6(v6) => {
                    own.v6.get_or_insert(v6);
                }
            }
        }
        own
    }
}

/// The form in a binding in the kernel.
impl From<OwnAddresses> for [Address; 2] {
    fn from(own: OwnAddresses) -> Self {
        let address = |one: Option<IpAddr>| one.map_or(Address::UNSPECIFIED, Address::from);
        [address(own.v4.map(IpAddr::V4)), address(own.v6.map(IpAddr::V6))]
    }
}

impl fmt::Display for Workload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// Where a socket wants to go. An IPv4-mapped address is the IPv4 address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Destination {
    /// What carries it.
    pub transport: Transport,
    /// The address dialled.
    pub address: IpAddr,
    /// The port dialled.
    pub port: u16,
}

impl Destination {
    /// Turns an IPv4-mapped address into the IPv4 address.
    pub fn new(transport: Transport, address: IpAddr, port: u16) -> Self {
        Self {
            transport,
            address: address.to_canonical(),
            port,
        }
    }
}

impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let transport = match self.transport {
            Transport::Tcp => "tcp",
            Transport::Udp => "udp",
        };
        write!(
            f,
            "{transport} {}",
            std::net::SocketAddr::new(self.address, self.port)
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn covers(pattern: &str, name: &str) -> bool {
        Host::new(pattern).covers(&Host::new(name))
    }

    #[test]
    fn wildcard_covers_names_of_any_depth_but_not_its_apex() {
        assert!(covers("*.foo.com", "a.foo.com"));
        assert!(covers("*.foo.com", "b.a.foo.com"));
        assert!(covers("*.foo.com", "*.a.foo.com"));
        assert!(covers("*.foo.com", "*.foo.com"));
        assert!(!covers("*.foo.com", "foo.com"));
        assert!(!covers("*.foo.com", "evilfoo.com"));
        assert!(!covers("*.a.foo.com", "*.foo.com"));
        assert!(!covers("a.foo.com", "*.foo.com"));
        assert!(covers("*", "anything"));
    }

    #[test]
    fn hosts_that_cover_a_name_are_all_of_them() {
        let name = Host::new("ab.c");
        let covering = name.covering();
        let texts: Vec<_> = covering.iter().map(Host::as_str).collect();
        assert_eq!(texts, ["ab.c", "*b.c", "*.c", "*c", "*"]);
        assert!(covering.iter().all(|host| host.covers(&name)));
        assert!(!Host::new("*ab.c").covers(&name));
        assert_eq!(Host::new("*.c").covering(), [Host::new("*.c")]);
    }

    #[test]
    fn names_are_compared_without_case_and_trailing_dot() {
        assert_eq!(Host::new("DB.Example.com."), Host::new("db.example.com"));
    }

    #[test]
    fn empty_selector_selects_everything() {
        assert!(selects(
            &Labels::new(),
            &Labels::from([("app".into(), "web".into())])
        ));
        assert!(!selects(
            &Labels::from([("app".into(), "web".into())]),
            &Labels::new()
        ));
    }
}
