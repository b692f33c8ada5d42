//! The runner itself, tried on recordings of its own: right ones, and a copy in which each kind of expectation is wrong
//! once.

use anyhow::{Context, Result, ensure};
use std::fs;
use std::path::Path;
use std::process::{Command, ExitCode, Output};

/// The rows of the right recordings, and the last line.
const RIGHT: [&str; 13] = [
    "ok 000-start",
    "ok 010-add",
    "better 020-addresses-only: a route of a CNI result has no host bits",
    "ok 030-taken",
    "ok 040-calicoctl",
    "ok 050-del",
    "ok 060-del-again",
    "ok 070-restored",
    "better errors/gone: what failed as a whole is no partial success",
    "better errors/refused: what is refused changes nothing",
    "ok errors/taken",
    "ok kinds/pool",
    "12 passed, 0 failed",
];

/// A wrong expectation: the case, a text in its file and what is written instead, and the lines that have to tell.
struct Wrong {
    case: &'static str,
    text: &'static str,
    instead: &'static str,
    told: &'static [&'static str],
}

const WRONG: [Wrong; 8] = [
    Wrong {
        case: "010-add",
        text: "link/ether ee:ee:ee:ee:ee:ee",
        instead: "link/ether ee:ee:ee:ee:ee:01",
        told: &["host:", "- link caliweb: kind veth flags BROADCAST,MULTICAST,UP mtu 1300 address <mac> queues 1/1"],
    },
    Wrong {
        case: "010-add",
        text: "default via 169.254.1.1",
        instead: "default via 169.254.1.2",
        told: &["pod:", "- route default via 169.254.1.2 dev eth0", "+ route default via 169.254.1.1 dev eth0"],
    },
    Wrong {
        case: "010-add",
        text: r#"\"profiles\":[\"own\"]"#,
        instead: r#"\"profiles\":[\"other\"]"#,
        told: &[
            "etcd /calico/resources/v3/projectcalico.org/workloadendpoints/default/alpha-cni-web-eth0:",
            r#"- .spec.profiles[0] = "other""#,
            r#"+ .spec.profiles[0] = "own""#,
        ],
    },
    Wrong {
        case: "020-addresses-only",
        text: r#"\"address\": \"10.77.5.17/29\""#,
        instead: r#"\"address\": \"10.77.5.18/29\""#,
        told: &[
            "stdout:",
            r#"-             "address": "10.77.5.18/29""#,
            r#"+             "address": "10.77.5.17/29""#,
        ],
    },
    Wrong { case: "030-taken", text: "\"exit\": 1", instead: "\"exit\": 2", told: &["exit: recorded 2, ours 1"] },
    Wrong {
        case: "040-calicoctl",
        text: "IPPool(nosuch)",
        instead: "IPPool(other)",
        told: &[
            "calicoctl get ippool nosuch: stderr:",
            "- resource does not exist: IPPool(other) with error: <nil>",
            "+ resource does not exist: IPPool(nosuch) with error: <nil>",
        ],
    },
    Wrong {
        case: "060-del-again",
        text: "Asked to release address",
        instead: "Asked to release a name",
        told: &[r#"stderr: does not say "Asked to release a name but it doesn't exist. Ignoring", but"#],
    },
    Wrong {
        case: "kinds/pool",
        text: r#"\"blockSize\":28"#,
        instead: r#"\"blockSize\":29"#,
        told: &[
            "etcd /calico/resources/v3/projectcalico.org/ippools/small:",
            "- .spec.blockSize = 29",
            "+ .spec.blockSize = 28",
        ],
    },
];

/// Replays right recordings and wrong ones.
pub(crate) fn prove() -> Result<ExitCode> {
    let right = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/compat/vectors");
    let (rows, output) = replay(&right, "")?;
    ensure!(
        rows == RIGHT && output.status.code() == Some(0),
        "right recordings: {:?}\n{}",
        output.status,
        show(&output)
    );

    let wrong = tempfile::tempdir().context("a temporary folder")?;
    for folder in ["cni-own", "calicoctl-own/errors", "calicoctl-own/kinds"] {
        spoil(&right.join(folder), &wrong.path().join(folder))?;
    }
    let (rows, output) = replay(wrong.path(), "")?;
    let expected: Vec<String> = RIGHT
        .iter()
        .take(RIGHT.len() - 1)
        .map(|row| match WRONG.iter().find(|change| row.contains(change.case)) {
            Some(change) => format!("not ok {}", change.case),
            None => (*row).to_owned(),
        })
        .chain(["6 passed, 6 failed".to_owned()])
        .collect();
    ensure!(rows == expected && output.status.code() == Some(1), "wrong recordings: {}", show(&output));
    for change in &WRONG {
        let block = block(&output, change.case);
        for line in change.told {
            ensure!(block.iter().any(|told| told.starts_with(line)), "{}: no {line:?}\n{}", change.case, show(&output));
        }
    }

    let (rows, output) = replay(wrong.path(), "050")?;
    ensure!(rows == ["ok 050-del", "1 passed, 0 failed"], "one of them: {}", show(&output));
    eprintln!("compat: right recordings pass, and {} wrong expectations are told", WRONG.len());
    Ok(ExitCode::SUCCESS)
}

/// Copies the recordings of a folder, with the wrong expectations in them.
fn spoil(right: &Path, wrong: &Path) -> Result<()> {
    fs::create_dir_all(wrong)?;
    for entry in fs::read_dir(right)? {
        let entry = entry?;
        let mut text = fs::read_to_string(entry.path())?;
        let file = entry.file_name().to_string_lossy().into_owned();
        let here = |change: &&Wrong| file == format!("{}.json", change.case.rsplit('/').next().unwrap_or(change.case));
        for change in WRONG.iter().filter(here) {
            ensure!(text.contains(change.text), "{}: no {:?} in it", change.case, change.text);
            text = text.replace(change.text, change.instead);
        }
        fs::write(wrong.join(file), text)?;
    }
    Ok(())
}

/// Runs this program on a folder; returns the rows without what is told about them.
fn replay(vectors: &Path, only: &str) -> Result<(Vec<String>, Output)> {
    let mut command = Command::new(std::env::current_exe()?);
    let output = command.env("VECTORS", vectors).env("CASES", "cni,calicoctl").env("ONLY", only).output()?;
    let rows = text(&output.stdout).lines().filter(|line| !line.starts_with(' ')).map(str::to_owned).collect();
    Ok((rows, output))
}

/// What is told about a case that failed.
fn block(output: &Output, case: &str) -> Vec<String> {
    let text = text(&output.stdout);
    let after = text.lines().skip_while(|line| *line != format!("not ok {case}")).skip(1);
    after.take_while(|line| line.starts_with("    ")).map(|line| line[4..].to_owned()).collect()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn show(output: &Output) -> String {
    format!("{}{}", text(&output.stdout), text(&output.stderr))
}
