//! `--selector`: which objects a command is about, by their labels.

use api::selector::Selector;

/// Reads Calico's selectors (`rack == "1" && has(gpu)`), and kubectl's (`rack=1,zone!=b,gpu,!old`).
///
/// # Errors
///
/// What `calicoctl` would print.
pub fn read(text: &str) -> Result<Selector, String> {
    let text = translated(text).unwrap_or_else(|| text.to_owned());
    Selector::parse(&text).map_err(|error| error.to_string())
}

/// A selector of kubectl's as one of Calico's; none for another text.
fn translated(text: &str) -> Option<String> {
    let is_label = |text: &str| {
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_./".contains(c);
        !text.is_empty() && text.chars().all(plain)
    };
    let is_value = |text: &str| text.is_empty() || is_label(text);
    let part = |part: &str| {
        let part = part.trim();
        for (sign, operator) in [("!=", "!="), ("==", "=="), ("=", "==")] {
            if let Some((label, value)) = part.split_once(sign) {
                let (label, value) = (label.trim(), value.trim());
                return (is_label(label) && is_value(value)).then(|| format!("{label} {operator} \"{value}\""));
            }
        }
        let (not, label) = part.strip_prefix('!').map_or(("", part), |label| ("!", label));
        is_label(label).then(|| format!("{not}has({label})"))
    };
    let parts: Option<Vec<String>> = text.split(',').map(part).collect();
    parts.map(|parts| parts.join(" && "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms() {
        for (text, expect) in [
            ("rack=1,zone!=b", Some("rack == \"1\" && zone != \"b\"")),
            ("gpu, !old", Some("has(gpu) && !has(old)")),
            ("projectcalico.org/orchestrator==k8s", Some("projectcalico.org/orchestrator == \"k8s\"")),
            ("a=", Some("a == \"\"")),
            ("rack == \"1\"", None),
            ("has(gpu)", None),
            ("all()", None),
            ("rack in {\"1\", \"2\"}", None),
        ] {
            assert_eq!(translated(text).as_deref(), expect, "{text}");
            assert!(read(text).is_ok(), "{text}");
        }
        assert!(read("rack == \"").is_err());
        assert!(read("a==b==c").is_err());
    }
}
