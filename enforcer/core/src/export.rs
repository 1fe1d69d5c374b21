//! Which namespaces may see an object: `exportTo`, the mesh's defaults and bounds, and ignored objects.

use std::{collections::BTreeSet, fmt};

use crate::{
    istio::{ExportTo, MeshConfig, Meta, Visibility},
    model::Namespace,
    objects::{Objects, Owner, is_of_revision},
};

/// The namespaces that see an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Export {
    /// All of them.
    Public,
    /// These; none of them if it is empty.
    To(BTreeSet<Namespace>),
}

/// Why an object is ignored, whatever its content.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Ignored {
    /// It is labelled for another revision.
    Revision,
    /// `discoverySelectors` leave its namespace out.
    Namespace,
}

/// As in `denied: ServiceEntry default/db is ignored: …`.
impl fmt::Display for Ignored {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Revision => "it is labelled for another revision (istio.io/rev)",
            Self::Namespace => "no discoverySelector selects its namespace",
        })
    }
}

impl Export {
    /// Whether a workload of `namespace` sees it.
    pub(crate) fn includes(&self, namespace: &Namespace) -> bool {
        match self {
            Self::Public => true,
            Self::To(namespaces) => namespaces.contains(namespace),
        }
    }

    /// The namespaces that it names.
    pub(crate) fn named(&self) -> impl Iterator<Item = &Namespace> {
        let named = match self {
            Self::Public => None,
            Self::To(namespaces) => Some(namespaces),
        };
        named.into_iter().flatten()
    }

    /// Whether no namespace sees it.
    pub(crate) fn is_nobody(&self) -> bool {
        matches!(self, Self::To(namespaces) if namespaces.is_empty())
    }
}

/// Which namespaces see `owner`, before any Sidecar applies.
pub(crate) fn export(owner: &Owner, mesh: &MeshConfig, objects: &Objects) -> Export {
    let (export_to, own) = (owner.export_to(), &owner.meta().namespace);
    let export_to = if export_to.is_empty() {
        &mesh.default_export_to
    } else {
        export_to
    };
    let export = parse(export_to, own);
    match owner {
        Owner::Entry(_) => cap(export, bound(own, mesh, objects), own),
        Owner::Service(_) => export,
    }
}

/// `*` overrides everything, `~` overrides every name (`initServiceRegistry` in `push_context.go`).
fn parse(export_to: &[ExportTo], own: &Namespace) -> Export {
    if export_to.contains(&ExportTo::Everyone) {
        return Export::Public;
    }
    if export_to.contains(&ExportTo::Nobody) {
        return Export::To(BTreeSet::new());
    }
    let names = export_to.iter().filter_map(|to| match to {
        ExportTo::Own => Some(own.clone()),
        ExportTo::Namespace(name) => Some(name.clone()),
        ExportTo::Everyone | ExportTo::Nobody => None,
    });
    Export::To(names.collect())
}

/// The bound that `serviceEntryVisibility` sets for entries of `namespace`.
fn bound(namespace: &Namespace, mesh: &MeshConfig, objects: &Objects) -> Visibility {
    let Some(visibility) = mesh.visibility.as_ref().filter(|it| it.apply_to_sidecars) else {
        return Visibility::Public;
    };
    let labels = objects.namespace_labels(namespace);
    let mut policies = visibility.policies.iter();
    policies
        .find(|(selector, _)| selector.fits(&labels))
        .map_or(Visibility::Public, |(_, visibility)| *visibility)
}

fn cap(export: Export, bound: Visibility, own: &Namespace) -> Export {
    match bound {
        Visibility::Public => export,
        Visibility::None => Export::To(BTreeSet::new()),
        Visibility::Namespace => {
            let own = export.includes(own).then(|| own.clone());
            Export::To(own.into_iter().collect())
        }
    }
}

/// Why an object of Istio's is ignored, if it is. Those of Kubernetes belong to no revision: for them only
/// [`ignored_namespace`] counts.
pub(crate) fn ignored(meta: &Meta, revision: &str, mesh: &MeshConfig, objects: &Objects) -> Option<Ignored> {
    if is_of_revision(meta, revision) {
        ignored_namespace(&meta.namespace, mesh, objects)
    } else {
        Some(Ignored::Revision)
    }
}

/// Whether the discovery selectors leave `namespace` out.
pub(crate) fn ignored_namespace(
    namespace: &Namespace,
    mesh: &MeshConfig,
    objects: &Objects,
) -> Option<Ignored> {
    if mesh.discovery_selectors.is_empty() {
        return None;
    }
    let labels = objects.namespace_labels(namespace);
    let mut selectors = mesh.discovery_selectors.iter();
    (!selectors.any(|selector| selector.fits(&labels))).then_some(Ignored::Namespace)
}
