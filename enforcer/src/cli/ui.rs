//! `enforcer ui`: the page, served by a process of its own.

use std::process::ExitCode;

use anyhow::{Context as _, Result, ensure};
use nix::unistd::geteuid;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::{UiArguments, out};
use crate::{
    config::Config,
    privileges,
    ui::{Server, Token},
};

pub(super) fn run(arguments: &UiArguments) -> Result<ExitCode> {
    let state = match &arguments.config {
        Some(file) => Config::load(file)?.state,
        None => arguments.state.clone(),
    };
    ensure!(
        geteuid().is_root(),
        "the page shows what is for root alone: try `sudo enforcer ui`"
    );
    ensure!(
        arguments.listen.ip().is_loopback() || arguments.allow_remote,
        "{} is no loopback address: with --allow-remote, whoever reaches it and knows the token may look, and what is \
         sent is not encrypted; or have ssh forward a port",
        arguments.listen
    );
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let mut interrupt = signal(SignalKind::interrupt()).context("listening for SIGINT")?;
        let mut terminate = signal(SignalKind::terminate()).context("listening for SIGTERM")?;
        let token = Token::random()?;
        let server = Server::bind(arguments.listen, token.clone(), state).await?;
        // After a port that only root may take.
        privileges::drop_all()?;
        // Browsers send nothing of what is behind # to anybody.
        out::line(format_args!(
            "http://{}/#token={}",
            server.address(),
            token.as_str()
        ))?;
        tokio::select! {
            () = server.run(CancellationToken::new()) => {}
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        Ok(ExitCode::SUCCESS)
    })
}
