//! Where ours is better on purpose: rules about texts, not about cases.
//!
//! A rule turns what was recorded into what it should have been; it may also turn ours into a form in which the two
//! can be compared. A case is better by a rule when it is equal with the rule, and was not without.

use ipnet::IpNet;
use regex::{Captures, Regex};
use std::collections::BTreeSet;

/// One rule.
pub(crate) struct Rule {
    /// The reason, as rows print it.
    pub(crate) says: &'static str,
    /// Changes the recorded text, and ours; None when it does not apply.
    pub(crate) apply: fn(&str, &str) -> Option<(String, String)>,
}

/// A version that VERSION offers is served.
pub(crate) const SERVED: &str = "a version that VERSION offers is listed and served";

/// A command that fails leaves what was stored as it was.
pub(crate) const REFUSED: &str = "what is refused changes nothing";

/// What no rule guards is closed.
pub(crate) const NO_IPV6: &str = "the host's end of a pod without IPv6 addresses has no IPv6";

/// A command that ended in a panic has an answer.
pub(crate) const ANSWERED: &str = "a panic is no answer";

/// What a host's loopback has cannot be given to pods.
pub(crate) const LOOPBACK: &str = "a loopback range is no pool";

/// A command that a program of the host's lacked for has an answer.
pub(crate) const PROGRAM: &str = "what needs no program of the host does without it";

/// All rules about texts.
pub(crate) const RULES: &[Rule] = &[
    Rule { says: "a route of a CNI result has no host bits", apply: host_bits },
    Rule { says: SERVED, apply: offered_version },
    Rule { says: "a pointer is not a value", apply: pointers },
    Rule { says: "a struct of Go's is not a value", apply: structs },
];

/// What a command printed.
#[derive(Clone)]
pub(crate) struct Printed {
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// A rule about both streams of a command.
pub(crate) struct StreamRule {
    /// The reason, as rows print it.
    pub(crate) says: &'static str,
    /// Changes what was recorded, and ours; None when it does not apply.
    pub(crate) apply: fn(&Printed, &Printed) -> Option<(Printed, Printed)>,
}

/// All rules about streams.
pub(crate) const STREAM_RULES: &[StreamRule] = &[
    StreamRule { says: "an error goes to standard error", apply: error_stream },
    StreamRule { says: "what is wrong in a file is told with its line", apply: places },
    StreamRule { says: "what is accepted and not acted on is said", apply: warnings },
    StreamRule { says: "what cannot be decoded is told with its object, field and line", apply: decoding },
    StreamRule { says: "what failed as a whole is no partial success", apply: nothing_done },
    StreamRule { says: "an error may say more after calicoctl's words", apply: goes_on },
    StreamRule { says: "what has no name is told so", apply: nameless },
    StreamRule { says: "our own version comes after calicoctl's", apply: own_version },
];

/// An error whose beginning is the recorded one, and which goes on after it.
fn goes_on(recorded: &Printed, ours: &Printed) -> Option<(Printed, Printed)> {
    let words = recorded.stderr.trim_end();
    let rest = ours.stderr.strip_prefix(words)?;
    let more = rest.trim_start_matches('\n').len() > 3 && rest.starts_with(['\n', ':']);
    let same = || Printed { stdout: ours.stdout.clone(), stderr: ours.stderr.clone() };
    (!words.is_empty() && more && recorded.stdout == ours.stdout).then(|| (same(), same()))
}

/// `resource does not exist: IPPool() with error: <nil>`, of a command without a name.
fn nameless(recorded: &Printed, ours: &Printed) -> Option<(Printed, Printed)> {
    let nothing = Regex::new(r"resource does not exist: \w+\(\) with error: <nil>").expect("a valid expression");
    let stderr = nothing.replace_all(&recorded.stderr, "resource name may not be empty").into_owned();
    let same = Printed { stdout: ours.stdout.clone(), stderr: ours.stderr.clone() };
    (stderr != recorded.stderr).then(|| (Printed { stdout: recorded.stdout.clone(), stderr }, same))
}

/// `Tortie: v0.1.0`, the last line of `version`.
fn own_version(recorded: &Printed, ours: &Printed) -> Option<(Printed, Printed)> {
    let line = Regex::new(r"(?m)^Tortie: +v[0-9]\S*\n\z").expect("a valid expression");
    let stdout = line.replace(&ours.stdout, "").into_owned();
    let same = Printed { stdout: recorded.stdout.clone(), stderr: recorded.stderr.clone() };
    (stdout != ours.stdout).then(|| (same, Printed { stdout, stderr: ours.stderr.clone() }))
}

/// Whether a recorded command ended for want of a program, and ours went the same way up to there and further.
pub(crate) fn did_without(recorded: &Printed, ours: &Printed) -> bool {
    let lacking = Regex::new(r#"(?m)^Error executing command: exec: "\w+": executable file not found in \$PATH$"#);
    let Some(lacking) = lacking.expect("a valid expression").find(&recorded.stdout) else { return false };
    let before = &recorded.stdout[..lacking.start()];
    ours.stdout.starts_with(before) && ours.stdout.len() > before.len()
}

/// Errors that were printed on standard output.
fn error_stream(recorded: &Printed, ours: &Printed) -> Option<(Printed, Printed)> {
    let moved = Printed { stdout: String::new(), stderr: format!("{}{}", recorded.stderr, recorded.stdout) };
    let same = Printed { stdout: ours.stdout.clone(), stderr: ours.stderr.clone() };
    (!recorded.stdout.is_empty() && ours.stdout.is_empty()).then_some((moved, same))
}

/// `(FILE: line N)`, also with the object's kind and name before and the document's number after.
fn places(recorded: &Printed, ours: &Printed) -> Option<(Printed, Printed)> {
    let place = Regex::new(r" \((\w+ [\w.-]*, )?\S+: line [0-9]+(, document [0-9]+)?\)").expect("a valid expression");
    let stderr = place.replace_all(&ours.stderr, "").into_owned();
    let same = Printed { stdout: recorded.stdout.clone(), stderr: recorded.stderr.clone() };
    (stderr != ours.stderr).then(|| (same, Printed { stdout: ours.stdout.clone(), stderr }))
}

/// The host's kernel state as it should have been recorded: `disable_ipv6` is set on pods' interfaces over which there is
/// no route to an IPv6 address. Returns also those interfaces.
pub(crate) fn without_ipv6(recorded: &[String], ours: &[String]) -> (Vec<String>, BTreeSet<String>) {
    let parameter = Regex::new(r"^sysctl v6 (cali\S+) disable_ipv6 0$").expect("a valid expression");
    let routed = |link: &str| {
        let over = format!(" dev {link} ");
        ours.iter().any(|fact| fact.starts_with("-6 route ") && format!("{fact} ").contains(&over))
    };
    let mut closed = BTreeSet::new();
    let mut close = |fact: &String| match parameter.captures(fact) {
        Some(captures) if !routed(&captures[1]) => {
            closed.insert(captures[1].to_owned());
            format!("sysctl v6 {} disable_ipv6 1", &captures[1])
        }
        _ => fact.clone(),
    };
    let facts = recorded.iter().map(&mut close).collect();
    (facts, closed)
}

/// Lines that warn of fields without effect.
fn warnings(recorded: &Printed, ours: &Printed) -> Option<(Printed, Printed)> {
    let warning =
        |line: &&str| line.starts_with("warning: ") && line.trim_end().ends_with("is accepted but not acted on yet");
    let stderr: String = ours.stderr.split_inclusive('\n').filter(|line| !warning(line)).collect();
    let same = Printed { stdout: recorded.stdout.clone(), stderr: recorded.stderr.clone() };
    (stderr != ours.stderr).then(|| (same, Printed { stdout: ours.stdout.clone(), stderr }))
}

/// A decoder's own words, which name a type of Go's instead of the object.
fn decoding(recorded: &Printed, ours: &Printed) -> Option<(Printed, Printed)> {
    let theirs =
        recorded.stderr.strip_prefix("failed to execute command: error unmarshaling JSON: while decoding JSON: ");
    let own = ours.stderr.strip_prefix("failed to execute command: ")?;
    let named = Regex::new(r"\(\S+: line [0-9]+(, document [0-9]+)?\)\n$").expect("a valid expression").is_match(own);
    let same = || Printed { stdout: ours.stdout.clone(), stderr: ours.stderr.clone() };
    (theirs.is_some() && named && recorded.stdout == ours.stdout).then(|| (same(), same()))
}

/// `Partial success: replaced the first 1 out of 1` of a command of which nothing was done.
fn nothing_done(recorded: &Printed, ours: &Printed) -> Option<(Printed, Printed)> {
    let partial = r"^Partial success: \w+ the first ([0-9]+) out of ([0-9]+) ('\w+' )?resources:\n$";
    let captures = Regex::new(partial).expect("a valid expression").captures(&recorded.stdout)?;
    let reason = recorded.stderr.strip_prefix("hit error: ")?.trim_end();
    let told = ours.stdout.is_empty() && ours.stderr.trim_end().ends_with(&format!("[{reason}]"));
    let same = || Printed { stdout: ours.stdout.clone(), stderr: ours.stderr.clone() };
    (captures[1] == captures[2] && told).then(|| (same(), same()))
}

/// `= '[{Allow <nil> …}]' (REASON)`: what stands between the quotes may be anything else.
fn structs(recorded: &str, ours: &str) -> Option<(String, String)> {
    let dump = Regex::new(r"(?m)^(-  [\w.]+ = ')\[\{.*<nil>.*\}\](' \(.*\))$").expect("a valid expression");
    let captures = dump.captures(recorded)?;
    let own = Regex::new(&format!("(?m)^{}.*?{}$", regex::escape(&captures[1]), regex::escape(&captures[2])));
    let ours = own.expect("escaped text").replace(ours, format!("{}{}", &captures[1], &captures[2]).as_str());
    Some((dump.replace(recorded, "$1$2").into_owned(), ours.into_owned()))
}

fn host_bits(recorded: &str, ours: &str) -> Option<(String, String)> {
    let route = Regex::new(r#"("dst": ?")([0-9a-f.:]+/[0-9]+)""#).expect("a valid expression");
    let network = |captures: &Captures<'_>| {
        let destination: Option<IpNet> = captures[2].parse().ok();
        destination.map_or_else(|| captures[0].to_owned(), |net| format!("{}{}\"", &captures[1], net.trunc()))
    };
    let without = route.replace_all(recorded, network).into_owned();
    (without != recorded).then(|| (without, ours.to_owned()))
}

fn offered_version(recorded: &str, ours: &str) -> Option<(String, String)> {
    let answer = Regex::new(r#"^\{"cniVersion":("[0-9.]+"),"supportedVersions":\[(.*)\]\}"#).expect("valid");
    let captures = answer.captures(recorded)?;
    let (newest, all) = (&captures[1], &captures[2]);
    let listed = all.split(',').any(|version| version == newest);
    (!listed).then(|| (recorded.replace(all, &format!("{all},{newest}")), ours.to_owned()))
}

/// Tables in which a pointer is printed: the cell may hold anything else, and the columns have other widths.
fn pointers(recorded: &str, ours: &str) -> Option<(String, String)> {
    let pointer = Regex::new(r"^\(\*[\w.]+\)\(0x[0-9a-f]+\)$").expect("a valid expression");
    let rows = |text: &str| -> Vec<Vec<String>> {
        let cells = |line: &str| match line.strip_prefix('+') {
            Some(_) => vec!["+".to_owned()],
            None => line.split('|').map(|cell| cell.trim().to_owned()).collect(),
        };
        text.lines().map(cells).collect()
    };
    let (mut theirs, own) = (rows(recorded), rows(ours));
    let mut found = false;
    for (theirs, own) in theirs.iter_mut().zip(&own) {
        for (cell, value) in theirs.iter_mut().zip(own) {
            if pointer.is_match(cell) && !pointer.is_match(value) && !value.is_empty() {
                cell.clone_from(value);
                found = true;
            }
        }
    }
    let text = |rows: &[Vec<String>]| rows.iter().map(|row| row.join(" | ")).collect::<Vec<_>>().join("\n");
    found.then(|| (text(&theirs), text(&own)))
}
