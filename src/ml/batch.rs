//! Several conversations as one rectangle of tokens, and which ones to put together.
//!
//! Values on the host; unaware of tensors.

use super::conversation::{Encoded, IGNORE};

/// Where short samples are filled up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Padding {
    /// Before the sample: for decoding, where all samples must end together.
    Left,
    /// After the sample.
    Right,
}

/// Samples of one forward pass. All arrays are row-major `[samples, tokens]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    /// How many samples there are.
    pub samples: usize,
    /// Length of the longest sample.
    pub tokens: usize,
    /// The tokens.
    pub ids: Vec<u32>,
    /// The labels, not shifted; [`IGNORE`] where there is no sample.
    pub labels: Vec<i64>,
    /// The length of each sample.
    pub lengths: Vec<usize>,
    /// Where each sample starts in its row.
    pub starts: Vec<usize>,
    /// How many images each sample has.
    pub images: Vec<usize>,
    /// Flat indices of the image positions: those of the first image of the first sample, then those of
    /// its next image, and so on. They ascend.
    pub image_positions: Vec<usize>,
}

impl Batch {
    /// The batch of `samples`, filled up with the token `pad`; `image` is the token of image
    /// positions, if there are any.
    pub fn new(samples: &[&Encoded], padding: Padding, pad: u32, image: Option<u32>) -> Batch {
        let tokens = samples.iter().map(|sample| sample.ids.len()).max().unwrap_or(0);
        let mut batch = Batch {
            samples: samples.len(),
            tokens,
            ids: vec![pad; samples.len() * tokens],
            labels: vec![IGNORE; samples.len() * tokens],
            lengths: samples.iter().map(|sample| sample.ids.len()).collect(),
            starts: Vec::with_capacity(samples.len()),
            images: samples.iter().map(|sample| sample.images).collect(),
            image_positions: Vec::new(),
        };
        for (row, sample) in samples.iter().enumerate() {
            let start = match padding {
                Padding::Left => tokens - sample.ids.len(),
                Padding::Right => 0,
            };
            let flat = row * tokens + start;
            batch.ids[flat..flat + sample.ids.len()].copy_from_slice(&sample.ids);
            batch.labels[flat..flat + sample.labels.len()].copy_from_slice(&sample.labels);
            batch.starts.push(start);
            let images = sample.ids.iter().enumerate().filter(|(_, id)| image == Some(**id));
            batch.image_positions.extend(images.map(|(position, _)| flat + position));
        }
        batch
    }
}

/// Groups samples of like length, longest first, so that little is filled up and the group that needs
/// most memory comes first. Samples of equal length stay in their order.
///
/// Each group holds at most `size` indices into `lengths`; each index is in one group.
pub fn batches_by_length(lengths: &[usize], size: usize) -> Vec<Vec<usize>> {
    let mut order: Vec<usize> = (0..lengths.len()).collect();
    order.sort_by_key(|index| std::cmp::Reverse(lengths[*index]));
    order.chunks(size.max(1)).map(<[usize]>::to_vec).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sample(ids: &[u32], images: usize) -> Encoded {
        let labels = ids.iter().map(|id| i64::from(*id)).collect();
        Encoded { ids: ids.to_vec(), labels, images, cut: 0 }
    }

    #[test]
    fn short_samples_are_filled_up_on_either_side() {
        let (long, short) = (sample(&[1, 7, 7, 5], 1), sample(&[1, 4], 0));
        let right = Batch::new(&[&short, &long], Padding::Right, 9, Some(7));
        assert_eq!(right.ids, [1, 4, 9, 9, 1, 7, 7, 5]);
        assert_eq!(right.labels[..4], [1, 4, IGNORE, IGNORE]);
        assert_eq!(right.image_positions, [5, 6]);
        let left = Batch::new(&[&short, &long], Padding::Left, 9, Some(7));
        assert_eq!(left.ids, [9, 9, 1, 4, 1, 7, 7, 5]);
        assert_eq!((left.starts, left.lengths, left.images), (vec![2, 0], vec![2, 4], vec![0, 1]));
    }

    proptest! {
        #[test]
        fn every_sample_is_in_one_group_and_lengths_never_rise(
            lengths in prop::collection::vec(1usize..50, 0..40),
            size in 1usize..9,
        ) {
            let groups = batches_by_length(&lengths, size);
            let order: Vec<usize> = groups.concat();
            let mut sorted = order.clone();
            sorted.sort_unstable();
            prop_assert_eq!(sorted, (0..lengths.len()).collect::<Vec<_>>());
            prop_assert!(order.windows(2).all(|pair| lengths[pair[0]] >= lengths[pair[1]]));
            prop_assert!(groups.iter().all(|group| group.len() <= size && !group.is_empty()));
        }
    }
}
