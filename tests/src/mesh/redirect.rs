//! What Istio's init container does to the network of a pod (istio `tools/istio-iptables/pkg/capture/run.go`), without
//! what only its options ask for.

use super::PROXY;

/// Ways of redirection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Capture {
    /// Calls out and in, by NAT.
    #[default]
    Redirect,
    /// Calls in by TPROXY, so that the application sees who calls; calls out by NAT.
    Tproxy,
    /// As the first, and questions to name servers, which the proxy's agent answers on port 15053.
    Names,
}

impl Capture {
    /// A script for a shell with the machine's programs.
    pub(crate) fn script(self) -> String {
        let inbound = match self {
            Self::Tproxy => TPROXY,
            Self::Redirect | Self::Names => "",
        };
        let nat_inbound = match self {
            Self::Tproxy => "",
            Self::Redirect | Self::Names => "-A PREROUTING -p tcp -j MESH_IN\n",
        };
        let (names, zones) = match self {
            Self::Names => (NAMES, ZONES),
            Self::Redirect | Self::Tproxy => ("", ""),
        };
        let rules = format!("{NAT}{nat_inbound}{OUT}{names}{REST}COMMIT\n{inbound}{zones}");
        let rules = rules.replace("USER", &PROXY.to_string());
        let route = match self {
            Self::Tproxy => {
                "ip rule add fwmark 1337 lookup 133 && ip route add local 0.0.0.0/0 dev lo table 133 && "
            }
            Self::Redirect | Self::Names => "",
        };
        format!("{route}iptables-restore <<'END'\n{rules}END\n")
    }
}

/// Ports of the agent and of Envoy itself are not redirected.
const NAT: &str = "*nat
:MESH_IN - [0:0]
:MESH_OUT - [0:0]
-A MESH_IN -p tcp -m multiport --dports 15008,15020,15021,15090 -j RETURN
-A MESH_IN -p tcp -j REDIRECT --to-ports 15006
";

/// The proxy is told from the application by its user and group alone. From 127.0.0.6 it passes on what has come in.
const OUT: &str = "-A OUTPUT -j MESH_OUT
-A MESH_OUT -s 127.0.0.6/32 -o lo -j RETURN
-A MESH_OUT ! -d 127.0.0.1/32 -o lo -p tcp ! --dport 15008 -m owner --uid-owner USER -j MESH_IN
-A MESH_OUT -o lo -p tcp ! --dport 53 -m owner ! --uid-owner USER -j RETURN
-A MESH_OUT -m owner --uid-owner USER -j RETURN
-A MESH_OUT -m owner --gid-owner USER -j RETURN
";

const NAMES: &str = "-A MESH_OUT -p udp --dport 53 -j REDIRECT --to-ports 15053
-A MESH_OUT -p tcp --dport 53 -j REDIRECT --to-ports 15053
";

const REST: &str = "-A MESH_OUT -d 127.0.0.1/32 -j RETURN
-A MESH_OUT -p tcp -j REDIRECT --to-ports 15001
";

/// The agent's own questions are kept apart from those that it answers.
const ZONES: &str = "*raw
-A OUTPUT -p udp --dport 53 -m owner --uid-owner USER -j CT --zone 1
-A OUTPUT -p udp --sport 15053 -m owner --uid-owner USER -j CT --zone 2
-A OUTPUT -p udp --dport 53 -m owner ! --uid-owner USER -j CT --zone 2
-A PREROUTING -p udp --sport 53 -j CT --zone 1
COMMIT
";

const TPROXY: &str = "*mangle
:MESH_DIVERT - [0:0]
:MESH_IN - [0:0]
-A MESH_DIVERT -j MARK --set-mark 1337
-A MESH_DIVERT -j ACCEPT
-A PREROUTING -p tcp -j MESH_IN
-A MESH_IN -p tcp -m mark --mark 1337 -j RETURN
-A MESH_IN -p tcp -s 127.0.0.6/32 -i lo -j RETURN
-A MESH_IN -p tcp -i lo -m mark ! --mark 1338 -j RETURN
-A MESH_IN -p tcp -m multiport --dports 15008,15020,15021,15090 -j RETURN
-A MESH_IN -p tcp -m conntrack --ctstate RELATED,ESTABLISHED -j MESH_DIVERT
-A MESH_IN ! -d 127.0.0.1/32 -p tcp -j TPROXY --on-port 15006 --tproxy-mark 1337
-A PREROUTING -p tcp -m mark --mark 1337 -j CONNMARK --save-mark
-A OUTPUT -p tcp -o lo -m mark --mark 1337 -j RETURN
-A OUTPUT ! -d 127.0.0.1/32 -p tcp -o lo -m owner --gid-owner USER -j MARK --set-mark 1338
-A OUTPUT -p tcp -m connmark --mark 1337 -j CONNMARK --restore-mark
COMMIT
";
