//! The text of a configuration file, and of every small thing in one. Beyond "no panic": what is refused is
//! refused with a problem that names a line of the text.
#![no_main]

use std::path::Path;
use std::sync::Arc;

use libfuzzer_sys::fuzz_target;
use portcullis::admission::{Attribute, Bounds, Glob, Identifier, OriginPattern, PrincipalId, PrincipalName, RevokedId};
use portcullis::config::error::Document;
use portcullis::config::{ConfigFile, value};
use portcullis::pki::{Fingerprint, SpkiPin};

fuzz_target!(|bytes: &[u8]| {
    let document = match Document::decode("portcullis.toml", bytes.to_vec()) {
        Ok(document) => Arc::new(document),
        Err(problem) => return drop(problem.to_string()),
    };
    for line in document.text.lines().take(64) {
        small_things(line);
    }
    let lines = u32::try_from(document.text.lines().count()).unwrap_or(u32::MAX);
    if let Err(problems) = ConfigFile::read(Arc::clone(&document), Path::new("/nonexistent")) {
        assert!(!problems.is_empty(), "refused without a word");
        for problem in problems {
            assert!(problem.line <= lines.saturating_add(1), "line {} of {lines}", problem.line);
            let _ = problem.to_string();
        }
    }
});

/// What is read out of strings. What was read is written again as it can be read.
fn small_things(text: &str) {
    let _ = (value::duration(text), value::size(text), value::network(text), value::address(text));
    let _ = (text.parse::<OriginPattern>().map(|pattern| pattern.matches("https://a.example")), text.parse::<RevokedId>());
    let _ = (text.parse::<Attribute>(), text.parse::<Identifier>(), Bounds::default().set_extensions(&[text]));
    if let Ok(glob) = text.parse::<Glob>() {
        let _ = (glob.matches("a.example"), glob.matches(text));
    }
    if let Ok(name) = text.parse::<PrincipalName>() {
        assert_eq!(name.to_string().parse(), Ok(name));
    }
    if let Ok(id) = text.parse::<PrincipalId>() {
        assert_eq!(id.to_string().parse(), Ok(id));
    }
    if let Ok(fingerprint) = text.parse::<Fingerprint>() {
        assert_eq!(fingerprint.to_string().parse(), Ok(fingerprint));
    }
    if let Ok(pin) = text.parse::<SpkiPin>() {
        assert_eq!(pin.to_string().parse(), Ok(pin));
    }
}
