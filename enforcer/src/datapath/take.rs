//! Takes maps out of the loaded object.

use anyhow::{Context as _, Result};
use aya::{Ebpf, maps::MapError};

/// The map `name`, as a kind of map.
pub(super) fn take<M: TryFrom<aya::maps::Map, Error = MapError>>(object: &mut Ebpf, name: &str) -> Result<M> {
    let map = object
        .take_map(name)
        .with_context(|| format!("the object has no map {name}"))?;
    M::try_from(map).with_context(|| format!("the map {name} has another layout"))
}
