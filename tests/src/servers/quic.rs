//! A QUIC server, quinn's: one datagram socket, many clients, answers in segments, clients that move.

use std::{
    net::{IpAddr, SocketAddr, UdpSocket},
    path::Path,
    sync::Arc,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use quinn::{
    ClientConfig, Endpoint, EndpointConfig, Incoming, ServerConfig, TokioRuntime,
    crypto::rustls::QuicClientConfig,
    rustls::{
        self, RootCertStore,
        crypto::ring,
        pki_types::{CertificateDer, PrivatePkcs8KeyDer},
    },
};
use tokio::{runtime::Builder, time::timeout};

use super::{
    networks::{CLIENT4, CLIENT6, Networks},
    process::{self, Process, say},
    traffic::Tally,
};

const PORT: u16 = 4433;
const HOST: &str = "server.example.com";
/// How long a client waits. An emulated processor needs its time for the handshake.
const PATIENCE: Duration = Duration::from_secs(10);
const QUESTION: &[u8] = b"a question";
/// More than fits one datagram.
const ANSWER_LENGTH: usize = 100_000;

/// Has clients ask a server, a process of `program` in `cgroup`, for a while: each connects, asks, moves to another
/// port, and asks again.
///
/// # Errors
/// If the server cannot be started.
pub fn run(
    networks: &Networks,
    (program, cgroup): (&Path, &Path),
    host: IpAddr,
    time: Duration,
) -> Result<Tally> {
    let address = SocketAddr::new(host, PORT);
    let server = Process::start(program, cgroup, &["quic", &address.to_string()])?;
    let certificate = from_hex(&server.greeting)?;
    networks.at_client(|| {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let config = trusting(certificate)?;
        Ok(Tally::of(time, || runtime.block_on(ask(address, &config))))
    })
}

async fn ask(address: SocketAddr, config: &ClientConfig) -> Result<()> {
    let from: SocketAddr = if address.is_ipv4() {
        (CLIENT4, 0).into()
    } else {
        (CLIENT6, 0).into()
    };
    let mut endpoint = Endpoint::client(from)?;
    endpoint.set_default_client_config(config.clone());
    let connecting = endpoint.connect(address, HOST)?;
    let connection = timeout(PATIENCE, connecting).await.context("no handshake")??;
    for moves in [false, true] {
        if moves {
            endpoint.rebind(UdpSocket::bind(from)?)?;
        }
        let asking = async {
            let (mut question, mut answer) = connection.open_bi().await?;
            question.write_all(QUESTION).await?;
            question.finish()?;
            Ok::<_, anyhow::Error>(answer.read_to_end(ANSWER_LENGTH).await?)
        };
        let answer = timeout(PATIENCE, asking)
            .await
            .with_context(|| format!("no answer{}", if moves { " after the client moved" } else { "" }))??;
        ensure!(
            answer.len() == ANSWER_LENGTH,
            "the answer has {} bytes",
            answer.len()
        );
    }
    connection.close(0_u32.into(), b"");
    drop(timeout(PATIENCE, endpoint.wait_idle()).await);
    Ok(())
}

fn trusting(certificate: Vec<u8>) -> Result<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from(certificate))?;
    let config = rustls::ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(ClientConfig::new(Arc::new(QuicClientConfig::try_from(config)?)))
}

/// The server's main: `CGROUP ADDRESS`. It says its certificate.
pub(super) fn main(cgroup: &Path, address: SocketAddr) -> Result<()> {
    process::join(cgroup)?;
    // Before any thread is there that could not join.
    let runtime = Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(serve(address))
}

async fn serve(address: SocketAddr) -> Result<()> {
    let own = rcgen::generate_simple_self_signed([HOST.to_owned()])?;
    let certificate = own.cert.der().to_vec();
    let key = PrivatePkcs8KeyDer::from(own.signing_key.serialize_der());
    let config = rustls::ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_no_client_auth()
        .with_single_cert(vec![certificate.clone().into()], key.into())?;
    let config = quinn::crypto::rustls::QuicServerConfig::try_from(config)?;
    let endpoint = Endpoint::new(
        EndpointConfig::default(),
        Some(ServerConfig::with_crypto(Arc::new(config))),
        UdpSocket::bind(address)?,
        Arc::new(TokioRuntime),
    )?;
    say(&to_hex(&certificate))?;
    while let Some(incoming) = endpoint.accept().await {
        tokio::spawn(async {
            // A client that goes without a word is its own business.
            if let Err(error) = answer(incoming).await
                && !error.is::<quinn::ConnectionError>()
            {
                eprintln!("a client: {error:#}");
            }
        });
    }
    Ok(())
}

async fn answer(incoming: Incoming) -> Result<()> {
    let connection = incoming.await?;
    loop {
        let (mut answer, mut question) = connection.accept_bi().await?;
        question.read_to_end(QUESTION.len()).await?;
        answer.write_all(&[7; ANSWER_LENGTH]).await?;
        answer.finish()?;
    }
}

fn to_hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn from_hex(text: &str) -> Result<Vec<u8>> {
    let digits: Vec<_> = text.chars().collect();
    let pairs = digits.chunks(2).map(|pair| pair.iter().collect::<String>());
    pairs
        .map(|pair| u8::from_str_radix(&pair, 16).with_context(|| format!("{text:?} is no certificate")))
        .collect()
}
