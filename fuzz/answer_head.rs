//! What an upstream answers, cut into pieces at arbitrary places: taken and refused as when all of it comes at once, and what is taken
//! is what a plain reading of it says.
#![no_main]

#[allow(dead_code, reason = "each target uses a part")]
#[path = "../tests/it/engine/harness.rs"]
mod harness;
#[allow(dead_code, reason = "each target uses a part")]
#[path = "../tests/it/engine/reference.rs"]
mod reference;
#[allow(dead_code, reason = "each target uses a part")]
mod wire;

use libfuzzer_sys::fuzz_target;
use reference::Body;

// What was asked (g, h, u: with GET, HEAD, or for an upgrade), three bytes that say where to cut, and the stream.
fuzz_target!(|bytes: &[u8]| {
    let [kind @ (b'g' | b'h' | b'u'), a, b, c, stream @ ..] = bytes else { return };
    let whole = wire::ask(stream, &[], *kind);
    assert_eq!(whole, wire::ask(stream, &[*a, *b, *c], *kind), "cut every so many bytes");
    assert_eq!(whole, wire::ask(stream, &[1], *kind), "byte by byte");

    let Some(found) = whole else { return };
    let (expected, _) = reference::answers(stream, &[*kind == b'h'], false);
    let (expected, _) = expected.first().unwrap_or_else(|| panic!("{found:?} came out of nothing"));
    assert_eq!(found.method, expected.line[1]);
    match &expected.body {
        Body::Whole(data, _) => assert_eq!(found.body.as_ref(), Some(data)),
        Body::Short | Body::Malformed => assert_eq!(found.body, None),
    }
});
