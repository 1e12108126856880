//! Seeded draws: every draw of the suite comes from a generator keyed by what it is for, so that no
//! draw depends on another. Unaware of what is drawn.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

/// The seed of the whole suite.
const SEED: u64 = 20_241_014;

/// A generator for one purpose.
pub struct Dice(ChaCha8Rng);

impl Dice {
    /// The generator of the `index`-th thing of a kind named by `purpose`.
    pub fn new(purpose: &str, index: usize) -> Dice {
        let mut generator = ChaCha8Rng::seed_from_u64(SEED ^ hash(purpose));
        generator.set_stream(index as u64);
        Dice(generator)
    }

    /// A number below `bound`, evenly.
    pub fn below(&mut self, bound: usize) -> usize {
        ((u64::from(self.0.next_u32()) * bound as u64) >> 32) as usize
    }

    /// A number from `low` to `high`, both included, evenly.
    pub fn between(&mut self, low: i32, high: i32) -> i32 {
        low + self.below((high - low + 1) as usize) as i32
    }

    /// True `percent` times in a hundred.
    pub fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    /// One of `items`, evenly.
    pub fn pick<T: Copy>(&mut self, items: &[T]) -> T {
        items[self.below(items.len())]
    }

    /// One of two, evenly.
    pub fn either<T>(&mut self, one: T, other: T) -> T {
        if self.chance(50) { one } else { other }
    }

    /// One of `items`, by its weight.
    pub fn weighted<T: Copy>(&mut self, items: &[(T, usize)]) -> T {
        let mut left = self.below(items.iter().map(|(_, weight)| weight).sum());
        for (item, weight) in items {
            match left.checked_sub(*weight) {
                Some(rest) => left = rest,
                None => return *item,
            }
        }
        unreachable!("BUG: a number below the sum of the weights lies within one of them")
    }

    /// Moves `count` evenly drawn items to the front, in drawn order, and returns them.
    pub fn draw<'a, T>(&mut self, items: &'a mut [T], count: usize) -> &'a [T] {
        for place in 0..count {
            let other = place + self.below(items.len() - place);
            items.swap(place, other);
        }
        &items[..count]
    }
}

/// FNV-1a (Fowler, Noll and Vo), 64 bits: a hash that is the same on every machine and in every
/// version.
pub fn hash(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |state, byte| (state ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}
