//! Stories of files that differ.

use std::collections::HashMap;

use proptest::prelude::*;
use safetensors::tensor::{Dtype, TensorView};

use super::tensors::block;
use super::*;

/// Two directories with a file each.
fn differing(name: &str, first: &[u8], later: &[u8], tolerance: f64) -> Comparison {
    let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    fs::write(one.path().join(name), first).unwrap();
    fs::write(other.path().join(name), later).unwrap();
    compare(one.path(), other.path(), &[], tolerance).unwrap()
}

fn difference(name: &str, first: &[u8], later: &[u8], tolerance: f64) -> (Difference, bool) {
    let mut comparison = differing(name, first, later, tolerance);
    let file = comparison.differing.pop().unwrap();
    (file.difference, file.close)
}

fn file(tensors: &[(&str, Dtype, &[usize], Vec<u8>)]) -> Vec<u8> {
    let view = |(name, kind, shape, bytes): &(&str, Dtype, &[usize], Vec<u8>)| {
        (name.to_string(), (*kind, shape.to_vec(), bytes.clone()))
    };
    let owned: HashMap<String, (Dtype, Vec<usize>, Vec<u8>)> = tensors.iter().map(view).collect();
    let views: HashMap<&String, TensorView<'_>> = owned
        .iter()
        .map(|(name, (kind, shape, bytes))| (name, TensorView::new(*kind, shape.clone(), bytes).unwrap()))
        .collect();
    safetensors::serialize(views, None).unwrap()
}

fn f32s(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

#[test]
fn equal_directories_have_no_differing_files_however_they_are_nested() {
    let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    for directory in [one.path(), other.path()] {
        fs::create_dir(directory.join("in")).unwrap();
        fs::write(directory.join("in/a.json"), "[1]").unwrap();
        fs::write(directory.join("b"), "b").unwrap();
    }
    fs::write(one.path().join("manifest.json"), "left out").unwrap();
    let comparison = compare(one.path(), other.path(), &["manifest.json"], 0.0).unwrap();
    assert_eq!((comparison.files, comparison.verdict()), (2, Verdict::Equal));
    let comparison = compare(one.path(), other.path(), &[], 1.0).unwrap();
    assert_eq!((&comparison.differing[0].difference, comparison.verdict()), (&Difference::OnlyFirst, Verdict::Differs));
}

#[test]
fn tensors_are_compared_number_by_number() {
    let first = file(&[
        ("same", Dtype::F32, &[2], f32s(&[1.0, 2.0])),
        ("w", Dtype::F32, &[3], f32s(&[1.0, -4.0, 0.0])),
        ("gone", Dtype::U8, &[1], vec![1]),
        ("shaped", Dtype::F32, &[2], f32s(&[1.0, 2.0])),
    ]);
    let later = file(&[
        ("same", Dtype::F32, &[2], f32s(&[1.0, 2.0])),
        ("w", Dtype::F32, &[3], f32s(&[1.5, -4.0, -0.0])),
        ("new", Dtype::U8, &[1], vec![1]),
        ("shaped", Dtype::F32, &[2, 1], f32s(&[1.0, 2.0])),
    ]);
    let (found, close) = difference("m.safetensors", &first, &later, 1.0);
    let Difference::Tensors { common, differing, only_first, only_later } = found else { panic!("{found:?}") };
    assert_eq!((common, only_first, only_later, close), (3, vec!["gone".into()], vec!["new".into()], false));
    let w = Spread { differing: 1, beyond: 0, absolute: 0.5, relative: 0.5 / 1.5 };
    let form = Some(["F32 [2]".to_string(), "F32 [2, 1]".to_string()]);
    assert_eq!(differing[0], TensorDifference { name: "shaped".into(), form, size: 2, numbers: Spread::default() });
    assert_eq!(differing[1], TensorDifference { name: "w".into(), form: None, size: 3, numbers: w });
}

#[test]
fn the_tolerance_is_relative_for_large_numbers_and_absolute_for_small_ones() {
    let pair = |one: f32, other: f32, tolerance| {
        let file = |value| file(&[("w", Dtype::F32, &[1], f32s(&[value]))]);
        difference("m.safetensors", &file(one), &file(other), tolerance).1
    };
    assert!(pair(1000.0, 1001.0, 1e-2));
    assert!(!pair(1000.0, 1001.0, 1e-4));
    assert!(pair(1e-9, 2e-9, 1e-8));
    assert!(!pair(1.0, f32::NAN, 1e9));
    assert!(!pair(1.0, f32::INFINITY, 1e9));
}

#[test]
fn every_kind_of_number_is_read_by_its_value() {
    let bits = |kind, one: Vec<u8>, other: Vec<u8>| block(kind, &one, &other, 0.0).absolute;
    assert_eq!(bits(Dtype::F16, vec![0x00, 0x3c], vec![0x00, 0x40]), 1.0);
    assert_eq!(bits(Dtype::F16, vec![0x01, 0x00], vec![0x00, 0x00]), 2f64.powi(-24));
    assert_eq!(bits(Dtype::BF16, vec![0x80, 0x3f], vec![0x00, 0xc0]), 3.0);
    assert_eq!(bits(Dtype::I64, (-5_i64).to_le_bytes().into(), 2_i64.to_le_bytes().into()), 7.0);
    assert_eq!(bits(Dtype::U8, vec![3], vec![250]), 247.0);
    assert_eq!(bits(Dtype::F64, 1.0_f64.to_le_bytes().into(), 1.5_f64.to_le_bytes().into()), 0.5);
}

#[test]
fn the_same_tensors_under_another_header_are_close() {
    let values = f32s(&[1.0, 2.0]);
    let header = |text: &str| [&(text.len() as u64).to_le_bytes(), text.as_bytes(), values.as_slice()].concat();
    let one = header(r#"{"w":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}"#);
    let other = header(r#"{"__metadata__":{"by":"x"},"w":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}"#);
    assert_eq!(differing("m.safetensors", &one, &other, 0.0).verdict(), Verdict::Close);
    assert_eq!(differing("m.safetensors", &one, &one[..20], 0.0).verdict(), Verdict::Differs);
}

#[test]
fn json_differs_by_path() {
    let first = br#"{"benchmarks": {"vqa": {"value": 50.0, "skill": "a"}, "old": 1}, "list": [1, 2]}"#;
    let later = br#"{"benchmarks": {"vqa": {"value": 50.5, "skill": "b"}}, "list": [1.0, 2, 3]}"#;
    let (found, close) = difference("metrics.json", first, later, 0.1);
    let Difference::Values { values, numbers, others } = found else { panic!("{found:?}") };
    let paths: Vec<&str> = values.iter().map(|value| value.path.as_str()).collect();
    assert_eq!(paths, ["benchmarks.vqa.value", "benchmarks.vqa.skill", "benchmarks.old", "list[2]"]);
    assert_eq!((numbers.differing, numbers.beyond, numbers.absolute, others, close), (1, 0, 0.5, 3, false));
    assert_eq!((values[3].first.clone(), values[3].later.clone()), (None, Some(3.into())));
    assert!(difference("metrics.json", br#"{"a": 1}"#, br#"{"a": 1.05}"#, 0.1).1);
    assert!(difference("metrics.json", br#"{"a": 1}"#, br#"{ "a": 1.0 }"#, 0.0).1, "only the writing differs");
}

#[test]
fn json_lines_tell_the_first_line_that_differs_and_count_the_others() {
    let first = b"{\"id\": 1}\n{\"id\": 2, \"loss\": 1.0}\n{\"id\": 3}\n{\"id\": 4}\n";
    let later = b"{\"id\": 1}\n{\"id\": 2, \"loss\": 1.5}\n{\"id\": \"3\"}\n";
    let (found, close) = difference("c.jsonl", first, later, 1.0);
    let Difference::Lines { lines, differing, first, values, numbers, others } = found else { panic!("{found:?}") };
    assert_eq!((lines, differing, first, others, close), ([4, 3], 2, 2, 1, false));
    assert_eq!((values[0].path.as_str(), numbers.differing, numbers.absolute), ("loss", 1, 0.5));
    let longer = difference("c.jsonl", b"1\n", b"1\n2\n", 9.0).0;
    assert!(matches!(longer, Difference::Lines { differing: 0, first: 2, .. }), "{longer:?}");
}

#[test]
fn of_bytes_without_meaning_the_first_that_differs_is_told() {
    let expected = Difference::Bytes { sizes: [4, 5], first: 2 };
    assert_eq!(difference("model.bin", b"abcd", b"abxde", 1.0), (expected, false));
    let expected = Difference::Bytes { sizes: [2, 4], first: 2 };
    assert_eq!(difference("broken.json", b"{]", b"{]}]", 1.0), (expected, false));
}

proptest! {
    #[test]
    fn the_spread_is_that_of_a_plain_loop(pairs in prop::collection::vec((-1e6f32..1e6, -1e6f32..1e6), 1..40)) {
        let (one, other): (Vec<f32>, Vec<f32>) = pairs.iter().copied().unzip();
        let spread = block(Dtype::F32, &f32s(&one), &f32s(&other), 1e-3);
        let apart = |(one, other): &(f32, f32)| (f64::from(*one) - f64::from(*other)).abs();
        let largest = pairs.iter().map(apart).fold(0.0, f64::max);
        let far = |pair: &&(f32, f32)| {
            let size = f64::from(pair.0).abs().max(f64::from(pair.1).abs()).max(1.0);
            apart(pair) > 1e-3 * size
        };
        prop_assert_eq!(spread.absolute, largest);
        prop_assert_eq!(spread.beyond, pairs.iter().filter(far).count() as u64);
    }
}
