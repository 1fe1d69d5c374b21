//! What Istio makes of a document that is suggested.

use serde_json::Value;

use crate::{
    documents::{Judgement, check},
    draft::Draft,
    istio::Object,
    yaml::written,
};

/// What a draft's text is read as. None if Istio would refuse it, or warn of it.
pub(super) fn object(draft: &Draft) -> Option<Object> {
    reading(&draft.document())
        .filter(|(_, warnings)| *warnings == 0)
        .map(|(object, _)| object)
}

/// What the text of a document is read as, and how many warnings it gets. None if Istio would refuse it.
pub(super) fn reading(document: &Value) -> Option<(Object, usize)> {
    let mut records = check("", &written(document).join("\n"));
    let record = records.pop().filter(|_| records.is_empty())?;
    let is_valid = record.verdict == Judgement::Valid;
    record
        .object
        .filter(|_| is_valid)
        .map(|object| (object, record.warnings.len()))
}
