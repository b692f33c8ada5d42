//! The columns of `calicoctl`'s tables (control reference §5.4): what each kind says of its own.

use crate::resource::{Spec, Typed};
use serde_json::Number;

/// Longest list in a cell.
const MAX_LIST: usize = 80;

/// What cells need besides their resource.
#[derive(Clone, Copy, Debug, Default)]
pub struct Scene {
    /// The AS number of nodes that have none of their own, if known.
    pub cluster_as: Option<u32>,
}

/// In which tables a column stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shown {
    /// The plain one and the wide one.
    Always,
    /// The wide one.
    Wide,
    /// Where its heading is asked for by name.
    Asked,
}

/// One column.
pub struct Column<S: Spec> {
    /// Its heading.
    pub heading: &'static str,
    /// Where it stands.
    pub shown: Shown,
    /// What it says of an object.
    pub cell: fn(&Typed<S>, &Scene) -> String,
}

impl<S: Spec> Column<S> {
    /// A column of every table.
    pub const fn new(heading: &'static str, cell: fn(&Typed<S>, &Scene) -> String) -> Self {
        Column { heading, shown: Shown::Always, cell }
    }

    /// A column of the wide table.
    pub const fn wide(heading: &'static str, cell: fn(&Typed<S>, &Scene) -> String) -> Self {
        Column { heading, shown: Shown::Wide, cell }
    }

    /// The column of names, which nearly every kind has first.
    pub const fn name() -> Self {
        Column::new("NAME", |object, _| object.metadata.name.clone())
    }
}

/// The headings of a kind; its namespace is a column that can be asked for, where it has one.
pub(crate) fn headings<S: Spec>() -> Vec<(&'static str, Shown)> {
    let own = S::COLUMNS.iter().map(|column| (column.heading, column.shown));
    own.chain(S::NAMES.namespaced.then_some(("NAMESPACE", Shown::Asked))).collect()
}

/// The cell of a column; none where the kind has no such column.
pub(crate) fn cell<S: Spec>(object: &Typed<S>, heading: &str, scene: &Scene) -> Option<String> {
    if S::NAMES.namespaced && heading == "NAMESPACE" {
        return Some(object.metadata.namespace.clone());
    }
    let column = S::COLUMNS.iter().find(|column| column.heading == heading)?;
    Some((column.cell)(object, scene))
}

/// A text, or `-` where there is none.
pub(crate) fn or_dash(text: impl Into<Option<String>>) -> String {
    text.into().filter(|text| !text.is_empty()).unwrap_or_else(|| "-".to_owned())
}

/// Joins with commas; what is too long ends in `...`.
pub(crate) fn joined<T: AsRef<str>>(parts: impl IntoIterator<Item = T>) -> String {
    let parts: Vec<T> = parts.into_iter().collect();
    let text = parts.iter().map(AsRef::as_ref).collect::<Vec<&str>>().join(",");
    match text.char_indices().nth(MAX_LIST) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text,
    }
}

/// An order as Go prints it: `<nil>` where there is none.
pub(crate) fn order(order: Option<&Number>) -> String {
    order.map_or_else(|| "<nil>".to_owned(), go_float)
}

/// Prints a number as Go prints a float: `1000`, `1e+06`, `1.5e-05`.
fn go_float(number: &Number) -> String {
    let Some(value) = number.as_f64() else { return number.to_string() };
    let scientific = format!("{value:e}");
    let exponent = scientific.split_once('e').and_then(|(_, exponent)| exponent.parse::<i32>().ok()).unwrap_or(0);
    if value == 0.0 || (-4..6).contains(&exponent) {
        return value.to_string();
    }
    let (mantissa, _) = scientific.split_once('e').unwrap_or((&scientific, ""));
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{mantissa}e{sign}{:02}", exponent.abs())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resource::{Kind, Resource};
    use serde_json::json;

    #[test]
    fn floats_as_go_prints_them() {
        for (text, expect) in [
            ("1000", "1000"),
            ("10000", "10000"),
            ("1000000", "1e+06"),
            ("10000000", "1e+07"),
            ("1234567", "1.234567e+06"),
            ("0", "0"),
            ("1.5", "1.5"),
            ("-3", "-3"),
            ("0.00001", "1e-05"),
        ] {
            let number: Number = serde_json::from_str(text).expect(text);
            assert_eq!(go_float(&number), expect, "{text}");
        }
    }

    #[test]
    fn every_heading_has_a_cell() {
        for kind in Kind::ALL {
            let document = json!({"kind": kind.name(), "apiVersion": "v3", "metadata": {"name": "x"}, "spec": {}});
            let resource = Resource::decode(*kind, document).expect("an object with an empty spec");
            for (heading, _) in kind.headings() {
                assert!(resource.cell(heading, &Scene::default()).is_some(), "{} {heading}", kind.name());
            }
        }
    }

    #[test]
    fn long_lists_are_cut() {
        let text = joined((0..30).map(|n| format!("10.0.0.{n}/32")));
        assert_eq!(text.chars().count(), 83);
        assert!(text.ends_with("..."), "{text}");
    }
}
