//! The page as a task of the enforcer that it shows.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::Result;
use tokio_util::sync::CancellationToken;

use super::{Server, Token};
use crate::{config::Ui, state};

/// How often it is tried again where the page cannot be served.
const AGAIN: Duration = Duration::from_secs(10);

/// Serves until `cancel`. Where that cannot be done, the log says so once, and it is tried again: nobody goes without
/// enforcement for want of a page.
///
/// # Errors
/// None: a task ends by its error.
pub(crate) async fn follow(ui: Ui, state: PathBuf, cancel: CancellationToken) -> Result<()> {
    let mut said = String::new();
    loop {
        match start(&ui, &state).await {
            Ok((server, file)) => {
                tracing::info!(
                    "the page is served at http://{}/ to whoever has the token in {}",
                    server.address(),
                    file.display()
                );
                server.run(cancel).await;
                return Ok(());
            }
            Err(error) => {
                let error = format!("{error:#}");
                if error != said {
                    tracing::error!(
                        "the page is not served; it is tried again every {AGAIN:?}, and enforcement is not affected: \
                         {error}"
                    );
                    said = error;
                }
            }
        }
        tokio::select! {
            () = cancel.cancelled() => return Ok(()),
            () = tokio::time::sleep(AGAIN) => {}
        }
    }
}

async fn start(ui: &Ui, state: &Path) -> Result<(Server, PathBuf)> {
    let (file, token) = match &ui.token_file {
        Some(file) => (file.clone(), Token::read(file)?),
        None => {
            let file = state.join(state::TOKEN);
            let token = Token::kept(&file)?;
            (file, token)
        }
    };
    let server = Server::bind(ui.listen, token, state.to_owned()).await?;
    Ok((server, file))
}
