//! What the registry compiles to, and that nothing but its content matters.

use super::*;
use crate::{
    istio::Resolution,
    model::{Mode, Protocol},
    test_support::{allowed, entry, policy, resolved, set, workload, world},
};

#[test]
fn selected_workload_with_no_rules_is_denied() {
    let mut registry = world(Settings::default(), [workload(1, "frontend", "")]);
    let policy = policy(&mut registry, 1);
    assert_eq!((policy.mode, policy.own.len()), (Mode::Enforce, 0));
    assert!(registry.desired().shared.is_empty());
}

#[test]
fn private_entry_is_allowed_to_its_namespace_alone() {
    let db = entry("frontend/db", "db.example.com", &[(5432, Protocol::Tcp)])
        .resolution(Resolution::Dns)
        .export(&["."]);
    let mut registry = world(
        Settings::default(),
        [db.into(), workload(1, "frontend", ""), workload(2, "default", "")],
    );
    assert_eq!(*registry.hosts(), BTreeSet::from([Host::new("db.example.com")]));
    registry.apply(resolved("db.example.com", &["192.0.2.1", "2001:db8::1"]));
    assert_eq!(
        allowed(&mut registry, 1),
        set(&["tcp 192.0.2.1:5432", "tcp [2001:db8::1]:5432"])
    );
    assert_eq!(allowed(&mut registry, 2), set(&[]));
}
