//! The params of a stage, in little memory: most stages of an arm differ in one or two of them.

use std::fmt;
use std::ops::Index;
use std::sync::Arc;

use serde::{Serialize, Serializer};
use serde_json::{Map, Value};

/// All params of a stage in the order of the declaration.
#[derive(Clone, Default)]
pub struct Params {
    /// What many stages have in common; a clone shares it.
    common: Arc<[(String, Value)]>,
    /// Place in `common` → the value that this stage has instead.
    own: Vec<(usize, Value)>,
}

impl Params {
    /// These params, of which others can have other values.
    pub(super) fn sharing(common: Arc<[(String, Value)]>) -> Params {
        Params { common, own: Vec::new() }
    }

    /// Gives a param another value, if there is such a param.
    pub(super) fn set(&mut self, name: &str, value: Value) {
        let Some(place) = self.common.iter().position(|(common, _)| common == name) else { return };
        match self.own.iter_mut().find(|(own, _)| *own == place) {
            Some((_, own)) => *own = value,
            None => self.own.push((place, value)),
        }
    }

    /// Gives back what it does not need.
    pub(super) fn shrink(&mut self) {
        self.own.shrink_to_fit();
    }

    /// The value of a param.
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.iter().find(|(param, _)| *param == name).map(|(_, value)| value)
    }

    /// Names and values.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Value)> {
        let value = |place: usize, common| {
            let own = self.own.iter().find(|(own, _)| *own == place);
            own.map_or(common, |(_, value)| value)
        };
        self.common.iter().enumerate().map(move |(place, (name, common))| (name.as_str(), value(place, common)))
    }

    /// The same as a map.
    pub fn to_map(&self) -> Map<String, Value> {
        self.iter().map(|(name, value)| (name.to_string(), value.clone())).collect()
    }
}

impl From<Map<String, Value>> for Params {
    fn from(map: Map<String, Value>) -> Params {
        Params::sharing(map.into_iter().collect())
    }
}

impl PartialEq for Params {
    fn eq(&self, other: &Params) -> bool {
        self.iter().eq(other.iter())
    }
}

impl Index<&str> for Params {
    type Output = Value;

    fn index(&self, name: &str) -> &Value {
        self.get(name).unwrap_or_else(|| panic!("there is no param `{name}`"))
    }
}

impl fmt::Debug for Params {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_map().entries(self.iter()).finish()
    }
}

impl Serialize for Params {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.iter())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_a_stage_says_itself_takes_the_place_of_what_it_has_in_common() {
        let whole = Params::from(json!({"budget": 5, "seed": null}).as_object().unwrap().clone());
        let mut own = Params::sharing(whole.common.clone());
        assert_eq!(own, whole);
        own.set("seed", json!(7));
        own.set("seed", json!(8));
        own.set("unknown", json!(9));
        assert_eq!((own.get("budget"), &own["seed"], own.get("unknown")), (Some(&json!(5)), &json!(8), None));
        assert_eq!(Value::Object(own.to_map()), json!({"budget": 5, "seed": 8}));
        assert_eq!(serde_json::to_string(&own).unwrap(), r#"{"budget":5,"seed":8}"#);
        assert_eq!(whole["seed"], Value::Null);
    }
}
