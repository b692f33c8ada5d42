//! The documents of a file, and the file's line of whatever is in them.
//!
//! A document is what lies between two lines that begin with `---` (YAML 1.2 §9.1.4), whose content belongs to the
//! document after it. Reading keeps no positions; where one is asked for, the document is read again with them.

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::Value;
use serde_saphyr::{Location, Spanned};
use std::cell::OnceCell;
use std::fmt;
use std::rc::Rc;

/// Limits for one document: a list of some ten thousand objects.
const MAX_EVENTS: usize = 50_000_000;

/// One document of a file.
#[derive(Debug)]
pub(in crate::ctl) struct Document {
    file: Rc<str>,
    /// Its place among the file's documents, from 1 on; none when it is the only one.
    number: Option<usize>,
    /// How many of the file's lines lie before it.
    lines_before: u64,
    text: String,
    /// What it holds, with positions, once they have been asked for.
    content: OnceCell<Option<Spanned<Content>>>,
}

impl Document {
    /// A text that is one document.
    pub(in crate::ctl) fn whole(file: &str, text: &str) -> Document {
        Document { text: text.to_owned(), ..Document::empty(&file.into(), 0) }
    }

    fn empty(file: &Rc<str>, lines_before: u64) -> Document {
        let content = OnceCell::new();
        Document { file: file.clone(), number: None, lines_before, text: String::new(), content }
    }

    /// Takes a file's text apart; what has only blanks and comments is no document.
    pub(super) fn split(file: &str, text: &str) -> Vec<Document> {
        let file: Rc<str> = file.into();
        let mut parts = vec![Document::empty(&file, 0)];
        // what marks a text's encoding is no part of it
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        for (line, before) in text.split_inclusive('\n').zip(0..) {
            match separator(line) {
                Some(Separator::Marker) => parts.push(Document::empty(&file, before)),
                Some(Separator::Rule) => {
                    parts.push(Document::empty(&file, before + 1));
                    continue;
                }
                None => {}
            }
            if let Some(part) = parts.last_mut() {
                part.text.push_str(line);
            }
        }
        parts.retain(|part| !part.is_empty());
        if parts.len() > 1 {
            for (part, number) in parts.iter_mut().zip(1..) {
                part.number = Some(number);
            }
        }
        parts
    }

    fn is_empty(&self) -> bool {
        let content = self.text.strip_prefix("---").unwrap_or(&self.text);
        content.lines().all(|line| line.trim_start().is_empty() || line.trim_start().starts_with('#'))
    }

    /// Reads it; the error says where in the file it is wrong.
    pub(super) fn parse(&self) -> Result<Value, String> {
        read::<Option<Value>>(&self.text).map(Option::unwrap_or_default).map_err(|error| self.explain(&error))
    }

    fn explain(&self, error: &serde_saphyr::Error) -> String {
        let text = error.to_string();
        // the parser's advice is meant for programmers
        let text = text.replacen(", set DuplicateKeyPolicy in Options if acceptable", "", 1);
        let reason = text.trim_end();
        let place = |line: u64, column: u64| format!(" at line {line}, column {column}");
        let reason = match error.location() {
            None => reason.to_owned(),
            Some(location) => {
                let (line, column) = (location.line(), location.column());
                let bare = reason.replacen(&place(line, column), "", 1);
                let (line, column) = if bare.contains("tab") { self.tab_from(line, column) } else { (line, column) };
                bare + &place(self.lines_before + line, column)
            }
        };
        let number = self.number.map(|number| format!(" (document {number})")).unwrap_or_default();
        format!("{}: {reason}{number}", self.file)
    }

    /// The line that a tab indents, where the parser names the one before, at which the scalar in question begins.
    fn tab_from(&self, line: u64, column: u64) -> (u64, u64) {
        let indent = |text: &str| text.chars().take_while(|c| matches!(c, ' ' | '\t')).position(|c| c == '\t');
        let lines = self.text.lines().zip(1..).skip_while(|(_, number)| *number < line);
        let found = lines.filter_map(|(text, number)| Some((number, indent(text)?))).next();
        found.map_or((line, column), |(number, blanks)| (number, blanks as u64 + 1))
    }

    /// `FILE: line N`, and the document's number where there are several; of the deepest part of the path that exists.
    pub(super) fn place(&self, path: &str) -> String {
        let line = self.find(path).map_or(1, |found| found.line) + self.lines_before;
        let number = self.number.map(|number| format!(", document {number}")).unwrap_or_default();
        format!("{}: line {line}{number}", self.file)
    }

    /// A scalar as it is written.
    pub(super) fn written(&self, path: &str) -> Option<&str> {
        let start = usize::try_from(self.find(path)?.scalar?).ok()?;
        let rest = self.text.get(start..)?;
        // no plain scalar that is a number or a word of YAML's has a blank, or what ends it in a flow
        Some(rest.split(|c: char| c.is_whitespace() || ",]}".contains(c)).next().unwrap_or_default())
    }

    fn find(&self, path: &str) -> Option<Found> {
        let root = self.content.get_or_init(|| read(&self.text).ok()).as_ref()?;
        Some(find(root, root.referenced.line(), path))
    }
}

/// A line between documents.
enum Separator {
    /// YAML's own; what follows on the line is content.
    Marker,
    /// A longer row of dashes, at which Calico separates too.
    Rule,
}

fn separator(line: &str) -> Option<Separator> {
    let rest = line.strip_prefix("---")?;
    if rest.is_empty() || rest.starts_with(char::is_whitespace) {
        return Some(Separator::Marker);
    }
    rest.trim_end().chars().all(|c| c == '-').then_some(Separator::Rule)
}

/// Reads YAML 1.1 as Go's packages do; JSON is a part of it.
fn read<T: for<'de> Deserialize<'de>>(text: &str) -> Result<T, serde_saphyr::Error> {
    let options = serde_saphyr::options! {
        legacy_octal_numbers: true,
        with_snippet: false,
        budget: serde_saphyr::budget! {
            max_events: MAX_EVENTS,
            max_nodes: MAX_EVENTS,
        },
    };
    serde_saphyr::from_str_with_options(text, options)
}

/// What a document holds, with positions; values are left to [`Document::parse`].
#[derive(Debug)]
enum Content {
    Scalar,
    List(Vec<Spanned<Content>>),
    Map(Vec<(Spanned<String>, Spanned<Content>)>),
}

/// A place in a document.
struct Found {
    /// The document's line, from 1 on.
    line: u64,
    /// Where the value starts, in bytes, when it is a scalar at the very end of the path.
    scalar: Option<u64>,
}

/// Follows a path such as `items[3].spec.cidr` or `items.3.spec.cidr`.
fn find(node: &Spanned<Content>, line: u64, path: &str) -> Found {
    let path = path.trim_start_matches(['.', '?']);
    let here = Found { line, scalar: None };
    match &node.value {
        Content::Scalar => {
            let offset = |location: Location| location.span().byte_offset();
            Found { line, scalar: offset(node.referenced).filter(|_| path.is_empty()) }
        }
        _ if path.is_empty() => here,
        Content::List(items) => {
            let path = path.trim_start_matches('[');
            let (index, rest) = path.split_at(path.find(['.', ']']).unwrap_or(path.len()));
            match index.parse().ok().and_then(|index: usize| items.get(index)) {
                Some(item) => find(item, item.referenced.line(), rest.trim_start_matches(']')),
                None => here,
            }
        }
        Content::Map(entries) => {
            // a key may have dots itself
            let rest = |key: &str| {
                let rest = path.get(key.len()..)?;
                let begins = path.get(..key.len())?.eq_ignore_ascii_case(key);
                (begins && (rest.is_empty() || rest.starts_with(['.', '[']))).then_some(rest)
            };
            let found = entries.iter().filter_map(|(key, value)| Some((key, value, rest(&key.value)?)));
            // and another one may differ in the case of its letters alone
            match found.max_by_key(|(key, ..)| (key.value.len(), path.starts_with(&key.value))) {
                Some((key, value, rest)) => find(value, key.referenced.line(), rest),
                None => here,
            }
        }
    }
}

impl<'de> Deserialize<'de> for Content {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AnyContent)
    }
}

struct AnyContent;

impl<'de> Visitor<'de> for AnyContent {
    type Value = Content;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_bool<E>(self, _: bool) -> Result<Content, E> {
        Ok(Content::Scalar)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Content, E> {
        Ok(Content::Scalar)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Content, E> {
        Ok(Content::Scalar)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Content, E> {
        Ok(Content::Scalar)
    }

    fn visit_str<E>(self, _: &str) -> Result<Content, E> {
        Ok(Content::Scalar)
    }

    fn visit_unit<E>(self) -> Result<Content, E> {
        Ok(Content::Scalar)
    }

    fn visit_none<E>(self) -> Result<Content, E> {
        Ok(Content::Scalar)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Content, D::Error> {
        Content::deserialize(deserializer)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Content, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = access.next_element()? {
            items.push(item);
        }
        Ok(Content::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Content, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = access.next_entry()? {
            entries.push(entry);
        }
        Ok(Content::Map(entries))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pieces(text: &str) -> Vec<(u64, String)> {
        let documents = Document::split("f", text);
        documents.into_iter().map(|document| (document.lines_before, document.text)).collect()
    }

    #[test]
    fn documents_lie_between_lines_of_dashes() {
        for (text, expect) in [
            ("a: 1\n", &[(0, "a: 1\n")][..]),
            ("---\na: 1\n", &[(0, "---\na: 1\n")]),
            ("# one\n\n---\na: 1\n---\n---\n# two\n--- {b: 2}\n...\n", &[(2, "---\na: 1\n"), (7, "--- {b: 2}\n...\n")]),
            ("\u{feff}a: 1\r\n---\r\nb: 2", &[(0, "a: 1\r\n"), (1, "---\r\nb: 2")]),
            ("a: 1\n------\nb: 2\n", &[(0, "a: 1\n"), (2, "b: 2\n")]),
            ("a: |\n  ---\n  x\n---b\n", &[(0, "a: |\n  ---\n  x\n---b\n")]),
            ("\n# nothing\n---\n", &[]),
        ] {
            let expect: Vec<(u64, String)> = expect.iter().map(|(line, text)| (*line, (*text).to_owned())).collect();
            assert_eq!(pieces(text), expect, "{text:?}");
        }
    }

    #[test]
    fn lines_are_the_files() {
        let texts =
            ["", "\n\n", "# a\n---\n", "---\n", "\u{feff}# x\n", "kind: A\n---\n", "kind: A\n--- # b\n\n---\n# c\n\n"];
        for before in texts {
            for (break_, bad, line) in [("\n", "a: 1\n\tb: 2\n", 2), ("\r\n", "a: 1\r\nb: 1\r\nb: 2\r\n", 3)] {
                let before = before.replace('\n', break_);
                let lines = before.matches('\n').count() as u64;
                let documents = Document::split("f.yaml", &format!("{before}{bad}"));
                let error = documents.last().expect("a document").parse().expect_err("bad YAML");
                assert!(error.starts_with("f.yaml: "), "{error}");
                assert!(error.contains(&format!(" at line {}, column ", lines + line)), "{before:?} {bad:?}: {error}");
                assert_eq!(error.ends_with(" (document 2)"), before.contains("kind"), "{error}");
            }
        }
    }

    #[test]
    fn places_are_found_by_path() {
        let text = "# comment\n--- # here\nkind: List\nitems:\n- metadata:\n    labels:\n      a.b/c: 0755\n  Spec: {cidr: 1.10}\n\n- spec:\n    list:\n    - x\n    - {y: yes}\n";
        let documents = Document::split("f", &format!("a: 1\n{text}"));
        let document = documents.last().expect("two documents");
        for (path, line) in [
            ("", 4),
            ("items", 5),
            ("items[0]", 6),
            ("items.0.metadata.labels.a.b/c", 8),
            ("items[0].spec.cidr", 9),
            ("items[1].spec.list[1].y", 14),
            ("items[1].spec.?.list.1.?.nothing", 14),
            ("items[1].nothing.at.all", 11),
        ] {
            let expect = format!("f: line {line}, document 2");
            assert_eq!(document.place(path), expect, "{path}");
        }
        assert_eq!(document.written("items[0].metadata.labels.a.b/c"), Some("0755"));
        assert_eq!(document.written("items[0].spec.cidr"), Some("1.10"));
        assert_eq!(document.written("items[1].spec.list[1].y"), Some("yes"));
        assert_eq!(document.written("items[1].spec"), None);
    }

    #[test]
    fn a_text_of_one_document_has_no_numbers() {
        let document = Document::whole("f", "a:\n  b: 1\n");
        assert_eq!(document.place("a.b"), "f: line 2");
    }
}
