//! Requests as no browser makes them.

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
};

use anyhow::{Context as _, Result};

use crate::daemon::PATIENCE;

/// What came back.
#[derive(Debug)]
pub struct Reply {
    /// The number.
    pub code: u16,
    /// The lines before the body, in lower case.
    pub head: String,
    /// The body.
    pub body: String,
}

/// Sends a request line and headers as they are, and reads until the end.
///
/// # Errors
/// If nothing comes back.
pub fn request(to: SocketAddr, head: &str) -> Result<Reply> {
    let mut stream = TcpStream::connect(to)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let head = head.replace('\n', "\r\n");
    stream.write_all(format!("{head}Connection: close\r\n\r\n").as_bytes())?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    let (head, body) = text.split_once("\r\n\r\n").context("an answer has a head")?;
    let code = head.split(' ').nth(1).context("an answer has a number")?;
    Ok(Reply {
        code: code.parse()?,
        head: head.to_lowercase(),
        body: body.to_owned(),
    })
}
