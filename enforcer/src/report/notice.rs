//! Reports to users of Kubernetes, on the object concerned. This module makes the text; `sources::kube` writes it.

use enforcer_common::Verdict;
use enforcer_core::{istio::ObjectId, model::Workload, registry::Warning};

use super::{escape::Line, flow::Flow};

/// One thing to tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// Where it appears.
    pub about: About,
    /// One word for it, in Kubernetes' manner.
    pub reason: &'static str,
    /// A sentence, at most [`MESSAGE_LIMIT`] bytes.
    pub message: String,
    /// Two notices about the same object with the same subject are the same one for a reader.
    pub subject: String,
}

/// The object that a notice is about.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum About {
    /// A pod of this node, by namespace and name; nothing is told if there is none.
    Pod(String, String),
    /// An object of the registry, with its `apiVersion` and uid.
    Object(ObjectId, String, String),
    /// The same without these, which are asked for before it is told; nothing is told if the API server has no such
    /// object.
    Named(ObjectId),
}

/// The most bytes of a message: the limit of Kubernetes for an Event's note.
pub const MESSAGE_LIMIT: usize = 1024;

/// The owner of the share on which a notice counts: a pod, or all objects of a namespace together.
pub type Sharer = (String, Option<String>);

impl About {
    /// The owner of its share.
    pub fn sharer(&self) -> Sharer {
        match self {
            Self::Pod(namespace, name) => (namespace.clone(), Some(name.clone())),
            Self::Object(id, ..) | Self::Named(id) => (id.namespace.to_string(), None),
        }
    }
}

impl Notice {
    /// Of a refusal, or of what would be one; None if nothing was refused.
    pub fn refused(flow: &Flow, workload: &Workload) -> Option<Self> {
        let (reason, verb) = match flow.verdict {
            Verdict::Allow => return None,
            Verdict::Deny => ("EgressRefused", "was refused"),
            Verdict::Audit => ("EgressUnregistered", "would be refused"),
        };
        let Flow {
            protocol,
            destination,
            ..
        } = flow;
        let mut message = format!("{protocol} {} {verb}: {}", flow.place(), flow.reason);
        if let Some(suggestion) = &flow.suggestion {
            message = format!("{message}; {suggestion}");
        }
        Some(Self {
            about: About::Pod(workload.namespace.to_string(), workload.name.clone()),
            reason,
            message: shortened(message),
            // A host's addresses may change; the news stays the same.
            subject: match flow.host() {
                Some(host) => format!("{reason} {protocol} {host}:{}", destination.port()),
                None => format!("{reason} {protocol} {destination}"),
            },
        })
    }

    /// About a pod that runs where nothing enforces it; `problem` says so without its name.
    pub fn unbound(pod: &Workload, problem: &str) -> Self {
        Self {
            about: About::Pod(pod.namespace.to_string(), pod.name.clone()),
            reason: "NotEnforced",
            message: shortened(format!("this pod {problem}")),
            subject: "NotEnforced".to_owned(),
        }
    }

    /// About an object that allows nothing, or not what its author may expect; None if the warning is about none.
    pub fn suspicious(warning: &Warning) -> Option<Self> {
        Some(Self {
            about: About::Named(warning.object()?.clone()),
            reason: "Suspicious",
            message: shortened(warning.to_string()),
            subject: warning.to_string(),
        })
    }

    /// About an object that is rejected.
    pub fn rejected(
        id: ObjectId,
        (api_version, uid): (String, String),
        message: &str,
        keeps_older: bool,
    ) -> Self {
        let kept = if keeps_older {
            "the last good version stays in force"
        } else {
            "it has no effect"
        };
        Self {
            message: shortened(format!("rejected, {kept}: {message}")),
            about: About::Object(id, api_version, uid),
            reason: "Rejected",
            subject: message.to_owned(),
        }
    }

    /// The same, with the number of other notices of the same share that are left out.
    pub fn with_left_out(mut self, left_out: u64) -> Self {
        if left_out > 0 {
            let of = match self.about {
                About::Pod(..) => "this pod",
                About::Object(..) | About::Named(_) => "this namespace",
            };
            let more = format!(" [{left_out} more of {of} are only in the enforcer's log]");
            self.message = cut(self.message, MESSAGE_LIMIT - more.len()) + &more;
        }
        self
    }
}

/// Readers of Events see the text unescaped.
fn shortened(text: String) -> String {
    cut(Line(text).to_string(), MESSAGE_LIMIT)
}

/// At most so many bytes.
fn cut(mut text: String, limit: usize) -> String {
    if text.len() > limit {
        text.truncate(text.floor_char_boundary(limit - "...".len()));
        text.push_str("...");
    }
    text
}

#[cfg(test)]
mod tests {
    use enforcer_core::model::{Host, Labels, Namespace};

    use super::*;

    fn flow(verdict: Verdict, hosts: &[&str]) -> Flow {
        Flow {
            verdict,
            workload: "frontend/web".to_owned(),
            namespace: Some("frontend".to_owned()),
            pod: None,
            process: "curl".to_owned(),
            pid: 1,
            uid: 0,
            protocol: "tcp".to_owned(),
            destination: "192.0.2.10:5432".parse().unwrap(),
            name: None,
            hosts: hosts.iter().map(|host| Host::new(host)).collect(),
            reason: "no ServiceEntry has it".to_owned(),
            object: None,
            suggestion: Some("add one".to_owned()),
        }
    }

    fn workload() -> Workload {
        Workload::new(Namespace::new("frontend"), "web", Labels::new())
    }

    #[test]
    fn refusal_names_host_port_reason_and_remedy() {
        let notice = Notice::refused(&flow(Verdict::Deny, &["db.example.com"]), &workload()).unwrap();
        assert_eq!(notice.about, About::Pod("frontend".into(), "web".into()));
        assert_eq!(
            notice.message,
            "tcp 192.0.2.10:5432 (db.example.com) was refused: no ServiceEntry has it; add one"
        );
        assert_eq!(notice.subject, "EgressRefused tcp db.example.com:5432");
    }

    #[test]
    fn name_that_was_asked_for_comes_first() {
        let mut flow = flow(Verdict::Deny, &["db.example.com"]);
        flow.name = Some("www.example.com".to_owned());
        let notice = Notice::refused(&flow, &workload()).unwrap();
        assert_eq!(
            notice.message,
            "tcp www.example.com (192.0.2.10:5432) was refused: no ServiceEntry has it; add one"
        );
        assert_eq!(notice.subject, "EgressRefused tcp www.example.com:5432");
    }

    #[test]
    fn what_was_let_through_for_good_is_no_news() {
        assert_eq!(Notice::refused(&flow(Verdict::Allow, &[]), &workload()), None);
        let audited = Notice::refused(&flow(Verdict::Audit, &[]), &workload()).unwrap();
        assert!(
            audited.message.contains("would be refused"),
            "{}",
            audited.message
        );
    }

    #[test]
    fn message_fits_an_event() {
        let long = "ä".repeat(MESSAGE_LIMIT);
        assert!(shortened(long.clone()).len() <= MESSAGE_LIMIT);
        let mut notice = Notice::refused(&flow(Verdict::Deny, &[]), &workload()).unwrap();
        notice.message = long;
        let told = notice.with_left_out(u64::MAX).message;
        assert!(
            told.len() <= MESSAGE_LIMIT && told.ends_with("more of this pod are only in the enforcer's log]")
        );
    }
}
