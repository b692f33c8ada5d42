//! The flags of the two plugins, read as Go's `flag` package reads Calico's (dataplane reference §1.1).
//!
//! Flags come first, with one dash or two, and a truth value may follow after `=`. The first word that is no flag, or
//! `--`, ends them; what follows is nobody's. What a program does about them is left to the plugin.

use super::Role;

/// The flags that were given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Flags {
    /// `-v`: print the version.
    pub(super) version: bool,
    /// `-t`, main plugin: test the connection to the datastore.
    pub(super) test: bool,
    /// `-upgrade`, IPAM plugin: take over the addresses of `host-local`.
    pub(super) upgrade: bool,
    /// The words after the flags.
    pub(super) words: Vec<String>,
}

/// What ends a program before it does anything; goes to standard error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) text: String,
    pub(super) status: u8,
}

impl Flags {
    /// Reads the words after the program's name.
    ///
    /// # Errors
    ///
    /// The usage, with status 0 when it was asked for and 2 after a mistake.
    pub(super) fn parse(role: Role, arguments: &[String]) -> Result<Flags, Refusal> {
        let refuse = |reason: String| Refusal { text: format!("{reason}\n{}", usage(role)), status: 2 };
        let mut flags = Flags::default();
        let mut rest = arguments.iter();
        while let Some(word) = rest.as_slice().first() {
            if word.len() < 2 || !word.starts_with('-') {
                break;
            }
            rest.next();
            if word == "--" {
                break;
            }
            let text = word.strip_prefix("--").unwrap_or(&word[1..]);
            if text.is_empty() || text.starts_with(['-', '=']) {
                return Err(refuse(format!("bad flag syntax: {word}")));
            }
            let (name, value) = text.split_once('=').unwrap_or((text, "true"));
            let flag = match (name, role) {
                ("v", _) => &mut flags.version,
                ("t", Role::Main) => &mut flags.test,
                ("upgrade", Role::Ipam) => &mut flags.upgrade,
                ("h" | "help", _) => return Err(Refusal { text: usage(role), status: 0 }),
                _ => return Err(refuse(format!("flag provided but not defined: -{name}"))),
            };
            *flag = truth(value)
                .ok_or_else(|| refuse(format!("invalid boolean value {value:?} for -{name}: parse error")))?;
        }
        flags.words = rest.cloned().collect();
        Ok(flags)
    }
}

/// A truth value in any of Go's spellings.
fn truth(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

fn usage(role: Role) -> String {
    match role {
        Role::Main => "Usage of Calico:\n  -t\tTest datastore connection\n  -v\tDisplay version\n",
        Role::Ipam => "Usage of calico-ipam:\n  -upgrade\n    \tUpgrade from host-local\n  -v\tDisplay version\n",
    }
    .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(role: Role, words: &str) -> Result<Flags, Refusal> {
        let words: Vec<String> = words.split_whitespace().map(str::to_owned).collect();
        Flags::parse(role, &words)
    }

    #[test]
    fn flags_come_first() {
        let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
        for (role, text, expect) in [
            (Role::Main, "", Flags::default()),
            (Role::Main, "-v", Flags { version: true, ..Flags::default() }),
            (Role::Ipam, "--v=T", Flags { version: true, ..Flags::default() }),
            (Role::Main, "-v=0 -t", Flags { test: true, ..Flags::default() }),
            (Role::Ipam, "-upgrade", Flags { upgrade: true, ..Flags::default() }),
            (Role::Main, "{} -v", Flags { words: words(&["{}", "-v"]), ..Flags::default() }),
            (Role::Main, "-t -- -x", Flags { test: true, words: words(&["-x"]), ..Flags::default() }),
            (Role::Main, "- -x", Flags { words: words(&["-", "-x"]), ..Flags::default() }),
        ] {
            assert_eq!(parse(role, text), Ok(expect), "{role:?} {text}");
        }
    }

    #[test]
    fn a_mistake_is_told_with_the_usage() {
        for (role, text, status, expect) in [
            (Role::Main, "-x", 2, "flag provided but not defined: -x\nUsage of Calico:\n  -t\tTest datastore"),
            (Role::Main, "-upgrade", 2, "flag provided but not defined: -upgrade\nUsage of Calico:\n"),
            (
                Role::Ipam,
                "-t",
                2,
                "flag provided but not defined: -t\nUsage of calico-ipam:\n  -upgrade\n    \tUpgrade",
            ),
            (Role::Ipam, "--version=1", 2, "flag provided but not defined: -version\n"),
            (Role::Main, "---v", 2, "bad flag syntax: ---v\n"),
            (Role::Main, "-v=maybe", 2, "invalid boolean value \"maybe\" for -v: parse error\n"),
            (Role::Main, "-v -h", 0, "Usage of Calico:\n"),
        ] {
            let refusal = parse(role, text).expect_err("no flags");
            assert_eq!(refusal.status, status, "{text}");
            assert!(refusal.text.starts_with(expect), "{text}: {}", refusal.text);
        }
    }
}
