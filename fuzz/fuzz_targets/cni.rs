//! The CNI plugins' standard input: whatever a runtime sends is a configuration or one error message.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    if let Err(message) = tortie::cni::check_configuration(input) {
        assert!(!message.is_empty(), "an error without a message");
    }
});
