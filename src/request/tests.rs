//! Requests from the first byte to the last, in memory: a client's bytes in, what the upstream read, and what
//! the client heard. Who is admitted is tested elsewhere: these routes ask nobody, or everybody.

use std::rc::Rc;
use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

use super::*;
use crate::admission::{AllowlistBuilder, ClientAddress, Revocation, RouteAuth, RouteScope, Snapshot};
use crate::challenge::{self, Tokens};
use crate::clock::Clock;
use crate::failure;
use crate::gate::Asker;
use crate::http1::{self, Ending, EndingKind};
use crate::limits::Limits;
use crate::log;
use crate::routing::Routes;
use crate::upstream::Incoming;
use crate::upstream::testing::{Say, Scripted};
use crate::upstream::{Settings, Upstreams, tunnel};

const WEBSOCKET: &str = "Upgrade: websocket\r\nConnection: upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

struct Never;

impl Ending for Never {
    fn poll_ending(&mut self, _: &mut std::task::Context<'_>) -> std::task::Poll<EndingKind> {
        std::task::Poll::Pending
    }
}

fn local<T>(test: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    tokio::task::LocalSet::new().block_on(&runtime, async {
        tokio::task::spawn_local(crate::http1::Later::default());
        tokio::task::yield_now().await;
        test.await
    })
}

fn route(path: &str, auth: RouteAuth) -> Route {
    let name = path.trim_matches('/');
    Route {
        scope: RouteScope { name: name.into(), auth, csrf: false },
        upstream: "scripted".into(),
        hosts: Vec::new(),
        path: path.into(),
        upgrades: vec!["websocket".into()],
        rules: Vec::new(),
        case_sensitive: true,
        keep_encoded_slash: false,
        judge_without_parameters: false,
        policy: "".into(),
    }
}

/// A worker in front of one upstream, with an open route and a closed one.
fn context(upstream: Settings, limits: Limits) -> Rc<Context> {
    let snapshot = Arc::new(Snapshot {
        generation: 1,
        allowlist: AllowlistBuilder::default().finish(),
        revocation: Revocation::default(),
        clock_skew: 0,
        bootstrap: Default::default(),
    });
    let mut plain = route("/plain", RouteAuth::None);
    plain.upgrades.clear();
    let rules = Rules {
        generation: 1,
        snapshot: Arc::clone(&snapshot),
        routes: Routes::compile(vec![route("/open", RouteAuth::None), plain, route("/closed", RouteAuth::Required)]).unwrap(),
        upstreams: Upstreams::compile(vec![upstream], None).unwrap(),
        limits,
        trust: Default::default(),
        identity: Default::default(),
        tokens: Tokens::new(challenge::Settings::default(), None),
        listeners: Vec::new(),
    };
    let metrics = Metrics::new(1);
    let gate = Gate::new(Clock::fixed(1_800_000_000), Arc::clone(&metrics), snapshot);
    let off = log::Settings { destination: log::Destination::Off, ..log::Settings::default() };
    let log = AccessLog::open(off, Arc::default()).unwrap();
    let address = ClientAddress::Settled([192, 0, 2, 7].into());
    let asker = Asker { listener: "edge".into(), peer: None, connection: 1 };
    let standing = Standing::open(&gate, None, address, asker, true).unwrap();
    let worker = Worker::new(gate, Arc::clone(&metrics), Rc::new(log), Ticker::new(), Arc::default(), Arc::new(rules), None);
    Rc::new(Context {
        worker,
        standing,
        peer: Peer::new(address),
        sni: None,
        listener: "edge".into(),
        names: Arc::default(),
        uris: Arc::default(),
        secure: true,
        http2: false,
        identity: identity::Remembered::new(metrics),
        counted: Default::default(),
        shown: RefCell::default(),
        told: Default::default(),
        serves: Default::default(),
    })
}

/// Opens a connection to the worker.
fn connect(context: &Rc<Context>) -> DuplexStream {
    let (ours, theirs) = tokio::io::duplex(1 << 20);
    let limits = Limits::default();
    let settings = http1::Settings {
        head: limits.head,
        idle: limits.idle,
        progress: limits.body_progress,
        head_bytes: limits.head_bytes,
        ticker: Rc::clone(&context.worker.ticker),
        refusal: Rc::new(failure::refusal),
    };
    let context = Rc::clone(context);
    tokio::task::spawn_local(http1::serve(
        theirs,
        move |request: Request<_>| serve(Rc::clone(&context), Rc::default(), request.map(Incoming::Http1)),
        settings,
        Never,
    ));
    ours
}

/// Sends one request that ends its connection, and returns all that comes back.
async fn ask(context: &Rc<Context>, request: &str) -> String {
    let mut client = connect(context);
    client.write_all(request.as_bytes()).await.unwrap();
    let mut heard = Vec::new();
    client.read_to_end(&mut heard).await.unwrap();
    String::from_utf8(heard).unwrap()
}

async fn front(script: impl Fn(&str) -> Say + 'static) -> (Rc<Context>, Scripted) {
    let upstream = Scripted::start(script).await;
    (context(upstream.settings.clone(), Limits::default()), upstream)
}

fn get(path: &str, fields: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: a.example\r\nConnection: close\r\n{fields}\r\n")
}

fn status(answer: &str) -> u16 {
    answer.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0)
}

#[test]
fn a_request_reaches_its_upstream_without_what_concerned_one_hop() {
    local(async {
        let (context, upstream) = front(|_| Say::Bytes(OK.into())).await;
        let fields = "Keep-Alive: 5\r\nProxy-Authorization: x\r\nTE: trailers, gzip\r\nX-Own: y\r\nConnection: x-own\r\nAccept: */*\r\n\
            X-Forwarded-For: 6.6.6.6\r\nForwarded: for=6.6.6.6\r\nClient-Cert: :AAAA:\r\nX-Forwarded-Client-Cert: Hash=00\r\nssl_client_verify: SUCCESS\r\n\
            X-Request-Id: mine-1\r\nTraceparent: 00-1-2-01\r\nUpgrade: h2c\r\nHTTP2-Settings: AA\r\n";
        let answer = ask(&context, &get("/open/a/../b%41?q=%2e", fields)).await;
        assert_eq!(status(&answer), 200, "{answer}");
        let seen = upstream.seen.borrow()[0].clone();
        assert!(seen.starts_with("GET /open/bA?q=%2e HTTP/1.1\r\n"), "{seen}");
        for kept in [
            "Host: a.example\r\n",
            "Accept: */*\r\n",
            "X-Request-Id: mine-1\r\n",
            "Traceparent: 00-1-2-01\r\n",
            "X-Forwarded-For: 192.0.2.7\r\n",
        ] {
            assert!(seen.contains(kept), "{kept} is missing in {seen}");
        }
        let seen = seen.to_ascii_lowercase();
        for gone in ["keep-alive", "proxy-", "x-own", "6.6.6.6", "cert", "ssl_client", "upgrade", "http2-settings", "gzip"] {
            assert!(!seen.contains(gone), "{gone} is in {seen}");
        }
    });
}

#[test]
fn what_must_not_be_forwarded_never_is() {
    let refused = [
        (get("/open", "Connection: host\r\n"), 400),
        (get("/open", "Connection: x-forwarded-client-cert\r\n"), 400),
        (get("/open", "Connection: Client-Cert\r\nClient-Cert: :AAAA:\r\n"), 400),
        (get("/open", "Host: b.example\r\n"), 400),
        (get("/open", "Expect: 200-ok\r\n"), 417),
        (get("http://b.example/open", ""), 400),
        (get("/open/%00", ""), 400),
        (get("/open/%5c..", ""), 400),
        (get("/open/..;/x", ""), 400),
        (get("/closed", ""), 401),
        (get("/nowhere", ""), 401),
        (get("/open", "Upgrade: chat\r\nConnection: upgrade\r\n"), 400),
        (get("/open", "Upgrade: websocket\r\nConnection: upgrade\r\n"), 400),
        (get("/open", WEBSOCKET).replace("GET", "POST"), 400),
        (get("/plain", WEBSOCKET), 400),
        ("TRACE /open HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".into(), 405),
        ("CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\nConnection: close\r\n\r\n".into(), 405),
        ("POST /open HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n".into(), 400),
        ("POST /open HTTP/1.1\r\nHost: a\r\nContent-Length: +5\r\n\r\nhello".into(), 400),
        ("GET /open HTTP/1.1\r\nHost: a\r\n folded\r\n\r\n".into(), 400),
        ("GET /open HTTP/1.1\nHost: a\n\n".into(), 400),
        (format!("GET /open HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "y".repeat(70_000)), 431),
        (format!("GET /open/{} HTTP/1.1\r\nHost: a\r\n\r\n", "y".repeat(70_000)), 414),
        ("GET /open HTTP/1.2\r\nHost: a\r\n\r\n".into(), 505),
    ];
    local(async {
        let (context, upstream) = front(|_| Say::Bytes(OK.into())).await;
        for (request, expected) in refused {
            let answer = ask(&context, &request).await;
            assert_eq!(status(&answer), expected, "{request:?}: {answer}");
            assert!(answer.contains(r#"{"error":{"code":""#), "{request:?}: {answer}");
        }
        assert!(upstream.seen.borrow().is_empty(), "{:?}", upstream.seen.borrow());
    });
}

#[test]
fn a_bad_chunk_never_ends_cleanly_at_the_upstream() {
    local(async {
        let (context, upstream) = front(|_| Say::Bytes(OK.into())).await;
        let head = "POST /open HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
        for body in ["5\r\nhelloX", "5\nhello\r\n0\r\n\r\n", "5\r\nhello\r\n0\r\nClient-Cert : x\r\n\r\n", "z\r\n"] {
            let answer = ask(&context, &format!("{head}{body}")).await;
            assert_eq!(status(&answer), 400, "{body:?}: {answer}");
        }
        assert!(upstream.seen.borrow().is_empty(), "{:?}", upstream.seen.borrow());
    });
}

#[test]
fn bodies_and_trailers_pass_and_trailers_claim_nothing() {
    local(async {
        let answer =
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: x-sum\r\n\r\n2\r\nok\r\n0\r\nX-Sum: 7\r\nSet-Cookie: a\r\n\r\n";
        let (context, upstream) = front(move |_| Say::Bytes(answer.into())).await;
        let request = "PUT /open HTTP/1.1\r\nHost: a\r\nConnection: close, te\r\nTE: trailers\r\nTransfer-Encoding: chunked\r\nTrailer: x-sum, x-other\r\n\r\n\
            5\r\nhello\r\n6\r\n world\r\n0\r\nX-Sum: 7\r\nX-Forwarded-Client-Cert: Hash=00\r\nClient_Cert: x\r\nContent-Length: 5\r\n\r\n";
        let heard = ask(&context, request).await;
        assert!(heard.contains("2\r\nok\r\n0\r\nx-sum: 7\r\n\r\n"), "{heard}");
        let seen = upstream.seen.borrow()[0].clone();
        assert!(seen.contains("hello") && seen.contains(" world") && seen.contains("x-sum: 7\r\n"), "{seen}");
        assert!(!seen.to_lowercase().contains("cert") && !seen.contains("content-length"), "{seen}");
    });
}

#[test]
fn a_large_body_is_refused_and_not_taken_for_whole() {
    local(async {
        let upstream = Scripted::start(|_| Say::Bytes(OK.into())).await;
        let context = context(upstream.settings.clone(), Limits { body_bytes: Some(8), ..Limits::default() });
        let known = "POST /open HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n123456789";
        let chunked = "POST /open HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n9\r\n123456789\r\n0\r\n\r\n";
        for request in [known, chunked] {
            assert_eq!(status(&ask(&context, request).await), 413, "{request}");
        }
        assert!(upstream.seen.borrow().is_empty());
    });
}

#[test]
fn an_upstream_that_fails_is_told_apart_from_one_that_is_not_there() {
    local(async {
        for (say, expected) in [("HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", 502), ("", 502)] {
            let (context, _upstream) = front(move |_| Say::Last(say.into())).await;
            assert_eq!(status(&ask(&context, &get("/open", "")).await), expected, "{say:?}");
        }
        let gone = Settings { name: "scripted".into(), endpoints: vec!["unix:/nonexistent".parse().unwrap()], ..Settings::default() };
        assert_eq!(status(&ask(&context(gone, Limits::default()), &get("/open", "")).await), 503);
        let upstream = Scripted::start(|_| Say::Nothing).await;
        let slow = Settings { first_byte: std::time::Duration::from_millis(1), ..upstream.settings.clone() };
        assert_eq!(status(&ask(&context(slow, Limits::default()), &get("/open", "")).await), 504);
        // A truncated answer ends with the connection, not with its last chunk.
        let (context, _upstream) = front(|_| Say::Last("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n".into())).await;
        let heard = ask(&context, "GET /open HTTP/1.1\r\nHost: a\r\n\r\n").await;
        assert!(heard.contains("ok") && !heard.contains("0\r\n\r\n"), "{heard}");
    });
}

#[test]
fn a_websocket_opens_a_tunnel_only_behind_the_right_answer() {
    let offer = "GET /open HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: WebSocket\r\nSec-WebSocket-Version: 13\r\n\
        Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    let switch = |accept: &str| {
        format!("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: {accept}\r\n\r\n")
    };
    local(async {
        let right = switch("s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        let (context, upstream) = front(move |_| Say::Echo(right.clone())).await;
        let mut client = connect(&context);
        client.write_all(offer.as_bytes()).await.unwrap();
        let mut heard = Vec::new();
        while !heard.ends_with(b"\r\n\r\n") {
            heard.push(client.read_u8().await.unwrap());
        }
        assert_eq!(status(&String::from_utf8_lossy(&heard)), 101);
        for piece in ["\x00\x01GET / HTTP/1.1\r\n\r\n", "once more"] {
            client.write_all(piece.as_bytes()).await.unwrap();
            let mut back = vec![0; piece.len()];
            client.read_exact(&mut back).await.unwrap();
            assert_eq!(back, piece.as_bytes());
        }
        assert!(upstream.seen.borrow()[0].contains("upgrade: WebSocket\r\n"), "{:?}", upstream.seen.borrow());

        for wrong in [
            switch("s3pPLMBiTxaQ9kYGzzhZRbK+xOO="),
            "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n".into(),
        ] {
            let (context, _upstream) = front(move |_| Say::Echo(wrong.clone())).await;
            let mut client = connect(&context);
            client.write_all(format!("{offer}{}", get("/open", "")).as_bytes()).await.unwrap();
            let mut heard = [0; 12];
            client.read_exact(&mut heard).await.unwrap();
            assert_eq!(&heard, b"HTTP/1.1 502");
        }
    });
}

#[test]
fn requests_follow_one_another_on_one_connection() {
    local(async {
        let (context, upstream) = front(|_| Say::Bytes(OK.into())).await;
        let next = "POST /open HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello";
        let missing = "GET /closed HTTP/1.1\r\nHost: a\r\n\r\n";
        let heard = ask(&context, &format!("{next}{next}{missing}{next}{}", get("/open", ""))).await;
        let statuses: Vec<u16> = heard.split("HTTP/1.1").skip(1).map(|answer| status(&format!("HTTP/1.1{answer}"))).collect();
        assert_eq!(statuses, [200, 200, 401, 200, 200], "{heard}");
        assert_eq!((upstream.seen.borrow().len(), upstream.connections.get()), (4, 1));
    });
}

#[test]
fn expectations_are_met_once_somebody_wants_the_body() {
    local(async {
        let (context, upstream) = front(|_| Say::Bytes(OK.into())).await;
        let mut client = connect(&context);
        client.write_all(b"POST /open HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n").await.unwrap();
        let mut interim = [0; 25];
        client.read_exact(&mut interim).await.unwrap();
        assert_eq!(&interim, b"HTTP/1.1 100 Continue\r\n\r\n");
        client.write_all(b"hello").await.unwrap();
        let mut answer = [0; 12];
        client.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer, b"HTTP/1.1 200");
        assert!(!upstream.seen.borrow()[0].to_ascii_lowercase().contains("expect"));
        let denied = ask(&context, "POST /closed HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n").await;
        assert_eq!(status(&denied), 401, "{denied}");
    });
}

#[derive(Clone)]
struct Local;

impl<F: Future + 'static> hyper::rt::Executor<F> for Local {
    fn execute(&self, future: F) {
        tokio::task::spawn_local(async move {
            future.await;
        });
    }
}

/// Opens a connection of HTTP/2 to the worker.
async fn connect_http2(context: &Rc<Context>) -> h2::client::SendRequest<bytes::Bytes> {
    let (ours, theirs) = tokio::io::duplex(1 << 20);
    let context = Rc::clone(context);
    let service = hyper::service::service_fn(move |request: http::Request<_>| {
        let context = Rc::clone(&context);
        async move {
            Ok::<http::Response<_>, std::convert::Infallible>(
                serve(context, Rc::default(), request.map(Incoming::Http2).into()).await.into(),
            )
        }
    });
    let mut engine = hyper::server::conn::http2::Builder::new(Local);
    let connection = engine.enable_connect_protocol().serve_connection(hyper_util::rt::TokioIo::new(theirs), service);
    tokio::task::spawn_local(async move {
        let _ = connection.await;
    });
    let (sender, connection) = h2::client::handshake(ours).await.unwrap();
    tokio::task::spawn_local(async move {
        let _ = connection.await;
    });
    sender
}

fn over_http2(context: Rc<Context>) -> Rc<Context> {
    let mut context = Rc::try_unwrap(context).ok().unwrap();
    context.http2 = true;
    Rc::new(context)
}

#[test]
fn a_websocket_over_http2_becomes_one_over_http1() {
    // The upstream proves the key that we made: it is not known before.
    let switch = |request: &str| {
        let key = request.lines().find_map(|line| line.strip_prefix("sec-websocket-key: ")).unwrap();
        let accept = tunnel::accept_of(&HeaderValue::from_str(key).unwrap());
        Say::Echo(format!(
            "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: {accept}\r\n\r\n"
        ))
    };
    local(async move {
        let (context, upstream) = front(switch).await;
        let mut sender = connect_http2(&over_http2(context)).await.ready().await.unwrap();
        while !sender.is_extended_connect_protocol_enabled() {
            tokio::task::yield_now().await;
        }
        let connect = |path: &str, protocol| {
            let uri = format!("https://a.example{path}");
            let extension = h2::ext::Protocol::from_static(protocol);
            http::Request::builder().method("CONNECT").uri(uri).extension(extension).header("sec-websocket-version", "13").body(()).unwrap()
        };
        let (answer, mut stream) = sender.send_request(connect("/open", "websocket"), false).unwrap();
        let answer = answer.await.unwrap();
        assert_eq!(answer.status(), 200);
        assert!(!answer.headers().contains_key("sec-websocket-accept"));
        stream.send_data("hello".into(), false).unwrap();
        let mut body = answer.into_body();
        assert_eq!(body.data().await.unwrap().unwrap(), "hello");
        let seen = upstream.seen.borrow()[0].clone();
        assert!(seen.starts_with("GET /open HTTP/1.1\r\n") && seen.contains("upgrade: websocket\r\n"), "{seen}");

        for (path, protocol, expected) in [("/plain", "websocket", 400), ("/closed", "websocket", 401), ("/open", "connect-udp", 400)] {
            let (answer, _stream) = sender.send_request(connect(path, protocol), false).unwrap();
            assert_eq!(answer.await.unwrap().status(), expected, "{path} {protocol}");
        }
        assert_eq!(upstream.seen.borrow().len(), 1);
    });
}

#[test]
fn an_answer_cut_short_is_reset_over_http2() {
    local(async {
        for answer in ["Content-Length: 100\r\n\r\nhello", "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"] {
            let (context, _upstream) = front(move |_| Say::Last(format!("HTTP/1.1 200 OK\r\n{answer}"))).await;
            let mut sender = connect_http2(&over_http2(context)).await.ready().await.unwrap();
            let request = http::Request::builder().uri("https://a.example/open").body(()).unwrap();
            let (answer, _) = sender.send_request(request, true).unwrap();
            let Ok(answer) = answer.await else { continue };
            let mut body = answer.into_body();
            while let Some(Ok(_)) = body.data().await {}
            assert!(body.is_end_stream() || body.data().await.is_some(), "a clean end would be a lie");
        }
    });
}

#[test]
fn a_request_of_http2_that_http1_cannot_carry_is_refused() {
    local(async {
        let (context, upstream) = front(|_| Say::Bytes(OK.into())).await;
        let mut sender = connect_http2(&over_http2(context)).await.ready().await.unwrap();
        let request = |fields: &[(&str, &str)]| {
            let request = http::Request::builder().uri("https://a.example/open");
            fields.iter().fold(request, |request, (name, value)| request.header(*name, *value)).body(()).unwrap()
        };
        let refused: [&[(&str, &str)]; 5] = [
            &[("host", "b.example")],
            &[("host", "a.example"), ("host", "a.example")],
            &[("x", " y")],
            &[("x", "y ")],
            &[("expect", "200-ok")],
        ];
        for fields in refused {
            let (answer, _) = sender.send_request(request(fields), true).unwrap();
            assert!(answer.await.unwrap().status().is_client_error(), "{fields:?}");
        }
        assert!(upstream.seen.borrow().is_empty());
        let (answer, _) = sender.send_request(request(&[("cookie", "a=1"), ("cookie", "b=2"), ("te", "trailers")]), true).unwrap();
        assert_eq!(answer.await.unwrap().status(), 200);
        assert!(upstream.seen.borrow()[0].contains("cookie: a=1; b=2\r\n"), "{:?}", upstream.seen.borrow());
    });
}

#[test]
fn an_answer_to_head_keeps_its_length_and_an_answer_without_body_has_none() {
    local(async {
        let script = |request: &str| match request.split(' ').next() {
            Some("HEAD") => Say::Bytes("HTTP/1.1 200 OK\r\nContent-Length: 5\r\nETag: x\r\n\r\n".into()),
            Some("PUT") => Say::Bytes("HTTP/1.1 204 No Content\r\n\r\n".into()),
            _ => Say::Bytes("HTTP/1.1 304 Not Modified\r\nETag: x\r\n\r\n".into()),
        };
        let (context, upstream) = front(script).await;
        let request = |method: &str, last: &str| format!("{method} /open HTTP/1.1\r\nHost: a\r\n{last}\r\n");
        let asked = [request("HEAD", ""), request("PUT", "Content-Length: 0\r\n"), request("GET", "Connection: close\r\n")].concat();
        let heard = ask(&context, &asked).await;
        let answers: Vec<&str> = heard.split_inclusive("\r\n\r\n").collect();
        assert_eq!(answers.iter().map(|answer| status(answer)).collect::<Vec<_>>(), [200, 204, 304], "{heard}");
        assert!(answers[0].contains("Content-Length: 5\r\n") && !answers[1].to_ascii_lowercase().contains("content-length"), "{heard}");
        assert!(upstream.seen.borrow()[1].contains("Content-Length: 0\r\n"), "{:?}", upstream.seen.borrow());
        assert_eq!(upstream.connections.get(), 1);
    });
}

#[test]
fn an_answer_before_the_end_of_an_upload_arrives() {
    local(async {
        // Reads the head, answers, and takes no more.
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
        tokio::task::spawn_local(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut head = [0; 64];
                stream.read_exact(&mut head).await.unwrap();
                stream.write_all(b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 5\r\nConnection: close\r\n\r\nlarge").await.unwrap();
                stream.flush().await.unwrap();
                // Held open: what was said is to be heard before anything breaks.
                std::future::pending::<()>().await;
            }
        });
        let settings = Settings { name: "scripted".into(), endpoints: vec![endpoint], ..Settings::default() };
        let context = context(settings, Limits::default());
        let mut client = connect(&context);
        client.write_all(b"POST /open HTTP/1.1\r\nHost: a\r\nContent-Length: 100000000\r\n\r\n").await.unwrap();
        client.write_all(&[b'x'; 100_000]).await.unwrap();
        let mut heard = Vec::new();
        client.read_to_end(&mut heard).await.unwrap();
        let heard = String::from_utf8(heard).unwrap();
        assert!(heard.starts_with("HTTP/1.1 413") && heard.ends_with("large"), "{heard}");
    });
}

#[test]
fn preflights_are_answered_here_and_alike() {
    local(async {
        let (context, upstream) = front(|_| Say::Bytes(OK.into())).await;
        let preflight = "Origin: https://evil.example\r\nAccess-Control-Request-Method: PUT\r\n";
        let ask_for = async |path: &str| ask(&context, &get(path, preflight).replacen("GET", "OPTIONS", 1)).await;
        let (closed, nowhere) = (ask_for("/closed").await, ask_for("/nowhere").await);
        assert_eq!((status(&closed), status(&nowhere)), (403, 403), "{closed} {nowhere}");
        assert!(!closed.contains("access-control-allow"), "{closed}");
        assert!(upstream.seen.borrow().is_empty());
        assert_eq!(status(&ask_for("/open").await), 200);
    });
}
