//! The configuration: its text, and of a kubeconfig what says where the API server is and how it is spoken to.

use std::{
    fs::File,
    io::Read as _,
    path::{Path, PathBuf},
};

use serde_json::{Map, Value, json};

use super::{Files, Places, Request};
use crate::{
    config::{Config, salvage_state},
    control::Status,
};

/// Where the configuration is if nothing says so.
const DEFAULT: &str = "/etc/enforcer/enforcer.yaml";

/// A larger file is no configuration.
const LIMIT: u64 = 4 << 20;

const BPFFS: &str = "/sys/fs/bpf";

/// Where everything is, as far as the named configuration says it.
pub(super) fn places(request: &Request, files: &mut Files) -> Places {
    let mut places = Places {
        config: request.config.clone(),
        text: None,
        parsed: None,
        state: request.state.clone(),
        bpffs: BPFFS.into(),
    };
    read(&mut places, files);
    if let Some(config) = &places.parsed {
        places.state.clone_from(&config.state);
    } else if let Some(state) = places.text.as_deref().and_then(salvage_state) {
        places.state = state;
    }
    places
}

/// Takes the file that the daemon was started with, else the usual one if it is there.
pub(super) fn find(places: &mut Places, status: Option<&Status>, files: &mut Files) {
    let of_daemon = status.map(|status| PathBuf::from(&status.configuration.file));
    let usual = || Path::new(DEFAULT).exists().then(|| PathBuf::from(DEFAULT));
    places.config = of_daemon
        .filter(|file| !file.as_os_str().is_empty())
        .or_else(usual);
    read(places, files);
}

fn read(places: &mut Places, files: &mut Files) {
    let Some(file) = &places.config else { return };
    let mut bytes = Vec::new();
    let opened = File::open(file).and_then(|opened| opened.take(LIMIT).read_to_end(&mut bytes));
    if let Err(error) = opened {
        files.miss("configuration.yaml", format_args!("{}: {error}", file.display()));
        return;
    }
    let text = String::from_utf8_lossy(&bytes).into_owned();
    match Config::parse(&text, file) {
        Ok(config) => {
            places.bpffs.clone_from(&config.bpffs);
            places.parsed = Some(config);
        }
        Err(errors) => files.text("configuration-errors.txt", errors.to_string()),
    }
    places.text = Some(text);
}

/// Adds the configuration, and where it is from.
pub(super) fn add(places: &Places, files: &mut Files) {
    match (&places.text, &places.config) {
        (Some(text), Some(file)) => {
            files.text("configuration.yaml", text.clone());
            match serde_yaml::from_str::<Value>(text) {
                Ok(value) => files.json("configuration.json", json!({ "file": file, "holds": value })),
                Err(error) => files.miss("configuration.json", format_args!("not YAML: {error}")),
            }
        }
        (None, None) => files.miss("configuration.yaml", "name it by --config"),
        _ => {}
    }
    let kubernetes = places
        .parsed
        .as_ref()
        .and_then(|config| config.kubernetes.as_ref());
    if let Some(file) = kubernetes.and_then(|kubernetes| kubernetes.kubeconfig.as_ref()) {
        match std::fs::read_to_string(file) {
            Ok(text) => match serde_yaml::from_str::<Value>(&text) {
                Ok(value) => files.json("kubeconfig.json", essence(&value)),
                Err(_) => files.miss("kubeconfig.json", format_args!("{}: not YAML", file.display())),
            },
            Err(error) => files.miss("kubeconfig.json", format_args!("{}: {error}", file.display())),
        }
    }
}

/// Of a kubeconfig: names, servers, and which kinds of credentials there are. What is not named here stays out.
fn essence(config: &Value) -> Value {
    let list = |key: &str| config[key].as_array().cloned().unwrap_or_default();
    let keys = |value: &Value| -> Vec<String> {
        let fields = value.as_object().cloned().unwrap_or_default();
        fields.into_iter().map(|(key, _)| key).collect()
    };
    let clusters = list("clusters").into_iter().map(|cluster| {
        let about = &cluster["cluster"];
        json!({
            "context": cluster["name"],
            "server": about["server"],
            "tlsServerName": about["tls-server-name"],
            "proxy": about["proxy-url"],
            "insecure": about["insecure-skip-tls-verify"],
            "has": keys(about),
        })
    });
    let users = list("users").into_iter();
    let users = users.map(|user| json!({ "user": user["name"], "has": keys(&user["user"]) }));
    let contexts = list("contexts").into_iter().map(|context| {
        let about = &context["context"];
        json!({
            "context": context["name"],
            "cluster": about["cluster"],
            "user": about["user"],
            "namespace": about["namespace"],
        })
    });
    let mut essence = Map::new();
    essence.insert("context".to_owned(), config["current-context"].clone());
    essence.insert("clusters".to_owned(), clusters.collect());
    essence.insert("users".to_owned(), users.collect());
    essence.insert("contexts".to_owned(), contexts.collect());
    essence.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_kubeconfig_no_credential_is_taken() {
        let text = "clusters: [{name: c, cluster: {server: 'https://h:6443', certificate-authority-data: Q0E=}}]\n\
                    users: [{name: u, user: {token: t0ps3cret, client-key-data: S0VZ, password: pw}}]\n\
                    contexts: [{name: x, context: {cluster: c, user: u}}]\ncurrent-context: x\n";
        let taken = essence(&serde_yaml::from_str(text).unwrap()).to_string();
        for secret in ["t0ps3cret", "S0VZ", "Q0E=", "pw\""] {
            assert!(!taken.contains(secret), "{taken}");
        }
        for part in ["https://h:6443", "token", "client-key-data", "\"context\":\"x\""] {
            assert!(taken.contains(part), "{part} in {taken}");
        }
    }
}
