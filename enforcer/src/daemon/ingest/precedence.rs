//! Which version counts if both a file and the API server have an object: the API server's.
//!
//! In a cluster, users and Istio see its objects; files are for objects that it does not have. A file's version comes
//! into force when the API server's object is deleted.

use std::collections::BTreeSet;

use enforcer_core::{documents::Documents, istio::ObjectId, registry::Update};

/// The objects that the API server has.
#[derive(Debug, Default)]
pub(super) struct Precedence {
    cluster: BTreeSet<ObjectId>,
    /// Whether there are both files and an API server.
    is_needed: bool,
}

impl Precedence {
    pub(super) fn new(is_needed: bool) -> Self {
        Self {
            cluster: BTreeSet::new(),
            is_needed,
        }
    }

    /// Whether the API server has an object, where files may have it too.
    pub(super) fn is_of_cluster(&self, id: &ObjectId) -> bool {
        self.cluster.contains(id)
    }

    /// The update that a file's update results in; None if the API server has the object.
    pub(super) fn of_file(&self, update: Update) -> Option<Update> {
        let id = match &update {
            Update::Apply(object) => object.id(),
            Update::Delete(id) => id.clone(),
            _ => return Some(update),
        };
        if !self.cluster.contains(&id) {
            return Some(update);
        }
        if matches!(update, Update::Apply(_)) {
            say(&id);
        }
        None
    }

    /// The update that one from the API server results in.
    pub(super) fn of_cluster(&mut self, update: Update, files: &Documents) -> Update {
        if !self.is_needed {
            return update;
        }
        match update {
            Update::Apply(object) => {
                let id = object.id();
                let is_in_file = files.object(&id).is_some();
                if is_in_file && !self.cluster.contains(&id) {
                    say(&id);
                }
                self.cluster.insert(id);
                Update::Apply(object)
            }
            Update::Delete(id) => {
                self.cluster.remove(&id);
                match files.object(&id) {
                    Some(object) => Update::Apply(object.clone()),
                    None => Update::Delete(id),
                }
            }
            other => other,
        }
    }
}

fn say(id: &ObjectId) {
    tracing::warn!("{id}: a file defines it too; the API server's is in force");
}

#[cfg(test)]
mod tests {
    use enforcer_core::istio::Object;

    use super::*;

    fn text(host: &str) -> String {
        format!(
            "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {{name: db}}\nspec:\n  hosts: [{host}]\n"
        )
    }

    fn object(host: &str) -> Object {
        let updates = Documents::default().set("a.yaml", Some(&text(host)));
        let [Update::Apply(object)] = updates.as_slice() else {
            panic!("{updates:?}")
        };
        object.clone()
    }

    #[test]
    fn api_server_goes_before_files_whichever_comes_first() {
        let mut files = Documents::default();
        let mut precedence = Precedence::new(true);
        let from_file = files.set("a.yaml", Some(&text("file.example.com"))).remove(0);
        assert_eq!(precedence.of_file(from_file.clone()), Some(from_file.clone()));
        let from_cluster = Update::Apply(object("cluster.example.com"));
        assert_eq!(precedence.of_cluster(from_cluster.clone(), &files), from_cluster);
        assert_eq!(precedence.of_file(from_file.clone()), None);
        let id = object("a").id();
        assert_eq!(precedence.of_file(Update::Delete(id.clone())), None);
        assert_eq!(precedence.of_cluster(Update::Delete(id), &files), from_file);
    }

    #[test]
    fn object_that_only_the_api_server_had_is_gone_with_it() {
        let mut precedence = Precedence::new(true);
        let files = Documents::default();
        let id = object("a").id();
        precedence.of_cluster(Update::Apply(object("a")), &files);
        let gone = Update::Delete(id);
        assert_eq!(precedence.of_cluster(gone.clone(), &files), gone);
        assert_eq!(precedence.of_file(gone.clone()), Some(gone));
    }
}
