//! Rows of the table, in Markdown.

use std::time::Duration;

/// Starts a table.
pub(crate) fn head(title: &str) {
    println!("\n### {title}\n\n| figure | Tortie | peer | ratio | aim | |\n|---|---|---|---|---|---|");
}

/// What a figure is to be.
pub(crate) enum Aim {
    /// At most so many times the peer's.
    Ratio(f64),
    /// At most so much.
    AtMost(f64),
    /// It is only told.
    None,
}

/// Prints a row of numbers of one unit; the peer is a name and its value.
pub(crate) fn row(figure: &str, unit: &str, ours: f64, peer: Option<(&str, f64)>, aim: &Aim) {
    // less than the clock's step has no ratio
    let ratio = peer.filter(|(_, theirs)| *theirs > 0.0).map(|(_, theirs)| ours / theirs);
    let (aim, met) = match aim {
        Aim::Ratio(limit) => (format!("≤ {limit}×"), ratio.is_some_and(|ratio| ratio <= *limit)),
        Aim::AtMost(limit) => (format!("≤ {} {unit}", number(*limit)), ours <= *limit),
        Aim::None => (String::new(), true),
    };
    let mark = match (aim.is_empty(), met) {
        (true, _) => "",
        (false, true) => "met",
        (false, false) => "missed",
    };
    let peer = peer.map_or_else(String::new, |(name, value)| format!("{name}: {} {unit}", number(value)));
    let ratio = ratio.map_or_else(String::new, |ratio| format!("{ratio:.2}"));
    println!("| {figure} | {} {unit} | {peer} | {ratio} | {aim} | {mark} |", number(ours));
}

fn number(value: f64) -> String {
    match value {
        value if value == 0.0 || value >= 100.0 => format!("{value:.0}"),
        value if value >= 10.0 => format!("{value:.1}"),
        value => format!("{value:.2}"),
    }
}

/// A duration in milliseconds.
pub(crate) fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}
