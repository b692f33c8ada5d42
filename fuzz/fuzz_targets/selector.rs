//! Selectors, Calico's and those that `--selector` takes: no text panics, and what a selector and its contrary pick is all.

#![no_main]

use api::selector::Selector;
use libfuzzer_sys::fuzz_target;
use std::collections::BTreeMap;

fuzz_target!(|input: &[u8]| {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let _ = tortie::ctl::read_selector(text);
    let Ok(selector) = Selector::parse(text) else { return };
    let contrary = Selector::parse(&format!("!({text})"));
    for labels in [vec![], vec![("a", "b")], vec![("role", "db"), ("zone", ""), ("name", "abc")]] {
        let labels: BTreeMap<String, String> =
            labels.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        let picks = selector.matches(&labels);
        // a blank one is all(), and has no contrary
        if let Ok(contrary) = &contrary {
            assert_ne!(picks, contrary.matches(&labels), "{text:?} for {labels:?}");
        }
    }
});
