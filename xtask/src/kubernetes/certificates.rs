//! Certificates and kubeconfig files of one cluster, signed by an authority of its own.

use std::{fs, os::unix::fs::PermissionsExt, path::PathBuf};

use anyhow::{Context as _, Result};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType, ExtendedKeyUsagePurpose,
    IsCa, KeyPair, KeyUsagePurpose,
};
use serde_json::json;

/// The one node's name and address.
pub(super) const NODE: &str = "node1";
pub(super) const NODE_ADDRESS: &str = "172.31.0.2";

/// What the API server is called, by programs on the machine, on the node and in pods.
const SERVER_NAMES: [&str; 7] = [
    "127.0.0.1",
    NODE_ADDRESS,
    "10.96.0.1",
    "localhost",
    "kubernetes",
    "kubernetes.default",
    "kubernetes.default.svc",
];

/// Somebody who asks the API server: a file's name, the user, and the group that gives rights.
struct User {
    file: &'static str,
    name: &'static str,
    group: Option<&'static str>,
}

const fn user(file: &'static str, name: &'static str, group: Option<&'static str>) -> User {
    User { file, name, group }
}

const MASTERS: Option<&str> = Some("system:masters");

const USERS: [User; 6] = [
    user("admin", "admin", MASTERS),
    // The API server itself, when it asks the kubelet.
    user("apiserver-client", "kube-apiserver-kubelet-client", MASTERS),
    // It signs tokens and makes roles, for which its own role does not suffice without separate accounts.
    user("controller-manager", "system:kube-controller-manager", MASTERS),
    user("scheduler", "system:kube-scheduler", None),
    user("proxy", "system:kube-proxy", None),
    user("kubelet", "system:node:node1", Some("system:nodes")),
];

/// The folder with them.
#[derive(Clone, Debug)]
pub(super) struct Certificates(PathBuf);

impl Certificates {
    /// Where they are.
    pub(super) fn at(folder: PathBuf) -> Self {
        Self(folder)
    }

    /// Makes all of them anew, for an API server at this address.
    pub(super) fn make(&self, server: &str) -> Result<()> {
        super::folder::remove(&self.0)?;
        fs::create_dir_all(&self.0).with_context(|| format!("creating {}", self.0.display()))?;
        // Whoever reads the keys in it is the cluster's administrator.
        fs::set_permissions(&self.0, PermissionsExt::from_mode(0o700))?;
        let authority = authority()?;
        self.write("ca.crt", &authority.pem())?;
        self.write("ca.key", &authority.key().serialize_pem())?;
        let server_auth = ExtendedKeyUsagePurpose::ServerAuth;
        for (file, names) in [
            ("apiserver", SERVER_NAMES.as_slice()),
            ("kubelet-server", &[NODE, NODE_ADDRESS]),
        ] {
            let names: Vec<_> = names.iter().map(|&name| name.to_owned()).collect();
            let params = CertificateParams::new(names).context("naming a server")?;
            self.issue(&authority, &user(file, file, None), (params, server_auth.clone()))?;
        }
        for user in &USERS {
            let usage = (CertificateParams::default(), ExtendedKeyUsagePurpose::ClientAuth);
            self.issue(&authority, user, usage)?;
            self.write(
                &format!("{}.kubeconfig", user.file),
                &kubeconfig(user.file, server),
            )?;
        }
        // The pair that signs the tokens of ServiceAccounts.
        let tokens = KeyPair::generate().context("making a key")?;
        self.write("sa.key", &tokens.serialize_pem())?;
        self.write("sa.pub", &tokens.public_key_pem())
    }

    /// The path of one of them.
    pub(super) fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// The path of one of them, as an argument.
    pub(super) fn path(&self, name: &str) -> String {
        self.file(name).display().to_string()
    }

    fn issue(
        &self,
        authority: &CertifiedIssuer<'_, KeyPair>,
        user: &User,
        (mut params, usage): (CertificateParams, ExtendedKeyUsagePurpose),
    ) -> Result<()> {
        params.distinguished_name = distinguished(user);
        params.is_ca = IsCa::ExplicitNoCa;
        params.extended_key_usages = vec![usage];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.use_authority_key_identifier_extension = true;
        let key = KeyPair::generate().context("making a key")?;
        let certificate = params
            .signed_by(&key, authority)
            .context("signing a certificate")?;
        self.write(&format!("{}.crt", user.file), &certificate.pem())?;
        self.write(&format!("{}.key", user.file), &key.serialize_pem())
    }

    fn write(&self, name: &str, text: &str) -> Result<()> {
        fs::write(self.0.join(name), text).with_context(|| format!("writing {name}"))
    }
}

fn authority() -> Result<CertifiedIssuer<'static, KeyPair>> {
    let mut params = CertificateParams::default();
    params.distinguished_name = distinguished(&user("", "tests", None));
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let key = KeyPair::generate().context("making a key")?;
    CertifiedIssuer::self_signed(params, key).context("making an authority")
}

fn distinguished(user: &User) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    if let Some(group) = user.group {
        name.push(DnType::OrganizationName, group);
    }
    name.push(DnType::CommonName, user.name);
    name
}

/// The configuration of a user's client, which lies beside the files that it names.
pub(super) fn kubeconfig(file: &str, server: &str) -> String {
    kubeconfig_beside("", file, server)
}

/// The same, in another folder: `beside` leads to the certificates.
pub(super) fn kubeconfig_beside(beside: &str, file: &str, server: &str) -> String {
    let path = |ending: &str| format!("{beside}{ending}");
    let cluster = json!({ "server": server, "certificate-authority": path("ca.crt") });
    let user = json!({
        "client-certificate": path(&format!("{file}.crt")),
        "client-key": path(&format!("{file}.key")),
    });
    let config = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "test",
        "contexts": [{ "name": "test", "context": { "cluster": "test", "user": file } }],
        "clusters": [{ "name": "test", "cluster": cluster }],
        "users": [{ "name": file, "user": user }],
    });
    format!("{config:#}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_that_a_client_needs_is_beside_its_configuration() {
        let temporary = tempfile::tempdir().unwrap();
        let certificates = Certificates::at(temporary.path().join("certificates"));
        certificates.make("https://127.0.0.1:1").unwrap();
        for user in &USERS {
            let text = fs::read(certificates.file(&format!("{}.kubeconfig", user.file))).unwrap();
            let config: serde_json::Value = serde_json::from_slice(&text).unwrap();
            let credentials = &config["users"][0]["user"];
            let authority = &config["clusters"][0]["cluster"]["certificate-authority"];
            for file in [
                &credentials["client-certificate"],
                &credentials["client-key"],
                authority,
            ] {
                let pem = fs::read_to_string(certificates.file(file.as_str().unwrap())).unwrap();
                assert!(pem.starts_with("-----BEGIN "), "{file}");
            }
        }
    }
}
