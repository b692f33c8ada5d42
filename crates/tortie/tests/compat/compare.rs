//! Recorded and ours, side by side.

use crate::better::{self, Printed};
use crate::report::Findings;
use crate::store::Content;
use crate::vary::{Identities, mask};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// What is known about a run so far.
#[derive(Default)]
pub(crate) struct Comparison {
    identities: Identities,
    pub(crate) findings: Findings,
}

impl Comparison {
    /// Ends the case: takes its findings.
    pub(crate) fn take(&mut self) -> Findings {
        std::mem::take(&mut self.findings)
    }

    /// A recorded text with our identities.
    pub(crate) fn translate(&self, recorded: &str) -> String {
        self.identities.translate(recorded)
    }

    /// Compares what was printed, also with what is better than it.
    pub(crate) fn text(&mut self, what: &str, recorded: &str, ours: &str) {
        let (mut theirs, mut own) = (recorded.to_owned(), ours.to_owned());
        let mut rules = Vec::new();
        if mask(recorded).text != mask(ours).text {
            for rule in better::RULES {
                if let Some(changed) = (rule.apply)(&theirs, &own) {
                    (theirs, own) = changed;
                    rules.push(rule.says);
                }
            }
        }
        let (theirs, own) = (mask(&theirs), mask(&own));
        if theirs.text == own.text {
            self.findings.better.extend(rules);
            if let Err(conflict) = self.identities.agree(&theirs, &own) {
                self.findings.differs(format!("{what}: {conflict}"));
            }
        } else {
            let lines = lines(&theirs.text, &own.text);
            self.findings.differs(format!("{what}:\n{lines}"));
        }
    }

    /// Notes a rule by which ours is better.
    pub(crate) fn better(&mut self, says: &'static str) {
        self.findings.better.insert(says);
    }

    /// Applies the rules about both streams of a command: the one with which the two are equal, or else all that apply.
    pub(crate) fn printed(&mut self, recorded: Printed, ours: Printed) -> (Printed, Printed) {
        let masked = |printed: &Printed| (mask(&printed.stdout).text, mask(&printed.stderr).text);
        for rule in better::STREAM_RULES {
            if masked(&recorded) != masked(&ours)
                && let Some((theirs, own)) = (rule.apply)(&recorded, &ours)
                && masked(&theirs) == masked(&own)
            {
                self.findings.better.insert(rule.says);
                return (theirs, own);
            }
        }
        let (mut theirs, mut own, mut says) = (recorded.clone(), ours.clone(), Vec::new());
        for rule in better::STREAM_RULES {
            if masked(&theirs) != masked(&own)
                && let Some(changed) = (rule.apply)(&theirs, &own)
            {
                (theirs, own) = changed;
                says.push(rule.says);
            }
        }
        if masked(&theirs) != masked(&own) {
            return (recorded, ours);
        }
        self.findings.better.extend(says);
        (theirs, own)
    }

    /// Compares numbers such as an exit status.
    pub(crate) fn number(&mut self, what: &str, recorded: i64, ours: i64) {
        if recorded != ours {
            self.findings.differs(format!("{what}: recorded {recorded}, ours {ours}"));
        }
    }

    /// Compares facts; `known` are the differences that an earlier case has been blamed for.
    pub(crate) fn facts(&mut self, what: &str, recorded: &[String], ours: &[String], known: &mut BTreeSet<String>) {
        let masked = |facts: &[String]| -> BTreeMap<String, String> {
            facts.iter().map(|fact| (mask(fact).text, fact.clone())).collect()
        };
        let (recorded, ours) = (masked(recorded), masked(ours));
        let gone = recorded.keys().filter(|fact| !ours.contains_key(*fact)).map(|fact| format!("- {fact}"));
        let new = ours.keys().filter(|fact| !recorded.contains_key(*fact)).map(|fact| format!("+ {fact}"));
        let all: BTreeSet<String> = gone.chain(new).collect();
        let fresh: Vec<&str> = all.difference(known).map(String::as_str).collect();
        if !fresh.is_empty() {
            self.findings.differs(format!("{what}:\n{}", fresh.join("\n")));
        }
        *known = all;
        for (text, fact) in &recorded {
            if let Some(own) = ours.get(text)
                && let Err(conflict) = self.identities.agree(&mask(fact), &mask(own))
            {
                self.findings.differs(format!("{what}: {conflict}"));
            }
        }
    }

    /// What a failed command was recorded to leave, without the changes to objects that ours left as they were before.
    pub(crate) fn refused(&mut self, recorded: &Content, before: &Content, ours: &Content) -> Content {
        let mut expected = recorded.clone();
        for (key, value) in &mut expected {
            let Some(own) = ours.get(key).filter(|own| before.get(key) == Some(own)) else { continue };
            if mask(value).text != mask(own).text {
                value.clone_from(own);
                self.findings.better.insert(better::REFUSED);
            }
        }
        expected
    }

    /// Compares what is stored; returns the keys that differ.
    pub(crate) fn content(&mut self, recorded: &Content, ours: &Content) -> BTreeSet<String> {
        let keys: BTreeSet<&String> = recorded.keys().chain(ours.keys()).collect();
        let mut differing = BTreeSet::new();
        for key in keys {
            let difference = match (recorded.get(key), ours.get(key)) {
                (Some(theirs), Some(own)) => self.value(theirs, own),
                (Some(theirs), None) => Some(format!(" not stored; recorded: {theirs}")),
                (None, Some(own)) => Some(format!(" stored: {own}")),
                (None, None) => None,
            };
            if let Some(difference) = difference {
                self.findings.differs(format!("etcd {key}:{difference}"));
                differing.insert(key.clone());
            }
        }
        differing
    }

    /// Says how two stored values differ.
    fn value(&mut self, recorded: &str, ours: &str) -> Option<String> {
        let (theirs, own) = (mask(recorded), mask(ours));
        if theirs.text == own.text {
            return self.identities.agree(&theirs, &own).err().map(|conflict| format!(" {conflict}"));
        }
        let mut differences = String::new();
        match (serde_json::from_str(recorded), serde_json::from_str(ours)) {
            (Ok(theirs), Ok(own)) => values("", &theirs, &own, &mut differences),
            _ => differences = format!("\n{}", lines(&theirs.text, &own.text)),
        }
        if differences.is_empty() {
            differences = format!(" the same JSON in other bytes\n- {recorded}\n+ {ours}");
        }
        Some(differences)
    }
}

/// Writes down, path by path, how two JSON values differ.
fn values(path: &str, recorded: &Value, ours: &Value, differences: &mut String) {
    match (recorded, ours) {
        (Value::Object(theirs), Value::Object(own)) => {
            let keys: BTreeSet<&String> = theirs.keys().chain(own.keys()).collect();
            for key in keys {
                let path = format!("{path}.{key}");
                match (theirs.get(key), own.get(key)) {
                    (Some(theirs), Some(own)) => values(&path, theirs, own, differences),
                    (Some(theirs), None) => *differences += &format!("\n- {path} = {theirs}"),
                    (None, Some(own)) => *differences += &format!("\n+ {path} = {own}"),
                    (None, None) => {}
                }
            }
        }
        (Value::Array(theirs), Value::Array(own)) if theirs.len() == own.len() => {
            for (index, (theirs, own)) in theirs.iter().zip(own).enumerate() {
                values(&format!("{path}[{index}]"), theirs, own, differences);
            }
        }
        _ if mask(&recorded.to_string()).text == mask(&ours.to_string()).text => {}
        _ => *differences += &format!("\n- {path} = {recorded}\n+ {path} = {ours}"),
    }
}

/// The lines of two texts that are not in both, in order: `-` recorded, `+` ours.
pub(crate) fn lines(recorded: &str, ours: &str) -> String {
    let (theirs, own): (Vec<&str>, Vec<&str>) = (recorded.lines().collect(), ours.lines().collect());
    // lengths of the longest common subsequences of what remains after each pair of positions
    let mut common = vec![vec![0_u32; own.len() + 1]; theirs.len() + 1];
    for i in (0..theirs.len()).rev() {
        for j in (0..own.len()).rev() {
            common[i][j] =
                if theirs[i] == own[j] { common[i + 1][j + 1] + 1 } else { common[i + 1][j].max(common[i][j + 1]) };
        }
    }
    let (mut i, mut j) = (0, 0);
    let mut out = Vec::new();
    while i < theirs.len() || j < own.len() {
        if i < theirs.len() && j < own.len() && theirs[i] == own[j] {
            (i, j) = (i + 1, j + 1);
        } else if j == own.len() || (i < theirs.len() && common[i + 1][j] >= common[i][j + 1]) {
            out.push(format!("- {}", theirs[i]));
            i += 1;
        } else {
            out.push(format!("+ {}", own[j]));
            j += 1;
        }
    }
    if out.is_empty() {
        out.push(format!("- {recorded:?}\n+ {ours:?}"));
    }
    out.join("\n")
}
