//! Recursive descent over the selector grammar:
//! `or := and ('||' and)*`, `and := unary ('&&' unary)*`, `unary := '!'* term`, `term := '(' or ')' | test`.

use super::{Node, SelectorError, Test};
use std::collections::BTreeSet;

/// Longest label name.
const MAX_LABEL: usize = 512;
/// Deepest nesting of parentheses and negations, so that no text can exhaust the stack.
const MAX_DEPTH: usize = 200;

pub(super) fn parse(text: &str) -> Result<Node, SelectorError> {
    let mut parser = Parser { text, rest: text, depth: 0 };
    parser.skip_blanks();
    if parser.rest.is_empty() {
        return Ok(Node::All);
    }
    let node = parser.or()?;
    if parser.rest.is_empty() { Ok(node) } else { Err(parser.error("unexpected text")) }
}

struct Parser<'a> {
    text: &'a str,
    rest: &'a str,
    depth: usize,
}

impl<'a> Parser<'a> {
    fn or(&mut self) -> Result<Node, SelectorError> {
        let mut nodes = vec![self.and()?];
        while self.take("||") {
            nodes.push(self.and()?);
        }
        Ok(joined(nodes, Node::Or))
    }

    fn and(&mut self) -> Result<Node, SelectorError> {
        let mut nodes = vec![self.unary()?];
        while self.take("&&") {
            nodes.push(self.unary()?);
        }
        Ok(joined(nodes, Node::And))
    }

    fn unary(&mut self) -> Result<Node, SelectorError> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(self.error("nested too deeply"));
        }
        let node = if self.take("!") { Node::Not(Box::new(self.unary()?)) } else { self.term()? };
        self.depth -= 1;
        Ok(node)
    }

    fn term(&mut self) -> Result<Node, SelectorError> {
        if self.take("(") {
            let inner = self.or()?;
            return if self.take(")") { Ok(inner) } else { Err(self.error("expected )")) };
        }
        if self.take("all()") {
            return Ok(Node::All);
        }
        if self.take("global()") {
            return Ok(Node::Global);
        }
        if self.take("has(") {
            let label = self.label()?;
            return if self.take(")") { Ok(Node::Has(label)) } else { Err(self.error("expected )")) };
        }
        let label = self.label()?;
        Ok(Node::Label(label, self.test()?))
    }

    fn test(&mut self) -> Result<Test, SelectorError> {
        if self.take("==") {
            Ok(Test::Equal(self.string()?))
        } else if self.take("!=") {
            Ok(Test::NotEqual(self.string()?))
        } else if self.take_words(&["in"]) {
            Ok(Test::In(self.set()?))
        } else if self.take_words(&["not", "in"]) {
            Ok(Test::NotIn(self.set()?))
        } else if self.take_words(&["contains"]) {
            Ok(Test::Contains(self.string()?))
        } else if self.take_words(&["starts", "with"]) {
            Ok(Test::StartsWith(self.string()?))
        } else if self.take_words(&["ends", "with"]) {
            Ok(Test::EndsWith(self.string()?))
        } else {
            Err(self.error("expected an operator after a label"))
        }
    }

    fn label(&mut self) -> Result<String, SelectorError> {
        let is_part = |c: char| c.is_ascii_alphanumeric() || "_./-".contains(c);
        let end = self.rest.find(|c| !is_part(c)).unwrap_or(self.rest.len());
        if end == 0 {
            return Err(self.error("expected a label"));
        }
        if end > MAX_LABEL {
            return Err(self.error("a label has more than 512 characters"));
        }
        let (label, rest) = self.rest.split_at(end);
        self.rest = rest;
        self.skip_blanks();
        Ok(label.to_owned())
    }

    fn string(&mut self) -> Result<String, SelectorError> {
        let Some(quote) = self.rest.chars().next().filter(|c| matches!(c, '"' | '\'')) else {
            return Err(self.error("expected a string in quotes"));
        };
        let Some((value, rest)) = self.rest[1..].split_once(quote) else {
            return Err(self.error("a string without its closing quote"));
        };
        self.rest = rest;
        self.skip_blanks();
        Ok(value.to_owned())
    }

    fn set(&mut self) -> Result<BTreeSet<String>, SelectorError> {
        if !self.take("{") {
            return Err(self.error("expected a set such as {\"a\", \"b\"}"));
        }
        let mut values = BTreeSet::new();
        if self.take("}") {
            return Ok(values);
        }
        loop {
            values.insert(self.string()?);
            if self.take("}") {
                return Ok(values);
            }
            if !self.take(",") {
                return Err(self.error("expected , or } in a set"));
            }
        }
    }

    fn take(&mut self, token: &str) -> bool {
        let Some(rest) = self.rest.strip_prefix(token) else { return false };
        self.rest = rest;
        self.skip_blanks();
        true
    }

    /// Takes an operator of several words, with any blanks between them, or none.
    fn take_words(&mut self, words: &[&str]) -> bool {
        let before = self.rest;
        let taken = words.iter().all(|word| self.take(word));
        if !taken {
            self.rest = before;
        }
        taken
    }

    fn skip_blanks(&mut self) {
        self.rest = self.rest.trim_start_matches([' ', '\t']);
    }

    fn error(&self, reason: &'static str) -> SelectorError {
        let position = self.text[..self.text.len() - self.rest.len()].chars().count() + 1;
        SelectorError { text: self.text.to_owned(), reason, position }
    }
}

fn joined(mut nodes: Vec<Node>, join: fn(Vec<Node>) -> Node) -> Node {
    if nodes.len() > 1 { join(nodes) } else { nodes.swap_remove(0) }
}
