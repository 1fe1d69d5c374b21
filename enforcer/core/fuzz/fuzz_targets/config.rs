//! Any text as the configuration: it is taken, or every error is one line.

#![no_main]

use std::path::Path;

use enforcer_config::Config;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Err(errors) = Config::parse(text, Path::new("enforcer.yaml")) {
        for line in errors.to_string().lines() {
            assert!(line.starts_with("enforcer.yaml"), "{line:?}");
        }
    }
});
