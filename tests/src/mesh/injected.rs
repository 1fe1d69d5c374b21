//! Pods with Envoy in them, as Istio's injector makes them.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::{Bootstrap, Capture, PROXY, bootstrap, endpoints::replace};
use crate::{cluster::parts, fixture::folder};

/// Where the test binary is in a pod.
const BINARY: &str = "/test/enforcer-test";

/// Where a pod has the machine's files, for iptables.
const MACHINE: &str = "/machine";

/// What pods with a proxy are made of: busybox, the machine's libraries, Envoy, the test binary, and a folder with the
/// configurations.
#[derive(Debug)]
pub struct Kit {
    folder: TempDir,
    envoy: PathBuf,
    binary: PathBuf,
}

/// What is to be started.
#[derive(Clone, Copy, Debug)]
pub struct Start<'a> {
    /// `namespace/name`; the label `app` is the name.
    pub pod: &'a str,
    /// None: no init container.
    pub capture: Option<Capture>,
    /// What the application runs, a script; none: there is no application.
    pub application: Option<&'a str>,
    /// What is started beside Envoy, in the same container.
    pub agent: &'a str,
}

impl Kit {
    /// Of this Envoy and this test binary.
    ///
    /// # Errors
    /// If there is no room.
    pub fn new(envoy: PathBuf, binary: &str) -> Result<Self> {
        let folder = folder("enforcer-mesh-")?;
        // Envoy is not root.
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755))?;
        Ok(Self {
            folder,
            envoy,
            binary: binary.into(),
        })
    }

    /// Where the configurations are.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// A pod that runs a script of busybox, with the test binary as `$TEST`; `container` is its container's name.
    ///
    /// # Errors
    /// If the name is not written as it has to be.
    pub fn plain(&self, pod: &str, container: &str, script: &str) -> Result<Value> {
        self.pod(pod, json!([]), json!([self.container(container, script)]))
    }

    /// A pod with a proxy of this configuration.
    ///
    /// # Errors
    /// If the configuration cannot be written.
    pub fn injected(&self, start: Start<'_>, config: &Bootstrap) -> Result<Value> {
        let (_, name) = parts(start.pod)?;
        replace(self.folder(), &format!("{name}.json"), &config.text())?;
        let capture = start.capture.unwrap_or_default();
        let proxy = self.proxy(name, capture, start.agent)?;
        let containers: Vec<_> = std::iter::once(proxy)
            .chain(start.application.map(|script| self.container("app", script)))
            .collect();
        let init = start.capture.map(|capture| self.init(capture));
        self.pod(start.pod, init.into_iter().collect(), containers.into())
    }

    /// It holds the containers behind it until Envoy is ready (`holdApplicationUntilProxyStarts`), and goes on for a
    /// while when the pod is ended (`terminationDrainDuration`).
    fn proxy(&self, name: &str, capture: Capture, agent: &str) -> Result<Value> {
        let envoy = self
            .envoy
            .file_name()
            .context("Envoy is a file")?
            .to_string_lossy();
        let config = bootstrap::FOLDER;
        let script = format!(
            "{agent}\nexec /envoy/{envoy} --disable-hot-restart --concurrency 1 --log-level warning -c {config}/{name}.json"
        );
        let mut proxy = self.container("istio-proxy", &script);
        proxy["lifecycle"] = json!({
            "postStart": { "exec": { "command": ["sh", "-c", READY] } },
            "preStop": { "exec": { "command": ["sleep", "5"] } },
        });
        if capture == Capture::Names {
            add_machine(&mut proxy);
        }
        // TPROXY takes a right, and then Istio's proxy is root; its group is the same.
        proxy["securityContext"] = match capture {
            Capture::Tproxy => {
                json!({ "runAsUser": 0, "runAsGroup": PROXY, "capabilities": { "add": ["NET_ADMIN"] } })
            }
            Capture::Redirect | Capture::Names => json!({ "runAsUser": PROXY, "runAsGroup": PROXY }),
        };
        Ok(proxy)
    }

    fn init(&self, capture: Capture) -> Value {
        let script = format!("chroot {MACHINE} sh -ec \"$0\"");
        let mut init = self.container("istio-init", &script);
        init["command"] = json!(["sh", "-c", script, capture.script()]);
        init["securityContext"] =
            json!({ "runAsUser": 0, "capabilities": { "add": ["NET_ADMIN", "NET_RAW"] } });
        add_machine(&mut init);
        init
    }

    fn container(&self, name: &str, script: &str) -> Value {
        let mount = |name: &str, path: &str| json!({ "name": name, "mountPath": path, "readOnly": true });
        json!({
            "name": name,
            "image": "busybox:local",
            "command": ["sh", "-c", script],
            "env": [{ "name": "TEST", "value": BINARY }],
            "volumeMounts": [
                mount("lib", "/usr/lib"),
                mount("lib", "/lib"),
                mount("lib64", "/lib64"),
                mount("envoy", "/envoy"),
                mount("test", "/test"),
                mount("config", bootstrap::FOLDER),
                { "name": "config", "mountPath": "/out" },
            ],
        })
    }

    fn pod(&self, pod: &str, init: Value, containers: Value) -> Result<Value> {
        let (namespace, name) = parts(pod)?;
        let folder_of = |file: &Path| file.parent().map(Path::to_owned).context("it lies in a folder");
        let volume = |name: &str, path: &Path| json!({ "name": name, "hostPath": { "path": path } });
        Ok(json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": { "namespace": namespace, "name": name, "labels": { "app": name } },
            "spec": {
                "terminationGracePeriodSeconds": 8,
                "automountServiceAccountToken": false,
                "enableServiceLinks": false,
                "volumes": [
                    volume("machine", Path::new("/")),
                    volume("lib", Path::new("/usr/lib")),
                    volume("lib64", Path::new("/usr/lib64")),
                    volume("envoy", &folder_of(&self.envoy)?),
                    volume("test", &folder_of(&self.binary)?),
                    volume("config", self.folder()),
                ],
                "initContainers": init,
                "containers": containers,
            },
        }))
    }
}

/// Waits for Envoy, as `pilot-agent wait` does.
const READY: &str = "until wget -q -O /dev/null http://127.0.0.1:15000/ready; do sleep 0.2; done";

/// For programs of the machine.
fn add_machine(container: &mut Value) {
    let mounts = container["volumeMounts"].as_array_mut();
    let machine = json!({ "name": "machine", "mountPath": MACHINE, "readOnly": true });
    mounts.expect("containers have mounts").push(machine);
}
