//! The key of a stage and the explanation of why it differs from an earlier one.
//!
//! One walk over everything that a result depends on writes a canonical JSON text. The fingerprint
//! is the digest of that text and nothing else, and reasons are found by comparing two such texts,
//! so an explanation cannot drift from the key. Unaware of files, SQLite and the plan.
//!
//! Two keys are equal exactly if they say the same thing:
//! - the order of params and inputs does not count, the order inside a list does;
//! - numbers count by value: `1` and `1.0` are one number, and so are `0` and `-0.0`; what type a
//!   param has is settled by the declaration of its kind before it comes here;
//! - a text is never a number, and `null` is not the same as an absent param.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Number, Value};

use crate::digest::Digest;
use crate::stage::Shard;

/// The format of the text below: raised when its meaning changes.
const SCHEMA: u64 = 1;

/// What a stage's result depends on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    /// The digest of `text`.
    pub fingerprint: Digest,
    /// Schema, kind, version, params and inputs as canonical JSON.
    pub text: String,
}

impl Key {
    /// The key of a stage of `kind` in its `version`, with all its params and the digest of the
    /// content of each input slot that is used.
    pub fn new(kind: &str, version: u32, params: &Map<String, Value>, inputs: &BTreeMap<String, Digest>) -> Key {
        let params = params.iter().map(|(name, value)| (name.as_str(), value));
        let inputs = inputs.iter().map(|(slot, digest)| (slot.as_str(), digest));
        let mut text = String::new();
        let fingerprint = Key::write(&mut text, (kind, version), params, inputs);
        Key { fingerprint, text }
    }

    /// Writes the text of a key in the place of `text`, and returns its digest. The inputs come in the order
    /// of their slots.
    pub fn write<'k>(
        text: &mut String,
        (kind, version): (&str, u32),
        params: impl Iterator<Item = (&'k str, &'k Value)>,
        inputs: impl Iterator<Item = (&'k str, &'k Digest)>,
    ) -> Digest {
        text.clear();
        let _ = write!(text, "{{\"schema\":{SCHEMA},\"kind\":");
        write_text(text, kind);
        let _ = write!(text, ",\"version\":{version},\"params\":");
        write_object(text, params);
        text.push_str(",\"inputs\":{");
        for (place, (slot, digest)) in inputs.enumerate() {
            write_name(text, place, slot);
            let _ = write!(text, "\"{digest}\"");
        }
        text.push_str("}}");
        Digest::of(text.as_bytes())
    }

    /// The key of one shard of the stage's work. What is in a shard also depends on how samples are put
    /// into batches, which the whole result does not.
    pub fn shard(&self, shard: Shard, micro_batch: usize) -> Key {
        let Shard { index, count } = shard;
        let whole = self.text.strip_suffix('}').expect("BUG: the text of a key is an object");
        let text = format!("{whole},\"shard\":{{\"index\":{index},\"count\":{count},\"micro_batch\":{micro_batch}}}}}");
        Key { fingerprint: Digest::of(text.as_bytes()), text }
    }
}

fn write_value(text: &mut String, value: &Value) {
    match value {
        Value::Null => text.push_str("null"),
        Value::Bool(value) => text.push_str(if *value { "true" } else { "false" }),
        Value::Number(number) => write_number(text, number),
        Value::String(value) => write_text(text, value),
        Value::Array(items) => {
            text.push('[');
            for (place, item) in items.iter().enumerate() {
                if place > 0 {
                    text.push(',');
                }
                write_value(text, item);
            }
            text.push(']');
        }
        Value::Object(map) => write_object(text, map.iter().map(|(name, value)| (name.as_str(), value))),
    }
}

fn write_object<'k>(text: &mut String, entries: impl Iterator<Item = (&'k str, &'k Value)>) {
    let mut entries: Vec<(&str, &Value)> = entries.collect();
    entries.sort_unstable_by_key(|(name, _)| *name);
    text.push('{');
    for (place, (name, value)) in entries.into_iter().enumerate() {
        write_name(text, place, name);
        write_value(text, value);
    }
    text.push('}');
}

/// Writes `"name":`, after a comma unless it is the first.
fn write_name(text: &mut String, place: usize, name: &str) {
    if place > 0 {
        text.push(',');
    }
    write_text(text, name);
    text.push(':');
}

fn write_text(text: &mut String, value: &str) {
    let is_plain = |byte: u8| byte >= b' ' && byte != b'"' && byte != b'\\';
    match value.bytes().all(is_plain) {
        true => text.extend(["\"", value, "\""]),
        false => text.push_str(&Value::from(value).to_string()),
    }
}

/// A whole number is written as one, whatever its type; any other is the shortest text that reads
/// back as the same `f64`.
fn write_number(text: &mut String, number: &Number) {
    const END: f64 = (1u128 << 64) as f64;
    match number.as_f64() {
        Some(value) if number.is_f64() && value.fract() == 0.0 && value.abs() < END => {
            let _ = write!(text, "{}", value as i128);
        }
        _ => {
            let _ = write!(text, "{number}");
        }
    }
}

/// Why a stage must run, or might have to.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "reason", rename_all = "kebab-case")]
pub enum DirtyReason {
    /// The experiment never finished a stage of this name.
    NeverRan,
    /// Nothing that the result depends on changed, but the result is not in the cache.
    ResultMissing,
    /// The result was in the cache, but the artifact is not in the store or was damaged.
    OutputMissing { slot: String, digest: Digest },
    /// Keys are made in another way now.
    SchemaChanged { old: Value, new: Value },
    /// The stage is of another kind.
    KindChanged { old: Value, new: Value },
    /// The kind has another version.
    VersionChanged { old: Value, new: Value },
    /// A param has another value.
    ParamChanged { name: String, old: Value, new: Value },
    /// A param was not there before.
    ParamAdded { name: String, new: Value },
    /// A param is not there any more.
    ParamRemoved { name: String, old: Value },
    /// An input has other content.
    InputChanged { slot: String, old: Value, new: Value },
    /// An input slot was not used before.
    InputAdded { slot: String },
    /// An input slot is not used any more.
    InputRemoved { slot: String },
    /// The content of an input is only known when the stage that makes it has run.
    InputPending { slot: String, producer: String },
}

impl fmt::Display for DirtyReason {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DirtyReason::NeverRan => write!(to, "never ran"),
            DirtyReason::ResultMissing => write!(to, "its result is not in the cache any more"),
            DirtyReason::OutputMissing { slot, digest } => {
                write!(to, "output `{slot}` ({}) is missing or damaged in the store", digest.short())
            }
            DirtyReason::SchemaChanged { old, new } => write!(to, "the key schema changed: {old} → {new}"),
            DirtyReason::KindChanged { old, new } => write!(to, "the stage kind changed: {old} → {new}"),
            DirtyReason::VersionChanged { old, new } => write!(to, "the version of its kind changed: {old} → {new}"),
            DirtyReason::ParamChanged { name, old, new } => {
                write!(to, "param `{name}` changed: {} → {}", shown(old), shown(new))
            }
            DirtyReason::ParamAdded { name, new } => write!(to, "param `{name}` is new: {}", shown(new)),
            DirtyReason::ParamRemoved { name, old } => write!(to, "param `{name}` is gone; it was {}", shown(old)),
            DirtyReason::InputChanged { slot, old, new } => {
                write!(to, "input `{slot}` changed: {} → {}", shown(old), shown(new))
            }
            DirtyReason::InputAdded { slot } => write!(to, "input `{slot}` is new"),
            DirtyReason::InputRemoved { slot } => write!(to, "input `{slot}` is not used any more"),
            DirtyReason::InputPending { slot, producer } => {
                write!(to, "input `{slot}` comes from `{producer}`, which has to run")
            }
        }
    }
}

/// A value for people: digests are shortened.
fn shown(value: &Value) -> String {
    match value.as_str().and_then(|text| text.parse::<Digest>().ok()) {
        Some(digest) => digest.short(),
        None => value.to_string(),
    }
}

/// A key's text, read back.
#[derive(Deserialize)]
struct Parts {
    schema: Value,
    kind: Value,
    version: Value,
    params: BTreeMap<String, Value>,
    inputs: BTreeMap<String, Value>,
}

/// What a key says differently from an earlier one, by their texts: empty if they are equal. An
/// earlier text that cannot be read counts as none.
pub fn differences(old: &str, new: &str) -> Vec<DirtyReason> {
    let parse = |text| serde_json::from_str::<Parts>(text).ok();
    let (Some(old), Some(new)) = (parse(old), parse(new)) else { return vec![DirtyReason::NeverRan] };
    let mut reasons = Vec::new();
    if old.schema != new.schema {
        reasons.push(DirtyReason::SchemaChanged { old: old.schema, new: new.schema });
    }
    if old.kind != new.kind {
        reasons.push(DirtyReason::KindChanged { old: old.kind, new: new.kind });
    }
    if old.version != new.version {
        reasons.push(DirtyReason::VersionChanged { old: old.version, new: new.version });
    }
    reasons.extend(changes(old.params, new.params).map(|(name, change)| match change {
        (Some(old), Some(new)) => DirtyReason::ParamChanged { name, old, new },
        (Some(old), None) => DirtyReason::ParamRemoved { name, old },
        (None, new) => DirtyReason::ParamAdded { name, new: new.unwrap_or_default() },
    }));
    reasons.extend(changes(old.inputs, new.inputs).map(|(slot, change)| match change {
        (Some(old), Some(new)) => DirtyReason::InputChanged { slot, old, new },
        (Some(_), None) => DirtyReason::InputRemoved { slot },
        (None, _) => DirtyReason::InputAdded { slot },
    }));
    reasons
}

type Change = (Option<Value>, Option<Value>);

/// The names whose values differ, with both values.
fn changes(old: BTreeMap<String, Value>, new: BTreeMap<String, Value>) -> impl Iterator<Item = (String, Change)> {
    let mut all: BTreeMap<String, Change> = BTreeMap::new();
    for (name, value) in old {
        all.entry(name).or_default().0 = Some(value);
    }
    for (name, value) in new {
        all.entry(name).or_default().1 = Some(value);
    }
    all.into_iter().filter(|(_, (old, new))| old != new)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn key(params: Value, inputs: &[(&str, &str)]) -> Key {
        let inputs = inputs.iter().map(|(slot, content)| (slot.to_string(), Digest::of(content.as_bytes()))).collect();
        Key::new("train", 3, params.as_object().unwrap(), &inputs)
    }

    fn same(left: Value, right: Value) -> bool {
        key(json!({"value": left}), &[]) == key(json!({"value": right}), &[])
    }

    fn reasons(old: &Key, new: &Key) -> Vec<String> {
        differences(&old.text, &new.text).iter().map(DirtyReason::to_string).collect()
    }

    #[test]
    fn the_text_and_its_digest_stay_as_they_are() {
        let key =
            key(json!({"rate": 2.0e-4, "name": "a\"b\u{e9}\n", "layers": [1, 2.0], "top": null}), &[("data", "")]);
        assert_eq!(
            key.text,
            concat!(
                r#"{"schema":1,"kind":"train","version":3,"#,
                r#""params":{"layers":[1,2],"name":"a\"bé\n","rate":0.0002,"top":null},"#,
                r#""inputs":{"data":"b3:af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262"}}"#
            )
        );
        assert_eq!(key.fingerprint.to_string(), "b3:34b2e1440f991586510453e21db033f534590a921353864496524243a8c75820");
    }

    #[test]
    fn numbers_count_by_value() {
        assert!(same(json!(1), json!(1.0)));
        assert!(same(json!(0), json!(-0.0)));
        assert!(same(json!(-7), json!(-7.0)));
        assert!(same(json!(1e16), json!(10_000_000_000_000_000_u64)));
        assert!(same(json!(0.1), json!(1e-1)));
        assert!(!same(json!(9_007_199_254_740_993_u64), json!(9_007_199_254_740_992_u64)));
        assert!(!same(json!(0.1), json!(0.100_000_000_000_000_02)));
        assert!(!same(json!(1e300), json!(1e301)));
    }

    #[test]
    fn types_and_structure_are_never_confused() {
        assert!(!same(json!(1), json!("1")));
        assert!(!same(json!(1), json!(true)));
        assert!(!same(json!(null), json!("null")));
        assert!(!same(json!([1, 2]), json!([2, 1])));
        assert!(!same(json!([[1], 2]), json!([1, [2]])));
        assert!(!same(json!(["a", "b"]), json!(["a\",\"b"])));
        assert!(same(json!({"a": 1, "b": 2}), json!({"b": 2, "a": 1})));
        assert_ne!(key(json!({"a": null}), &[]), key(json!({}), &[]));
        assert_ne!(key(json!({}), &[("a", "x")]), key(json!({}), &[("b", "x")]));
    }

    #[test]
    fn every_kind_of_change_is_said_with_old_and_new() {
        let old = key(json!({"rate": 0.1, "epochs": 1, "method": "lora"}), &[("data", "x"), ("model", "m")]);
        let new = key(json!({"rate": 0.2, "method": "lora", "seed": 7}), &[("data", "y"), ("scores", "s")]);
        let short = |content: &str| Digest::of(content.as_bytes()).short();
        assert_eq!(
            reasons(&old, &new),
            [
                "param `epochs` is gone; it was 1".to_string(),
                "param `rate` changed: 0.1 → 0.2".to_string(),
                "param `seed` is new: 7".to_string(),
                format!("input `data` changed: {} → {}", short("x"), short("y")),
                "input `model` is not used any more".to_string(),
                "input `scores` is new".to_string(),
            ]
        );
        assert_eq!(reasons(&old, &old), Vec::<String>::new());
    }

    #[test]
    fn another_version_of_a_kind_is_a_reason() {
        let old = Key::new("train", 1, &Map::new(), &BTreeMap::new());
        let new = Key::new("train", 2, &Map::new(), &BTreeMap::new());
        assert_eq!(reasons(&old, &new), ["the version of its kind changed: 1 → 2"]);
    }

    #[test]
    fn a_shard_has_a_key_of_its_own_that_says_what_the_whole_depends_on() {
        let whole = key(json!({"layers": [1]}), &[("pool", "p")]);
        let shard = |index, count, micro_batch| whole.shard(Shard { index, count }, micro_batch);
        let keys = [shard(0, 2, 32), shard(1, 2, 32), shard(0, 3, 32), shard(0, 2, 16), whole.clone()];
        let different: std::collections::BTreeSet<Digest> = keys.iter().map(|key| key.fingerprint).collect();
        assert_eq!(different.len(), keys.len());
        assert!(keys[0].text.ends_with(r#""},"shard":{"index":0,"count":2,"micro_batch":32}}"#), "{}", keys[0].text);
        assert_eq!(reasons(&whole, &keys[0]), Vec::<String>::new());
    }

    #[test]
    fn machines_read_reasons_as_tagged_objects() {
        let reason = DirtyReason::ParamChanged { name: "rate".into(), old: json!(1), new: json!(2) };
        let text = serde_json::to_string(&reason).unwrap();
        assert_eq!(text, r#"{"reason":"param-changed","name":"rate","old":1,"new":2}"#);
    }
}
