//! What an administrator does, one request at a time.

use std::path::Path;

use anyhow::{Context as _, Result, bail};
use futures_util::AsyncReadExt as _;
use kube::{
    Client, Config,
    api::{DeleteParams, Patch, PatchParams, PostParams},
    config::{KubeConfigOptions, Kubeconfig},
    core::Request,
};
use serde_json::{Value, json};
use tokio::{runtime::Runtime, task::JoinSet};

use crate::daemon::wait;

/// A connection to an API server.
pub struct Api {
    runtime: Runtime,
    client: Client,
}

/// Requests that are made at once where there are many.
const AT_ONCE: usize = 16;

/// What the tests write, with where it is served.
const KINDS: [(&str, &str); 15] = [
    ("ServiceEntry", "serviceentries"),
    ("VirtualService", "virtualservices"),
    ("WorkloadEntry", "workloadentries"),
    ("Sidecar", "sidecars"),
    ("Service", "services"),
    ("EndpointSlice", "endpointslices"),
    ("Namespace", "namespaces"),
    ("Pod", "pods"),
    ("ConfigMap", "configmaps"),
    ("ServiceAccount", "serviceaccounts"),
    ("ClusterRole", "clusterroles"),
    ("ClusterRoleBinding", "clusterrolebindings"),
    ("CustomResourceDefinition", "customresourcedefinitions"),
    ("Endpoints", "endpoints"),
    ("Event", "events"),
];

impl Api {
    /// With the credentials of a file.
    ///
    /// # Errors
    /// If it is no such file.
    pub fn new(kubeconfig: &Path) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let client = runtime.block_on(async {
            let kubeconfig = Kubeconfig::read_from(kubeconfig)?;
            let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
            anyhow::Ok(Client::try_from(config)?)
        })?;
        Ok(Self { runtime, client })
    }

    /// Whether the server can do its work.
    pub fn is_ready(&self) -> bool {
        self.get("/readyz").is_ok()
    }

    /// The text at a path.
    ///
    /// # Errors
    /// If the server does not answer or refuses.
    pub fn get(&self, path: &str) -> Result<String> {
        let request = http::Request::get(path).body(Vec::new())?;
        self.send(request).with_context(|| format!("asking for {path}"))
    }

    /// The objects at a path.
    ///
    /// # Errors
    /// If the server does not answer or refuses.
    pub fn list(&self, path: &str) -> Result<Vec<Value>> {
        let list: Value = serde_json::from_str(&self.get(path)?)?;
        Ok(list["items"].as_array().cloned().unwrap_or_default())
    }

    /// Creates or replaces every document of a text.
    ///
    /// # Errors
    /// If the server refuses one.
    pub fn apply(&self, text: &str) -> Result<()> {
        for document in enforcer_core::yaml::split(text) {
            let value = document.parse()?;
            if !value.is_null() {
                self.apply_value(&value)?;
            }
        }
        Ok(())
    }

    /// Creates or replaces an object, and its status where it says one.
    ///
    /// # Errors
    /// If the server refuses.
    pub fn apply_value(&self, object: &Value) -> Result<()> {
        let (path, name) = place(object)?;
        let requests = Request::new(&*path);
        let create = requests.create(&PostParams::default(), object.to_string().into_bytes())?;
        match self.send(create) {
            // Server-side apply would refuse definitions with fields that old servers do not know.
            Err(error) if error.to_string().contains("already exists") => {
                let patch = Patch::Merge(object);
                self.send(requests.patch(&name, &PatchParams::default(), &patch)?)
            }
            created => created,
        }
        .with_context(|| format!("applying {path}/{name}"))?;
        if object["kind"] == "Pod" && object.get("status").is_some() {
            let status = json!({ "status": object["status"] });
            let parameters = PatchParams::default();
            let request = requests.patch_subresource("status", &name, &parameters, &Patch::Merge(status))?;
            self.send(request)?;
        }
        Ok(())
    }

    /// Creates many objects, several at a time.
    ///
    /// # Errors
    /// If the server refuses one.
    pub fn create_all(&self, objects: Vec<Value>) -> Result<()> {
        self.runtime.block_on(async {
            let mut tasks = JoinSet::new();
            for object in objects {
                while tasks.len() >= AT_ONCE {
                    tasks.join_next().await.transpose()?.transpose()?;
                }
                let (path, _) = place(&object)?;
                let body = object.to_string().into_bytes();
                let request = Request::new(path).create(&PostParams::default(), body)?;
                let client = self.client.clone();
                tasks.spawn(async move { client.request_text(request).await });
            }
            while let Some(created) = tasks.join_next().await {
                created??;
            }
            Ok(())
        })
    }

    /// How many bytes are at a path, in one of the forms in which it is served.
    ///
    /// # Errors
    /// If the server does not answer or refuses.
    pub fn bytes(&self, path: &str, accept: &str) -> Result<usize> {
        let request = http::Request::get(path)
            .header("Accept", accept)
            .body(Vec::new())?;
        self.runtime.block_on(async {
            let mut body = Box::pin(self.client.request_stream(request).await?);
            let mut bytes = Vec::new();
            body.read_to_end(&mut bytes).await?;
            Ok(bytes.len())
        })
    }

    /// Deletes every object of a text.
    ///
    /// # Errors
    /// If the server refuses; one that is not there is no error.
    pub fn delete(&self, text: &str) -> Result<()> {
        for document in enforcer_core::yaml::split(text) {
            let value = document.parse()?;
            if value.is_null() {
                continue;
            }
            let (path, name) = place(&value)?;
            let request = Request::new(&*path).delete(&name, &DeleteParams::default().grace_period(0))?;
            match self.send(request) {
                Err(error) if !error.to_string().contains("not found") => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }

    /// A token of a ServiceAccount.
    ///
    /// # Errors
    /// If the server gives none.
    pub fn token(&self, namespace: &str, account: &str) -> Result<String> {
        let path = format!("/api/v1/namespaces/{namespace}/serviceaccounts/{account}/token");
        let body = json!({ "apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {} });
        let request = http::Request::post(path)
            .header("Content-Type", "application/json")
            .body(body.to_string().into_bytes())?;
        let answer: Value = serde_json::from_str(&self.send(request)?)?;
        let token = answer["status"]["token"].as_str();
        Ok(token.context("there is no token in the answer")?.to_owned())
    }

    /// Creates definitions, and waits until the kinds are served.
    ///
    /// # Errors
    /// If they are refused.
    pub fn define(&self, crds: &str) -> Result<()> {
        self.apply(crds)?;
        for plural in ["serviceentries", "workloadentries", "sidecars"] {
            let path = format!("/apis/networking.istio.io/v1/{plural}");
            let older = format!("/apis/networking.istio.io/v1beta1/{plural}");
            wait(&path, || Ok(self.get(&path).is_ok() || self.get(&older).is_ok()))?;
        }
        Ok(())
    }

    fn send(&self, request: http::Request<Vec<u8>>) -> Result<String> {
        Ok(self.runtime.block_on(self.client.request_text(request))?)
    }
}

/// The path of an object's collection, and its name.
fn place(object: &Value) -> Result<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let (kind, version) = (text(&object["kind"]), text(&object["apiVersion"]));
    let Some((_, plural)) = KINDS.iter().find(|(name, _)| *name == kind) else {
        bail!("no test writes {kind}");
    };
    let root = if version.contains('/') { "apis" } else { "api" };
    let namespace = text(&object["metadata"]["namespace"]);
    let scope = if namespace.is_empty() {
        String::new()
    } else {
        format!("/namespaces/{namespace}")
    };
    let path = format!("/{root}/{version}{scope}/{plural}");
    Ok((path, text(&object["metadata"]["name"])))
}
