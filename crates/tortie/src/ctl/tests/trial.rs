//! `--dry-run`: the answer is the real one, and nothing is stored.

use super::{Shell, pool};

#[test]
fn nothing_is_stored() {
    let shell = Shell::new();
    shell.run("create -f -", &pool("p", "10.1.0.0/16"));
    let before = shell.store.dump();
    shell.ok(
        "create --dry-run -f -",
        &pool("q", "10.2.0.0/16"),
        "Successfully created 1 'IPPool' resource(s) (dry run)\n",
    );
    let said = "Successfully applied 1 'IPPool' resource(s) (dry run)\n";
    shell.ok("apply --dry-run -f -", &pool("p", "10.1.0.0/16"), said);
    shell.ok("delete ippool p --dry-run", "", "Successfully deleted 1 'IPPool' resource(s) (dry run)\n");
    let patch = "patch ippool p --dry-run -p '{\"spec\":{\"natOutgoing\":true}}'";
    shell.ok(patch, "", "Successfully patched 1 'IPPool' resource (dry run)\n");
    shell.ok("label ippool p a=b --dry-run", "", "Successfully set label a on ippool p (dry run)\n");
    assert_eq!(shell.store.dump(), before);
}

#[test]
fn what_would_be_refused_is_refused() {
    let shell = Shell::new();
    shell.run("create -f -", &pool("p", "10.1.0.0/16"));
    let output = shell.run("create --dry-run -f -", &pool("q", "10.1.128.0/17"));
    assert_eq!((output.code, output.stdout.as_str()), (1, ""));
    assert!(output.stderr.contains("overlap"), "{}", output.stderr);
    // against what is stored, also by its revision
    let stale = pool("p", "10.1.0.0/16").replace("metadata:\n", "metadata:\n  resourceVersion: \"77777\"\n");
    assert!(shell.run("replace --dry-run -f -", &stale).stderr.contains("update conflict"));
    let output = shell.run("delete ippool nope --dry-run", "");
    assert!(output.stderr.contains("resource does not exist"), "{}", output.stderr);
}
