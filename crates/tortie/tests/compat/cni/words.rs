//! The words that matter of what a plugin prints on standard error.
//!
//! Calico logs there, in lines of its own form. What counts is why a call failed, and what it warns of; other lines are
//! compared as they are. An error without a failure is noise, of which ours must be free.

use regex::Regex;
use std::sync::LazyLock;

/// `2026-11-22 23:38:31.171 [ERROR][20463] cni-plugin/utils.go 116: MESSAGE error=REASON KEY="VALUE"`.
static LINE: LazyLock<Regex> = LazyLock::new(|| {
    let expression = r"^[0-9-]{10} [0-9:.]+ \[(?P<level>[A-Z]+)\]\[[0-9]+\] (?P<message>.*)$";
    Regex::new(expression).expect("a valid expression")
});

/// What standard error was recorded to say and ours does not, or ours says and should not; `reason` is why the call
/// failed, if it did.
pub(crate) fn differences(recorded: &str, ours: &str, reason: Option<&str>) -> Vec<String> {
    let mut differences = Vec::new();
    let (theirs, own) = (entries(recorded), entries(ours));
    for entry in &theirs {
        let words = match LINE.captures(entry) {
            None => entry.clone(),
            Some(captures) => match (&captures["level"], reason) {
                ("ERROR" | "FATAL", Some(reason)) if captures["message"].contains(reason) => reason.to_owned(),
                ("WARNING", _) => message(&captures["message"]),
                _ => continue,
            },
        };
        if !ours.contains(&words) {
            differences.push(format!("does not say {words:?}, but {ours:?}"));
        }
    }
    for entry in &own {
        match LINE.captures(entry) {
            None if !theirs.contains(entry) => differences.push(format!("says {entry:?}")),
            Some(captures) if reason.is_none() && matches!(&captures["level"], "ERROR" | "FATAL") => {
                differences.push(format!("an error of a call that succeeded: {entry:?}"));
            }
            _ => {}
        }
    }
    differences
}

/// The lines; one that starts with a blank continues the one before.
fn entries(text: &str) -> Vec<String> {
    let mut entries: Vec<String> = Vec::new();
    for line in text.lines().filter(|line| !line.trim().is_empty()) {
        match entries.last_mut() {
            Some(entry) if line.starts_with(' ') => *entry += line,
            _ => entries.push(line.to_owned()),
        }
    }
    entries
}

/// The message without where it comes from and the fields after it.
fn message(message: &str) -> String {
    let source = Regex::new(r"^\S+ [0-9]+: ").expect("a valid expression");
    let fields = Regex::new(r#"( [A-Za-z]+=("([^"\\]|\\.)*"|\S*))+ ?$"#).expect("a valid expression");
    fields.replace(&source.replace(message, ""), "").into_owned()
}
