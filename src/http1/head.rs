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
mod tests;
