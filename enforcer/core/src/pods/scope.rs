//! How far a pod is enforced.
//!
//! ```text
//! label of the namespace, else excluded namespaces, else the selector, else the default -> label of the pod
//! ```
//!
//! **Architecture Invariant:** what a pod's author can write never makes enforcement looser, unless the operator has
//! said so. A value that is not understood counts as absent, never as `off`.

use std::{collections::BTreeSet, fmt};

use crate::{
    istio::{LabelSelector, Pod},
    model::{Enforcement, Labels, Namespace},
};

const MODE_LABEL: &str = Enforcement::LABEL;

/// What says how far pods are enforced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scope {
    /// For pods of selected namespaces that have no label.
    pub default: Enforcement,
    /// Which namespaces are enforced without a label of their own; an empty one selects all.
    pub selector: LabelSelector,
    /// Namespaces that are off without a label of their own, selected or not.
    pub excluded: BTreeSet<Namespace>,
    /// What the label of a pod may do.
    pub pod_labels: PodLabels,
    /// Whether a pod that asks Istio not to capture any of its traffic is off.
    pub honours_capture: bool,
}

/// What the label of a pod may do, which its author writes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PodLabels {
    /// Nothing.
    Ignore,
    /// Make enforcement stricter than the namespace has it.
    #[default]
    Tighten,
    /// Anything.
    Honour,
}

/// Something that an object says in vain.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Notice {
    /// The mode of a namespace or pod is no mode.
    NotAMode {
        /// Whose label it is.
        of: String,
        /// Its value.
        value: String,
    },
    /// A pod may not be enforced less than its namespace.
    Looser {
        /// The pod.
        pod: String,
        /// What its label says.
        asked: Enforcement,
        /// What holds.
        holds: Enforcement,
    },
    /// A pod keeps traffic from Istio's proxy, which changes nothing here.
    Capture {
        /// The pod.
        pod: String,
        /// The annotation or label.
        key: &'static str,
    },
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotAMode { of, value } => write!(
                f,
                "{of}: the label {MODE_LABEL} is {value:?}, which counts as absent; modes are enforce, audit and off"
            ),
            Self::Looser { pod, asked, holds } => write!(
                f,
                "pod {pod}: its label {MODE_LABEL}={asked} is ignored, it stays at {holds}; \
                 `pods.podLabels: honour` would let pods choose"
            ),
            Self::Capture { pod, key } => {
                write!(f, "pod {pod}: {key} is ignored, and its traffic is enforced")
            }
        }
    }
}

/// What keeps all of a pod's traffic from Istio's proxy, or some of it.
const CAPTURE: [&str; 6] = [
    INTERCEPTION,
    INCLUDE_RANGES,
    EXCLUDE_RANGES,
    "traffic.sidecar.istio.io/includeOutboundPorts",
    "traffic.sidecar.istio.io/excludeOutboundPorts",
    "traffic.sidecar.istio.io/excludeInterfaces",
];
const INJECT: &str = "sidecar.istio.io/inject";
const DATAPLANE: &str = "istio.io/dataplane-mode";
const INTERCEPTION: &str = "sidecar.istio.io/interceptionMode";
const INCLUDE_RANGES: &str = "traffic.sidecar.istio.io/includeOutboundIPRanges";
const EXCLUDE_RANGES: &str = "traffic.sidecar.istio.io/excludeOutboundIPRanges";

impl Scope {
    /// How far `pod` is enforced in a namespace with these labels, and what was said in vain.
    pub fn enforcement(&self, pod: &Pod, of_namespace: &Labels) -> (Enforcement, Vec<Notice>) {
        let mut notices = Vec::new();
        let namespace = &pod.meta.namespace;
        let name = || format!("{namespace}/{}", pod.meta.name);
        let label = label(of_namespace, || format!("namespace {namespace}"), &mut notices);
        let mut holds = label.unwrap_or_else(|| {
            if self.excluded.contains(namespace) || !self.selector.fits(of_namespace) {
                Enforcement::Off
            } else {
                self.default
            }
        });
        for (key, is_all) in uncaptured(pod) {
            if self.honours_capture && is_all {
                holds = Enforcement::Off;
            } else if holds != Enforcement::Off {
                notices.push(Notice::Capture { pod: name(), key });
            }
        }
        if let Some(asked) = self::label(&pod.meta.labels, || format!("pod {}", name()), &mut notices) {
            let may = match self.pod_labels {
                PodLabels::Ignore => asked == holds,
                PodLabels::Tighten => asked >= holds,
                PodLabels::Honour => true,
            };
            if may {
                holds = asked;
            } else {
                let pod = name();
                notices.push(Notice::Looser { pod, asked, holds });
            }
        }
        (holds, notices)
    }
}

fn label(labels: &Labels, of: impl Fn() -> String, notices: &mut Vec<Notice>) -> Option<Enforcement> {
    let value = labels.get(MODE_LABEL)?;
    let mode = Enforcement::parse(value);
    if mode.is_none() {
        let value = value.clone();
        notices.push(Notice::NotAMode { of: of(), value });
    }
    mode
}

/// What the pod says to keep its traffic from Istio's proxy, and whether that is all of its traffic.
fn uncaptured(pod: &Pod) -> Vec<(&'static str, bool)> {
    let mut found = Vec::new();
    // The label wins over the annotation (`injectRequired` of Istio's injector).
    let inject = pod
        .meta
        .labels
        .get(INJECT)
        .or_else(|| pod.meta.annotations.get(INJECT));
    if inject.is_some_and(|value| value == "false") {
        found.push((INJECT, true));
    }
    let ambient = pod.meta.labels.get(DATAPLANE);
    if ambient.is_some_and(|mode| mode == "none") {
        found.push((DATAPLANE, true));
    }
    for key in CAPTURE {
        let Some(value) = pod.meta.annotations.get(key) else {
            continue;
        };
        let value = value.trim();
        match (key, value) {
            (INTERCEPTION, "NONE") | (INCLUDE_RANGES, "") | (EXCLUDE_RANGES, "*" | "0.0.0.0/0") => {
                found.push((key, true));
            }
            (INTERCEPTION, _) | (INCLUDE_RANGES, "*") => {}
            (INCLUDE_RANGES, _) => found.push((key, false)),
            (_, "") => {}
            _ => found.push((key, false)),
        }
    }
    found
}
