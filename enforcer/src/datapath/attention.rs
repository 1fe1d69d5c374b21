//! Whether the programs wake the reader of their events, or it looks by itself.
//!
//! To wake a reader takes microseconds, for which the refused call waits. So the first event wakes it, and from then on it
//! looks every few milliseconds, until there has been nothing for a while.

use std::time::Duration;

use anyhow::{Context as _, Result};
use aya::{
    Ebpf,
    maps::{Array, MapData},
};
use enforcer_common::maps as name;

use super::take::take;

/// How often the reader looks while there are events. The programs wake it earlier if a quarter of the ring buffer waits.
const LOOK: Duration = Duration::from_millis(4);
/// How often in a row it looks in vain before it is woken again.
const VAIN: u32 = 25;
/// How often it looks although it is woken: a program may have been interrupted between reading that it need not wake
/// anybody and submitting its event, after which no event wakes the reader.
const GLANCE: Duration = Duration::from_secs(1);

/// What the programs are told, and why.
pub(super) struct Attention {
    map: Array<MapData, u32>,
    looks: bool,
    vain: u32,
}

impl Attention {
    pub(super) fn take(object: &mut Ebpf) -> Result<Self> {
        let mut attention = Self {
            map: take(object, name::READER)?,
            looks: false,
            vain: 0,
        };
        // A reader that was killed may have said that it looks.
        attention.tell(false)?;
        Ok(attention)
    }

    /// After how long the reader has to look by itself.
    pub(super) fn pause(&self) -> Duration {
        if self.looks { LOOK } else { GLANCE }
    }

    /// To be called after each look, with the number of events that there were. Returns whether the reader has to look
    /// again at once: events that were submitted before the programs knew that they have to wake it woke nobody.
    pub(super) fn note(&mut self, events: usize) -> Result<bool> {
        if events > 0 {
            self.vain = 0;
            if !self.looks {
                self.tell(true)?;
            }
            return Ok(false);
        }
        self.vain = self.vain.saturating_add(1);
        if self.looks && self.vain >= VAIN {
            self.tell(false)?;
            return Ok(true);
        }
        Ok(false)
    }

    fn tell(&mut self, looks: bool) -> Result<()> {
        self.map
            .set(0, u32::from(looks), 0)
            .context("writing the map READER")?;
        self.looks = looks;
        Ok(())
    }
}
