//! The rules that depend on `resolution`: E15 to E32, W4 to W6.

use std::collections::BTreeSet;

use super::{LOCATIONS, Raw};
use crate::{
    istio::{
        name,
        node::{Choice, Findings},
        object::{Meta, Resolution},
    },
    model::Protocol,
};

/// `resolution`, by number.
pub(super) const RESOLUTIONS: [&str; 5] = ["NONE", "STATIC", "DNS", "DNS_ROUND_ROBIN", "DYNAMIC_DNS"];

/// `resolution` as written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RawResolution {
    Known(Resolution),
    Unknown,
}

impl RawResolution {
    pub(super) fn read(choice: &Choice<'_>) -> Self {
        match choice {
            Choice::Known(0) => Self::Known(Resolution::None),
            Choice::Known(1) => Self::Known(Resolution::Static),
            Choice::Known(2) => Self::Known(Resolution::Dns),
            Choice::Known(3) => Self::Known(Resolution::DnsRoundRobin),
            Choice::Known(4) => Self::Known(Resolution::DynamicDns),
            Choice::Known(_) | Choice::Unknown(_) => Self::Unknown,
        }
    }

    /// E8 does not hold for it.
    pub(super) fn accepts_networks(self) -> bool {
        matches!(self, Self::Known(Resolution::None | Resolution::Static))
    }

    /// What it is; an unknown one is an error and does not get as far as being used.
    pub(super) fn known(self) -> Resolution {
        match self {
            Self::Known(resolution) => resolution,
            Self::Unknown => Resolution::None,
        }
    }

    fn name(self) -> &'static str {
        match self.known() {
            Resolution::None => "NONE",
            Resolution::Static => "STATIC",
            Resolution::Dns => "DNS",
            Resolution::DnsRoundRobin => "DNS_ROUND_ROBIN",
            Resolution::DynamicDns => "DYNAMIC_DNS",
        }
    }
}

impl Raw<'_> {
    pub(super) fn check_resolution(&self, meta: &Meta, found: &mut Findings) {
        match self.resolution {
            RawResolution::Known(Resolution::None) => self.check_none(found),
            RawResolution::Known(Resolution::Static) => self.check_static(found),
            RawResolution::Known(Resolution::Dns | Resolution::DnsRoundRobin) => self.check_dns(found),
            RawResolution::Known(Resolution::DynamicDns) => self.check_dynamic_dns(meta, found),
            RawResolution::Unknown => {
                // E32.
                let at = self.spec.get("resolution");
                let written = at.value().as_str().unwrap_or_default();
                found.error(&at, format!("unsupported resolution type {written}"));
            }
        }
    }

    fn port_names(&self) -> BTreeSet<&str> {
        let ports = self.ports.iter();
        ports
            .filter_map(|(_, port)| Some(port.as_ref()?.name.value))
            .collect()
    }

    /// E15, W4.
    fn check_none(&self, found: &mut Findings) {
        if !self.endpoints.is_empty() {
            let at = self.spec.get("endpoints");
            found.error(&at, "no endpoints should be provided for resolution type none");
        }
        if let Some(selector) = &self.selector {
            let message = "workloadSelector should not be set when resolution mode is NONE";
            found.warning(&selector.at, message);
        }
    }

    /// E16 to E23, W5.
    fn check_static(&self, found: &mut Findings) {
        let names = self.port_names();
        for (at, endpoint) in &self.endpoints {
            match endpoint {
                Some(endpoint) => endpoint.check(Some(&names), found),
                None => found.error(at, "endpoint cannot be nil"),
            }
        }
    }

    /// E21 to E26, W6.
    fn check_dns(&self, found: &mut Findings) {
        if self.endpoints.is_empty() {
            let refused = self
                .hosts
                .iter()
                .find_map(|host| Some((host, name::check_domain(host.value).err()?)));
            if let Some((host, reason)) = refused {
                let mode = self.resolution.name();
                let message = format!(
                    "hosts must be FQDN or contain only prefix wildcards if no endpoints are provided for resolution mode {mode}, {reason}"
                );
                found.error(&host.at, message);
            }
        }
        if self.has_many_round_robin_endpoints() {
            let message = "there must only be 0 or 1 endpoint for resolution mode DNS_ROUND_ROBIN";
            found.error(&self.spec.get("endpoints"), message);
        }
        let names = self.port_names();
        for (at, endpoint) in &self.endpoints {
            match endpoint {
                Some(endpoint) => endpoint.check_for_dns(&names, found),
                None => found.error(at, "endpoint cannot be nil"),
            }
        }
        if !self.addresses.is_empty() {
            self.check_tcp_with_addresses(found);
        }
    }

    /// W6, and E9 once more.
    fn check_tcp_with_addresses(&self, found: &mut Findings) {
        for (at, port) in &self.ports {
            let Some(port) = port else {
                found.error(at, "ports cannot be nil");
                continue;
            };
            // What Istio's `IsTCP` holds for: TLS is among it, UDP and HTTP are not.
            let is_tcp = port
                .known_protocol()
                .is_some_and(|known| !known.is_http() && known != Protocol::Udp);
            if is_tcp {
                if self.hosts.len() > 1 {
                    let message = "service entry can not have more than one host specified simultaneously with address and tcp port";
                    found.warning(at, message);
                }
                return;
            }
        }
    }

    /// E25 and the CRD's rule.
    pub(super) fn has_many_round_robin_endpoints(&self) -> bool {
        self.resolution == RawResolution::Known(Resolution::DnsRoundRobin) && self.endpoints.len() > 1
    }

    /// E27 to E32.
    fn check_dynamic_dns(&self, meta: &Meta, found: &mut Findings) {
        let mode = self.resolution.name();
        if self.hosts.is_empty() {
            let message = format!("at least one wildcard host must be provided for resolution type {mode}");
            found.error(&self.spec.get("hosts"), message);
        }
        for host in self.hosts.iter().filter(|host| !host.starts_with('*')) {
            found.error(
                &host.at,
                format!("host must be wildcarded for resolution mode {mode}"),
            );
        }
        if !self.addresses.is_empty() {
            let message = format!(
                "addresses cannot be set for resolution type {mode}. HTTP route domains will only be generated from the hosts field values"
            );
            found.error(&self.spec.get("addresses"), message);
        }
        if !self.endpoints.is_empty() {
            let message = format!(
                "endpoints cannot be set for resolution type {mode}. Destination IP address determined from hosts field values"
            );
            found.error(&self.spec.get("endpoints"), message);
        }
        for (at, port) in &self.ports {
            let Some(port) = port else {
                found.error(at, "port cannot be nil");
                continue;
            };
            let known = port.known_protocol();
            if !matches!(
                known,
                Some(Protocol::Http | Protocol::Http2 | Protocol::Grpc | Protocol::Tls)
            ) {
                let message = format!(
                    "only HTTP, TLS, GRPC, and HTTP2 protocols are supported for resolution type {mode}"
                );
                found.error(&port.protocol.at, message);
            }
        }
        let at = self.spec.get("location");
        match self.location {
            Choice::Unknown(_) => {
                let message =
                    format!("location must be MESH_EXTERNAL or MESH_INTERNAL for resolution type {mode}");
                found.error(&at, message);
            }
            Choice::Known(index) if LOCATIONS[index] == "MESH_INTERNAL" && uses_waypoint(meta) => {
                let message = format!(
                    "location MESH_INTERNAL with resolution type {mode} is not supported when using waypoints"
                );
                found.error(&at, message);
            }
            Choice::Known(_) => {}
        }
    }
}

/// Whether the label asks for a waypoint (`usesWaypoint`).
fn uses_waypoint(meta: &Meta) -> bool {
    let waypoint = meta.labels.get("istio.io/use-waypoint");
    waypoint.is_some_and(|waypoint| !waypoint.is_empty() && !waypoint.eq_ignore_ascii_case("none"))
}
