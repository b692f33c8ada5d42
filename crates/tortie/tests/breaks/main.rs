//! The demo can fail: each object that it compares is broken by hand, and just the lines that show it fail.
//!
//! The walk follows the demo's own script in one lab. Before an exhibit is shown whole, each of its [`Break`]s in
//! [`rows`] is made, judged and undone. Agents heal most of them within milliseconds, so those concerned stand
//! still meanwhile; where nothing else is said, it is they who repair.

#[path = "../e2e/cluster.rs"]
#[expect(dead_code, reason = "the end-to-end tests use the rest")]
mod cluster;
mod rows;

use crate::cluster::{Lab, binary, signal};
use nix::sys::signal::Signal;
use rows::{Break, Place};
use std::collections::BTreeSet;
use tortie::lab::demo::scenes::{Exhibit, Rules, SCENES, Scene};
use tortie::lab::demo::{Shown, Stage, Verdict};

/// How long, in seconds, a repair may take to show.
const REPAIR: u64 = 20;

#[test]
fn a_broken_object_fails_its_line_with_iptables() {
    walk(Rules::Iptables, &rows::SCENES);
}

#[test]
fn a_broken_object_fails_its_line_with_nftables() {
    // the scenes before only lead up to the one with rules
    walk(Rules::Nftables, &[&[], &[], rows::OUTSIDE]);
}

#[test]
fn every_check_of_the_demo_has_a_break() {
    for rules in [Rules::Iptables, Rules::Nftables] {
        for (scene, breaks) in SCENES.iter().zip(rows::SCENES) {
            let broken: BTreeSet<&str> = breaks_of(breaks, rules).flat_map(|row| row.fails.iter().copied()).collect();
            for check in exhibits_of(scene, rules).flat_map(|exhibit| exhibit.checks) {
                assert!(broken.contains(check.what), "{rules:?}, {}: nothing breaks {:?}", scene.heading, check.what);
            }
            for row in breaks_of(breaks, rules) {
                let shown = exhibits_of(scene, rules).filter(|exhibit| row.concerns(exhibit)).count();
                assert_eq!(shown, 1, "{rules:?}, {}: exhibits that show {:?}", scene.heading, row.fails);
            }
        }
    }
}

fn exhibits_of(scene: &Scene, rules: Rules) -> impl Iterator<Item = &'static Exhibit> {
    scene.exhibits.iter().filter(move |exhibit| exhibit.rules == Rules::Any || exhibit.rules == rules)
}

fn breaks_of(breaks: &'static [Break], rules: Rules) -> impl Iterator<Item = &'static Break> {
    breaks.iter().filter(move |row| row.rules == Rules::Any || row.rules == rules)
}

/// Goes through the scenes that have a list of breaks; where the list is empty, only what changes the lab is done.
fn walk(rules: Rules, breaks: &[&'static [Break]]) {
    let dataplane = if rules == Rules::Nftables { "nftables" } else { "iptables" };
    let lab = Lab::up(&["--dataplane", dataplane]);
    if rules == Rules::Nftables {
        // nothing tells the agent of a changed rule; it looks again
        let often = r#"{"spec":{"nftablesRefreshInterval":"1s","ipsetsRefreshInterval":"1s"}}"#;
        lab.calicoctl("k8s-m", &["patch", "felixconfiguration", "default", "-p", often], "").ok();
    }
    let mut stage = Stage::new(&lab.name, &binary(), None).expect("a folder for the demo's programs");
    let mut wrong = Vec::new();
    for (scene, breaks) in SCENES.iter().zip(breaks) {
        let changes =
            |exhibit: &&Exhibit| ["lab apply", "lab delete"].iter().any(|word| exhibit.command.contains(word));
        for exhibit in exhibits_of(scene, rules).filter(|exhibit| !breaks.is_empty() || changes(exhibit)) {
            let settles = exhibit.within > 0;
            let rows: Vec<&Break> = breaks_of(breaks, rules).filter(|row| row.concerns(exhibit)).collect();
            if settles || rows.is_empty() {
                whole(&mut stage, exhibit, "before anything is broken");
            }
            for row in rows {
                wrong.extend(row.try_on(&lab, &mut stage, exhibit));
                whole(&mut stage, exhibit, &format!("after the repair of {row:?}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

/// Performs an exhibit that must show everything.
fn whole(stage: &mut Stage, exhibit: &Exhibit, when: &str) {
    let patient = Exhibit { within: exhibit.within.max(REPAIR), ..*exhibit };
    let (shown, verdicts) = stage.perform(&patient).expect("the exhibit can be performed");
    let failed: Vec<&Verdict> = verdicts.iter().filter(|verdict| verdict.failure.is_some()).collect();
    assert!(failed.is_empty(), "{}: {when}: {failed:#?}\n{}", exhibit.command, text(&shown));
}

fn text(shown: &Shown) -> String {
    format!("{}\n{}", shown.command, shown.capture)
}

impl Break {
    /// Whether an exhibit is the one that shows what this breaks.
    fn concerns(&self, exhibit: &Exhibit) -> bool {
        self.fails.iter().all(|what| exhibit.checks.iter().any(|check| check.what == *what))
    }

    /// Breaks, performs the exhibit at once, repairs; returns what else than the named checks failed, or did not.
    fn try_on(&self, lab: &Lab, stage: &mut Stage, exhibit: &Exhibit) -> Option<String> {
        let stopped: Vec<i32> = self.stopped.iter().map(|node| lab.agent(node)).collect();
        stopped.iter().for_each(|pid| signal(*pid, Signal::SIGSTOP));
        self.by_hand.iter().for_each(|(place, command)| place.run(lab, command));
        let hasty = Exhibit { within: 0, ..*exhibit };
        let (shown, verdicts) = stage.perform(&hasty).expect("the exhibit can be performed");
        // an agent that ran meanwhile would repair too, and take a set into use that is to be made anew
        self.repair.iter().for_each(|(place, command)| place.run(lab, command));
        stopped.iter().for_each(|pid| signal(*pid, Signal::SIGCONT));

        let failures = || verdicts.iter().filter_map(|verdict| Some((verdict.what, verdict.failure.as_ref()?)));
        let failed: Vec<&str> = failures().map(|(what, _)| what).collect();
        let told = self.tells.is_none_or(|told| {
            failures().any(|(_, mismatch)| mismatch.expected.contains(told) || mismatch.got.contains(told))
                || text(&shown).contains(told)
        });
        (failed != self.fails || !told).then(|| format!("{self:#?}\nfailed: {failed:#?}\n{}", text(&shown)))
    }
}

impl Place {
    #[track_caller]
    fn run(self, lab: &Lab, command: &str) {
        match self {
            Place::Host(host) => lab.on(host, command),
            Place::Pod(pod) => lab.inside(pod, command),
        };
    }
}
