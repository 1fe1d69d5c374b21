//! Asks the running enforcer, about one destination at a time.

use std::path::Path;

use anyhow::Result;

use super::asked::{Asked, Who};
use crate::{
    config::Config,
    control::{AboutLive, Explained, ask_explained},
};

pub(super) fn explain(asked: &Asked, (config, state): (Option<&Path>, &Path)) -> Result<Vec<Explained>> {
    let state = match config {
        Some(file) => Config::load(file)?.state,
        None => state.to_owned(),
    };
    let workload = match &asked.who {
        Who::Name(name) => Some(name.clone()),
        Who::Labels(_) | Who::TheOnlyOne => None,
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let explained = asked.targets.iter().map(|(text, target)| {
        let about = AboutLive {
            namespace: asked.namespace.to_string(),
            workload: workload.clone(),
            destination: target.to_string(),
        };
        let mut explained = runtime.block_on(ask_explained(&state, about))?;
        explained.record.destination.clone_from(text);
        Ok(explained)
    });
    explained.collect()
}
