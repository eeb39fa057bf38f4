//! Our engine beside Debian's nginx and HAProxy: the same bytes, whole and cut between any two tokens, and what reaches an
//! upstream of them. Where one differs, the table says why; it names nothing else.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};

use super::harness::{self, Gate, Script, Then};
use super::reference::{self, Body, Message, Rest};
use crate::support::{eventually, within};

/// What only proxies have an opinion about, or the more of them.
const MORE: &[&str] = &[
    "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 05\r\n\r\nhello",
    "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5, 5\r\n\r\nhello",
    "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: identity\r\n\r\nhello",
    "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
    "POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0x5\r\nhello\r\n0\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n+5\r\nhello\r\n0\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5;x\ny\r\nhello\r\n0\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\n0\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: a\r\nX(: b\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: a\r\n: b\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: a\r\nX: a\x01b\r\n\r\n",
    "GET / HTTP/1.1\r\n X: y\r\nHost: a\r\n\r\n",
    "GET  / HTTP/1.1\r\nHost: a\r\n\r\n",
    "GET / HTTP/1.1 \r\nHost: a\r\n\r\n",
    "GET / HTTP/2.0\r\nHost: a\r\n\r\n",
    "GET /\r\n\r\n",
    "get / HTTP/1.1\r\nHost: a\r\n\r\n",
    "GET /\x7f HTTP/1.1\r\nHost: a\r\n\r\n",
    "GET http://b/x HTTP/1.1\r\nHost: a\r\n\r\n",
];

/// Where a peer lets something else through, and why that stays: streams, nginx, HAProxy.
const DIFFERENT: &[(&str, Option<&str>, Option<&str>)] = &[
    (
        "HEAD / HTTP/1.1\r\nHost: a\r\n\r\nOPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n",
        Some("RFC 9112, 3.2.4: an asterisk is what OPTIONS may ask for; nginx serves no such target"),
        None,
    ),
    (
        "GET http://a/x HTTP/1.1\r\nHost: a\r\n\r\n",
        None,
        Some("RFC 9112, 3.2.1: an origin server is asked in origin form; HAProxy leaves it absolute"),
    ),
    ("GET / HTTP/1.1\r\nHost: a\r\nX: a\0b\r\n\r\n", None, Some("RFC 9110, 5.5: a NUL is no part of a value; HAProxy passes it on")),
    (
        "GET / HTTP/1.1\r\nHost: a\r\nX: a\r\n b\r\n\r\n",
        None,
        Some("RFC 9112, 5.2: a folded line is refused or unfolded; HAProxy unfolds it"),
    ),
    (
        "GET / HTTP/1.2\r\nHost: a\r\n\r\n",
        Some("RFC 9112, 2.3: a later minor version may be taken for 1.1; we were told that there is none"),
        Some("RFC 9112, 2.3: a later minor version may be taken for 1.1; we were told that there is none"),
    ),
    (
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\nhello\r\n0\r\n\r\n",
        Some("RFC 9112, 2.2: a bare LF ends no line of ours, nor a chunk"),
        Some("RFC 9112, 2.2: a bare LF ends no line of ours, nor a chunk"),
    ),
    (
        "GET / HTTP/1.1\nHost: a\n\n",
        Some("RFC 9112, 2.2: a bare LF may be taken for a line's end; parsers differ about it"),
        Some("RFC 9112, 2.2: a bare LF may be taken for a line's end; parsers differ about it"),
    ),
    (
        "GET / HTTP/1.1\r\nHost: a\nX: b\r\n\r\n",
        Some("RFC 9112, 2.2: a bare LF may be taken for a line's end; parsers differ about it"),
        Some("RFC 9112, 2.2: a bare LF may be taken for a line's end; parsers differ about it"),
    ),
    ("GET / HTTP/1.1\r\nX: y\r\n\r\n", None, Some("RFC 9112, 3.2: without Host it is 400; HAProxy leaves that to the server")),
    (
        "GET ftp://a/ HTTP/1.1\r\nHost: a\r\n\r\n",
        Some("RFC 9112, 3.2.2: another scheme is nothing that we serve"),
        Some("RFC 9112, 3.2.2: another scheme is nothing that we serve"),
    ),
    ("GET * HTTP/1.1\r\nHost: a\r\n\r\n", None, Some("RFC 9112, 3.2.4: the form of OPTIONS only")),
    ("GET /#x HTTP/1.1\r\nHost: a\r\n\r\n", Some("RFC 9112, 3.2: a target has no fragment; nginx passes it on"), None),
    (
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        None,
        Some("RFC 9112, 6.1: both together are the mark of smuggling; HAProxy drops the length"),
    ),
    (
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\nhello",
        None,
        Some("RFC 9112, 6.3: whoever repeats it has something in mind; HAProxy merges them"),
    ),
    (
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5 \r\nhello\r\n0\r\n\r\n",
        Some("RFC 9112, 7.1: a size is digits, and white space behind it was a way to smuggle"),
        Some("RFC 9112, 7.1: a size is digits, and white space behind it was a way to smuggle"),
    ),
    (
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 05\r\n\r\nhello",
        Some("RFC 9110, 8.6: well formed, and octal to some; we take none"),
        Some("RFC 9110, 8.6: well formed, and octal to some; we take none"),
    ),
    (
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5, 5\r\n\r\nhello",
        None,
        Some("RFC 9112, 6.3: whoever repeats it has something in mind; HAProxy merges them"),
    ),
    (
        "POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        None,
        Some("RFC 9112, 6.1: faulty framing in HTTP/1.0; HAProxy passes it on"),
    ),
    (
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\n0\r\n\r\n",
        Some("RFC 9112, 7.1: a chunk ends with CR LF; both take a bare LF"),
        Some("RFC 9112, 7.1: a chunk ends with CR LF; both take a bare LF"),
    ),
    ("GET / HTTP/1.1\r\nHost: a\r\nX(: b\r\n\r\n", Some("RFC 9110, 5.1: no token; nginx drops the field and goes on"), None),
    (
        "GET / HTTP/1.1\r\nHost: a\r\nX: a\x01b\r\n\r\n",
        Some("RFC 9110, 5.5: a control character is no part of a value; both pass it on"),
        Some("RFC 9110, 5.5: a control character is no part of a value; both pass it on"),
    ),
    (
        "GET  / HTTP/1.1\r\nHost: a\r\n\r\n",
        Some("RFC 9112, 3: one space; both take more of them"),
        Some("RFC 9112, 3: one space; both take more of them"),
    ),
    ("GET / HTTP/1.1 \r\nHost: a\r\n\r\n", Some("RFC 9112, 3: nothing stands behind the version; nginx passes over spaces"), None),
    ("GET / HTTP/2.0\r\nHost: a\r\n\r\n", None, Some("RFC 9112, 2.3: another major version is another protocol; HAProxy takes it for 1.1")),
    ("GET /\r\n\r\n", Some("RFC 9112, 2.3: HTTP/0.9 has no version to say so; nginx takes it for a request"), None),
    ("get / HTTP/1.1\r\nHost: a\r\n\r\n", Some("RFC 9110, 9.1: methods are tokens, and their case counts; nginx wants capitals"), None),
    (
        "GET http://b/x HTTP/1.1\r\nHost: a\r\n\r\n",
        None,
        Some(
            "RFC 9112, 3.2.2: the engine reads both, and the authority that counts is judged behind it, where both have to agree; HAProxy does it here",
        ),
    ),
];

#[tokio::test(flavor = "multi_thread")]
async fn what_reaches_an_upstream_is_what_reaches_it_through_nginx_and_haproxy_but_for_reasons() {
    let (nginx, haproxy) = (Peer::nginx().await, Peer::haproxy().await);
    let mut wrong = Vec::new();
    let streams: Vec<&str> = super::STREAMS.iter().map(|(stream, _)| *stream).chain(MORE.iter().copied()).collect();
    for named in DIFFERENT {
        assert!(streams.contains(&named.0), "no such stream: {:?}", named.0);
    }
    for stream in streams {
        let ours = tokio::task::block_in_place(|| ours(stream.as_bytes()));
        let reasons = DIFFERENT.iter().find(|(named, ..)| *named == stream).map_or((None, None), |(_, nginx, haproxy)| (*nginx, *haproxy));
        for (peer, reason) in [(&nginx, reasons.0), (&haproxy, reasons.1)] {
            for cut in std::iter::once(0).chain(tokens(stream.as_bytes())) {
                let theirs = peer.through(stream.as_bytes(), cut, ours.len()).await;
                match reason {
                    None if theirs != ours => {
                        wrong.push(format!("{} cut at {cut}: {stream:?}\n  ours {ours:?}\ntheirs {theirs:?}", peer.name))
                    }
                    Some(reason) if theirs == ours => {
                        wrong.push(format!("{} cut at {cut}, the reason has gone: {stream:?}: {reason}", peer.name))
                    }
                    _ => continue,
                }
                break;
            }
        }
    }
    assert!(wrong.is_empty(), "{} differences\n{}", wrong.len(), wrong.join("\n"));
}

/// What reaches an upstream through our engine.
fn ours(stream: &[u8]) -> Vec<String> {
    let client = Script { stream: stream.to_vec(), then: Then::Ends, ..Script::default() };
    let answers = ANSWER.repeat(8);
    let gate = Gate::Requests((1..=8).map(|number| (number * ANSWER.len(), false)).collect());
    let upstream = Script { stream: answers, gate, ..Script::default() };
    let heard = harness::play(&client, &vec![upstream; 8]);
    heard.upstreams.iter().flat_map(|told| reference::requests(told).0).filter_map(|request| shown(&request)).collect()
}

/// What matters of a request that came whole: who is asked for what, what may concern the application, and the body.
fn shown(request: &Message) -> Option<String> {
    let Body::Whole(data, _) = &request.body else { return None };
    let mut fields: Vec<_> = request.fields.iter().filter(|(name, _)| name.starts_with('x') && name != "x-number").collect();
    fields.sort();
    let fields = fields.iter().map(|(name, value)| format!(" {name}={}", String::from_utf8_lossy(value))).collect::<String>();
    let host = String::from_utf8_lossy(request.field("host").unwrap_or_default()).into_owned();
    Some(format!("{} {} at {host}{fields} {:?}", request.line[0], request.line[1], String::from_utf8_lossy(data)))
}

/// The places behind which something else begins: at most eight of them.
fn tokens(stream: &[u8]) -> Vec<usize> {
    let places: Vec<_> =
        (1..stream.len()).filter(|at| stream[*at].is_ascii_alphanumeric() != stream[at - 1].is_ascii_alphanumeric()).collect();
    let step = places.len().div_ceil(8).max(1);
    places.into_iter().step_by(step).collect()
}

/// Another proxy, on unix sockets of its own, in front of an upstream that notes what it is told.
struct Peer {
    name: &'static str,
    socket: PathBuf,
    noted: Arc<Mutex<Vec<String>>>,
    process: Child,
    _directory: TempDir,
}

impl Peer {
    async fn nginx() -> Self {
        Self::start("nginx", &["-e", "error.log", "-p", ".", "-c"], |directory| {
            let at = directory.display();
            let temporary =
                ["client_body", "fastcgi", "proxy", "scgi", "uwsgi"].map(|name| format!("{name}_temp_path {at}/temp;")).concat();
            format!(
                "daemon off; master_process off; error_log {at}/error.log; pid {at}/pid; events {{}}
                http {{ access_log off; {temporary} keepalive_timeout 2s;
                upstream up {{ server unix:{at}/up; keepalive 4; }}
                server {{ listen unix:{at}/front; proxy_ignore_client_abort on; proxy_request_buffering off; proxy_http_version 1.1;
                location / {{ proxy_pass http://up; proxy_set_header Host $http_host; proxy_set_header Connection \"\"; }} }} }}"
            )
        })
        .await
    }

    async fn haproxy() -> Self {
        Self::start("haproxy", &["-db", "-f"], |directory| {
            let at = directory.display();
            format!(
                "defaults\n mode http\n timeout client 20s\n timeout server 20s\n timeout connect 20s\n timeout http-keep-alive 20s\n http-reuse always\n\
                frontend f\n bind unix@{at}/front\n default_backend b\nbackend b\n server s unix@{at}/up\n"
            )
        })
        .await
    }

    async fn start(name: &'static str, arguments: &[&str], config: impl Fn(&Path) -> String) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let at = directory.path();
        let upstream = UnixListener::bind(at.join("up")).expect("bind");
        let noted = Arc::<Mutex<Vec<String>>>::default();
        tokio::spawn(note(upstream, Arc::clone(&noted)));
        std::fs::write(at.join("config"), config(at)).expect("written");
        let process = Command::new(name)
            .args(arguments)
            .arg(at.join("config"))
            .current_dir(at)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("{name}: {error}; `make packages` installs it"));
        let socket = at.join("front");
        eventually("the peer listens", || std::os::unix::net::UnixStream::connect(&socket).is_ok());
        Self { name, socket, noted, process, _directory: directory }
    }

    /// Sends a stream in two pieces, waits for as many answers as ours would give, says that this was all, and hears the peer out.
    async fn through(&self, stream: &[u8], cut: usize, answers: usize) -> Vec<String> {
        self.noted.lock().expect("no panic while held").clear();
        let mut client = UnixStream::connect(&self.socket).await.expect("connected");
        for piece in [&stream[..cut], &stream[cut..]] {
            // It may have refused the first already, and closed.
            let _ = client.write_all(piece).await;
            tokio::task::yield_now().await;
        }
        let (mut told, mut said_all) = (Vec::new(), false);
        loop {
            // HAProxy serves nothing that waits behind an end; nginx keeps an idle connection open.
            if !said_all && count(&told, &[b"HTTP/1.1 200"]) >= answers {
                let _ = client.shutdown().await;
                said_all = true;
            }
            let read = within("the peer to answer or close", client.read_buf(&mut told)).await.unwrap_or(0);
            // A refusal is the last word, though HAProxy keeps some of those connections open for a while.
            if read == 0 || count(&told, &[b"HTTP/1.1 4", b"HTTP/1.1 5", b"HTTP/1.0 4", b"HTTP/1.0 5"]) > 0 {
                break;
            }
        }
        self.noted.lock().expect("no panic while held").clone()
    }
}

fn count(text: &[u8], wanted: &[&[u8]]) -> usize {
    (0..text.len()).filter(|at| wanted.iter().any(|wanted| text[*at..].starts_with(wanted))).count()
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Notes each request when it is whole, and answers it.
async fn note(listener: UnixListener, noted: Arc<Mutex<Vec<String>>>) {
    while let Ok((mut stream, _)) = listener.accept().await {
        let noted = Arc::clone(&noted);
        tokio::spawn(async move {
            let (mut told, mut answered) = (Vec::new(), 0);
            while stream.read_buf(&mut told).await.is_ok_and(|length| length > 0) {
                let (requests, rest) = reference::requests(&told);
                let whole: Vec<_> = requests.iter().filter_map(shown).collect();
                for request in whole.iter().skip(answered) {
                    noted.lock().expect("no panic while held").push(request.clone());
                    if stream.write_all(ANSWER).await.is_err() {
                        return;
                    }
                }
                answered = whole.len();
                if rest == Rest::Malformed || requests.last().is_some_and(|request| request.body == Body::Malformed) {
                    noted.lock().expect("no panic while held").push("what is malformed".to_owned());
                    return;
                }
            }
        });
    }
}

const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
