//! What CoreDNS answers beside the cluster's own names: its plugin `hosts`, in its own configuration.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    net::IpAddr,
};

use anyhow::{Context as _, Result, ensure};
use serde_json::json;

use super::Kind;
use crate::cluster::{Cluster as _, Names};

/// Where the plugins of the root zone begin in the configuration that kubeadm writes.
const ZONE: &str = ".:53 {\n";

/// Names that CoreDNS has.
#[derive(Debug)]
pub struct Corefile {
    names: BTreeMap<String, BTreeSet<IpAddr>>,
}

impl Corefile {
    /// Adds all of them at once, and has CoreDNS start again: by itself it sees a change after a minute.
    ///
    /// # Errors
    /// If it does not come up with them.
    pub fn write(kind: &Kind, names: BTreeMap<String, BTreeSet<IpAddr>>) -> Result<Self> {
        let of_coredns = ["-n", "kube-system"];
        let kubectl = |arguments: &[&str]| kind.kubectl(&[of_coredns.as_slice(), arguments].concat());
        let before = kubectl(&["get", "configmap", "coredns", "-o=jsonpath={.data.Corefile}"])?;
        let after = with_hosts(&before, &names)?;
        let patch = json!({ "data": { "Corefile": after } }).to_string();
        kubectl(&["patch", "configmap", "coredns", "--type=merge", "-p", &patch])?;
        kubectl(&["rollout", "restart", "deployment/coredns"])?;
        kubectl(&["rollout", "status", "deployment/coredns", "--timeout=150s"])?;
        Ok(Self { names })
    }
}

impl Names for Corefile {
    /// They were all written beforehand.
    fn resolve(&self, mark: &str, names: &BTreeMap<String, BTreeSet<IpAddr>>) -> Result<()> {
        let missing = names
            .iter()
            .find(|(name, addresses)| self.names.get(*name) != Some(addresses));
        ensure!(missing.is_none(), "CoreDNS was not told of {missing:?} of {mark}");
        Ok(())
    }
}

/// A Corefile with these names. The plugin's own time to live is an hour.
fn with_hosts(corefile: &str, names: &BTreeMap<String, BTreeSet<IpAddr>>) -> Result<String> {
    let (before, after) = corefile
        .split_once(ZONE)
        .context("the Corefile has no zone for everything")?;
    let mut hosts = String::from("    hosts {\n        ttl 5\n");
    for (name, addresses) in names {
        for address in addresses {
            writeln!(hosts, "        {address} {name}")?;
        }
    }
    hosts.push_str("        fallthrough\n    }\n");
    Ok(format!("{before}{ZONE}{hosts}{after}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_stand_in_the_zone_before_its_other_plugins() {
        let names = BTreeMap::from([(
            "db.example.com".to_owned(),
            BTreeSet::from(["192.0.2.7".parse().unwrap()]),
        )]);
        let written = with_hosts(".:53 {\n    errors\n}\n", &names).unwrap();
        let expected = ".:53 {\n    hosts {\n        ttl 5\n        192.0.2.7 db.example.com\n        fallthrough\n    }\n    \
                        errors\n}\n";
        assert_eq!(written, expected);
        with_hosts("example.com:53 {\n}\n", &names).unwrap_err();
    }
}
