//! A few values by name, in little memory: every stage has several such maps, and there may be a hundred
//! thousand stages. Unaware of what is named.

use std::collections::HashSet;
use std::fmt;
use std::ops::Index;
use std::sync::Arc;

/// Values by name, in the order of the names. It is made once and never changes, so a clone shares it.
#[derive(Clone, PartialEq, Eq)]
pub struct Slots<V>(Arc<[(Arc<str>, V)]>);

impl<V> Slots<V> {
    /// Of nothing.
    pub fn new() -> Slots<V> {
        Slots(Arc::default())
    }

    /// The value under a name.
    pub fn get(&self, name: &str) -> Option<&V> {
        let place = self.0.binary_search_by(|(slot, _)| (**slot).cmp(name)).ok()?;
        Some(&self.0[place].1)
    }

    /// Names and values.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &V)> {
        self.0.iter().map(|(name, value)| (&**name, value))
    }

    /// The names.
    pub fn keys(&self) -> impl ExactSizeIterator<Item = &str> {
        self.iter().map(|(name, _)| name)
    }

    /// The values.
    pub fn values(&self) -> impl ExactSizeIterator<Item = &V> {
        self.iter().map(|(_, value)| value)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is nothing.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The same with more values, each in the place of any other of its name.
    pub fn with<S: Into<Arc<str>>>(&self, more: impl IntoIterator<Item = (S, V)>) -> Slots<V>
    where
        V: Clone,
    {
        let more = more.into_iter().map(|(name, value)| (name.into(), value));
        self.0.iter().cloned().chain(more).collect()
    }

    /// The same names with other values.
    pub fn map<W>(&self, mut other: impl FnMut(&V) -> W) -> Slots<W> {
        Slots(self.0.iter().map(|(name, value)| (name.clone(), other(value))).collect())
    }
}

impl<V> Default for Slots<V> {
    fn default() -> Slots<V> {
        Slots::new()
    }
}

impl<S: Into<Arc<str>>, V> FromIterator<(S, V)> for Slots<V> {
    /// Of several values with one name the last counts.
    fn from_iter<I: IntoIterator<Item = (S, V)>>(entries: I) -> Slots<V> {
        let mut entries: Vec<(Arc<str>, V)> = entries.into_iter().map(|(name, value)| (name.into(), value)).collect();
        if !entries.is_sorted_by(|one, next| one.0 < next.0) {
            entries.reverse();
            entries.sort_by(|one, other| one.0.cmp(&other.0));
            entries.dedup_by(|other, one| one.0 == other.0);
        }
        Slots(entries.into())
    }
}

impl<V, S: AsRef<str> + ?Sized> Index<&S> for Slots<V> {
    type Output = V;

    fn index(&self, name: &S) -> &V {
        let name = name.as_ref();
        self.get(name).unwrap_or_else(|| panic!("there is no slot `{name}`"))
    }
}

impl<V: fmt::Debug> fmt::Debug for Slots<V> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_map().entries(self.iter()).finish()
    }
}

/// Names that are kept once, however often they are used.
#[derive(Debug, Default)]
pub struct Names(HashSet<Arc<str>>);

impl Names {
    /// The one copy of a name.
    pub fn shared(&mut self, name: &str) -> Arc<str> {
        if let Some(known) = self.0.get(name) {
            return known.clone();
        }
        let name: Arc<str> = name.into();
        self.0.insert(name.clone());
        name
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_in_the_order_of_their_names_and_the_last_of_a_name_counts() {
        let slots = Slots::from_iter([("pool", 1), ("data", 2), ("pool", 3)]);
        assert_eq!(slots.iter().collect::<Vec<_>>(), [("data", &2), ("pool", &3)]);
        assert_eq!((slots.get("data"), slots.get("model"), slots["pool"]), (Some(&2), None, 3));
        assert_eq!(slots.map(|value| value * 2).values().collect::<Vec<_>>(), [&4, &6]);
        let more = slots.with([("model", 7), ("data", 8)]);
        assert_eq!(more.values().collect::<Vec<_>>(), [&8, &7, &3]);
        assert_eq!(slots.len(), 2);
        assert!(Slots::<u8>::new().is_empty());
    }

    #[test]
    fn a_name_is_kept_once() {
        let mut names = Names::default();
        assert!(Arc::ptr_eq(&names.shared("pool"), &names.shared("pool")));
    }
}
