//! What `get` prints beyond its plain forms.

use super::{Shell, pool};
use crate::ctl::{World, run_with};
use std::cell::RefCell;
use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

fn two_pools() -> Shell {
    let shell = Shell::new();
    shell.run("create -f -", &pool("p", "10.1.0.0/16"));
    shell.run("create -f -", &pool("q", "10.2.0.0/16"));
    shell.run("label ippool q rack=1", "");
    shell
}

#[test]
fn templates() {
    let shell = two_pools();
    let names = "{{range .}}{{range .Items}}{{.ObjectMeta.Name}} {{.Spec.CIDR}};{{end}}{{end}}";
    shell.ok(&format!("get ippool -o 'go-template={names}'"), "", "p 10.1.0.0/16;q 10.2.0.0/16;");
    shell.write("names", names);
    shell.ok("get ippool -o go-template-file=@/names", "", "p 10.1.0.0/16;q 10.2.0.0/16;");
    shell.ok("get ippool p -o 'go-template={{range .}}{{.Spec.IPIPMode}}{{end}}'", "", "Never");
    shell.fails("get ippool -o 'go-template={{foo}}'", "", "template: get:1: function \"foo\" not defined\n");
    shell.fails("get ippool -o go-template-file=nosuch", "", "open nosuch: no such file or directory\n");
    shell.fails("get ippool -o go-template=", "", "need to specify a template\n");
}

#[test]
fn selectors_and_headings() {
    let shell = two_pools();
    let row = "q      10.2.0.0/16   all()      \n";
    let heading = "NAME   CIDR          SELECTOR   \n";
    shell.ok("get ippools --selector rack=1", "", &format!("{heading}{row}\n"));
    shell.ok("get ippools --selector 'rack == \"1\"'", "", &format!("{heading}{row}\n"));
    shell.ok("get ippools --selector !rack --no-headers", "", "p    10.1.0.0/16   all()   \n\n");
    assert!(shell.run("get ippools --selector 'rack ='", "").code == 0);
    assert!(shell.run("get ippools --selector 'rack == \"1'", "").stderr.starts_with("invalid selector"));
    shell.fails("delete ippool --selector rack=7", "", "no IPPool has labels that fit\n");
    shell.ok("delete ippool --selector rack=1", "", "Successfully deleted 1 'IPPool' resource(s)\n");
    shell.ok("get ippools --no-headers", "", "p    10.1.0.0/16   all()   \n\n");
}

#[test]
fn versions() {
    let shell = two_pools();
    let own = concat!("Tortie:            v", env!("CARGO_PKG_VERSION"), "\n");
    let client = "Client Version:    v3.32.1\nGit commit:        ";
    let output = shell.run("version --client", "");
    assert!(output.stdout.starts_with(client) && output.stdout.ends_with(own), "{}", output.stdout);
    let output = shell.run("version", "");
    assert!(output.stdout.contains("\nCluster Version:   unknown\nCluster Type:      unknown\n"), "{}", output.stdout);
    let output = shell.run("version -o json", "");
    let value: serde_json::Value = serde_json::from_str(&output.stdout).expect("JSON");
    assert_eq!((&value["clientVersion"], &value["clusterType"]), (&"v3.32.1".into(), &"unknown".into()));
    assert!(shell.run("version --poll=5", "").stderr.starts_with("Invalid poll duration specified: "));
}

/// Hands on whatever is printed.
struct Printed(Sender<String>);

impl Write for Printed {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let text = String::from_utf8_lossy(bytes).into_owned();
        self.0.send(text).map_err(|_| std::io::ErrorKind::BrokenPipe)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Runs a command that goes on until nobody reads what it prints.
fn watch(shell: &Shell, command: &str) -> Receiver<String> {
    let (sender, printed) = channel();
    let store = Arc::new(shell.store.clone());
    let words: Vec<String> = command.split(' ').map(str::to_owned).collect();
    std::thread::spawn(move || {
        let (mut stdin, mut live) = (std::io::empty(), Printed(sender));
        let world = World {
            variable: &|_| None,
            stdin: RefCell::new(&mut stdin),
            live: RefCell::new(&mut live),
            progress: false,
            store: Some(store),
            bird: Vec::new(),
            proc: PathBuf::new(),
            root: PathBuf::new(),
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(run_with(&words, "calicoctl", &world))
    });
    printed
}

/// The next that is printed.
fn next(printed: &Receiver<String>) -> String {
    loop {
        let text = printed.recv_timeout(Duration::from_secs(10)).expect("it is told");
        if !text.is_empty() {
            return text;
        }
    }
}

#[test]
fn a_watch_tells_what_is_there_and_what_changes() {
    let shell = two_pools();
    let table = watch(&shell, "get ippools --watch");
    let first = "EVENT      NAME   CIDR          SELECTOR   \nADDED      p      10.1.0.0/16   all()      \n\
                 ADDED      q      10.2.0.0/16   all()      \n";
    assert_eq!(next(&table), first);
    let selected = watch(&shell, "get ippools -w -o json --selector rack=1 --allow-version-mismatch");
    let event = |text: &str| -> (String, String) {
        let value: serde_json::Value = serde_json::from_str(text).expect("a line of JSON");
        let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
        (text(&value["type"]), text(&value["object"]["metadata"]["name"]))
    };
    let told = |kind: &str, name: &str| (kind.to_owned(), name.to_owned());
    assert_eq!(event(&next(&selected)), told("ADDED", "q"));
    shell.run("label ippool p rack=1", "");
    assert_eq!(next(&table), "MODIFIED   p      10.1.0.0/16   all()      \n");
    assert_eq!(event(&next(&selected)), told("ADDED", "p"));
    shell.run("label ippool q rack --remove", "");
    assert_eq!(event(&next(&selected)), told("DELETED", "q"), "it fits no more");
    assert!(next(&table).starts_with("MODIFIED   q "));
    shell.run("delete ippool p", "");
    assert!(next(&table).starts_with("MODIFIED   p "), "it is disabled first");
    assert!(next(&table).starts_with("DELETED    p "));
    assert_eq!(event(&next(&selected)), told("MODIFIED", "p"));
    assert_eq!(event(&next(&selected)), told("DELETED", "p"));
}
