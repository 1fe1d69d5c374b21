//! The enforcement mode of a pod.
//!
//! ```text
//! label of the namespace, else excluded namespaces, else the selector, else the default -> label of the pod
//! ```
//!
//! **Architecture Invariant:** what a pod's author can write never makes enforcement looser, unless the operator
//! allows it. A value that is not understood counts as `enforce`, wherever the label counts: a mistake never makes
//! enforcement looser.

use std::{collections::BTreeSet, fmt};

use crate::{
    istio::{LabelSelector, Pod},
    model::{Enforcement, Labels, Namespace},
};

const MODE_LABEL: &str = Enforcement::LABEL;

/// The settings that determine the enforcement mode of pods.
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

/// What the label of a pod may do; the pod's author sets it.
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

/// A setting in an object that has no effect.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Notice {
    /// The label of a pod has no valid mode. The registry warns of that of a namespace.
    NotAMode {
        /// The pod with the label.
        pod: String,
        /// Its value.
        value: String,
    },
    /// A pod's label asks for less enforcement than its namespace has, which is not allowed.
    Looser {
        /// The pod.
        pod: String,
        /// What its label says.
        asked: Enforcement,
        /// The mode that applies.
        holds: Enforcement,
    },
    /// A pod excludes traffic from Istio's proxy, which has no effect here.
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
            Self::NotAMode { pod, value } => write!(
                f,
                "pod {pod}: the label {MODE_LABEL} is {value:?}, which is no mode and counts as enforce; modes are enforce, audit and \
                 off"
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

/// Labels and annotations that exclude some or all of a pod's traffic from Istio's proxy.
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
    /// The mode of `pod` in a namespace with these labels, and the settings that have no effect.
    pub fn enforcement(&self, pod: &Pod, of_namespace: &Labels) -> (Enforcement, Vec<Notice>) {
        let mut notices = Vec::new();
        let namespace = &pod.meta.namespace;
        let name = || format!("{namespace}/{}", pod.meta.name);
        let mut holds = label(of_namespace).unwrap_or_else(|| {
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
        let own = pod.meta.labels.get(MODE_LABEL);
        if let Some(value) = own.filter(|value| self.counts(value)) {
            let asked = Enforcement::of_label(value);
            if Enforcement::parse(value).is_none() {
                let (pod, value) = (name(), value.clone());
                notices.push(Notice::NotAMode { pod, value });
            }
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

    /// Whether a pod's label does: where it is ignored, what is no mode is nobody's mistake.
    fn counts(&self, value: &str) -> bool {
        self.pod_labels != PodLabels::Ignore || Enforcement::parse(value).is_some()
    }
}

fn label(labels: &Labels) -> Option<Enforcement> {
    labels.get(MODE_LABEL).map(|value| Enforcement::of_label(value))
}

/// The pod's settings that exclude its traffic from Istio's proxy, each with whether it is all of its traffic.
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
