//! What the kernel itself takes, without which nobody could do.

use std::time::Instant;

use anyhow::Result;
use figure::{Figure, Series};

use super::{
    Amount,
    calls::Call,
    stage::{By, Place, Shape, Stage},
};
use crate::fixture::program::HashMap;

const KERNEL: &str = "the kernel";

/// Takes the figure.
pub(super) fn take(amount: Amount) -> Result<Figure> {
    let mut figure = Figure::new("hooks-limits", "What the kernel itself takes", "ns");
    figure.notes.push(
        "an empty program is measured with the clock of the kernel's statistics, which is most of it; what is over it is \
         without that clock"
            .to_owned(),
    );
    let stage = Stage::new(Shape::of(By::Own))?;
    let places = [Place::Empty, Place::Lookup, Place::Least];
    let mut samples = [const { Vec::new() }; 4];
    let map = HashMap::new(24, 8, 262_144)?;
    for round in 0..=amount.rounds {
        let mut times = [0.0; 4];
        for (place, time) in places.into_iter().zip(&mut times) {
            *time = stage.call(place, Call::Probe4, amount.calls)?;
        }
        times[1] -= times[0];
        times[2] -= times[0];
        times[3] = updates(&map, amount.calls)?;
        // The first round warms up.
        if round > 0 {
            samples
                .iter_mut()
                .zip(times)
                .for_each(|(samples, time)| samples.push(time));
        }
    }
    let cases = [
        "an empty program",
        "one lookup in a hash map, over an empty program",
        "the least of a verdict, over an empty program",
        "one update of a hash map, a system call",
    ];
    let series = cases.into_iter().zip(samples);
    figure.series = series
        .map(|(case, samples)| Series::new(case, KERNEL, samples))
        .collect();
    Ok(figure)
}

/// How long one update of a map takes, of so many.
fn updates(map: &HashMap, times: usize) -> Result<f64> {
    let begin = Instant::now();
    for number in 0..times {
        map.put(&[number as u64, 1, 2], &[1])?;
    }
    Ok(begin.elapsed().as_secs_f64() * 1e9 / times as f64)
}
