//! Portable draws: the same on every platform, and for every purpose a stream of its own.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

/// A stream of draws.
pub struct Draws(ChaCha8Rng);

impl Draws {
    /// The stream of `seed` for one purpose. Streams of different purposes are independent, so
    /// that neither the order nor the number of draws for one changes those for another.
    pub fn new(seed: u64, purpose: &str) -> Draws {
        Draws(ChaCha8Rng::from_seed(blake3::derive_key(purpose, &seed.to_le_bytes())))
    }

    /// A uniform number below `limit`, without bias: the incomplete last interval of the
    /// generator's range is rejected.
    ///
    /// # Panics
    ///
    /// If `limit` is zero.
    pub fn below(&mut self, limit: usize) -> usize {
        assert!(limit > 0, "BUG: a draw from nothing");
        let limit = limit as u64;
        let complete = u64::MAX - u64::MAX % limit;
        loop {
            let drawn = self.0.next_u64();
            if drawn < complete {
                return (drawn % limit) as usize;
            }
        }
    }

    /// A number to seed another generator with.
    pub fn seed(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// Brings `items` into a uniformly random order (Fisher and Yates).
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        self.shuffle_front(items, items.len());
    }

    /// `count` of `items` without replacement, in their order there; all of them, if there are
    /// fewer.
    pub fn sample<T: Copy>(&mut self, items: &[T], count: usize) -> Vec<T> {
        let mut indices: Vec<usize> = (0..items.len()).collect();
        let count = count.min(items.len());
        self.shuffle_front(&mut indices, count);
        indices.truncate(count);
        indices.sort_unstable();
        indices.into_iter().map(|index| items[index]).collect()
    }

    /// Makes the first `count` items a uniform sample of all in random order.
    fn shuffle_front<T>(&mut self, items: &mut [T], count: usize) {
        for place in 0..count.min(items.len().saturating_sub(1)) {
            let other = place + self.below(items.len() - place);
            items.swap(place, other);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_are_the_same_forever() {
        let mut draws = Draws::new(7, "a test");
        assert_eq!([draws.below(1000), draws.below(1000), draws.below(1000)], [727, 784, 149]);
        assert_eq!(Draws::new(7, "a test").sample(&[0, 1, 2, 3, 4, 5, 6, 7], 3), [2, 5, 7]);
    }

    #[test]
    fn a_purpose_has_draws_of_its_own() {
        let items: Vec<usize> = (0..100).collect();
        let sample = |seed, purpose| Draws::new(seed, purpose).sample(&items, 10);
        assert_eq!(sample(0, "one"), sample(0, "one"));
        assert_ne!(sample(0, "one"), sample(0, "two"));
        assert_ne!(sample(0, "one"), sample(1, "one"));
    }

    #[test]
    fn every_item_is_drawn_equally_often() {
        let mut draws = Draws::new(0, "frequencies");
        let mut drawn = [0usize; 5];
        for _ in 0..5000 {
            for item in draws.sample(&[0, 1, 2, 3, 4], 2) {
                drawn[item] += 1;
            }
        }
        // 2000 expected each; four standard deviations are about 140.
        assert!(drawn.iter().all(|count| (1860..2140).contains(count)), "{drawn:?}");
    }

    #[test]
    fn a_shuffle_keeps_every_item() {
        let mut items: Vec<usize> = (0..50).collect();
        Draws::new(3, "shuffle").shuffle(&mut items);
        assert_ne!(items, (0..50).collect::<Vec<_>>());
        items.sort_unstable();
        assert_eq!(items, (0..50).collect::<Vec<_>>());
    }
}
