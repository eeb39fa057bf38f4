//! HTTP/2 frames by hand: what HTTP/1.1 cannot carry is refused before it is forwarded; early data never taken.

use crate::support::raw::{Ended, Frame, Raw};
use crate::support::{Client, Identity, Leaf, TestProxy, TestUpstream, Workspace, eventually};

async fn start(client_auth: &str) -> (TestUpstream, TestProxy, Identity) {
    let upstream = TestUpstream::start().await;
    let alice = Leaf::new("alice").self_signed();
    let workspace = Workspace::new();
    workspace.allow("alice", &alice);
    let proxy = workspace.start(&Workspace::config(client_auth, &upstream.url(), ""));
    (upstream, proxy, alice)
}

/// A frame: length, type, flags, stream, payload.
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("small").to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// A literal field without indexing, name and value as they are.
fn field(name: &[u8], value: &[u8]) -> Vec<u8> {
    let length = |text: &[u8]| u8::try_from(text.len()).expect("short");
    assert!(name.len() < 127 && value.len() < 127, "one length byte each");
    [&[0, length(name)], name, &[length(value)], value].concat()
}

/// Connection preface, empty SETTINGS, and one request whose head has these fields.
pub fn request(fields: &[(&[u8], &[u8])], body: &[u8]) -> Vec<u8> {
    [head(fields), frame(0x0, END_STREAM, 1, body)].concat()
}

/// The same up to where its body begins.
pub fn head(fields: &[(&[u8], &[u8])]) -> Vec<u8> {
    let block: Vec<u8> = fields.iter().flat_map(|(name, value)| field(name, value)).collect();
    [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", &*frame(0x4, 0, 0, &[]), &*frame(0x1, 0x4, 1, &block)].concat()
}

/// The four that every request has, with others in their place and more behind.
pub fn usual<'a>(changed: &[(&'a [u8], &'a [u8])], more: &[(&'a [u8], &'a [u8])]) -> Vec<(&'a [u8], &'a [u8])> {
    let all: [(&[u8], &[u8]); 4] = [(b":method", b"POST"), (b":scheme", b"https"), (b":authority", b"localhost"), (b":path", b"/")];
    let pick = |(name, value): (&'a [u8], &'a [u8])| {
        changed.iter().find(|(other, _)| *other == name).map_or((name, value), |(_, value)| (name, *value))
    };
    all.into_iter().map(pick).chain(more.iter().copied()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_http_1_cannot_carry_is_refused_before_it_is_forwarded() {
    let (upstream, proxy, alice) = start("require").await;
    let client = Client::http2(&proxy, Some(&alice));
    type Fields<'a> = Vec<(&'a [u8], &'a [u8])>;
    let cases: Vec<(&str, Fields<'_>)> = vec![
        ("CR LF in a value", usual(&[], &[(b"x", b"a\r\nSMUGGLED: b")])),
        ("LF in a value", usual(&[], &[(b"x", b"a\nSMUGGLED: b")])),
        ("CR in a value", usual(&[], &[(b"x", b"a\rSMUGGLED: b")])),
        ("NUL in a value", usual(&[], &[(b"x", b"a\0b")])),
        ("CR LF in a name", usual(&[], &[(b"x\r\nSMUGGLED", b"b")])),
        ("a space in a name", usual(&[], &[(b"x y", b"b")])),
        ("a colon in a name", usual(&[], &[(b"x:y", b"b")])),
        ("an upper-case name", usual(&[], &[(b"X-Upper", b"b")])),
        ("CR LF in the path", usual(&[(b":path", b"/ HTTP/1.1\r\nSMUGGLED: b\r\nX: ")], &[])),
        ("a space in the path", usual(&[(b":path", b"/ HTTP/1.1")], &[])),
        ("no slash first", usual(&[(b":path", b"admin")], &[])),
        ("an empty path", usual(&[(b":path", b"")], &[])),
        ("a space in the method", usual(&[(b":method", b"GET /SMUGGLED HTTP/1.1")], &[])),
        ("CR LF in the method", usual(&[(b":method", b"GET\r\nSMUGGLED")], &[])),
        ("CR LF in the authority", usual(&[(b":authority", b"localhost\r\nSMUGGLED: b")], &[])),
        ("userinfo in the authority", usual(&[(b":authority", b"admin@localhost")], &[])),
        ("a comma in the authority", usual(&[(b":authority", b"localhost,b.test")], &[])),
        ("another host", usual(&[], &[(b"host", b"b.test")])),
        ("transfer-encoding", usual(&[], &[(b"transfer-encoding", b"chunked")])),
        ("connection", usual(&[], &[(b"connection", b"close")])),
        ("keep-alive", usual(&[], &[(b"keep-alive", b"1")])),
        ("upgrade", usual(&[], &[(b"upgrade", b"websocket")])),
        ("te: gzip", usual(&[], &[(b"te", b"gzip")])),
        ("a pseudo header twice", usual(&[], &[(b":path", b"/SMUGGLED")])),
        ("a pseudo header late", usual(&[], &[(b"x", b"y"), (b":method", b"GET")])),
        ("an unknown pseudo header", usual(&[], &[(b":smuggled", b"y")])),
        ("a response's pseudo header", usual(&[], &[(b":status", b"200")])),
        ("a length that does not hold", usual(&[], &[(b"content-length", b"3")])),
        ("a length with a sign", usual(&[], &[(b"content-length", b"+4")])),
        ("two lengths", usual(&[], &[(b"content-length", b"4"), (b"content-length", b"5")])),
    ];
    for (name, fields) in &cases {
        let mut raw = Raw::open(&client).await;
        raw.write(request(fields, b"body")).await;
        // A stream error, a connection error or a 4xx: in any case no 200, and nothing at the upstream.
        let ended = raw.first_answer().await;
        assert!(!ended.is_success(), "{name}: {ended:?}");
        let whole: Vec<String> = upstream
            .received()
            .iter()
            .filter(|request| request.body.ends_with(b"body") && request.head.contains("SMUGGLED"))
            .map(|request| request.head.clone())
            .collect();
        assert!(whole.is_empty(), "{name}: {whole:?}");
        assert!(upstream.received().iter().all(|request| !request.head.contains("SMUGGLED")), "{name}");
    }
    let mut raw = Raw::open(&client).await;
    raw.write(request(&usual(&[], &[(b"te", b"trailers"), (b"content-length", b"4")]), b"body")).await;
    assert!(raw.first_answer().await.is_success(), "the test's own frames are good otherwise");
    eventually("the good one was forwarded", || upstream.received().iter().any(|request| request.body == b"body"));
}

/// A client that has not sent its whole body finds the refusal, and no reset behind it: some take the reset for the answer.
#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_is_heard_by_who_still_sends() {
    let (_upstream, proxy, _alice) = start("request").await;
    let mallory = Leaf::new("mallory").self_signed();
    let client = Client::http2(&proxy, Some(&mallory));
    // Once in a while the rest of a body comes later than anybody waits for it.
    let mut attempts = 0;
    while is_reset_behind_its_answer(&client).await {
        attempts += 1;
        assert!(attempts < 5, "reset each time");
    }
    // Nobody waits for ever: whoever sends no end is reset.
    let mut raw = Raw::open(&client).await;
    raw.write(head(&usual(&[], &[]))).await;
    while raw.frame().await.expect("a reset").kind != RST_STREAM {}
}

/// Sends the body once the answer is there whole.
async fn is_reset_behind_its_answer(client: &Client) -> bool {
    let mut raw = Raw::open(client).await;
    raw.write(head(&usual(&[], &[]))).await;
    loop {
        let frame = raw.frame().await.expect("an answer");
        if frame.stream == 1 && frame.flags & END_STREAM != 0 {
            break;
        }
    }
    raw.write([frame(0x0, END_STREAM, 1, b"body"), frame(PING, 0, 0, b"all read")].concat()).await;
    let mut is_reset = false;
    loop {
        match raw.frame().await.expect("an answer to the ping") {
            Frame { kind: PING, .. } => return is_reset,
            Frame { kind, .. } => is_reset |= kind == RST_STREAM,
        }
    }
}

/// RFC 9110, 10.1.1: whoever expects a 100 may send its body without one, and no later than the final answer it knows whether to. A
/// 100 itself does not come over HTTP/2 (`docs/http1.md`).
#[tokio::test(flavor = "multi_thread")]
async fn who_expects_a_100_is_answered_whether_or_not_it_waits() {
    let (upstream, proxy, alice) = start("request").await;
    let expecting = head(&usual(&[], &[(b"expect", b"100-continue"), (b"content-length", b"4")]));
    let mut raw = Raw::open(&Client::http2(&proxy, Some(&alice))).await;
    raw.write(&expecting).await;
    eventually("the request is on its way", || upstream.begun() == 1);
    raw.write(frame(0x0, END_STREAM, 1, b"body")).await;
    assert!(raw.first_answer().await.is_success());
    let received = upstream.last();
    assert_eq!((received.header("expect"), &*received.body), (vec![], &b"body"[..]), "it is between us and the client");
    // Refused, it hears so at once, and need not send what nobody reads.
    let mallory = Leaf::new("mallory").self_signed();
    let mut raw = Raw::open(&Client::http2(&proxy, Some(&mallory))).await;
    raw.write(&expecting).await;
    assert_eq!(raw.first_answer().await, Ended::Answered { success: false });
    let mut raw = Raw::open(&Client::http2(&proxy, Some(&alice))).await;
    raw.write(head(&usual(&[], &[(b"expect", b"200-ok")]))).await;
    assert_eq!(raw.first_answer().await, Ended::Answered { success: false });
    assert_eq!(upstream.begun(), 1);
}

const END_STREAM: u8 = 0x1;
pub const PING: u8 = 0x6;
pub const RST_STREAM: u8 = 0x3;

#[tokio::test(flavor = "multi_thread")]
async fn early_data_is_never_accepted() {
    let (upstream, proxy, alice) = start("require").await;
    let directory = tempfile::tempdir().expect("temporary directory");
    let (cert, key) = alice.write(directory.path(), "alice");
    let session = directory.path().join("session");
    let s_client = |more: &[&str]| {
        let mut command = std::process::Command::new("openssl");
        command
            .args(["s_client", "-ign_eof", "-connect", &proxy.address("edge").to_string(), "-servername", "localhost", "-tls1_3", "-cert"])
            .arg(&cert);
        command
            .arg("-key")
            .arg(&key)
            .args(more)
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::piped());
        let mut child = command.spawn().expect("openssl");
        let input = child.stdin.take().expect("piped");
        // The pipe stays open: openssl ends when the proxy closes.
        std::io::Write::write_all(&mut &input, b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").expect("written");
        let output = child.wait_with_output().expect("ended");
        drop(input);
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
    };
    let text = s_client(&["-sess_out", session.to_str().expect("UTF-8")]);
    assert!(text.contains("HTTP/1.1 200"), "{text}");
    assert!(!text.contains("Max Early Data: ") || text.contains("Max Early Data: 0"), "{text}");
    let early = directory.path().join("early");
    std::fs::write(&early, "GET /early HTTP/1.1\r\nHost: localhost\r\n\r\n").expect("written");
    let text = s_client(&["-sess_in", session.to_str().expect("UTF-8"), "-early_data", early.to_str().expect("UTF-8")]);
    assert!(!text.contains("Early data was accepted"), "{text}");
    assert!(!upstream.received().iter().any(|request| request.target() == "/early"));
}
