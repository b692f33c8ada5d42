//! What differs from run to run: names, times and numbers that a program makes up.
//!
//! They are masked before texts are compared. Those that identify something are then matched up, so that where the
//! recording has one thing twice, ours has one thing twice.

use regex::Regex;
use std::collections::BTreeMap;
use std::sync::LazyLock;

/// What the parts of the expression are, by group.
const CLASSES: [(&str, Class); 6] = [
    ("uid", Class::Identity),
    ("mac", Class::Identity),
    ("sequence", Class::Identity),
    ("time", Class::Passing),
    ("revision", Class::Passing),
    ("guid", Class::Identity),
];

/// Whether a part identifies something.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Class {
    Identity,
    Passing,
}

/// Ethernet addresses that are not made up: nobody's, everybody's, and that of every host interface.
const FIXED_MACS: [&str; 3] = ["00:00:00:00:00:00", "ff:ff:ff:ff:ff:ff", "ee:ee:ee:ee:ee:ee"];

static VARYING: LazyLock<Regex> = LazyLock::new(|| {
    let parts = [
        r"(?P<uid>\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b)",
        r"(?P<mac>\b(?:[0-9a-f]{2}:){5}[0-9a-f]{2}\b)",
        // sequence numbers start at the nanoseconds since 1970
        r"(?P<sequence>\b[0-9]{16,20}\b)",
        r"(?P<time>\b20[0-9]{2}-[0-9]{2}-[0-9]{2}[T ][0-9:]{8}(?:\.[0-9]+)?(?:Z| \+0000 UTC)?)",
        r#"(?:resourceVersion"?: ?"?(?P<revision>[0-9]+))"#,
        r#"(?:clusterGUID"?: ?"?(?P<guid>[0-9a-f]{32}))"#,
    ];
    Regex::new(&parts.join("|")).expect("a valid expression")
});

/// A text without what varies.
pub(crate) struct Masked {
    pub(crate) text: String,
    identities: Vec<String>,
}

/// Masks what varies in a text.
pub(crate) fn mask(text: &str) -> Masked {
    let mut masked = Masked { text: String::new(), identities: Vec::new() };
    let mut copied = 0;
    for captures in VARYING.captures_iter(text) {
        let Some((name, class, found)) =
            CLASSES.iter().find_map(|(name, class)| Some((name, class, captures.name(name)?)))
        else {
            continue;
        };
        if *name == "mac" && is_fixed(text, found) {
            continue;
        }
        masked.text += &text[copied..found.start()];
        masked.text += &format!("<{name}>");
        copied = found.end();
        if *class == Class::Identity {
            masked.identities.push(found.as_str().to_owned());
        }
    }
    masked.text += &text[copied..];
    masked
}

/// One that everybody has, or part of something longer.
fn is_fixed(text: &str, found: regex::Match<'_>) -> bool {
    let colon = |text: &str| text.starts_with(':');
    FIXED_MACS.contains(&found.as_str()) || text[..found.start()].ends_with(':') || colon(&text[found.end()..])
}

/// Which recorded identity is which of ours.
#[derive(Default)]
pub(crate) struct Identities {
    ours: BTreeMap<String, String>,
    recorded: BTreeMap<String, String>,
}

impl Identities {
    /// Matches up two texts that are equal once masked; says what was one thing in the recording and is not in ours.
    pub(crate) fn agree(&mut self, recorded: &Masked, ours: &Masked) -> Result<(), String> {
        for (theirs, own) in recorded.identities.iter().zip(&ours.identities) {
            let known = self.ours.entry(theirs.clone()).or_insert_with(|| own.clone());
            if known != own {
                return Err(format!("{theirs} was recorded where ours is {own}, and before where ours was {known}"));
            }
            let known = self.recorded.entry(own.clone()).or_insert_with(|| theirs.clone());
            if known != theirs {
                return Err(format!("ours is {own} where {theirs} was recorded, and before where {known} was"));
            }
        }
        Ok(())
    }

    /// Writes a recorded text with our identities, as far as they are known.
    pub(crate) fn translate(&self, recorded: &str) -> String {
        let replace = |captures: &regex::Captures<'_>| {
            let text = &captures[0];
            self.ours.get(text).cloned().unwrap_or_else(|| text.to_owned())
        };
        VARYING.replace_all(recorded, replace).into_owned()
    }
}
