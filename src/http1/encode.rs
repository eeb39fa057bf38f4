//! Heads as they are written: what the caller says, but for what frames the message and keeps or ends the connection.
//! That is ours to say, once and by what is really written.

use std::cell::RefCell;
use std::io::Write as _;

use http::{Method, StatusCode, Version};
use http_body::SizeHint;

use super::head::Framing;
use crate::clock;
use crate::date::Date;
use crate::message::{Fields, Name, Names, Request, Response, Run};

/// What an answer's head depends on besides itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Asked {
    pub(super) version: Version,
    /// HEAD: no body follows, whatever the head says.
    pub(super) head: bool,
    /// Another request may follow.
    pub(super) persists: bool,
    pub(super) takes_trailers: bool,
}

/// Writes an answer's head; returns how its body is framed, and whether the connection goes on behind it.
pub(super) fn answer<B>(out: &mut Vec<u8>, response: &Response<B>, size: &SizeHint, asked: Asked) -> (Framing, bool) {
    let status = response.status;
    let headers = &response.headers;
    // A 101 says itself what the connection becomes.
    let switches = status == StatusCode::SWITCHING_PROTOCOLS;
    // RFC 9110, 9.3.2, 15.3.5 and 15.4.5: no body, whatever is said about the one that there would be.
    let is_bare = switches || status == StatusCode::NO_CONTENT;
    let is_described = asked.head || status == StatusCode::NOT_MODIFIED;
    let framing = match size.exact() {
        _ if is_bare || is_described => Framing::Empty,
        Some(0) => Framing::Empty,
        Some(length) => Framing::Length(length),
        // RFC 9112, 6.1: HTTP/1.0 knows no chunks; the end of the connection is the end of the body.
        None if asked.version == Version::HTTP_10 => Framing::Close,
        None => Framing::Chunked,
    };
    let persists = asked.persists && framing != Framing::Close && !says_close(headers);
    // What is told of the body's length, in the place where the caller says something of it.
    let mut length = match framing {
        Framing::Length(length) => Some(length),
        // RFC 9110, 8.6: and none in a 1xx or 204.
        Framing::Empty if !is_bare && !is_described => Some(0),
        // The answer to a HEAD says how long it would be, where we know.
        Framing::Empty if asked.head && !is_bare => size.exact().filter(|length| *length > 0),
        Framing::Chunked | Framing::Close | Framing::Empty => None,
    };

    status_line(out, status);
    for run in headers.runs(FRAMED) {
        let (name, spelled, value) = match run {
            Run::Lines(lines) => {
                put(out, lines);
                continue;
            }
            Run::Field(name, spelled, value) => (name, spelled, value),
        };
        match name {
            Name::Connection if !switches => continue,
            Name::ContentLength if is_described => length = None,
            Name::ContentLength => {
                if let Some(length) = length.take() {
                    number(out, spelled, length);
                }
                continue;
            }
            Name::TransferEncoding => continue,
            _ => {}
        }
        field(out, spelled, value);
    }
    if framing == Framing::Chunked {
        put(out, CHUNKED);
    }
    if let Some(length) = length {
        number(out, CONTENT_LENGTH, length);
    }
    if !switches && !headers.contains_key(Name::Date) {
        date(out);
    }
    // RFC 9112, 9.6 and 9.3: said on either side of the difference between the versions.
    if !switches && !persists {
        put(out, b"connection: close\r\n");
    } else if !switches && asked.version == Version::HTTP_10 {
        put(out, b"connection: keep-alive\r\n");
    }
    put(out, b"\r\n");
    (framing, persists)
}

/// Writes an interim answer (RFC 9110, 15.2), which has no body and says nothing about the connection.
pub(super) fn interim(out: &mut Vec<u8>, head: &Response<()>) {
    status_line(out, head.status);
    for run in head.headers.runs(FRAMED) {
        match run {
            Run::Lines(lines) => put(out, lines),
            Run::Field(name, ..) if FRAMED.has(name) => {}
            Run::Field(_, spelled, value) => field(out, spelled, value),
        }
    }
    put(out, b"\r\n");
}

/// Writes a request's head; returns how its body is framed.
pub(super) fn request<B>(out: &mut Vec<u8>, request: &Request<B>, size: &SizeHint, is_empty: bool) -> Framing {
    let framing = match size.exact() {
        _ if is_empty => Framing::Empty,
        Some(0) => Framing::Empty,
        Some(length) => Framing::Length(length),
        None => Framing::Chunked,
    };
    let head = &request.head;
    put(out, head.method.as_str().as_bytes());
    put(out, b" ");
    put(out, head.uri.path_and_query().map_or("/", http::uri::PathAndQuery::as_str).as_bytes());
    put(out, b" HTTP/1.1\r\n");
    let mut length = match framing {
        Framing::Length(length) => Some(length),
        // RFC 9110, 8.6: where content has a meaning, it is said that there is none.
        Framing::Empty if !is_bodiless(&head.method) => Some(0),
        Framing::Chunked | Framing::Close | Framing::Empty => None,
    };
    let mut told = false;
    for run in head.headers.runs(FRAMED) {
        let (name, spelled, value) = match run {
            Run::Lines(lines) => {
                put(out, lines);
                continue;
            }
            Run::Field(name, spelled, value) => (name, spelled, value),
        };
        match name {
            Name::ContentLength => {
                // Whoever says that there is none says it on; once.
                if let Some(said) = length.take().or((framing == Framing::Empty && !told).then_some(0)) {
                    number(out, spelled, said);
                    told = true;
                }
            }
            Name::TransferEncoding => {}
            _ => field(out, spelled, value),
        }
    }
    if framing == Framing::Chunked {
        put(out, CHUNKED);
    }
    if let Some(length) = length {
        number(out, CONTENT_LENGTH, length);
    }
    put(out, b"\r\n");
    framing
}

fn status_line(out: &mut Vec<u8>, status: StatusCode) {
    if status == StatusCode::OK {
        return put(out, b"HTTP/1.1 200 OK\r\n");
    }
    put(out, b"HTTP/1.1 ");
    put(out, status.as_str().as_bytes());
    put(out, b" ");
    put(out, status.canonical_reason().unwrap_or_default().as_bytes());
    put(out, b"\r\n");
}

/// Writes one field.
pub(super) fn field(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    put(out, name);
    put(out, b": ");
    put(out, value);
    put(out, b"\r\n");
}

/// Writes a piece. Not inlined: there are many.
#[inline(never)]
fn put(out: &mut Vec<u8>, piece: &[u8]) {
    out.extend_from_slice(piece);
}

fn number(out: &mut Vec<u8>, name: &[u8], mut number: u64) {
    let (mut digits, mut at) = ([b'0'; 20], 20);
    while at == 20 || number > 0 {
        at -= 1;
        digits[at] = b'0' + (number % 10) as u8;
        number /= 10;
    }
    field(out, name, &digits[at..]);
}

fn says_close(headers: &Fields) -> bool {
    if !headers.may_have(Names::of(&[Name::Connection])) {
        return false;
    }
    let closes = |token: &[u8]| token.trim_ascii().eq_ignore_ascii_case(b"close");
    headers.get_all(&Name::Connection).any(|value| value.split(|byte| *byte == b',').any(closes))
}

fn is_bodiless(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD | Method::CONNECT | Method::OPTIONS | Method::TRACE | Method::DELETE)
}

/// RFC 9110, 6.6.1: whoever has a clock says when it answered, where the upstream did not.
fn date(out: &mut Vec<u8>) {
    DATE.with_borrow_mut(|(second, line)| {
        let now = clock::wall().as_secs();
        if *second != now || line.is_empty() {
            *second = now;
            line.clear();
            write_date(line, now);
        }
        put(out, line);
    });
}

fn write_date(line: &mut Vec<u8>, seconds: u64) {
    let Date { year, month, day, hour, minute, second } = Date::of(seconds);
    // 1 January 1970 was a Thursday.
    let weekday = DAYS[((seconds / 86_400 + 4) % 7) as usize];
    // INVARIANT: a month of the calendar, 1 to 12.
    let month = MONTHS[(month as usize + 11) % 12];
    let _ = write!(line, "date: {weekday}, {day:02} {month} {year:04} {hour:02}:{minute:02}:{second:02} GMT\r\n");
}

thread_local! {
    /// The second, and its line.
    static DATE: RefCell<(u64, Vec<u8>)> = const { RefCell::new((0, Vec::new())) };
}

/// Fields that are not handed on as they are.
const FRAMED: Names = Names::of(&[Name::Connection, Name::ContentLength, Name::TransferEncoding]);
const CONTENT_LENGTH: &[u8] = b"content-length";
const CHUNKED: &[u8] = b"transfer-encoding: chunked\r\n";
const DAYS: [&str; 7] = ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"];
const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

#[cfg(test)]
mod tests {
    use super::*;
    use http::Response as Built;

    fn said(request_version: Version, head: bool, response: Response<()>, size: SizeHint) -> (String, Framing, bool) {
        let mut out = Vec::new();
        let asked = Asked { version: request_version, head, persists: true, takes_trailers: false };
        let (framing, persists) = answer(&mut out, &response, &size, asked);
        (String::from_utf8(out).unwrap(), framing, persists)
    }

    fn status(status: u16) -> Response<()> {
        Built::builder().status(status).header("date", "d").body(()).unwrap().into()
    }

    #[test]
    fn an_answer_is_framed_by_what_is_written() {
        let unknown = SizeHint::default();
        let table = [
            (Version::HTTP_11, false, 200, SizeHint::with_exact(5), "content-length: 5\r\n", Framing::Length(5)),
            (Version::HTTP_11, false, 200, SizeHint::with_exact(0), "content-length: 0\r\n", Framing::Empty),
            (Version::HTTP_11, false, 200, unknown, "transfer-encoding: chunked\r\n", Framing::Chunked),
            (Version::HTTP_10, false, 200, unknown, "connection: close\r\n", Framing::Close),
            (Version::HTTP_10, false, 200, SizeHint::with_exact(5), "content-length: 5\r\nconnection: keep-alive\r\n", Framing::Length(5)),
            (Version::HTTP_11, true, 200, SizeHint::with_exact(5), "content-length: 5\r\n", Framing::Empty),
            (Version::HTTP_11, true, 200, unknown, "", Framing::Empty),
            (Version::HTTP_11, false, 204, SizeHint::with_exact(0), "", Framing::Empty),
            (Version::HTTP_11, false, 304, SizeHint::with_exact(0), "", Framing::Empty),
        ];
        for (version, head, code, size, fields, framing) in table {
            let (text, found, persists) = said(version, head, status(code), size);
            let rest = text.split_once("date: d\r\n").unwrap().1;
            assert_eq!(
                (rest, found, persists),
                (format!("{fields}\r\n").as_str(), framing, framing != Framing::Close),
                "{code} {version:?}"
            );
        }
    }

    #[test]
    fn nobody_else_frames_an_answer() {
        let response = Built::builder()
            .header("content-length", "7")
            .header("content-length", "9")
            .header("transfer-encoding", "gzip")
            .header("connection", "x, Close")
            .body(())
            .unwrap()
            .into();
        let (text, _, persists) = said(Version::HTTP_11, false, response, SizeHint::with_exact(5));
        assert_eq!(text.matches("content-length").count(), 1, "{text}");
        assert!(text.contains("content-length: 5\r\n") && text.contains("connection: close\r\n") && !persists, "{text}");
        assert!(!text.contains("gzip"), "{text}");
        // Of a body that is not sent its length may be told.
        let mut head = Built::builder().header("content-length", "7").body(()).unwrap().into();
        assert!(said(Version::HTTP_11, true, head, SizeHint::with_exact(0)).0.contains("content-length: 7\r\n"));
        head = Built::builder().status(304).header("content-length", "7").body(()).unwrap().into();
        assert!(said(Version::HTTP_11, false, head, SizeHint::with_exact(0)).0.contains("content-length: 7\r\n"));
    }

    #[test]
    fn a_date_is_as_http_writes_it() {
        let mut line = Vec::new();
        // RFC 9110, 5.6.7.
        write_date(&mut line, 784_111_777);
        assert_eq!(line, b"date: Sun, 06 Nov 1994 08:49:37 GMT\r\n");
    }

    #[test]
    fn a_request_says_whether_a_body_follows() {
        let table = [
            (Method::GET, None, SizeHint::with_exact(0), true, ""),
            (Method::GET, Some("0"), SizeHint::with_exact(0), true, "content-length: 0\r\n"),
            (Method::POST, None, SizeHint::with_exact(0), true, "content-length: 0\r\n"),
            (Method::POST, Some("007"), SizeHint::with_exact(7), false, "content-length: 7\r\n"),
            (Method::POST, None, SizeHint::default(), false, "transfer-encoding: chunked\r\n"),
        ];
        for (method, length, size, is_empty, fields) in table {
            let mut built = http::Request::builder().method(method.clone()).uri("/x?y").header("host", "a");
            if let Some(length) = length {
                built = built.header("content-length", length);
            }
            let mut out = Vec::new();
            request(&mut out, &built.body(()).unwrap().into(), &size, is_empty);
            assert_eq!(String::from_utf8(out).unwrap(), format!("{method} /x?y HTTP/1.1\r\nhost: a\r\n{fields}\r\n"));
        }
    }
}
