//! Lines for those who watch, and their reading.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    os::unix::net::UnixStream as BlockingStream,
    path::Path,
    sync::Arc,
};

use anyhow::{Context as _, Result, bail};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{
        UnixStream,
        unix::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::{Semaphore, broadcast::error::RecvError},
};

use super::{Asked, Failure, PATIENCE, Ports, WatchLine, path, watched::Watch};

/// How many may watch at one time; others need the remaining connections.
pub(super) const WATCHERS: usize = 16;

/// What somebody beyond that is told.
fn too_many() -> String {
    format!(
        "{WATCHERS} others watch already, which is the most at one time: end one of them (`ss -xp | grep control.sock` \
         names their processes), or read the log"
    )
}

/// Sends the last calls, and those from now on if they are followed, until who watches goes away. One who does not read
/// keeps nobody waiting, and is told how much was missed.
pub(super) async fn serve(
    stream: UnixStream,
    ports: &Ports,
    places: &Arc<Semaphore>,
    (last, follow): (usize, bool),
) -> Result<()> {
    let (mut reader, mut writer) = stream.into_split();
    let Ok(_place) = places.try_acquire() else {
        let error = too_many();
        let mut text = serde_json::to_vec(&Failure { error })?;
        text.push(b'\n');
        return Ok(writer.write_all(&text).await?);
    };
    let Watch { recent, mut live } = ports.watch().await?;
    let skipped = recent.len().saturating_sub(last);
    for call in &recent[skipped..] {
        send(&mut writer, &WatchLine::Call(Arc::clone(call))).await?;
    }
    send(&mut writer, &WatchLine::Now).await?;
    if !follow {
        return Ok(writer.shutdown().await?);
    }
    loop {
        let line = tokio::select! {
            () = gone(&mut reader) => return Ok(()),
            told = live.recv() => match told {
                Ok(call) => WatchLine::Call(call),
                Err(RecvError::Lagged(missed)) => WatchLine::Missed(missed),
                Err(RecvError::Closed) => return Ok(()),
            },
        };
        send(&mut writer, &line).await?;
    }
}

async fn send(writer: &mut OwnedWriteHalf, line: &WatchLine) -> Result<()> {
    let mut text = serde_json::to_vec(line)?;
    text.push(b'\n');
    Ok(writer.write_all(&text).await?)
}

/// Waits until the other end is closed; what it sends means nothing.
pub(super) async fn gone(reader: &mut OwnedReadHalf) {
    let mut bytes = [0; 64];
    while matches!(reader.read(&mut bytes).await, Ok(read) if read > 0) {}
}

/// Asks the enforcer whose state is in this folder for the last calls, and those from now on if they are followed.
///
/// # Errors
/// If none answers. Each line may be one that is not understood, or say why there is none.
pub fn watch(state: &Path, last: usize, follow: bool) -> Result<impl Iterator<Item = Result<WatchLine>>> {
    let path = path(state);
    let mut stream = BlockingStream::connect(&path)
        .with_context(|| format!("no enforcer answers at {}", path.display()))?;
    let mut question = serde_json::to_vec(&Asked::Watch { last, follow })?;
    question.push(b'\n');
    stream
        .write_all(&question)
        .with_context(|| format!("asking at {}", path.display()))?;
    if !follow {
        stream.set_read_timeout(Some(PATIENCE))?;
    }
    let lines = BufReader::new(stream).lines();
    Ok(lines.map(move |line| {
        let line = line.context("the enforcer does not answer any more")?;
        if let Ok(Failure { error }) = serde_json::from_str(&line) {
            bail!("{error}");
        }
        super::understood(&path, &line)
    }))
}
