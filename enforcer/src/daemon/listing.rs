//! What the sources list while the kernel verifies the programs: each takes about as long as the other.
//!
//! `Datapath::load (a thread) | sources -> ingest`, then the start
//!
//! Nothing of it touches the kernel's maps.

use anyhow::{Context as _, Result};
use enforcer_core::registry::Update;
use tokio::task::JoinHandle;

use super::{
    ingest::Ingest,
    input::{Change, Source, Sources},
    reconciler::Reconciler,
    start::Start,
};
use crate::datapath::{Datapath, Events};

/// The programs, which are loaded in a thread of its own.
pub(super) type Loading = JoinHandle<Result<(Datapath, Events)>>;

/// What was taken from the sources.
#[derive(Default)]
pub(super) struct Listing {
    /// Those that have listed what there is.
    listed: Vec<Source>,
    /// Answers for hosts, which the reconciler sees first.
    names: Vec<Update>,
}

impl Listing {
    /// Takes what the sources list until the programs are loaded.
    ///
    /// # Errors
    /// If a source has ended, or the programs cannot be loaded.
    pub(super) async fn take(
        mut loading: Loading,
        ingest: &mut Ingest,
        sources: &mut Sources,
    ) -> Result<((Datapath, Events), Self)> {
        let mut listing = Self::default();
        loop {
            let change = tokio::select! {
                biased;
                loaded = &mut loading => return Ok((loaded.context("loading the programs")??, listing)),
                change = sources.next() => change?,
            };
            match change {
                Change::Name(update) => listing.names.push(update),
                change => listing.listed.extend(ingest.apply(change)),
            }
        }
    }

    /// Goes on with it as if it came now.
    ///
    /// # Errors
    /// If the enforcer's own pod cannot be let through.
    pub(super) fn go_on(
        self,
        start: &mut Start,
        ingest: &mut Ingest,
        reconciler: &mut Reconciler,
    ) -> Result<()> {
        for update in self.names {
            reconciler.remember_addresses(&update);
            ingest.apply(Change::Name(update));
        }
        for source in self.listed {
            start.note_list(source, ingest, reconciler)?;
        }
        Ok(())
    }
}
