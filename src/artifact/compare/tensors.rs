//! Tensors of safetensors files, compared number by number. Unaware of other files.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use anyhow::Context;
use rayon::prelude::*;
use safetensors::tensor::{Dtype, Metadata, TensorInfo};

use super::{BLOCK, Difference, Spread, TensorDifference};

/// A safetensors file.
struct Tensors {
    file: File,
    metadata: Metadata,
    /// Where the numbers begin.
    start: u64,
}

impl Tensors {
    /// `None` if it is no such file after all.
    fn open(path: &Path) -> anyhow::Result<Option<Tensors>> {
        let problem = || format!("cannot read `{}`", path.display());
        let file = File::open(path).with_context(problem)?;
        let size = file.metadata().with_context(problem)?.len();
        let mut length = [0; 8];
        if file.read_exact_at(&mut length, 0).is_err() {
            return Ok(None);
        }
        let length = u64::from_le_bytes(length);
        let Some(start) = length.checked_add(8).filter(|start| *start <= size) else { return Ok(None) };
        let mut header = vec![0; length as usize];
        file.read_exact_at(&mut header, 8).with_context(problem)?;
        let metadata = serde_json::from_slice::<Metadata>(&header).ok();
        let whole = |metadata: &Metadata| start + metadata.data_len() as u64 == size;
        Ok(metadata.filter(whole).map(|metadata| Tensors { file, metadata, start }))
    }
}

/// How two such files differ, and whether that is within the tolerance; `None` if one is none after all.
pub(super) fn tensors(one: &Path, other: &Path, tolerance: f64) -> anyhow::Result<Option<(Difference, bool)>> {
    let (Some(ours), Some(theirs)) = (Tensors::open(one)?, Tensors::open(other)?) else { return Ok(None) };
    let left: BTreeMap<String, &TensorInfo> = ours.metadata.tensors().into_iter().collect();
    let right: BTreeMap<String, &TensorInfo> = theirs.metadata.tensors().into_iter().collect();
    let pairs: Vec<(&String, &TensorInfo, &TensorInfo)> =
        left.iter().filter_map(|(name, info)| Some((name, *info, *right.get(name)?))).collect();
    let compare = |(name, info, also): &(&String, &TensorInfo, &TensorInfo)| {
        tensor(name, (&ours, info), (&theirs, also), tolerance).with_context(|| format!("cannot read `{name}`"))
    };
    let differing: Vec<Option<TensorDifference>> = pairs.par_iter().map(compare).collect::<anyhow::Result<_>>()?;
    let differing: Vec<TensorDifference> = differing.into_iter().flatten().collect();
    let only = |these: &BTreeMap<String, &TensorInfo>, those: &BTreeMap<String, &TensorInfo>| {
        these.keys().filter(|name| !those.contains_key(*name)).cloned().collect::<Vec<String>>()
    };
    let (only_first, only_later) = (only(&left, &right), only(&right, &left));
    let close = only_first.is_empty()
        && only_later.is_empty()
        && differing.iter().all(|tensor| tensor.form.is_none() && tensor.numbers.beyond == 0);
    Ok(Some((Difference::Tensors { common: pairs.len(), differing, only_first, only_later }, close)))
}

/// How a tensor differs; `None` if it does not.
fn tensor(
    name: &str,
    (ours, info): (&Tensors, &TensorInfo),
    (theirs, also): (&Tensors, &TensorInfo),
    tolerance: f64,
) -> std::io::Result<Option<TensorDifference>> {
    let size = info.shape.iter().product::<usize>() as u64;
    let difference = |form, numbers| Some(TensorDifference { name: name.to_string(), form, size, numbers });
    let form = |info: &TensorInfo| format!("{:?} {:?}", info.dtype, info.shape);
    if info.dtype != also.dtype || info.shape != also.shape {
        return Ok(difference(Some([form(info), form(also)]), Spread::default()));
    }
    let begin = ours.start + info.data_offsets.0 as u64;
    let also_begin = theirs.start + also.data_offsets.0 as u64;
    let length = info.data_offsets.1 - info.data_offsets.0;
    let (mut left, mut right) = (vec![0; BLOCK.min(length)], vec![0; BLOCK.min(length)]);
    let mut numbers = Spread::default();
    for done in (0..length).step_by(BLOCK) {
        let now = BLOCK.min(length - done);
        ours.file.read_exact_at(&mut left[..now], begin + done as u64)?;
        theirs.file.read_exact_at(&mut right[..now], also_begin + done as u64)?;
        if left[..now] != right[..now] {
            numbers = numbers.add(block(info.dtype, &left[..now], &right[..now], tolerance));
        }
    }
    Ok(if numbers.differing > 0 { difference(None, numbers) } else { None })
}

/// How far the numbers of two blocks lie apart.
pub(super) fn block(kind: Dtype, left: &[u8], right: &[u8], tolerance: f64) -> Spread {
    fn each<const N: usize>(left: &[u8], right: &[u8], tolerance: f64, read: impl Fn([u8; N]) -> f64) -> Spread {
        let mut spread = Spread::default();
        let exact = |bytes: &[u8]| <[u8; N]>::try_from(bytes).expect("chunks are exact");
        for (one, other) in left.chunks_exact(N).zip(right.chunks_exact(N)).filter(|(one, other)| one != other) {
            let (one, other) = (read(exact(one)), read(exact(other)));
            // Zero has two signs, and there are many ways to be no number.
            if one != other && !(one.is_nan() && other.is_nan()) {
                spread.note(one, other, tolerance);
            }
        }
        spread
    }
    match kind {
        Dtype::F64 => each(left, right, tolerance, f64::from_le_bytes),
        Dtype::F32 => each(left, right, tolerance, |bytes| f64::from(f32::from_le_bytes(bytes))),
        Dtype::F16 => each(left, right, tolerance, |bytes| half(u16::from_le_bytes(bytes))),
        Dtype::BF16 => {
            each(left, right, tolerance, |bytes| f64::from(f32::from_bits(u32::from(u16::from_le_bytes(bytes)) << 16)))
        }
        Dtype::I64 => each(left, right, tolerance, |bytes| i64::from_le_bytes(bytes) as f64),
        Dtype::U64 => each(left, right, tolerance, |bytes| u64::from_le_bytes(bytes) as f64),
        Dtype::I32 => each(left, right, tolerance, |bytes| f64::from(i32::from_le_bytes(bytes))),
        Dtype::U32 => each(left, right, tolerance, |bytes| f64::from(u32::from_le_bytes(bytes))),
        Dtype::I16 => each(left, right, tolerance, |bytes| f64::from(i16::from_le_bytes(bytes))),
        Dtype::U16 => each(left, right, tolerance, |bytes| f64::from(u16::from_le_bytes(bytes))),
        Dtype::I8 => each(left, right, tolerance, |bytes| f64::from(i8::from_le_bytes(bytes))),
        // Numbers of a byte, of whatever kind, count by their bits.
        _ => each(left, right, tolerance, |bytes: [u8; 1]| f64::from(bytes[0])),
    }
}

/// A number of IEEE 754 half precision: a sign, 5 bits of exponent and 10 of fraction.
fn half(bits: u16) -> f64 {
    let sign = if bits & 0x8000 == 0 { 1.0 } else { -1.0 };
    let (exponent, fraction) = (i32::from(bits >> 10 & 0x1f), f64::from(bits & 0x3ff));
    sign * match exponent {
        0 => fraction * 2f64.powi(-24),
        31 if fraction == 0.0 => f64::INFINITY,
        31 => f64::NAN,
        _ => (1024.0 + fraction) * 2f64.powi(exponent - 25),
    }
}
