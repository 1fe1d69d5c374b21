//! `ingress[].tls` (`validateTLSOptions` with what a Sidecar takes of it).

use std::collections::BTreeSet;

use crate::istio::{
    node::{Findings, Item, Node},
    port::RawPort,
};

/// `mode`, by number.
const MODES: [&str; 6] = [
    "PASSTHROUGH",
    "SIMPLE",
    "MUTUAL",
    "AUTO_PASSTHROUGH",
    "ISTIO_MUTUAL",
    "OPTIONAL_MUTUAL",
];
/// `minProtocolVersion`, by number.
const VERSIONS: [&str; 5] = ["TLS_AUTO", "TLSV1_0", "TLSV1_1", "TLSV1_2", "TLSV1_3"];
/// Cipher suites that Envoy can be given (`pkg/config/security/security.go`).
const CIPHER_SUITES: [&str; 15] = [
    "ECDHE-ECDSA-AES128-GCM-SHA256",
    "ECDHE-RSA-AES128-GCM-SHA256",
    "ECDHE-ECDSA-AES256-GCM-SHA384",
    "ECDHE-RSA-AES256-GCM-SHA384",
    "ECDHE-ECDSA-CHACHA20-POLY1305",
    "ECDHE-RSA-CHACHA20-POLY1305",
    "ECDHE-ECDSA-AES128-SHA",
    "ECDHE-RSA-AES128-SHA",
    "ECDHE-ECDSA-AES256-SHA",
    "ECDHE-RSA-AES256-SHA",
    "AES128-GCM-SHA256",
    "AES256-GCM-SHA384",
    "AES128-SHA",
    "AES256-SHA",
    "DES-CBC3-SHA",
];

/// The settings as written.
struct Tls<'a> {
    at: Node<'a>,
    mode: &'static str,
    server_certificate: &'a str,
    private_key: &'a str,
    ca_certificates: &'a str,
    ca_crl: &'a str,
    credential_name: &'a str,
    credential_names: Vec<Item<'a, &'a str>>,
    certificates: Vec<Node<'a>>,
    cipher_suites: Vec<Item<'a, &'a str>>,
}

pub(super) fn check(at: &Node<'_>, port: &RawPort<'_>, found: &mut Findings) {
    if !at.is_mapping(found) {
        return;
    }
    let tls = Tls::read(at, found);
    tls.check_for_sidecar(port, found);
    tls.check_suites(found);
    tls.check_sources(found);
    tls.check_schema(found);
}

impl<'a> Tls<'a> {
    fn read(at: &Node<'a>, found: &mut Findings) -> Self {
        for key in ["verifyCertificateSpki", "verifyCertificateHash", "ecdhCurves"] {
            at.get(key).texts(found);
        }
        at.get("maxProtocolVersion").choice(found, &VERSIONS);
        at.get("caCertCredentialName").text(found);
        at.get("insecureSkipVerify").flag(found);
        Self {
            mode: MODES[at.get("mode").choice(found, &MODES).or_first()],
            server_certificate: at.get("serverCertificate").text(found),
            private_key: at.get("privateKey").text(found),
            ca_certificates: at.get("caCertificates").text(found),
            ca_crl: at.get("caCrl").text(found),
            credential_name: at.get("credentialName").text(found),
            credential_names: at.get("credentialNames").texts(found),
            certificates: at.get("tlsCertificates").list(found),
            cipher_suites: at.get("cipherSuites").texts(found),
            at: at.clone(),
        }
    }

    fn check_for_sidecar(&self, port: &RawPort<'_>, found: &mut Findings) {
        let names = self.at.get("subjectAltNames");
        let refused = [
            (
                !names.texts(found).is_empty(),
                "subjectAltNames",
                "sidecar: subjectAltNames is not supported in ingress tls",
            ),
            (
                self.at.get("httpsRedirect").flag(found),
                "httpsRedirect",
                "sidecar: httpsRedirect is not supported",
            ),
            (
                !self.credential_name.is_empty(),
                "credentialName",
                "sidecar: credentialName is not currently supported",
            ),
            (
                !self.credential_names.is_empty(),
                "credentialNames",
                "sidecar: credentialNames is not currently supported",
            ),
            (
                !self.certificates.is_empty(),
                "tlsCertificates",
                "sidecar: tls_certificates is not currently supported",
            ),
        ];
        for (is_set, key, message) in refused {
            if is_set {
                found.error(&self.at.get(key), message);
            }
        }
        if matches!(self.mode, "ISTIO_MUTUAL" | "AUTO_PASSTHROUGH") {
            let message = format!(
                "configuration is invalid: cannot set mode to {} in sidecar ingress tls",
                self.mode
            );
            found.error(&self.at.get("mode"), message);
        }
        if !port.known_protocol().is_some_and(crate::model::Protocol::is_tls) {
            found.error(
                &self.at,
                "server cannot have TLS settings for non HTTPS/TLS ports",
            );
        }
    }

    fn check_suites(&self, found: &mut Findings) {
        let version = VERSIONS[self
            .at
            .get("minProtocolVersion")
            .choice(found, &VERSIONS)
            .or_first()];
        if matches!(version, "TLSV1_0" | "TLSV1_1") && self.cipher_suites.is_empty() {
            let message = "TLS version below TLSV1_2 require setting compatible ciphers as by default they no longer include compatible ciphers.";
            found.warning(&self.at, message);
        }
        let (mut valid, mut invalid, mut duplicate) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
        for suite in &self.cipher_suites {
            if !is_cipher_suite(suite.value) {
                invalid.insert(suite.value);
            } else if !valid.insert(suite.value) {
                duplicate.insert(suite.value);
            }
        }
        for (which, suites) in [("invalid", invalid), ("duplicate", duplicate)] {
            if !suites.is_empty() {
                let suites = suites.into_iter().collect::<Vec<_>>().join(" ");
                let at = self.at.get("cipherSuites");
                found.warning(&at, format!("ignoring {which} cipher suites: [{suites}]"));
            }
        }
    }

    fn check_sources(&self, found: &mut Findings) {
        if self.mode == "ISTIO_MUTUAL" {
            return self.check_istio_mutual(found);
        }
        let names_certificates = !self.credential_name.is_empty() || !self.credential_names.is_empty();
        let has_any = [
            self.ca_crl,
            self.server_certificate,
            self.private_key,
            self.ca_certificates,
        ]
        .iter()
        .any(|text| !text.is_empty());
        if matches!(self.mode, "PASSTHROUGH" | "AUTO_PASSTHROUGH")
            && (has_any || names_certificates || !self.certificates.is_empty())
        {
            let message = format!(
                "{} mode does not use certificates, they will be ignored",
                self.mode
            );
            found.warning(&self.at, message);
        }
        let sources = [
            !self.server_certificate.is_empty() && !self.private_key.is_empty(),
            !self.credential_name.is_empty(),
            !self.credential_names.is_empty(),
            !self.certificates.is_empty(),
        ];
        if sources.into_iter().filter(|is_used| *is_used).count() > 1 {
            let message = "only one of credential_name, credential_names, server_certificate/private_key, tls_certificates should be specified";
            found.error(&self.at, message);
        }
        if matches!(self.mode, "SIMPLE" | "MUTUAL" | "OPTIONAL_MUTUAL") {
            if names_certificates {
                return;
            }
            self.check_certificates(found);
        }
        if !self.ca_crl.is_empty() {
            let at = self.at.get("caCrl");
            if !self.credential_name.is_empty() {
                let message =
                    "CRL is not supported with credentialName. CRL has to be specified in the credential";
                found.error(&at, message);
            }
            if self.mode == "SIMPLE" {
                found.error(&at, "CRL is not supported with SIMPLE TLS");
            }
        }
    }

    fn check_istio_mutual(&self, found: &mut Findings) {
        for (is_set, what) in [
            (!self.server_certificate.is_empty(), "server certificate"),
            (!self.private_key.is_empty(), "private key"),
            (!self.ca_certificates.is_empty(), "CA bundle"),
            (!self.certificates.is_empty(), "tlsCertificates"),
            (!self.credential_name.is_empty(), "credentialName"),
            (!self.credential_names.is_empty(), "credentialNames"),
        ] {
            if is_set {
                found.error(
                    &self.at,
                    format!("ISTIO_MUTUAL TLS cannot have associated {what}"),
                );
            }
        }
    }

    fn check_certificates(&self, found: &mut Findings) {
        let prefix = if self.mode == "SIMPLE" {
            "SIMPLE TLS"
        } else {
            "MUTUAL TLS"
        };
        if self.mode != "SIMPLE" && self.ca_certificates.is_empty() {
            found.error(&self.at, format!("{prefix} requires a client CA bundle"));
        }
        if self.certificates.len() > 2 {
            let message = format!("{prefix} can support up to 2 server certificates");
            found.warning(&self.at.get("tlsCertificates"), message);
        }
        let own = [self.at.clone()];
        let certificates = if self.certificates.is_empty() {
            &own[..]
        } else {
            &self.certificates
        };
        for at in certificates {
            for (key, what) in [
                ("serverCertificate", "server certificate"),
                ("privateKey", "private key"),
            ] {
                if at.get(key).text(found).is_empty() {
                    found.error(at, format!("{prefix} requires a {what}"));
                }
            }
        }
    }

    /// Sizes and the CEL rules, which are about what is set.
    fn check_schema(&self, found: &mut Findings) {
        let [name, names, certificates] =
            ["credentialName", "credentialNames", "tlsCertificates"].map(|key| self.at.get(key));
        for (at, count) in [
            (&names, self.credential_names.len()),
            (&certificates, self.certificates.len()),
        ] {
            if at.is_set() && !(1..=2).contains(&count) {
                found.error(at, "must have 1 or 2 items");
            }
        }
        for (one, other, message) in [
            (
                &names,
                &certificates,
                "only one of credentialNames or tlsCertificates can be set",
            ),
            (
                &name,
                &names,
                "only one of credentialName or credentialNames can be set",
            ),
        ] {
            if one.is_set() && other.is_set() {
                found.error(other, message);
            }
        }
    }
}

/// `IsValidCipherSuite`: expressions with operators are taken unseen.
fn is_cipher_suite(text: &str) -> bool {
    let begins_with_operator = text
        .bytes()
        .next()
        .is_none_or(|byte| !byte.is_ascii_alphanumeric());
    text == "ALL" || begins_with_operator || CIPHER_SUITES.contains(&text)
}
