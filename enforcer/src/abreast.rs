//! Work on many things at once, on as many threads as there are processors, where somebody waits for all of it.

use std::{collections::BTreeMap, sync::Mutex, thread};

/// What `work` makes of each item, in their order. Threads take the next one each as they come.
pub(crate) fn map<I, R>(items: I, work: impl Fn(I::Item) -> R + Sync) -> Vec<R>
where
    I: ExactSizeIterator + Send,
    I::Item: Send,
    R: Send,
{
    let processors = thread::available_parallelism().map_or(1, Into::into);
    let threads = processors.min(items.len());
    let waiting = Mutex::new(items.enumerate());
    let done = Mutex::new(BTreeMap::new());
    // A thread that panics takes this one along, so that nobody sees a lock that it has left.
    let next = || waiting.lock().ok()?.next();
    let take_turns = || {
        while let Some((place, item)) = next() {
            let result = work(item);
            if let Ok(mut done) = done.lock() {
                done.insert(place, result);
            }
        }
    };
    thread::scope(|scope| {
        for _ in 1..threads {
            scope.spawn(take_turns);
        }
        take_turns();
    });
    done.into_inner().unwrap_or_default().into_values().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_are_in_the_order_of_the_items() {
        for count in [0, 1, 2, 1_000] {
            let doubled = map((0..count).rev(), |number: i32| number * 2);
            assert_eq!(
                doubled,
                (0..count).rev().map(|number| number * 2).collect::<Vec<_>>()
            );
        }
    }
}
