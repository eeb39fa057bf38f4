//! The families of request smuggling, generated: one byte too many at every place where parsers were seen to differ about framing, every
//! other line end, over a fresh connection and over one in use, at every split. Families after the published ones: defparam/smuggler,
//! PortSwigger's HTTP desync research, RFC 9112, 11.2.

use super::harness::{self, Gate, Heard, Script, Then};
use super::invariants;

const SMUGGLED: &str = "GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n";

/// Fields of which an upstream may read another framing than we: name, value.
const FIELDS: &[(&str, &str)] = &[("Transfer-Encoding", "chunked"), ("Content-Length", "5")];

/// Whole spellings, beside those with one byte too many.
const SPELLINGS: &[&str] = &[
    "Transfer-Encoding: chunked, identity",
    "Transfer-Encoding: identity, chunked",
    "Transfer-Encoding: chunked;ext",
    "Transfer-Encoding: \"chunked\"",
    "Transfer-Encoding: 'chunked'",
    "Transfer-Encoding: x\r\nTransfer-Encoding: chunked",
    "Transfer-Encoding: chunked\r\nTransfer-Encoding: x",
    "Transfer-Encoding:\r\n chunked",
    "Transfer-Encoding\r\n : chunked",
    "Transfer-Encoding: chu\r\n\tnked",
    "X: y\rTransfer-Encoding: chunked",
    "X: y\nTransfer-Encoding: chunked",
    "X: y\r\n\rTransfer-Encoding: chunked",
    "X: y\r\n\nTransfer-Encoding: chunked",
    "Content-Encoding: chunked",
    "Transfer_Encoding: chunked",
    "Content-Length: 5\r\nContent-Length: 0",
    "Content-Length: 0\r\nContent-Length: 5",
    "Content-Length: 0, 5",
    "Content-Length: 5e0",
    "Content-Length: 0x5",
    "Content-Length: -0",
    "Content-Length: 05",
    "Content-Length: 5\r\n 0",
    "Content-Length: 4294967301",
    "Content-Length: 18446744073709551621",
    "Connection: Content-Length\r\nContent-Length: 5",
    "Connection: Transfer-Encoding\r\nTransfer-Encoding: chunked",
];

#[test]
fn a_byte_too_many_in_what_frames_a_request_smuggles_nothing() {
    for byte in 0..=255 {
        for (name, value) in FIELDS {
            let (middle, half) = (name.len() / 2, value.len() / 2);
            let spelled = |parts: [&str; 2]| [parts[0].as_bytes(), &[byte], parts[1].as_bytes()].concat();
            let places = [
                ["", &format!("{name}: {value}")],
                [&name[..middle], &format!("{}: {value}", &name[middle..])],
                [*name, &format!(": {value}")],
                [&format!("{name}:"), *value],
                [&format!("{name}: {}", &value[..half]), &value[half..]],
                [&format!("{name}: {value}"), ""],
                ["X: y", &format!("{name}: {value}")],
                ["X: y", &format!("\n{name}: {value}")],
                ["X: y\r", &format!("{name}: {value}")],
                [&format!("{name}: {value}"), "X: y"],
                [&format!("{name}: {value}"), "\nX: y"],
                [&format!("{name}: {value}\r"), "X: y"],
            ];
            for place in places {
                frames(&spelled(place), &[vec![], vec![7]]);
            }
        }
    }
}

#[test]
fn no_spelling_of_what_frames_a_request_smuggles_wherever_it_is_split() {
    for spelling in SPELLINGS {
        let every: Vec<Vec<usize>> = (1..spelling.len() + 20).map(|cut| vec![cut, 1000]).chain([vec![], vec![1]]).collect();
        frames(spelling.as_bytes(), &every);
    }
}

#[test]
fn a_byte_too_many_in_a_chunk_smuggles_nothing() {
    let head = "POST /1 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    for byte in 0..=255 {
        for (before, after) in [
            ("", "5\r\nhello\r\n0\r\n\r\n"),
            ("5", "\r\nhello\r\n0\r\n\r\n"),
            ("5;a", "b\r\nhello\r\n0\r\n\r\n"),
            ("5\r", "\nhello\r\n0\r\n\r\n"),
            ("5\r\nhello", "\r\n0\r\n\r\n"),
            ("5\r\nhello\r", "\n0\r\n\r\n"),
            ("5\r\nhello\r\n0", "\r\n\r\n"),
            ("5\r\nhello\r\n0\r", "\n\r\n"),
            ("5\r\nhello\r\n0\r\n", "\r\n"),
            ("5\r\nhello\r\n0\r\n\r", "\n"),
            ("5\r\nhello\r\n0\r\nX", ": y\r\n\r\n"),
            ("5\r\nhello\r\n0\r\nX: y\r\n", "\r\n"),
        ] {
            smuggles_nothing(
                &[head.as_bytes(), before.as_bytes(), &[byte], after.as_bytes(), SMUGGLED.as_bytes()].concat(),
                &[vec![], vec![9]],
            );
        }
    }
}

#[test]
fn no_other_line_end_smuggles_wherever_it_stands() {
    let stream = format!("POST /1 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX: y\r\n\r\n{SMUGGLED}");
    for (at, _) in stream.match_indices("\r\n") {
        for end in ["\n", "\r", "\n\r", "\r\r\n", "\r\n\r", "", " \r\n", "\t\r\n", "\0\r\n", "\r\n ", "\r\n\r\n", "\u{85}", "\u{2028}"] {
            let changed = format!("{}{end}{}", &stream[..at], &stream[at + 2..]);
            smuggles_nothing(changed.as_bytes(), &[vec![], vec![1], vec![3, 11]]);
        }
    }
}

/// Puts a field into requests that hide another one: behind a length, behind a last chunk, in a chunk.
fn frames(field: &[u8], cuts: &[Vec<usize>]) {
    let hidden = SMUGGLED.len();
    for (other, body) in [
        (format!("Content-Length: {}", hidden + 5), format!("0\r\n\r\n{SMUGGLED}")),
        ("Transfer-Encoding: chunked".to_owned(), format!("{hidden:x}\r\n{SMUGGLED}\r\n0\r\n\r\n")),
        ("X: y".to_owned(), format!("0\r\n\r\n{SMUGGLED}")),
    ] {
        for pair in [[field, other.as_bytes()], [other.as_bytes(), field]] {
            smuggles_nothing(&[b"POST /1 HTTP/1.1\r\nHost: a\r\n", pair[0], b"\r\n", pair[1], b"\r\n\r\n", body.as_bytes()].concat(), cuts);
        }
    }
}

/// Over a fresh connection, and over one in use on both sides, in pieces: what reaches the upstream is what a plain reading has, however
/// it is split.
fn smuggles_nothing(stream: &[u8], cuts: &[Vec<usize>]) {
    let used = [b"GET /0 HTTP/1.1\r\nHost: a\r\n\r\n", stream].concat();
    for stream in [stream.to_vec(), used] {
        let mut whole: Option<Heard> = None;
        for cuts in cuts {
            let client = Script { stream: stream.clone(), cuts: cuts.clone(), then: Then::Ends, ..Script::default() };
            let upstreams = vec![upstream(); 3];
            let heard = harness::play(&client, &upstreams);
            if let Err(wrong) = invariants::check(&client, &upstreams, &heard) {
                panic!("{wrong}, in pieces of {cuts:?}: {:?}", String::from_utf8_lossy(&stream));
            }
            let first = whole.get_or_insert_with(|| Heard { requests: heard.requests.clone(), ..Heard::default() });
            assert_eq!(first.requests, heard.requests, "in pieces of {cuts:?}: {:?}", String::from_utf8_lossy(&stream));
        }
    }
}

fn upstream() -> Script {
    let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
    let gate = Gate::Requests((1..=4).map(|number| (number * answer.len(), false)).collect());
    Script { stream: answer.repeat(4), gate, ..Script::default() }
}
