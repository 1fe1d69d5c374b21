//! The connection to the API server, and its credentials.
//!
//! Credentials expire and their files are replaced: after a failure a new client is made from the same
//! configuration. If the configuration has become unreadable, the old client stays in use.

use std::{
    sync::Mutex,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use kube::{
    Client, Config,
    config::{KubeConfigOptions, Kubeconfig},
};

use crate::config::Kubernetes;

/// The shortest time between two clients; credential plugins are programs.
const RENEWAL: Duration = Duration::from_secs(5);
/// The timeout for a connection.
const CONNECT: Duration = Duration::from_secs(10);

pub(super) struct Access {
    settings: Kubernetes,
    current: Mutex<(Client, Instant)>,
}

impl Access {
    /// Reads the configuration; sends no request yet.
    pub(super) async fn open(settings: &Kubernetes) -> Result<Self> {
        if config(settings).await?.accept_invalid_certs {
            tracing::warn!(
                "the kubeconfig sets insecure-skip-tls-verify: the API server's certificate is not verified, so that \
                 another machine on the way can change what is allowed; name its certificate-authority instead"
            );
        }
        let client = client(settings).await?;
        Ok(Self {
            settings: settings.clone(),
            current: Mutex::new((client, Instant::now())),
        })
    }

    /// The present client.
    pub(super) fn client(&self) -> Client {
        self.current().0.clone()
    }

    /// Makes a new client, unless that was done a moment ago.
    pub(super) async fn renew(&self) {
        {
            let mut current = self.current();
            if current.1.elapsed() < RENEWAL {
                return;
            }
            current.1 = Instant::now();
        }
        match client(&self.settings).await {
            Ok(client) => self.current().0 = client,
            Err(error) => tracing::warn!(
                "cannot read the address and credentials of the API server again: the previous ones are used, and \
                 what is in force stays: {error:#}"
            ),
        }
    }

    fn current(&self) -> std::sync::MutexGuard<'_, (Client, Instant)> {
        self.current
            .lock()
            .expect("nothing panics while it holds this lock")
    }
}

async fn client(settings: &Kubernetes) -> Result<Client> {
    let mut config = config(settings).await?;
    config.connect_timeout = Some(CONNECT);
    // Watches may be silent for long; requests and watches have deadlines of their own.
    config.read_timeout = None;
    config.default_retry = false;
    Client::try_from(config).context("making a client")
}

async fn config(settings: &Kubernetes) -> Result<Config> {
    let options = KubeConfigOptions {
        context: settings.context.clone(),
        ..KubeConfigOptions::default()
    };
    if let Some(file) = &settings.kubeconfig {
        let kubeconfig =
            Kubeconfig::read_from(file).with_context(|| format!("reading {}", file.display()))?;
        return Config::from_custom_kubeconfig(kubeconfig, &options)
            .await
            .with_context(|| format!("reading {}", file.display()));
    }
    if std::env::var_os("KUBERNETES_SERVICE_HOST").is_some() {
        return Config::incluster().context("reading the pod's own account");
    }
    if std::env::var_os("KUBECONFIG").is_some() {
        return Config::from_kubeconfig(&options)
            .await
            .context("reading the file of KUBECONFIG");
    }
    bail!(
        "this process runs in no pod, and KUBECONFIG is not set: name a file in registry.kubernetes.kubeconfig"
    )
}
