//! What was received of an object that somebody waits for.

use enforcer_core::istio::ObjectId;

use super::Ingest;
use crate::control::{Presence, Sought};

impl Ingest {
    /// What has still to be received; None if nothing has.
    pub(in crate::daemon) fn behind(&self, sought: &Sought) -> Option<String> {
        if self.batches < sought.batches {
            return Some("files of the registry have changed and are not applied yet".to_owned());
        }
        let version = sought.version.filter(|_| self.follows_cluster)?;
        let followed = self.followed.get(&sought.id.kind).copied();
        (followed < Some(version))
            .then(|| format!("version {version} of it has not come from the API server yet"))
    }

    /// What becomes of an object that is not in force as it was written last; None if it is.
    pub(in crate::daemon) fn missing(&self, sought: &Sought) -> Option<Presence> {
        let id = &sought.id;
        if sought.version.is_some() && !self.follows_cluster {
            let why = "this enforcer follows no API server: its registry is of files";
            return Some(Presence::Refused(vec![why.to_owned()]));
        }
        if let Some(why) = self.rejection(id) {
            return Some(Presence::Refused(vec![format!("it is rejected: {why}")]));
        }
        if self.registry.has(id) {
            return None;
        }
        if self.follows_cluster && sought.version.is_none() {
            return Some(Presence::Pending("there is no such object".to_owned()));
        }
        let mut why = vec![if self.follows_cluster {
            "the API server has it no longer, or it is for another revision".to_owned()
        } else {
            "no file of the registry defines it".to_owned()
        }];
        // One of these may be meant to.
        let nameless = self.documents.problems().into_iter();
        let nameless = nameless.filter(|problem| problem.object.is_none() && !self.follows_cluster);
        why.extend(nameless.map(|problem| problem.to_string()));
        Some(Presence::Refused(why))
    }

    /// Why the newest version of an object is not in force.
    pub(in crate::daemon) fn rejection(&self, id: &ObjectId) -> Option<String> {
        if let Some(why) = self.rejections.get(id) {
            return Some(why.clone());
        }
        if self.precedence.is_of_cluster(id) {
            return None;
        }
        let problems: Vec<_> = self.documents.problems_of(id);
        let problems: Vec<_> = problems.iter().map(ToString::to_string).collect();
        (!problems.is_empty()).then(|| problems.join("; "))
    }
}
