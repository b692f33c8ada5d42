//! Files that are wrong, or look strange and are right.

use super::{Shell, pool};

const HEAD: &str = "apiVersion: projectcalico.org/v3\nkind: IPPool\nmetadata: {name: a}\nspec:\n";

fn sets(count: usize, change: impl Fn(usize) -> &'static str) -> String {
    let set = |index: usize| {
        format!(
            "---\napiVersion: projectcalico.org/v3\nkind: GlobalNetworkSet\nmetadata: {{name: s{index}}}\nspec: {{{}}}\n",
            change(index)
        )
    };
    (0..count).map(set).collect()
}

/// One error each, with the file and line; nothing is stored.
#[test]
fn what_cannot_be_read_is_told_with_its_line() {
    let many = sets(2000, |index| if index == 1000 { "netz: [10.0.0.1]" } else { "nets: [10.0.0.1]" });
    for (text, expect) in [
        (format!("{HEAD}  cidr: \"10.0"), "unclosed quote at line 5, column 9"),
        (HEAD.replace("IPPool", "IPPoool"), "unknown resource type (IPPoool) and/or version (projectcalico.org/v3)"),
        (format!("{HEAD}  cidr: 10.0.0.0/8\n  cidr: 10.1.0.0/16\n"), "duplicate mapping key: cidr at line 6, column 3"),
        (format!("{HEAD}\tcidr: 10.0.0.0/8\n"), "at line 5, column 1"),
        (format!("{HEAD}  cidr: *c\n"), "unknown anchor at line 5, column 9"),
        (many, "wrong location: netz (GlobalNetworkSet s1000, FILE: line 5005, document 1001)"),
    ] {
        let shell = Shell::new();
        shell.write("f.yaml", &text);
        let output = shell.run("create -f @/f.yaml", "");
        assert_eq!((output.code, output.stdout.as_str()), (1, ""), "{expect}");
        let file = shell.folder.path().join("f.yaml").display().to_string();
        let told = output.stderr.replace(&file, "FILE");
        assert!(told.trim_end().ends_with(expect), "{told}");
        assert_eq!(told.lines().count(), 1, "{told}");
        assert!(shell.store.dump().is_empty(), "{expect}: nothing is half-applied");
    }
}

#[test]
fn a_mark_of_byte_order_other_line_ends_and_anchors_are_read() {
    for text in [
        format!("\u{feff}{HEAD}  cidr: 10.0.0.0/8\n"),
        format!("{HEAD}  cidr: 10.0.0.0/8\n").replace('\n', "\r\n"),
        format!(
            "{}  cidr: 10.0.0.0/8\n  nodeSelector: *s\n",
            HEAD.replace("{name: a}", "{name: a, labels: {x: &s all()}}")
        ),
    ] {
        let text = text.replace("x: &s all()", "x: &s a").replace("*s", "has(x)");
        let shell = Shell::new();
        shell.write("f.yaml", &text);
        shell.ok("create -f @/f.yaml", "", "Successfully created 1 'IPPool' resource(s)\n");
    }
    let shell = Shell::new();
    let set =
        "apiVersion: projectcalico.org/v3\nkind: NetworkSet\nmetadata: {name: a, namespace: &n web, labels: {x: *n}}\n";
    shell.run("create -f -", set);
    assert!(shell.stored("networksets/web/a").contains(r#""labels":{"x":"web"}"#));
}

/// The bad one is named, the others are applied, and what all of them warn of is one line.
#[test]
fn one_bad_object_among_many() {
    let shell = Shell::new();
    let text = sets(2000, |index| if index == 1000 { "nets: [10.0.0.x]" } else { "nets: [10.0.0.1]" });
    shell.write("f.yaml", &text);
    let output = shell.run("apply -f @/f.yaml", "");
    assert_eq!(output.code, 1);
    assert_eq!(output.stdout, "Partial success: applied the first 1999 out of 2000 'GlobalNetworkSet' resources:\n");
    assert!(output.stderr.starts_with("warning: GlobalNetworkSet s0 and 1998 others: "), "{}", output.stderr);
    assert!(output.stderr.contains("f.yaml: line 5002, document 1001)"), "{}", output.stderr);
    assert!(output.stderr.lines().count() < 6, "{}", output.stderr);
}

#[test]
fn ten_megabytes_are_read() {
    let shell = Shell::new();
    let nets: String = (0..700_000)
        .map(|index: u32| format!("  - 10.{}.{}.{}\n", index >> 16, index >> 8 & 255, index & 255))
        .collect();
    let text = format!(
        "apiVersion: projectcalico.org/v3\nkind: GlobalNetworkSet\nmetadata: {{name: big}}\nspec:\n  nets:\n{nets}"
    );
    assert!(text.len() > 10_000_000);
    let output = shell.run("create -f -", &text);
    assert_eq!(output.stdout, "Successfully created 1 'GlobalNetworkSet' resource(s)\n", "{}", output.stderr);
    shell.ok("create -f -", &pool("p", "10.1.0.0/16"), "Successfully created 1 'IPPool' resource(s)\n");
}
