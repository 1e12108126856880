//! How many requests are made at once, and doing many things at once.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};
use std::thread;

use super::error::Reason;

/// So many requests are made at once, whoever makes them.
pub(super) const LANES: usize = 12;

/// The requests that are being made.
#[derive(Debug, Default)]
#[cfg_attr(not(feature = "remote"), allow(dead_code))]
pub(super) struct Lanes {
    taken: Mutex<usize>,
    left: Condvar,
}

/// A lane that is taken.
pub(super) struct Lane<'a>(&'a Lanes);

#[cfg_attr(not(feature = "remote"), allow(dead_code))]
impl Lanes {
    /// Waits until a lane is free.
    pub fn enter(&self) -> Lane<'_> {
        let taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let mut taken = self.left.wait_while(taken, |taken| *taken >= LANES).unwrap_or_else(PoisonError::into_inner);
        *taken += 1;
        Lane(self)
    }
}

impl Drop for Lane<'_> {
    fn drop(&mut self) {
        *self.0.taken.lock().unwrap_or_else(PoisonError::into_inner) -= 1;
        self.0.left.notify_one();
    }
}

/// Does something to each item, `width` at once; after a failure no further one is begun.
pub(super) fn fan_out<T: Sync>(
    items: &[T],
    width: usize,
    body: impl Fn(&T) -> Result<(), Reason> + Sync,
) -> Result<(), Reason> {
    if let [] | [_] = items {
        return items.iter().try_for_each(body);
    }
    let next = AtomicUsize::new(0);
    let failure: Mutex<Option<Reason>> = Mutex::new(None);
    let failed = || failure.lock().expect("no panic while it is locked").is_some();
    thread::scope(|scope| {
        for _ in 0..width.min(items.len()) {
            scope.spawn(|| {
                while let Some(item) = items.get(next.fetch_add(1, Ordering::Relaxed)).filter(|_| !failed()) {
                    if let Err(reason) = body(item) {
                        failure.lock().expect("no panic while it is locked").get_or_insert(reason);
                    }
                }
            });
        }
    });
    failure.into_inner().expect("no panic while it was locked").map_or(Ok(()), Err)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn no_more_than_the_lanes_are_in_use_at_once() {
        let (lanes, now, most) = (Lanes::default(), AtomicUsize::new(0), AtomicUsize::new(0));
        thread::scope(|scope| {
            for _ in 0..3 * LANES {
                scope.spawn(|| {
                    let _lane = lanes.enter();
                    most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                    thread::sleep(Duration::from_millis(5));
                    now.fetch_sub(1, Ordering::SeqCst);
                });
            }
        });
        assert_eq!(most.into_inner(), LANES);
    }

    #[test]
    fn every_item_is_done_until_one_fails() {
        let done = AtomicUsize::new(0);
        let items: Vec<usize> = (0..100).collect();
        let count = |_: &usize| {
            done.fetch_add(1, Ordering::SeqCst);
            Ok(())
        };
        fan_out(&items, 7, count).unwrap();
        assert_eq!(done.swap(0, Ordering::SeqCst), 100);
        let failed = fan_out(&items, 7, |item| if *item == 0 { Err(Reason::Interrupted) } else { count(item) });
        assert_eq!(failed, Err(Reason::Interrupted));
    }
}
