//! What a stage kind declares in `stages/<kind>.yaml`: its slots, its params with the only
//! defaults, its version and its documentation.

use indexmap::IndexMap;
use serde::Deserialize;
use serde_json::Value;

use super::Execution;
use crate::selection::scorers;

/// The declaration of a stage kind.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Signature {
    /// The word that experiments write after `use:`.
    pub kind: String,
    /// Part of every key: raised when the kind's results change for equal inputs and params.
    pub version: u32,
    /// One line for listings.
    pub summary: String,
    /// The rest of the documentation.
    #[serde(default)]
    pub doc: String,
    /// Whether it computes on an accelerator where there is one.
    #[serde(default)]
    pub accelerated: bool,
    /// Whether its work can be split into shards.
    #[serde(default)]
    pub sharded: bool,
    /// Input slots by name.
    #[serde(default)]
    pub inputs: IndexMap<String, Input>,
    /// Output slots by name.
    pub outputs: IndexMap<String, Output>,
    /// Params by name: all of them enter the key.
    #[serde(default)]
    pub params: IndexMap<String, Param>,
    /// Defaults of how the stage runs: never part of the key.
    #[serde(default)]
    pub execution: Execution,
}

/// An input slot.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Input {
    /// The artifact kinds that fit.
    pub kinds: Vec<String>,
    /// What the stage does with it.
    pub doc: String,
    /// Whether the stage also runs without it.
    #[serde(default)]
    pub optional: bool,
    /// The settings with which the slot is used. With others it is not: what is wired to it is not
    /// even planned. `@scorers` and its like stand for a list that the program knows.
    #[serde(default)]
    pub when: When,
}

/// The settings of params with which an input slot is used: a map of conditions, or a list of such
/// maps, of which one is enough.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(from = "Conditions")]
pub struct When(Vec<Condition>);

/// Param name → the values that are meant; of a list, one of its items. All params named must agree.
pub type Condition = IndexMap<String, Vec<Value>>;

/// How a declaration writes conditions.
#[derive(Deserialize)]
#[serde(untagged)]
enum Conditions {
    One(Condition),
    Any(Vec<Condition>),
}

impl From<Conditions> for When {
    fn from(conditions: Conditions) -> When {
        When(match conditions {
            Conditions::One(condition) => vec![condition],
            Conditions::Any(conditions) => conditions,
        })
    }
}

impl When {
    /// Whether the slot is used whatever the params.
    pub fn is_always(&self) -> bool {
        self.0.is_empty()
    }

    /// The conditions of which one is enough; none, if the slot is always used.
    pub fn conditions(&self) -> &[Condition] {
        &self.0
    }

    /// Whether the slot is used where the params have the values that `param` says.
    pub fn holds<'p>(&self, param: impl Fn(&str) -> Option<&'p Value>) -> bool {
        let meant = |value: &Value, values: &[Value]| match value {
            Value::Array(items) => items.iter().any(|item| values.contains(item)),
            _ => values.contains(value),
        };
        let agrees = |(name, values): (&String, &Vec<Value>)| param(name).is_some_and(|value| meant(value, values));
        self.is_always() || self.0.iter().any(|condition| condition.iter().all(agrees))
    }
}

/// An output slot.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Output {
    /// The artifact kind.
    pub kind: String,
    /// What it holds.
    pub doc: String,
}

/// A param: something that the result depends on.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Param {
    /// What values it takes.
    #[serde(rename = "type")]
    pub kind: ParamKind,
    /// What it does, with units and the source of any formula.
    pub doc: String,
    /// Its value where an experiment says nothing; a text like `${seed}` is resolved as in an
    /// experiment. Without a default the param is required, unless it is optional.
    #[serde(default)]
    pub default: Option<Value>,
    /// Whether `null` is a value; then it is also the default.
    #[serde(default)]
    pub optional: bool,
    /// The values of a `choice`, or of the items of a `choices`. `@scorers` and its like stand for a list
    /// that the program knows.
    #[serde(default)]
    pub values: Vec<String>,
    /// The least value of a number.
    #[serde(default)]
    pub minimum: Option<f64>,
    /// The greatest value of a number.
    #[serde(default)]
    pub maximum: Option<f64>,
}

/// The type of a param.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ParamKind {
    /// `true` or `false`.
    Boolean,
    /// One of `values`.
    Choice,
    /// A list of distinct `values`, at least one.
    Choices,
    /// A whole number.
    Integer,
    /// A list of whole numbers.
    Integers,
    /// A finite number.
    Number,
    /// A file or directory outside the store. It enters the key by its content digest, never by
    /// its name, and is relative to the file that says it; or a value of the Hugging Face Hub,
    /// `hf://…`, which enters by the digest of its listing.
    Path,
    /// A text.
    String,
}

impl Signature {
    /// Reads a declaration.
    ///
    /// # Errors
    ///
    /// If the text is not a declaration, or names a param in `when` that it does not declare.
    pub fn parse(text: &str) -> Result<Signature, String> {
        let mut signature: Signature = serde_yaml::from_str(text).map_err(|error| error.to_string())?;
        for param in signature.params.values_mut() {
            param.values = spelt_out(&param.values, String::as_str, str::to_string)?;
        }
        for values in
            signature.inputs.values_mut().flat_map(|input| input.when.0.iter_mut().flat_map(IndexMap::values_mut))
        {
            *values = spelt_out(values, |value| value.as_str().unwrap_or_default(), |word| Value::from(word))?;
        }
        for (slot, input) in &signature.inputs {
            let mut named = input.when.conditions().iter().flat_map(IndexMap::keys);
            if let Some(param) = named.find(|param| !signature.params.contains_key(*param)) {
                return Err(format!("input `{slot}` of `{}` depends on the unknown param `{param}`", signature.kind));
            }
        }
        Ok(signature)
    }
}

/// A list with the words in place of the names of lists, such as `@scorers`: what the program knows is not
/// repeated in declarations.
fn spelt_out<T: Clone>(items: &[T], word: fn(&T) -> &str, item: fn(&str) -> T) -> Result<Vec<T>, String> {
    let spell = |found: &T| match word(found) {
        name if name.starts_with('@') => match scorers::list(name) {
            Some(words) => Ok(words.into_iter().map(item).collect()),
            None => Err(format!("there is no list `{name}`")),
        },
        _ => Ok(vec![found.clone()]),
    };
    Ok(items.iter().map(spell).collect::<Result<Vec<Vec<T>>, String>>()?.concat())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn when(text: &str) -> When {
        serde_yaml::from_str(text).unwrap()
    }

    fn holds(when: &When, params: Value) -> bool {
        when.holds(|name| params.get(name))
    }

    #[test]
    fn all_params_of_a_condition_must_agree_and_one_condition_is_enough() {
        let both = when("{method: [a, b], deep: [true]}");
        assert!(holds(&both, json!({"method": "b", "deep": true})));
        assert!(!holds(&both, json!({"method": "b", "deep": false})));
        let either = when("[{method: [a]}, {deep: [true]}]");
        assert!(holds(&either, json!({"method": "a", "deep": false})));
        assert!(holds(&either, json!({"method": "c", "deep": true})));
        assert!(!holds(&either, json!({"method": "c", "deep": false})));
        assert!(When::default().is_always() && holds(&When::default(), json!({})));
    }

    #[test]
    fn a_condition_on_an_unknown_param_is_refused() {
        let text =
            "{kind: k, version: 1, summary: s, outputs: {}, inputs: {pool: {kinds: [pool], doc: d, when: [{x: [1]}]}}}";
        assert_eq!(Signature::parse(text).unwrap_err(), "input `pool` of `k` depends on the unknown param `x`");
    }
}
