//! The strict reading of one head: where it ends, whether RFC 9112 calls it well formed, and how its body is
//! framed. Keeps nothing: the engine behind the guard parses the same bytes again, and cannot disagree about
//! what is left to disagree about.

use std::mem::MaybeUninit;

use httparse::Header;

/// How the bytes after a head belong to its message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Framing {
    Chunked,
    /// Until the connection is closed; answers only.
    Close,
    /// No body.
    Empty,
    /// This many bytes, at least one.
    Length(u64),
}

/// What an answer's framing depends on besides its head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    /// HEAD: the answer has no body, whatever it says.
    Head,
    /// Any other method.
    Plain,
    /// Any other method, with an upgrade offered: a 101 may answer it.
    Upgrade,
}

/// An answer's head, judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    Final(Framing),
    /// 100 to 199 but for 101: the final answer follows.
    Interim,
    /// 101: the connection is no longer HTTP.
    Switch,
}

/// Why a head is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    Malformed(&'static str),
    TooLarge,
}

/// Looks for a head's end in bytes of which the first `scanned` were looked at before.
///
/// Every line ends with CR LF and none is folded: a bare LF is where parsers begin to differ (RFC 9112, 2.2),
/// and a bare CR, like any other control character, is left to [`httparse`], which refuses it.
pub(super) fn find_end(bytes: &[u8], scanned: usize) -> Result<Option<usize>, Fault> {
    let mut from = scanned;
    while let Some(at) = bytes[from..].iter().position(|byte| *byte == b'\n') {
        let line_feed = from + at;
        if line_feed == 0 || bytes[line_feed - 1] != b'\r' {
            return Err(Fault::Malformed("a line ends with a bare line feed"));
        }
        if line_feed >= 3 && bytes[line_feed - 2] == b'\n' {
            return Ok(Some(line_feed + 1));
        }
        from = line_feed + 1;
    }
    Ok(None)
}

/// Judges a request's head, from its first byte to its empty line.
pub(super) fn judge_request(bytes: &[u8]) -> Result<Framing, Fault> {
    let mut headers = [const { MaybeUninit::<Header<'_>>::uninit() }; MAX_HEADERS];
    let mut request = httparse::Request::new(&mut []);
    let status = request.parse_with_uninit_headers(bytes, &mut headers).map_err(fault)?;
    if status != httparse::Status::Complete(bytes.len()) {
        return Err(Fault::Malformed("the head does not end where it seems to"));
    }
    let (Some(method), Some(target), Some(version)) = (request.method, request.path, request.version) else {
        return Err(Fault::Malformed("the request line is incomplete"));
    };
    judge_target(method, target)?;
    let fields = Fields::read(request.headers)?;
    // RFC 9112, 3.2: a missing Host is 400, and so is a second one.
    if fields.hosts != 1 {
        return Err(Fault::Malformed("there has to be one Host field"));
    }
    let framing = fields.framing(version)?.unwrap_or(Framing::Empty);
    // RFC 9110, 9.3.6: content has no meaning in CONNECT, and engines differ about it.
    if method == "CONNECT" && framing != Framing::Empty {
        return Err(Fault::Malformed("CONNECT has no body"));
    }
    Ok(framing)
}

/// Judges an answer's head, from its first byte to its empty line.
pub(super) fn judge_answer(bytes: &[u8], asked: Asked) -> Result<Answer, Fault> {
    let mut headers = [const { MaybeUninit::<Header<'_>>::uninit() }; MAX_HEADERS];
    let mut response = httparse::Response::new(&mut []);
    let config = httparse::ParserConfig::default();
    let status = config.parse_response_with_uninit_headers(&mut response, bytes, &mut headers).map_err(fault)?;
    if status != httparse::Status::Complete(bytes.len()) {
        return Err(Fault::Malformed("the head does not end where it seems to"));
    }
    let (Some(code), Some(version)) = (response.code, response.version) else {
        return Err(Fault::Malformed("the status line is incomplete"));
    };
    let fields = Fields::read(response.headers)?;
    let framing = fields.framing(version)?;
    match code {
        // RFC 9112, 6.1 and 6.3: neither field may stand in a 1xx.
        100..=199 if framing.is_some() => Err(Fault::Malformed("an interim answer has no body")),
        // RFC 9110, 15.2.2: a switch that nobody offered.
        101 if asked != Asked::Upgrade => Err(Fault::Malformed("101 to a request that offered no upgrade")),
        101 => Ok(Answer::Switch),
        100..=199 => Ok(Answer::Interim),
        204 if !matches!(framing, None | Some(Framing::Empty)) => Err(Fault::Malformed("204 has no body")),
        204 | 304 => Ok(Answer::Final(Framing::Empty)),
        200..=599 if asked == Asked::Head => Ok(Answer::Final(Framing::Empty)),
        200..=599 => Ok(Answer::Final(framing.unwrap_or(Framing::Close))),
        _ => Err(Fault::Malformed("the status is none")),
    }
}

/// Judges a trailer section, its empty line included.
pub(super) fn judge_trailers(bytes: &[u8]) -> Result<(), Fault> {
    let mut headers = [httparse::EMPTY_HEADER; MAX_TRAILERS];
    match httparse::parse_headers(bytes, &mut headers).map_err(fault)? {
        httparse::Status::Complete((length, _)) if length == bytes.len() => Ok(()),
        httparse::Status::Complete(_) | httparse::Status::Partial => Err(Fault::Malformed("the trailers are incomplete")),
    }
}

/// What the fields say about the message as a whole.
#[derive(Default)]
struct Fields {
    hosts: usize,
    length: Option<u64>,
    chunked: bool,
}

impl Fields {
    fn read(headers: &[Header<'_>]) -> Result<Self, Fault> {
        let mut fields = Self::default();
        for header in headers {
            // By length first: nearly all names are done with after one comparison.
            match header.name.len() {
                4 if header.name.eq_ignore_ascii_case("host") => fields.hosts += 1,
                14 if header.name.eq_ignore_ascii_case("content-length") => fields.add_length(length(header.value)?)?,
                17 if header.name.eq_ignore_ascii_case("transfer-encoding") => {
                    if fields.chunked || !header.value.eq_ignore_ascii_case(b"chunked") {
                        return Err(Fault::Malformed("Transfer-Encoding is something else than chunked, once"));
                    }
                    fields.chunked = true;
                }
                _ => {}
            }
        }
        Ok(fields)
    }

    /// Equal values could be merged (RFC 9112, 6.3); whoever sends two has something in mind.
    fn add_length(&mut self, length: u64) -> Result<(), Fault> {
        match self.length.replace(length) {
            Some(_) => Err(Fault::Malformed("there is more than one Content-Length")),
            None => Ok(()),
        }
    }

    /// Returns what the fields say; `None` where they say nothing.
    fn framing(&self, version: u8) -> Result<Option<Framing>, Fault> {
        match (self.length, self.chunked) {
            // RFC 9112, 6.1: the mark of request smuggling.
            (Some(_), true) => Err(Fault::Malformed("Content-Length stands beside Transfer-Encoding")),
            // RFC 9112, 6.1: faulty framing in HTTP/1.0.
            (None, true) if version == 0 => Err(Fault::Malformed("Transfer-Encoding stands in HTTP/1.0")),
            (None, true) => Ok(Some(Framing::Chunked)),
            (Some(0), false) => Ok(Some(Framing::Empty)),
            (Some(length), false) => Ok(Some(Framing::Length(length))),
            (None, false) => Ok(None),
        }
    }
}

/// RFC 9110, 8.6: `1*DIGIT`; no sign, no list, no space, nothing that overflows.
fn length(value: &[u8]) -> Result<u64, Fault> {
    if value.is_empty() || value.len() > 18 || !value.iter().all(u8::is_ascii_digit) {
        return Err(Fault::Malformed("Content-Length is no number"));
    }
    Ok(value.iter().fold(0, |length, digit| length * 10 + u64::from(digit - b'0')))
}

/// RFC 9112, 3.2: which form of target belongs to which method. A fragment never does.
fn judge_target(method: &str, target: &str) -> Result<(), Fault> {
    let fits = match method {
        "CONNECT" => !target.is_empty() && !target.contains(['/', '?', '@']),
        "OPTIONS" if target == "*" => true,
        _ => target.starts_with('/') || absolute_form(target),
    };
    if !fits || target.bytes().any(|byte| byte == b'#' || byte <= b' ' || byte == 0x7f) {
        return Err(Fault::Malformed("the request target has none of its forms"));
    }
    Ok(())
}

fn absolute_form(target: &str) -> bool {
    ["http://", "https://"].iter().any(|scheme| target.get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme)))
}

fn fault(error: httparse::Error) -> Fault {
    match error {
        httparse::Error::HeaderName => Fault::Malformed("a field name is no token"),
        httparse::Error::HeaderValue => Fault::Malformed("a field value has a control character"),
        httparse::Error::NewLine => Fault::Malformed("a line ends with a bare carriage return"),
        httparse::Error::Status => Fault::Malformed("the status is none"),
        httparse::Error::Token => Fault::Malformed("the request line is none"),
        httparse::Error::TooManyHeaders => Fault::TooLarge,
        httparse::Error::Version => Fault::Malformed("the version is neither HTTP/1.0 nor HTTP/1.1"),
    }
}

/// As many as the engine reads.
const MAX_HEADERS: usize = 100;
const MAX_TRAILERS: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;

    fn request(head: &[u8]) -> Result<Framing, Fault> {
        match find_end(head, 0)? {
            Some(end) => judge_request(&head[..end]),
            None => panic!("no end in {:?}", String::from_utf8_lossy(head)),
        }
    }

    fn with(fields: &str) -> Vec<u8> {
        format!("POST / HTTP/1.1\r\nHost: a\r\n{fields}\r\n\r\n").into_bytes()
    }

    #[test]
    fn a_well_formed_request_is_framed() {
        let table: &[(&str, Framing)] = &[
            ("GET / HTTP/1.1\r\nHost: a\r\n\r\n", Framing::Empty),
            ("GET / HTTP/1.0\r\nHost: a\r\n\r\n", Framing::Empty),
            ("GET http://a/x?y HTTP/1.1\r\nhost:a\r\n\r\n", Framing::Empty),
            ("GET HTTPS://a HTTP/1.1\r\nhost:a\r\n\r\n", Framing::Empty),
            ("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", Framing::Empty),
            ("CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n", Framing::Empty),
            ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n", Framing::Empty),
            ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n", Framing::Length(5)),
            ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length:\t007 \r\n\r\n", Framing::Length(7)),
            ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n", Framing::Chunked),
            ("POST / HTTP/1.1\r\nHost: a\r\nTRANSFER-ENCODING: Chunked\r\n\r\n", Framing::Chunked),
            ("M-SEARCH / HTTP/1.1\r\nHost: a\r\nX:\r\n\r\n", Framing::Empty),
            ("GET /\u{e9} HTTP/1.1\r\nHost: a\r\nX: caf\u{e9}\r\n\r\n", Framing::Empty),
        ];
        for (head, framing) in table {
            assert_eq!(request(head.as_bytes()), Ok(*framing), "{head:?}");
        }
    }

    #[test]
    fn what_smuggles_is_refused_in_requests() {
        let fields = [
            "Content-Length: 5\r\nTransfer-Encoding: chunked",
            "Transfer-Encoding: chunked\r\nContent-Length: 5",
            "Transfer-Encoding: chunked\r\nContent-Length: 0",
            "Content-Length: 5\r\nContent-Length: 5",
            "Content-Length: 5\r\nContent-Length: 6",
            "Content-Length: 5, 5",
            "Content-Length: 5,6",
            "Content-Length: +5",
            "Content-Length: -5",
            "Content-Length: 0x5",
            "Content-Length: 5a",
            "Content-Length: 5 5",
            "Content-Length: 5.0",
            "Content-Length: \"5\"",
            "Content-Length:",
            "Content-Length: 5;",
            "Content-Length: ٥",
            "Content-Length: 18446744073709551621",
            "Content-Length: 99999999999999999999999999",
            "Content-Length : 5",
            "Content-Length\t: 5",
            " Content-Length: 5",
            "\tContent-Length: 5",
            "Content-Length: \u{b}5",
            "Content-Length: 5\u{c}",
            "Transfer-Encoding: xchunked",
            "Transfer-Encoding: chunkedx",
            "Transfer-Encoding: x, chunked",
            "Transfer-Encoding: chunked, identity",
            "Transfer-Encoding: chunked, chunked",
            "Transfer-Encoding: chunked,",
            "Transfer-Encoding: , chunked",
            "Transfer-Encoding: chunked;q=1",
            "Transfer-Encoding: \"chunked\"",
            "Transfer-Encoding: identity",
            "Transfer-Encoding: gzip",
            "Transfer-Encoding:",
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity",
            "Transfer-Encoding: identity\r\nTransfer-Encoding: chunked",
            "Transfer-Encoding : chunked",
            "Transfer-Encoding\t: chunked",
            " Transfer-Encoding: chunked",
            "Transfer-Encoding: \u{b}chunked",
            "Transfer-Encoding: chunked\u{b}",
            "Transfer-Encoding: \0chunked",
            "Transfer-Encoding: chu\r\n nked",
            "Transfer-Encoding:\r\n chunked",
            "Transfer-Encoding:\n chunked",
            "X: y\nTransfer-Encoding: chunked",
            "X: y\rTransfer-Encoding: chunked",
            "X: y\r\r\nTransfer-Encoding: chunked",
            "Transfer-Encoding: chunked\n",
            "Transfer-Encoding: chunk\u{e9}d",
            "Host: a",
            "host: b",
            "X: a\0b",
            "X: a\u{1}b",
            "X: a\u{7f}b",
            "X\u{e9}: a",
            "X(: a",
            "X",
            ": a",
            "X Y: a",
        ];
        assert!(fields.len() >= 50);
        for field in fields {
            assert!(matches!(request(&with(field)), Err(Fault::Malformed(_))), "{field:?} is let through");
        }
    }

    #[test]
    fn what_is_no_request_is_refused() {
        let heads: &[&[u8]] = &[
            b"GET / HTTP/1.1\r\n\r\n",
            b"GET / HTTP/1.1\nHost: a\n\n",
            b"GET / HTTP/1.1\r\nHost: a\n\r\n",
            b"GET /\r\nHost: a\r\n\r\n",
            b"GET / HTTP/0.9\r\nHost: a\r\n\r\n",
            b"GET / HTTP/1.2\r\nHost: a\r\n\r\n",
            b"GET / HTTP/2.0\r\nHost: a\r\n\r\n",
            b"GET / http/1.1\r\nHost: a\r\n\r\n",
            b"GET / HTTP/1.1 \r\nHost: a\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: a\r\n folded\r\n\r\n",
            b"GET /#fragment HTTP/1.1\r\nHost: a\r\n\r\n",
            b"GET a HTTP/1.1\r\nHost: a\r\n\r\n",
            b"GET a:80 HTTP/1.1\r\nHost: a\r\n\r\n",
            b"GET * HTTP/1.1\r\nHost: a\r\n\r\n",
            b"GET ftp://a/ HTTP/1.1\r\nHost: a\r\n\r\n",
            b"GET  / HTTP/1.1\r\nHost: a\r\n\r\n",
            b"GET\t/ HTTP/1.1\r\nHost: a\r\n\r\n",
            b"GET /a b HTTP/1.1\r\nHost: a\r\n\r\n",
            b"GET /\0 HTTP/1.1\r\nHost: a\r\n\r\n",
            b"G(T / HTTP/1.1\r\nHost: a\r\n\r\n",
            b" GET / HTTP/1.1\r\nHost: a\r\n\r\n",
            b"/ HTTP/1.1\r\nHost: a\r\n\r\n",
            b"CONNECT / HTTP/1.1\r\nHost: a\r\n\r\n",
            b"CONNECT a:443 HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\n",
            b"POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n",
            b"PRI * HTTP/2.0\r\n\r\n",
            b"\x16\x03\x01\x02\n\r\n\r\n",
        ];
        for head in heads {
            assert!(matches!(request(head), Err(Fault::Malformed(_))), "{:?} is let through", String::from_utf8_lossy(head));
        }
        let many = format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "X: y\r\n".repeat(MAX_HEADERS));
        assert_eq!(request(many.as_bytes()), Err(Fault::TooLarge));
    }

    fn answer(head: &str, asked: Asked) -> Result<Answer, Fault> {
        match find_end(head.as_bytes(), 0)? {
            Some(end) => judge_answer(&head.as_bytes()[..end], asked),
            None => panic!("no end in {head:?}"),
        }
    }

    #[test]
    fn an_answer_is_framed_by_what_was_asked() {
        use Asked::{Head, Plain, Upgrade};
        let length = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n";
        let table = [
            (length, Plain, Answer::Final(Framing::Length(5))),
            (length, Head, Answer::Final(Framing::Empty)),
            ("HTTP/1.1 200 OK\r\n\r\n", Plain, Answer::Final(Framing::Close)),
            ("HTTP/1.1 200\r\n\r\n", Plain, Answer::Final(Framing::Close)),
            ("HTTP/1.0 200 OK\r\n\r\n", Plain, Answer::Final(Framing::Close)),
            ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", Plain, Answer::Final(Framing::Chunked)),
            ("HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n", Plain, Answer::Final(Framing::Empty)),
            ("HTTP/1.1 204 No Content\r\n\r\n", Plain, Answer::Final(Framing::Empty)),
            ("HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n", Plain, Answer::Final(Framing::Empty)),
            ("HTTP/1.1 100 Continue\r\n\r\n", Plain, Answer::Interim),
            ("HTTP/1.1 103 Early Hints\r\nLink: <a>\r\n\r\n", Head, Answer::Interim),
            ("HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n", Upgrade, Answer::Switch),
        ];
        for (head, asked, expected) in table {
            assert_eq!(answer(head, asked), Ok(expected), "{head:?} to {asked:?}");
        }
    }

    #[test]
    fn what_smuggles_is_refused_in_answers() {
        let heads = [
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n",
            "HTTP/1.1 100 Continue\r\nContent-Length: 5\r\n\r\n",
            "HTTP/1.1 103 Early Hints\r\nTransfer-Encoding: chunked\r\n\r\n",
            "HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n",
            "HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n",
            "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
            "HTTP/1.1 099 Low\r\n\r\n",
            "HTTP/1.1 600 High\r\n\r\n",
            "HTTP/1.1 999 High\r\n\r\n",
            "HTTP/1.1 20 OK\r\n\r\n",
            "HTTP/1.1 2000 OK\r\n\r\n",
            "HTTP/2.0 200 OK\r\n\r\n",
            "HTTP/1.1  200 OK\r\n\r\n",
            "200 OK\r\n\r\n",
            "HTTP/1.1 200 OK\nContent-Length: 5\n\n",
            "HTTP/1.1 200 O\0K\r\n\r\n",
        ];
        for head in heads {
            assert!(matches!(answer(head, Asked::Plain), Err(Fault::Malformed(_))), "{head:?} is let through");
        }
        let fields = [
            "Content-Length: +5",
            "Content-Length: 5\r\nContent-Length: 5",
            "Content-Length: 5, 5",
            "Content-Length: 5\r\nTransfer-Encoding: chunked",
            "Content-Length : 5",
            "Content-Length: 5\r\n 5",
            "Transfer-Encoding: gzip, chunked",
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
            "X: a\0b",
            "X: a\rb",
            "X Y: b",
        ];
        for field in fields {
            let head = format!("HTTP/1.1 200 OK\r\n{field}\r\n\r\n");
            assert!(matches!(answer(&head, Asked::Plain), Err(Fault::Malformed(_))), "{field:?} is let through");
            assert!(matches!(answer(&head, Asked::Head), Err(Fault::Malformed(_))), "{field:?} is let through to HEAD");
        }
    }

    #[test]
    fn trailers_are_fields_and_nothing_else() {
        for good in ["\r\n", "X: y\r\n\r\n", "X: y\r\nZ:\r\n\r\n"] {
            assert_eq!(judge_trailers(good.as_bytes()), Ok(()), "{good:?}");
        }
        for bad in ["X\r\n\r\n", "X : y\r\n\r\n", "X: y\r\n z\r\n\r\n", "X: a\0\r\n\r\n", "X: y\r\n"] {
            assert!(judge_trailers(bad.as_bytes()).is_err(), "{bad:?}");
        }
    }
}
