//! Chunked bodies of requests and answers, cut into pieces at arbitrary places: the same bytes and trailers come out as when all of it
//! comes at once, and as a plain reading has them; what breaks a rule or ends early is never whole.
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

// Whose body it is (a: an answer's; else a request's), three bytes that say where to cut, and the body.
fuzz_target!(|bytes: &[u8]| {
    let [kind, a, b, c, body @ ..] = bytes else { return };
    let read = |cuts: &[u8]| {
        if *kind == b'a' {
            wire::ask(&[b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", body].concat(), cuts, b'g').and_then(|answer| answer.body)
        } else {
            let head = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
            wire::serve(&[head, body].concat(), cuts).requests.into_iter().next().and_then(|request| request.body)
        }
    };
    let whole = read(&[]);
    assert_eq!(whole, read(&[*a, *b, *c]), "cut every so many bytes");
    assert_eq!(whole, read(&[1]), "byte by byte");
    match reference::chunked(body).0 {
        // More framing than we read is refused though it is well formed.
        Body::Whole(data, trailers) if body.len() < 4096 && trailers.len() <= 32 => assert_eq!(whole, Some(data)),
        Body::Whole(data, _) => assert!(whole.is_none_or(|found| found == data)),
        Body::Short | Body::Malformed => assert_eq!(whole, None),
    }
});
