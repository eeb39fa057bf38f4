//! Answers of upstreams that are wrong, odd, or more than was asked for: published cases in our words (whose: see `published.rs`), and
//! attacks of somebody who read the source. Each answers a request over a connection in use, at every split; what a client hears of
//! it, and whose connection the next request goes over, is all that may come of it.

use super::harness::{self, Gate, Script, Then};
use super::invariants;
use super::reference::{self, Body};

/// What the client hears.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Heard {
    /// 502 in the answer's place.
    Bad,
    /// Its status and body, after so many interim answers.
    Passed(&'static str, usize),
    /// A body that breaks off.
    Torn,
}
use Heard::{Bad, Passed, Torn};

/// Who has it, the method, the answer, what comes with it that nobody asked for, what is heard, whether the connection is used again.
type Case = (&'static str, &'static str, &'static [u8], &'static [u8], Heard, bool);

const ANSWERS: &[Case] = &[
    // RFC 9112, 4: status lines.
    ("L", "GET", b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc", b"", Passed("200 abc", 0), true),
    ("L", "GET", b"HTTP/1.1 301\r\nContent-Length: 0\r\n\r\n", b"", Passed("301 ", 0), true),
    ("L", "GET", b"HTTP/1.1 200 \r\nContent-Length: 0\r\n\r\n", b"", Passed("200 ", 0), true),
    ("L", "GET", b"HTTP/1.1 200  OK\r\nContent-Length: 0\r\n\r\n", b"", Passed("200 ", 0), true),
    ("L", "GET", b"HTTP/1.1 500 Ori\xc3\xabntatie\r\nContent-Length: 0\r\n\r\n", b"", Passed("500 ", 0), true),
    ("L", "GET", b"\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", b"", Bad, false),
    ("L", "GET", b"\rHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", b"", Bad, false),
    ("L", "GET", b"HTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", b"", Bad, false),
    ("L", "GET", b"HTTPER/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", b"", Bad, false),
    ("L", "GET", b"RTSP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", b"", Bad, false),
    ("L", "GET", b"HTTP/01.1 200 OK\r\nContent-Length: 0\r\n\r\n", b"", Bad, false),
    ("L", "GET", b"HTTP/11.1 200 OK\r\nContent-Length: 0\r\n\r\n", b"", Bad, false),
    ("L", "GET", b"HTTP/1.01 200 OK\r\nContent-Length: 0\r\n\r\n", b"", Bad, false),
    ("L", "GET", b"HTTP/0.9 200 OK\r\nContent-Length: 0\r\n\r\n", b"", Bad, false),
    ("EL", "GET", b"HTTP/5.6 200 OK\r\nContent-Length: 0\r\n\r\n", b"", Bad, false),
    ("L", "GET", b"HTTP/1.1\t200 OK\r\nContent-Length: 0\r\n\r\n", b"", Bad, false),
    ("L", "GET", b"HTTP/1.1  200 OK\r\nContent-Length: 0\r\n\r\n", b"", Bad, false),
    ("L", "GET", b"HTTP/1.1 2 OK\r\nContent-Length: 0\r\n\r\n", b"", Bad, false),
    ("E", "GET", b"HTTP/1.1 2000 OK\r\nContent-Length: 0\r\n\r\n", b"", Bad, false),
    ("E", "GET", b"HTTP/1.1 099 OK\r\nContent-Length: 0\r\n\r\n", b"", Bad, false),
    ("E", "GET", b"HTTP/1.1 OK\r\nContent-Length: 0\r\n\r\n", b"", Bad, false),
    // RFC 9112, 2.2 and 5: lines and fields.
    ("L", "GET", b"HTTP/1.1 200 OK\nContent-Length: 0\n\n", b"", Bad, false),
    ("L", "GET", b"HTTP/1.1 200 OK\rContent-Length: 0\r\n\r\n", b"", Bad, false),
    ("L", "GET", b"HTTP/1.1 200 OK\r\rContent-Length: 4\r\n\r\nEvil", b"", Bad, false),
    ("L", "GET", b"HTTP/1.1 200 OK\r\nX: 1\rY: 2\r\nContent-Length: 0\r\n\r\n", b"", Bad, false),
    ("L", "GET", b"HTTP/1.1 200 OK\r\n X: y\r\nContent-Length: 0\r\n\r\n", b"", Bad, false),
    ("L", "GET", b"HTTP/1.1 200 OK\r\na b: y\r\nContent-Length: 0\r\n\r\n", b"", Bad, false),
    ("L", "GET", b"HTTP/1.1 200 OK\r\nA_b: y\r\n.c: z\r\nContent-Length: 0\r\n\r\n", b"", Passed("200 ", 0), true),
    // RFC 9112, 6.1 and 6.3: framing.
    ("L", "GET", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, deflate\r\n\r\n0\r\n\r\n", b"", Bad, false),
    ("L", "GET", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n", b"", Bad, false),
    ("L", "GET", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunkedchunked\r\n\r\n0\r\n\r\n", b"", Bad, false),
    ("L", "GET", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n  abc\r\n\r\n0\r\n\r\n", b"", Bad, false),
    (
        "L",
        "GET",
        b"HTTP/1.1 200 OK\r\nContent-Length-X: 0\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nOK\r\n0\r\n\r\n",
        b"",
        Passed("200 OK", 0),
        true,
    ),
    ("L", "GET", b"HTTP/1.1 200 OK\r\nContent-Length:\t2\t\r\n\r\nOK", b"", Passed("200 OK", 0), true),
    ("E", "GET", b"HTTP/1.1 200 OK\r\nContent-Length: 18446744073709551616\r\n\r\n", b"", Bad, false),
    ("L", "GET", b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nOK", b"", Passed("200 OK", 0), false),
    ("L", "GET", b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nOK", b"", Passed("200 OK", 0), true),
    ("L", "GET", b"HTTP/1.1 200 OK\r\nConnection: x, Close\r\nContent-Length: 2\r\n\r\nOK", b"more", Passed("200 OK", 0), false),
    // Bodies in chunks (RFC 9112, 7.1).
    (
        "L",
        "GET",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2;a=\"b;c\";d\r\nOK\r\n0;e\r\n\r\n",
        b"",
        Passed("200 OK", 0),
        true,
    ),
    ("L", "GET", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2  \r\nOK\r\n0\r\n\r\n", b"", Torn, false),
    ("L", "GET", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2 x\r\nOK\r\n0\r\n\r\n", b"", Torn, false),
    ("L", "GET", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2;\r\nOK\r\n0\r\n\r\n", b"", Torn, false),
    ("L", "GET", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2;a=\"b\r\nOK\r\n0\r\n\r\n", b"", Torn, false),
    ("E", "GET", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nOK!\r\n0\r\n\r\n", b"", Torn, false),
    // RFC 9110, 6.4.1 and 15: answers that have no body, with one. What they say of one that there would be is no framing.
    ("", "GET", b"HTTP/1.1 204 No Content\r\n\r\n", b"", Passed("204 ", 0), true),
    ("L", "GET", b"HTTP/1.1 204 No Content\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", Passed("204 ", 0), false),
    ("L", "GET", b"HTTP/1.1 304 Not Modified\r\nContent-Length: 10\r\n\r\n", b"", Passed("304 ", 0), true),
    ("L", "GET", b"HTTP/1.1 304 Not Modified\r\nContent-Length: 10\r\n\r\n", b"0123456789", Passed("304 ", 0), false),
    ("L", "GET", b"HTTP/1.1 304 Not Modified\r\nTransfer-Encoding: chunked\r\n\r\n", b"0\r\n\r\n", Passed("304 ", 0), false),
    ("", "HEAD", b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", b"", Passed("200 ", 0), true),
    ("", "HEAD", b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", b"hello", Passed("200 ", 0), false),
    ("", "HEAD", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"5\r\nhello\r\n0\r\n\r\n", Passed("200 ", 0), false),
    ("", "HEAD", b"HTTP/1.1 200 OK\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil", Passed("200 ", 0), false),
    // Another answer than the one that was asked for, before anybody asks.
    (
        "L",
        "GET",
        b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc",
        b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil",
        Passed("200 abc", 0),
        false,
    ),
    ("L", "GET", b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc", b"\r\n", Passed("200 abc", 0), false),
    ("", "GET", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", b"x", Passed("200 abc", 0), false),
    // RFC 9110, 15.2: interim answers, and switches that nobody offered.
    (
        "L",
        "GET",
        b"HTTP/1.1 103 Early Hints\r\nLink: <x>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nOK",
        b"",
        Passed("200 OK", 1),
        true,
    ),
    ("", "GET", b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 199 x\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n", b"", Passed("204 ", 1), true),
    ("", "HEAD", b"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n", b"", Passed("200 ", 1), true),
    ("L", "GET", b"HTTP/1.1 100 Continue\r\n\r\n\r\nHTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", b"", Bad, false),
    ("", "GET", b"HTTP/1.1 103 Early Hints\r\nContent-Length: 0\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", b"", Bad, false),
    (
        "",
        "GET",
        b"HTTP/1.1 103 Early Hints\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
        b"",
        Bad,
        false,
    ),
    ("L", "GET", b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n", b"proto", Bad, false),
    (
        "L",
        "GET",
        b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: h2c\r\nContent-Length: 4\r\n\r\nbody",
        b"proto",
        Bad,
        false,
    ),
    (
        "L",
        "GET",
        b"HTTP/1.1 200 OK\r\nConnection: upgrade\r\nUpgrade: h2c\r\nContent-Length: 4\r\n\r\nbody",
        b"",
        Passed("200 body", 0),
        true,
    ),
    ("L", "GET", b"HTTP/1.1 426 Upgrade Required\r\nUpgrade: x\r\nContent-Length: 0\r\n\r\n", b"", Passed("426 ", 0), true),
];

#[test]
fn an_answer_is_passed_on_as_it_stands_or_becomes_a_502() {
    for (who, method, answer, more, heard, again) in ANSWERS {
        // What is more comes with the answer's end: later it could be the next answer, for all that anybody can tell.
        let splits = (1..answer.len()).map(|cut| vec![cut, 100_000]);
        for cuts in [vec![]].into_iter().chain(more.is_empty().then(|| vec![1])).chain(splits) {
            once(who, method, &[answer, *more].concat(), (*heard, *again), &cuts);
        }
    }
}

/// One byte, field, or interim answer on either side of what we read.
#[test]
fn answers_are_read_up_to_their_limits_and_no_further() {
    let large = |over: usize| {
        let rest = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nX: \r\n\r\n".len();
        format!("HTTP/1.1 200 OK\r\nContent-Length: 0\r\nX: {}\r\n\r\n", "x".repeat(128 * 1024 + over - rest))
    };
    let fields = |more: usize| format!("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n{}\r\n", "X: y\r\n".repeat(more));
    let hints = |count: usize| {
        format!("{}HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", "HTTP/1.1 103 Early Hints\r\nLink: <x>\r\n\r\n".repeat(count))
    };
    let extension =
        |length: usize| format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2;{}\r\nOK\r\n0\r\n\r\n", "x".repeat(length));
    let trailers =
        |count: usize| format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nOK\r\n0\r\n{}\r\n", "X: y\r\n".repeat(count));
    for (answer, heard, again) in [
        (large(0), Passed("200 ", 0), true),
        (large(1), Bad, false),
        (fields(99), Passed("200 ", 0), true),
        (fields(100), Bad, false),
        (hints(32), Passed("200 ", 32), true),
        (hints(33), Bad, false),
        (extension(8 * 1024 - 6), Passed("200 OK", 0), true),
        (extension(8 * 1024), Torn, false),
        (trailers(32), Passed("200 OK", 0), true),
        (trailers(33), Torn, false),
    ] {
        for cuts in [vec![], vec![1000], vec![answer.len() - 1], vec![4096, 3]] {
            once("E", "GET", answer.as_bytes(), (heard, again), &cuts);
        }
    }
}

/// RFC 9112, 8: of a body that ends with its connection a goodbye says that it is whole.
#[test]
fn a_body_until_the_end_is_whole_with_a_goodbye_only() {
    let head = "GET / HTTP/1.0\r\nHost: a\r\n\r\n";
    for (answer, then, whole) in [
        ("HTTP/1.1 200 OK\r\n\r\nhello", Then::Ends, true),
        ("HTTP/1.1 200 OK\r\n\r\nhello", Then::Breaks, false),
        // Cut in the end, by what watches over the connection.
        ("HTTP/1.1 200 OK\r\n\r\nhello", Then::Silence, false),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", Then::Silence, true),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n", Then::Ends, false),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nx\r\n", Then::Silence, false),
    ] {
        let client = Script { stream: head.into(), ..Script::default() };
        let upstreams = [Script { stream: answer.into(), gate: Gate::Told, then, ..Script::default() }];
        let heard = harness::play(&client, &upstreams);
        invariants::check(&client, &upstreams, &heard).expect(answer);
        let text = String::from_utf8_lossy(&heard.client);
        assert!(text.contains("connection: close\r\n") && text.ends_with("hello"), "{answer:?} {then:?}: {text}");
        assert_eq!(heard.goodbye, whole, "{answer:?} {then:?}");
    }
}

/// RFC 9110, 7.8: another protocol begins behind the whole of a request; the rest of its body would be said in that protocol.
#[test]
fn an_upstream_that_switches_in_the_middle_of_a_request_is_broken() {
    let switch = "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n";
    let head = "POST / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: x\r\nTransfer-Encoding: chunked\r\n\r\n";
    for (body, wanted) in [("0\r\n\r\nping", "101"), ("3\r\nabc\r\n", "502"), ("3\r\nabc\r\n0\r\n", "502"), ("", "502")] {
        let client = Script { stream: [head, body].concat().into(), ..Script::default() };
        let upstreams = [Script { stream: switch.into(), gate: Gate::Told, ..Script::default() }];
        let heard = harness::play(&client, &upstreams);
        invariants::check(&client, &upstreams, &heard).expect(body);
        let text = String::from_utf8_lossy(&heard.client);
        assert_eq!(text.split(' ').nth(1), Some(wanted), "{body:?}: {text}");
        assert_eq!(heard.upstreams[0].ends_with(b"ping"), wanted == "101", "{body:?}");
    }
}

fn once(who: &str, method: &str, answer: &[u8], (wanted, again): (Heard, bool), cuts: &[usize]) {
    let good = |body: &str| format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len()).into_bytes();
    let client = Script {
        stream: format!("GET /0 HTTP/1.1\r\nHost: a\r\n\r\n{method} /1 HTTP/1.1\r\nHost: a\r\n\r\nGET /2 HTTP/1.1\r\nHost: a\r\n\r\n")
            .into(),
        ..Script::default()
    };
    let (zero, last) = (good("zero"), good("last"));
    let ends = [zero.len(), zero.len() + answer.len(), zero.len() + answer.len() + last.len()];
    let mut cuts = cuts.to_vec();
    if let [first, _] = &mut cuts[..] {
        *first += zero.len();
    }
    let upstreams = [
        Script {
            stream: [&zero[..], answer, &last].concat(),
            cuts,
            gate: Gate::Requests(ends.iter().map(|end| (*end, false)).collect()),
            ..Script::default()
        },
        Script { stream: last.clone(), gate: Gate::Told, ..Script::default() },
    ];
    let heard = harness::play(&client, &upstreams);
    let told =
        || format!("{who}, in pieces of {:?}: {method} {:?}", upstreams[0].cuts, String::from_utf8_lossy(&answer[..answer.len().min(400)]));
    let (answers, _) = reference::answers(&heard.client, &[false, method == "HEAD", false], heard.goodbye);
    let spoken: Vec<_> = answers.iter().map(|(answer, interim)| (said(answer), *interim)).collect();
    assert_eq!(spoken.first(), Some(&(Some("200 zero".to_owned()), 0)), "{}", told());
    let next = Some(&(Some("200 last".to_owned()), 0));
    match wanted {
        Passed(words, interim) => {
            assert_eq!(spoken.get(1), Some(&(Some(words.to_owned()), interim)), "{}", told());
            assert_eq!(spoken.get(2), next, "{}", told());
        }
        Bad => {
            assert_eq!(spoken.get(1).map(|(words, _)| words.as_deref()), Some(Some("502 ")), "{}", told());
            assert_eq!(spoken.get(2), next, "{}", told());
        }
        Torn => assert!(spoken.get(1).is_none_or(|(words, _)| words.is_none()) && spoken.len() < 3, "{spoken:?}: {}", told()),
    }
    assert_eq!(heard.upstreams.len() == 1, again || wanted == Torn, "{}", told());
    assert!(!String::from_utf8_lossy(&heard.client).contains("evil"), "{}", told());
}

/// An answer's status and body, where it is whole.
fn said(answer: &reference::Message) -> Option<String> {
    match &answer.body {
        Body::Whole(body, _) => Some(format!("{} {}", answer.line[1], String::from_utf8_lossy(body))),
        Body::Malformed | Body::Short => None,
    }
}
