//! Printed packet rules and sets as objects by name: whole, or what is new against another print.
//!
//! Three programs' prints are read: `iptables-save`, `nft list ruleset` and `ipset save`; and the form of each that tells
//! what differs from a base. There an object is complete where it is named, `#gone NAME` takes one away, `#gone table
//! NAME` a whole table, and what is not named is as in the base. Elements of nft's sets may be listed as nft prints them
//! or as `element …`, one a line.

use regex::Regex;
use std::collections::BTreeMap;
use std::sync::LazyLock;

/// Whose print it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Printer {
    /// `iptables-save`: objects are chains, their first line is the policy.
    Iptables,
    /// `nft list ruleset`: objects are `set NAME`, `map NAME` and `chain NAME`.
    Nft,
    /// `ipset save`: objects are sets, all in one table.
    Ipset,
}

/// The lines of a table's objects, by name.
pub(super) type Table = BTreeMap<String, Vec<String>>;

/// A print.
#[derive(Clone, Debug)]
pub(super) struct Listing {
    printer: Printer,
    tables: BTreeMap<String, Table>,
}

/// What a line of a print says, of the table that it stands in.
enum Entry {
    Begins,
    Gone,
    /// An object, with what its first line says.
    Object(String, Option<String>),
    ObjectGone(String),
    /// One more line of an object.
    Line(String, String),
}

impl Listing {
    /// One without tables.
    pub(super) fn new(printer: Printer) -> Listing {
        Listing { printer, tables: BTreeMap::new() }
    }

    /// Reads a whole print.
    pub(super) fn read(printer: Printer, text: &str) -> Listing {
        let mut listing = Listing::new(printer);
        listing.change(text);
        listing
    }

    /// Changes it as a print tells that lists differences.
    pub(super) fn change(&mut self, text: &str) {
        let entries = match self.printer {
            Printer::Iptables => iptables(text),
            Printer::Nft => nft(text),
            Printer::Ipset => ipset(text),
        };
        for (table, entry) in entries {
            if matches!(entry, Entry::Gone) {
                self.tables.remove(&table);
                continue;
            }
            let objects = self.tables.entry(table).or_default();
            match entry {
                Entry::Begins | Entry::Gone => {}
                Entry::Object(name, first) => drop(objects.insert(name, first.into_iter().collect())),
                Entry::ObjectGone(name) => drop(objects.remove(&name)),
                Entry::Line(name, line) => objects.entry(name).or_default().push(line),
            }
        }
    }

    /// The objects of a table; none where there is no such table.
    pub(super) fn table(&self, name: &str) -> impl Iterator<Item = (&String, &Vec<String>)> {
        self.tables.get(name).into_iter().flatten()
    }

    /// Prints the tables that are wanted, for the program that puts them into the kernel.
    pub(super) fn print(&self, wanted: impl Fn(&str) -> bool) -> String {
        let tables = self.tables.iter().filter(|(name, _)| wanted(name));
        tables.map(|(name, table)| print(self.printer, name, table)).collect()
    }
}

fn print(printer: Printer, name: &str, table: &Table) -> String {
    let lines = |objects: &mut dyn Iterator<Item = String>| objects.map(|line| line + "\n").collect::<String>();
    match printer {
        Printer::Iptables => {
            let policy = |lines: &Vec<String>| lines.first().cloned().unwrap_or_default();
            let chains = lines(&mut table.iter().map(|(chain, lines)| format!(":{chain} {} [0:0]", policy(lines))));
            let rules = table.iter().flat_map(|(chain, lines)| lines.iter().skip(1).map(move |rule| (chain, rule)));
            let rules = lines(&mut rules.map(|(chain, rule)| format!("-A {chain} {rule}")));
            format!("*{name}\n{chains}{rules}COMMIT\n")
        }
        Printer::Ipset => lines(&mut table.values().flatten().cloned()),
        Printer::Nft => {
            // what rules name stands before them
            let (chains, sets): (Vec<_>, Vec<_>) = table.iter().partition(|(name, _)| name.starts_with("chain "));
            let sets = sets.into_iter().map(|(name, lines)| {
                let (elements, others): (Vec<&str>, Vec<&str>) =
                    lines.iter().map(String::as_str).partition(|line| line.starts_with(ELEMENT));
                let elements: Vec<&str> = elements.iter().map(|line| &line[ELEMENT.len()..]).collect();
                let elements = if elements.is_empty() {
                    String::new()
                } else {
                    format!("elements = {{ {} }}", elements.join(", "))
                };
                format!("{name} {{\n{}\n{elements}\n}}", others.join("\n"))
            });
            let chains = chains.into_iter().map(|(name, lines)| format!("{name} {{\n{}\n}}", lines.join("\n")));
            format!("table {name} {{\n{}}}\n", lines(&mut sets.chain(chains)))
        }
    }
}

fn iptables(text: &str) -> Vec<(String, Entry)> {
    let mut entries = Vec::new();
    let mut table = String::new();
    for line in text.lines().map(str::trim_end) {
        if let Some(name) = line.strip_prefix("#gone table ") {
            entries.push((name.to_owned(), Entry::Gone));
        } else if let Some(name) = line.strip_prefix('*') {
            name.clone_into(&mut table);
            entries.push((table.clone(), Entry::Begins));
        } else if let Some(name) = line.strip_prefix("#gone ") {
            entries.push((table.clone(), Entry::ObjectGone(name.to_owned())));
        } else if let Some(chain) = line.strip_prefix(':') {
            let mut words = chain.split(' ').map(str::to_owned);
            let (name, policy) = (words.next().unwrap_or_default(), words.next());
            entries.push((table.clone(), Entry::Object(name, policy)));
        } else if let Some((chain, rule)) = line.strip_prefix("-A ").and_then(|rest| rest.split_once(' ')) {
            entries.push((table.clone(), Entry::Line(chain.to_owned(), rule.to_owned())));
        }
    }
    entries
}

const ELEMENT: &str = "element ";

fn nft(text: &str) -> Vec<(String, Entry)> {
    let mut entries = Vec::new();
    let mut table = String::new();
    let mut object: Option<String> = None;
    // elements may go over many lines
    let mut elements: Option<String> = None;
    for line in text.lines().map(str::trim) {
        let mut push = |entry| entries.push((table.clone(), entry));
        if let (Some(list), Some(name)) = (&mut elements, &object) {
            *list += line;
            if line.ends_with('}') {
                elements_of(list).for_each(|element| push(Entry::Line(name.clone(), element)));
                elements = None;
            }
        } else if let Some(name) = &object {
            if line == "}" {
                object = None;
            } else if let Some(list) = line.strip_prefix("elements = {") {
                if line.ends_with('}') {
                    elements_of(list).for_each(|element| push(Entry::Line(name.clone(), element)));
                } else {
                    elements = Some(list.to_owned());
                }
            } else if !line.is_empty() {
                push(Entry::Line(name.clone(), without_counts(line)));
            }
        } else if let Some(name) = line.strip_prefix("#gone table ") {
            entries.push((name.to_owned(), Entry::Gone));
        } else if let Some(name) = line.strip_prefix("#gone ") {
            push(Entry::ObjectGone(name.to_owned()));
        } else if let Some(name) = line.strip_suffix(" {") {
            if let Some(name) = name.strip_prefix("table ") {
                name.clone_into(&mut table);
                entries.push((table.clone(), Entry::Begins));
            } else {
                object = Some(name.to_owned());
                push(Entry::Object(name.to_owned(), None));
            }
        }
    }
    entries
}

/// The elements of a list that ends with a brace, as lines.
fn elements_of(list: &str) -> impl Iterator<Item = String> {
    let list = list.trim_end_matches('}');
    list.split(',').map(str::trim).filter(|element| !element.is_empty()).map(|element| format!("{ELEMENT}{element}"))
}

/// A rule of nft without what it has counted.
fn without_counts(line: &str) -> String {
    static COUNTS: LazyLock<Regex> =
        LazyLock::new(|| Regex::new(r"\bcounter packets \d+ bytes \d+").expect("a valid expression"));
    COUNTS.replace_all(line, "counter").into_owned()
}

fn ipset(text: &str) -> Vec<(String, Entry)> {
    let entry = |line: &str| {
        let name = line.split(' ').nth(1)?.to_owned();
        Some(match line.split(' ').next()? {
            "create" => Entry::Object(name, Some(line.to_owned())),
            "add" => Entry::Line(name, line.to_owned()),
            "#gone" => Entry::ObjectGone(name),
            _ => return None,
        })
    };
    text.lines().map(str::trim_end).filter_map(entry).map(|entry| (String::new(), entry)).collect()
}
