//! Work on many things at once, on as many threads as there are processors, where somebody waits for all of it.

use std::{collections::BTreeMap, sync::Mutex, thread};

/// Why a lock can be taken: nothing that may panic is done under it.
const UNBROKEN: &str = "nobody has panicked with it";

/// What `work` makes of each item, in their order. Threads take the next one each as they come. A panic of `work` is the
/// caller's.
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
    // A function, so that the lock is free while there is work.
    let next = || waiting.lock().expect(UNBROKEN).next();
    let take_turns = || {
        while let Some((place, item)) = next() {
            let result = work(item);
            done.lock().expect(UNBROKEN).insert(place, result);
        }
    };
    thread::scope(|scope| {
        for _ in 1..threads {
            scope.spawn(take_turns);
        }
        take_turns();
    });
    done.into_inner().expect(UNBROKEN).into_values().collect()
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
