//! What an exhibit's output must show: literals of the walkthrough against what was printed.

/// One line of the verdict.
#[derive(Clone, Copy, Debug)]
pub struct Check {
    /// What is claimed.
    pub what: &'static str,
    /// Where to look.
    pub of: Output,
    /// What to find.
    pub expect: Expect,
}

/// Which of an exhibit's outputs a check looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Output {
    /// The command's.
    Command,
    /// The capture's that ran beside it.
    Capture,
}

/// What to find.
#[derive(Clone, Copy, Debug)]
pub enum Expect {
    /// A line with just these blank-separated fields.
    Fields(&'static str),
    /// A line that begins with these fields.
    Begins(&'static str),
    /// A line that has these fields, one after the other.
    Within(&'static str),
    /// No line that has these fields, one after the other.
    Without(&'static str),
    /// This many lines that have these fields, one after the other.
    Count(usize, &'static str),
    /// Every line that names a thing (first) also has the fields (second), and there is one at least.
    Every(&'static str, &'static str),
    /// All lines that begin with a word (first) are these, in this order.
    Table(&'static str, &'static [&'static str]),
    /// The command succeeded.
    Succeeds,
    /// The command failed.
    Fails,
}

/// What was expected and what was there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mismatch {
    /// The literal, in words.
    pub expected: String,
    /// The closest that was found.
    pub got: String,
}

impl Expect {
    /// Judges an output and an exit status.
    pub fn judge(&self, output: &str, success: bool) -> Result<(), Mismatch> {
        let lines: Vec<Vec<&str>> = output.lines().map(|line| line.split_whitespace().collect()).collect();
        let fields = |text: &'static str| text.split_whitespace().collect::<Vec<&str>>();
        let has = |line: &[&str], wanted: &[&str]| line.windows(wanted.len()).any(|window| window == wanted);
        let verdict = |good: bool, expected: String| {
            if good { Ok(()) } else { Err(Mismatch { expected, got: summary(output) }) }
        };
        match *self {
            Expect::Fields(text) => {
                let wanted = fields(text);
                closest(lines.contains(&wanted), text, &lines, &wanted)
            }
            Expect::Begins(text) => {
                let wanted = fields(text);
                closest(lines.iter().any(|line| line.starts_with(&wanted)), text, &lines, &wanted)
            }
            Expect::Within(text) => {
                let wanted = fields(text);
                closest(lines.iter().any(|line| has(line, &wanted)), text, &lines, &wanted)
            }
            Expect::Without(text) => {
                let unwanted = fields(text);
                match lines.iter().find(|line| has(line, &unwanted)) {
                    None => Ok(()),
                    Some(line) => Err(Mismatch { expected: format!("no {text:?}"), got: line.join(" ") }),
                }
            }
            Expect::Count(count, text) => {
                let wanted = fields(text);
                let found = lines.iter().filter(|line| has(line, &wanted)).count();
                verdict(found == count, format!("{count} lines with {text:?}"))
                    .map_err(|mismatch| Mismatch { got: found.to_string(), ..mismatch })
            }
            Expect::Every(name, text) => {
                let wanted = fields(text);
                let named: Vec<_> = lines.iter().filter(|line| line.iter().any(|word| word.contains(name))).collect();
                let odd = named.iter().find(|line| !has(line, &wanted));
                match (named.is_empty(), odd) {
                    (false, None) => Ok(()),
                    (true, _) => Err(Mismatch { expected: format!("lines with {name:?}"), got: "none".to_owned() }),
                    (false, Some(line)) => {
                        Err(Mismatch { expected: format!("{text:?} in every line with {name:?}"), got: line.join(" ") })
                    }
                }
            }
            Expect::Table(start, rows) => {
                let found: Vec<String> = lines
                    .iter()
                    .filter(|line| line.first().is_some_and(|word| word.starts_with(start)))
                    .map(|line| line.join(" "))
                    .collect();
                let wanted: Vec<String> = rows.iter().map(|row| fields(row).join(" ")).collect();
                let missing = wanted.iter().find(|row| !found.contains(row));
                let extra = found.iter().find(|row| !wanted.contains(row));
                if found == wanted {
                    return Ok(());
                }
                let missing =
                    missing.map_or_else(|| format!("{} lines in order", wanted.len()), |row| format!("{row:?}"));
                let extra = extra.map_or_else(|| format!("{} lines", found.len()), |row| format!("{row:?}"));
                Err(Mismatch { expected: missing, got: extra })
            }
            Expect::Succeeds => verdict(success, "success".to_owned()),
            Expect::Fails => verdict(!success, "failure".to_owned()),
        }
    }
}

/// On a mismatch, shows the line that shares most fields with what was wanted.
fn closest(good: bool, text: &str, lines: &[Vec<&str>], wanted: &[&str]) -> Result<(), Mismatch> {
    if good {
        return Ok(());
    }
    let shared = |line: &&Vec<&str>| wanted.iter().filter(|word| line.contains(word)).count();
    let got = lines.iter().max_by_key(shared).map_or_else(|| "nothing".to_owned(), |line| line.join(" "));
    Err(Mismatch { expected: format!("{text:?}"), got })
}

fn summary(output: &str) -> String {
    let last = output.lines().rev().find(|line| !line.trim().is_empty());
    last.map_or_else(|| "no output".to_owned(), |line| line.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROUTES: &str = "\
Destination  Gateway         Genmask        Flags Iface
172.16.34.0  192.168.20.100  255.255.255.0  UG    tunl0
172.16.116.0 0.0.0.0         255.255.255.0  U     *
";

    #[test]
    fn each_kind_of_check_can_pass_and_fail() {
        let rows = &["172.16.34.0 192.168.20.100 255.255.255.0 UG tunl0", "172.16.116.0 0.0.0.0 255.255.255.0 U *"];
        let other = &["172.16.34.0 192.168.20.100 255.255.255.0 UG tunl0"];
        for (good, bad) in [
            (Expect::Fields("172.16.116.0 0.0.0.0 255.255.255.0 U *"), Expect::Fields("172.16.116.0 0.0.0.0")),
            (Expect::Begins("172.16.34.0 192.168.20.100"), Expect::Begins("192.168.20.100")),
            (Expect::Within("255.255.255.0 UG"), Expect::Within("255.255.255.0 UH")),
            (Expect::Without("eth0"), Expect::Without("UG tunl0")),
            (Expect::Count(2, "255.255.255.0"), Expect::Count(1, "255.255.255.0")),
            (Expect::Every("172.16.", "255.255.255.0"), Expect::Every("172.16.", "UG")),
            (Expect::Table("172.16.", rows), Expect::Table("172.16.", other)),
            (Expect::Succeeds, Expect::Fails),
        ] {
            assert_eq!(good.judge(ROUTES, true), Ok(()), "{good:?}");
            assert!(bad.judge(ROUTES, true).is_err(), "{bad:?}");
        }
        assert!(Expect::Every("10.", "UG").judge(ROUTES, true).is_err(), "nothing named is no success");
        let mismatch = Expect::Within("172.16.34.0 192.168.20.101").judge(ROUTES, true).expect_err("another gateway");
        assert_eq!(mismatch.got, "172.16.34.0 192.168.20.100 255.255.255.0 UG tunl0");
    }
}
