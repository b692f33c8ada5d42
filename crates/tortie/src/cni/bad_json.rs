//! What is wrong with a text that is not JSON, in the words of Go's encoding/json: those that runtimes and their
//! operators have seen from CNI plugins.

/// How deep values may lie in each other; the JSON library refuses what is deeper with words of its own.
const MAX_DEPTH: usize = 128;

/// Says what is wrong; nothing when it is JSON, or too deep to tell.
pub(super) fn explain(text: &[u8]) -> Option<String> {
    let mut scanner = Scanner { text, at: 0, depth: 0 };
    let outcome = scanner.value().and_then(|()| match scanner.next() {
        Some(_) => Err(scanner.invalid("after top-level value")),
        None => Ok(()),
    });
    match outcome {
        Ok(()) | Err(Stop::TooDeep) => None,
        Err(Stop::End) => Some("unexpected end of JSON input".to_owned()),
        Err(Stop::Invalid(character, place)) => Some(format!("invalid character {} {place}", quoted(character))),
    }
}

/// Why the scan ends.
enum Stop {
    /// The text does.
    End,
    /// This byte cannot be in this place.
    Invalid(u8, String),
    TooDeep,
}

struct Scanner<'a> {
    text: &'a [u8],
    at: usize,
    depth: usize,
}

impl Scanner<'_> {
    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    /// The next byte that is not a blank.
    fn next(&mut self) -> Option<u8> {
        while let Some(b' ' | b'\t' | b'\r' | b'\n') = self.peek() {
            self.at += 1;
        }
        self.peek()
    }

    /// The next byte cannot be here.
    fn invalid(&self, place: &str) -> Stop {
        self.peek().map_or(Stop::End, |byte| Stop::Invalid(byte, place.to_owned()))
    }

    /// The next byte cannot be here, and what comes to an end here is not whole: Go reads a blank after the text.
    fn broken(&self, place: &str) -> Stop {
        Stop::Invalid(self.peek().unwrap_or(b' '), place.to_owned())
    }

    fn value(&mut self) -> Result<(), Stop> {
        match self.next() {
            Some(b'{') => self.nested(Scanner::object),
            Some(b'[') => self.nested(Scanner::array),
            Some(b'"') => self.string(),
            Some(b'-' | b'0'..=b'9') => self.number(),
            Some(b't') => self.literal("true"),
            Some(b'f') => self.literal("false"),
            Some(b'n') => self.literal("null"),
            _ => Err(self.invalid("looking for beginning of value")),
        }
    }

    fn nested(&mut self, scan: fn(&mut Self) -> Result<(), Stop>) -> Result<(), Stop> {
        if self.depth == MAX_DEPTH {
            return Err(Stop::TooDeep);
        }
        self.at += 1;
        self.depth += 1;
        scan(self)?;
        self.depth -= 1;
        self.at += 1;
        Ok(())
    }

    fn object(&mut self) -> Result<(), Stop> {
        if self.next() == Some(b'}') {
            return Ok(());
        }
        loop {
            if self.next() != Some(b'"') {
                return Err(self.invalid("looking for beginning of object key string"));
            }
            self.string()?;
            if self.next() != Some(b':') {
                return Err(self.invalid("after object key"));
            }
            self.at += 1;
            self.value()?;
            match self.next() {
                Some(b',') => self.at += 1,
                Some(b'}') => return Ok(()),
                _ => return Err(self.invalid("after object key:value pair")),
            }
        }
    }

    fn array(&mut self) -> Result<(), Stop> {
        if self.next() == Some(b']') {
            return Ok(());
        }
        loop {
            self.value()?;
            match self.next() {
                Some(b',') => self.at += 1,
                Some(b']') => return Ok(()),
                _ => return Err(self.invalid("after array element")),
            }
        }
    }

    fn string(&mut self) -> Result<(), Stop> {
        self.at += 1;
        loop {
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(());
                }
                Some(b'\\') => self.escape()?,
                Some(b' '..) => self.at += 1,
                _ => return Err(self.invalid("in string literal")),
            }
        }
    }

    fn escape(&mut self) -> Result<(), Stop> {
        self.at += 1;
        match self.peek() {
            Some(b'b' | b'f' | b'n' | b'r' | b't' | b'\\' | b'/' | b'"') => self.at += 1,
            Some(b'u') => {
                self.at += 1;
                for _ in 0..4 {
                    if !self.peek().is_some_and(|byte| byte.is_ascii_hexdigit()) {
                        return Err(self.broken("in \\u hexadecimal character escape"));
                    }
                    self.at += 1;
                }
            }
            _ => return Err(self.broken("in string escape code")),
        }
        Ok(())
    }

    fn number(&mut self) -> Result<(), Stop> {
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        if self.peek() == Some(b'0') {
            self.at += 1;
        } else {
            self.digits("in numeric literal")?;
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.digits("after decimal point in numeric literal")?;
        }
        if let Some(b'e' | b'E') = self.peek() {
            self.at += 1;
            if let Some(b'+' | b'-') = self.peek() {
                self.at += 1;
            }
            self.digits("in exponent of numeric literal")?;
        }
        Ok(())
    }

    /// One digit or more.
    fn digits(&mut self, place: &str) -> Result<(), Stop> {
        let start = self.at;
        while self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            self.at += 1;
        }
        if self.at == start { Err(self.broken(place)) } else { Ok(()) }
    }

    fn literal(&mut self, word: &str) -> Result<(), Stop> {
        for expected in word.bytes() {
            if self.peek() != Some(expected) {
                return Err(self.broken(&format!("in literal {word} (expecting '{}')", char::from(expected))));
            }
            self.at += 1;
        }
        Ok(())
    }
}

/// A byte as Go quotes the character of its number.
fn quoted(byte: u8) -> String {
    let text = match byte {
        b'\'' => "\\'".to_owned(),
        b'\\' => "\\\\".to_owned(),
        0x07 => "\\a".to_owned(),
        0x08 => "\\b".to_owned(),
        b'\t' => "\\t".to_owned(),
        b'\n' => "\\n".to_owned(),
        0x0b => "\\v".to_owned(),
        0x0c => "\\f".to_owned(),
        b'\r' => "\\r".to_owned(),
        0x00..0x20 | 0x7f => format!("\\x{byte:02x}"),
        0x80..=0xa0 | 0xad => format!("\\u{byte:04x}"),
        _ => char::from(byte).to_string(),
    };
    format!("'{text}'")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What encoding/json of Go 1.26 said about these texts.
    #[test]
    fn each_place() {
        for (text, expect) in [
            ("", "unexpected end of JSON input"),
            ("{foo", "invalid character 'f' looking for beginning of object key string"),
            ("{", "unexpected end of JSON input"),
            ("{\"a\"", "unexpected end of JSON input"),
            ("{\"a\" 1}", "invalid character '1' after object key"),
            ("{\"a\":}", "invalid character '}' looking for beginning of value"),
            ("{\"a\":1", "unexpected end of JSON input"),
            ("{\"a\":1 x}", "invalid character 'x' after object key:value pair"),
            ("{\"a\":1,}", "invalid character '}' looking for beginning of object key string"),
            ("[1 2]", "invalid character '2' after array element"),
            ("[1,]", "invalid character ']' looking for beginning of value"),
            ("[", "unexpected end of JSON input"),
            ("{} x", "invalid character 'x' after top-level value"),
            ("\"a", "unexpected end of JSON input"),
            ("\"\\x\"", "invalid character 'x' in string escape code"),
            ("\"\\u12g4\"", "invalid character 'g' in \\u hexadecimal character escape"),
            ("\"a\nb\"", "invalid character '\\n' in string literal"),
            ("-", "invalid character ' ' in numeric literal"),
            ("-a", "invalid character 'a' in numeric literal"),
            ("1.", "invalid character ' ' after decimal point in numeric literal"),
            ("1.x", "invalid character 'x' after decimal point in numeric literal"),
            ("1e", "invalid character ' ' in exponent of numeric literal"),
            ("1ex", "invalid character 'x' in exponent of numeric literal"),
            ("01", "invalid character '1' after top-level value"),
            ("tru", "invalid character ' ' in literal true (expecting 'e')"),
            ("trux", "invalid character 'x' in literal true (expecting 'e')"),
            ("nulx", "invalid character 'x' in literal null (expecting 'l')"),
            ("fake", "invalid character 'k' in literal false (expecting 'l')"),
            ("'", "invalid character '\\'' looking for beginning of value"),
            ("\"\u{1}\"", "invalid character '\\x01' in string literal"),
            ("é", "invalid character 'Ã' looking for beginning of value"),
            ("{\"a\":1}}", "invalid character '}' after top-level value"),
            ("\t\x00", "invalid character '\\x00' looking for beginning of value"),
        ] {
            assert_eq!(explain(text.as_bytes()).as_deref(), Some(expect), "{text:?}");
        }
        for text in ["{}", " [1, -0.5e+3, \"\\u00e9\\n\", true, null] ", "\"é\"", "0"] {
            assert_eq!(explain(text.as_bytes()), None, "{text:?}");
        }
        assert_eq!(explain("[".repeat(1000).as_bytes()), None, "too deep to tell");
    }

    #[test]
    fn bytes_are_quoted() {
        for (byte, expect) in [(0x01, "'\\x01'"), (b'\'', "'\\''"), (b'"', "'\"'"), (0xc3, "'Ã'"), (0x85, "'\\u0085'")]
        {
            assert_eq!(quoted(byte), expect);
        }
    }
}
