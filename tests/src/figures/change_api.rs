//! From the API server's answer to a change to the first connect that is allowed for it, and to the first that is
//! refused for it.

use anyhow::{Result, ensure};
use figure::{Figure, Series};
use serde_json::{Value, json};

use super::{
    Measurement, Need, Setting, change,
    world::{PORT, address, destination, settle, until},
};
use crate::{
    daemon::Place,
    kube::{Api, Server, with_server},
};

const TITLE: &str = "From a change at the API server to the first connect by it";

/// For the table of measurements.
pub(super) const API: Measurement = Measurement {
    name: "change-api",
    title: TITLE,
    needs: &[Need::Root, Need::ApiServer],
    take: api,
};

const CONFIG: &str = "
registry: {kubernetes: {kubeconfig: $KUBECONFIG, node: n1}}
workloads: [{namespace: ns-0, name: web, cgroup: $CGROUP/web0}]
dns: {servers: [192.0.2.53], timeout: 500ms}
";

/// The number of the first entry that is added.
const FIRST: u32 = 1_000_000;

fn object(number: u32) -> Value {
    json!({
        "apiVersion": "networking.istio.io/v1beta1",
        "kind": "ServiceEntry",
        "metadata": { "namespace": "ns-0", "name": format!("service-{number}") },
        "spec": {
            "hosts": [format!("service-{number}.example.com")],
            "addresses": [address(number).to_string()],
            "location": "MESH_EXTERNAL",
            "resolution": "NONE",
            "ports": [{ "number": PORT, "name": "tls", "protocol": "TLS" }],
        },
    })
}

/// Takes the figure of the API server.
///
/// # Errors
/// If something does not work.
fn api(setting: &Setting) -> Result<Vec<Figure>> {
    let mut figure = Figure::new("change-api", TITLE, "ms");
    // To fill a server with 100,000 objects takes longer than everything else here.
    let sizes: &[u32] = setting.size.pick(&[10, 1_000, 10_000], &[10, 1_000], &[10]);
    let mut series = Vec::new();
    with_server(|server| {
        series = measure(setting, server, sizes)?;
        Ok(())
    })?;
    figure.series = series;
    change::judge(&mut figure);
    Ok(vec![figure])
}

fn measure(setting: &Setting, server: &mut Server, sizes: &[u32]) -> Result<Vec<Series>> {
    let admin = server.admin()?;
    admin.apply_value(&json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": "ns-0" } }))?;
    let kubeconfig = server.kubeconfig("figures", &json!({ "token": "admin" }))?;
    let config = CONFIG.replace("$KUBECONFIG", &kubeconfig.display().to_string());
    let mut place = Place::with_bpffs(&setting.program.to_string_lossy(), &config)?;
    place.enforcer = setting.enforcer.clone();
    place.cgroup.child("web0")?;
    let mut daemon = place.start(&["--log-level", "error"])?;
    let mut series = Vec::new();
    let mut there = 0;
    for entries in sizes {
        admin.create_all((there..*entries).map(object).collect())?;
        there = *entries;
        until(&mut place, &destination(there - 1), true)?;
        settle(&place, &mut daemon)?;
        series.extend(at_size(setting, &admin, &mut place, there)?);
    }
    Ok(series)
}

fn at_size(setting: &Setting, admin: &Api, place: &mut Place, entries: u32) -> Result<Vec<Series>> {
    let rounds = setting.size.pick(200, 15, 3);
    let mut allowed = Vec::new();
    let mut refused = Vec::new();
    for round in 0..rounds {
        let object = object(FIRST + round);
        let to = destination(FIRST + round);
        ensure!(!place.reaches("web0", &to)?, "{to} is not registered yet");
        admin.apply_value(&object)?;
        allowed.push(until(place, &to, true)?);
        admin.delete(&object.to_string())?;
        refused.push(until(place, &to, false)?);
    }
    let series = [("allowed", allowed), ("refused", refused)];
    Ok(series
        .into_iter()
        .map(|(case, samples)| Series::new(case, "ours", samples).at("entries", f64::from(entries)))
        .collect())
}
