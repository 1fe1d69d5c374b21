//! The name servers that clients ask: each at an IPv4 address and at an IPv6 address of the clients' side, port 53.

use std::{
    fs,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    path::Path,
};

use anyhow::Result;

use super::names;
use crate::{
    fixture::TestCgroup,
    servers::{
        dns,
        networks::Networks,
        program::{Program, Server},
    },
};

/// A kind of name server.
pub(super) struct Kind {
    pub(super) name: &'static str,
    pub(super) v4: Ipv4Addr,
    pub(super) v6: Ipv6Addr,
    arguments: fn(&Self, &Path, u32) -> Result<Vec<String>>,
}

/// All.
pub(super) const KINDS: [Kind; 2] = [
    Kind {
        name: "dnsmasq",
        v4: crate::servers::networks::UPSTREAM4,
        v6: Ipv6Addr::new(0xfd78, 0, 0, 0, 0, 0, 0, 0x53),
        arguments: dnsmasq,
    },
    Kind {
        name: "unbound",
        v4: Ipv4Addr::new(198, 18, 8, 54),
        v6: Ipv6Addr::new(0xfd78, 0, 0, 0, 0, 0, 0, 0x54),
        arguments: unbound,
    },
];

impl Kind {
    pub(super) fn addresses(&self) -> [IpAddr; 2] {
        [self.v4.into(), self.v6.into()]
    }

    /// Starts it outside what is enforced, and waits until it answers; `None` where there is no such program.
    pub(super) fn start(
        &self,
        networks: &Networks,
        (outside, folder): (&TestCgroup, &Path),
        total: u32,
    ) -> Result<Option<Server>> {
        let Some(program) = Program::find(self.name) else {
            return Ok(None);
        };
        let arguments = (self.arguments)(self, folder, total)?;
        let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
        let log = folder.join(format!("{}.log", self.name));
        let mut server = networks.here_at_client(|| program.start(outside.folder(), &log, &arguments))?;
        let record = (names::CONTROL, names::control());
        server.until("answer", || {
            Ok(dns::ask(networks, (self.v4, 53).into(), record).is_ok())
        })?;
        Ok(Some(server))
    }
}

fn dnsmasq(kind: &Kind, folder: &Path, total: u32) -> Result<Vec<String>> {
    let hosts = folder.join("dnsmasq.hosts");
    fs::write(&hosts, names::hosts(total))?;
    let mut arguments = [
        "--keep-in-foreground",
        "--conf-file=/dev/null",
        "--no-resolv",
        "--no-hosts",
        "--user=root",
        "--pid-file=",
        "--bind-interfaces",
        "--local=/#/",
    ]
    .map(str::to_owned)
    .to_vec();
    arguments.push(format!("--addn-hosts={}", hosts.display()));
    arguments.extend(
        kind.addresses()
            .map(|address| format!("--listen-address={address}")),
    );
    Ok(arguments)
}

fn unbound(kind: &Kind, folder: &Path, total: u32) -> Result<Vec<String>> {
    let text = format!(
        "server:\n interface: {}\n interface: {}\n username: \"\"\n chroot: \"\"\n pidfile: \"\"\n directory: \"/\"\n \
         use-syslog: no\n do-daemonize: no\n module-config: \"iterator\"\n access-control: 0.0.0.0/0 allow\n \
         access-control: ::/0 allow\n local-zone: \"example.com.\" static\n local-zone: \"example.org.\" static\n{}\
         remote-control:\n control-enable: no\n",
        kind.v4,
        kind.v6,
        names::local_data(total)
    );
    let config = folder.join("unbound.conf");
    fs::write(&config, text)?;
    Ok(["-d", "-p", "-c", &config.display().to_string()]
        .map(str::to_owned)
        .to_vec())
}
