//! A client's stream and those of upstreams, through both sides of the engine: no request reaches an upstream that the client did
//! not send, no body belongs to another message, nobody hears another's answer, whoever breaks off wherever.
#![no_main]

#[allow(dead_code, reason = "each target uses a part")]
#[path = "../tests/it/engine/harness.rs"]
mod harness;
#[allow(dead_code, reason = "each target uses a part")]
#[path = "../tests/it/engine/invariants.rs"]
mod invariants;
#[allow(dead_code, reason = "each target uses a part")]
#[path = "../tests/it/engine/reference.rs"]
mod reference;

use harness::{Gate, Script, Then};
use libfuzzer_sys::fuzz_target;

// How both sides are cut, how they end, and the streams, with a line of three dots between them: the client's, then those of upstreams.
fuzz_target!(|bytes: &[u8]| {
    let [cut, other, ends, takes, streams @ ..] = bytes else { return };
    let then = |bits: u8| [Then::Silence, Then::Ends, Then::Breaks, Then::Silence][usize::from(bits & 3)];
    let cuts = |cut: u8| if cut == 0 { Vec::new() } else { vec![usize::from(cut)] };
    let mut streams = split(streams).into_iter();
    let stream = streams.next().unwrap_or_default().to_vec();
    let takes = |bit: u8| (ends & bit != 0).then_some(usize::from(*takes) * 4);
    let client = Script { stream, cuts: cuts(*cut), then: then(*ends), takes: takes(0x40), gate: Gate::Open };
    let upstream = |stream: &[u8]| Script {
        stream: stream.to_vec(),
        cuts: cuts(*other),
        then: then(ends >> 2),
        takes: takes(0x80),
        gate: if ends & 0x20 == 0 { Gate::Told } else { Gate::Open },
    };
    let upstreams: Vec<_> = streams.map(upstream).collect();
    let heard = harness::play(&client, &upstreams);
    if let Err(wrong) = invariants::check(&client, &upstreams, &heard) {
        panic!("{wrong}\n{client:?}\n{upstreams:?}\n{heard:?}");
    }
});

fn split(mut bytes: &[u8]) -> Vec<&[u8]> {
    let mut parts = Vec::new();
    while let Some(at) = bytes.windows(SEPARATOR.len()).position(|window| window == SEPARATOR).filter(|_| parts.len() < 8) {
        parts.push(&bytes[..at]);
        bytes = &bytes[at + SEPARATOR.len()..];
    }
    parts.push(bytes);
    parts
}

const SEPARATOR: &[u8] = b"\n...\n";
