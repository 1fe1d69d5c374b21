//! The daemon beside a real API server.
#![expect(clippy::unwrap_used, reason = "that is how a test fails")]

use std::collections::BTreeMap;

use anyhow::Result;
use nix::sys::signal::Signal;
use serde_json::json;
use tests::{
    daemon::{Daemon, Place, wait},
    kube::{Api, Server, with_server},
};

const BINARY: &str = env!("CARGO_BIN_EXE_enforcer-test");

const CONFIG: &str = "
registry: {kubernetes: {kubeconfig: $KUBECONFIG, node: n1}}
workloads:
- {namespace: frontend, name: web, labels: {app: web}, cgroup: $CGROUP/frontend}
- {namespace: default, name: app, cgroup: $CGROUP/default}
dns: {servers: [192.0.2.53], minTtl: 1s, grace: 2s, timeout: 500ms}
";

const DB: &str = "192.0.2.10:5432";

/// What the enforcer may do, and no more.
const ROLE: &str = "
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: enforcer}
rules:
- {apiGroups: [networking.istio.io], resources: [serviceentries, workloadentries, sidecars], verbs: [list, watch]}
- {apiGroups: [networking.istio.io], resources: [virtualservices], verbs: [list, watch]}
- {apiGroups: [''], resources: [services, namespaces, nodes, pods], verbs: [list, watch]}
- {apiGroups: [''], resources: [configmaps], resourceNames: [istio], verbs: [list, watch]}
- {apiGroups: [discovery.k8s.io], resources: [endpointslices], verbs: [list, watch]}
- {apiGroups: [''], resources: [events], verbs: [create, patch]}
";

const BINDING: &str = "
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: enforcer}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: enforcer}
subjects: [{kind: ServiceAccount, namespace: default, name: enforcer}]
";

const ACCOUNT: &str = "
apiVersion: v1
kind: ServiceAccount
metadata: {name: enforcer, namespace: default}
";

const FRONTEND: &str = "{apiVersion: v1, kind: Namespace, metadata: {name: frontend}}";

fn entry(name: &str, address: &str) -> String {
    format!(
        "apiVersion: networking.istio.io/v1beta1\nkind: ServiceEntry\nmetadata: {{name: {name}, namespace: frontend}}\n\
         spec:\n  hosts: [{name}.example.com]\n  addresses: [{address}]\n  exportTo: ['.']\n  resolution: NONE\n  \
         ports: [{{number: 5432, name: tcp, protocol: TCP}}]\n"
    )
}

/// Runs `claim` with an API server that has the database's entry, and a place for daemons.
fn check(claim: impl FnOnce(&mut Server, &Api, &mut Place) -> Result<()> + Send) {
    with_server(|server| {
        let admin = server.admin()?;
        for text in [FRONTEND, ACCOUNT, ROLE, BINDING] {
            admin.apply(text)?;
        }
        for entry in admin.list("/apis/networking.istio.io/v1beta1/serviceentries")? {
            admin.delete(&entry.to_string())?;
        }
        admin.apply(&entry("db", "192.0.2.10"))?;
        let kubeconfig = log_in(server, &admin)?;
        let mut place = Place::with_bpffs(BINARY, &CONFIG.replace("$KUBECONFIG", &kubeconfig))?;
        for name in ["frontend", "default"] {
            place.cgroup.child(name)?;
        }
        claim(server, &admin, &mut place)
    })
    .unwrap();
}

/// Gives the enforcer's account a token, and returns the file that says so.
fn log_in(server: &Server, admin: &Api) -> Result<String> {
    let token = server.file("token");
    std::fs::write(&token, admin.token("default", "enforcer")?)?;
    let kubeconfig = server.kubeconfig("enforcer", &json!({ "tokenFile": token }))?;
    Ok(kubeconfig.display().to_string())
}

/// Runs `claim` with a daemon that takes everything away at its end.
fn check_running(claim: impl FnOnce(&mut Server, &Api, &mut Place, &mut Daemon) -> Result<()> + Send) {
    check(|server, admin, place| {
        let mut daemon = place.start(&["--ephemeral"])?;
        claim(server, admin, place, &mut daemon)
    });
}

/// Where an enforcer has put the database's entry into force and was killed.
fn check_left(claim: impl FnOnce(&mut Server, &Api, &mut Place) -> Result<()> + Send) {
    check(|server, admin, place| {
        let mut daemon = place.start(&[])?;
        assert!(place.reaches("frontend", DB)?);
        daemon.end(Signal::SIGKILL)?;
        claim(server, admin, place)
    });
}

#[test]
fn entry_is_in_force_from_when_it_is_applied_until_it_is_deleted() {
    check_running(|_, admin, place, _| {
        assert!(place.reaches("frontend", DB)?, "it was there before");
        assert!(!place.reaches("default", DB)?, "it is not exported");
        for _ in 0..3 {
            admin.apply(&entry("more", "192.0.2.20"))?;
            let added = place.until("frontend", "192.0.2.20:5432", true)?;
            admin.delete(&entry("more", "192.0.2.20"))?;
            let removed = place.until("frontend", "192.0.2.20:5432", false)?;
            println!("allowed after {added:?}, refused after {removed:?}");
        }
        assert!(place.reaches("frontend", DB)?);
        Ok(())
    });
}

#[test]
fn every_kind_takes_part() {
    check_running(|_, admin, place, _| {
        let service = "{apiVersion: v1, kind: Service, metadata: {name: api, namespace: default}, \
                       spec: {clusterIP: 10.96.0.77, ports: [{port: 80, name: http}]}}";
        admin.apply(service)?;
        place.until("frontend", "10.96.0.77:80", true)?;
        let headless = "{apiVersion: v1, kind: Service, metadata: {name: peers, namespace: default}, \
                        spec: {clusterIP: None, ports: [{port: 90, name: tcp}]}}";
        let slice = "{apiVersion: discovery.k8s.io/v1beta1, kind: EndpointSlice, addressType: IPv4, \
                     metadata: {name: peers-1, namespace: default, labels: {kubernetes.io/service-name: peers}}, \
                     endpoints: [{addresses: [10.244.0.9]}], ports: [{port: 90, name: tcp}]}";
        admin.apply(headless)?;
        admin.apply(slice)?;
        place.until("frontend", "10.244.0.9:90", true)?;
        let sidecar = "{apiVersion: networking.istio.io/v1beta1, kind: Sidecar, \
                       metadata: {name: own, namespace: frontend}, spec: {egress: [{hosts: ['./*']}]}}";
        admin.apply(sidecar)?;
        place.until("frontend", "10.244.0.9:90", false)?;
        assert!(place.reaches("frontend", DB)?);
        admin.delete(sidecar)?;
        place.until("frontend", "10.244.0.9:90", true)?;
        for text in [slice, headless, service] {
            admin.delete(text)?;
        }
        place.until("frontend", "10.96.0.77:80", false)?;
        let mesh = "{apiVersion: v1, kind: ConfigMap, metadata: {name: istio, namespace: istio-system}, \
                    data: {mesh: 'outboundTrafficPolicy: {mode: ALLOW_ANY}'}}";
        admin.apply("{apiVersion: v1, kind: Namespace, metadata: {name: istio-system}}")?;
        admin.apply(mesh)?;
        place.until("frontend", "198.51.100.1:80", true)?;
        admin.delete(mesh)?;
        place.until("frontend", "198.51.100.1:80", false)?;
        Ok(())
    });
}

#[test]
fn pods_of_other_nodes_are_followed_where_an_entry_selects_them() {
    check_running(|_, admin, place, _| {
        let pod = "{apiVersion: v1, kind: Pod, metadata: {name: db-0, namespace: frontend, labels: {app: db}}, \
                   spec: {nodeName: n2, containers: [{name: c, image: i}]}, \
                   status: {phase: Running, podIP: 10.244.2.7, podIPs: [{ip: 10.244.2.7}], \
                   conditions: [{type: Ready, status: 'True'}]}}";
        admin.apply(pod)?;
        let selecting = "{apiVersion: networking.istio.io/v1beta1, kind: ServiceEntry, \
                         metadata: {name: pods, namespace: frontend}, spec: {hosts: [pods.example.com], \
                         resolution: STATIC, location: MESH_INTERNAL, workloadSelector: {labels: {app: db}}, \
                         ports: [{number: 5432, name: tcp, protocol: TCP}]}}";
        admin.apply(selecting)?;
        place.until("frontend", "10.244.2.7:5432", true)?;
        admin.delete(pod)?;
        place.until("frontend", "10.244.2.7:5432", false)?;
        admin.apply(pod)?;
        place.until("frontend", "10.244.2.7:5432", true)?;
        admin.delete(selecting)?;
        place.until("frontend", "10.244.2.7:5432", false)?;
        admin.delete(pod)
    });
}

#[test]
fn object_that_istio_would_refuse_is_rejected_alone_and_keeps_its_last_good_version() {
    check_running(|_, admin, place, daemon| {
        let wrong = entry("db", "192.0.2.10").replace("db.example.com", "'*'");
        admin.apply(&wrong)?;
        let line = daemon.line(&["ServiceEntry frontend/db"])?;
        assert!(line.contains("hostname cannot be wildcard"), "{line}");
        assert!(line.contains("the last good version stays in force"), "{line}");
        admin.apply(&entry("other", "192.0.2.20"))?;
        place.until("frontend", "192.0.2.20:5432", true)?;
        assert!(place.reaches("frontend", DB)?);
        let event = event(admin, "frontend", "ServiceEntry", "db")?;
        assert!(event.contains("hostname cannot be wildcard"), "{event}");
        admin.delete(&wrong)?;
        place.until("frontend", DB, false)?;
        Ok(())
    });
}

/// The message of the Event on an object, once there is one.
fn event(admin: &Api, namespace: &str, kind: &str, name: &str) -> Result<String> {
    let mut message = String::new();
    wait("Event", || {
        let events = admin.list(&format!("/api/v1/namespaces/{namespace}/events"))?;
        let about = |event: &&serde_json::Value| {
            event["involvedObject"]["kind"] == kind && event["involvedObject"]["name"] == name
        };
        let found = events.iter().find(about);
        message = found.map_or(String::new(), |event| event["message"].to_string());
        Ok(found.is_some())
    })?;
    Ok(message)
}

#[test]
fn refused_pod_has_an_event_that_names_host_port_and_remedy() {
    check_running(|_, admin, place, _| {
        let pod = "{apiVersion: v1, kind: Pod, metadata: {name: app, namespace: default}, \
                   spec: {nodeName: n1, containers: [{name: c, image: i}]}}";
        admin.apply(pod)?;
        // The pod is known once its Event appears; until then, nobody can be told.
        let mut last = 0;
        wait("Event on the pod", || {
            last += 1;
            place.reaches("default", &format!("192.0.2.10:{}", 5432 + last % 1000))?;
            let events = admin.list("/api/v1/namespaces/default/events")?;
            Ok(events
                .iter()
                .any(|event| event["involvedObject"]["name"] == "app"))
        })?;
        assert!(!place.reaches("default", DB)?);
        wait("Event that names the entry", || {
            let events = admin.list("/api/v1/namespaces/default/events")?;
            let named = |event: &&serde_json::Value| {
                let message = event["message"].as_str().unwrap_or_default();
                event["involvedObject"]["kind"] == "Pod"
                    && message.contains("192.0.2.10:5432 (db.example.com)")
                    && message.contains("ServiceEntry frontend/db")
            };
            Ok(events.iter().find(named).is_some())
        })?;
        admin.delete(pod)
    });
}

#[test]
fn running_pod_without_a_cgroup_is_in_the_status_and_has_an_event_until_it_is_gone() {
    check(|_, admin, place| {
        let kubepods = place.cgroup.child("kubepods")?;
        assert!(kubepods.is_dir());
        let pods = format!(
            "\npods: {{cgroupRoots: [{}/kubepods]}}\n",
            place.cgroup.path().display()
        );
        let config = std::fs::read_to_string(place.config())? + &pods;
        place.configure(&config)?;
        let pod = "{apiVersion: v1, kind: Pod, metadata: {name: lost, namespace: default}, \
                   spec: {nodeName: n1, containers: [{name: c, image: i}]}, status: {phase: Running}}";
        admin.apply(pod)?;
        let daemon = place.start(&["--ephemeral"])?;
        assert!(
            daemon
                .announced
                .contains("but not for 1 of the pods that run on this node"),
            "{}",
            daemon.announced
        );
        let is_named = |problem: &String| problem.contains("pod default/lost is reported as running");
        let status = place.until_status("alarm", |status| status.problems.iter().any(is_named))?;
        assert!(!status.proven);
        let event = event(admin, "default", "Pod", "lost")?;
        assert!(event.contains("no cgroup of it is found"), "{event}");
        admin.delete(pod)?;
        place.until_status("proof", |status| status.proven)?;
        Ok(())
    });
}

#[test]
fn server_that_is_killed_and_forgets_shrinks_nothing() {
    check_running(|server, admin, place, daemon| {
        for _ in 0..2 {
            server.stop()?;
            daemon.line(&["ServiceEntry", "the API server does not answer"])?;
            server.compact()?;
            assert!(place.reaches("frontend", DB)?);
            server.start()?;
            admin.apply(&entry("more", "192.0.2.20"))?;
            place.until("frontend", "192.0.2.20:5432", true)?;
            assert!(place.reaches("frontend", DB)?);
            admin.delete(&entry("more", "192.0.2.20"))?;
            place.until("frontend", "192.0.2.20:5432", false)?;
        }
        Ok(())
    });
}

#[test]
fn server_that_hangs_shrinks_nothing() {
    check_running(|server, admin, place, _| {
        server.hold(true)?;
        let verdicts = (place.reaches("frontend", DB)?, place.reaches("default", DB)?);
        server.hold(false)?;
        assert_eq!(verdicts, (true, false));
        admin.apply(&entry("more", "192.0.2.20"))?;
        place.until("frontend", "192.0.2.20:5432", true)?;
        Ok(())
    });
}

#[test]
fn files_and_api_server_are_one_registry_in_which_the_server_goes_first() {
    check(|_, admin, place| {
        let config = std::fs::read_to_string(place.config())?;
        place.configure(&config.replace("registry: {", "registry: {files: [registry/], "))?;
        place.write("db.yaml", &entry("db", "192.0.2.30"))?;
        place.write("own.yaml", &entry("own", "192.0.2.40"))?;
        let mut daemon = place.start(&["--ephemeral"])?;
        daemon.line(&["ServiceEntry frontend/db", "the API server's is in force"])?;
        assert!(place.reaches("frontend", DB)? && place.reaches("frontend", "192.0.2.40:5432")?);
        assert!(!place.reaches("frontend", "192.0.2.30:5432")?);
        admin.delete(&entry("db", "192.0.2.10"))?;
        place.until("frontend", "192.0.2.30:5432", true)?;
        assert!(!place.reaches("frontend", DB)?);
        admin.apply(&entry("db", "192.0.2.10"))?;
        place.until("frontend", DB, true)?;
        assert!(!place.reaches("frontend", "192.0.2.30:5432")?);
        Ok(())
    });
}

#[test]
fn entry_that_was_deleted_while_nobody_looked_is_refused_after_the_next_list() {
    check_left(|server, admin, place| {
        admin.delete(&entry("db", "192.0.2.10"))?;
        assert!(place.reaches("frontend", DB)?, "nobody has told the kernel");
        server.stop()?;
        let mut daemon = place.launch(&[])?;
        daemon.line(&["first lists of the API server are not complete", "stays in force"])?;
        assert!(place.reaches("frontend", DB)? && !place.reaches("default", DB)?);
        assert!(!daemon.has_announced(), "it is not ready");
        // Whoever asks whether it lives gets an answer, else it would be restarted for nothing.
        assert!(place.command(&["status", "--alive"]).status()?.success());
        let (code, status) = place.status()?;
        assert_eq!(code, Some(1));
        let waits = "the first lists of all sources are not applied yet";
        assert!(
            status.problems.iter().any(|problem| problem == waits),
            "{status:#?}"
        );
        server.start()?;
        daemon.await_announcement()?;
        place.until("frontend", DB, false)?;
        let status = place.until_status("proof", |status| status.proven)?;
        let entries = status.sources.iter().find(|source| source.name == "ServiceEntry");
        assert!(
            entries.is_some_and(|source| source.problem.is_none()),
            "{status:#?}"
        );
        Ok(())
    });
}

#[test]
fn start_believes_a_server_that_was_set_back_since_the_last_one() {
    check_left(|_, admin, place| {
        // What the last start knew of a cluster that was restored from an old backup since.
        let kept = place.state().join("versions.json");
        let text = std::fs::read_to_string(&kept)?;
        let mut versions: BTreeMap<String, u64> = serde_json::from_str(&text)?;
        assert!(versions.contains_key("ServiceEntry"), "{versions:?}");
        for version in versions.values_mut() {
            *version += 1_000_000_000;
        }
        std::fs::write(&kept, serde_json::to_string(&versions)?)?;
        admin.delete(&entry("db", "192.0.2.10"))?;
        admin.apply(&entry("old", "192.0.2.50"))?;
        let mut daemon = place.start(&["--log-level", "debug"])?;
        daemon.line(&[
            "the server's cache is older than a version that was seen",
            "Too large resource version",
        ])?;
        assert!(place.reaches("frontend", "192.0.2.50:5432")?);
        assert!(!place.reaches("frontend", DB)?);
        Ok(())
    });
}

#[test]
fn revoked_token_shrinks_nothing_and_a_new_one_is_taken_up() {
    check_running(|server, admin, place, daemon| {
        admin.delete(ACCOUNT)?;
        // What is open stays open: only a new request shows that the token is worth nothing.
        server.stop()?;
        server.start()?;
        daemon.line(&["ServiceEntry: 401 unauthorized"])?;
        assert!(place.reaches("frontend", DB)?);
        admin.apply(ACCOUNT)?;
        log_in(server, admin)?;
        admin.apply(&entry("more", "192.0.2.20"))?;
        place.until("frontend", "192.0.2.20:5432", true)?;
        Ok(())
    });
}

#[test]
fn withdrawn_role_shrinks_nothing_and_is_reported_by_kind() {
    check_running(|server, admin, place, daemon| {
        admin.delete(BINDING)?;
        server.stop()?;
        server.start()?;
        daemon.line(&["ServiceEntry: 403 forbidden by RBAC (list serviceentries)"])?;
        assert!(place.reaches("frontend", DB)?);
        admin.apply(BINDING)?;
        daemon.line(&["ServiceEntry: following again"])?;
        assert!(place.reaches("frontend", DB)?);
        Ok(())
    });
}

#[test]
fn definitions_may_go_and_come_again() {
    check_running(|_, admin, place, daemon| {
        let crds = admin.list("/apis/apiextensions.k8s.io/v1/customresourcedefinitions")?;
        for crd in &crds {
            let crd = json!({ "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
                              "metadata": { "name": crd["metadata"]["name"] } });
            admin.delete(&crd.to_string())?;
        }
        place.until("frontend", DB, false)?;
        daemon.line(&["ServiceEntry: 404 not served"])?;
        wait("definitions that are gone", || {
            let left = admin.list("/apis/apiextensions.k8s.io/v1/customresourcedefinitions")?;
            Ok(left.is_empty())
        })?;
        for crd in crds {
            let meta =
                json!({ "name": crd["metadata"]["name"], "annotations": crd["metadata"]["annotations"] });
            let crd = json!({ "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
                              "metadata": meta, "spec": crd["spec"] });
            admin.apply_value(&crd)?;
        }
        wait("kind that is served", || {
            Ok(admin.apply(&entry("db", "192.0.2.10")).is_ok())
        })?;
        place.until("frontend", DB, true)?;
        Ok(())
    });
}

#[test]
fn daemon_without_istios_kinds_starts_and_says_which_it_does_without() {
    check(|_, admin, place| {
        let sidecars = json!({ "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
                               "metadata": { "name": "sidecars.networking.istio.io" } });
        admin.delete(&sidecars.to_string())?;
        let path = "/apis/networking.istio.io/v1beta1/sidecars";
        wait("kind that is not served", || Ok(admin.get(path).is_err()))?;
        let mut daemon = place.start(&["--ephemeral"])?;
        daemon.line(&["Sidecar: 404 not served"])?;
        assert!(place.reaches("frontend", DB)? && !place.reaches("default", DB)?);
        Ok(())
    });
}

/// What the API server has told of an object, by the name of the Event.
fn events_of(admin: &Api, name: &str) -> Result<Vec<serde_json::Value>> {
    let mut events = admin.list("/api/v1/namespaces/frontend/events")?;
    events.retain(|event| event["involvedObject"]["name"] == name && event["reason"] == "Suspicious");
    Ok(events)
}

#[test]
fn object_that_allows_nothing_has_one_event_however_often_the_daemon_starts() {
    check(|_, admin, place| {
        let silent = entry("nobody", "192.0.2.20").replace("['.']", "['~']");
        admin.apply(&silent)?;
        let words = ["WARN", "ServiceEntry frontend/nobody is exported to no namespace"];
        let mut daemon = place.start(&[])?;
        daemon.line(&words)?;
        wait("event of the entry", || {
            Ok(!events_of(admin, "nobody")?.is_empty())
        })?;
        let [event] = &events_of(admin, "nobody")?[..] else {
            panic!("one event")
        };
        let path = "/apis/networking.istio.io/v1beta1/namespaces/frontend/serviceentries/nobody";
        let object: serde_json::Value = serde_json::from_str(&admin.get(path)?)?;
        let about = &event["involvedObject"];
        assert_eq!(about["uid"], object["metadata"]["uid"]);
        assert_eq!(
            (&about["kind"], &event["count"]),
            (&"ServiceEntry".into(), &1.into())
        );
        let is_told = |status: &enforcer::control::Status| {
            let mut warnings = status.warnings.iter();
            warnings.any(|warning| warning.contains("frontend/nobody is exported to no namespace"))
        };
        place.until_status("warning", is_told)?;
        daemon.end(Signal::SIGTERM)?;

        let mut daemon = place.start(&[])?;
        daemon.line(&words)?;
        admin.apply(&silent.replace("nobody", "another"))?;
        daemon.line(&["ServiceEntry frontend/another is exported to no namespace"])?;
        wait("event of the other entry", || {
            Ok(!events_of(admin, "another")?.is_empty())
        })?;
        let [again] = &events_of(admin, "nobody")?[..] else {
            panic!("one event")
        };
        assert_eq!(
            (&again["metadata"]["uid"], &again["count"]),
            (&event["metadata"]["uid"], &1.into())
        );
        admin.apply(&entry("nobody", "192.0.2.20"))?;
        place.until("frontend", "192.0.2.20:5432", true)?;
        place.until_status("no warning", |status| !is_told(status))?;
        let lines = daemon.lines();
        assert!(
            !lines.iter().any(|line| line.contains(words[1])),
            "it was told again: {lines:?}"
        );
        Ok(())
    });
}

#[test]
fn virtual_service_that_sends_an_entrys_host_elsewhere_is_a_warning_and_changes_nothing() {
    check(|_, admin, place| {
        let schema =
            json!({ "openAPIV3Schema": { "type": "object", "x-kubernetes-preserve-unknown-fields": true } });
        let definition = json!({
            "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
            "metadata": { "name": "virtualservices.networking.istio.io" },
            "spec": {
                "group": "networking.istio.io", "scope": "Namespaced",
                "names": { "kind": "VirtualService", "listKind": "VirtualServiceList", "plural": "virtualservices",
                           "singular": "virtualservice" },
                "versions": [{ "name": "v1beta1", "served": true, "storage": true, "schema": schema }],
            },
        });
        admin.apply_value(&definition)?;
        let route = "apiVersion: networking.istio.io/v1beta1\nkind: VirtualService\nmetadata: {name: route, namespace: \
                     frontend}\nspec: {hosts: [db.example.com], tcp: [{route: [{destination: {host: \
                     gateway.istio-system.svc.cluster.local}}]}]}\n";
        wait("kind that is served", || Ok(admin.apply(route).is_ok()))?;
        let mut daemon = place.start(&["--ephemeral"])?;
        daemon.line(&[
            "WARN",
            "VirtualService frontend/route sends what is for db.example.com of ServiceEntry frontend/db",
        ])?;
        assert!(place.reaches("frontend", DB)? && !place.reaches("default", DB)?);
        wait(
            "event of the route",
            || Ok(!events_of(admin, "route")?.is_empty()),
        )?;
        admin.delete(&definition.to_string())
    });
}
