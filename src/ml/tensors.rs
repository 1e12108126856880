//! Tensors on the host, and safetensors files of them.
//!
//! Files are read and written tensor by tensor, so that a checkpoint is never in memory twice.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;

use anyhow::{Context, bail, ensure};
use safetensors::View;
use safetensors::tensor::{Dtype, Metadata};

/// An array of numbers in memory, row-major.
#[derive(Debug, Clone, PartialEq)]
pub struct Tensor {
    /// Length of each dimension, outermost first.
    pub shape: Vec<usize>,
    /// The numbers, as many as the product of the shape.
    pub values: Vec<f32>,
}

impl Tensor {
    /// The tensor of this shape with all its values.
    ///
    /// # Panics
    ///
    /// If the number of values is not the product of the shape.
    pub fn new(shape: impl Into<Vec<usize>>, values: Vec<f32>) -> Tensor {
        let shape = shape.into();
        assert_eq!(shape.iter().product::<usize>(), values.len(), "the values do not fill the shape {shape:?}");
        Tensor { shape, values }
    }
}

/// Longest header that is read: that of the largest models is about 10 MB.
const LONGEST_HEADER: u64 = 100_000_000;

/// Reads all tensors of a safetensors file as f32, under the names that `rename` gives them; those to
/// which it gives none are left out.
///
/// # Errors
///
/// If the file is damaged, a tensor is not of f32, f16 or bf16, or two tensors get one name.
pub fn read(
    path: &Path,
    rename: impl Fn(&str) -> Option<String>,
    into: &mut BTreeMap<String, Tensor>,
) -> anyhow::Result<()> {
    let name = path.display();
    let file = File::open(path).with_context(|| format!("cannot read `{name}`"))?;
    let length = file.metadata().with_context(|| format!("cannot read `{name}`"))?.len();
    let mut file = BufReader::with_capacity(1 << 20, file);
    let metadata = read_header(&mut file, length).with_context(|| format!("`{name}` is damaged"))?;
    let mut bytes = Vec::new();
    for original in metadata.offset_keys() {
        let info = metadata.info(&original).with_context(|| format!("`{name}` is damaged"))?;
        bytes.resize(info.data_offsets.1 - info.data_offsets.0, 0);
        file.read_exact(&mut bytes).with_context(|| format!("cannot read `{original}` from `{name}`"))?;
        let Some(renamed) = rename(&original) else { continue };
        let values = to_f32(&bytes, info.dtype).with_context(|| format!("cannot read `{original}` from `{name}`"))?;
        let before = into.insert(renamed.clone(), Tensor { shape: info.shape.clone(), values });
        ensure!(before.is_none(), "`{name}` has `{renamed}` again, as `{original}`");
    }
    Ok(())
}

fn read_header(file: &mut impl Read, length: u64) -> anyhow::Result<Metadata> {
    let mut size = [0; 8];
    file.read_exact(&mut size)?;
    let size = u64::from_le_bytes(size);
    ensure!(size <= LONGEST_HEADER && size + 8 <= length, "its header claims {size} bytes");
    let mut header = vec![0; size as usize];
    file.read_exact(&mut header)?;
    let metadata: Metadata = serde_json::from_slice(&header)?;
    let expected = 8 + size + metadata.data_len() as u64;
    ensure!(expected == length, "it has {length} bytes, and its header describes {expected}");
    Ok(metadata)
}

fn to_f32(bytes: &[u8], kind: Dtype) -> anyhow::Result<Vec<f32>> {
    let pairs = || bytes.chunks_exact(2).map(|pair| u16::from_le_bytes([pair[0], pair[1]]));
    Ok(match kind {
        Dtype::F32 => {
            bytes.chunks_exact(4).map(|four| f32::from_le_bytes([four[0], four[1], four[2], four[3]])).collect()
        }
        Dtype::BF16 => pairs().map(|bits| f32::from_bits(u32::from(bits) << 16)).collect(),
        Dtype::F16 => pairs().map(from_half).collect(),
        other => bail!("its numbers are {other:?}, not F32, F16 or BF16"),
    })
}

/// The value of an IEEE 754 half-precision number.
fn from_half(bits: u16) -> f32 {
    let sign = u32::from(bits >> 15) << 31;
    let exponent = u32::from(bits >> 10) & 0x1f;
    let mantissa = u32::from(bits) & 0x3ff;
    match exponent {
        // Subnormal: a multiple of 2⁻²⁴.
        0 => f32::from_bits(sign | (mantissa as f32 / 16_777_216.0).to_bits()),
        31 => f32::from_bits(sign | 0x7f80_0000 | mantissa << 13),
        _ => f32::from_bits(sign | (exponent + 112) << 23 | mantissa << 13),
    }
}

/// Writes a safetensors file of f32 tensors. The same tensors give the same bytes.
pub fn write<'a>(path: &Path, tensors: impl IntoIterator<Item = (&'a str, &'a Tensor)>) -> anyhow::Result<()> {
    // transformers refuses files that do not say who they are for.
    let metadata = HashMap::from([("format".to_string(), "pt".to_string())]);
    let views = tensors.into_iter().map(|(name, tensor)| (name, Bytes(tensor)));
    safetensors::serialize_to_file(views, Some(metadata), path)
        .with_context(|| format!("cannot write `{}`", path.display()))
}

struct Bytes<'a>(&'a Tensor);

impl View for Bytes<'_> {
    fn dtype(&self) -> Dtype {
        Dtype::F32
    }

    fn shape(&self) -> &[usize] {
        &self.0.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        Cow::Owned(self.0.values.iter().flat_map(|value| value.to_le_bytes()).collect())
    }

    fn data_len(&self) -> usize {
        4 * self.0.values.len()
    }
}

#[cfg(test)]
mod tests {
    use safetensors::tensor::TensorView;

    use super::*;

    fn read_all(path: &Path) -> anyhow::Result<BTreeMap<String, Tensor>> {
        let mut tensors = BTreeMap::new();
        read(path, |name| Some(name.to_string()), &mut tensors)?;
        Ok(tensors)
    }

    #[test]
    fn what_is_written_is_read_back_exactly() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("t.safetensors");
        let tensors = BTreeMap::from([
            ("b".to_string(), Tensor::new([2, 2], vec![0.1, -0.0, f32::MIN_POSITIVE, 3e38])),
            ("a".to_string(), Tensor::new([3], vec![1.0, 2.0, 3.0])),
        ]);
        write(&path, tensors.iter().map(|(name, tensor)| (name.as_str(), tensor))).unwrap();
        assert_eq!(read_all(&path).unwrap(), tensors);
        let length = std::fs::metadata(&path).unwrap().len();
        File::options().write(true).open(&path).unwrap().set_len(length - 1).unwrap();
        let problem = format!("{:#}", read_all(&path).unwrap_err());
        assert!(problem.contains("is damaged"), "{problem}");
    }

    #[test]
    fn half_precision_numbers_keep_their_value() {
        let halves: [(u16, f32); 7] = [
            (0x3c00, 1.0),
            (0xc000, -2.0),
            (0x7bff, 65504.0),
            (0x0001, 5.960_464_5e-8),
            (0x0400, 6.103_515_6e-5),
            (0x3555, 0.333_251_95),
            (0xfc00, f32::NEG_INFINITY),
        ];
        for (bits, value) in halves {
            assert_eq!(from_half(bits), value);
        }
        assert!(from_half(0x7e00).is_nan());
        assert_eq!(from_half(0x8000).to_bits(), (-0.0f32).to_bits());
    }

    #[test]
    fn integers_are_refused_by_name() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("t.safetensors");
        let view = TensorView::new(Dtype::I64, vec![1], &[0; 8]).unwrap();
        safetensors::serialize_to_file([("steps", view)], None, &path).unwrap();
        let problem = format!("{:#}", read_all(&path).unwrap_err());
        assert!(problem.contains("`steps`") && problem.contains("I64"), "{problem}");
    }
}
