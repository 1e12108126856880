//! Tensors on the host, and safetensors files of them.
//!
//! Files are read and written tensor by tensor, so that a checkpoint is never in memory twice.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::{BufWriter, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, ensure};
use safetensors::tensor::{Dtype, Metadata, TensorInfo};

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

/// A tensor that need not be in memory: its values are fetched when they are needed, so that a model is
/// read and written tensor by tensor.
pub trait Values: Send + Sync {
    /// Length of each dimension, outermost first.
    fn shape(&self) -> &[usize];

    /// The numbers, row-major.
    ///
    /// # Errors
    ///
    /// If they are in a file that cannot be read.
    fn fetch(&self) -> anyhow::Result<Vec<f32>>;
}

impl Values for Tensor {
    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn fetch(&self) -> anyhow::Result<Vec<f32>> {
        Ok(self.values.clone())
    }
}

/// The type of the numbers in a file that is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Numbers {
    /// IEEE 754 single precision.
    F32,
    /// The upper half of single precision, rounded to nearest even.
    Bf16,
}

/// A tensor in a safetensors file.
pub struct Stored {
    file: Arc<PathBuf>,
    name: String,
    shape: Vec<usize>,
    kind: Dtype,
    offset: u64,
}

/// Longest header that is read: that of the largest models is about 10 MB.
const LONGEST_HEADER: u64 = 100_000_000;
/// Bytes that are read or written at a time.
const BLOCK: usize = 1 << 20;

/// The tensors of a safetensors file by the names that it gives them, without those that are not `wanted`.
/// Only its header is read.
///
/// # Errors
///
/// If the file cannot be read, is not whole, or a tensor is not of f32, f16 or bf16.
pub fn open(path: &Path, wanted: impl Fn(&str) -> bool) -> anyhow::Result<Vec<(String, Stored)>> {
    let place = path.display();
    let mut file = File::open(path).with_context(|| format!("cannot read `{place}`"))?;
    let length = file.metadata().with_context(|| format!("cannot read `{place}`"))?.len();
    let (metadata, start) = read_header(&mut file, length).with_context(|| {
        format!("`{place}` is damaged, or was not downloaded whole\nhint: fetch the file again and compare its size")
    })?;
    let shared = Arc::new(path.to_path_buf());
    let mut tensors = Vec::new();
    for name in metadata.offset_keys().into_iter().filter(|name| wanted(name)) {
        let info = metadata.info(&name).with_context(|| format!("`{place}` is damaged"))?;
        let known = matches!(info.dtype, Dtype::F32 | Dtype::F16 | Dtype::BF16);
        ensure!(known, "the numbers of `{name}` in `{place}` are {:?}, not F32, F16 or BF16", info.dtype);
        let stored = Stored {
            file: shared.clone(),
            name: name.clone(),
            shape: info.shape.clone(),
            kind: info.dtype,
            offset: start + info.data_offsets.0 as u64,
        };
        tensors.push((name, stored));
    }
    Ok(tensors)
}

fn read_header(file: &mut impl Read, length: u64) -> anyhow::Result<(Metadata, u64)> {
    let mut size = [0; 8];
    file.read_exact(&mut size)?;
    let size = u64::from_le_bytes(size);
    ensure!(size <= LONGEST_HEADER && size + 8 <= length, "its header claims {size} bytes");
    let mut header = vec![0; size as usize];
    file.read_exact(&mut header)?;
    let metadata: Metadata = serde_json::from_slice(&header)?;
    let expected = 8 + size + metadata.data_len() as u64;
    ensure!(expected == length, "it has {length} bytes, and its header describes {expected}");
    Ok((metadata, 8 + size))
}

impl Values for Stored {
    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn fetch(&self) -> anyhow::Result<Vec<f32>> {
        let problem = || format!("cannot read `{}` from `{}`", self.name, self.file.display());
        let mut file = File::open(self.file.as_path()).with_context(problem)?;
        file.seek(SeekFrom::Start(self.offset)).with_context(problem)?;
        let size: usize = self.shape.iter().product();
        let width = if self.kind == Dtype::F32 { 4 } else { 2 };
        let mut values = Vec::with_capacity(size);
        let mut block = vec![0; BLOCK.min(size * width)];
        while values.len() < size {
            let bytes = &mut block[..BLOCK.min((size - values.len()) * width)];
            file.read_exact(bytes).with_context(problem)?;
            extend(&mut values, bytes, self.kind);
        }
        Ok(values)
    }
}

fn extend(values: &mut Vec<f32>, bytes: &[u8], kind: Dtype) {
    let pairs = || bytes.chunks_exact(2).map(|pair| u16::from_le_bytes([pair[0], pair[1]]));
    match kind {
        Dtype::BF16 => values.extend(pairs().map(|bits| f32::from_bits(u32::from(bits) << 16))),
        Dtype::F16 => values.extend(pairs().map(from_half)),
        _ => values.extend(bytes.chunks_exact(4).map(|four| f32::from_le_bytes([four[0], four[1], four[2], four[3]]))),
    }
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

/// The bits of the bf16 number nearest to a value, of two equally near ones the even one.
fn to_bfloat(value: f32) -> u16 {
    let bits = value.to_bits();
    if value.is_nan() {
        return (bits >> 16) as u16 | 0x40;
    }
    ((bits + 0x7fff + (bits >> 16 & 1)) >> 16) as u16
}

/// Writes a safetensors file, tensor by tensor in the order of their names. The same tensors give the
/// same bytes.
///
/// # Errors
///
/// If a tensor cannot be fetched, or the file cannot be written.
pub fn write(path: &Path, tensors: &BTreeMap<&str, &dyn Values>, numbers: Numbers) -> anyhow::Result<()> {
    let (kind, width) = match numbers {
        Numbers::F32 => (Dtype::F32, 4),
        Numbers::Bf16 => (Dtype::BF16, 2),
    };
    let mut end = 0;
    let infos = tensors.iter().map(|(name, tensor)| {
        let start = end;
        end += width * tensor.shape().iter().product::<usize>();
        let info = TensorInfo { dtype: kind, shape: tensor.shape().to_vec(), data_offsets: (start, end) };
        (name.to_string(), info)
    });
    // transformers refuses files that do not say who they are for.
    let about = HashMap::from([("format".to_string(), "pt".to_string())]);
    let mut header = serde_json::to_vec(&Metadata::new(Some(about), infos.collect())?)?;
    header.resize(header.len().next_multiple_of(8), b' ');

    let problem = || format!("cannot write `{}`", path.display());
    let mut file = BufWriter::with_capacity(BLOCK, File::create(path).with_context(problem)?);
    file.write_all(&(header.len() as u64).to_le_bytes()).with_context(problem)?;
    file.write_all(&header).with_context(problem)?;
    for tensor in tensors.values() {
        for part in tensor.fetch()?.chunks(BLOCK / 4) {
            let bytes: Vec<u8> = match numbers {
                Numbers::F32 => part.iter().flat_map(|value| value.to_le_bytes()).collect(),
                Numbers::Bf16 => part.iter().flat_map(|value| to_bfloat(*value).to_le_bytes()).collect(),
            };
            file.write_all(&bytes).with_context(problem)?;
        }
    }
    file.flush().with_context(problem)
}

#[cfg(test)]
mod tests {
    use safetensors::tensor::TensorView;

    use super::*;

    fn read_all(path: &Path) -> anyhow::Result<BTreeMap<String, Tensor>> {
        let fetch = |(name, stored): (String, Stored)| Ok((name, Tensor::new(stored.shape(), stored.fetch()?)));
        open(path, |_| true)?.into_iter().map(fetch).collect()
    }

    fn write_all(path: &Path, tensors: &BTreeMap<String, Tensor>, numbers: Numbers) {
        let views = tensors.iter().map(|(name, tensor)| (name.as_str(), tensor as &dyn Values)).collect();
        write(path, &views, numbers).unwrap();
    }

    fn tensors() -> BTreeMap<String, Tensor> {
        BTreeMap::from([
            ("b".to_string(), Tensor::new([2, 2], vec![0.1, -0.0, f32::MIN_POSITIVE, 3e38])),
            ("a".to_string(), Tensor::new([3], vec![1.0, 2.0, 3.0])),
        ])
    }

    #[test]
    fn what_is_written_is_read_back_exactly() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("t.safetensors");
        write_all(&path, &tensors(), Numbers::F32);
        assert_eq!(read_all(&path).unwrap(), tensors());
        let length = std::fs::metadata(&path).unwrap().len();
        File::options().write(true).open(&path).unwrap().set_len(length - 1).unwrap();
        let problem = format!("{:#}", read_all(&path).unwrap_err());
        assert!(problem.contains("is damaged, or was not downloaded whole"), "{problem}");
    }

    #[test]
    fn the_bytes_are_those_of_the_format_s_own_library() {
        let directory = tempfile::tempdir().unwrap();
        let (ours, theirs) = (directory.path().join("ours"), directory.path().join("theirs"));
        write_all(&ours, &tensors(), Numbers::F32);
        let bytes: Vec<(String, Vec<usize>, Vec<u8>)> = tensors()
            .into_iter()
            .map(|(name, Tensor { shape, values })| {
                (name, shape, values.iter().flat_map(|value| value.to_le_bytes()).collect())
            })
            .collect();
        let views =
            bytes.iter().map(|(name, shape, bytes)| (name, TensorView::new(Dtype::F32, shape.clone(), bytes).unwrap()));
        let about = HashMap::from([("format".to_string(), "pt".to_string())]);
        safetensors::serialize_to_file(views, Some(about), &theirs).unwrap();
        assert_eq!(std::fs::read(ours).unwrap(), std::fs::read(theirs).unwrap());
    }

    #[test]
    fn bf16_is_rounded_to_nearest_even() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("t.safetensors");
        // Between 1 and the next bf16 number, 1 + 2⁻⁷, are the halfway point and its neighbours.
        let halfway = 1.0 + 1.0 / 256.0;
        let values = vec![1.0, halfway, halfway + 1e-4, -3.0, 1.0 + 3.0 / 256.0, f32::INFINITY, 0.0];
        let tensors = BTreeMap::from([("a".to_string(), Tensor::new([7], values))]);
        write_all(&path, &tensors, Numbers::Bf16);
        let next = 1.0 + 1.0 / 128.0;
        let expected = [1.0, 1.0, next, -3.0, 1.0 + 2.0 / 128.0, f32::INFINITY, 0.0];
        assert_eq!(read_all(&path).unwrap()["a"].values, expected);
        assert!(f32::from_bits(u32::from(to_bfloat(f32::NAN)) << 16).is_nan());
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
