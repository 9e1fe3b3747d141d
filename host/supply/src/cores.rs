//! Work on many things with all cores.

use std::sync::atomic::{AtomicUsize, Ordering};

/// Does something with each item, as many at a time as there are cores. What came of each, in
/// the order of the items. Blocks.
pub fn on_all_cores<T: Sync, R: Send>(items: &[T], work: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let next = AtomicUsize::new(0);
    let one_after_the_other = || {
        let mut done = Vec::new();
        loop {
            let place = next.fetch_add(1, Ordering::Relaxed);
            let Some(item) = items.get(place) else {
                return done;
            };
            done.push((place, work(item)));
        }
    };
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let mut done = std::thread::scope(|scope| {
        // This thread is one of them.
        let others: Vec<_> = (1..cores.min(items.len()))
            .map(|_| scope.spawn(one_after_the_other))
            .collect();
        let mut done = one_after_the_other();
        for other in others {
            match other.join() {
                Ok(more) => done.extend(more),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        done
    });
    done.sort_unstable_by_key(|(place, _)| *place);
    done.into_iter().map(|(_, result)| result).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_came_of_each_keeps_its_place() {
        for count in [0, 1, 2, 1_000] {
            let items: Vec<u64> = (0..count).collect();
            let expected: Vec<u64> = items.iter().map(|item| item * item).collect();
            assert_eq!(on_all_cores(&items, |item| item * item), expected);
        }
    }
}
