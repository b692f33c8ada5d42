//! What users write: resources, a lab's topology, pods. No text panics a reader, and what is stored reads back.

#![no_main]

use api::resource::Resource;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let _ = lab::topology::Topology::parse(text);
    let _ = lab::pod::manifest::parse(text);
    for mut resource in tortie::ctl::read_resources(text).unwrap_or_default() {
        resource.apply_defaults();
        let _ = resource.warnings();
        if resource.validate().is_err() {
            continue;
        }
        let stored = serde_json::to_value(&resource).expect("a resource is JSON");
        let again = Resource::decode(resource.kind(), stored).expect("what is stored can be read");
        assert_eq!(again, resource);
    }
});
