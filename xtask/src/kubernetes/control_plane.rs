//! How etcd and kube-apiserver are started, alone or on a node.

use std::net::Ipv4Addr;

use super::certificates::Certificates;

/// Where the two are.
pub(super) struct ControlPlane<'a> {
    /// Where the API server listens.
    pub(super) address: Ipv4Addr,
    pub(super) port: u16,
    /// etcd's ports on loopback, for clients and for other members, of which there are none.
    pub(super) etcd: [u16; 2],
    /// etcd's data.
    pub(super) data: String,
    pub(super) certificates: &'a Certificates,
}

impl ControlPlane<'_> {
    /// The address of the API server.
    pub(super) fn server(&self) -> String {
        format!("https://{}:{}", self.address, self.port)
    }

    /// etcd's arguments.
    pub(super) fn etcd(&self) -> Vec<String> {
        let [clients, members] = self.etcd.map(|port| format!("http://127.0.0.1:{port}"));
        vec![
            format!("--data-dir={}", self.data),
            format!("--listen-client-urls={clients}"),
            format!("--advertise-client-urls={clients}"),
            format!("--listen-peer-urls={members}"),
            format!("--initial-advertise-peer-urls={members}"),
            format!("--initial-cluster=default={members}"),
            // What it holds is gone after the test anyway.
            "--unsafe-no-fsync".into(),
        ]
    }

    /// kube-apiserver's arguments.
    pub(super) fn apiserver(&self) -> Vec<String> {
        let Self { address, port, .. } = self;
        let mut arguments = vec![
            format!("--etcd-servers=http://127.0.0.1:{}", self.etcd[0]),
            format!("--bind-address={address}"),
            format!("--advertise-address={address}"),
            format!("--secure-port={port}"),
            "--authorization-mode=Node,RBAC".into(),
            "--allow-privileged=true".into(),
            "--service-cluster-ip-range=10.96.0.0/16".into(),
            "--service-account-issuer=https://kubernetes.default.svc".into(),
            "--kubelet-preferred-address-types=InternalIP".into(),
        ];
        let files = [
            ("client-ca-file", "ca.crt"),
            ("tls-cert-file", "apiserver.crt"),
            ("tls-private-key-file", "apiserver.key"),
            ("service-account-key-file", "sa.pub"),
            ("service-account-signing-key-file", "sa.key"),
            ("kubelet-certificate-authority", "ca.crt"),
            ("kubelet-client-certificate", "apiserver-client.crt"),
            ("kubelet-client-key", "apiserver-client.key"),
        ];
        let files = files.map(|(flag, file)| format!("--{flag}={}", self.certificates.path(file)));
        arguments.extend(files);
        arguments
    }
}
