//! A command in a pod, over the API server (`pods/exec`).

use anyhow::{Context as _, Result, bail};
use k8s_openapi::api::core::v1::Pod;
use kube::{
    Api,
    api::{AttachParams, AttachedProcess},
};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _, BufReader},
    sync::mpsc,
};

use super::{Cluster, Told};

/// The container of the enforcer's pods, and the program in it.
const CONTAINER: &str = "enforcer";
const PROGRAM: &str = "/enforcer";

/// The most bytes that are taken of one output: a node must not fill the memory of whoever asks.
const LIMIT: u64 = 256 << 20;
/// The same of complaints, and of one line.
const WORDS: u64 = 64 << 10;
const LINE: u64 = 1 << 20;

/// Bytes that wait between the connection and a reader.
const BUFFER: usize = 64 << 10;

/// What a command has come to.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ran {
    /// Its exit code.
    pub(crate) code: i32,
    pub(crate) output: Vec<u8>,
    /// What it said on standard error.
    pub(crate) complaint: String,
}

impl Ran {
    /// What it said, in one line.
    pub(crate) fn words(&self) -> String {
        let lines: Vec<_> = self.complaint.lines().filter(|line| !line.is_empty()).collect();
        match lines.as_slice() {
            [] => format!("exit code {}", self.code),
            lines => lines.join("; "),
        }
    }
}

impl Cluster {
    /// Runs `enforcer` with these arguments in a pod, to its end.
    pub(super) async fn run(&self, pod: &str, arguments: &[String]) -> Result<Ran> {
        let mut process = self.begin(pod, arguments).await?;
        let (output, complaint) = (process.stdout(), process.stderr());
        let (output, complaint) = tokio::try_join!(read(output, LIMIT), read(complaint, WORDS))?;
        Ok(Ran {
            code: ended(process).await?,
            output,
            complaint: String::from_utf8_lossy(&complaint).into_owned(),
        })
    }

    /// The same, with each line of its output as it comes.
    pub(super) async fn run_lines(
        &self,
        pod: &str,
        arguments: &[String],
        (node, sink): (&str, &mpsc::Sender<(String, Told)>),
    ) -> Result<Ran> {
        let mut process = self.begin(pod, arguments).await?;
        let (output, complaint) = (process.stdout(), process.stderr());
        let lines = async {
            let mut reader = BufReader::new(output.context("it has a standard output")?);
            loop {
                let mut line = Vec::new();
                let read = (&mut reader).take(LINE).read_until(b'\n', &mut line).await?;
                if read == 0 {
                    return Ok(());
                }
                let line = String::from_utf8_lossy(&line).trim_end().to_owned();
                if sink.send((node.to_owned(), Told::Line(line))).await.is_err() {
                    bail!("nobody reads any more");
                }
            }
        };
        let ((), complaint) = tokio::try_join!(lines, read(complaint, WORDS))?;
        Ok(Ran {
            code: ended(process).await?,
            output: Vec::new(),
            complaint: String::from_utf8_lossy(&complaint).into_owned(),
        })
    }

    async fn begin(&self, pod: &str, arguments: &[String]) -> Result<AttachedProcess> {
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), &self.system);
        let parameters = AttachParams {
            container: Some(CONTAINER.to_owned()),
            max_stdout_buf_size: Some(BUFFER),
            max_stderr_buf_size: Some(BUFFER),
            ..AttachParams::default()
        };
        let command = [PROGRAM.to_owned()].into_iter().chain(arguments.iter().cloned());
        let command: Vec<_> = command.collect();
        let begun = pods.exec(pod, command, &parameters).await;
        begun.with_context(|| {
            format!(
                "no command can be run in pod {pod}, which takes the right to create pods/exec in namespace {}",
                self.system
            )
        })
    }
}

async fn read(stream: Option<impl AsyncRead + Unpin>, most: u64) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut stream = stream.context("it has both outputs")?;
    (&mut stream).take(most).read_to_end(&mut bytes).await?;
    // What is beyond is read, so that the command does not wait for a reader, and dropped.
    tokio::io::copy(&mut stream, &mut tokio::io::sink()).await?;
    Ok(bytes)
}

/// The exit code, as the kubelet tells it (`remotecommand`'s error channel).
async fn ended(mut process: AttachedProcess) -> Result<i32> {
    let status = process.take_status().context("it was not waited for")?;
    let status = status
        .await
        .context("the connection broke off before the command had ended")?;
    if status.status.as_deref() == Some("Success") {
        return Ok(0);
    }
    let causes = status.details.into_iter().flat_map(|details| details.causes);
    let mut codes = causes
        .flatten()
        .filter(|cause| cause.reason.as_deref() == Some("ExitCode"));
    let code = codes.find_map(|cause| cause.message?.parse().ok());
    code.with_context(|| {
        status
            .message
            .unwrap_or_else(|| "no exit code is told".to_owned())
    })
}
