//! Desired state against actual state, and what is left to do.
//!
//! Pure. Whoever applies the pending changes reports each success; what is not reported stays pending.

use std::collections::BTreeMap;

/// What should be, what is, and the difference.
#[derive(Clone, Debug)]
pub struct Delta<K, V> {
    desired: BTreeMap<K, V>,
    actual: BTreeMap<K, V>,
}

/// One thing left to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pending<'a, K, V> {
    /// The object is missing.
    Create(&'a K, &'a V),
    /// The object is there, with another value.
    Update(&'a K, &'a V),
    /// Nobody wants the object that is there, with this value.
    Delete(&'a K, &'a V),
}

impl<K, V> Default for Delta<K, V> {
    fn default() -> Self {
        Delta { desired: BTreeMap::new(), actual: BTreeMap::new() }
    }
}

impl<K: Ord + Clone, V: PartialEq + Clone> Delta<K, V> {
    /// Replaces what should be.
    pub fn set_desired(&mut self, desired: BTreeMap<K, V>) {
        self.desired = desired;
    }

    /// Replaces what is, after a look at the world.
    pub fn set_actual(&mut self, actual: BTreeMap<K, V>) {
        self.actual = actual;
    }

    /// Returns what should be.
    pub fn desired(&self) -> &BTreeMap<K, V> {
        &self.desired
    }

    /// Returns what is.
    pub fn actual(&self) -> &BTreeMap<K, V> {
        &self.actual
    }

    /// Tells whether the object is wanted and there as wanted.
    pub fn is_in_place(&self, key: &K) -> bool {
        self.desired.get(key).is_some_and(|desired| self.actual.get(key) == Some(desired))
    }

    /// Lists what is left to do, by key: first what is missing or wrong, then what is too much.
    pub fn pending(&self) -> impl Iterator<Item = Pending<'_, K, V>> {
        let wanting = beside(&self.desired, &self.actual).filter_map(|(key, desired, actual)| match actual {
            None => Some(Pending::Create(key, desired)),
            Some(actual) if actual != desired => Some(Pending::Update(key, desired)),
            Some(_) => None,
        });
        let surplus = beside(&self.actual, &self.desired).filter(|(_, _, desired)| desired.is_none());
        wanting.chain(surplus.map(|(key, actual, _)| Pending::Delete(key, actual)))
    }

    /// Records that the object was made as desired.
    ///
    /// # Panics
    /// If the key is not desired.
    pub fn wrote(&mut self, key: &K) {
        let value = self.desired.get(key).expect("only desired objects are written").clone();
        self.actual.insert(key.clone(), value);
    }

    /// Records that the object was deleted.
    pub fn deleted(&mut self, key: &K) {
        self.actual.remove(key);
    }
}

/// Goes through a map by key, each with what another map has for it: side by side, which costs a fraction of looking
/// every key up.
pub fn beside<'a, K: Ord, V, W>(
    map: &'a BTreeMap<K, V>,
    other: &'a BTreeMap<K, W>,
) -> impl Iterator<Item = (&'a K, &'a V, Option<&'a W>)> {
    let mut others = other.iter().peekable();
    map.iter().map(move |(key, value)| {
        while others.next_if(|(other, _)| *other < key).is_some() {}
        let found = others.next_if(|(other, _)| *other == key);
        (key, value, found.map(|(_, value)| value))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn small_map() -> impl Strategy<Value = BTreeMap<u8, u8>> {
        proptest::collection::btree_map(0..12u8, 0..3u8, 0..12)
    }

    /// What may happen between two looks at the pending changes.
    #[derive(Clone, Debug)]
    enum Call {
        Desired(BTreeMap<u8, u8>),
        Actual(BTreeMap<u8, u8>),
        /// Carries out the first so many pending changes; the rest fail.
        Apply(usize),
    }

    fn call() -> impl Strategy<Value = Call> {
        prop_oneof![
            small_map().prop_map(Call::Desired),
            small_map().prop_map(Call::Actual),
            (0..12usize).prop_map(Call::Apply),
        ]
    }

    /// Carries out changes on a world of its own; returns how many there were.
    fn apply(delta: &mut Delta<u8, u8>, world: &mut BTreeMap<u8, u8>, at_most: usize) -> usize {
        let pending: Vec<_> = delta
            .pending()
            .take(at_most)
            .map(|change| match change {
                Pending::Create(key, value) | Pending::Update(key, value) => (*key, Some(*value)),
                Pending::Delete(key, _) => (*key, None),
            })
            .collect();
        for (key, value) in &pending {
            match value {
                Some(value) => {
                    world.insert(*key, *value);
                    delta.wrote(key);
                }
                None => {
                    world.remove(key);
                    delta.deleted(key);
                }
            }
        }
        pending.len()
    }

    proptest! {
        #[test]
        fn beside_finds_what_looking_up_finds(map in small_map(), other in small_map()) {
            let side_by_side: Vec<_> = beside(&map, &other).collect();
            let looked_up: Vec<_> = map.iter().map(|(key, value)| (key, value, other.get(key))).collect();
            prop_assert_eq!(side_by_side, looked_up);
        }

        #[test]
        fn applying_what_is_pending_makes_actual_equal_desired(calls in proptest::collection::vec(call(), 0..12)) {
            let mut delta = Delta::default();
            let mut world = BTreeMap::new();
            let mut wanted = BTreeMap::new();
            for call in calls {
                match call {
                    Call::Desired(map) => {
                        wanted = map.clone();
                        delta.set_desired(map);
                    }
                    Call::Actual(map) => {
                        world = map.clone();
                        delta.set_actual(map);
                    }
                    Call::Apply(count) => {
                        apply(&mut delta, &mut world, count);
                    }
                }
                prop_assert_eq!(delta.actual(), &world);
            }
            let differing = wanted.iter().filter(|(key, value)| world.get(key) != Some(value)).count()
                + world.keys().filter(|key| !wanted.contains_key(key)).count();
            prop_assert_eq!(apply(&mut delta, &mut world, usize::MAX), differing);
            prop_assert_eq!(&world, &wanted);
            prop_assert_eq!(delta.pending().count(), 0);
        }
    }

    #[test]
    fn what_is_right_is_not_touched() {
        let mut delta = Delta::default();
        delta.set_desired(BTreeMap::from([(1, "same"), (2, "new"), (3, "missing")]));
        delta.set_actual(BTreeMap::from([(1, "same"), (2, "old"), (4, "surplus")]));
        let pending: Vec<_> = delta.pending().collect();
        assert_eq!(
            pending,
            [Pending::Update(&2, &"new"), Pending::Create(&3, &"missing"), Pending::Delete(&4, &"surplus")]
        );
        assert!(delta.is_in_place(&1) && !delta.is_in_place(&2) && !delta.is_in_place(&4));
    }
}
