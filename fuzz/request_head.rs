//! What a client sends, cut into pieces at arbitrary places: let through and refused as when all of it comes at once, and nothing is
//! let through that a plain reading of the stream does not have.
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

// Three bytes that say where to cut, and the stream.
fuzz_target!(|bytes: &[u8]| {
    let [a, b, c, stream @ ..] = bytes else { return };
    let whole = wire::serve(stream, &[]);
    assert_eq!(whole, wire::serve(stream, &[*a, *b, *c]), "cut every so many bytes");
    assert_eq!(whole, wire::serve(stream, &[1]), "byte by byte");

    let (expected, _) = reference::requests(stream);
    assert!(whole.requests.len() <= expected.len(), "{:?} of {expected:?}", whole.requests);
    for (found, expected) in whole.requests.iter().zip(&expected) {
        assert_eq!(found.method, expected.line[0]);
        let (body, trailers) = if let Body::Whole(data, trailers) = &expected.body { (Some(data), trailers.len()) } else { (None, 0) };
        // Framing that is longer than we read is refused though it is well formed.
        assert!(found.body.is_none() || found.body.as_ref() == body, "{:?} for {body:?}", found.body);
        assert!(found.body.is_some() || body.is_none() || stream.len() > 4096 || trailers > 32, "{body:?} came as none");
    }
});
