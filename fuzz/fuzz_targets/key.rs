//! A datastore's keys and values: a key that is ours has one object to name and one way to be written, and no value
//! panics. The input is a key, a NUL, a value.

#![no_main]

use api::event::Revision;
use datastore::layout;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let mut parts = input.splitn(2, |octet| *octet == 0);
    let Ok(path) = std::str::from_utf8(parts.next().unwrap_or_default()) else { return };
    let Some(key) = layout::parse(path) else { return };
    let written = layout::path(&key);
    assert_eq!(layout::parse(&written).as_ref(), Some(&key), "{path} is written as {written}");
    assert!(!layout::describe(&key).is_empty());
    if let Ok(object) = layout::decode(&key, parts.next().unwrap_or_default(), &Revision::default()) {
        let bytes = layout::encode(&object);
        assert!(
            layout::decode(&key, &bytes, &Revision::default()).is_ok(),
            "{path}: {}",
            String::from_utf8_lossy(&bytes)
        );
    }
});
