//! HTTP/1.1 read as plainly as can be, over whole streams: what the engine is held against, here and under `fuzz/`. Knows
//! no pieces, no buffers and no time, and shares no line with the engine.

/// One message, with what it says about itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// The three parts of its first line.
    pub line: [String; 3],
    /// In order; names in lower case.
    pub fields: Vec<(String, Vec<u8>)>,
    pub body: Body,
}

/// A body, by its framing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body {
    /// It breaks a rule: what comes behind it belongs to nobody.
    Malformed,
    /// The stream ends before it does.
    Short,
    /// Its bytes, and its trailers as they stand.
    Whole(Vec<u8>, Vec<(String, Vec<u8>)>),
}

/// What a stream of messages ends with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rest {
    /// Behind the last message nothing is read: the connection ends with it, or it became something else.
    Closed,
    /// Nothing, or the beginning of a head.
    Short,
    Malformed,
}

impl Message {
    pub fn field(&self, name: &str) -> Option<&[u8]> {
        self.fields.iter().find(|(found, _)| found == name).map(|(_, value)| &value[..])
    }

    /// Returns a number that the harness wrote.
    pub fn number(&self, name: &str) -> Option<usize> {
        std::str::from_utf8(self.field(name)?).ok()?.parse().ok()
    }

    fn values(&self, name: &str) -> Vec<&[u8]> {
        self.fields.iter().filter(|(found, _)| found == name).map(|(_, value)| &value[..]).collect()
    }

    fn says(&self, name: &str, token: &str) -> bool {
        self.values(name)
            .iter()
            .any(|value| value.split(|byte| *byte == b',').any(|found| found.trim_ascii().eq_ignore_ascii_case(token.as_bytes())))
    }
}

/// Reads the requests of a client's stream, up to the first that breaks a rule, and the last that its connection is for.
pub fn requests(stream: &[u8]) -> (Vec<Message>, Rest) {
    let (mut at, mut found) = (0, Vec::new());
    loop {
        let rest = &stream[at..];
        // RFC 9112, 2.2: one empty line does not count.
        let skipped = if rest.starts_with(b"\r\n") { 2 } else { 0 };
        let Some(end) = find(&rest[skipped..], b"\r\n\r\n") else { return (found, Rest::Short) };
        let Some((mut message, framing)) = request(&rest[skipped..skipped + end]) else { return (found, Rest::Malformed) };
        at += skipped + end + 4;
        let (body, used) = read(&stream[at..], framing);
        at += used;
        let is_whole = matches!(body, Body::Whole(..));
        let is_old = message.line[2] == "HTTP/1.0";
        let ends = message.says("connection", "close") || (is_old && !message.says("connection", "keep-alive"));
        message.body = body;
        found.push(message);
        if !is_whole || ends {
            return (found, Rest::Closed);
        }
    }
}

/// Reads the final answers of an upstream's stream to requests, each of them HEAD or not, with how many interim ones came before each.
/// `ended`: whether the stream's end is the connection's.
pub fn answers(stream: &[u8], heads: &[bool], ended: bool) -> (Vec<(Message, usize)>, Rest) {
    let (mut at, mut found) = (0, Vec::new());
    for head in heads {
        let mut interim = 0;
        loop {
            let rest = &stream[at..];
            let Some(end) = find(rest, b"\r\n\r\n") else { return (found, Rest::Short) };
            let Some((mut message, framing)) = answer(&rest[..end]) else { return (found, Rest::Malformed) };
            at += end + 4;
            let status: u16 = message.line[1].parse().unwrap_or(0);
            if (100..200).contains(&status) && status != 101 {
                interim += 1;
                continue;
            }
            let bodiless = *head || [101, 204, 304].contains(&status);
            let (body, used) = match framing {
                _ if bodiless => read(&[], Framing::Length(0)),
                Framing::Until if !ended => (Body::Short, 0),
                framing => read(&stream[at..], framing),
            };
            at += used;
            let goes_on = matches!(body, Body::Whole(..)) && (framing != Framing::Until || bodiless) && status != 101;
            let ends = message.says("connection", "close") || (message.line[0] == "HTTP/1.0" && !message.says("connection", "keep-alive"));
            message.body = body;
            found.push((message, interim));
            if !goes_on || ends {
                return (found, Rest::Closed);
            }
            break;
        }
    }
    (found, if at < stream.len() { Rest::Malformed } else { Rest::Short })
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Framing {
    Chunked,
    Length(u64),
    Until,
}

fn request(head: &[u8]) -> Option<(Message, Framing)> {
    let (message, framing) = message(head)?;
    let [method, target, version] = &message.line;
    let is_request =
        is_token(method.as_bytes()) && !target.is_empty() && target.bytes().all(|byte| byte > b' ' && byte != 0x7f && byte != b'#');
    let fits = is_request && ["HTTP/1.0", "HTTP/1.1"].contains(&version.as_str()) && message.values("host").len() == 1;
    let chunked_in_1_0 = version == "HTTP/1.0" && framing == Some(Framing::Chunked);
    (fits && !chunked_in_1_0).then_some(())?;
    Some((message, framing.unwrap_or(Framing::Length(0))))
}

fn answer(head: &[u8]) -> Option<(Message, Framing)> {
    let (message, framing) = message(head)?;
    let [version, status, _] = &message.line;
    let is_status = status.len() == 3 && status.bytes().all(|byte| byte.is_ascii_digit()) && (b'1'..=b'5').contains(&status.as_bytes()[0]);
    let bare = status.starts_with('1') || status == "204";
    let says_body = if status.starts_with('1') { framing.is_some() } else { !matches!(framing, None | Some(Framing::Length(0))) };
    let chunked_in_1_0 = version == "HTTP/1.0" && framing == Some(Framing::Chunked);
    (["HTTP/1.0", "HTTP/1.1"].contains(&version.as_str()) && is_status && !(bare && says_body) && !chunked_in_1_0).then_some(())?;
    Some((message, framing.unwrap_or(Framing::Until)))
}

/// Reads a head without its empty line; `None`: it is none.
fn message(head: &[u8]) -> Option<(Message, Option<Framing>)> {
    let mut lines = lines(head)?.into_iter();
    let mut parts = lines.next()?.splitn(3, |byte| *byte == b' ').map(|part| String::from_utf8_lossy(part).into_owned());
    let line = [parts.next()?, parts.next()?, parts.next().unwrap_or_default()];
    let fields = lines.map(field).collect::<Option<Vec<_>>>()?;
    let message = Message { line, fields, body: Body::Short };
    let framing = match (&message.values("content-length")[..], &message.values("transfer-encoding")[..]) {
        ([], []) => None,
        ([], [coding]) if coding.eq_ignore_ascii_case(b"chunked") => Some(Framing::Chunked),
        ([length], []) => {
            let is_number = !length.is_empty() && length.iter().all(u8::is_ascii_digit) && (length.len() == 1 || length[0] != b'0');
            let number = std::str::from_utf8(length).ok().filter(|_| is_number)?.parse().ok()?;
            Some(Framing::Length(number))
        }
        _ => return None,
    };
    Some((message, framing))
}

/// Splits at CR LF; `None`: one of both stands alone.
fn lines(text: &[u8]) -> Option<Vec<&[u8]>> {
    let (mut rest, mut found) = (text, Vec::new());
    while let Some(at) = find(rest, b"\r\n") {
        found.push(&rest[..at]);
        rest = &rest[at + 2..];
    }
    found.push(rest);
    found.iter().all(|line| !line.contains(&b'\r') && !line.contains(&b'\n')).then_some(found)
}

fn field(line: &[u8]) -> Option<(String, Vec<u8>)> {
    let colon = line.iter().position(|byte| *byte == b':')?;
    let (name, value) = (&line[..colon], trim(&line[colon + 1..]));
    let is_value = value.iter().all(|byte| *byte == b'\t' || (*byte >= b' ' && *byte != 0x7f));
    (is_token(name) && is_value).then(|| (String::from_utf8_lossy(name).to_ascii_lowercase(), value.to_vec()))
}

/// RFC 9110, 5.6.3: spaces and tabs, and nothing else that is called white space elsewhere.
fn trim(mut value: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = value {
        value = rest;
    }
    value
}

fn is_token(name: &[u8]) -> bool {
    !name.is_empty() && name.iter().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte))
}

fn read(stream: &[u8], framing: Framing) -> (Body, usize) {
    match framing {
        Framing::Chunked => chunked(stream),
        Framing::Length(length) if length > stream.len() as u64 => (Body::Short, stream.len()),
        Framing::Length(length) => (Body::Whole(stream[..length as usize].to_vec(), Vec::new()), length as usize),
        Framing::Until => (Body::Whole(stream.to_vec(), Vec::new()), stream.len()),
    }
}

/// Reads a chunked body (RFC 9112, 7.1); returns it with how many bytes it takes.
pub fn chunked(stream: &[u8]) -> (Body, usize) {
    let (mut at, mut data) = (0, Vec::new());
    loop {
        let Some(feed) = stream[at..].iter().position(|byte| *byte == b'\n') else {
            // As far as it came it may still become a size line, or not.
            return (if is_size_line_begun(&stream[at..]) { Body::Short } else { Body::Malformed }, stream.len());
        };
        let Some(size) = stream[at..at + feed].strip_suffix(b"\r").and_then(size) else { return (Body::Malformed, stream.len()) };
        at += feed + 1;
        if size == 0 {
            break;
        }
        let rest = &stream[at..];
        let length = usize::try_from(size).unwrap_or(usize::MAX);
        if length > rest.len() {
            return (Body::Short, stream.len());
        }
        data.extend_from_slice(&rest[..length]);
        match &rest[length..] {
            [] | [b'\r'] => return (Body::Short, stream.len()),
            [b'\r', b'\n', ..] => at += length + 2,
            _ => return (Body::Malformed, stream.len()),
        }
    }
    let section = &stream[at..];
    let bare = (0..section.len()).any(|at| section[at] == b'\n' && (at == 0 || section[at - 1] != b'\r'));
    let end = if section.starts_with(b"\r\n") { Some(0) } else { find(section, b"\r\n\r\n").map(|end| end + 2) };
    match end {
        // Nothing is said about trailers that are not all there, but for lines that end wrongly.
        None => (if bare { Body::Malformed } else { Body::Short }, stream.len()),
        Some(0) => (Body::Whole(data, Vec::new()), at + 2),
        Some(end) => {
            let trailers = lines(&section[..end - 2]).and_then(|lines| lines.into_iter().map(field).collect::<Option<Vec<_>>>());
            match trailers {
                Some(trailers) => (Body::Whole(data, trailers), at + end + 2),
                None => (Body::Malformed, stream.len()),
            }
        }
    }
}

fn size(line: &[u8]) -> Option<u64> {
    let digits = line.iter().position(|byte| !byte.is_ascii_hexdigit()).unwrap_or(line.len());
    let extension = &line[digits..];
    let is_extension = extension.is_empty() || (extension[0] == b';' && are_extensions(extension));
    let text = std::str::from_utf8(&line[..digits]).ok().filter(|text| (1..=15).contains(&text.len()) && is_extension)?;
    u64::from_str_radix(text, 16).ok()
}

/// RFC 9112, 7.1.1.
fn are_extensions(mut rest: &[u8]) -> bool {
    let blank = |text: &[u8]| text.iter().take_while(|byte| [b' ', b'\t'].contains(byte)).count();
    let token = |text: &[u8]| (1..=text.len()).take_while(|length| is_token(&text[..*length])).last();
    while !rest.is_empty() {
        let Some(name) = rest[blank(rest)..].strip_prefix(b";") else { return false };
        let name = &name[blank(name)..];
        let Some(length) = token(name) else { return false };
        rest = &name[length..];
        let Some(value) = rest[blank(rest)..].strip_prefix(b"=") else { continue };
        let value = &value[blank(value)..];
        let Some(length) = token(value).or_else(|| quoted(value)) else { return false };
        rest = &value[length..];
    }
    true
}

/// Returns how long a quoted string is, RFC 9110, 5.6.4.
fn quoted(text: &[u8]) -> Option<usize> {
    let mut at = text.starts_with(b"\"").then_some(1)?;
    while text.get(at)? != &b'"' {
        at += usize::from(text[at] == b'\\');
        at += text.get(at).filter(|byte| **byte == b'\t' || (**byte >= b' ' && **byte != 0x7f)).map(|_| 1)?;
    }
    Some(at + 1)
}

/// Says whether a line of which no more came may become one that has a size.
fn is_size_line_begun(line: &[u8]) -> bool {
    if let Some(line) = line.strip_suffix(b"\r") {
        return size(line).is_some();
    }
    line.is_empty() || ["", "x", ";x", "\"", "x\""].iter().any(|rest| size(&[line, rest.as_bytes()].concat()).is_some())
}

fn find(text: &[u8], wanted: &[u8]) -> Option<usize> {
    text.windows(wanted.len()).position(|window| window == wanted)
}
