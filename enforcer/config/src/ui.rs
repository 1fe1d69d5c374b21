//! The page that the enforcer serves.

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
};

use super::{error::Findings, raw::RawUi};

const LISTEN: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 9901);

/// The page that the enforcer serves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ui {
    /// Where: at loopback, unless another address is explicitly allowed.
    pub listen: SocketAddr,
    /// The file with the token; None: one in the state folder, which is made.
    pub token_file: Option<PathBuf>,
}

pub(super) fn ui(raw: &RawUi, folder: &Path, findings: &mut Findings) -> Ui {
    let is_remote_allowed = raw.allow_remote.unwrap_or_default();
    let address = |text: &String| {
        let address: SocketAddr = text.parse().map_err(|_| {
            format!("{text:?} is no address with a port, such as 127.0.0.1:9901 or [::1]:9901")
        })?;
        if address.ip().is_loopback() || is_remote_allowed {
            return Ok(address);
        }
        Err(format!(
            "{text} is no loopback address; with `allowRemote: true` whoever reaches it and knows the token may look, \
             and what is sent is not encrypted"
        ))
    };
    let listen = raw.listen.as_ref();
    let token_file = raw.token_file.as_ref();
    Ui {
        listen: listen
            .and_then(|raw| findings.read("ui.listen", raw, address))
            .unwrap_or(LISTEN),
        token_file: token_file.and_then(|raw| {
            findings.read("ui.tokenFile", raw, |file| match file.trim() {
                "" => Err("is empty; remove the key instead".to_owned()),
                _ => Ok(folder.join(file)),
            })
        }),
    }
}
