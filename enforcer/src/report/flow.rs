//! One verdict, as it is reported.

use std::fmt;

use enforcer_common::{Reason, Verdict};
use enforcer_core::{model::Host, pods::PodName};
use std::net::SocketAddr;

use super::log::LogFormat;
use crate::datapath::{Cause, Decision};

/// A verdict with everything that is known about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flow {
    /// The result of the call.
    pub verdict: Verdict,
    /// `namespace/name`, or the cgroup of an unknown one.
    pub workload: String,
    /// Its namespace; None of an unknown one.
    pub namespace: Option<String>,
    /// Its pod, or container of one; None if it is no pod.
    pub pod: Option<PodName>,
    /// The process's name.
    pub process: String,
    /// Its id in the initial namespace.
    pub pid: u32,
    /// Its user in the initial namespace.
    pub uid: u32,
    /// `tcp`, `udp`, the number of another protocol, or the socket or option that was refused.
    pub protocol: String,
    /// The destination.
    pub destination: SocketAddr,
    /// The name for which the workload was given that address, if a program has seen the answer.
    pub name: Option<String>,
    /// Registered names of that address.
    pub hosts: Vec<Host>,
    /// Why.
    pub reason: String,
    /// The object that comes closest to allowing it, or that allows it.
    pub object: Option<String>,
    /// What would allow it.
    pub suggestion: Option<String>,
}

/// The part of a flow that comes from the kernel.
impl Flow {
    /// From a decision; the registry's part is filled in later.
    pub fn new(decision: &Decision, workload: String) -> Self {
        Self {
            verdict: decision.verdict,
            workload,
            namespace: None,
            pod: None,
            process: decision.process.clone(),
            pid: decision.pid,
            uid: decision.uid,
            protocol: decision.subject.to_string(),
            destination: SocketAddr::new(decision.address, decision.port),
            name: None,
            hosts: Vec::new(),
            reason: reason(decision.cause),
            object: None,
            suggestion: None,
        }
    }

    /// Writes it to the log. `again` is how often the same has happened since it was last written.
    pub fn write(&self, format: LogFormat, again: u64) {
        let more = if again > 0 {
            format!(" [{again} more since the last such line]")
        } else {
            String::new()
        };
        if format == LogFormat::Human {
            tracing::warn!("{self}{more}");
            return;
        }
        let host = self.host();
        let address = self.destination.ip().to_string();
        let Self {
            workload,
            namespace,
            process,
            pid,
            uid,
            protocol,
            reason,
            object,
            suggestion,
            ..
        } = self;
        let pod = self.pod.as_ref().map(|name| name.pod.as_str());
        let container = self.pod.as_ref().and_then(|name| name.container.as_deref());
        let (verdict, port) = (self.verdict_word(), self.destination.port());
        let (event, message) = match self.verdict {
            Verdict::Deny => ("flow_denied", "flow denied"),
            Verdict::Audit => ("flow_would_be_denied", "flow would be denied"),
            Verdict::Allow => ("flow_unregistered", "flow unregistered"),
        };
        let message = match format {
            LogFormat::Json => message.to_owned(),
            LogFormat::Human | LogFormat::Journal => format!("{self}{more}"),
        };
        tracing::warn!(
            event,
            verdict,
            workload,
            namespace,
            pod,
            container,
            process,
            pid,
            uid,
            protocol,
            address,
            port,
            host,
            reason,
            object,
            suggestion,
            again,
            "{message}"
        );
    }

    /// The name that the workload asked for, else a registered one of the address.
    pub fn host(&self) -> Option<&str> {
        self.name.as_deref().or(self.hosts.first().map(Host::as_str))
    }

    /// `api.example.com (192.0.2.10:443)` if the name is known for which the workload was given the address, else
    /// `192.0.2.10:443`, followed by its registered names if it has any.
    pub fn place(&self) -> String {
        let destination = self.destination;
        if let Some(name) = &self.name {
            return format!("{name} ({destination})");
        }
        let hosts: Vec<_> = self.hosts.iter().map(Host::as_str).collect();
        if hosts.is_empty() {
            destination.to_string()
        } else {
            format!("{destination} ({})", hosts.join(", "))
        }
    }

    fn verdict_word(&self) -> &'static str {
        match self.verdict {
            Verdict::Allow => "allow",
            Verdict::Deny => "deny",
            Verdict::Audit => "audit",
        }
    }
}

/// `denied frontend/web psql[12] -> tcp db.example.com (192.0.2.10:5432): reason; suggestion`
impl fmt::Display for Flow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = match self.verdict {
            Verdict::Allow => "unregistered",
            Verdict::Deny => "denied",
            Verdict::Audit => "would deny",
        };
        let Self {
            workload,
            process,
            pid,
            protocol,
            destination,
            reason,
            ..
        } = self;
        write!(f, "{word} {workload} {process}[{pid}] -> {protocol}")?;
        // A socket that was not created has no destination.
        if !destination.ip().is_unspecified() || destination.port() != 0 {
            write!(f, " {}", self.place())?;
        }
        write!(f, ": {reason}")?;
        match &self.suggestion {
            Some(suggestion) => write!(f, "; {suggestion}"),
            None => Ok(()),
        }
    }
}

fn reason(cause: Cause) -> String {
    let reason = match cause {
        Cause::Known(reason) => reason,
        Cause::Unknown(number) => {
            return format!(
                "the program gives reason {number}, which this version of the enforcer does not know"
            );
        }
    };
    match reason {
        Reason::UnknownWorkload => "its cgroup belongs to no configured workload",
        Reason::NoPolicy => "its workload has no policy in the kernel",
        Reason::SocketKind => {
            "the registry cannot control sockets of this kind, and the configuration does not allow \
             them (sockets)"
        }
        Reason::Reroute => "this socket option can send packets to another host than their destination",
        Reason::Headers => {
            "the packet has IP options or extension headers, which can send it to another host than \
             its destination"
        }
        Reason::Protocol => {
            "the registry cannot control packets of this protocol, and the configuration does not \
             allow them (sockets)"
        }
        Reason::Device => "its destination is this machine, but it would leave by a network device",
        Reason::Translated => "NAT translates a loopback address to this destination, which no rule allows",
        Reason::Resolver => {
            "it answers as a trusted resolver; if this workload is one, exclude it from enforcement, else remove the \
             address from dns.trustedResolvers"
        }
        Reason::NoRule
        | Reason::Loopback
        | Reason::Exact
        | Reason::Prefix
        | Reason::Port
        | Reason::Udp
        | Reason::NotEnforced
        | Reason::Own
        | Reason::Answer
        | Reason::Host => "no rule allows it",
    }
    .to_owned()
}
