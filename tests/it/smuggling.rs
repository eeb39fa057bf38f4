//! What RFC 9112 calls malformed is answered 400 and never forwarded; upstream answers are judged as strictly.

use crate::support::client::{request, request_with};
use crate::support::raw::Raw;
use crate::support::upstream::Reply;
use crate::support::{Client, Identity, Leaf, TestProxy, TestUpstream, Workspace};

async fn start() -> (TestUpstream, TestProxy, Identity) {
    let upstream = TestUpstream::start().await;
    let alice = Leaf::new("alice").self_signed();
    let workspace = Workspace::new();
    workspace.allow("alice", &alice);
    let proxy = workspace.start(&Workspace::config("require", &upstream.url(), ""));
    (upstream, proxy, alice)
}

/// Heads (and bodies) that must not be forwarded. `SMUGGLED` in a path shows what slipped through.
const MALFORMED: &[(&str, &str)] = &[
    (
        "CL and TE",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /SMUGGLED HTTP/1.1\r\nHost: a\r\n\r\n",
    ),
    ("TE and CL", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n"),
    (
        "two CL that differ",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nContent-Length: 30\r\n\r\nGET /SMUGGLED HTTP/1.1\r\nHost: a\r\n\r\n",
    ),
    ("two CL that agree", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nContent-Length: 0\r\n\r\n"),
    ("CL list", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0, 0\r\n\r\n"),
    ("CL with a sign", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +5\r\n\r\nhello"),
    ("negative CL", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n"),
    ("hexadecimal CL", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0x5\r\n\r\nhello"),
    ("CL with text", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5 bytes\r\n\r\nhello"),
    ("padded CL", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 05\r\n\r\nhello"),
    ("empty CL", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: \r\n\r\n"),
    ("huge CL", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 184467440737095516160\r\n\r\n"),
    ("TE xchunked", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n"),
    ("TE identity", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: identity\r\n\r\n"),
    ("TE gzip, chunked", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"),
    ("TE chunked twice", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n"),
    ("two TE", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n"),
    ("TE in quotes", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: \"chunked\"\r\n\r\n0\r\n\r\n"),
    ("TE with a vertical tab", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n"),
    ("TE before a colon with a space", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n"),
    ("CL before a colon with a tab", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length\t: 0\r\n\r\n"),
    ("TE in HTTP/1.0", "POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    ("obs-fold", "GET / HTTP/1.1\r\nHost: a\r\nX: a\r\n b\r\n\r\n"),
    ("a fold first", "GET / HTTP/1.1\r\n X: a\r\nHost: a\r\n\r\n"),
    ("bare LF between lines", "GET / HTTP/1.1\nHost: a\n\n"),
    ("bare LF once", "GET / HTTP/1.1\r\nHost: a\nX: b\r\n\r\n"),
    ("bare CR in a value", "GET / HTTP/1.1\r\nHost: a\r\nX: a\rY: b\r\n\r\n"),
    ("NUL in a value", "GET / HTTP/1.1\r\nHost: a\r\nX: a\0b\r\n\r\n"),
    ("a space in a name", "GET / HTTP/1.1\r\nHost: a\r\nX Y: b\r\n\r\n"),
    ("no colon", "GET / HTTP/1.1\r\nHost: a\r\nnothing\r\n\r\n"),
    ("an empty name", "GET / HTTP/1.1\r\nHost: a\r\n: b\r\n\r\n"),
    ("two Hosts", "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n"),
    ("no Host", "GET / HTTP/1.1\r\nX: y\r\n\r\n"),
    ("Host with a comma", "GET / HTTP/1.1\r\nHost: a, b\r\n\r\n"),
    ("Host with userinfo", "GET / HTTP/1.1\r\nHost: a@b\r\n\r\n"),
    ("Host with a path", "GET / HTTP/1.1\r\nHost: a/b\r\n\r\n"),
    ("target and Host disagree", "GET http://localhost/ HTTP/1.1\r\nHost: b.test\r\n\r\n"),
    ("HTTP/0.9", "GET /\r\n\r\n"),
    ("HTTP/0.9 with its version", "GET / HTTP/0.9\r\nHost: a\r\n\r\n"),
    ("a version that is none", "GET / HTTP/1.11\r\nHost: a\r\n\r\n"),
    ("HTTP/1.2", "GET / HTTP/1.2\r\nHost: a\r\n\r\n"),
    ("HTTP/2 over 1", "GET / HTTP/2.0\r\nHost: a\r\n\r\n"),
    ("the preface of HTTP/2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
    ("two spaces", "GET  / HTTP/1.1\r\nHost: a\r\n\r\n"),
    ("a tab for a space", "GET\t/ HTTP/1.1\r\nHost: a\r\n\r\n"),
    ("a control in the target", "GET /\x01 HTTP/1.1\r\nHost: a\r\n\r\n"),
    ("a bad method", "GE(T / HTTP/1.1\r\nHost: a\r\n\r\n"),
    ("bad chunk size", "POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nhello\r\n0\r\n\r\n"),
    ("chunk size with a sign", "POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n+5\r\nhello\r\n0\r\n\r\n"),
    ("chunk size 0x", "POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n0x5\r\nhello\r\n0\r\n\r\n"),
    (
        "chunk size overflow",
        "POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n10000000000000005\r\nhello\r\n0\r\n\r\n",
    ),
    ("chunk without CRLF after", "POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhelloX0\r\n\r\n"),
    ("chunk ended by bare LF", "POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n5\nhello\r\n0\r\n\r\n"),
    ("a CR in a chunk extension", "POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n5;a\rb\r\nhello\r\n0\r\n\r\n"),
    (
        "upgrade to h2c",
        "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA\r\nContent-Length: x\r\n\r\n",
    ),
    ("CONNECT", "CONNECT b.test:443 HTTP/1.1\r\nHost: b.test:443\r\n\r\n"),
];

#[tokio::test(flavor = "multi_thread")]
async fn malformed_requests_are_answered_400_and_never_forwarded() {
    let (upstream, proxy, alice) = start().await;
    let client = Client::new(&proxy, Some(&alice));
    let long = [
        ("a long target", format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "x".repeat(70_000))),
        ("many headers", format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "X: y\r\n".repeat(101))),
        ("long headers", format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "y".repeat(70_000))),
    ];
    for (name, bytes) in MALFORMED.iter().copied().chain(long.iter().map(|(name, bytes)| (*name, bytes.as_str()))) {
        // The second request must not be served: the connection is closed after the first answer.
        let back = Raw::exchange(&client, [bytes.as_bytes(), b"GET /SMUGGLED HTTP/1.1\r\nHost: localhost\r\n\r\n"].concat()).await;
        let expected = match name {
            "HTTP/0.9 with its version" | "HTTP/1.2" | "HTTP/2 over 1" => 505,
            "CONNECT" => 405,
            "a long target" => 414,
            "many headers" | "long headers" => 431,
            _ => 400,
        };
        assert_eq!(back.statuses(), [expected], "{name}: {}", back.text);
        let slipped: Vec<String> =
            upstream.received().into_iter().map(|request| request.head).filter(|head| head.contains("SMUGGLED")).collect();
        assert!(slipped.is_empty(), "{name}: {slipped:?}");
        assert!(!upstream.received().iter().any(|request| request.body.windows(8).any(|window| window == b"SMUGGLED")), "{name}");
    }
    assert_eq!(client.get("/").await.expect("the proxy goes on").status, 200);
}

/// An upstream behind CGI or WSGI reads `content_length` as `Content-Length`: of two, the one that we did not judge.
#[tokio::test(flavor = "multi_thread")]
async fn framing_in_a_spelling_that_upstreams_fold_never_reaches_them() {
    let (upstream, proxy, alice) = start().await;
    let names = ["Content_Length", "content.length", "Transfer_Encoding", "transfer.encoding", "Host_", "_Host", "Connection_", "TE_"];
    for client in [Client::new(&proxy, Some(&alice)), Client::http2(&proxy, Some(&alice))] {
        let mut forged = request_with("POST", "/folded", "body");
        for name in names {
            forged.headers_mut().append(http::HeaderName::try_from(name).expect("a name"), "0".parse().expect("a value"));
        }
        forged.headers_mut().insert("x_own", "kept".parse().expect("a value"));
        assert_eq!(client.send(forged).await.expect("served").status, 200);
        let received = upstream.last();
        for name in names {
            assert_eq!(received.header(name), Vec::<String>::new(), "{name}: {}", received.head);
        }
        assert_eq!((received.header("x_own"), received.body), (vec!["kept".to_owned()], b"body".to_vec()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn well_formed_pipelined_requests_are_answered_in_order() {
    let (upstream, proxy, alice) = start().await;
    let bytes = "POST /1 HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n5;name=value\r\nhello\r\n0\r\n\r\n\
                 POST /2 HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\nhello\
                 GET /3 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    let back = Raw::exchange(&Client::new(&proxy, Some(&alice)), bytes).await;
    assert_eq!(back.statuses(), [200, 200, 200], "{}", back.text);
    let targets: Vec<String> = upstream.received().iter().map(|request| request.target().to_owned()).collect();
    assert_eq!(targets, ["/1", "/2", "/3"]);
}

/// Answers that must not be passed on, and the status that the client gets instead.
const HOSTILE: &[(&str, &str)] = &[
    ("CL with a sign", "HTTP/1.1 200 OK\r\nContent-Length: +5\r\n\r\nhello"),
    ("two CL", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello"),
    ("CL and TE", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"),
    ("NUL in a header", "HTTP/1.1 200 OK\r\nX: a\0b\r\nContent-Length: 5\r\n\r\nhello"),
    ("garbage", "this is no HTTP at all\r\n\r\n"),
    ("an unsolicited 101", "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"),
    ("a bare LF", "HTTP/1.1 200 OK\nContent-Length: 5\n\nhello"),
    ("obs-fold", "HTTP/1.1 200 OK\r\nX: a\r\n b\r\nContent-Length: 5\r\n\r\nhello"),
    ("TE xchunked", "HTTP/1.1 200 OK\r\nTransfer-Encoding: xchunked\r\n\r\nhello"),
    ("a space before a colon", "HTTP/1.1 200 OK\r\nContent-Length : 5\r\n\r\nhello"),
    ("nothing", ""),
    ("padded CL", "HTTP/1.1 200 OK\r\nContent-Length: 05\r\n\r\nhello"),
    ("a list of CL", "HTTP/1.1 200 OK\r\nContent-Length: 5, 5\r\n\r\nhello"),
    ("TE twice", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    ("TE gzip, chunked", "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"),
    ("TE in HTTP/1.0", "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    ("a bare CR", "HTTP/1.1 200 OK\r\nX: a\rb\r\nContent-Length: 5\r\n\r\nhello"),
    ("a control character in a value", "HTTP/1.1 200 OK\r\nX: a\x01b\r\nContent-Length: 5\r\n\r\nhello"),
    ("an empty name", "HTTP/1.1 200 OK\r\n: b\r\nContent-Length: 5\r\n\r\nhello"),
    ("a name with a space", "HTTP/1.1 200 OK\r\nX Y: b\r\nContent-Length: 5\r\n\r\nhello"),
    ("no colon", "HTTP/1.1 200 OK\r\nnothing\r\nContent-Length: 5\r\n\r\nhello"),
    ("204 with a body", "HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\nhello"),
    ("100 with a body", "HTTP/1.1 100 Continue\r\nContent-Length: 5\r\n\r\nhelloHTTP/1.1 200 OK\r\n\r\n"),
    ("HTTP/2 in words", "HTTP/2.0 200 OK\r\nContent-Length: 5\r\n\r\nhello"),
    ("HTTP/1.2", "HTTP/1.2 200 OK\r\nContent-Length: 5\r\n\r\nhello"),
    ("a status of two digits", "HTTP/1.1 20 OK\r\nContent-Length: 5\r\n\r\nhello"),
    ("status 600", "HTTP/1.1 600 Odd\r\nContent-Length: 5\r\n\r\nhello"),
    ("two spaces", "HTTP/1.1  200 OK\r\nContent-Length: 5\r\n\r\nhello"),
];

#[tokio::test(flavor = "multi_thread")]
async fn hostile_answers_are_502_and_their_connection_is_never_used_again() {
    let alice = Leaf::new("alice").self_signed();
    let upstream =
        TestUpstream::replying(|target| match target.strip_prefix("/hostile/").and_then(|number| number.parse::<usize>().ok()) {
            Some(number) => Reply::Raw(HOSTILE[number].1.as_bytes().to_vec()),
            None => Reply::Fixed("hello"),
        })
        .await;
    let workspace = Workspace::new();
    workspace.allow("alice", &alice);
    let proxy = workspace.start(&Workspace::config("require", &upstream.url(), ""));
    for client in [Client::new(&proxy, Some(&alice)), Client::http2(&proxy, Some(&alice))] {
        let mut connection = client.connect().await.expect("admitted");
        for (number, (name, _)) in HOSTILE.iter().enumerate() {
            let answer = connection.get(&format!("/hostile/{number}")).await.unwrap_or_else(|refused| panic!("{name}: {}", refused.why));
            assert_eq!((answer.status.as_u16(), answer.code().as_str()), (502, "upstream_unavailable"), "{name}");
            assert_eq!(connection.get("/").await.expect("the next request").status, 200, "{name}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_cut_short_is_seen_to_be_cut_short() {
    let alice = Leaf::new("alice").self_signed();
    let upstream = TestUpstream::replying(|target| match target {
        "/length" => Reply::Raw(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhello".to_vec()),
        "/chunked" => Reply::Raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n".to_vec()),
        _ => Reply::Fixed("hello"),
    })
    .await;
    let workspace = Workspace::new();
    workspace.allow("alice", &alice);
    let proxy = workspace.start(&Workspace::config("require", &upstream.url(), ""));
    for path in ["/length", "/chunked"] {
        for client in [Client::new(&proxy, Some(&alice)), Client::http2(&proxy, Some(&alice))] {
            client.get(path).await.expect_err("a clean end would be a lie");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn trace_is_405_and_connect_opens_no_tunnel() {
    let (upstream, proxy, alice) = start().await;
    for client in [Client::new(&proxy, Some(&alice)), Client::http2(&proxy, Some(&alice))] {
        let mut trace = request("TRACE", "/");
        trace.headers_mut().insert("x-secret", "echo me".parse().expect("a value"));
        let answer = client.send(trace).await.expect("an answer");
        assert_eq!(answer.status, 405);
        assert!(!String::from_utf8_lossy(&answer.body).contains("echo me"));
    }
    assert!(upstream.received().is_empty());
}
