//! Whether one object is in the kernel's maps, for whoever waits for it.

use enforcer_core::registry::Warning;

use super::Owner;
use crate::{
    control::{Presence, Sought},
    daemon::reporter::absent,
};

impl Owner {
    /// How an object stands after all that was received. What costs more comes last.
    pub(super) fn find(&mut self, sought: &Sought) -> Presence {
        if self.start.is_some() {
            return Presence::Pending(
                "the enforcer is starting: what there is was not listed yet".to_owned(),
            );
        }
        if self.pending.is_some() {
            return Presence::Pending("a changed configuration is being taken up".to_owned());
        }
        if let Some(reason) = self.ingest.behind(sought) {
            return Presence::Pending(reason);
        }
        if !sought.is_gone
            && let Some(found) = self.ingest.missing(sought)
        {
            return found;
        }
        let is_there = self.ingest.registry().has(&sought.id);
        if sought.is_gone && (is_there || self.ingest.rejection(&sought.id).is_some()) {
            return Presence::Pending("it is there".to_owned());
        }
        if let Some(failure) = self.reconciler.failure() {
            return Presence::Pending(format!("not all changes are in force: {failure}"));
        }
        if self.schedule.has_changes() || !self.reconciler.is_in_force() {
            return Presence::Pending("it is being written to the kernel's maps".to_owned());
        }
        if sought.is_gone {
            return Presence::Gone;
        }
        self.find_written(sought)
    }

    fn find_written(&mut self, sought: &Sought) -> Presence {
        let id = &sought.id;
        let registry = self.ingest.registry();
        let mut names = registry.names_of_object(id);
        names.retain(|name| !sought.resolved.contains_key(name));
        if !names.is_empty() {
            let learns = absent(&self.ingest, &self.reconciler).is_none();
            return Presence::Unresolved(names, learns);
        }
        let on_the_way = sought
            .resolved
            .iter()
            .find(|(host, addresses)| !registry.has_resolved(host, addresses));
        if let Some((host, _)) = on_the_way {
            return Presence::Pending(format!(
                "addresses of {host} are on their way to the kernel's maps"
            ));
        }
        let rules = registry.rules_of_object(id);
        if let Some(left_out) = self.reconciler.left_out(&rules) {
            return Presence::Refused(vec![left_out]);
        }
        let all = self.ingest.of_registry();
        let its = || all.iter().filter(|warning| warning.object() == Some(id));
        let said = |of: &dyn Fn(&Warning) -> bool| -> Vec<String> {
            let chosen = its().filter(|warning| of(warning));
            chosen.map(ToString::to_string).collect()
        };
        let refused = said(&|warning| warning.is_bar() && !warning.is_passing());
        if !refused.is_empty() {
            return Presence::Refused(refused);
        }
        Presence::Written {
            waits: said(&Warning::is_bar),
            warnings: said(&|warning| !warning.is_bar()),
            others: self.reconciler.capacity().problems().collect(),
        }
    }
}
