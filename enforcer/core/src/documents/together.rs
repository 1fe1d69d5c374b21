//! What documents mean together, for `enforcer check`: the warnings of the registry that they make.

use std::collections::HashMap;

use super::check::{Record, Related};
use crate::{
    istio::ObjectId,
    model::{CgroupId, Workload},
    registry::{Registry, Update, Warning},
    settings::Settings,
};

/// Adds to each record what the registry of all of them warns of, for the workloads of a configuration.
pub fn judge_together(
    records: &mut [Record],
    settings: Settings,
    workloads: impl IntoIterator<Item = Workload>,
) {
    let mut registry = Registry::new(settings);
    for (cgroup, workload) in (1..).zip(workloads) {
        registry.apply(Update::Workload(CgroupId(cgroup), workload));
    }
    let mut places: HashMap<ObjectId, usize> = HashMap::new();
    for (place, record) in records.iter().enumerate() {
        let Some(object) = &record.object else {
            continue;
        };
        // Of two documents with one object, the first is in force.
        places.entry(object.id()).or_insert_with(|| {
            registry.apply(Update::Apply(object.clone()));
            place
        });
    }
    for warning in registry.warnings() {
        let others = warning.others().into_iter();
        let related: Vec<Related> = others
            .filter_map(|other| Some(related(other, records.get(*places.get(other)?)?)))
            .collect();
        let place = warning.object().and_then(|object| places.get(object));
        if let Some(record) = place.and_then(|place| records.get_mut(*place)) {
            let text = text(&warning, &related);
            record.warnings.push(format!("line {}: {text}", record.line));
            for other in related {
                if !record.related.contains(&other) {
                    record.related.push(other);
                }
            }
        }
    }
}

fn related(object: &ObjectId, record: &Record) -> Related {
    Related {
        object: object.to_string(),
        file: record.file.clone(),
        line: record.line,
    }
}

/// Pods, answers of resolvers and objects of the API server are not among the documents.
fn text(warning: &Warning, related: &[Related]) -> String {
    let mut text = warning.to_string();
    for (at, Related { file, line, .. }) in related.iter().enumerate() {
        let separator = if at == 0 { "; see" } else { "," };
        text.push_str(&format!("{separator} {file}:{line}"));
    }
    if warning.is_passing() || warning.depends_on_others() {
        text.push_str(" (as far as what is checked here says)");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::super::check;
    use super::*;

    #[test]
    fn warning_is_at_the_document_of_its_object() {
        let entry = |name: &str, more: &str| {
            format!(
                "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {{name: {name}}}\n\
                 spec: {{hosts: [{name}.example.com], ports: [{{number: 443, name: tls, protocol: TLS}}]{more}}}\n"
            )
        };
        let text = [
            entry("a", ""),
            entry("b", ", resolution: STATIC, workloadSelector: {labels: {app: b}}"),
        ]
        .join("---\n");
        let mut records = check("f", &text);
        judge_together(&mut records, Settings::default(), []);
        let warnings: Vec<_> = records.iter().map(|record| record.warnings.clone()).collect();
        assert_eq!(warnings[0], [""; 0]);
        assert_eq!(
            warnings[1],
            [
                "line 6: ServiceEntry default/b allows nothing: its workloadSelector selects no Pod and no WorkloadEntry \
              (as far as what is checked here says)"
            ]
        );
    }
}
