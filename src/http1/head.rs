//! The strict reading of one head: where it ends, whether RFC 9112 calls it well formed, how its body is framed, and
//! what becomes of the connection behind it. Parsed once, into types that refer to the bytes read.

use std::mem::MaybeUninit;

use bytes::Bytes;
use http::{Extensions, HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, Version};
use httparse::Header;
use memchr::memchr;

use crate::message::{Fields, Name, RequestHead, Response};

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

/// A request's head, judged.
#[derive(Debug)]
pub(super) struct Asking {
    pub(super) head: RequestHead,
    pub(super) framing: Framing,
    /// The client wants to send another one behind it.
    pub(super) persists: bool,
    /// The body waits for a 100.
    pub(super) expects: bool,
    /// `TE: trailers`.
    pub(super) takes_trailers: bool,
}

/// An answer's head, judged.
#[derive(Debug)]
pub(super) enum Answer {
    /// With its body's framing, and whether the connection is good for another request behind it.
    Final(Response<()>, Framing, bool),
    /// 100 to 199 but for 101: the final answer follows.
    Interim(Response<()>),
    /// 101: the connection is no longer HTTP.
    Switch(Response<()>),
}

/// Why a head is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    Malformed(&'static str),
    TargetTooLong,
    TooLarge,
    Version,
}

/// Looks for a head's end in bytes of which the first `scanned` were looked at before.
///
/// Every line ends with CR LF and none is folded: a bare LF is where parsers begin to differ (RFC 9112, 2.2),
/// and a bare CR, like any other control character, is left to [`httparse`], which refuses it.
pub(super) fn find_end(bytes: &[u8], scanned: usize) -> Result<Option<usize>, Fault> {
    let mut from = scanned;
    while let Some(at) = memchr(b'\n', &bytes[from..]) {
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

/// Reads a request's head, from its first byte to its empty line.
pub(super) fn read_request(head: &Bytes) -> Result<Asking, Fault> {
    let mut headers = [const { MaybeUninit::<Header<'_>>::uninit() }; MAX_HEADERS];
    let mut parsed = httparse::Request::new(&mut []);
    let status = parsed.parse_with_uninit_headers(head, &mut headers).map_err(|error| request_fault(error, head))?;
    if status != httparse::Status::Complete(head.len()) {
        return Err(Fault::Malformed("the head does not end where it seems to"));
    }
    let (Some(method), Some(target), Some(version)) = (parsed.method, parsed.path, parsed.version) else {
        return Err(Fault::Malformed("the request line is incomplete"));
    };
    judge_target(method, target)?;
    let (said, headers) = Said::read(parsed.headers, head)?;
    // RFC 9112, 3.2: a missing Host is 400, and so is a second one.
    if said.hosts != 1 {
        return Err(Fault::Malformed("there has to be one Host field"));
    }
    let framing = said.framing(version)?.unwrap_or(Framing::Empty);
    // RFC 9110, 9.3.6: content has no meaning in CONNECT, and engines differ about it.
    if method == "CONNECT" && framing != Framing::Empty {
        return Err(Fault::Malformed("CONNECT has no body"));
    }
    let head = RequestHead {
        method: Method::from_bytes(method.as_bytes()).map_err(|_| Fault::Malformed("the method is none"))?,
        uri: Uri::from_maybe_shared(head.slice_ref(target.as_bytes())).map_err(|_| no_target(target))?,
        version: version_of(version),
        headers,
        extensions: Extensions::new(),
    };
    Ok(Asking {
        head,
        framing,
        persists: said.persists(version),
        // RFC 9110, 10.1.1: an expectation in HTTP/1.0 is ignored, and so is one without a body to wait.
        expects: said.expects && version == 1 && framing != Framing::Empty,
        takes_trailers: said.takes_trailers && version == 1,
    })
}

/// Reads an answer's head, from its first byte to its empty line.
pub(super) fn read_answer(head: &Bytes, asked: Asked) -> Result<Answer, Fault> {
    // RFC 9112, 2.2: an empty line is passed over before a request only.
    if head.starts_with(b"\r") {
        return Err(Fault::Malformed("an empty line stands before the status line"));
    }
    let mut headers = [const { MaybeUninit::<Header<'_>>::uninit() }; MAX_HEADERS];
    let mut parsed = httparse::Response::new(&mut []);
    let config = httparse::ParserConfig::default();
    let status = config.parse_response_with_uninit_headers(&mut parsed, head, &mut headers).map_err(fault)?;
    if status != httparse::Status::Complete(head.len()) {
        return Err(Fault::Malformed("the head does not end where it seems to"));
    }
    let (Some(code), Some(version)) = (parsed.code, parsed.version) else {
        return Err(Fault::Malformed("the status line is incomplete"));
    };
    let (said, headers) = Said::read(parsed.headers, head)?;
    let framing = said.framing(version)?;
    let response = || {
        let status = StatusCode::from_u16(code).map_err(|_| Fault::Malformed("the status is none"))?;
        Ok(Response { status, headers, body: () })
    };
    // RFC 9112, 6.3: a body until the end leaves nothing for another answer.
    let last = |response, framing| Answer::Final(response, framing, said.persists(version) && framing != Framing::Close);
    match code {
        // RFC 9112, 6.1 and 6.3: neither field may stand in a 1xx.
        100..=199 if framing.is_some() => Err(Fault::Malformed("an interim answer has no body")),
        // RFC 9110, 15.2.2: a switch that nobody offered.
        101 if asked != Asked::Upgrade => Err(Fault::Malformed("101 to a request that offered no upgrade")),
        101 => Ok(Answer::Switch(response()?)),
        100..=199 => Ok(Answer::Interim(response()?)),
        // RFC 9110, 15.3.5 and RFC 9112, 6.3.
        204 if !matches!(framing, None | Some(Framing::Empty)) => Err(Fault::Malformed("204 has no body")),
        204 | 304 => Ok(last(response()?, Framing::Empty)),
        200..=599 if asked == Asked::Head => Ok(last(response()?, Framing::Empty)),
        200..=599 => Ok(last(response()?, framing.unwrap_or(Framing::Close))),
        // RFC 9110, 15: there is no sixth class.
        _ => Err(Fault::Malformed("the status is none")),
    }
}

/// Reads a trailer section, its empty line included.
pub(super) fn read_trailers(bytes: &[u8]) -> Result<HeaderMap, Fault> {
    let mut headers = [httparse::EMPTY_HEADER; MAX_TRAILERS];
    match httparse::parse_headers(bytes, &mut headers).map_err(fault)? {
        httparse::Status::Complete((length, fields)) if length == bytes.len() => {
            let mut trailers = HeaderMap::with_capacity(fields.len());
            for field in fields {
                trailers.append(name_of(field.name)?, HeaderValue::from_bytes(field.value).map_err(|_| Fault::Malformed(NO_VALUE))?);
            }
            Ok(trailers)
        }
        httparse::Status::Complete(_) | httparse::Status::Partial => Err(Fault::Malformed("the trailers are incomplete")),
    }
}

/// What the fields say about the message as a whole, and about the connection.
#[derive(Default)]
struct Said {
    hosts: usize,
    length: Option<u64>,
    chunked: bool,
    close: bool,
    keep_alive: bool,
    expects: bool,
    takes_trailers: bool,
}

impl Said {
    /// Reads them all, into fields that refer to the head.
    fn read(parsed: &[Header<'_>], head: &Bytes) -> Result<(Self, Fields), Fault> {
        let (mut said, mut headers) = (Self::default(), Fields::of(head.clone()));
        for field in parsed {
            let name = Name::of(field.name.as_bytes());
            said.note(name, field.value)?;
            // None may vanish on its way: a name of 64 KiB and more has no place.
            if !headers.append_sent(name, field.name, field.value) {
                return Err(Fault::TooLarge);
            }
        }
        Ok((said, headers))
    }

    fn note(&mut self, name: Name, value: &[u8]) -> Result<(), Fault> {
        match name {
            Name::Connection => self.connection(value),
            Name::ContentLength => self.add_length(length(value)?)?,
            Name::Expect => self.expects |= value.eq_ignore_ascii_case(b"100-continue"),
            Name::Host => self.hosts += 1,
            Name::Te => self.takes_trailers |= tokens(value).any(|token| token.eq_ignore_ascii_case(b"trailers")),
            // RFC 9112, 6.1 and 6.3: of the codings only chunked is known here, and it may stand once, and last.
            Name::TransferEncoding => {
                if self.chunked || !value.eq_ignore_ascii_case(b"chunked") {
                    return Err(Fault::Malformed("Transfer-Encoding is something else than chunked, once"));
                }
                self.chunked = true;
            }
            _ => {}
        }
        Ok(())
    }

    fn connection(&mut self, value: &[u8]) {
        for token in tokens(value) {
            self.close |= token.eq_ignore_ascii_case(b"close");
            self.keep_alive |= token.eq_ignore_ascii_case(b"keep-alive");
        }
    }

    /// RFC 9112, 9.3: HTTP/1.1 goes on unless it says otherwise, HTTP/1.0 does not.
    fn persists(&self, version: u8) -> bool {
        !self.close && (version == 1 || self.keep_alive)
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

/// RFC 9110, 8.6: `1*DIGIT`; no sign, no list, no space, nothing that overflows. Nor a zero in front: the grammar has room
/// for it, and there are readers that take it for octal.
fn length(value: &[u8]) -> Result<u64, Fault> {
    let is_padded = value.len() > 1 && value.starts_with(b"0");
    if value.is_empty() || is_padded || value.len() > 18 || !value.iter().all(u8::is_ascii_digit) {
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
        return Err(Fault::Malformed(NO_TARGET));
    }
    Ok(())
}

/// RFC 9110, 15.5.15: what `Uri` has no room for is too long, not malformed.
fn no_target(target: &str) -> Fault {
    if target.len() >= usize::from(u16::MAX) { Fault::TargetTooLong } else { Fault::Malformed(NO_TARGET) }
}

fn absolute_form(target: &str) -> bool {
    ["http://", "https://"].iter().any(|scheme| target.get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme)))
}

fn tokens(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii)
}

fn name_of(name: &str) -> Result<HeaderName, Fault> {
    HeaderName::from_bytes(name.as_bytes()).map_err(|_| Fault::Malformed(NO_NAME))
}

fn version_of(version: u8) -> Version {
    if version == 0 { Version::HTTP_10 } else { Version::HTTP_11 }
}

/// Tells a version that is one, but none of ours, from what is no version.
fn request_fault(error: httparse::Error, head: &[u8]) -> Fault {
    let line = request_line(head);
    // RFC 9113, 3.4: a preface, from a client that was not offered HTTP/2 here or did not take it up.
    if line == b"PRI * HTTP/2.0" {
        return Fault::Malformed("the preface of HTTP/2 on a connection of HTTP/1.1");
    }
    match (error, line) {
        // RFC 9112, 2.3 and RFC 9110, 15.6.6.
        (httparse::Error::Version, [asked @ .., b' ', b'H', b'T', b'T', b'P', b'/', major, b'.', minor])
            if major.is_ascii_digit() && minor.is_ascii_digit() && asked.iter().filter(|byte| **byte == b' ').count() == 1 =>
        {
            Fault::Version
        }
        _ => fault(error),
    }
}

/// Returns the first line of a head, without its end. RFC 9112, 2.2: one empty line before it does not count.
fn request_line(head: &[u8]) -> &[u8] {
    let head = head.strip_prefix(b"\r\n").unwrap_or(head);
    &head[..memchr(b'\r', head).unwrap_or(head.len())]
}

/// Says what of a head is too large, once more of it has come than we read.
pub(super) fn too_large(head: &[u8]) -> Fault {
    // RFC 9112, 3: a request line longer than we wish to parse is a target that is too long.
    let head = head.strip_prefix(b"\r\n").unwrap_or(head);
    if memchr(b'\n', head).is_none() { Fault::TargetTooLong } else { Fault::TooLarge }
}

fn fault(error: httparse::Error) -> Fault {
    match error {
        // RFC 9112, 5 and 5.1: a token, nothing between it and its colon. A folded line (5.2) has no name, either.
        httparse::Error::HeaderName => Fault::Malformed(NO_NAME),
        // RFC 9110, 5.5: no CR, LF, NUL, or other control character but a tab.
        httparse::Error::HeaderValue => Fault::Malformed(NO_VALUE),
        // RFC 9112, 2.2.
        httparse::Error::NewLine => Fault::Malformed("a line ends with a bare carriage return"),
        // RFC 9112, 4: three digits.
        httparse::Error::Status => Fault::Malformed("the status is none"),
        // RFC 9112, 3: a token, one space, the target, one space, the version.
        httparse::Error::Token => Fault::Malformed("the request line is none"),
        // RFC 9110, 5.4.
        httparse::Error::TooManyHeaders => Fault::TooLarge,
        // RFC 9112, 2.3: its case counts.
        httparse::Error::Version => Fault::Malformed("the version is neither HTTP/1.0 nor HTTP/1.1"),
    }
}

const MAX_HEADERS: usize = 100;
const MAX_TRAILERS: usize = 32;
const NO_NAME: &str = "a field name is no token";
const NO_TARGET: &str = "the request target has none of its forms";
const NO_VALUE: &str = "a field value has a control character";

#[cfg(test)]
mod tests;
